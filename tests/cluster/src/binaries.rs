//! Where the programs of the control plane are.

use std::env;
use std::path::{Path, PathBuf};

use crate::Error;

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    const CRATE: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(CRATE).ancestors().nth(2).unwrap_or_else(|| Path::new(CRATE))
}

/// The path of a program of the control plane: in `KUBEBUILDER_ASSETS` when that is set, else in
/// `target/control-plane`.
pub(crate) fn locate(program: &str) -> Result<PathBuf, Error> {
    let directory =
        env::var_os("KUBEBUILDER_ASSETS").map_or_else(|| repository().join("target/control-plane"), PathBuf::from);
    let path = directory.join(program);
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::Missing(path))
    }
}
