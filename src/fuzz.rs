//! What the fuzz targets reach of the modules that are private; built for them alone.

use std::sync::LazyLock;

use serde_json::Value;

use crate::api::structural::schema_of_jobs;
use crate::api::{ChildKind, UnknownPodFields};
use crate::cache::{ObjectView, StoredJob};
use crate::cli::read_any;

/// The name of a job as it is stored, whatever else is in it; why there is none, if it cannot even be listed.
pub fn name_of_job(text: &str) -> Result<String, String> {
    let job: StoredJob = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(job.key().name)
}

/// Decodes what a job owns, and reduces it to what decisions need.
pub fn observe(text: &str) {
    let Ok(object) = serde_json::from_str::<ObjectView>(text) else {
        return;
    };
    for kind in ChildKind::ALL {
        match kind {
            ChildKind::Pod => drop(object.clone().observe_pod()),
            kind => drop(object.clone().observe(kind)),
        }
    }
}

/// Does with a text what `plan` and `validate` do with a file.
pub fn manifests(text: &str) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema_of_jobs(UnknownPodFields::Refused));
    read_any(text, &SCHEMA);
}
