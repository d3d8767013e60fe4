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
    let documents = parse(&text).map_err(|source| Error::Yaml {
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

/// The documents of a file, with the values that kubectl gives them: it reads YAML 1.1, in which `yes` and `on` are
/// true and `0777` is 511. A duplicate key, of which kubectl takes the last one, is an error.
fn parse(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        // However many jobs there are: what guards against a hostile text would leave the file unchecked.
        budget: serde_saphyr::budget! {
            max_documents: usize::MAX,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_means_what_it_means_to_kubectl() {
        // As kubectl 1.37 printed them with `create --dry-run=client --validate=false -o json`.
        for (words, value) in [
            ("y Y yes Yes YES on On ON true True TRUE", json!(true)),
            ("n N no No NO off Off OFF false False FALSE", json!(false)),
            ("~ null Null NULL", Value::Null),
            ("0777 00777 0o777 0x1FF 0b111111111 511 +511", json!(511)),
            ("-0777 -511", json!(-511)),
            ("1_000 1000", json!(1000)),
            ("0 00", json!(0)),
            (".5 0.5", json!(0.5)),
        ] {
            for word in words.split(' ') {
                assert_eq!(parse(&format!("a: {word}")).unwrap()[0]["a"], value, "{word}");
            }
        }
        for word in ["1:30", "2001-01-01", "_1", ".", "=", "\"yes\"", "!!str yes", "'0777'"] {
            let text = word.trim_start_matches("!!str ").trim_matches(['"', '\'']);
            assert_eq!(parse(&format!("a: {word}")).unwrap()[0]["a"], text, "{word}");
        }
        assert!(parse("a: .inf").is_err(), "nor has JSON a word for it");
        assert!(parse("a: 1\na: 2").is_err());
    }
}
