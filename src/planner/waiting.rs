//! What an unfinished job waits for, told at the end of the message of the condition that is its state: a pod that
//! stays terminating, a creation that is refused, a pod that the scheduler or the kubelet cannot run.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::names::reason;
use crate::api::{ConditionType, JobCondition, JobStatus};
use crate::planner::child::{Deletion, Pod};
use crate::planner::gang::GangScheduler;
use crate::planner::plan::{Action, Event, Plan, Timer};
use crate::planner::policy::{graceful_stop_seconds, scheduling_policy, startup_deadline_seconds, unreachable_seconds};
use crate::planner::replaced_pods::ReplacedPods;
use crate::planner::status::conditions::{TRUE, stored_time};
use crate::planner::world::World;

/// Stands between the message of the condition and what the job waits for.
const WAITING: &str = " Waiting: ";
/// The same before what is not as the user expects it, and what the job does not wait for.
const WARNING: &str = " Warning: ";
/// How long after its grace period a pod may still be terminating: the kubelet has to unmount its volumes and to
/// report.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// The kubelet forgets the failures of a container that has run for this long. One that ends sooner is in the same
/// loop.
const CRASH_LOOP_RESET: SignedDuration = SignedDuration::from_mins(10);
/// The conditions that can be the state of an unfinished job.
const STATES: [ConditionType; 4] = [
    ConditionType::Created,
    ConditionType::Running,
    ConditionType::Restarting,
    ConditionType::Suspended,
];

/// Something that a job waits for.
struct Cause {
    text: String,
    /// What stands before it.
    marker: &'static str,
    /// The reason of its event; nothing when whoever tried has one.
    event: Option<&'static str>,
    /// Length of what it begins with: what it is about. It has one event.
    subject: usize,
    news: News,
}

/// Which texts are the same news: each change costs a write.
enum News {
    /// The text itself.
    Text,
    /// The words of it. Numbers, such as how much of a quota is used, change with each attempt.
    Words,
    /// Its subject. The kubelet goes on in other words after each attempt than before the next.
    Subject,
}

impl Cause {
    fn is_told_by(&self, told: &str) -> bool {
        match self.news {
            News::Text => told == self.text,
            News::Words => same_words(told, &self.text),
            News::Subject => self.is_about_the_same_as(told),
        }
    }

    fn is_about_the_same_as(&self, told: &str) -> bool {
        told.get(..self.subject) == self.text.get(..self.subject)
    }
}

/// Writes into the status what the job waits for, and takes out what is over. `held` says whether pods wait for the
/// gang scheduler.
pub(crate) fn tell(world: &World<'_>, status: &mut JobStatus, plan: &mut Plan, held: bool) {
    // What was told by a condition that is the state no longer is no news either.
    let messages: Vec<String> = messages(status).map(ToOwned::to_owned).collect();
    let told: Vec<&str> = messages.iter().flat_map(|message| parts(message).skip(1)).collect();
    let mut causes = vec![stuck(world), refusal(world, plan)];
    if !world.job.spec.suspended() && !startup_deadline_seconds::gave_up(status) {
        causes.extend([gang(world, held), trouble(world, status, &told), no_gang(world)]);
    }
    let causes: Vec<Cause> = causes.into_iter().flatten().collect();
    let state = status.conditions.iter().rposition(|entry| entry.status == TRUE);
    for (place, entry) in status.conditions.iter_mut().enumerate() {
        if !is_state(entry) {
            continue;
        }
        let stored = entry.message.clone().unwrap_or_default();
        let mut message = parts(&stored).next().unwrap_or_default().to_owned();
        for cause in causes.iter().filter(|_| state == Some(place)) {
            let before = told.iter().find(|told| cause.is_told_by(told));
            if !told.iter().any(|told| cause.is_about_the_same_as(told)) {
                plan.events
                    .extend(cause.event.map(|reason| warning(reason, &cause.text)));
            }
            message = [&message, cause.marker, before.unwrap_or(&cause.text.as_str())].concat();
        }
        if message != stored {
            entry.message = Some(message);
            entry.last_update_time = Some(stored_time(world.now));
        }
    }
    let ends = world.pods.iter().filter_map(|pod| crash_loop_ends(world, pod, &told));
    let later = ends
        .min()
        .and_then(|ends| Duration::try_from(ends.duration_since(world.now)).ok());
    plan.events.extend(graceful_stop_seconds::told(world, status));
    for after in [next_stuck(world), later] {
        plan.look_again(after, Timer::Waiting);
    }
}

/// The messages of the conditions that can be the state.
fn messages(status: &JobStatus) -> impl Iterator<Item = &str> {
    let entries = status.conditions.iter().filter(|entry| is_state(entry));
    entries.filter_map(|entry| entry.message.as_deref())
}

fn is_state(entry: &JobCondition) -> bool {
    STATES.iter().any(|state| entry.type_ == state.as_str())
}

/// The message of the condition itself, and then what the job waits for.
fn parts(message: &str) -> impl Iterator<Item = &str> {
    message.split(WAITING).flat_map(|part| part.split(WARNING))
}

/// Whether two texts are about the same object and differ in numbers at most.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
    let object = |text: &str| text.split_once(": ").map(|(object, _)| object.to_owned());
    object(one) == object(other) && words(one) == words(other)
}

fn warning(reason: &'static str, message: &str) -> Event {
    Event {
        warning: true,
        reason,
        message: message.to_owned(),
    }
}

/// The creation that was refused, while something is still missing.
fn refusal(world: &World<'_>, plan: &Plan) -> Option<Cause> {
    let creates = plan.actions.iter().any(|action| matches!(action, Action::Create(_)));
    world.refusal.filter(|_| creates).map(|refusal| Cause {
        text: refusal.to_owned(),
        marker: WAITING,
        event: None,
        subject: 0,
        news: News::Words,
    })
}

/// The first pod, Master before Worker, whose containers the scheduler or the kubelet cannot start, and whether it is
/// alone.
fn trouble(world: &World<'_>, status: &JobStatus, told: &[&str]) -> Option<Cause> {
    let counted = ReplacedPods::of(status);
    let stays = |pod: &Pod| !pod.terminating && !counted.contains(pod);
    let pods = world.desired_pods().filter(|(_, pod)| stays(pod));
    // The scheduler says of a gang as a whole why it does not fit.
    let of_gang = scheduling_policy::unschedulable(world).is_some();
    let mut troubled: Vec<_> = pods
        .filter_map(|(replica, pod)| {
            let trouble = pod.trouble.as_deref();
            let trouble = trouble.map(|trouble| (trouble.reason, trouble.message.as_str()));
            let in_loop = || crash_loop_ends(world, pod, told).map(|_| (reason::CRASH_LOOP, ""));
            Some((replica, pod, trouble.or_else(in_loop)?))
        })
        .filter(|(.., (reason, _))| !of_gang || *reason != reason::UNSCHEDULABLE)
        .collect();
    troubled.sort_by_key(|(replica, ..)| *replica);
    let (_, pod, (reason, message)) = troubled.first()?;
    let subject = subject(pod, reason);
    let others = if troubled.len() > 1 {
        " Other pods do not run either."
    } else {
        ""
    };
    let news = match *reason {
        reason::UNSCHEDULABLE | "SchedulingGated" => News::Words,
        _ => News::Subject,
    };
    Some(Cause {
        text: format!("{subject}: {}.{others}", message.trim_end_matches('.')),
        marker: WAITING,
        event: Some(reason),
        subject: subject.len(),
        news,
    })
}

fn subject(pod: &Pod, reason: &str) -> String {
    format!("pod {}: {reason}", pod.name)
}

/// When the crash loop that a pod was told to be in is over, if it runs for now and does not fail again: a loop that
/// comes and goes would cost a write and an event each time.
fn crash_loop_ends(world: &World<'_>, pod: &Pod, told: &[&str]) -> Option<Timestamp> {
    let ends = pod.started_again?.checked_add(CRASH_LOOP_RESET).ok()?;
    let runs = pod.trouble.is_none() && ends > world.now;
    let is_told = |subject: &str| told.iter().any(|told| told.starts_with(subject));
    (runs && is_told(&subject(pod, reason::CRASH_LOOP))).then_some(ends)
}

/// What keeps the gang scheduler from placing the pods, or from letting them be created.
fn gang(world: &World<'_>, held: bool) -> Option<Cause> {
    let gang = world.settings.gang.as_ref()?;
    let (name, kind) = (world.name(), gang.scheduler.kind());
    let (subject, text, event) = if let Some(message) = scheduling_policy::unschedulable(world) {
        let text = format!(": {}.", message.trim_end_matches('.'));
        (
            format!("PodGroup {name}: {}", reason::UNSCHEDULABLE),
            text,
            Some(reason::UNSCHEDULABLE),
        )
    } else if held && !gang.served {
        let text = match gang.scheduler {
            GangScheduler::Volcano => ". Install Volcano.",
            _ => ". Install the PodGroups of scheduler-plugins.",
        };
        let subject = format!("the cluster has no PodGroups of {}", kind.api_version());
        (subject, text.to_owned(), Some(reason::NO_POD_GROUPS))
    } else if held {
        (
            format!("PodGroup {name}: Pending. Volcano has not admitted it."),
            String::new(),
            None,
        )
    } else {
        return None;
    };
    Some(Cause {
        text: format!("{subject}{text}"),
        marker: WAITING,
        event,
        subject: subject.len(),
        news: News::Words,
    })
}

/// That the pods are no gang although they should be one.
fn no_gang(world: &World<'_>) -> Option<Cause> {
    let why = scheduling_policy::not_in_force(world)?;
    let subject = "no gang is in force";
    Some(Cause {
        text: format!("{subject}: {why}."),
        marker: WARNING,
        event: Some(reason::NO_GANG),
        subject: subject.len(),
        news: News::Text,
    })
}

/// The first pod that should be gone by now, what would free its name, and how many others there are.
fn stuck(world: &World<'_>) -> Option<Cause> {
    let mut late = deletions(world).filter(|(_, deletion)| deletion.due + PATIENCE <= world.now);
    let (pod, Deletion { due, node, .. }) = late.next()?;
    let name = &pod.name;
    let others = match late.count() {
        0 => String::new(),
        others => format!(" The same is true of {others} more."),
    };
    let text = match (node.as_ref(), unreachable_seconds::given_up(world, pod)) {
        (Some(node), Some((at, what))) => format!(
            "pod {name} on node {node} should have ended by {due} and is still terminating. It is deleted by force at {at} ({what}).{others}"
        ),
        (Some(node), None) if !pod.finished() => format!(
            "pod {name} on node {node} should have ended by {due} and is still terminating. If the node is gone, taint it with \
             node.kubernetes.io/out-of-service or delete the pod with `kubectl delete pod {name} --force`.{others}"
        ),
        _ => format!(
            "pod {name} should have ended by {due} and is still terminating. None of its containers runs: a finalizer holds it.{others}"
        ),
    };
    Some(Cause {
        subject: text.len(),
        text,
        marker: WAITING,
        event: Some(reason::STUCK_POD),
        news: News::Text,
    })
}

/// When the next pod will be late, if it is not gone by then.
fn next_stuck(world: &World<'_>) -> Option<Duration> {
    let left = deletions(world).map(|(_, deletion)| (deletion.due + PATIENCE).duration_since(world.now));
    left.filter_map(|left| Duration::try_from(left).ok())
        .filter(|left| !left.is_zero())
        .min()
}

fn deletions<'a>(world: &World<'a>) -> impl Iterator<Item = (&'a Pod, &'a Deletion)> {
    world
        .pods
        .iter()
        .filter_map(|pod| Some((pod, pod.deletion.as_deref()?)))
}
