//! What a timeline is made of.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::cli::kubectl::stage::Stage;

/// A job from its creation until it ended or was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    /// Namespace and name.
    pub job: String,
    /// The newest condition that holds.
    pub state: String,
    /// When it begins.
    pub begin: Timestamp,
    /// Until when things are known.
    pub known: Timestamp,
    /// When it ends, which is later when a limit is near.
    pub end: Timestamp,
    /// The job, then its replicas, Master first.
    pub rows: Vec<Row>,
    /// Deadline and TTL.
    pub limits: Vec<Mark>,
    /// What else is to be said, and what nobody knows any more.
    pub remarks: Vec<String>,
}

/// The job, or one of its replicas with all pods that it had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// `job`, or the name of the replica, such as `worker-0`.
    pub name: String,
    /// Its rank.
    pub rank: Option<u32>,
    /// One after the other; between them nothing exists, or nobody knows.
    pub spans: Vec<Span>,
    /// Restarts.
    pub marks: Vec<Mark>,
}

/// A stretch of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub stage: Stage,
    pub from: Timestamp,
    pub until: Timestamp,
    /// Why, if anybody says so.
    pub note: String,
}

/// A point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub kind: MarkKind,
    pub at: Timestamp,
    /// What happened, or will.
    pub note: String,
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// Something was started again.
    Restart,
    /// `activeDeadlineSeconds` is over.
    Deadline,
    /// `ttlSecondsAfterFinished` is over.
    Ttl,
}

/// When a stage begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub at: Timestamp,
    pub stage: Stage,
    pub note: String,
}

impl Timeline {
    /// Where a time stands when the whole length has so many parts.
    pub(super) fn place(&self, at: Timestamp, parts: i64) -> i64 {
        let length = self.length().as_millis().max(1);
        let place = at.duration_since(self.begin).as_millis() * i128::from(parts) / length;
        i64::try_from(place.clamp(0, i128::from(parts))).unwrap_or(parts)
    }

    /// The times of an axis with at most so many, from the beginning.
    pub(super) fn axis(&self, at_most: i64) -> impl Iterator<Item = (SignedDuration, Timestamp)> {
        let length = self.length().as_secs();
        let step = step(length, at_most.max(1));
        let marks = (0..=length / step).map(move |mark| SignedDuration::from_secs(mark * step));
        marks.filter_map(|after| Some((after, self.begin.checked_add(after).ok()?)))
    }

    /// The stages that are in it.
    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> {
        let spans = || self.rows.iter().flat_map(|row| &row.spans);
        Stage::ALL
            .into_iter()
            .filter(move |stage| spans().any(|span| span.stage == *stage))
    }

    /// From the beginning to the end.
    fn length(&self) -> SignedDuration {
        self.end.duration_since(self.begin).max(SignedDuration::from_secs(1))
    }
}

impl Moment {
    pub(super) fn new(at: Timestamp, stage: Stage, note: impl Into<String>) -> Self {
        let note = note.into();
        Self { at, stage, note }
    }
}

impl MarkKind {
    /// One letter, for the terminal.
    pub(super) const fn letter(self) -> char {
        match self {
            Self::Restart => 'R',
            Self::Deadline => 'D',
            Self::Ttl => 'T',
        }
    }

    /// A word, for the legend.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Deadline => "deadline",
            Self::Ttl => "TTL",
        }
    }
}

/// The stretches between moments, which are in the order in which they came about. Those of no length are left out, and
/// neighbours of one stage are one.
pub(super) fn spans(mut moments: Vec<Moment>, until: Timestamp) -> Vec<Span> {
    moments.sort_by_key(|moment| moment.at);
    let ends = moments.iter().skip(1).map(|moment| moment.at).chain([until]);
    let ends: Vec<Timestamp> = ends.map(|end| end.min(until)).collect();
    let mut found: Vec<Span> = Vec::new();
    for (moment, until) in moments.into_iter().zip(ends) {
        let Moment { at: from, stage, note } = moment;
        match found.last_mut() {
            Some(last) if last.stage == stage && last.until == from => {
                last.until = until.max(from);
                if last.note.is_empty() {
                    last.note = note;
                }
            }
            _ if from < until => found.push(Span {
                stage,
                from,
                until,
                note,
            }),
            _ => {}
        }
    }
    found
}

/// Seconds between the marks of an axis, so that there are at most so many of them.
fn step(seconds: i64, at_most: i64) -> i64 {
    const STEPS: [i64; 19] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
    ];
    let fits = |step: &i64| seconds / step <= at_most;
    let weeks = || (seconds / at_most.max(1) / 604_800 + 1) * 604_800;
    STEPS.into_iter().find(fits).unwrap_or_else(weeks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_stage_lasts_until_the_next_one_and_what_took_no_time_is_left_out() {
        let moments = [
            (0, Stage::Queued),
            (3, Stage::Scheduled),
            (3, Stage::Running),
            (9, Stage::Running),
            (12, Stage::Failed),
        ];
        let moments = moments.map(|(at, stage)| Moment::new(second(at), stage, ""));
        let found = spans(moments.to_vec(), second(20));
        let found: Vec<_> = found
            .iter()
            .map(|span| (span.stage, span.from.as_second(), span.until.as_second()))
            .collect();
        let expected = [(Stage::Queued, 0, 3), (Stage::Running, 3, 12), (Stage::Failed, 12, 20)];
        assert_eq!(found, expected);
        assert_eq!(spans(vec![Moment::new(second(9), Stage::Queued, "")], second(5)), []);
    }

    #[test]
    fn the_marks_of_an_axis_are_round_and_few() {
        for (seconds, at_most, expected) in [
            (8, 8, 1),
            (60, 8, 10),
            (600, 8, 120),
            (86_400, 8, 10_800),
            (30 * 86_400, 8, 604_800),
            (365 * 86_400, 8, 7 * 604_800),
        ] {
            assert_eq!(step(seconds, at_most), expected, "{seconds}");
        }
    }
}
