//! Words with a meaning, and all others.

use serde::{Deserialize, Serialize};

/// A policy as it is stored: the definitions of Kubeflow take any word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a string")]
pub enum Word<T> {
    /// One that has a meaning.
    Known(T),
    /// Any other. It counts as unset, and is a reason to refuse a job that has not started.
    Other(String),
}

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Copy> Word<T> {
    /// The meaning, if it has one.
    pub(crate) const fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Other(_) => None,
        }
    }
}
