//! Our own policies: which a job has, and what must hold of them in every status and for every pod.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::laws::{condition, is_true, terminal, time};
use super::nodes::{End, Life};
use super::process::{Millis, wall};
use super::random::Random;
use super::schedule::{Restarts, Step};
use crate::api::names;

/// A failure with this exit code is not counted by a job with rules, and one with the other is the end.
const IGNORED: i32 = 137;
const FATAL: i32 = 143;
/// Seconds without progress, and how long the operator waits after the kubelet has said so.
const STANDS: i64 = 10;
const ROUND: Millis = 31_000;
/// The longest that a watch hangs before that is noticed.
const DEAF: Millis = 90_000;

/// What a job has of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policies {
    rules: bool,
    graceful: Option<i64>,
    unreachable: Option<i64>,
    /// Seconds and action.
    startup: Option<(i64, &'static str)>,
    exclusion: bool,
    /// One restart of the whole job in so many seconds.
    window: Option<i64>,
    /// What becomes of a replica that stands still.
    stall: Option<&'static str>,
}

impl Policies {
    /// Half of the jobs have none.
    pub(super) fn draw(random: &mut Random, restarts: Restarts) -> Self {
        if random.once_in(2) {
            return Self::default();
        }
        let whole = restarts != Restarts::Replica;
        Self {
            rules: random.once_in(4),
            graceful: random.once_in(4).then(|| *random.pick(&[1, 5, 60])),
            unreachable: random.once_in(3).then(|| *random.pick(&[1, 4, 15])),
            startup: random
                .once_in(3)
                .then(|| (*random.pick(&[2, 6, 20]), *random.pick(&["Fail", "Suspend", "Restart"]))),
            exclusion: random.once_in(3),
            window: (whole && random.once_in(2)).then(|| *random.pick(&[5, 20, 600])),
            stall: random
                .once_in(3)
                .then(|| *random.pick(&["Warn", "Fail", "Restart", "Restart"])),
        }
    }

    /// What has to happen for them to have anything to decide.
    pub(super) fn steps(&self, random: &mut Random) -> Vec<Step> {
        let mut pod = || usize::try_from(random.within(0..64)).unwrap();
        let mut steps = Vec::new();
        if self.stall.is_some() {
            steps.push(Step::StandStill(pod()));
        }
        if self.window.is_some() {
            steps.extend([Step::Exit(pod(), 1), Step::Exit(pod(), 1)]);
        }
        if self.rules {
            steps.push(Step::Exit(pod(), IGNORED));
        }
        steps
    }

    /// As fields under `runPolicy`.
    pub(super) fn fields(&self) -> Vec<(&'static str, Value)> {
        let is = |code: i32| json!({ "operator": "In", "values": [code] });
        let rules = json!({ "rules": [{ "exitCodes": is(IGNORED), "action": "Ignore" },
            { "exitCodes": is(FATAL), "action": "FailJob" }] });
        let exclusion = json!({ "afterFailures": 1, "windowSeconds": 3600, "max": 1 });
        let window = |seconds: i64| json!({ "restarts": 1, "seconds": seconds });
        let stall =
            |action: &str| json!({ "file": "/log", "deadlineSeconds": STANDS, "startupSeconds": 1, "action": action });
        vec![
            ("failurePolicy", json!(self.rules.then_some(rules))),
            ("gracefulStopSeconds", json!(self.graceful)),
            ("unreachableSeconds", json!(self.unreachable)),
            (
                "startupDeadlineSeconds",
                json!(self.startup.map(|(seconds, _)| seconds)),
            ),
            ("startupDeadlineAction", json!(self.startup.map(|(_, action)| action))),
            ("nodeExclusion", json!(self.exclusion.then_some(exclusion))),
            ("restartWindow", json!(self.window.map(window))),
            ("progressPolicy", json!(self.stall.map(stall))),
        ]
    }
}

/// Whether this end of a pod is a failure that is not counted.
pub(super) fn ignores(job: &Value, life: &Life) -> bool {
    life.failed() && life.ended == Some(End::Exited(IGNORED)) && !job["spec"]["runPolicy"]["failurePolicy"].is_null()
}

/// Whether something else than a failure may be a restart.
pub(super) fn restarts_otherwise(job: &Value) -> bool {
    let policy = &job["spec"]["runPolicy"];
    policy["startupDeadlineAction"] == "Restart" || policy["progressPolicy"]["action"] == "Restart"
}

/// Whether the job has given up because its pods did not start, and nobody has edited it since.
pub(super) fn gave_up(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let told = conditions.any(|entry| {
        entry["type"] == "Suspended" && entry["status"] == "True" && entry["reason"] == "StartupDeadlineExceeded"
    });
    told && job["status"]["observedGeneration"] == job["metadata"]["generation"]
}

/// A startup deadline is never enforced early.
pub(super) fn startup_is_over(before: &Value, after: &Value, now: Millis) -> Result<(), String> {
    let told = |type_: &str| {
        let message = condition(after, type_).and_then(|condition| condition["message"].as_str());
        is_true(after, type_) && message.is_some_and(|told| told.contains("startupDeadlineSeconds"))
    };
    let newly = (gave_up(after) && !is_true(before, "Suspended"))
        || (told("Failed") && !terminal(before))
        // As long as it is True its message stays that of the first restart.
        || (told("Restarting") && !is_true(before, "Restarting"));
    let seconds = after["spec"]["runPolicy"]["startupDeadlineSeconds"].as_i64();
    let since = time(&before["status"]["startingSince"]);
    match (since, seconds) {
        _ if !newly => Ok(()),
        (Some(since), Some(seconds)) if wall(now).as_second() >= since.as_second() + seconds => Ok(()),
        (since, seconds) => Err(format!("a startup deadline of {seconds:?} s came early: {since:?}")),
    }
}

/// A stall is told of a job that runs, of which a pod has stood still for a round after the kubelet said so.
pub(super) fn stands_still<'a>(
    before: &Value,
    after: &Value,
    now: Millis,
    mut lives: impl Iterator<Item = &'a Life>,
) -> Result<(), String> {
    if !is_true(after, "Stalled") {
        return Ok(());
    }
    if terminal(after) || is_true(after, "Suspended") {
        return Err("a job stalls that does not run".into());
    }
    // The kubelet tells whole seconds. Who does not hear that it is over believes that it goes on.
    let long = |(from, until): &(Millis, Millis)| now + 1_000 >= from + ROUND && now <= until.saturating_add(DEAF);
    let stood = is_true(before, "Stalled") || lives.any(|life| life.stands.iter().any(long));
    stood.then_some(()).ok_or_else(|| "a stall is told early".into())
}

/// The seconds that are accounted for are not more than the job is old.
pub(super) fn accounts(job: &Value, now: Millis) -> Result<(), String> {
    let seconds = &job["status"]["accounting"]["seconds"];
    let spent = ["queued", "waiting", "running", "stalled"].map(|on| seconds[on].as_i64().unwrap_or(0));
    let created = time(&job["metadata"]["creationTimestamp"]).ok_or("a job without a creationTimestamp")?;
    let age = wall(now).as_second() - created.as_second();
    let all: i64 = spent.iter().sum();
    if all > age || spent.iter().any(|spent| *spent < 0) {
        return Err(format!("{seconds} are accounted for by a job that is {age} s old"));
    }
    Ok(())
}

/// How often a job may be restarted in its window, and how long that is.
pub(super) fn window(job: &Value) -> Option<(usize, Millis)> {
    let window = &job["spec"]["runPolicy"]["restartWindow"];
    let restarts = usize::try_from(window["restarts"].as_u64()?).ok()?;
    Some((restarts, window["seconds"].as_u64()? * 1_000))
}

/// The nodes that a pod stays away from.
pub(super) fn excluded(pod: &Value) -> impl Iterator<Item = &str> {
    let names = pod["metadata"]["annotations"][names::ANNOTATION_EXCLUDED_NODES].as_str();
    names.into_iter().flat_map(|names| names.split(','))
}

/// A pod is deleted by force when its node has not ended it for as long as the job says.
pub(super) fn may_be_forced(pod: &Value, job: &Value, now: Millis) -> Result<(), String> {
    let due: Option<Timestamp> = time(&pod["metadata"]["deletionTimestamp"]);
    let seconds = job["spec"]["runPolicy"]["unreachableSeconds"].as_i64();
    match (due, seconds) {
        (Some(due), Some(seconds)) if wall(now).as_second() >= due.as_second() + seconds => Ok(()),
        _ => Err(format!(
            "by force, although it is to end at {due:?} and has {seconds:?} s more"
        )),
    }
}
