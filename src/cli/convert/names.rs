//! Names of Kubeflow Trainer v2's API, as of its release 2.2.

use crate::api::names::env;

/// `apiVersion` of all its kinds.
pub(super) const API_VERSION: &str = "trainer.kubeflow.org/v1alpha1";
/// Its group, of which runtimes are by default.
pub(super) const GROUP: &str = "trainer.kubeflow.org";
/// The kind of a job.
pub(super) const TRAIN_JOB: &str = "TrainJob";
/// The kind of a runtime in a namespace.
pub(super) const RUNTIME: &str = "TrainingRuntime";
/// The kind of a runtime for all namespaces, which a `TrainJob` means by default.
pub(super) const CLUSTER_RUNTIME: &str = "ClusterTrainingRuntime";
/// Type of the condition of a job that has succeeded.
pub(super) const COMPLETE: &str = "Complete";
/// Type of the condition of a job that has failed.
pub(super) const FAILED: &str = "Failed";
/// `managedBy` of jobs that Trainer itself runs, also the default.
pub(super) const MANAGED_BY: &str = "trainer.kubeflow.org/trainjob-controller";
/// The number of processes when none is said, in both APIs.
pub(super) const AUTO: &str = "auto";
/// Name of the replicated job that trains, and what its training container has to be called.
pub(super) const NODE: &str = "node";
/// Label of the replicated job that trains.
pub(super) const STEP: &str = "trainer.kubeflow.org/trainjob-ancestor-step";
/// Value of [`STEP`].
pub(super) const TRAINER: &str = "trainer";
/// Label of a runtime by which Trainer's SDK finds it.
pub(super) const FRAMEWORK: &str = "trainer.kubeflow.org/framework";
/// Value of [`FRAMEWORK`], and the policy of mlPolicy that sets the environment of torchrun.
pub(super) const TORCH: &str = "torch";
/// The policies of mlPolicy for other frameworks.
pub(super) const OTHER_POLICIES: [&str; 4] = ["flux", "jax", "mpi", "xgboost"];
/// Where the Jobs of a runtime are.
pub(super) const JOBS: &str = "spec.template.spec.replicatedJobs";
/// Where the first of them has the spec of its pods, as a JSON pointer.
pub(super) const PODS: &str = "/spec/template/spec/replicatedJobs/0/template/spec/template/spec";
/// Annotation of a runtime's template: queue of the `PodGroup` for Volcano.
pub(super) const QUEUE: &str = "scheduling.volcano.sh/queue-name";
/// Label of a pod: name of the `JobSet`, which is the name of the `TrainJob`.
pub(super) const NAME_LABEL: &str = "jobset.sigs.k8s.io/jobset-name";
/// The same as the path of a field.
pub(super) const NAME_FIELD: &str = "metadata.labels['jobset.sigs.k8s.io/jobset-name']";
/// Label and annotation of a pod: index of the node.
pub(super) const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";
/// The same annotation as the path of a field.
pub(super) const INDEX_FIELD: &str = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
/// Variable that `MASTER_ADDR` is made of.
pub(super) const NAME_VARIABLE: &str = "TRAINJOB_NAME";
/// Variables that Trainer sets, and refuses in a `TrainJob`.
pub(super) const RESERVED: [&str; 5] = [
    env::PET_NNODES,
    env::PET_NPROC_PER_NODE,
    env::PET_NODE_RANK,
    env::PET_MASTER_ADDR,
    env::PET_MASTER_PORT,
];
