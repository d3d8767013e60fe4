//! Installing manifests: the files of the repository, by the tools that users have.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition as _;
use serde_json::Value;

use crate::binaries::locate;
use crate::process::output;
use crate::{Cluster, Error, wait_for};

/// The server establishes a definition in milliseconds.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes all CEL rules out of a definition, given as JSON.
pub fn forget_rules(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("x-kubernetes-validations");
            object.values_mut().for_each(forget_rules);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_rules),
        _ => {}
    }
}

impl Cluster {
    /// Installs a `CustomResourceDefinition` from its YAML, and waits until its objects are served.
    pub async fn install_crd(&self, yaml: &str) -> Result<(), Error> {
        let fail = |error: String| Error::Manifest(format!("CustomResourceDefinition: {error}"));
        // Not through the typed definition: it would drop what it does not know.
        let crd: Value = serde_saphyr::from_str(yaml).map_err(|error| fail(error.to_string()))?;
        let name = crd["metadata"]["name"]
            .as_str()
            .ok_or_else(|| fail("metadata.name is missing".to_owned()))?;
        let api = Api::<CustomResourceDefinition>::all(self.admin());
        api.patch(name, &PatchParams::apply("test-cluster").force(), &Patch::Apply(&crd))
            .await
            .map_err(Error::kube(format!("apply CustomResourceDefinition {name}")))?;
        self.established(name).await
    }

    /// Applies a kustomization directory with `kubectl apply -k`, or a file or plain directory with `-f`, and waits
    /// until the definitions among its objects are served.
    pub async fn apply_kustomize(&self, path: &Path) -> Result<(), Error> {
        let option = if path.join("kustomization.yaml").is_file() {
            "-k"
        } else {
            "-f"
        };
        let path = path.display().to_string();
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--output=name",
            option,
            path.as_str(),
        ];
        for name in self.kubectl(&arguments).await?.lines() {
            if let Some(crd) = name.strip_prefix("customresourcedefinition.apiextensions.k8s.io/") {
                self.established(crd).await?;
            }
        }
        Ok(())
    }

    /// Runs `kubectl` as administrator and returns its standard output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        // An existing cluster can be tested without a control plane having been built.
        let program = locate("kubectl").or_else(|missing| {
            if self.is_ours() {
                Err(missing)
            } else {
                Ok("kubectl".into())
            }
        })?;
        let mut command = tokio::process::Command::new(program);
        command
            .arg("--kubeconfig")
            .arg(self.admin_kubeconfig())
            // Not in the home directory: another cluster may have been at the same address before.
            .arg("--cache-dir")
            .arg(self.directory().join("kubectl-cache"))
            .args(arguments)
            .env("KUBECTL_KUBERC", "false");
        output(&mut command).await
    }

    /// Waits by watching until the objects of a definition are served. `kubectl wait` fails when it comes before the
    /// server has given the definition any condition.
    pub async fn established(&self, name: &str) -> Result<(), Error> {
        let api = Api::<CustomResourceDefinition>::all(self.admin());
        let established = |crd: &CustomResourceDefinition| is_crd_established().matches_object(Some(crd));
        wait_for(&api, name, ESTABLISH_TIMEOUT, established).await.map(drop)
    }
}
