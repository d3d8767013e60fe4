//! Who talks to the API server: users, kubeconfigs, clients.

use std::fs;
use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::Error;

/// How long the tokens of service accounts live: longer than any bench.
const TOKEN_LIFETIME_SECONDS: i64 = 12 * 60 * 60;

/// Somebody who sends requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User<'a> {
    /// May do everything.
    Admin,
    /// Is known to the API server and may do no more than anybody (403 for the rest). Not on an existing cluster.
    Unprivileged,
    /// A service account, which must exist.
    ServiceAccount {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

/// A kubeconfig that reaches the cluster, and what it says about the client that is made from it.
#[derive(Debug)]
pub(crate) struct Access {
    kubeconfig: Value,
    config: Config,
}

impl Access {
    /// For the API server at `url`, whose certificate `ca` vouches for, as the bearer of `token`.
    pub(crate) async fn new(url: &str, ca: &Path, token: &str) -> Result<Self, Error> {
        let cluster = json!({ "server": url, "certificate-authority": ca });
        Self::from_value(kubeconfig(&cluster, token)).await
    }

    /// For the current context of a kubeconfig file.
    pub(crate) async fn from_file(path: &Path) -> Result<Self, Error> {
        let fail = |reason: String| Error::Kubeconfig {
            name: path.display().to_string(),
            reason,
        };
        let read = Kubeconfig::read_from(path).map_err(|error| fail(error.to_string()))?;
        Self::from_value(serde_json::to_value(read).map_err(|error| fail(error.to_string()))?).await
    }

    async fn from_value(value: Value) -> Result<Self, Error> {
        let fail = |reason: String| Error::Kubeconfig {
            name: "of the test cluster".to_owned(),
            reason,
        };
        let parsed: Kubeconfig = serde_json::from_value(value.clone()).map_err(|error| fail(error.to_string()))?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            kubeconfig: value,
            config,
        })
    }

    /// The same cluster with another bearer token.
    pub(crate) async fn with_token(&self, token: &str) -> Result<Self, Error> {
        let cluster = self.cluster()?.clone();
        Self::from_value(kubeconfig(&cluster, token)).await
    }

    /// The cluster entry of the current context.
    fn cluster(&self) -> Result<&Value, Error> {
        let find = |list: &str, name: &Value| {
            self.kubeconfig[list]
                .as_array()?
                .iter()
                .find(|item| item["name"] == *name)
        };
        find("contexts", &self.kubeconfig["current-context"])
            .and_then(|context| find("clusters", &context["context"]["cluster"]))
            .map(|cluster| &cluster["cluster"])
            .ok_or_else(|| Error::Kubeconfig {
                name: "of the test cluster".to_owned(),
                reason: "its current context names no cluster".to_owned(),
            })
    }

    /// A new client. A client belongs to the tokio runtime that it is made on, so tests do not share one.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Client::try_from(self.config.clone()).map_err(Error::kube("make a client"))
    }

    /// The address of the API server.
    pub(crate) fn url(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// Writes the kubeconfig as JSON, which is YAML too.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        fs::write(path, self.kubeconfig.to_string()).map_err(Error::io(format!("write {}", path.display())))
    }
}

fn kubeconfig(cluster: &Value, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    })
}

/// Asks the API server for a token of a service account.
pub(crate) async fn service_account_token(admin: Client, namespace: &str, name: &str) -> Result<String, Error> {
    let attempt = format!("request a token for ServiceAccount {namespace}/{name}");
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(TOKEN_LIFETIME_SECONDS),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = Api::<ServiceAccount>::namespaced(admin, namespace)
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .map_err(Error::kube(attempt.as_str()))?;
    answer
        .status
        .and_then(|status| status.token)
        .ok_or_else(|| Error::Kubeconfig {
            name: format!("{namespace}-{name}"),
            reason: format!("{attempt}: no token in the answer"),
        })
}
