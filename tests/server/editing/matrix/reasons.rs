//! Why an edit has no effect, and what the API server says when it refuses one.

pub const DELETING: &str = "The job is being deleted: nothing is done for it any more, and `observedGeneration` stays.";
pub const ELSEWHERE: &str =
    "`managedBy` says that another controller runs the job: this operator does nothing for it, and writes no status.";
pub const FINISHED: &str = "The job has finished, which is final.";
pub const POD_METADATA: &str = "Pods take labels and annotations from their template, not from the job.";
pub const SAME: &str = "It is so already.";
pub const DEFAULT: &str = "It is what an absent field means.";
pub const UNSET_KEEPS: &str = "An absent policy keeps the pods of a job that succeeded, as None does.";
pub const NO_GANG: &str = "It is stored, for an operator with `--gang-scheduler-name`: there the PodGroup follows it.";
pub const NO_STARTUP_DEADLINE: &str = "It is stored, for when `startupDeadlineSeconds` is set.";
pub const UNKNOWN_FIELD: &str =
    "The definition does not know the field: `kubectl` refuses it, other clients get a warning, and it is not stored.";

pub const REQUIRED: &[&str] = &["Required value"];
pub const NO_NEW_FINALIZERS: &[&str] = &[
    "no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/other\"}",
];
pub const MULTIKUEUE: &[&str] =
    &["MultiKueue loses the policies that stand directly under spec: write them under runPolicy"];
// The second reason of these is what only a job of MultiKueue gets.
pub const BELOW_0: [&str; 2] = [
    "-1: spec.activeDeadlineSeconds in body should be greater than or equal to 0",
    MULTIKUEUE[0],
];
pub const TWO_SPELLINGS_DEADLINE: [&str; 2] = [
    "activeDeadlineSeconds and runPolicy.activeDeadlineSeconds are the same setting and must not differ: remove one or set both to the same value",
    MULTIKUEUE[0],
];
pub const TWO_SPELLINGS_LIMIT: [&str; 2] = [
    "backoffLimit and runPolicy.backoffLimit are the same setting and must not differ: remove one or set both to the same value",
    MULTIKUEUE[0],
];
pub const TWO_SPELLINGS_CLEAN: [&str; 2] = [
    "cleanPodPolicy and runPolicy.cleanPodPolicy are the same setting and must not differ: remove one or set both to the same value",
    MULTIKUEUE[0],
];
pub const TWO_SPELLINGS_TTL: [&str; 2] = [
    "ttlSecondsAfterFinished and runPolicy.ttlSecondsAfterFinished are the same setting and must not differ: remove one or set both to the same value",
    MULTIKUEUE[0],
];
pub const REPLICA_TYPES: &[&str] = &["replica types of a job cannot be added or removed: create a new job"];
pub const UNKNOWN_TYPE: &[&str] = &[
    "unknown replica type: use Master or Worker (case-sensitive)",
    "replica types of a job cannot be added or removed: create a new job",
];
pub const ONE_MASTER: &[&str] = &["Master.replicas must be 1: put additional pods in Worker.replicas"];
pub const TEMPLATE: &[&str] = &[
    "template can change only while the job is suspended, since running pods would not follow: set spec.runPolicy.suspend to true first, or in the same edit",
];
pub const NPROC: &[&str] = &[
    "nprocPerNode can change only while the job is suspended, since running pods would not follow: set spec.runPolicy.suspend to true first, or in the same edit",
];
pub const CANNOT_RUN_AGAIN: &[&str] = &["the job has finished and cannot run again: delete it and create it again"];
pub const WORKERS: &[&str] = &[
    "Worker.replicas of a job without elasticPolicy can change only while the job is suspended, since WORLD_SIZE of running pods cannot follow: set spec.runPolicy.suspend to true first, or in the same edit",
];
pub const UNBOUNDED_WORKERS: &[&str] = &[
    "Worker.replicas of a job whose elasticPolicy has neither minReplicas nor maxReplicas can change only while the job is suspended, since PET_NNODES of running pods cannot follow: set spec.runPolicy.suspend to true first, or in the same edit",
];
pub const BOUNDS: &[&str] =
    &["Worker.replicas must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas"];
pub const RESTART_POLICY: &[&str] = &["restartPolicy of a job cannot change: create a new job"];
pub const ELASTIC_POLICY: &[&str] =
    &["elasticPolicy of a job cannot change: edit Worker.replicas within its bounds, or create a new job"];
pub const RESTART_SCOPE: &[&str] = &["spec.runPolicy.restartScope is immutable: create a new job"];
pub const SERVICE_POLICY: &[&str] = &["spec.runPolicy.servicePolicy is immutable: create a new job"];
pub const RESTART_STRATEGY: &[&str] = &["spec.runPolicy.restartStrategy is immutable: create a new job"];
pub const RESTART_WINDOW: &[&str] =
    &["restartWindow needs restartScope Job: otherwise the kubelet restarts containers by itself; use backoffLimit"];
pub const BELOW_1: &[&str] = &["0: spec.runPolicy.restartWindow.seconds in body should be greater than or equal to 1"];
pub const STARTUP_BELOW_1: &[&str] =
    &["0: spec.runPolicy.startupDeadlineSeconds in body should be greater than or equal to 1"];
pub const UNREACHABLE_BELOW_1: &[&str] =
    &["0: spec.runPolicy.unreachableSeconds in body should be greater than or equal to 1"];
pub const GRACEFUL_STOP: &[&str] = &["spec.runPolicy.gracefulStopSeconds is immutable: create a new job"];
pub const PROGRESS_POLICY: &[&str] = &["spec.runPolicy.progressPolicy is immutable: create a new job"];
pub const FAILURE_POLICY: &[&str] = &["spec.runPolicy.failurePolicy is immutable: create a new job"];
pub const MANAGED_BY: &[&str] = &["spec.runPolicy.managedBy is immutable: create a new job"];
pub const QUEUE: &[&str] = &["spec.runPolicy.schedulingPolicy.queue is immutable: create a new job"];
pub const PRIORITY_CLASS: &[&str] = &["spec.runPolicy.schedulingPolicy.priorityClass is immutable: create a new job"];
pub const MIN_RESOURCES: &[&str] = &["spec.runPolicy.schedulingPolicy.minResources is immutable: create a new job"];
pub const SCHEDULE_TIMEOUT: &[&str] =
    &["spec.runPolicy.schedulingPolicy.scheduleTimeoutSeconds is immutable: create a new job"];
pub const SCHEDULING_POLICY: &[&str] =
    &["spec.runPolicy.schedulingPolicy is immutable but for minAvailable: create a new job"];
