//! The turning points in the life of a job: what each writes into the conditions, which event it has, and what is
//! counted.

use k8s_openapi::jiff::Timestamp;

use crate::api::names::reason;
use crate::api::{ConditionType, JobStatus, JobStep};
use crate::planner::plan::{Count, Event, Plan};
use crate::planner::status::conditions::{clear, find, is_stalled, set, set_stalled, stored_time};

/// A turning point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The job is seen for the first time. Kubeflow has no event for it.
    Created,
    /// Its pods run. Kubeflow has no event for it.
    Running,
    /// It has to have no pods.
    Suspended,
    /// Its pods did not run in time, and it has none until its spec is edited.
    GaveUp,
    /// It may have pods again. `startTime` is set again, and with it the deadline.
    Resumed,
    /// Failed replicas are replaced.
    Restarting,
    /// It is done.
    Succeeded,
    /// It has failed.
    Failed,
    /// It cannot run as it is stored.
    Refused,
}

impl Transition {
    /// Whether an attempt to train ends with it.
    #[must_use]
    pub(crate) const fn ends_attempt(self) -> bool {
        !matches!(self, Self::Created | Self::Running | Self::Resumed)
    }

    /// The condition that it is about.
    #[must_use]
    pub(crate) const fn condition(self) -> ConditionType {
        match self {
            Self::Created => ConditionType::Created,
            Self::Running => ConditionType::Running,
            Self::Suspended | Self::GaveUp | Self::Resumed => ConditionType::Suspended,
            Self::Restarting => ConditionType::Restarting,
            Self::Succeeded => ConditionType::Succeeded,
            Self::Failed | Self::Refused => ConditionType::Failed,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Created => reason::CREATED,
            Self::Running => reason::RUNNING,
            Self::Suspended => reason::SUSPENDED,
            Self::GaveUp => reason::STARTUP_DEADLINE,
            Self::Resumed => reason::RESUMED,
            Self::Restarting => reason::RESTARTING,
            Self::Succeeded => reason::SUCCEEDED,
            Self::Failed => reason::FAILED,
            Self::Refused => reason::INVALID,
        }
    }

    /// Whether its event is a warning, if it has one.
    const fn warning(self) -> Option<bool> {
        match self {
            Self::Created | Self::Running => None,
            Self::Suspended | Self::Resumed | Self::Succeeded => Some(false),
            Self::Restarting | Self::GaveUp | Self::Failed | Self::Refused => Some(true),
        }
    }

    const fn count(self) -> Option<Count> {
        match self {
            Self::Created => Some(Count::Job(JobStep::Created)),
            Self::Restarting => Some(Count::Job(JobStep::Restarted)),
            Self::Succeeded => Some(Count::Job(JobStep::Successful)),
            Self::Failed | Self::Refused => Some(Count::Job(JobStep::Failed)),
            Self::Running | Self::Suspended | Self::GaveUp | Self::Resumed => None,
        }
    }

    /// Writes the conditions, and the times that belong to them.
    pub(crate) fn write(self, status: &mut JobStatus, message: &str, now: Timestamp) {
        let (condition, reason) = (self.condition(), self.reason());
        match self {
            // In Kubeflow's order: `[Created, Running=False, Suspended]`.
            Self::Suspended | Self::GaveUp => {
                for ended in [ConditionType::Running, ConditionType::Restarting] {
                    if find(status, ended).is_some() {
                        clear(status, ended, reason, message.to_owned(), now);
                    }
                }
                if is_stalled(status) {
                    set_stalled(status, false, reason, message.to_owned(), now);
                }
            }
            Self::Resumed => {
                status.start_time = Some(stored_time(now));
                return clear(status, condition, reason, message.to_owned(), now);
            }
            Self::Succeeded | Self::Failed | Self::Refused => status.completion_time = Some(stored_time(now)),
            Self::Created | Self::Running | Self::Restarting => {}
        }
        set(status, condition, reason, message.to_owned(), now);
    }

    /// The event of this turning point.
    #[must_use]
    pub(crate) fn event(self, message: &str) -> Option<Event> {
        self.warning().map(|warning| Event {
            warning,
            reason: self.reason(),
            message: message.to_owned(),
        })
    }

    /// Writes the conditions, and adds the event and the counter to the plan.
    pub(crate) fn apply(self, status: &mut JobStatus, plan: &mut Plan, message: &str, now: Timestamp) {
        self.write(status, message, now);
        plan.events.extend(self.event(message));
        plan.counts.extend(self.count());
    }
}
