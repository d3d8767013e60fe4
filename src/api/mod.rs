//! What users write and read: the PyTorchJob resource, its schema and its names.

mod elastic;
pub mod names;
mod policy;
mod pytorchjob;
mod raw;
mod replica;
mod role;
#[macro_use]
mod rule_parts;
mod rules;
mod schema;
mod status;

pub use elastic::{ElasticPolicy, RdzvConf};
pub use policy::{CleanPodPolicy, RunPolicy, SchedulingPolicy};
pub use pytorchjob::{PyTorchJob, PyTorchJobSpec};
pub use raw::RawJson;
pub use replica::{ReplicaSpec, RestartPolicy};
pub use role::Role;
pub use rules::{RULES, Rule, Scope};
pub use schema::{crd, crd_yaml};
pub use status::{ConditionType, FirstFailure, JobCondition, JobStatus, ReplicaStatus};
