//! Edits of the policies about the job as a whole, in both spellings.

use super::base::Base::{Bare, Fixed, Flat, Gang, Nested, Whole};
use super::effect::Effect;
use super::phase::Phase;
use super::reasons::{
    BELOW_0, BELOW_1, CANNOT_RUN_AGAIN, DEFAULT, DELETING, ELSEWHERE, FAILURE_POLICY, FINISHED, GRACEFUL_STOP,
    MANAGED_BY, MIN_RESOURCES, MULTIKUEUE, NO_GANG, NO_STARTUP_DEADLINE, PRIORITY_CLASS, PROGRESS_POLICY, QUEUE,
    REQUIRED, RESTART_SCOPE, RESTART_STRATEGY, RESTART_WINDOW, SAME, SCHEDULE_TIMEOUT, SCHEDULING_POLICY,
    SERVICE_POLICY, STARTUP_BELOW_1, TWO_SPELLINGS_CLEAN, TWO_SPELLINGS_DEADLINE, TWO_SPELLINGS_LIMIT,
    TWO_SPELLINGS_TTL, UNREACHABLE_BELOW_1, UNSET_KEEPS,
};
use super::{Cell, Group, Row};

/// The row of a field of `spec`.
macro_rules! flat {
    ($field:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        Row::new(
            concat!("spec.", $field),
            $edit,
            $base,
            concat!(r#"{"spec":{""#, $field, r#"":"#, $value, "}}"),
            $cell,
        )
    };
}

/// The row of a field of `spec.runPolicy`.
macro_rules! nested {
    ($field:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        Row::new(
            concat!("spec.runPolicy.", $field),
            $edit,
            $base,
            concat!(r#"{"spec":{"runPolicy":{""#, $field, r#"":"#, $value, "}}}"),
            $cell,
        )
    };
}

/// The row of a field of `spec.runPolicy.nodeExclusion` that is 0.
macro_rules! exclusion {
    ($field:literal, $edit:literal, $value:literal) => {
        Row::new(
            concat!("spec.runPolicy.nodeExclusion.", $field),
            $edit,
            Bare,
            concat!(r#"{"spec":{"runPolicy":{"nodeExclusion":"#, $value, "}}}"),
            |_| {
                Cell::Refused(&[concat!(
                    "0: spec.runPolicy.nodeExclusion.",
                    $field,
                    " in body should be greater than or equal to 1"
                )])
            },
        )
    };
}

/// The row of a field of `spec.runPolicy.nodeExclusion` that changes within its bounds, to a value by which the node of
/// one failure is excluded.
macro_rules! exclusion_changes {
    ($field:literal, $given:literal) => {
        Row::new(
            concat!("spec.runPolicy.nodeExclusion.", $field),
            "change",
            Whole,
            r#"{"spec":{"runPolicy":{"nodeExclusion":{"afterFailures":1,"windowSeconds":3600,"max":2}}}}"#,
            |phase| unfinished(phase, Effect::Excludes),
        )
        .given(concat!(r#"{"spec":{"runPolicy":{"nodeExclusion":"#, $given, "}}}"))
    };
}

/// The row of a field of a `spec.runPolicy.progressPolicy` that a running job is given.
macro_rules! progress {
    ($field:literal, $value:literal) => {
        Row::new(
            concat!("spec.runPolicy.progressPolicy.", $field),
            "set",
            Bare,
            concat!(r#"{"spec":{"runPolicy":{"progressPolicy":"#, $value, "}}}"),
            |_| Cell::Refused(PROGRESS_POLICY),
        )
    };
}

/// The row of a field of `spec.runPolicy.progressPolicy` that changes.
macro_rules! progress_changes {
    ($field:literal, $value:literal) => {
        Row::new(
            concat!("spec.runPolicy.progressPolicy.", $field),
            "change",
            Fixed,
            concat!(
                r#"{"spec":{"runPolicy":{"progressPolicy":{""#,
                $field,
                r#"":"#,
                $value,
                "}}}}"
            ),
            |_| Cell::Refused(PROGRESS_POLICY),
        )
    };
}

/// The row of a field of `spec.runPolicy.schedulingPolicy`.
macro_rules! scheduling {
    ($field:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        Row::new(
            concat!("spec.runPolicy.schedulingPolicy.", $field),
            $edit,
            $base,
            concat!(
                r#"{"spec":{"runPolicy":{"schedulingPolicy":{""#,
                $field,
                r#"":"#,
                $value,
                "}}}}"
            ),
            $cell,
        )
    };
}

pub const FLAT: Group = Group {
    title: "Policies, flat",
    about: "The spelling of the legacy operator. An edit holds for the live job as if the job had been created with it.",
    rows: &[
        flat!("activeDeadlineSeconds", "set", Bare, "1", |phase| not_for_multikueue(
            phase, deadline
        )),
        flat!(
            "activeDeadlineSeconds",
            "change",
            Flat,
            "1",
            |phase| not_for_multikueue(phase, deadline)
        ),
        flat!("activeDeadlineSeconds", "remove", Flat, "null", no_deadline)
            .given(r#"{"spec":{"activeDeadlineSeconds":0}}"#),
        flat!(
            "activeDeadlineSeconds",
            "set, and runPolicy has another value",
            Nested,
            "1",
            |phase| or_both(phase, &TWO_SPELLINGS_DEADLINE)
        ),
        flat!("activeDeadlineSeconds", "set below 0", Bare, "-1", |phase| or_both(
            phase, &BELOW_0
        )),
        Row::new(
            "spec.activeDeadlineSeconds",
            "set both spellings at once",
            Nested,
            r#"{"spec":{"activeDeadlineSeconds":1,"runPolicy":{"activeDeadlineSeconds":1}}}"#,
            |phase| not_for_multikueue(phase, deadline),
        ),
        flat!("backoffLimit", "set", Bare, "0", |phase| not_for_multikueue(
            phase, limit
        )),
        flat!("backoffLimit", "change", Flat, "0", |phase| not_for_multikueue(
            phase, limit
        )),
        flat!("backoffLimit", "remove", Flat, "null", no_limit).given(r#"{"spec":{"backoffLimit":1}}"#),
        flat!(
            "backoffLimit",
            "set, and runPolicy has another value",
            Nested,
            "0",
            |phase| or_both(phase, &TWO_SPELLINGS_LIMIT)
        ),
        flat!("cleanPodPolicy", "set", Bare, r#""All""#, |phase| not_for_multikueue(
            phase, clean
        )),
        flat!(
            "cleanPodPolicy",
            "change",
            Flat,
            r#""All""#,
            |phase| not_for_multikueue(phase, clean)
        ),
        flat!("cleanPodPolicy", "remove", Flat, "null", unset_clean),
        flat!(
            "cleanPodPolicy",
            "set, and runPolicy has another value",
            Nested,
            r#""All""#,
            |phase| or_both(phase, &TWO_SPELLINGS_CLEAN)
        ),
        flat!("cleanPodPolicy", "set to an unknown value", Bare, r#""Some""#, |_| {
            Cell::Refused(&[r#"Unsupported value: "Some": supported values: "All", "Running", "None""#])
        }),
        flat!("ttlSecondsAfterFinished", "set", Bare, "1", |phase| not_for_multikueue(
            phase, ttl
        )),
        flat!("ttlSecondsAfterFinished", "change", Flat, "1", |phase| {
            not_for_multikueue(phase, ttl)
        }),
        flat!("ttlSecondsAfterFinished", "remove", Flat, "null", no_ttl)
            .given(r#"{"spec":{"ttlSecondsAfterFinished":0}}"#),
        flat!(
            "ttlSecondsAfterFinished",
            "set, and runPolicy has another value",
            Nested,
            "1",
            |phase| or_both(phase, &TWO_SPELLINGS_TTL)
        ),
    ],
};

pub const RUN_POLICY: Group = Group {
    title: "Policies under runPolicy",
    about: "The spelling of Kubeflow. Each means the same as the flat one.",
    rows: &[
        nested!("activeDeadlineSeconds", "set", Bare, "1", deadline),
        nested!("activeDeadlineSeconds", "change", Nested, "1", deadline),
        nested!("activeDeadlineSeconds", "remove", Nested, "null", no_deadline)
            .given(r#"{"spec":{"runPolicy":{"activeDeadlineSeconds":0}}}"#),
        nested!("backoffLimit", "set", Bare, "0", limit),
        nested!("backoffLimit", "change", Nested, "0", limit),
        nested!("backoffLimit", "remove", Nested, "null", no_limit)
            .given(r#"{"spec":{"runPolicy":{"backoffLimit":1}}}"#),
        nested!("cleanPodPolicy", "set", Bare, r#""All""#, clean),
        nested!("cleanPodPolicy", "change", Nested, r#""All""#, clean),
        nested!("cleanPodPolicy", "remove", Nested, "null", unset_clean),
        nested!(
            "failurePolicy",
            "set",
            Bare,
            r#"{"rules":[{"class":"ImportError","action":"FailJob"}]}"#,
            |_| Cell::Refused(FAILURE_POLICY)
        ),
        nested!("failurePolicy", "remove", Fixed, "null", |_| Cell::Refused(
            FAILURE_POLICY
        )),
        Row::new(
            "spec.runPolicy.failurePolicy.rules",
            "set",
            Bare,
            r#"{"spec":{"runPolicy":{"failurePolicy":{"rules":[{"class":"GpuFault","action":"Restart"}]}}}}"#,
            |_| Cell::Refused(FAILURE_POLICY),
        ),
        Row::new(
            "spec.runPolicy.failurePolicy.rules",
            "change",
            Fixed,
            r#"{"spec":{"runPolicy":{"failurePolicy":{"rules":[{"class":"GpuFault","action":"Restart"}]}}}}"#,
            |_| Cell::Refused(FAILURE_POLICY),
        ),
        nested!("gracefulStopSeconds", "set", Bare, "60", |_| Cell::Refused(
            GRACEFUL_STOP
        )),
        nested!("gracefulStopSeconds", "change", Fixed, "61", |_| Cell::Refused(
            GRACEFUL_STOP
        )),
        nested!("gracefulStopSeconds", "remove", Fixed, "null", |_| Cell::Refused(
            GRACEFUL_STOP
        )),
        nested!(
            "progressPolicy",
            "set",
            Bare,
            r#"{"file":"/ckpt","deadlineSeconds":600,"action":"Restart"}"#,
            |_| Cell::Refused(PROGRESS_POLICY)
        ),
        nested!("progressPolicy", "remove", Fixed, "null", |_| Cell::Refused(
            PROGRESS_POLICY
        )),
        progress!("action", r#"{"file":"/ckpt","deadlineSeconds":600,"action":"Warn"}"#),
        progress_changes!("action", r#""Warn""#),
        progress!(
            "deadlineSeconds",
            r#"{"file":"/ckpt","deadlineSeconds":60,"action":"Restart"}"#
        ),
        progress_changes!("deadlineSeconds", "60"),
        progress!("file", r#"{"file":"/log","deadlineSeconds":600,"action":"Restart"}"#),
        progress_changes!("file", r#""/log""#),
        progress!(
            "startupSeconds",
            r#"{"file":"/ckpt","deadlineSeconds":600,"startupSeconds":60,"action":"Restart"}"#
        ),
        progress_changes!("startupSeconds", "60"),
        nested!(
            "nodeExclusion",
            "set",
            Bare,
            r#"{"afterFailures":1,"windowSeconds":3600,"max":1}"#,
            |phase| unfinished(phase, Effect::Excludes)
        ),
        nested!("nodeExclusion", "remove", Whole, "null", |phase| unfinished(
            phase,
            Effect::ExcludesNone
        ))
        .given(r#"{"spec":{"runPolicy":{"nodeExclusion":{"afterFailures":1,"windowSeconds":3600,"max":1}}}}"#),
        exclusion_changes!("afterFailures", r#"{"afterFailures":9,"windowSeconds":3600,"max":2}"#),
        exclusion!(
            "afterFailures",
            "set below 1",
            r#"{"afterFailures":0,"windowSeconds":60,"max":1}"#
        ),
        exclusion_changes!("max", r#"{"afterFailures":1,"windowSeconds":3600,"max":1}"#),
        exclusion!(
            "max",
            "set below 1",
            r#"{"afterFailures":1,"windowSeconds":60,"max":0}"#
        ),
        exclusion_changes!("windowSeconds", r#"{"afterFailures":1,"windowSeconds":1,"max":2}"#),
        exclusion!(
            "windowSeconds",
            "set below 1",
            r#"{"afterFailures":1,"windowSeconds":0,"max":1}"#
        ),
        nested!("restartScope", "set to Replica", Bare, r#""Replica""#, |phase| {
            Cell::NoEffect(match phase {
                Phase::Succeeded | Phase::Failed => FINISHED,
                Phase::Deleting => DELETING,
                Phase::Elsewhere => ELSEWHERE,
                _ => DEFAULT,
            })
        }),
        nested!("restartScope", "set to Job", Bare, r#""Job""#, |_| Cell::Refused(
            RESTART_SCOPE
        )),
        nested!("restartStrategy", "set to Recreate", Bare, r#""Recreate""#, |phase| {
            Cell::NoEffect(match phase {
                Phase::Succeeded | Phase::Failed => FINISHED,
                Phase::Deleting => DELETING,
                Phase::Elsewhere => ELSEWHERE,
                _ => DEFAULT,
            })
        }),
        nested!("restartStrategy", "set to InPlace", Whole, r#""InPlace""#, |_| {
            Cell::Refused(RESTART_STRATEGY)
        }),
        nested!("servicePolicy", "set to All", Bare, r#""All""#, |phase| {
            Cell::NoEffect(match phase {
                Phase::Succeeded | Phase::Failed => FINISHED,
                Phase::Deleting => DELETING,
                Phase::Elsewhere => ELSEWHERE,
                _ => DEFAULT,
            })
        }),
        nested!("servicePolicy", "set to Rendezvous", Bare, r#""Rendezvous""#, |_| {
            Cell::Refused(SERVICE_POLICY)
        }),
        nested!(
            "restartWindow",
            "set, without restartScope Job",
            Bare,
            r#"{"restarts":3,"seconds":3600}"#,
            |_| Cell::Refused(RESTART_WINDOW)
        ),
        nested!("restartWindow", "remove", Whole, "null", |phase| unfinished(
            phase,
            Effect::WindowLifted
        ))
        .given(r#"{"spec":{"runPolicy":{"restartWindow":{"restarts":1}}}}"#),
        Row::new(
            "spec.runPolicy.restartWindow.restarts",
            "change",
            Whole,
            r#"{"spec":{"runPolicy":{"restartWindow":{"restarts":0}}}}"#,
            |phase| unfinished(phase, Effect::WindowHolds),
        ),
        Row::new(
            "spec.runPolicy.restartWindow.seconds",
            "set below 1",
            Whole,
            r#"{"spec":{"runPolicy":{"restartWindow":{"seconds":0}}}}"#,
            |_| Cell::Refused(BELOW_1),
        ),
        nested!("startupDeadlineAction", "set", Bare, r#""Suspend""#, |phase| {
            Cell::NoEffect(match phase {
                Phase::Succeeded | Phase::Failed => FINISHED,
                Phase::Deleting => DELETING,
                Phase::Elsewhere => ELSEWHERE,
                _ => NO_STARTUP_DEADLINE,
            })
        }),
        nested!("startupDeadlineAction", "change", Whole, r#""Suspend""#, |phase| {
            unfinished(phase, Effect::StartSuspends)
        })
        .given(r#"{"spec":{"runPolicy":{"startupDeadlineSeconds":5,"startupDeadlineAction":"Fail"}}}"#),
        nested!("startupDeadlineAction", "remove", Whole, "null", |phase| unfinished(
            phase,
            Effect::StartFails
        ))
        .given(r#"{"spec":{"runPolicy":{"startupDeadlineSeconds":5,"startupDeadlineAction":"Suspend"}}}"#),
        nested!("startupDeadlineSeconds", "set", Bare, "1", |phase| unfinished(
            phase,
            Effect::StartHolds
        )),
        nested!("startupDeadlineSeconds", "change", Whole, "1", |phase| unfinished(
            phase,
            Effect::StartHolds
        ))
        .given(r#"{"spec":{"runPolicy":{"startupDeadlineSeconds":7200}}}"#),
        nested!("startupDeadlineSeconds", "remove", Whole, "null", |phase| unfinished(
            phase,
            Effect::StartLifted
        ))
        .given(r#"{"spec":{"runPolicy":{"startupDeadlineSeconds":8}}}"#),
        nested!("startupDeadlineSeconds", "set below 1", Bare, "0", |_| Cell::Refused(
            STARTUP_BELOW_1
        )),
        nested!("ttlSecondsAfterFinished", "set", Bare, "1", ttl),
        nested!("ttlSecondsAfterFinished", "change", Nested, "1", ttl),
        nested!("ttlSecondsAfterFinished", "remove", Nested, "null", no_ttl)
            .given(r#"{"spec":{"runPolicy":{"ttlSecondsAfterFinished":0}}}"#),
        nested!("unreachableSeconds", "set", Bare, "1", |phase| unfinished(
            phase,
            Effect::GivesUp
        )),
        nested!("unreachableSeconds", "change", Whole, "1", |phase| unfinished(
            phase,
            Effect::GivesUp
        ))
        .given(r#"{"spec":{"runPolicy":{"unreachableSeconds":7200}}}"#),
        nested!("unreachableSeconds", "set below 1", Bare, "0", |_| Cell::Refused(
            UNREACHABLE_BELOW_1
        )),
        nested!("unreachableSeconds", "remove", Whole, "null", |phase| unfinished(
            phase,
            Effect::NeverGivesUp
        ))
        .given(r#"{"spec":{"runPolicy":{"unreachableSeconds":1}}}"#),
        flat!("runPolicy", "remove", Nested, "null", no_policy).given(
            r#"{"spec":{"runPolicy":{"activeDeadlineSeconds":0,"backoffLimit":1,"ttlSecondsAfterFinished":0}}}"#,
        ),
        flat!(
            "runPolicy",
            "remove, with what is immutable in it",
            Gang,
            "null",
            |phase| match phase {
                Phase::Elsewhere => Cell::Refused(RUN_POLICY_ELSEWHERE),
                _ => Cell::Refused(SCHEDULING_POLICY),
            }
        ),
        nested!(
            "managedBy",
            "set to kueue.x-k8s.io/multikueue",
            Bare,
            r#""kueue.x-k8s.io/multikueue""#,
            |phase| {
                match phase {
                    Phase::Elsewhere => Cell::NoEffect(SAME),
                    _ => Cell::Refused(MANAGED_BY),
                }
            }
        ),
        nested!(
            "managedBy",
            "set to kubeflow.org/training-operator",
            Bare,
            r#""kubeflow.org/training-operator""#,
            managed_here
        ),
        nested!("managedBy", "remove", Gang, "null", managed_here),
    ],
};

pub const SUSPEND: Group = Group {
    title: "Suspension",
    about: "A suspended job has no pods and no services; its templates, `nprocPerNode` and `Worker.replicas` can be edited.",
    rows: &[
        nested!("suspend", "set to true", Bare, "true", |phase| match phase {
            Phase::Suspended => Cell::NoEffect(SAME),
            _ => live(phase, Effect::Suspends),
        }),
        nested!("suspend", "set to false", Bare, "false", resume),
        nested!("suspend", "remove", Bare, "null", resume),
        Row::new("spec", "remove", Bare, r#"{"spec":null}"#, |_| Cell::Refused(REQUIRED)),
    ],
};

pub const SCHEDULING: Group = Group {
    title: "Gang scheduling",
    about: "What a gang scheduler was told when it admitted the job stays; only `minAvailable` can change. The table is of an \
            operator without [gang scheduler](gang-scheduling.md); with one `minAvailable` is enforced until the job has \
            finished.",
    rows: &[
        scheduling!("minAvailable", "set", Bare, "1", hint),
        scheduling!("minAvailable", "change", Gang, "1", hint),
        scheduling!("minAvailable", "remove", Gang, "null", hint),
        nested!(
            "schedulingPolicy",
            "remove, with nothing but minAvailable in it",
            Nested,
            "null",
            hint
        ),
        nested!("schedulingPolicy", "remove", Gang, "null", |_| Cell::Refused(
            SCHEDULING_POLICY
        )),
        scheduling!("queue", "set", Bare, r#""x""#, |_| Cell::Refused(SCHEDULING_POLICY)),
        scheduling!("queue", "change", Gang, r#""x""#, |_| Cell::Refused(QUEUE)),
        scheduling!("queue", "remove", Gang, "null", |_| Cell::Refused(QUEUE)),
        scheduling!("priorityClass", "set", Bare, r#""x""#, |_| Cell::Refused(
            SCHEDULING_POLICY
        )),
        scheduling!("priorityClass", "change", Gang, r#""x""#, |_| Cell::Refused(
            PRIORITY_CLASS
        )),
        scheduling!("priorityClass", "remove", Gang, "null", |_| Cell::Refused(
            PRIORITY_CLASS
        )),
        scheduling!("minResources", "set", Bare, r#"{"cpu":"2"}"#, |_| Cell::Refused(
            SCHEDULING_POLICY
        )),
        scheduling!("minResources", "change", Gang, r#"{"cpu":"2"}"#, |_| Cell::Refused(
            MIN_RESOURCES
        )),
        scheduling!("minResources", "add a resource", Gang, r#"{"memory":"1Gi"}"#, |_| {
            Cell::Refused(MIN_RESOURCES)
        }),
        scheduling!(
            "minResources",
            "remove its only resource",
            Gang,
            r#"{"cpu":null}"#,
            |_| { Cell::Refused(MIN_RESOURCES) }
        ),
        scheduling!("minResources", "remove", Gang, "null", |_| Cell::Refused(MIN_RESOURCES)),
        scheduling!("scheduleTimeoutSeconds", "set", Bare, "1", |_| Cell::Refused(
            SCHEDULING_POLICY
        )),
        scheduling!("scheduleTimeoutSeconds", "change", Gang, "1", |_| Cell::Refused(
            SCHEDULE_TIMEOUT
        )),
        scheduling!("scheduleTimeoutSeconds", "remove", Gang, "null", |_| Cell::Refused(
            SCHEDULE_TIMEOUT
        )),
    ],
};

const RUN_POLICY_ELSEWHERE: &[&str] = &[MANAGED_BY[0], SCHEDULING_POLICY[0]];

/// What a finished job, one being deleted and one of another controller make of an edit of what runs.
pub fn live(phase: Phase, effect: Effect) -> Cell {
    match phase {
        Phase::Succeeded | Phase::Failed => Cell::Refused(CANNOT_RUN_AGAIN),
        _ => ours(phase, effect),
    }
}

/// As [`live`], of a policy about jobs that have not finished.
fn unfinished(phase: Phase, effect: Effect) -> Cell {
    match phase {
        Phase::Succeeded | Phase::Failed => Cell::NoEffect(FINISHED),
        _ => ours(phase, effect),
    }
}

/// As [`live`], of a policy that holds for finished jobs.
fn ours(phase: Phase, effect: Effect) -> Cell {
    match phase {
        Phase::Deleting => Cell::NoEffect(DELETING),
        Phase::Elsewhere => Cell::NoEffect(ELSEWHERE),
        _ => Cell::Enforced(effect),
    }
}

/// A job of `MultiKueue` takes no flat policy.
fn not_for_multikueue(phase: Phase, cell: fn(Phase) -> Cell) -> Cell {
    match phase {
        Phase::Elsewhere => Cell::Refused(MULTIKUEUE),
        _ => cell(phase),
    }
}

/// What every job is refused, and a job of `MultiKueue` with one reason more.
fn or_both(phase: Phase, refusals: &'static [&'static str; 2]) -> Cell {
    match phase {
        Phase::Elsewhere => Cell::Refused(refusals),
        _ => Cell::Refused(&refusals[..1]),
    }
}

fn deadline(phase: Phase) -> Cell {
    unfinished(phase, Effect::DeadlineHolds)
}

fn no_deadline(phase: Phase) -> Cell {
    unfinished(phase, Effect::DeadlineLifted)
}

fn limit(phase: Phase) -> Cell {
    unfinished(phase, Effect::LimitHolds)
}

fn no_limit(phase: Phase) -> Cell {
    unfinished(phase, Effect::LimitLifted)
}

fn clean(phase: Phase) -> Cell {
    ours(phase, Effect::CleansAll)
}

fn unset_clean(phase: Phase) -> Cell {
    match phase {
        Phase::Succeeded => Cell::NoEffect(UNSET_KEEPS),
        _ => ours(phase, Effect::CleansAsUnset),
    }
}

fn ttl(phase: Phase) -> Cell {
    ours(phase, Effect::Expires)
}

fn no_ttl(phase: Phase) -> Cell {
    ours(phase, Effect::NeverExpires)
}

fn no_policy(phase: Phase) -> Cell {
    match phase {
        Phase::Elsewhere => Cell::Refused(MANAGED_BY),
        _ => ours(phase, Effect::PoliciesGone),
    }
}

fn managed_here(phase: Phase) -> Cell {
    match phase {
        Phase::Elsewhere => Cell::Refused(MANAGED_BY),
        _ => Cell::NoEffect(DEFAULT),
    }
}

fn resume(phase: Phase) -> Cell {
    match phase {
        Phase::Suspended => Cell::Enforced(Effect::Resumes),
        Phase::Deleting => Cell::NoEffect(DELETING),
        Phase::Elsewhere => Cell::NoEffect(ELSEWHERE),
        _ => Cell::NoEffect(DEFAULT),
    }
}

fn hint(phase: Phase) -> Cell {
    Cell::NoEffect(match phase {
        Phase::Succeeded | Phase::Failed => FINISHED,
        Phase::Deleting => DELETING,
        Phase::Elsewhere => ELSEWHERE,
        _ => NO_GANG,
    })
}
