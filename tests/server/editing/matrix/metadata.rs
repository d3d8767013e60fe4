//! Edits of `metadata`.

use super::base::Base;
use super::effect::Effect;
use super::phase::Phase;
use super::reasons::{DELETING, ELSEWHERE, FINISHED, NO_NEW_FINALIZERS, POD_METADATA};
use super::{Cell, Group, Row};

pub const METADATA: Group = Group {
    title: "Metadata",
    about: "Labels, annotations and finalizers are the user's, and the operator writes none of them. It reads the \
            annotations alone: a PodGroup of a [gang scheduler](gang-scheduling.md) gets a copy of them when it is \
            created.",
    rows: &[
        Row::new(
            "metadata.labels",
            "set",
            Base::Bare,
            r#"{"metadata":{"labels":{"other":"b"}}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.labels",
            "change",
            Base::Bare,
            r#"{"metadata":{"labels":{"team":"b"}}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.labels",
            "remove",
            Base::Bare,
            r#"{"metadata":{"labels":null}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.annotations",
            "set",
            Base::Bare,
            r#"{"metadata":{"annotations":{"other":"b"}}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.annotations",
            "change",
            Base::Bare,
            r#"{"metadata":{"annotations":{"note":"b"}}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.annotations",
            "remove",
            Base::Bare,
            r#"{"metadata":{"annotations":null}}"#,
            pods_stay,
        ),
        Row::new(
            "metadata.finalizers",
            "add one",
            Base::Bare,
            r#"{"metadata":{"finalizers":["example.com/hold","example.com/other"]}}"#,
            finalizer,
        ),
        Row::new(
            "metadata.finalizers",
            "remove all",
            Base::Bare,
            r#"{"metadata":{"finalizers":null}}"#,
            no_finalizer,
        ),
    ],
};

fn pods_stay(phase: Phase) -> Cell {
    Cell::NoEffect(match phase {
        Phase::Succeeded | Phase::Failed => FINISHED,
        Phase::Deleting => DELETING,
        Phase::Elsewhere => ELSEWHERE,
        _ => POD_METADATA,
    })
}

fn finalizer(phase: Phase) -> Cell {
    match phase {
        Phase::Deleting => Cell::Refused(NO_NEW_FINALIZERS),
        _ => Cell::Enforced(Effect::HoldsDeletion),
    }
}

fn no_finalizer(phase: Phase) -> Cell {
    match phase {
        Phase::Deleting => Cell::Enforced(Effect::EndsDeletion),
        _ => Cell::NoEffect("It has none."),
    }
}
