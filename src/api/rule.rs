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
    /// `spec.runPolicy.failurePolicy`.
    FailurePolicy,
    /// `spec.runPolicy.schedulingPolicy`.
    SchedulingPolicy,
    /// `spec.pytorchReplicaSpecs`.
    Replicas,
    /// One entry of `spec.pytorchReplicaSpecs`. A rule about an edit is asked only if the entry was there before.
    Replica,
    /// The containers in the template of one entry of `spec.pytorchReplicaSpecs`. To name them from further above costs
    /// the API server as much as looking at them.
    Containers,
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
    /// What the error says is wrong.
    pub reason: Reason,
}

/// How the API server heads the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `Invalid value:`, the default.
    Invalid,
    /// `Forbidden:`, of what cannot be done to this object.
    Forbidden,
    /// `Required value:`, of what is missing.
    Required,
}

impl Reason {
    /// As the definition spells it; nothing for its default.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Invalid => None,
            Self::Forbidden => Some("FieldValueForbidden"),
            Self::Required => Some("FieldValueRequired"),
        }
    }
}

impl Rule {
    /// The rule, about an edit that this object cannot have.
    pub(crate) fn forbidden(self) -> Self {
        Self {
            reason: Reason::Forbidden,
            ..self
        }
    }

    /// The rule, about something that is missing.
    pub(crate) fn required(self) -> Self {
        Self {
            reason: Reason::Required,
            ..self
        }
    }
}

/// Makes one.
pub(crate) fn rule(scope: Scope, field: &str, cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        scope,
        field: field.into(),
        cel: cel.into(),
        message: message.into(),
        reason: Reason::Invalid,
    }
}
