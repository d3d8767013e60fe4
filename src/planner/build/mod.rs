//! What a job's objects are built from: its templates, the environment of its replicas, and the objects themselves.

pub(crate) mod autoscaler;
pub(crate) mod elastic_env;
pub(crate) mod env;
mod init_container;
pub(crate) mod pod;
pub(crate) mod pod_group;
mod service;
pub(crate) mod template;
pub mod template_hash;

pub use init_container::InitContainer;
