//! What a rule of the CRD is.

/// Where in the schema a rule stands, and so what `self` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole object; of `metadata` only the name is visible.
    Root,
    /// `spec`.
    Spec,
    /// `spec.elasticPolicy`.
    ElasticPolicy,
    /// `spec.runPolicy`.
    RunPolicy,
    /// `spec.runPolicy.schedulingPolicy`.
    SchedulingPolicy,
    /// `spec.pytorchReplicaSpecs`.
    Replicas,
    /// One entry of `spec.pytorchReplicaSpecs`.
    Replica,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub scope: Scope,
    /// The field that the error names, relative to the scope.
    pub field: String,
    /// The CEL expression; true means accepted.
    pub cel: String,
    /// What is allowed, and what to do instead.
    pub message: String,
}

/// Makes one.
pub(crate) fn rule(scope: Scope, field: &str, cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        scope,
        field: field.into(),
        cel: cel.into(),
        message: message.into(),
    }
}
