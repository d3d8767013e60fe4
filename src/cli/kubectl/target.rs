//! Which cluster and namespace are looked at.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// As kubectl takes them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// Namespace of the jobs; the one of the context by default.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig; the current one by default.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig; KUBECONFIG or ~/.kube/config by default, or in a pod its service account.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Target {
    /// A client, and the namespace to look in.
    pub(super) async fn connect(&self) -> Result<(Client, String), Box<dyn Error>> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            None => match Config::from_kubeconfig(&options).await {
                Err(error) if self.may_be_in_a_pod(&error) => {
                    Config::incluster().map_err(|in_pod| format!("{error}; and in a pod: {in_pod}"))?
                }
                config => config?,
            },
        };
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config)?, namespace))
    }

    /// Whether, as with kubectl, a pod's own service account is to be taken: there is no kubeconfig, and none was asked
    /// for. One that cannot be used is an error: the account may have other rights, and is for one cluster.
    fn may_be_in_a_pod(&self, error: &KubeconfigError) -> bool {
        let missing = match error {
            KubeconfigError::FindPath => true,
            KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
            _ => false,
        };
        missing && self.kubeconfig.is_none() && self.context.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_account_of_a_pod_is_taken_where_there_is_no_kubeconfig_and_none_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let (missing, bad) = (directory.path().join("missing"), directory.path().join("bad"));
        std::fs::write(&bad, "clusters: 1").unwrap();
        let none = Target {
            namespace: Some("team".to_owned()),
            context: None,
            kubeconfig: None,
        };
        let with_context = Target {
            context: Some("other".to_owned()),
            ..none.clone()
        };
        let with_file = Target {
            kubeconfig: Some(missing.clone()),
            ..none.clone()
        };
        let error = |path| Kubeconfig::read_from(path).unwrap_err();
        for (target, error, expected) in [
            (&none, error(&missing), true),
            (&none, KubeconfigError::FindPath, true),
            (&none, error(&bad), false),
            (&none, KubeconfigError::CurrentContextNotSet, false),
            (&with_context, error(&missing), false),
            (&with_file, error(&missing), false),
        ] {
            assert_eq!(target.may_be_in_a_pod(&error), expected, "{target:?}: {error}");
        }
    }
}
