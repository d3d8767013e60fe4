//! Edits of the replicas: types, numbers, templates, elasticity.

use super::base::Base::{Bare, Elastic, ElasticBare, Gang, Master, Nested, Workers};
use super::effect::Effect;
use super::phase::Phase;
use super::policies::live;
use super::reasons::{
    BOUNDS, CANNOT_RUN_AGAIN, DEFAULT, DELETING, ELASTIC_POLICY, ELSEWHERE, FINISHED, NPROC, ONE_MASTER, REPLICA_TYPES,
    REQUIRED, RESTART_POLICY, TEMPLATE, UNBOUNDED_WORKERS, UNKNOWN_FIELD, UNKNOWN_TYPE, WORKERS,
};
use super::{Cell, Group, Row};

/// The row of a replica type, or of a field in it.
macro_rules! replica {
    ($role:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        Row::new(
            concat!("spec.pytorchReplicaSpecs.", $role),
            $edit,
            $base,
            concat!(r#"{"spec":{"pytorchReplicaSpecs":{""#, $role, r#"":"#, $value, "}}}"),
            $cell,
        )
    };
    ($role:literal . $field:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        replica!($role . $field, $edit, $base, $value, suspend "{}", $cell)
    };
    ($role:literal . $field:literal, $edit:literal, $base:expr, $value:literal, suspend $run_policy:literal, $cell:expr) => {
        Row::new(
            concat!("spec.pytorchReplicaSpecs.", $role, ".", $field),
            $edit,
            $base,
            concat!(
                r#"{"spec":{"runPolicy":"#,
                $run_policy,
                r#","pytorchReplicaSpecs":{""#,
                $role,
                r#"":{""#,
                $field,
                r#"":"#,
                $value,
                "}}}}"
            ),
            $cell,
        )
    };
}

/// The row of a member of `elasticPolicy`, which cannot change.
macro_rules! elastic {
    ($field:literal, $edit:literal, $base:expr, $value:literal) => {
        elastic!($field, $edit, $base, $value, |_| Cell::Refused(ELASTIC_POLICY))
    };
    ($field:literal, $edit:literal, $base:expr, $value:literal, $cell:expr) => {
        Row::new(
            concat!("spec.elasticPolicy.", $field),
            $edit,
            $base,
            concat!(r#"{"spec":{"elasticPolicy":{""#, $field, r#"":"#, $value, "}}}"),
            $cell,
        )
    };
}

pub const TYPES: Group = Group {
    title: "Replica types and restart policies",
    about: "Which of Master and Worker a job has, and what the failure of one means, is decided when it is created.",
    rows: &[
        Row::new(
            "spec.pytorchReplicaSpecs",
            "remove",
            Bare,
            r#"{"spec":{"pytorchReplicaSpecs":null}}"#,
            |_| Cell::Refused(REQUIRED),
        ),
        Row::new(
            "spec.pytorchReplicaSpecs",
            "replace Worker by another type",
            Bare,
            r#"{"spec":{"pytorchReplicaSpecs":{"Worker":null,"Launcher":{"template":{"spec":{"containers":[{"name":"pytorch","image":"i"}]}}}}}}"#,
            |_| Cell::Refused(UNKNOWN_TYPE),
        ),
        replica!("Worker", "remove", Bare, "null", types),
        replica!("Master", "remove", Bare, "null", types),
        replica!(
            "Master",
            "add",
            Workers,
            r#"{"template":{"spec":{"containers":[{"name":"pytorch","image":"i"}]}}}"#,
            types
        ),
        replica!(
            "Worker",
            "add",
            Master,
            r#"{"template":{"spec":{"containers":[{"name":"pytorch","image":"i"}]}}}"#,
            types
        ),
        replica!("Master"."restartPolicy", "set to OnFailure", Bare, r#""OnFailure""#, default),
        replica!("Worker"."restartPolicy", "set to OnFailure", Bare, r#""OnFailure""#, default),
        replica!("Worker"."restartPolicy", "remove OnFailure", Nested, "null", default),
        replica!("Worker"."restartPolicy", "set to another", Bare, r#""Never""#, restart_policy),
        replica!("Master"."restartPolicy", "change", Gang, r#""Never""#, restart_policy),
        replica!("Worker"."restartPolicy", "change", Gang, r#""OnFailure""#, restart_policy),
        replica!("Worker"."restartPolicy", "remove another", Gang, "null", restart_policy),
        replica!("Worker"."restartPolicy", "set to an unknown value", Bare, r#""Sometimes""#, |_| {
            Cell::Refused(&[r#"Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never", "ExitCode", """#])
        }),
    ],
};

pub const NUMBERS: Group = Group {
    title: "Numbers of replicas and of processes",
    about: "An elastic job is scaled at any time within its bounds. Any other is suspended first, because `WORLD_SIZE` of running pods cannot change.",
    rows: &[
        replica!("Master"."replicas", "set to 1", Bare, "1", default),
        replica!("Master"."replicas", "remove 1", Nested, "null", default),
        replica!("Master"."replicas", "change", Nested, "2", |_| Cell::Refused(ONE_MASTER)),
        replica!("Worker"."replicas", "remove 1", Nested, "null", default),
        replica!("Worker"."replicas", "set", Bare, "2", |phase| when_suspended(phase, Effect::Resizes(2), WORKERS)),
        replica!("Worker"."replicas", "change", Nested, "2", |phase| when_suspended(phase, Effect::Resizes(2), WORKERS)),
        replica!("Worker"."replicas", "remove another", Workers, "null", |phase| {
            when_suspended(phase, Effect::Resizes(1), WORKERS)
        }),
        replica!("Worker"."replicas", "change, and suspend", Nested, "2", suspend r#"{"suspend":true}"#, |phase| {
            live(phase, Effect::Resizes(2))
        }),
        replica!("Worker"."replicas", "change to 0", Workers, "0", |phase| match phase {
            Phase::Suspended => Cell::Refused(&[NO_WORKERS]),
            Phase::Succeeded | Phase::Failed => Cell::Refused(NO_WORKERS_AND_FINISHED),
            _ => Cell::Refused(NO_WORKERS_WHILE_RUNNING),
        }),
        replica!("Worker"."replicas", "raise an elastic job", Elastic, "3", |phase| live(phase, Effect::Scales(3))),
        replica!("Worker"."replicas", "lower an elastic job", Elastic, "1", |phase| live(phase, Effect::Scales(1))),
        replica!("Worker"."replicas", "remove from an elastic job", Elastic, "null", |phase| {
            live(phase, Effect::Scales(1))
        }),
        replica!("Worker"."replicas", "raise an elastic job beyond its bounds", Elastic, "4", |phase| match phase {
            Phase::Succeeded | Phase::Failed => Cell::Refused(BOUNDS_AND_FINISHED),
            _ => Cell::Refused(BOUNDS),
        }),
        replica!("Worker"."replicas", "raise an elastic job that has no bounds", ElasticBare, "3", |phase| {
            when_suspended(phase, Effect::Resizes(3), UNBOUNDED_WORKERS)
        }),
        Row::new(
            "spec.nprocPerNode",
            "set",
            Bare,
            r#"{"spec":{"nprocPerNode":"4"}}"#,
            nproc,
        ),
        Row::new(
            "spec.nprocPerNode",
            "set to an empty word",
            Bare,
            r#"{"spec":{"nprocPerNode":""}}"#,
            default,
        ),
        Row::new(
            "spec.nprocPerNode",
            "change",
            Nested,
            r#"{"spec":{"nprocPerNode":"4"}}"#,
            nproc,
        ),
        Row::new(
            "spec.nprocPerNode",
            "remove",
            Nested,
            r#"{"spec":{"nprocPerNode":null}}"#,
            |phase| when_suspended(phase, AUTO_PROCESSES, NPROC),
        ),
        Row::new(
            "spec.nprocPerNode",
            "change, and suspend",
            Nested,
            r#"{"spec":{"nprocPerNode":"4","runPolicy":{"suspend":true}}}"#,
            |phase| live(phase, FOUR_PROCESSES),
        ),
    ],
};

pub const TEMPLATES: Group = Group {
    title: "Templates",
    about: "Running pods do not follow their template, so it changes only while the job is suspended.",
    rows: &[
        replica!("Worker"."template", "remove", Bare, "null", |_| Cell::Refused(REQUIRED)),
        replica!(
            "Worker"."template",
            "change the image",
            Bare,
            r#"{"spec":{"containers":[{"name":"pytorch","image":"training:2"}]}}"#,
            |phase| when_suspended(phase, IMAGE, TEMPLATE)
        ),
        replica!(
            "Master"."template",
            "change the image",
            Bare,
            r#"{"spec":{"containers":[{"name":"pytorch","image":"training:2"}]}}"#,
            |phase| when_suspended(phase, Effect::RebuildsMaster("/spec/containers/0/image", "training:2"), TEMPLATE)
        ),
        replica!(
            "Worker"."template",
            "change the image, and suspend",
            Bare,
            r#"{"spec":{"containers":[{"name":"pytorch","image":"training:2"}]}}"#,
            suspend r#"{"suspend":true}"#,
            |phase| live(phase, IMAGE)
        ),
        replica!(
            "Worker"."template",
            "change the node selector, and resume, as Kueue does",
            Bare,
            r#"{"spec":{"nodeSelector":{"pool":"gpu"}}}"#,
            suspend r#"{"suspend":false}"#,
            |phase| when_suspended(phase, SELECTOR, TEMPLATE)
        ),
        replica!("Worker"."template", "add a node selector", Bare, r#"{"spec":{"nodeSelector":{"pool":"gpu"}}}"#, |phase| {
            when_suspended(phase, SELECTOR, TEMPLATE)
        }),
        replica!(
            "Worker"."template",
            "add an environment variable",
            Bare,
            r#"{"spec":{"containers":[{"name":"pytorch","image":"training:1","env":[{"name":"DEBUG","value":"1"}]}]}}"#,
            |phase| when_suspended(phase, Effect::Rebuilds("/spec/containers/0/env", r#"{"name":"DEBUG","value":"1"}"#), TEMPLATE)
        ),
        replica!("Worker"."template", "add a label", Bare, r#"{"metadata":{"labels":{"tier":"gold"}}}"#, |phase| {
            when_suspended(phase, Effect::Rebuilds("/metadata/labels", r#""tier":"gold""#), TEMPLATE)
        }),
        replica!(
            "Worker"."template",
            "add a container",
            Bare,
            r#"{"spec":{"containers":[{"name":"pytorch","image":"training:1"},{"name":"sidecar","image":"proxy:1"}]}}"#,
            |phase| when_suspended(phase, Effect::Rebuilds("/spec/containers/1/name", "sidecar"), TEMPLATE)
        ),
        replica!(
            "Worker"."template",
            "rename the container pytorch",
            Bare,
            r#"{"spec":{"containers":[{"name":"trainer","image":"training:1"}]}}"#,
            |phase| match phase {
                Phase::Suspended => Cell::Refused(&[NO_PYTORCH]),
                Phase::Succeeded | Phase::Failed => Cell::Refused(NO_PYTORCH_AND_FINISHED),
                _ => Cell::Refused(TEMPLATE_AND_NO_PYTORCH),
            }
        ),
        replica!("Worker"."template", "add a field that the definition does not know", Bare, r#"{"spec":{"newer":{"than":"this"}}}"#, |_| {
            Cell::NoEffect(UNKNOWN_FIELD)
        }),
    ],
};

pub const ELASTIC: Group = Group {
    title: "Elasticity",
    about: "Running pods know the bounds and the rendezvous from their environment, so `elasticPolicy` stays as it was created.",
    rows: &[
        Row::new(
            "spec.elasticPolicy",
            "set",
            Workers,
            r#"{"spec":{"elasticPolicy":{"minReplicas":1}}}"#,
            beyond_bounds,
        ),
        Row::new(
            "spec.elasticPolicy",
            "remove",
            Elastic,
            r#"{"spec":{"elasticPolicy":null}}"#,
            |_| Cell::Refused(ELASTIC_POLICY),
        ),
        elastic!("maxReplicas", "set", ElasticBare, "4", beyond_bounds),
        elastic!("maxReplicas", "change", Elastic, "4"),
        elastic!("maxReplicas", "remove", Elastic, "null", beyond_bounds),
        elastic!("maxRestarts", "set", ElasticBare, "1"),
        elastic!("maxRestarts", "change", Elastic, "1"),
        elastic!("maxRestarts", "remove", Elastic, "null"),
        elastic!("minReplicas", "set", ElasticBare, "2"),
        elastic!("minReplicas", "change", Elastic, "2"),
        elastic!("minReplicas", "remove", Elastic, "null", beyond_bounds),
        elastic!("nProcPerNode", "set", ElasticBare, "2"),
        elastic!("nProcPerNode", "change", Elastic, "2"),
        elastic!("nProcPerNode", "remove", Elastic, "null"),
        elastic!("rdzvBackend", "set", ElasticBare, r#""etcd-v2""#),
        elastic!("rdzvBackend", "change", Elastic, r#""etcd-v2""#),
        elastic!("rdzvBackend", "remove", Elastic, "null"),
        elastic!("rdzvHost", "set", ElasticBare, r#""other""#),
        elastic!("rdzvHost", "change", Elastic, r#""other""#),
        elastic!("rdzvHost", "remove", Elastic, "null"),
        elastic!("rdzvId", "set", ElasticBare, r#""7""#),
        elastic!("rdzvId", "change", Elastic, r#""7""#),
        elastic!("rdzvId", "remove", Elastic, "null"),
        elastic!("rdzvPort", "set", ElasticBare, "29500"),
        elastic!("rdzvPort", "change", Elastic, "29500"),
        elastic!("rdzvPort", "remove", Elastic, "null"),
        elastic!("standalone", "set", ElasticBare, "true"),
        elastic!("standalone", "change", Elastic, "true"),
        elastic!("standalone", "remove", Elastic, "null"),
        elastic!("rdzvConf", "set", ElasticBare, r#"[{"key":"a","value":"b"}]"#),
        elastic!("rdzvConf", "change", Elastic, r#"[{"key":"a","value":"b"}]"#),
        elastic!("rdzvConf", "remove", Elastic, "null"),
        elastic!("metrics", "set", ElasticBare, "[]"),
        elastic!("metrics", "change", Elastic, "[]"),
        elastic!("metrics", "remove", Elastic, "null"),
    ],
};

const IMAGE: Effect = Effect::Rebuilds("/spec/containers/0/image", "training:2");
const SELECTOR: Effect = Effect::Rebuilds("/spec/nodeSelector", r#""pool":"gpu""#);
const FOUR_PROCESSES: Effect =
    Effect::Rebuilds("/spec/containers/0/env", r#"{"name":"PET_NPROC_PER_NODE","value":"4"}"#);
const AUTO_PROCESSES: Effect = Effect::Rebuilds(
    "/spec/containers/0/env",
    r#"{"name":"PET_NPROC_PER_NODE","value":"auto"}"#,
);
const NO_PYTORCH: &str =
    "template.spec.containers needs a container named pytorch: it gets the rendezvous port and its exit code decides";

const NO_WORKERS: &str = "0: spec.pytorchReplicaSpecs.Worker.replicas in body should be greater than or equal to 1";
const NO_WORKERS_WHILE_RUNNING: &[&str] = &[NO_WORKERS, WORKERS[0]];
const NO_WORKERS_AND_FINISHED: &[&str] = &[NO_WORKERS, CANNOT_RUN_AGAIN[0]];
const BOUNDS_AND_FINISHED: &[&str] = &[CANNOT_RUN_AGAIN[0], BOUNDS[0]];
const TEMPLATE_AND_NO_PYTORCH: &[&str] = &[TEMPLATE[0], NO_PYTORCH];
const NO_PYTORCH_AND_FINISHED: &[&str] = &[CANNOT_RUN_AGAIN[0], NO_PYTORCH];

/// What can change only while the job is suspended.
fn when_suspended(phase: Phase, effect: Effect, otherwise: &'static [&'static str]) -> Cell {
    match phase {
        Phase::Succeeded | Phase::Failed => Cell::Refused(CANNOT_RUN_AGAIN),
        Phase::Suspended => Cell::Enforced(effect),
        _ => Cell::Refused(otherwise),
    }
}

fn nproc(phase: Phase) -> Cell {
    when_suspended(phase, FOUR_PROCESSES, NPROC)
}

fn types(_: Phase) -> Cell {
    Cell::Refused(REPLICA_TYPES)
}

fn restart_policy(_: Phase) -> Cell {
    Cell::Refused(RESTART_POLICY)
}

fn default(phase: Phase) -> Cell {
    Cell::NoEffect(match phase {
        Phase::Succeeded | Phase::Failed => FINISHED,
        Phase::Deleting => DELETING,
        Phase::Elsewhere => ELSEWHERE,
        _ => DEFAULT,
    })
}

/// A job without status, which nobody has worked on yet, is judged as a new one is.
const fn beyond_bounds(phase: Phase) -> Cell {
    const AS_NEW: &[&str] = &[BOUNDS[0], ELASTIC_POLICY[0]];
    match phase {
        Phase::JustCreated | Phase::Elsewhere => Cell::Refused(AS_NEW),
        _ => Cell::Refused(ELASTIC_POLICY),
    }
}
