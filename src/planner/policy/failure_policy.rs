//! `runPolicy.failurePolicy`: what becomes of a failure, by what it was. Ours, in the shape of the `podFailurePolicy`
//! of a Kubernetes Job: the first rule that fits decides, and without one `restartPolicy` does.
//!
//! A container that the kubelet restarts in place never fails its pod, so pods of such a job have `restartPolicy:
//! Never`, as those of a Kubernetes Job with that policy.

use crate::api::{
    ConditionStatus, ExitCodes, FailureAction, FailureRule, PodConditionPattern, PyTorchJob, SetOperator, Word, names,
};
use crate::planner::child::Pod;

/// A rule that fits a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Its place in the list, from 0.
    pub rule: usize,
    /// What it says.
    pub action: FailureAction,
}

/// What the rules say of a pod that failed or was disrupted, if one fits.
#[must_use]
pub(crate) fn verdict(job: &PyTorchJob, pod: &Pod) -> Option<Verdict> {
    let policy = job.spec.run_policy.failure_policy.as_ref()?;
    let mut rules = policy.rules.iter().enumerate();
    let (rule, action) = rules.find_map(|(place, rule)| Some((place, action(rule).filter(|_| fits(rule, pod))?)))?;
    Some(Verdict { rule, action })
}

/// Whether a disruption of this pod is to be treated as a failure.
#[must_use]
pub(crate) fn is_failure(job: &PyTorchJob, pod: &Pod) -> bool {
    let ends = pod.terminating || pod.finished();
    let counts = |verdict: Verdict| verdict.action != FailureAction::Ignore;
    pod.disrupted && ends && verdict(job, pod).is_some_and(counts)
}

/// The message of the Failed condition, of a failure that a rule does not forgive. `cause` says how the pod failed.
#[must_use]
pub(crate) fn message(job: &str, verdict: Verdict, pod: &Pod, cause: &str) -> String {
    format!(
        "PyTorchJob {job} is failed because failurePolicy.rules[{}] says FailJob. {cause} It was {}.",
        verdict.rule,
        pod.failure_class()
    )
}

fn action(rule: &FailureRule) -> Option<FailureAction> {
    rule.action.as_ref().and_then(Word::known)
}

fn fits(rule: &FailureRule, pod: &Pod) -> bool {
    let class = rule.class.as_ref().and_then(Word::known);
    let code = pod.failure.as_ref().and_then(|failure| failure.container.as_ref());
    class.is_some_and(|class| class == pod.failure_class())
        || rule
            .exit_codes
            .as_ref()
            .zip(code)
            .is_some_and(|(codes, container)| has(codes, container.exit_code))
        || rule.on_pod_conditions.iter().any(|pattern| is_met(pattern, pod))
}

fn has(codes: &ExitCodes, code: i32) -> bool {
    match codes.operator.as_ref().and_then(Word::known) {
        Some(SetOperator::In) => codes.values.contains(&code),
        Some(SetOperator::NotIn) => !codes.values.contains(&code),
        None => false,
    }
}

fn is_met(pattern: &PodConditionPattern, pod: &Pod) -> bool {
    let Some(status) = pattern.status.as_ref().map_or(Some(ConditionStatus::True), Word::known) else {
        return false;
    };
    if pattern.type_ == names::DISRUPTION_TARGET && status == ConditionStatus::True {
        return pod.disrupted;
    }
    let conditions = pod.failure.iter().flat_map(|failure| &failure.conditions);
    conditions
        .into_iter()
        .any(|(type_, value)| *type_ == pattern.type_ && value == status.as_str())
}
