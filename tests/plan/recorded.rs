//! Jobs that set no field of ours are run as before there was any: the plans for recorded worlds stay as they are, byte
//! for byte.
//!
//! `tests/recorded` has them in pairs: `NAME.json`, what `kubectl pytorchjob record` printed of a job on a real API
//! server (less what no decision reads, with the same namespace, UIDs and times in every recording), and `NAME.yaml`,
//! what `replay -o yaml` says an operator does then. `make recorded` records them again. Where a plan is meant to
//! change for everybody, `UPDATE_PLANS=1 cargo test --test plan recorded` writes the plans, and CHANGELOG.md says so.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pytorchjob_test_cluster::repository;
use serde_json::{Value, json};

use crate::api;

/// What Kubeflow 1.9 has under `runPolicy`.
const OF_KUBEFLOW: [&str; 7] = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "cleanPodPolicy",
    "managedBy",
    "schedulingPolicy",
    "suspend",
    "ttlSecondsAfterFinished",
];

/// Our fields under `runPolicy`, and the default of each, where the API has a value for it.
const OURS: [(&str, Option<&str>); 11] = [
    ("failurePolicy", None),
    ("gracefulStopSeconds", None),
    ("nodeExclusion", None),
    ("progressPolicy", None),
    ("restartScope", Some("Replica")),
    ("restartStrategy", Some("Recreate")),
    ("restartWindow", None),
    ("servicePolicy", Some("All")),
    ("startupDeadlineAction", Some("Fail")),
    ("startupDeadlineSeconds", None),
    ("unreachableSeconds", None),
];

/// A recorded world and the plan for it.
struct Recorded {
    title: String,
    world: Value,
    plan: String,
    path: PathBuf,
}

fn recorded() -> Vec<Recorded> {
    let files = fs::read_dir(repository().join("tests/recorded")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let plan = path.with_extension("yaml");
        Recorded {
            title: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            world: serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
            plan: fs::read_to_string(&plan).unwrap(),
            path: plan,
        }
    };
    paths.into_iter().map(read).collect()
}

/// `kubectl pytorchjob`.
struct Plugin(tempfile::TempDir);

impl Plugin {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("kubectl-pytorchjob");
        symlink(env!("CARGO_BIN_EXE_pytorchjob-operator"), program).unwrap();
        Self(directory)
    }

    fn replay(&self, world: &Value) -> String {
        self.run(world, &["replay", "-", "-o", "yaml"])
    }

    fn run(&self, world: &Value, arguments: &[&str]) -> String {
        let mut child = Command::new(self.0.path().join("kubectl-pytorchjob"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(world.to_string().as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_plan_of_a_job_without_a_field_of_ours_is_the_one_that_was_recorded() {
    let plugin = Plugin::new();
    for world in recorded() {
        let plan = plugin.replay(&world.world);
        if std::env::var_os("UPDATE_PLANS").is_some() {
            fs::write(&world.path, &plan).unwrap();
        } else {
            assert_eq!(plan, world.plan, "{}", world.title);
        }
    }
}

#[test]
fn why_counts_restarts_in_place_as_the_limit_does() {
    let mut worlds = recorded().into_iter();
    let mut world = worlds
        .find(|world| world.title == "backoff-limit-container-restarted")
        .unwrap()
        .world;
    world["job"]["status"]["restarts"] = json!(2);
    let said = Plugin::new().run(&world, &["replay", "-"]);
    let expected = "Restarts: 1 in the pods that are there and 2 counted before of 1 (backoffLimit).";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn every_recorded_world_comes_to_rest_step_by_step_and_has_a_step_where_there_is_a_plan() {
    let plugin = Plugin::new();
    for recorded in recorded() {
        let said = plugin.run(&recorded.world, &["replay", "-"]);
        let starts = |part: &str| recorded.plan.lines().any(|line| line.starts_with(part));
        let acts = starts("requests:") || starts("status:");
        assert_eq!(said.contains("\nStep 1:\n"), acts, "{}:\n{said}", recorded.title);
        let ends = ["Then nothing is to be done until ", "  delete the job"];
        let rests = ends
            .iter()
            .any(|end| said.lines().last().is_some_and(|line| line.starts_with(end)));
        assert_eq!(rests, acts, "{}:\n{said}", recorded.title);
    }
}

#[test]
fn a_field_of_ours_that_is_written_with_its_default_changes_no_plan() {
    let plugin = Plugin::new();
    for mut recorded in recorded() {
        for (field, default) in OURS {
            recorded.world["job"]["spec"]["runPolicy"][field] = json!(default);
        }
        assert_eq!(plugin.replay(&recorded.world), recorded.plan, "{}", recorded.title);
    }
}

#[test]
fn no_recorded_job_has_a_field_of_ours_and_each_is_known_here() {
    let definition = serde_json::to_value(api::crd()).unwrap();
    let properties = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let fields = properties["spec"]["properties"]["runPolicy"]["properties"]
        .as_object()
        .unwrap();
    let known: BTreeSet<&str> = OURS.iter().map(|(field, _)| *field).chain(OF_KUBEFLOW).collect();
    assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    let worlds = recorded();
    assert!(worlds.len() > 40, "{} worlds are recorded", worlds.len());
    for recorded in worlds {
        let policy = recorded.world["job"]["spec"]["runPolicy"].as_object();
        for field in policy.into_iter().flat_map(|policy| policy.keys()) {
            assert!(OF_KUBEFLOW.contains(&field.as_str()), "{}: {field}", recorded.title);
        }
    }
}
