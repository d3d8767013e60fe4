//! What users write and read: the PyTorchJob resource, its schema and its names.

mod accounting;
pub mod bounds;
mod cel;
mod child;
mod elastic_policy;
mod failure_class;
mod failure_policy;
mod immutable;
mod job_step;
pub mod names;
mod progress_policy;
mod pytorchjob;
mod raw;
mod replica;
mod replica_type;
mod restart_rules;
mod rule;
mod rules;
mod run_policy;
mod schema;
mod status;
pub mod structural;
mod text;
mod word;

pub use accounting::{Accounting, Spent};
pub use child::{ChildKind, ChildRef};
pub use elastic_policy::{ElasticPolicy, RdzvConf};
pub use failure_class::{FailureClass, Standing};
pub use failure_policy::{
    ConditionStatus, ExitCodes, FailureAction, FailurePolicy, FailureRule, PodConditionPattern, SetOperator,
};
pub use job_step::JobStep;
pub use progress_policy::{ProgressPolicy, StallAction};
pub use pytorchjob::{PyTorchJob, PyTorchJobSpec};
pub use raw::RawJson;
pub use replica::{ReplicaSpec, RestartPolicy};
pub use replica_type::{Replica, ReplicaType};
pub use rule::{Rule, Scope};
pub(crate) use rules::LOST_BY_MULTIKUEUE;
pub use rules::RULES;
pub use run_policy::{
    CleanPodPolicy, NodeExclusion, RestartScope, RestartStrategy, RestartWindow, RunPolicy, SchedulingPolicy,
    ServicePolicy, StartupDeadlineAction,
};
pub use schema::{UnknownPodFields, crd, crd_yaml, definition};
pub use status::{
    Attempt, ConditionType, ExcludedNode, FirstFailure, JobCondition, JobStatus, NodeFailure, ReplicaStatus,
};
pub use text::{shortened, without_place};
pub use word::Word;
