//! Reads PyTorchJobs from files, the way `kubectl apply -f` would.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::PyTorchJob;

/// Why a file has no jobs to look at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
pub struct Document {
    /// Its name, or its place in the file.
    pub title: String,
    /// The job, or the field that is wrong.
    pub job: Result<Box<PyTorchJob>, String>,
}

/// Reads all PyTorchJobs of a file; `-` is standard input. Documents of other kinds are passed over.
pub fn read(path: &Path) -> Result<Vec<Document>, Error> {
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
    let ours = documents
        .into_iter()
        .filter(|document| document["kind"] == "PyTorchJob" && document["apiVersion"] == "kubeflow.org/v1");
    let jobs: Vec<Document> = ours
        .enumerate()
        .map(|(place, document)| decode(place, document))
        .collect();
    if jobs.is_empty() {
        Err(Error::None { path: path.to_owned() })
    } else {
        Ok(jobs)
    }
}

fn decode(place: usize, mut document: Value) -> Document {
    drop_nulls(&mut document);
    let title = document["metadata"]["name"]
        .as_str()
        .map_or_else(|| format!("document {}", place + 1), ToOwned::to_owned);
    let text = document.to_string();
    let mut json = serde_json::Deserializer::from_str(&text);
    let job =
        serde_path_to_error::deserialize(&mut json).map_err(|error| format!("{}: {}", error.path(), error.inner()));
    Document {
        title,
        job: job.map(Box::new),
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
