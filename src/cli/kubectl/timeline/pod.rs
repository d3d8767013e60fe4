//! The life of one pod, from what it says itself and from what events tell of it.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::names;
use crate::cli::kubectl::pod::{self, Pod};
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::model::{Mark, MarkKind, Moment};
use crate::cli::kubectl::timeline::told::Told;

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Whether the pod still exists.
    pub exists: bool,
    /// What it went through, in the order in which it came about.
    pub moments: Vec<Moment>,
    /// Restarts of its container in place.
    pub marks: Vec<Mark>,
}

impl Life {
    /// A pod that exists, and the events about it.
    pub(super) fn of(pod: &Pod, events: &[&Told]) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let mut life = Self {
            exists: true,
            ..Self::default()
        };
        life.enter(
            pod.metadata.creation_timestamp.as_ref().map(|Time(at)| *at),
            Stage::Queued,
            "",
        );
        let scheduled =
            condition(&status, "PodScheduled").or_else(|| first(events, "Scheduled", "").map(|told| told.at));
        let node = pod.spec.node_name.as_deref();
        life.enter(
            scheduled,
            Stage::Scheduled,
            node.map(|node| format!("on {node}")).unwrap_or_default(),
        );
        life.pulls(events);
        life.now(pod, &status);
        life.initializes(&status, events);
        life.runs(&status, events);
        life.ends(&status);
        life.is_deleted(pod);
        life
    }

    /// A pod that is gone, of which events alone tell.
    pub(super) fn gone(events: &[&Told]) -> Self {
        let mut life = Self::default();
        life.tells(events, "Scheduled", "", Stage::Scheduled);
        life.pulls(events);
        life.tells(events, "Started", "initContainers", Stage::Initializing);
        life.tells(events, "Started", names::CONTAINER, Stage::Running);
        life.tells(events, "Killing", "", Stage::Terminating);
        life
    }

    /// When it begins, as far as is known.
    pub(super) fn begin(&self) -> Option<Timestamp> {
        self.moments.iter().map(|moment| moment.at).min()
    }

    /// Whether it is known to have entered a stage.
    pub(super) fn has(&self, stage: Stage) -> bool {
        self.moments.iter().any(|moment| moment.stage == stage)
    }

    /// It was created by then at the latest. A pod that exists knows better.
    pub(super) fn begins(&mut self, by: Timestamp) {
        if !self.has(Stage::Queued) {
            let at = self.begin().map_or(by, |begin| begin.min(by));
            self.enter(Some(at), Stage::Queued, "");
            self.moments.rotate_right(1);
        }
    }

    /// It enters a stage, if it is known when.
    pub(super) fn enter(&mut self, at: Option<Timestamp>, stage: Stage, note: impl Into<String>) {
        self.moments.extend(at.map(|at| Moment::new(at, stage, note)));
    }

    /// The first event with this reason begins a stage.
    fn tells(&mut self, events: &[&Told], reason: &str, part: &str, stage: Stage) {
        let told = first(events, reason, part);
        self.enter(told.map(|told| told.at), stage, told.map_or("", |told| &told.note));
    }

    /// Images are pulled one after the other. After each its container is made.
    fn pulls(&mut self, events: &[&Told]) {
        for begun in events.iter().filter(|told| told.reason == "Pulling") {
            self.enter(Some(begun.at), Stage::Pulling, begun.note.clone());
            let mut done = events
                .iter()
                .filter(|told| told.reason == "Pulled" && told.part == begun.part);
            let done = done.find(|told| told.at >= begun.at);
            self.enter(
                done.map(|told| told.at),
                Stage::Scheduled,
                done.map_or("", |told| &told.note),
            );
        }
    }

    /// What it is at now may have begun without an event, or after the last one that is known.
    fn now(&mut self, pod: &Pod, status: &PodStatus) {
        if Stage::of(pod) == Stage::Pulling && !self.has(Stage::Pulling) {
            self.enter(condition(status, "PodReadyToStartContainers"), Stage::Pulling, "");
        }
        let keeps = training(status)
            .and_then(|container| container.state.as_ref()?.waiting.as_ref())
            .filter(|waiting| waiting.message.is_some());
        if let (Some(waiting), Some(last)) = (keeps, self.moments.last_mut()) {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            last.note = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
        }
    }

    fn initializes(&mut self, status: &PodStatus, events: &[&Told]) {
        let containers = status.init_container_statuses.iter().flatten();
        let started = containers.filter_map(|container| {
            let state = container.state.as_ref()?;
            let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
            running.or_else(|| state.terminated.as_ref()?.started_at.as_ref())
        });
        let started = started.map(|Time(at)| *at).min();
        let told = || first(events, "Started", "initContainers").map(|told| told.at);
        self.enter(started.or_else(told), Stage::Initializing, "");
        let done = self.has(Stage::Initializing).then(|| condition(status, "Initialized"));
        self.enter(done.flatten(), Stage::Scheduled, "");
    }

    /// The kubelet remembers the run before this one, and the number of all.
    fn runs(&mut self, status: &PodStatus, events: &[&Told]) {
        let Some(container) = training(status) else { return };
        let (state, before) = (
            container.state.clone().unwrap_or_default(),
            container.last_state.clone(),
        );
        let before = before.and_then(|state| state.terminated);
        if container.restart_count > i32::from(before.is_some()) {
            let known = first(events, "Started", &container.name).map(|told| told.at);
            let note = format!("restarted {} times; only the last is known", container.restart_count);
            self.enter(known, Stage::Running, note);
        }
        for (ended, again) in [(before, true), (state.terminated, !ended(status))] {
            let Some(end) = ended else { continue };
            self.enter(end.started_at.as_ref().map(|Time(at)| *at), Stage::Running, "");
            let Some(Time(at)) = end.finished_at.clone().filter(|_| again && end.exit_code != 0) else {
                continue;
            };
            self.enter(Some(at), Stage::Restarting, why(&end));
            self.marks.push(Mark {
                kind: MarkKind::Restart,
                at,
                note: format!("restarted in place: {}", why(&end)),
            });
        }
        let started = state.running.and_then(|running| running.started_at);
        self.enter(started.map(|Time(at)| at), Stage::Running, "");
    }

    fn ends(&mut self, status: &PodStatus) {
        let (stage, failed) = match status.phase.as_deref() {
            Some("Succeeded") => (Stage::Succeeded, false),
            Some("Failed") => (Stage::Failed, true),
            _ => return,
        };
        let end = training(status).and_then(|container| container.state.as_ref()?.terminated.as_ref());
        let finished = end.and_then(|end| end.finished_at.as_ref()).map(|Time(at)| *at);
        // No container tells of an eviction, but the conditions change with it.
        let conditions = status.conditions.iter().flatten();
        let changed = || {
            conditions
                .filter_map(|entry| entry.last_transition_time.as_ref())
                .map(|Time(at)| *at)
                .max()
        };
        let said = [status.reason.as_deref(), status.message.as_deref()];
        let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let note = match end.filter(|_| failed).map(why) {
            Some(end) if said.is_empty() => end,
            Some(end) => format!("{end}, {said}"),
            None => said,
        };
        self.enter(finished.or_else(changed), stage, note);
    }

    fn is_deleted(&mut self, pod: &Pod) {
        let Some(Time(due)) = pod.metadata.deletion_timestamp.as_ref() else {
            return;
        };
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        self.enter(due.checked_sub(grace).ok(), Stage::Terminating, "");
    }
}

/// When a condition became True.
fn condition(status: &PodStatus, type_: &str) -> Option<Timestamp> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|entry| entry.type_ == type_ && entry.status == "True")?;
    found.last_transition_time.as_ref().map(|Time(at)| *at)
}

/// The first event with this reason, about a part whose name has `part` in it.
fn first<'a>(events: &[&'a Told], reason: &str, part: &str) -> Option<&'a Told> {
    let matching = events
        .iter()
        .filter(|told| told.reason == reason && told.part.contains(part));
    matching.copied().min_by_key(|told| told.at)
}

/// The container that trains, or the first of a pod that has none of that name.
fn training(status: &PodStatus) -> Option<&ContainerStatus> {
    pod::training(status).or_else(|| status.container_statuses.as_ref()?.first())
}

fn ended(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn why(end: &ContainerStateTerminated) -> String {
    let reason = end
        .reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!("exit code {}{reason}", end.exit_code)
}
