//! `restartPolicy`: what a failed replica means.
//!
//! The kubelet restarts containers in place under Always and OnFailure; what reaches this module is a pod that failed
//! as a whole. Such a pod is replaced in two steps. First the failure is counted in the status; only when that is
//! stored, the pod is deleted, so that a crash in between can neither lose nor repeat a count.

use crate::api::names::{self, reason};
use crate::api::{
    FailureAction, JobStatus, PyTorchJob, PyTorchJobSpec, Replica, ReplicaType, RestartPolicy, RestartScope,
    StallAction,
};
use crate::planner::build::template;
use crate::planner::child::Pod;
use crate::planner::failure::{FailedContainer, Failure};
use crate::planner::plan::{Action, Event};
use crate::planner::policy::failure_policy::{self, Verdict};
use crate::planner::policy::{progress_policy, restart_scope, restart_strategy, restart_window};
use crate::planner::replaced_pods::ReplacedPods;
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::status::stalls;
use crate::planner::world::World;

/// Exit codes from here on are signals (128 + n): not the program's own decision, so worth another try.
const RETRYABLE_FROM: i32 = 128;

/// The failures that the status has not counted yet, by role.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failures<'a> {
    /// Failures of this kind end the job; the message says how.
    pub fatal: Option<String>,
    /// Pods to replace, Master first.
    pub replace: Vec<(ReplicaType, &'a Pod)>,
    /// How many of them have not failed and stand still.
    pub stalled: usize,
}

impl<'a> Failures<'a> {
    /// The pods alone.
    #[must_use]
    pub(crate) fn pods(&self) -> Vec<&'a Pod> {
        self.replace.iter().map(|(_, pod)| *pod).collect()
    }
}

/// Sorts the failed pods of wanted replicas into those that end the job and those to be replaced. Of a replica that has
/// completed, nothing fails any more: it does not run again.
#[must_use]
pub(crate) fn failures<'a>(world: &World<'a>, status: &JobStatus) -> Failures<'a> {
    let mut found = Failures::default();
    if world.is_restarting_as_a_whole() || restart_strategy::under_way(world) {
        // Whatever fails now, fails by the restart or by the failure that caused it.
        return found;
    }
    let (mut new, completed) = (failed_replicas(world), CompletedIndexes::of(world, status));
    new.retain(|(replica, _)| !completed.contains(*replica));
    let counted = ReplacedPods::of(status);
    new.retain(|(_, pod)| !counted.contains(pod) && !world.is_of_past_attempt(pod));
    for role in ReplicaType::ALL {
        let of_role = new.iter().filter(|(replica, _)| replica.type_ == role);
        let judged = of_role.map(|(_, pod)| (failure_policy::verdict(world.job, pod), *pod));
        let judged: Vec<_> = judged
            .filter(|(verdict, _)| !says(*verdict, FailureAction::Ignore))
            .collect();
        let undecided = judged.iter().filter(|(verdict, _)| verdict.is_none());
        let undecided: Vec<&Pod> = undecided.map(|(_, pod)| *pod).collect();
        let forbidden = judged
            .iter()
            .find(|(verdict, _)| says(*verdict, FailureAction::FailJob));
        let forbidden = forbidden.and_then(|(verdict, pod)| Some(((*verdict)?, *pod)));
        let forbidden =
            forbidden.map(|(verdict, pod)| failure_policy::message(world.name(), verdict, pod, &cause(pod)));
        found.fatal = found.fatal.or(forbidden).or_else(|| fatal(world, role, &undecided));
        found.replace.extend(judged.into_iter().map(|(_, pod)| (role, pod)));
    }
    add_stalls(world, &mut found);
    found
}

/// Replicas that stand still, if that is to be treated as a failure.
fn add_stalls<'a>(world: &World<'a>, found: &mut Failures<'a>) {
    let Some((action, stalls)) = progress_policy::failures(world) else {
        return;
    };
    if action == StallAction::Fail && found.fatal.is_none() {
        found.fatal = progress_policy::fatal(world, &stalls);
    }
    found.stalled = stalls.len();
    found
        .replace
        .extend(stalls.iter().map(|stall| (stall.replica.type_, stall.pod)));
    found.replace.sort_by_key(|(role, _)| *role);
}

fn says(verdict: Option<Verdict>, action: FailureAction) -> bool {
    verdict.is_some_and(|verdict| verdict.action == action)
}

/// The message of the Failed condition, if failures of these pods end the job.
fn fatal(world: &World<'_>, role: ReplicaType, failed: &[&Pod]) -> Option<String> {
    match world.job.spec.restart_policy(role) {
        RestartPolicy::Never => failed.first().map(|first| {
            format!(
                "PyTorchJob {} is failed because {} {role} replica(s) failed. {}",
                world.name(),
                failed.len(),
                cause(first)
            )
        }),
        RestartPolicy::ExitCode => {
            let permanent = failed.iter().find(|pod| !retryable(pod.failure.as_deref()));
            permanent.map(|pod| {
                format!(
                    "job \"{}\" is failing because \"{role}\" replica(s) failed. {}",
                    world.name(),
                    cause(pod)
                )
            })
        }
        RestartPolicy::Always | RestartPolicy::OnFailure => None,
    }
}

/// Tells the user that the template's own restart policy has no effect. Kubeflow says so too.
#[must_use]
pub(crate) fn ignored(job: &PyTorchJob) -> Option<Event> {
    ReplicaType::ALL.into_iter().find_map(|role| {
        let template = template::parse(job.spec.replica(role)?);
        let ignored = template.pointer("/spec/restartPolicy")?.as_str()?;
        let (by, applies) = in_the_place_of_the_templates(&job.spec, role);
        (!ignored.is_empty()).then(|| Event {
            warning: true,
            reason: reason::TEMPLATE_RESTART_POLICY,
            message: format!(
                "Restart policy in pod template will be overwritten{by}: \
                 template.spec.restartPolicy of {role} is {ignored}, and {applies}"
            ),
        })
    })
}

/// What overwrites the template's restart policy, and with what.
fn in_the_place_of_the_templates(spec: &PyTorchJobSpec, role: ReplicaType) -> (&'static str, String) {
    let applies = spec.restart_policy(role);
    let of_pod = spec.restart_policy_of_pod(role);
    let (of_pod, why) = if spec.restarts_in_place() && applies != RestartPolicy::Never {
        (RestartPolicy::OnFailure.of_pod(), "restartStrategy is InPlace")
    } else if spec.restart_scope() == RestartScope::Job {
        (of_pod, "restartScope is Job")
    } else if spec.run_policy.failure_policy.is_some() {
        (of_pod, "a failurePolicy is set")
    } else {
        let by = " by restart policy in replica spec";
        return (by, format!("restartPolicy, which applies, is {applies:?}"));
    };
    ("", format!("the pod gets {of_pod}, since {why}"))
}

/// Counts the failures, or the one restart that they cause, and marks the pods as to be replaced.
pub(crate) fn count(world: &World<'_>, status: &mut JobStatus, failures: &Failures<'_>) {
    // Pods that start again in place stay, and keep their count.
    let stays = |pod: &Pod| world.job.spec.restarts_in_place() && (pod.failed_in_place() || pod.running());
    let goes = failures.replace.iter().filter(|(_, pod)| !stays(pod));
    let in_place = goes.clone().map(|(_, pod)| pod.restarts);
    let mut replaced = failures.replace.len();
    if world.restarts_as_a_whole() && replaced > 0 {
        replaced = 1;
        // What has succeeded runs again too.
        status.completed_indexes = None;
        restart_window::count(world, status);
    }
    let restarts = in_place.chain(i32::try_from(replaced).ok());
    status.restarts = Some(restarts.fold(status.restarts.unwrap_or(0), i32::saturating_add));
    let mut marks: Vec<&Pod> = goes.map(|(_, pod)| *pod).collect();
    marks.extend(restart_scope::further_mark(world, &marks));
    status
        .replaced_pods
        .extend(marks.into_iter().map(|pod| pod.uid.clone()));
}

/// Deletions of pods whose restart the stored status has counted, or whose failure a rule says to ignore. Of replicas
/// that are still wanted: the others go as surplus.
#[must_use]
pub(crate) fn replacements(world: &World<'_>) -> Vec<Action> {
    let ignored = |pod: &Pod| {
        !pod.failed_in_place()
            && has_failed(world, pod)
            && says(failure_policy::verdict(world.job, pod), FailureAction::Ignore)
    };
    let counted = world.counted();
    let goes = |pod: &Pod| !pod.terminating && (counted.contains(pod) || ignored(pod));
    in_order(world, goes)
        .into_iter()
        .map(|(_, pod)| Action::delete_pod(pod))
        .collect()
}

/// The message of the Restarting condition, for the first role in order that failed.
#[must_use]
pub(crate) fn message(world: &World<'_>, failures: &Failures<'_>) -> Option<String> {
    let (role, first) = failures.replace.first()?;
    let failed = failures.replace.iter().filter(|(other, _)| other == role).count();
    let all = if world.job.spec.restarts_in_place() {
        " All replicas start again in place."
    } else if world.restarts_as_a_whole() {
        " All replicas start again."
    } else {
        ""
    };
    let stall = stalls::cause_of(world, first);
    let (what, cause) = stall.map_or_else(|| ("failed", cause(first)), |stall| ("stalled", stall));
    Some(format!(
        "PyTorchJob {} is restarting because {failed} {role} replica(s) {what}. {cause}{all}",
        world.name()
    ))
}

/// How a pod failed: a sentence after Kubeflow's, which only counts pods.
fn cause(pod: &Pod) -> String {
    let failure = pod.failure.as_deref().cloned().unwrap_or_default();
    let reason = failure.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    match &failure.container {
        None if let Some(node) = pod.disrupted_on() => format!("{} was disrupted on node {node}{reason}.", pod.name),
        None => format!("{} failed{reason}.", pod.name),
        Some(container) if container.name == names::CONTAINER => {
            format!("{} exited with code {}{reason}.", pod.name, container.exit_code)
        }
        Some(FailedContainer { name, exit_code }) => {
            format!("Container {name} of {} exited with code {exit_code}{reason}.", pod.name)
        }
    }
}

/// The failed pods of wanted replicas, in the order of the replicas, those whose training container has failed in
/// place, and those whose disruption a rule calls a failure.
fn failed_replicas<'a>(world: &World<'a>) -> Vec<(Replica, &'a Pod)> {
    in_order(world, |pod| has_failed(world, pod))
}

fn has_failed(world: &World<'_>, pod: &Pod) -> bool {
    let in_place = pod.failed_in_place() && !restart_strategy::has_caused(world, pod);
    pod.failed() || in_place || failure_policy::is_failure(world.job, pod)
}

/// The pods of wanted replicas that are such, in the order of the replicas.
fn in_order<'a>(world: &World<'a>, such: impl Fn(&Pod) -> bool) -> Vec<(Replica, &'a Pod)> {
    let mut replicas: Vec<_> = world.desired_pods().filter(|(_, pod)| such(pod)).collect();
    replicas.sort_by_key(|(replica, _)| *replica);
    replicas
}

/// Whether a failed pod is worth another try under ExitCode. Without an exit code (eviction, a failed init container)
/// the training itself did not fail.
fn retryable(failure: Option<&Failure>) -> bool {
    failure
        .and_then(|failure| failure.exit_code)
        .is_none_or(|code| code >= RETRYABLE_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{JobBuilder, master, master_and_workers};

    fn exit(code: i32) -> Failure {
        Failure {
            exit_code: Some(code),
            ..Failure::default()
        }
    }

    #[test]
    fn signals_are_retried_and_the_programs_own_codes_are_not() {
        for (code, expected) in [
            (0, false),
            (1, false),
            (2, false),
            (3, false),
            (127, false),
            (128, true),
            (130, true),
            (137, true),
            (138, true),
            (143, true),
        ] {
            assert_eq!(retryable(Some(&exit(code))), expected, "exit code {code}");
        }
    }

    #[test]
    fn a_failure_without_exit_code_is_retried() {
        assert!(retryable(None));
        assert!(retryable(Some(&Failure {
            reason: Some("Evicted".into()),
            ..Failure::default()
        })));
    }

    #[test]
    fn the_pod_gets_a_policy_that_the_kubelet_knows() {
        for (policy, expected) in [
            (RestartPolicy::ExitCode, "Never"),
            (RestartPolicy::Never, "Never"),
            (RestartPolicy::Always, "Always"),
            (RestartPolicy::OnFailure, "OnFailure"),
        ] {
            assert_eq!(policy.of_pod(), expected);
        }
    }

    #[test]
    fn a_restart_policy_in_either_template_is_worth_a_warning() {
        let in_template =
            |job: JobBuilder, role, policy: &str| job.template(role, "/spec/restartPolicy", policy.into());
        for (job, expected) in [
            (master(), false),
            (in_template(master(), ReplicaType::Master, ""), false),
            (in_template(master(), ReplicaType::Master, "Always"), true),
            (in_template(master_and_workers(1), ReplicaType::Worker, "Never"), true),
        ] {
            let event = ignored(&job.clone().build());
            assert_eq!(event.is_some(), expected, "{job:?}");
            assert!(event.is_none_or(|event| event.warning && event.reason == reason::TEMPLATE_RESTART_POLICY));
        }
    }
}
