//! The words of policies, which the definitions of Kubeflow take as any text, and the rules about failures.

use crate::api::bounds::MAX_SECONDS_OF_A_POD;
use crate::api::{PyTorchJob, ReplicaType, RestartScope, RestartStrategy, Word};
use crate::planner::validate::Found;

/// What is said of a rule about failures with no condition, or with several.
const ONE_CONDITION: &str = "needs one of class, exitCodes and onPodConditions, and no other";

/// Checks the words of policies, and the rules about failures.
pub(crate) fn check(job: &PyTorchJob, found: &mut Found) {
    for (field, policy) in [
        ("spec.cleanPodPolicy", &job.spec.clean_pod_policy),
        ("spec.runPolicy.cleanPodPolicy", &job.spec.run_policy.clean_pod_policy),
    ] {
        if let Some(Word::Other(word)) = policy {
            found.fatal(field, format!("is {word:?} and must be All, Running or None"));
        }
    }
    if let Some(Word::Other(word)) = &job.spec.run_policy.restart_scope {
        let must = format!("is {word:?} and must be Replica or Job");
        found.fatal("spec.runPolicy.restartScope", must);
    }
    if let Some(Word::Other(word)) = &job.spec.run_policy.service_policy {
        let must = format!("is {word:?} and must be All or Rendezvous");
        found.fatal("spec.runPolicy.servicePolicy", must);
    }
    if let Some(Word::Other(word)) = &job.spec.run_policy.startup_deadline_action {
        let must = format!("is {word:?} and must be Fail, Restart or Suspend");
        found.fatal("spec.runPolicy.startupDeadlineAction", must);
    }
    check_restart_strategy(job, found);
    for role in ReplicaType::ALL {
        if let Some(Word::Other(word)) = job
            .spec
            .replica(role)
            .and_then(|replica| replica.restart_policy.as_ref())
        {
            let field = format!("spec.pytorchReplicaSpecs.{role}.restartPolicy");
            found.fatal(
                field,
                format!("is {word:?} and must be Always, OnFailure, Never or ExitCode"),
            );
        }
    }
    if job.spec.run_policy.restart_window.is_some() && job.spec.restart_scope() != RestartScope::Job {
        let needs = "needs restartScope Job: otherwise the kubelet restarts containers by itself; use backoffLimit";
        found.tolerable("spec.runPolicy.restartWindow", needs);
    }
    check_failure_policy(job, found);
    check_progress_policy(job, found);
}

fn check_progress_policy(job: &PyTorchJob, found: &mut Found) {
    let Some(policy) = &job.spec.run_policy.progress_policy else {
        return;
    };
    let field = |name: &str| format!("spec.runPolicy.progressPolicy.{name}");
    match &policy.action {
        None => found.fatal(field("action"), "is required: Restart, Fail or Warn"),
        Some(Word::Other(word)) => {
            found.fatal(
                field("action"),
                format!("is {word:?} and must be Restart, Fail or Warn"),
            );
        }
        Some(Word::Known(_)) => {}
    }
    if !policy.file.starts_with('/') {
        let must = format!("is {:?} and must be an absolute path", policy.file);
        found.fatal(field("file"), must);
    }
    for (name, seconds, min) in [
        ("deadlineSeconds", Some(policy.deadline_seconds), 10),
        ("startupSeconds", policy.startup_seconds, 1),
    ] {
        if seconds.is_some_and(|seconds| !(min..=MAX_SECONDS_OF_A_POD).contains(&seconds)) {
            found.tolerable(field(name), format!("must be between {min} and {MAX_SECONDS_OF_A_POD}"));
        }
    }
}

fn check_restart_strategy(job: &PyTorchJob, found: &mut Found) {
    let field = "spec.runPolicy.restartStrategy";
    match &job.spec.run_policy.restart_strategy {
        Some(Word::Other(word)) => found.fatal(field, format!("is {word:?} and must be Recreate or InPlace")),
        Some(Word::Known(RestartStrategy::InPlace)) if job.spec.restart_scope() != RestartScope::Job => {
            let needs = "InPlace needs restartScope Job: with Replica the kubelet restarts the container that failed in \
                         place without it";
            found.tolerable(field, needs);
        }
        _ => {}
    }
}

fn check_failure_policy(job: &PyTorchJob, found: &mut Found) {
    let policy = job.spec.run_policy.failure_policy.iter();
    for (place, rule) in policy.flat_map(|policy| policy.rules.iter().enumerate()) {
        let field = format!("spec.runPolicy.failurePolicy.rules[{place}]");
        let given = [
            rule.class.is_some(),
            rule.exit_codes.is_some(),
            !rule.on_pod_conditions.is_empty(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            found.fatal(field.clone(), ONE_CONDITION);
        }
        match &rule.action {
            None => found.fatal(format!("{field}.action"), "is required: FailJob, Restart or Ignore"),
            Some(Word::Other(word)) => {
                let must = format!("is {word:?} and must be FailJob, Restart or Ignore");
                found.fatal(format!("{field}.action"), must);
            }
            Some(Word::Known(_)) => {}
        }
        if let Some(Word::Other(word)) = &rule.class {
            let must = format!("is {word:?}, which is no class of failures");
            found.fatal(format!("{field}.class"), must);
        }
        if let Some(Word::Other(word)) = rule.exit_codes.as_ref().and_then(|codes| codes.operator.as_ref()) {
            let must = format!("is {word:?} and must be In or NotIn");
            found.fatal(format!("{field}.exitCodes.operator"), must);
        }
        for (place, pattern) in rule.on_pod_conditions.iter().enumerate() {
            if let Some(Word::Other(word)) = &pattern.status {
                let must = format!("is {word:?} and must be True, False or Unknown");
                found.fatal(format!("{field}.onPodConditions[{place}].status"), must);
            }
        }
    }
}
