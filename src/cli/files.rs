//! Which files `plan`, `validate` and `convert` read, and what is in them.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde_json::Value;

use crate::api::UnknownPodFields;
use crate::api::structural::schema_of_jobs;
use crate::cli::manifest::{self, Document, decode, is_job, title};
use crate::cli::place::Place;

/// Extensions of the files that are read of a directory, as kubectl has them.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A text is not YAML.
    #[error("cannot read {}: it is not YAML: {}", path.display(), of_user(source, path))]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why not.
        source: Box<serde_saphyr::Error>,
    },
    /// No object in any file is of these kinds.
    #[error("no {kinds} in {}", names(paths))]
    NoJob {
        /// The kinds.
        kinds: &'static str,
        /// The files and directories.
        paths: Vec<PathBuf>,
    },
}

/// What the YAML library says, to somebody who does not program with it.
fn of_user(error: &serde_saphyr::Error, path: &Path) -> String {
    error
        .to_string()
        .trim_start_matches("error: ")
        .replace(", set DuplicateKeyPolicy in Options if acceptable", "")
        .replace("<input>", &path.display().to_string())
}

/// Writes a line to standard error. What cannot be said there can be said nowhere.
pub(super) fn complain(line: &dyn fmt::Display) {
    let _written = writeln!(std::io::stderr(), "{line}");
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The PyTorchJobs, in the order of the command line and then of the file.
    pub jobs: Vec<Document>,
    /// A line for each object of another kind.
    pub passed_over: Vec<String>,
}

/// An object of a file.
#[derive(Debug)]
pub(super) struct Object {
    /// The file, if there are several.
    pub origin: Option<String>,
    /// Where it stands there.
    pub place: Place,
    /// The object.
    pub value: Value,
}

impl Object {
    /// What is said of an object of another kind.
    pub(super) fn passed_over(&self) -> String {
        let kind = match self.value["kind"].as_str() {
            Some("PyTorchJob") => "PyTorchJob whose apiVersion is not kubeflow.org/v1",
            kind => kind.unwrap_or("no Kubernetes object"),
        };
        let origin = self
            .origin
            .as_ref()
            .map(|origin| format!("{origin}: "))
            .unwrap_or_default();
        format!("{origin}{} is passed over: {kind}", self.place)
    }

    /// What to call it, as kubectl takes it.
    pub(super) fn title(&self, kind: &str) -> String {
        title(
            self.origin.as_deref(),
            &self.place,
            &kind.to_lowercase(),
            &self.value["metadata"],
        )
    }
}

impl Contents {
    /// Takes in an object.
    pub(super) fn take(&mut self, schema: &Value, object: Object) {
        if is_job(&object.value) {
            let job = decode(schema, object.origin.as_deref(), &object.place, object.value);
            self.jobs.push(job);
        } else {
            self.passed_over.push(object.passed_over());
        }
    }
}

/// Reads all objects of files and of the files in directories; `-` is standard input. With more than one file each
/// object is named with its file.
pub(super) fn objects(paths: &[PathBuf]) -> Result<Vec<Object>, Error> {
    let files: Vec<PathBuf> = paths
        .iter()
        .map(|path| expand(path))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let mut found = Vec::new();
    for file in &files {
        let documents = manifest::objects(&text(file)?).map_err(|source| Error::Yaml {
            path: file.clone(),
            source: Box::new(source),
        })?;
        let origin = (files.len() > 1).then(|| file.display().to_string());
        found.extend(documents.into_iter().map(|(place, value)| Object {
            origin: origin.clone(),
            place,
            value,
        }));
    }
    Ok(found)
}

/// Reads all PyTorchJobs among [`objects`].
pub(super) fn read(paths: &[PathBuf], unknown: UnknownPodFields) -> Result<Contents, Error> {
    let schema = schema_of_jobs(unknown);
    let mut contents = Contents::default();
    for object in objects(paths)? {
        contents.take(&schema, object);
    }
    if contents.jobs.is_empty() {
        let kinds = "PyTorchJob of kubeflow.org/v1";
        let paths = paths.to_vec();
        return Err(Error::NoJob { kinds, paths });
    }
    Ok(contents)
}

/// The files of a directory, sorted by name and without its directories, as `kubectl apply -f` reads it; any other path
/// is itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let entries = fs::read_dir(path).map_err(failed)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let of_kubectl = |path: &PathBuf| {
        path.extension()
            .is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known))
    };
    let mut files = paths.map_err(failed)?;
    files.retain(|path| path.is_file() && of_kubectl(path));
    files.sort();
    Ok(files)
}

pub(super) fn text(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    read.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}
