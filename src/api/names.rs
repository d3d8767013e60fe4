//! Every name that leaves this program: labels, reasons, environment variables, object names.
//!
//! They are the contract with users, dashboards and the Python SDK, copied from Kubeflow training-operator 1.9 unless a
//! comment says otherwise. No other module spells one of them out.

/// Value of [`LABEL_OPERATOR_NAME`], source of events, and value of the label `controller` in metrics.
pub const CONTROLLER_NAME: &str = "pytorchjob-controller";

/// Names the operator that made a pod or service; the watches select on it.
pub const LABEL_OPERATOR_NAME: &str = "training.kubeflow.org/operator-name";
/// Names the job a pod or service belongs to.
pub const LABEL_JOB_NAME: &str = "training.kubeflow.org/job-name";
/// `master` or `worker`.
pub const LABEL_REPLICA_TYPE: &str = "training.kubeflow.org/replica-type";
/// Index of the replica within its type, decimal.
pub const LABEL_REPLICA_INDEX: &str = "training.kubeflow.org/replica-index";
/// `master` on the one pod whose log is the job's log: the Master, or worker 0 of a job without Master. Pods only.
pub const LABEL_JOB_ROLE: &str = "training.kubeflow.org/job-role";
/// Hash of that part of the spec a pod is built from that can change only while the job is suspended. Pods only. An
/// addition to Kubeflow's labels.
pub const LABEL_POD_TEMPLATE_HASH: &str = "training.kubeflow.org/pod-template-hash";
/// Annotation of a pod: the number of the attempt it is of, from 1, of a job with restartScope Job. An addition to
/// Kubeflow's.
pub const ANNOTATION_ATTEMPT: &str = "training.kubeflow.org/attempt";
/// Annotation of a pod: `runPolicy.progressPolicy.deadlineSeconds`, of a pod whose readiness says whether it makes
/// progress. An addition to Kubeflow's.
pub const ANNOTATION_PROGRESS_DEADLINE: &str = "training.kubeflow.org/progress-deadline-seconds";
/// Annotation of a pod: names of the nodes that it was built to stay away from, joined by commas. An addition to
/// Kubeflow's.
pub const ANNOTATION_EXCLUDED_NODES: &str = "training.kubeflow.org/excluded-nodes";
/// Annotation of a pod whose training container can be restarted in place: the resource by which it is asked to, and
/// once it has been, the amount asked for, how many restarts of the container are no failures, and whether it was asked
/// once more, as in `cpu=3999m,restarts=2` and `cpu=3997m,restarts=3,again`. An addition to Kubeflow's.
pub const ANNOTATION_IN_PLACE: &str = "training.kubeflow.org/restart-in-place";
/// Value of [`LABEL_JOB_ROLE`].
pub const JOB_ROLE_MASTER: &str = "master";

/// The container that trains; its ports, exit code and image are the ones that count.
pub const CONTAINER: &str = "pytorch";
/// Name of the port that the rendezvous uses.
pub const PORT_NAME: &str = "pytorchjob-port";
/// Number of that port when the user names none.
pub const PORT: u16 = 23456;
/// Init container of workers that waits until the Master's name resolves.
pub const INIT_CONTAINER: &str = "init-pytorch";

/// Annotation of a pod: its PodGroup, for Volcano.
pub const VOLCANO_GROUP: &str = "scheduling.k8s.io/group-name";
/// Annotation of a pod: its task, which is its replica type, for Volcano.
pub const VOLCANO_TASK: &str = "volcano.sh/task-spec";
/// Scheduler name of Volcano.
pub const VOLCANO: &str = "volcano";
/// Queue of a Volcano PodGroup that names none.
pub const VOLCANO_QUEUE: &str = "default";
/// Label of a pod: its PodGroup, for the coscheduling plugin.
pub const COSCHEDULING_GROUP: &str = "scheduling.x-k8s.io/pod-group";
/// Scheduler name of the scheduler-plugins, as their chart installs it.
pub const SCHEDULER_PLUGINS: &str = "scheduler-plugins-scheduler";
/// Annotation that `kubectl apply` keeps the whole of an object in.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Condition of a pod that is preempted, evicted by a taint or through the API, or whose node shuts down or is gone.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Type of the condition of a job whose replicas run and make no progress, and class of that failure. An addition to
/// Kubeflow's; it is never the last condition, which clients take for the state.
pub const STALLED: &str = "Stalled";

/// API group of Kueue.
pub const KUEUE: &str = "kueue.x-k8s.io";
/// Label of a job, of Kueue: the queue that it waits in.
pub const KUEUE_QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// Label of a Workload of Kueue: the UID of the job that it stands for.
pub const KUEUE_JOB_UID: &str = "kueue.x-k8s.io/job-uid";
/// Annotation of a pod, of Kueue: `true` says that it may be deleted by force when its node does not answer.
pub const SAFE_TO_FORCE: &str = "kueue.x-k8s.io/safe-to-forcefully-delete";

/// The value of `runPolicy.managedBy` that leaves a job to this operator; so does an absent field.
pub const MANAGED_BY_SELF: &str = "kubeflow.org/training-operator";
/// The other value allowed in `runPolicy.managedBy`: Kueue runs the job on another cluster.
pub const MANAGED_BY_MULTIKUEUE: &str = "kueue.x-k8s.io/multikueue";

/// `apiVersion` of the custom resource.
pub const API_VERSION: &str = "kubeflow.org/v1";
/// `kind` of the custom resource.
pub const KIND: &str = "PyTorchJob";

/// Reasons of conditions and events.
pub mod reason {
    /// The job was seen for the first time.
    pub const CREATED: &str = "PyTorchJobCreated";
    /// The Master, or without one any worker, runs.
    pub const RUNNING: &str = "PyTorchJobRunning";
    /// A failed replica is being replaced.
    pub const RESTARTING: &str = "PyTorchJobRestarting";
    /// The job is complete.
    pub const SUCCEEDED: &str = "PyTorchJobSucceeded";
    /// `runPolicy.suspend` is true.
    pub const SUSPENDED: &str = "PyTorchJobSuspended";
    /// Pods did not run within `runPolicy.startupDeadlineSeconds`: the job is suspended. Also its event.
    pub const STARTUP_DEADLINE: &str = "StartupDeadlineExceeded";
    /// `runPolicy.suspend` went back to false.
    pub const RESUMED: &str = "PyTorchJobResumed";
    /// The job failed; the message says why.
    pub const FAILED: &str = "PyTorchJobFailed";
    /// The stored job cannot be run as written. Name of the legacy pytorch-operator.
    pub const INVALID: &str = "InvalidPyTorchJobSpec";

    /// Event: pods were created.
    pub const CREATED_POD: &str = "SuccessfulCreatePod";
    /// Event: pods were deleted.
    pub const DELETED_POD: &str = "SuccessfulDeletePod";
    /// Event: a pod could not be created.
    pub const FAILED_CREATE_POD: &str = "FailedCreatePod";
    /// Event: a pod could not be deleted.
    pub const FAILED_DELETE_POD: &str = "FailedDeletePod";
    /// Event: a service could not be created.
    pub const FAILED_CREATE_SERVICE: &str = "FailedCreateService";
    /// Event: a service could not be deleted.
    pub const FAILED_DELETE_SERVICE: &str = "FailedDeleteService";
    /// Event: the autoscaler could not be created.
    pub const FAILED_CREATE_AUTOSCALER: &str = "FailedCreateHorizontalPodAutoscaler";
    /// Event: the autoscaler could not be deleted.
    pub const FAILED_DELETE_AUTOSCALER: &str = "FailedDeleteHorizontalPodAutoscaler";
    /// Event: the PodGroup was created.
    pub const CREATED_POD_GROUP: &str = "SuccessfulCreatePodGroup";
    /// Event: the PodGroup was deleted.
    pub const DELETED_POD_GROUP: &str = "SuccessfulDeletePodGroup";
    /// Event: the PodGroup could not be created or updated.
    pub const FAILED_CREATE_POD_GROUP: &str = "FailedCreatePodGroup";
    /// Event: the PodGroup could not be deleted.
    pub const FAILED_DELETE_POD_GROUP: &str = "FailedDeletePodGroup";
    /// Event: the job waits, because the cluster has no PodGroups of the gang scheduler.
    pub const NO_POD_GROUPS: &str = "PodGroupsNotServed";
    /// Event: the pods run without a gang, because Kubernetes' own gang scheduling is off.
    pub const NO_GANG: &str = "GangNotInForce";
    /// Event: a template names another scheduler than the gang scheduler.
    pub const TEMPLATE_SCHEDULER: &str = "SetPodTemplateSchedulerName";
    /// Event: the job could not be deleted when its time had come. Kubeflow says `FailedDeletePod` there.
    pub const FAILED_DELETE_JOB: &str = "FailedDeletePyTorchJob";
    /// Event: a pod is still terminating though its grace period is over.
    pub const STUCK_POD: &str = "PodStuckTerminating";
    /// Event: somebody else takes pods away.
    pub const DISRUPTED_POD: &str = "PodDisrupted";
    /// Event: a pod was deleted by force, because its node did not end it in time.
    pub const FORCED_POD: &str = "ForceDeletedPod";
    /// Event: new pods stay away from a node.
    pub const NODE_EXCLUDED: &str = "NodeExcluded";
    /// Event: they do so no longer, because a pod could not be scheduled.
    pub const NODE_READMITTED: &str = "NodeReadmitted";
    /// Event: all pods that were asked to stop have ended.
    pub const STOPPED_PODS: &str = "PodsStopped";
    /// Condition Stalled and event: replicas run and write nothing. The word of a Deployment.
    pub const STALLED: &str = "ProgressDeadlineExceeded";
    /// Condition Stalled and event: they write again, or run again.
    pub const PROGRESSING: &str = "TrainingProgresses";
    /// Event: the training containers of pods were asked to start again in place.
    pub const RESTARTED_IN_PLACE: &str = "RestartedInPlace";
    /// Event: pods that cannot restart in place are created again.
    pub const NOT_IN_PLACE: &str = "NotRestartedInPlace";
    /// Event: the definition in the cluster drops fields of the status.
    pub const STATUS_PRUNED: &str = "StatusFieldsPruned";
    /// Event: a container of the job fails again and again.
    pub const CRASH_LOOP: &str = "CrashLoopBackOff";
    /// Event: schedulers cannot place a pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// Events: a pod of the job does not run; the scheduler's and the kubelet's words, which Kubeflow passes on too.
    pub const POD_TROUBLES: [&str; 11] = [
        UNSCHEDULABLE,
        "SchedulingGated",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PostStartHookError",
        CRASH_LOOP,
    ];
    /// Event: the template's own `restartPolicy` is overwritten.
    pub const TEMPLATE_RESTART_POLICY: &str = "SetPodTemplateRestartPolicy";
}

/// Environment variables of the training containers.
pub mod env {
    /// Makes Python's output appear line by line in the log.
    pub const PYTHONUNBUFFERED: &str = "PYTHONUNBUFFERED";
    /// Port of the Master.
    pub const MASTER_PORT: &str = "MASTER_PORT";
    /// The same for torchrun.
    pub const PET_MASTER_PORT: &str = "PET_MASTER_PORT";
    /// Service name of the Master.
    pub const MASTER_ADDR: &str = "MASTER_ADDR";
    /// The same for torchrun.
    pub const PET_MASTER_ADDR: &str = "PET_MASTER_ADDR";
    /// Number of processes of the whole job.
    pub const WORLD_SIZE: &str = "WORLD_SIZE";
    /// Rank of the pod.
    pub const RANK: &str = "RANK";
    /// The same for torchrun.
    pub const PET_NODE_RANK: &str = "PET_NODE_RANK";
    /// Processes per pod.
    pub const PET_NPROC_PER_NODE: &str = "PET_NPROC_PER_NODE";
    /// Number of pods, or `min:max` of an elastic job.
    pub const PET_NNODES: &str = "PET_NNODES";
    /// `host:port` of the elastic rendezvous.
    pub const PET_RDZV_ENDPOINT: &str = "PET_RDZV_ENDPOINT";
    /// Backend of the elastic rendezvous.
    pub const PET_RDZV_BACKEND: &str = "PET_RDZV_BACKEND";
    /// Identity of the elastic rendezvous.
    pub const PET_RDZV_ID: &str = "PET_RDZV_ID";
    /// Further settings of the elastic rendezvous, `key=value` joined by commas.
    pub const PET_RDZV_CONF: &str = "PET_RDZV_CONF";
    /// Address of the pod, of an elastic job whose replicas have no names in DNS. An addition to Kubeflow's.
    pub const PET_LOCAL_ADDR: &str = "PET_LOCAL_ADDR";
    /// Restarts torchrun makes of its worker processes.
    pub const PET_MAX_RESTARTS: &str = "PET_MAX_RESTARTS";
    /// Seconds that torchrun waits for its processes after it was told to stop.
    pub const TORCH_ELASTIC_SHUTDOWN_TIMEOUT: &str = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT";
    /// Number of the attempt, from 1, of a job with restartScope Job. An addition to Kubeflow's.
    pub const TRAINING_ATTEMPT: &str = "TRAINING_ATTEMPT";
    /// Rendezvous on the pod itself.
    pub const PET_STANDALONE: &str = "PET_STANDALONE";
}
