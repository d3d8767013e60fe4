//! The CEL rules of the CRD: what the API server refuses, and what it tells the user to do instead.
//! [`crate::planner::validate`] holds them for objects that were stored without them. Traps met on a real API server: a rule that opens
//! with "unless the field is absent" lets removal through; a read of an absent field of `oldSelf` refuses with an unreadable message;
//! and `==` takes lists that merge by keys for sets, so the order in templates is compared besides.

/// Where in the schema a rule stands, and so what `self` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole object; of `metadata` only the name is visible.
    Root,
    /// `spec`.
    Spec,
    /// One entry of `spec.pytorchReplicaSpecs`.
    Replica,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Where it stands.
    pub scope: Scope,
    /// The field that the error names, relative to the scope.
    pub field: &'static str,
    /// The CEL expression; true means accepted.
    pub cel: &'static str,
    /// What is allowed, and what to do instead.
    pub message: &'static str,
}

const fn rule(scope: Scope, field: &'static str, cel: &'static str, message: &'static str) -> Rule {
    Rule {
        scope,
        field,
        cel,
        message,
    }
}

/// A policy that may stand flat or under `runPolicy` has one value.
macro_rules! one_value {
    ($policy:literal) => {
        rule(
            Scope::Spec,
            concat!(".", $policy),
            concat!(
                "!has(self.",
                $policy,
                ") || !has(self.runPolicy.",
                $policy,
                ") || self.",
                $policy,
                " == self.runPolicy.",
                $policy
            ),
            concat!(
                $policy,
                " and runPolicy.",
                $policy,
                " are one policy in two spellings and differ: set both to the same value or remove one"
            ),
        )
    };
}

/// Every rule, in the order of the generated CRD.
pub const RULES: &[Rule] = &[
    rule(
        Scope::Root,
        ".metadata.name",
        concat!(
            new_object!(),
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
        ),
        "metadata.name must start with a letter, consist of lower-case letters, digits and '-', and not end with '-': services are named after the job",
    ),
    rule(
        Scope::Root,
        ".metadata.name",
        concat!(new_object!(), names_fit!()),
        "metadata.name is too long: with role and index, as in NAME-worker-0, it must fit in 63 characters, the limit of service names",
    ),
    rule(
        Scope::Root,
        ".metadata.name",
        concat!(
            "self.spec.pytorchReplicaSpecs.all(k, k in oldSelf.spec.pytorchReplicaSpecs && ",
            "(has(self.spec.pytorchReplicaSpecs[k].replicas) ? self.spec.pytorchReplicaSpecs[k].replicas : 1) <= ",
            "(has(oldSelf.spec.pytorchReplicaSpecs[k].replicas) ? oldSelf.spec.pytorchReplicaSpecs[k].replicas : 1)) || ",
            names_fit!()
        ),
        "metadata.name is too long for so many workers: NAME-worker-INDEX must fit in 63 characters, the limit of service names: take fewer workers, or create a new job with a shorter name",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        "self.pytorchReplicaSpecs.all(k, k == 'Master' || k == 'Worker')",
        "unknown replica type: the keys are Master and Worker, spelled so",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        "!('Master' in self.pytorchReplicaSpecs) || !has(self.pytorchReplicaSpecs['Master'].replicas) || self.pytorchReplicaSpecs['Master'].replicas == 1",
        "Master.replicas must be 1: further pods belong into Worker.replicas",
    ),
    rule(
        Scope::Replica,
        ".template.spec.containers",
        "self.template.spec.containers.exists(c, c.name == 'pytorch')",
        "template.spec.containers needs a container named pytorch: it is the one that trains",
    ),
    rule(
        Scope::Replica,
        ".template.spec.containers",
        "self.template.spec.containers.all(c, has(c.image) && size(c.image) > 0)",
        "template.spec.containers: every container needs an image",
    ),
    rule(
        Scope::Spec,
        ".elasticPolicy",
        "!has(self.elasticPolicy) || 'Worker' in self.pytorchReplicaSpecs",
        "elasticPolicy needs pytorchReplicaSpecs.Worker: workers are what is elastic",
    ),
    rule(
        Scope::Spec,
        ".elasticPolicy",
        "!has(self.elasticPolicy) || !has(self.elasticPolicy.minReplicas) || !has(self.elasticPolicy.maxReplicas) || self.elasticPolicy.minReplicas <= self.elasticPolicy.maxReplicas",
        "elasticPolicy.minReplicas must not exceed elasticPolicy.maxReplicas",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        "!has(self.elasticPolicy) || !('Worker' in self.pytorchReplicaSpecs) || ((!has(self.elasticPolicy.minReplicas) || self.elasticPolicy.minReplicas <= (has(self.pytorchReplicaSpecs['Worker'].replicas) ? self.pytorchReplicaSpecs['Worker'].replicas : 1)) && (!has(self.elasticPolicy.maxReplicas) || (has(self.pytorchReplicaSpecs['Worker'].replicas) ? self.pytorchReplicaSpecs['Worker'].replicas : 1) <= self.elasticPolicy.maxReplicas))",
        "Worker.replicas must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas",
    ),
    rule(
        Scope::Spec,
        ".elasticPolicy",
        "!has(self.elasticPolicy) || !has(self.elasticPolicy.nProcPerNode) || !has(self.nprocPerNode)",
        "elasticPolicy.nProcPerNode must not be used together with nprocPerNode: keep nprocPerNode, the other is deprecated",
    ),
    one_value!("activeDeadlineSeconds"),
    one_value!("backoffLimit"),
    one_value!("cleanPodPolicy"),
    one_value!("ttlSecondsAfterFinished"),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        "self.pytorchReplicaSpecs.all(k, k in oldSelf.pytorchReplicaSpecs) && oldSelf.pytorchReplicaSpecs.all(k, k in self.pytorchReplicaSpecs)",
        "replica types of a job cannot be added or removed: create a new job",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        concat!(
            suspended!(),
            " || self.pytorchReplicaSpecs.all(k, !(k in oldSelf.pytorchReplicaSpecs) || (",
            "self.pytorchReplicaSpecs[k].template == oldSelf.pytorchReplicaSpecs[k].template && ",
            same_order!("containers", "c.name"),
            " && ",
            same_order!("containers", "has(c.env) ? c.env.map(e, e.name) : []"),
            " && ",
            same_order!("containers", "has(c.ports) ? c.ports.map(p, p.containerPort) : []"),
            " && ",
            same_order!("initContainers", "c.name"),
            " && ",
            same_order!("initContainers", "has(c.env) ? c.env.map(e, e.name) : []"),
            "))"
        ),
        "template can change only while the job is suspended, since running pods would not follow: set spec.runPolicy.suspend to true first, or in the same edit",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        concat!(suspended!(), " || has(self.elasticPolicy) || ", same_workers!()),
        "Worker.replicas of a job without elasticPolicy can change only while the job is suspended, since WORLD_SIZE of running pods cannot follow: set spec.runPolicy.suspend to true first, or in the same edit",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        concat!(
            suspended!(),
            " || !has(self.elasticPolicy) || has(self.elasticPolicy.minReplicas) || has(self.elasticPolicy.maxReplicas) || ",
            same_workers!()
        ),
        "Worker.replicas of a job whose elasticPolicy has neither minReplicas nor maxReplicas can change only while the job is suspended, since PET_NNODES of running pods cannot follow: set spec.runPolicy.suspend to true first, or in the same edit",
    ),
    rule(
        Scope::Spec,
        ".pytorchReplicaSpecs",
        concat!(
            "self.pytorchReplicaSpecs.all(k, !(k in oldSelf.pytorchReplicaSpecs) || ",
            "(has(self.pytorchReplicaSpecs[k].restartPolicy) ? self.pytorchReplicaSpecs[k].restartPolicy : 'OnFailure') == ",
            "(has(oldSelf.pytorchReplicaSpecs[k].restartPolicy) ? oldSelf.pytorchReplicaSpecs[k].restartPolicy : 'OnFailure'))"
        ),
        "restartPolicy of a job cannot change: create a new job",
    ),
    rule(
        Scope::Spec,
        ".nprocPerNode",
        concat!(suspended!(), " || ", same!("nprocPerNode")),
        "nprocPerNode can change only while the job is suspended, since running pods would not follow: set spec.runPolicy.suspend to true first, or in the same edit",
    ),
    rule(
        Scope::Spec,
        ".elasticPolicy",
        same!("elasticPolicy"),
        "elasticPolicy of a job cannot change: edit Worker.replicas within its bounds, or create a new job",
    ),
    rule(
        Scope::Spec,
        ".runPolicy.managedBy",
        concat!(
            "(has(self.runPolicy.managedBy) ? self.runPolicy.managedBy : 'kubeflow.org/training-operator') == ",
            "(has(oldSelf.runPolicy.managedBy) ? oldSelf.runPolicy.managedBy : 'kubeflow.org/training-operator')"
        ),
        "spec.runPolicy.managedBy is immutable: create a new job",
    ),
    rule(
        Scope::Spec,
        ".runPolicy.schedulingPolicy.queue",
        same_scheduling!("queue"),
        "spec.runPolicy.schedulingPolicy.queue is immutable: create a new job",
    ),
    rule(
        Scope::Spec,
        ".runPolicy.schedulingPolicy.priorityClass",
        same_scheduling!("priorityClass"),
        "spec.runPolicy.schedulingPolicy.priorityClass is immutable: create a new job",
    ),
    rule(
        Scope::Spec,
        ".runPolicy.schedulingPolicy.minResources",
        same_scheduling!("minResources"),
        "spec.runPolicy.schedulingPolicy.minResources is immutable: create a new job",
    ),
    rule(
        Scope::Spec,
        ".runPolicy.schedulingPolicy.scheduleTimeoutSeconds",
        same_scheduling!("scheduleTimeoutSeconds"),
        "spec.runPolicy.schedulingPolicy.scheduleTimeoutSeconds is immutable: create a new job",
    ),
];
