//! The row of a replica: its pods, one after the other.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::names::reason;
use crate::cli::kubectl::pod::Pod;
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::model::{Mark, MarkKind, Row, spans};
use crate::cli::kubectl::timeline::pod::Life;
use crate::cli::kubectl::timeline::told::Told;

/// The operator tells of the pods it creates when all of a pass are there, within so many seconds.
const TELLS_WITHIN: i64 = 5;

/// All that is known of the pods of one replica.
pub(super) struct Known<'a> {
    /// The name of its pods.
    pub pod: &'a str,
    /// The pod that exists.
    pub now: Option<&'a Pod>,
    /// Events about pods of that name, by the time of their first.
    pub events: Vec<&'a Told>,
    /// Events about the job.
    pub of_job: &'a [&'a Told],
    /// When the job ended, or else the same.
    pub completed: Timestamp,
    /// When the timeline ends.
    pub end: Timestamp,
}

impl Known<'_> {
    /// The row.
    pub(super) fn row(&self) -> Row {
        let mut lives = self.lives();
        let about: Vec<&Told> = self
            .of_job
            .iter()
            .copied()
            .filter(|told| names_pod(&told.note, self.pod))
            .collect();
        created(&mut lives, &about);
        for told in &about {
            match told.reason.as_str() {
                reason::DELETED_POD => ended(&mut lives, told, Stage::Terminating),
                reason::RESTARTING => ended(&mut lives, told, Stage::Failed),
                _ => {}
            }
        }
        let restarts = about
            .iter()
            .filter(|told| told.reason == reason::RESTARTING)
            .map(|told| Mark {
                kind: MarkKind::Restart,
                at: told.at,
                note: told.note.clone(),
            });
        let in_place = lives.iter().flat_map(|life| life.marks.clone());
        let marks = in_place.chain(restarts).collect();
        let begins: Vec<Option<Timestamp>> = lives.iter().skip(1).map(Life::begin).chain([None]).collect();
        let lives = lives.into_iter().zip(begins);
        Row {
            spans: lives
                .flat_map(|(life, next)| {
                    let until = next.unwrap_or_else(|| self.last(&life));
                    spans(life.moments, until)
                })
                .collect(),
            marks,
            ..Row::default()
        }
    }

    /// One for each UID.
    fn lives(&self) -> Vec<Life> {
        let mut by_uid: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
        for told in &self.events {
            by_uid.entry(&told.uid).or_default().push(told);
        }
        let now = self.now.map(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            Life::of(pod, &by_uid.remove(uid).unwrap_or_default())
        });
        let gone = by_uid
            .values()
            .map(|events| Life::gone(events))
            .filter(|life| life.begin().is_some());
        gone.chain(now).collect()
    }

    /// When the last pod ended: nobody tells when one that was being deleted was gone.
    fn last(&self, life: &Life) -> Timestamp {
        let last = life.moments.iter().map(|moment| moment.at).max();
        match last {
            _ if life.exists => self.end,
            Some(last) if life.has(Stage::Terminating) => last,
            _ => self.completed,
        }
    }
}

/// The operator says when it had created a pod, which the pod says no longer when it is gone. One event a pod; a pod of
/// which nothing else is known begins and ends here.
fn created(lives: &mut Vec<Life>, events: &[&Told]) {
    lives.sort_by_key(Life::begin);
    let mut next = 0;
    for told in events.iter().filter(|told| told.reason == reason::CREATED_POD) {
        let least = told.at.as_second() - TELLS_WITHIN;
        let after = |life: &Life| life.begin().is_some_and(|begin| begin.as_second() >= least);
        if let Some(skipped) = lives[next..].iter().position(after) {
            next += skipped + 1;
            lives[next - 1].begins(told.at);
        } else {
            let mut life = Life::default();
            life.begins(told.at);
            lives.push(life);
            next = lives.len();
        }
    }
    lives.sort_by_key(Life::begin);
}

/// The operator says when a pod failed or was deleted, which nobody else does of one that is gone.
fn ended(lives: &mut [Life], told: &Told, stage: Stage) {
    let second = told.at.as_second();
    let begun = |life: &Life| life.begin().map(Timestamp::as_second);
    if lives.iter().any(|life| life.exists && begun(life) < Some(second)) {
        return;
    }
    let gone = lives
        .iter_mut()
        .filter(|life| !life.exists && begun(life) <= Some(second));
    if let Some(life) = gone.max_by_key(|life| begun(life)).filter(|life| !life.has(stage)) {
        let note = if stage == Stage::Failed { told.note.as_str() } else { "" };
        life.enter(Some(told.at), stage, note);
    }
}

/// Whether a text names the pod, and not one whose name begins in the same way.
fn names_pod(note: &str, pod: &str) -> bool {
    note.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-.".contains(letter))
        .any(|word| word.trim_end_matches('.') == pod)
}
