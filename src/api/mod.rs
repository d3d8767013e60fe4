//! What users write and read: the PyTorchJob resource, its schema and its names.

mod elastic_policy;
pub mod names;
mod pytorchjob;
mod raw;
mod replica;
mod replica_type;
#[macro_use]
mod cel;
mod rules;
mod run_policy;
mod schema;
mod status;

pub use elastic_policy::{ElasticPolicy, RdzvConf};
pub use pytorchjob::{PyTorchJob, PyTorchJobSpec};
pub use raw::RawJson;
pub use replica::{ReplicaSpec, RestartPolicy};
pub use replica_type::ReplicaType;
pub use rules::{RULES, Rule, Scope};
pub use run_policy::{CleanPodPolicy, RunPolicy, SchedulingPolicy};
pub use schema::{crd, crd_yaml};
pub use status::{ConditionType, FirstFailure, JobCondition, JobStatus, ReplicaStatus};
