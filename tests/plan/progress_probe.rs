//! The readiness probe of `runPolicy.progressPolicy`, run as the kubelet runs it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use pytorchjob_operator::api::ReplicaType;
use serde_json::json;

use crate::support::fixture::master;

/// Whether the probe finds something written below `path` in the last 60 s, and what it says.
fn look(path: &Path) -> (bool, String) {
    let policy = json!({ "file": path, "deadlineSeconds": 60, "action": "Warn" });
    let pod = master()
        .policy("progressPolicy", policy)
        .scene()
        .build_pod(ReplicaType::Master, 0);
    let command = pod["spec"]["containers"][0]["readinessProbe"]["exec"]["command"].clone();
    let words: Vec<String> = serde_json::from_value(command).expect("a command is a list of words");
    let output = Command::new(&words[0])
        .args(&words[1..])
        .output()
        .expect("there is a shell");
    (
        output.status.success(),
        String::from_utf8(output.stdout).expect("it is text"),
    )
}

#[expect(clippy::disallowed_methods, reason = "the probe asks the clock too")]
fn write(path: &Path, seconds_ago: u64) {
    let file = File::create(path).expect("the file is created");
    let time = SystemTime::now() - Duration::from_secs(seconds_ago);
    file.set_modified(time).expect("the file gets its time");
}

#[test]
fn a_file_or_the_newest_file_of_a_folder_must_have_been_written_within_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert!(!look(folder.path()).0, "an empty folder");
    assert_eq!(
        look(&path("log")),
        (false, format!("no file at {}\n", path("log").display()))
    );
    write(&path("log"), 100);
    let (ready, said) = look(&path("log"));
    assert!(
        !ready && said.starts_with(&format!("{} was last written 10", path("log").display())),
        "{said}"
    );
    write(&path("log"), 40);
    assert_eq!(look(&path("log")), (true, String::new()));
    write(&path("log"), 100);
    fs::create_dir_all(path("rank 0; exit 1/deep")).unwrap();
    assert!(!look(folder.path()).0, "folders are no files");
    write(&path("rank 0; exit 1/deep/$(step)"), 10);
    assert_eq!(
        look(folder.path()),
        (true, String::new()),
        "the newest counts, whatever its name"
    );
    write(&path("rank 0; exit 1/deep/$(step)"), 1_000);
    assert!(!look(folder.path()).0);
    std::os::unix::fs::symlink(path("log"), path("latest")).unwrap();
    write(&path("log"), 0);
    assert_eq!(look(&path("latest")), (true, String::new()), "a link is followed");
}
