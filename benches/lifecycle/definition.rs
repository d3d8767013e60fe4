//! The definitions of PyTorchJobs that are compared, and the one that the null operator's jobs have.

use std::fs;
use std::path::{Path, PathBuf};

use kube::core::ApiResource;
use pytorchjob_operator::api::{PyTorchJob, crd};
use pytorchjob_test_cluster::{Cluster, Options, forget_rules, training_operator};
use serde_json::{Value, json};

use crate::Result;

/// The API group of jobs of which the API server knows nothing but the name.
const BARE_GROUP: &str = "bare.kubeflow.org";

/// Ours, as it is shipped.
pub fn shipped() -> Result<PathBuf> {
    write("shipped", &serde_json::to_value(crd())?)
}

/// Ours, without its rules.
pub fn without_rules() -> Result<PathBuf> {
    let mut definition = serde_json::to_value(crd())?;
    forget_rules(&mut definition);
    write("without-rules", &definition)
}

/// Kubeflow's, if its operator has been built.
pub fn kubeflows() -> Option<PathBuf> {
    let definition = training_operator::definition();
    if definition.is_none() {
        eprintln!("Kubeflow's definition is not there, which tests/training-operator/build.sh gets; left out");
    }
    definition
}

/// One that keeps anything and checks nothing: less a definition cannot cost.
pub fn bare() -> Result<PathBuf> {
    write("bare", &bare_of(serde_json::to_value(crd())?))
}

/// The same in an API group of its own, beside any other.
pub fn bare_beside() -> Result<PathBuf> {
    let mut definition = bare_of(serde_json::to_value(crd())?);
    let plural = &bare_jobs().plural;
    definition["metadata"]["name"] = json!(format!("{plural}.{BARE_GROUP}"));
    definition["spec"]["group"] = json!(BARE_GROUP);
    write("bare-beside", &definition)
}

/// The jobs of [`bare_beside`].
pub fn bare_jobs() -> ApiResource {
    let jobs = ApiResource::erase::<PyTorchJob>(&());
    ApiResource {
        group: BARE_GROUP.to_owned(),
        api_version: format!("{BARE_GROUP}/{}", jobs.version),
        ..jobs
    }
}

/// A control plane without nodes that has this definition.
pub async fn cluster(definition: PathBuf) -> Result<Cluster> {
    let options = Options {
        crds: vec![definition],
        ..Options::default()
    };
    Ok(Cluster::start(options).await?)
}

fn bare_of(mut definition: Value) -> Value {
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    definition
}

fn write(name: &str, definition: &Value) -> Result<PathBuf> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    fs::write(&file, definition.to_string())?;
    Ok(file)
}
