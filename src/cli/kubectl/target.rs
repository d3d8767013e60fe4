//! Which cluster and namespace are looked at.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::platform::client::heed_no_proxy;

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
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => merged(env::var_os("KUBECONFIG").as_deref().unwrap_or_default()),
        };
        let mut config = match kubeconfig {
            Err(error) if self.may_be_in_a_pod(&error) => {
                Config::incluster().map_err(|in_pod| format!("{error}; and in a pod: {in_pod}"))?
            }
            kubeconfig => Config::from_custom_kubeconfig(kubeconfig?, &options).await?,
        };
        heed_no_proxy(&mut config);
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config)?, namespace))
    }

    /// Whether, as with kubectl, a pod's own service account is to be taken: there is no kubeconfig, and none was asked
    /// for. One that cannot be used is an error: the account may have other rights, and is for one cluster.
    fn may_be_in_a_pod(&self, error: &KubeconfigError) -> bool {
        is_missing(error) && self.kubeconfig.is_none() && self.context.is_none()
    }
}

/// The files of KUBECONFIG as one, or the file in the home directory where KUBECONFIG names none. kube insists that
/// every file exists; kubectl is content with one.
fn merged(files: &OsStr) -> Result<Kubeconfig, KubeconfigError> {
    let files = env::split_paths(files).filter(|file| !file.as_os_str().is_empty());
    let (mut merged, mut absent) = (None::<Kubeconfig>, None);
    for file in files {
        match Kubeconfig::read_from(file) {
            Err(error) if is_missing(&error) => absent = absent.or(Some(error)),
            read => merged = Some(merged.unwrap_or_default().merge(read?)?),
        }
    }
    match (merged, absent) {
        (Some(merged), _) => Ok(merged),
        (None, Some(error)) => Err(error),
        (None, None) => Kubeconfig::read(),
    }
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_kubeconfig_that_is_missing_is_skipped_and_the_others_are_merged() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("good"), "current-context: good").unwrap();
        std::fs::write(file("other"), "current-context: other\nusers: [{name: u}]").unwrap();
        std::fs::write(file("bad"), "clusters: 1").unwrap();
        let read = |names: &[&str]| merged(&env::join_paths(names.iter().map(|name| file(name))).unwrap());
        for names in [&["good", "missing"], &["missing", "good"]] {
            assert_eq!(read(names).unwrap().current_context.unwrap(), "good", "{names:?}");
        }
        let all = read(&["missing", "good", "other"]).unwrap();
        assert_eq!(
            (all.current_context.as_deref(), all.auth_infos.len()),
            (Some("good"), 1)
        );
        let error = read(&["missing", "missing too"]).unwrap_err();
        assert!(is_missing(&error) && error.to_string().contains("missing\""), "{error}");
        assert!(matches!(read(&["missing", "bad"]), Err(KubeconfigError::Parse(_))));
    }

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
