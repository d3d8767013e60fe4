//! What a job's objects are built from: its templates, the environment of its replicas, and the objects themselves.

pub mod autoscaler;
pub mod elastic_env;
pub mod env;
mod init_container;
pub mod pod;
pub mod pod_group;
mod service;
pub mod template;
pub mod template_hash;

pub use init_container::InitContainer;
