//! Reads PyTorchJobs from files, the way `kubectl apply -f` would.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::PyTorchJob;
use crate::api::UnknownPodFields;
use crate::api::structural::Misfit;
use crate::api::structural::misfits;
use crate::api::structural::schema_of_jobs;
use crate::cli::metadata;

/// Why a file has no jobs to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The text is not YAML.
    #[error("{} is not YAML: {source}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why not.
        source: Box<serde_saphyr::Error>,
    },
    /// No document in it is a PyTorchJob.
    #[error("{} has no PyTorchJob of kubeflow.org/v1", path.display())]
    None {
        /// The file.
        path: PathBuf,
    },
}

/// A document that says it is a PyTorchJob.
#[derive(Debug)]
pub(super) struct Document {
    /// Its name, or its place in the file.
    pub title: String,
    /// The job, if it can be decoded.
    pub job: Option<Box<PyTorchJob>>,
    /// What does not fit the definition.
    pub misfits: Vec<Misfit>,
}

/// Reads all PyTorchJobs of a file; `-` is standard input. Documents of other kinds are passed over.
pub(super) fn read(path: &Path, unknown: UnknownPodFields) -> Result<Vec<Document>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        fs::read_to_string(path).map_err(failed)?
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|source| Error::Yaml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let schema = schema_of_jobs(unknown);
    let ours = documents
        .into_iter()
        .filter(|document| document["kind"] == "PyTorchJob" && document["apiVersion"] == "kubeflow.org/v1");
    let jobs: Vec<Document> = ours
        .enumerate()
        .map(|(place, document)| decode(&schema, place, document))
        .collect();
    if jobs.is_empty() {
        Err(Error::None { path: path.to_owned() })
    } else {
        Ok(jobs)
    }
}

fn decode(schema: &Value, place: usize, mut document: Value) -> Document {
    let mut misfits = misfits(schema, &document);
    drop_nulls(&mut document);
    misfits.extend(metadata::misfits(&document["metadata"]));
    if let (None, Some(prefix)) = (
        document["metadata"].get("name"),
        document["metadata"]["generateName"].as_str(),
    ) {
        // The API server appends five letters.
        document["metadata"]["name"] = format!("{prefix}xxxxx").into();
    }
    let title = document["metadata"]["name"]
        .as_str()
        .map_or_else(|| format!("document {}", place + 1), ToOwned::to_owned);
    let text = document.to_string();
    let mut json = serde_json::Deserializer::from_str(&text);
    let job = serde_path_to_error::deserialize(&mut json).map(Box::new);
    if let (Err(error), true) = (&job, misfits.is_empty()) {
        misfits.push(Misfit {
            field: error.path().to_string(),
            message: error.inner().to_string(),
        });
    }
    Document {
        title,
        job: job.ok(),
        misfits,
    }
}

/// Drops fields that are null: nothing in our schema is nullable, and to the API server such a field is absent.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
