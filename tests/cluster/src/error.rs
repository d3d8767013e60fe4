//! What can go wrong in the rig, in words for whoever reads a failed test.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// A failure of the rig, not of what is tested, except for [`Error::Condition`].
///
/// `Debug` prints the same as `Display`, so that `unwrap()` in a test shows the message as it was meant.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program of the control plane has not been built.
    #[error("{} is missing: run `make control-plane`, or set KUBEBUILDER_ASSETS to a directory that has it", .0.display())]
    Missing(PathBuf),

    /// An operation on a file or a process failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A process ended although it was expected to run.
    #[error("{name} ended with {status}\n{log}")]
    Exited {
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },

    /// A process did not do in time what it was asked to.
    #[error("{name} {what} {timeout:?}\n{log}")]
    Late {
        /// The process.
        name: String,
        /// What it did not do, for example "was not ready within".
        what: &'static str,
        /// The time it was given.
        timeout: Duration,
        /// The end of its log.
        log: String,
    },

    /// The API server refused a request, or could not be reached.
    #[error("{attempt}: {source}")]
    Kube {
        /// What was attempted, on what object.
        attempt: String,
        /// The answer.
        source: Box<kube::Error>,
    },

    /// A kubeconfig could not be used.
    #[error("kubeconfig {name}: {reason}")]
    Kubeconfig {
        /// Which one.
        name: String,
        /// Why not.
        reason: String,
    },

    /// A program of the real node has not been built.
    #[error("{} is missing: run `make node-programs`", .0.display())]
    NoNode(PathBuf),

    /// There is one real node on a machine at a time.
    #[error("a real node runs already: `make node-down` ends what `make node` started")]
    NodeRuns,

    /// A program that was run to its end failed.
    #[error("{program} {arguments}: {status}\n{stderr}")]
    Program {
        /// Its name.
        program: String,
        /// Its arguments.
        arguments: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },

    /// A manifest is not what it should be.
    #[error("manifest: {0}")]
    Manifest(String),

    /// What a test waited for did not happen.
    #[error("{subject}: not as awaited within {timeout:?}; last seen:\n{last_seen}")]
    Condition {
        /// Kind and name of what was watched.
        subject: String,
        /// How long it was watched.
        timeout: Duration,
        /// The last state as YAML, and the last error of the watch if there was one.
        last_seen: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// For `map_err`: says what was attempted when the operating system refused it.
    pub(crate) fn io(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    /// For `map_err`: says what was attempted when the API server refused it.
    pub(crate) fn kube(attempt: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Kube {
            attempt,
            source: Box::new(source),
        }
    }
}
