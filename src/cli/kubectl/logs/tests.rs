use std::sync::{Arc, Mutex};

use futures::StreamExt;
use serde_json::Value;

use super::fake::{Asked, ENDLESS, Moment, REFUSED, UNREADABLE, client, ended, job, pod, running};
use super::source::{Broken, text_lines};
use super::*;
use crate::cli::kubectl::tests::not_found;

const STEP: &str = "2026-01-01T00:00:02Z step 1\n";

const HEADING: &str =
    "[worker-1] first failure: exit code 1 (ImportError) on node-a at 2026-01-01T00:00:05Z: ImportError: x";

/// What is printed, how it ends, and what of the logs was asked for.
struct Printed {
    lines: Vec<String>,
    result: Result<(), String>,
    asked: Vec<String>,
    /// The most that were read at once.
    most: usize,
}

async fn printed(moments: &[Moment], follow: bool, colours: bool) -> Printed {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let source = Source::new(&client(moments, Arc::clone(&asked)), "team");
    let mut output = Vec::new();
    let logs = Logs {
        job: "train".to_owned(),
        follow,
        tail: 50,
    };
    let copied = logs.copy(&source, Printer::new("train", colours, &mut output));
    let in_time = tokio::time::timeout(Duration::from_mins(10), copied).await;
    let result = match in_time.expect("it ends") {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Closed) => panic!("the output is read to the end"),
    };
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let lines = String::from_utf8(output).unwrap();
    Printed {
        lines: lines.lines().map(str::to_owned).collect(),
        result,
        asked: asked.logs,
        most: asked.most,
    }
}

#[tokio::test(start_paused = true)]
async fn following_goes_on_with_the_container_that_is_started_again_and_says_between_how_the_first_one_failed() {
    let name = "train-worker-1";
    let none = Value::Null;
    let moments = [
        Moment {
            job: Some(job("Running", false)),
            pods: vec![pod(name, 0, &running(1), &none)],
            logs: ["2026-01-01T00:00:04Z step 1\n2026-01-01T00:00:05Z ImportError: x\n", ""],
        },
        Moment {
            job: Some(job("Running", true)),
            pods: vec![pod(name, 1, &running(7), &ended(1, 5, 1))],
            logs: [
                "2026-01-01T00:00:08Z step 1 again\n",
                "2026-01-01T00:00:04Z step 1\n2026-01-01T00:00:05Z ImportError: x\n2026-01-01T00:00:05.5Z bye\n",
            ],
        },
        Moment {
            job: Some(job("Succeeded", true)),
            pods: vec![pod(name, 1, &ended(7, 9, 0), &ended(1, 5, 1))],
            logs: ["", ""],
        },
    ];
    let printed = printed(&moments, true, false).await;
    assert_eq!(printed.result, Ok(()));
    let expected = [
        "[worker-1] step 1",
        "[worker-1] ImportError: x",
        "[worker-1] bye",
        HEADING,
        "[worker-1] step 1 again",
    ];
    assert_eq!(printed.lines, expected);
    let all_of_the_second = [
        "follow=true&tailLines=50&timestamps=true",
        "previous=true&sinceTime=2026-01-01T00%3A00%3A04Z&timestamps=true",
        "follow=true&timestamps=true",
        "sinceTime=2026-01-01T00%3A00%3A07Z&timestamps=true",
    ];
    assert_eq!(
        printed
            .asked
            .iter()
            .map(|query| query.trim_matches('&'))
            .collect::<Vec<_>>(),
        all_of_the_second
    );
}

#[tokio::test(start_paused = true)]
async fn a_terminal_shows_the_replica_that_failed_first_in_red_and_the_run_that_followed_as_others() {
    let moment = Moment {
        job: Some(job("Running", true)),
        pods: vec![pod("train-worker-1", 1, &running(7), &ended(1, 5, 1))],
        logs: ["step 1 again\n", "step 1\n[rank1]: ImportError: x\n"],
    };
    let painted = |text: &str| format!("\x1b[1;31m{text}\x1b[0m");
    let expected = [
        painted("[worker-1]") + " step 1",
        painted("[worker-1] [rank1]: ImportError: x"),
        painted(HEADING),
        "[worker-1] step 1 again".to_owned(),
    ];
    assert_eq!(printed(&[moment], false, true).await.lines, expected);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_said_where_its_pod_is_gone_and_nothing_is_lost_where_the_job_cannot_be_read() {
    let other = || vec![pod("train-master-0", 0, &ended(1, 6, 0), &Value::Null)];
    for (job, pods, expected, error) in [
        (
            Some(job("Failed", true)),
            other(),
            vec!["[master-0] done", HEADING],
            None,
        ),
        (
            Some(job("Failed", true)),
            vec![],
            vec![HEADING],
            Some("PyTorchJob team/train has no pods"),
        ),
        (None, other(), vec!["[master-0] done"], None),
    ] {
        let logs = ["done\n", ""];
        let printed = printed(&[Moment { job, pods, logs }], false, false).await;
        assert_eq!(printed.lines, expected);
        assert_eq!(printed.result.err().as_deref(), error);
    }
}

/// What is said while the job runs, with what of the log at each look, until it has succeeded.
async fn followed(logs: &[&'static str]) -> Printed {
    let moment = |log, condition, state| Moment {
        job: Some(job(condition, false)),
        pods: vec![pod("train-worker-1", 0, &state, &Value::Null)],
        logs: [log, ""],
    };
    let (last, before) = logs.split_last().unwrap();
    let mut moments: Vec<_> = before.iter().map(|log| moment(*log, "Running", running(1))).collect();
    moments.push(moment(*last, "Succeeded", ended(1, 9, 0)));
    printed(&moments, true, false).await
}

#[tokio::test(start_paused = true)]
async fn a_log_that_a_proxy_closes_is_read_on_from_the_last_line_and_once_more_when_its_run_has_ended() {
    let printed = followed(&[
        "2026-01-01T00:00:02.25Z step 1\n",
        "2026-01-01T00:00:02.25Z step 1\n2026-01-01T00:00:03Z step 2\n",
        "2026-01-01T00:00:03Z step 2\n2026-01-01T00:00:04Z step 3\n",
    ])
    .await;
    assert_eq!(
        printed.lines,
        ["[worker-1] step 1", "[worker-1] step 2", "[worker-1] step 3"]
    );
    assert_eq!(
        printed.asked,
        [
            "&follow=true&tailLines=50&timestamps=true",
            "&follow=true&sinceTime=2026-01-01T00%3A00%3A01Z&timestamps=true",
            "&sinceTime=2026-01-01T00%3A00%3A02Z&timestamps=true",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_asked_for_again_more_and_more_seldom_and_at_once_in_the_end() {
    let again = followed(&[UNREADABLE, UNREADABLE, STEP, STEP, STEP]).await;
    assert_eq!(again.lines, ["[worker-1] step 1"]);
    assert_eq!(again.result, Ok(()));
    // Not at the third look.
    assert_eq!(again.asked[..3], ["&follow=true&tailLines=50&timestamps=true"; 3]);

    let never = followed(&[UNREADABLE, UNREADABLE]).await;
    let error = "PyTorchJob team/train has no log that can be read";
    assert_eq!(never.result.err().as_deref(), Some(error));
    assert_eq!(never.asked.len(), 1 + 1 + 3);

    let cut = followed(&[STEP, UNREADABLE]).await;
    let error = "PyTorchJob team/train has a log that cannot be read to its end";
    assert_eq!(cut.lines, ["[worker-1] step 1"]);
    assert_eq!(cut.result.err().as_deref(), Some(error));
}

#[tokio::test(start_paused = true)]
async fn logs_that_may_not_be_read_are_asked_for_once_and_end_the_command() {
    let refused = followed(&[REFUSED, REFUSED, REFUSED]).await;
    let error = "PyTorchJob team/train has no log that can be read";
    assert_eq!(refused.result.err().as_deref(), Some(error));
    assert_eq!(refused.asked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_read_jobs_follows_until_all_pods_have_ended() {
    let moment = |phase: &str, state: &Value| {
        let mut pod = pod("train-master-0", 0, state, &Value::Null);
        pod["status"]["phase"] = phase.into();
        Moment {
            job: None,
            pods: vec![pod],
            logs: [STEP, ""],
        }
    };
    let moments = [moment("Running", &running(1)), moment("Succeeded", &ended(1, 6, 0))];
    let printed = printed(&moments, true, false).await;
    assert_eq!(
        (printed.lines, printed.result),
        (vec!["[master-0] step 1".to_owned()], Ok(()))
    );
}

#[tokio::test(start_paused = true)]
async fn following_ends_with_the_job_after_the_last_line_of_a_pod_that_has_ended_and_before_one_that_runs_on() {
    let none = Value::Null;
    let moment = |condition, master: &Value| Moment {
        job: Some(job(condition, false)),
        pods: vec![
            pod("train-master-0", 0, master, &none),
            pod("train-worker-0", 0, &running(1), &none),
        ],
        logs: [ENDLESS, ""],
    };
    let moments = [moment("Running", &running(1)), moment("Succeeded", &ended(1, 6, 0))];
    let printed = printed(&moments, true, false).await;
    assert_eq!(printed.result, Ok(()));
    assert_eq!(
        printed.lines,
        ["[master-0] step 1", "[worker-0] step 1", "[master-0] the end"]
    );
}

#[tokio::test(start_paused = true)]
async fn of_a_job_that_has_finished_the_pods_that_run_on_are_asked_for_what_they_have_by_now() {
    let moment = Moment {
        job: Some(job("Succeeded", false)),
        pods: vec![pod("train-worker-0", 0, &running(1), &Value::Null)],
        logs: [ENDLESS, ""],
    };
    let printed = printed(&[moment], true, false).await;
    assert_eq!(
        (printed.result, printed.lines),
        (Ok(()), vec!["[worker-0] step 1".to_owned()])
    );
    assert_eq!(printed.asked, ["&tailLines=50&timestamps=true"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_container_that_starts_while_it_is_waited_for_every_line_is_asked_for() {
    let waits = serde_json::json!({ "waiting": { "reason": "ContainerCreating" } });
    let moment = |condition, state: &Value| Moment {
        job: Some(job(condition, false)),
        pods: vec![pod("train-worker-0", 0, state, &Value::Null)],
        logs: [STEP, ""],
    };
    let moments = [
        moment("Created", &waits),
        moment("Running", &running(1)),
        moment("Succeeded", &ended(1, 9, 0)),
    ];
    let printed = printed(&moments, true, false).await;
    assert_eq!(printed.lines, ["[worker-0] step 1"]);
    assert_eq!(printed.asked[0], "&follow=true&timestamps=true");
}

#[tokio::test(start_paused = true)]
async fn of_a_job_that_is_not_there_it_is_said_that_it_is_not() {
    let not_found = not_found("pytorchjobs.kubeflow.org \"train\" not found", "train");
    let left = || vec![pod("train-master-0", 0, &ended(1, 6, 0), &Value::Null)];
    for (job, pods, lines, error) in [
        (
            not_found.clone(),
            vec![],
            vec![],
            Some("cannot get PyTorchJob team/train: pytorchjobs.kubeflow.org \"train\" not found"),
        ),
        (
            "404 page not found".into(),
            vec![],
            vec![],
            Some("cannot get PyTorchJob team/train: the cluster has no definition of PyTorchJobs"),
        ),
        (not_found, left(), vec!["[master-0] step 1"], None),
    ] {
        for follow in [false, true] {
            let moment = Moment {
                job: Some(job.clone()),
                pods: pods.clone(),
                logs: [if follow { STEP } else { "step 1\n" }, ""],
            };
            let printed = printed(&[moment], follow, false).await;
            assert_eq!(printed.lines, lines);
            assert_eq!(printed.result.err().as_deref(), error);
        }
    }
}

#[tokio::test]
async fn of_a_job_whose_pods_have_not_started_it_is_said_who_knows_why() {
    let logs = Logs {
        job: "train".to_owned(),
        follow: true,
        tail: 50,
    };
    let waits = serde_json::json!({ "waiting": { "reason": "ContainerCreating" } });
    let said = "no container of PyTorchJob team/train has started yet: see kubectl pytorchjob why train -n team";
    for (condition, state, expected) in [
        ("Created", &waits, Some(said)),
        ("Running", &running(1), None),
        ("Failed", &waits, None),
    ] {
        let moment = Moment {
            job: Some(job(condition, false)),
            pods: vec![pod("train-worker-0", 0, state, &Value::Null)],
            logs: [STEP, ""],
        };
        let source = Source::new(&client(&[moment], Arc::default()), "team");
        let look = source.look("train").await.unwrap();
        let mut copy = logs.begin(&source, Printer::new("train", false, Vec::new()));
        copy.open(&look, Asks::Follow);
        let nothing = logs.nothing_yet(&copy.known, &look, "team");
        assert_eq!(nothing.as_deref(), expected, "{condition}");
    }
}

#[tokio::test]
async fn logs_that_end_are_read_a_hundred_at_once_and_one_that_cannot_be_is_a_failure() {
    let none = Value::Null;
    let worker = |index: u32| pod(&format!("train-worker-{index}"), 0, &ended(1, 9, 0), &none);
    let moment = |log| Moment {
        job: Some(job("Succeeded", false)),
        pods: (0..250).map(worker).collect(),
        logs: [log, ""],
    };
    for follow in [false, true] {
        let log = if follow { STEP } else { "step 1\n" };
        let printed = printed(&[moment(log)], follow, false).await;
        assert_eq!((printed.lines.len(), printed.result), (250, Ok(())));
        assert_eq!((printed.asked.len(), printed.most), (250, 100), "{follow}");
    }
    let mut failed = moment("step 1\n");
    failed.pods.truncate(1);
    failed.pods[0] = pod("train-worker-1", 1, &running(7), &ended(1, 5, 1));
    failed.job = Some(job("Running", true));
    failed.logs[1] = UNREADABLE;
    let printed = printed(&[failed], false, false).await;
    let error = "PyTorchJob team/train has a log that cannot be read to its end";
    assert_eq!(printed.result.err().as_deref(), Some(error));
    assert!(printed.lines.contains(&"[worker-1] step 1".to_owned()));
}

#[test]
fn who_follows_may_have_as_many_connections_as_the_system_allows() {
    let limit = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(1024),
        ..limit
    };
    setrlimit(Resource::Nofile, low).unwrap();
    allow_connections();
    assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
}

#[test]
fn a_log_that_cannot_be_read_is_told_in_the_words_of_the_api_server() {
    let status = not_found("pods \"train-master-0\" not found", "train-master-0");
    let error = kube::Error::Api(serde_json::from_value(status).unwrap());
    let broken = Broken::from(error);
    assert_eq!(
        (broken.why.as_str(), broken.refused),
        ("pods \"train-master-0\" not found", false)
    );
}

#[tokio::test]
async fn a_line_that_is_no_utf8_is_printed_with_what_can_be_read_of_it_and_those_after_it_too() {
    let log: &[u8] = b"50 \xff%\r\n\nlast";
    let lines: Vec<_> = text_lines(log).map(Result::unwrap).collect().await;
    assert_eq!(lines, ["50 \u{fffd}%", "", "last"]);
}

#[test]
fn all_lines_are_asked_for_by_a_negative_number_as_with_kubectl() {
    let logs = |tail| Logs {
        job: "train".to_owned(),
        follow: false,
        tail,
    };
    assert_eq!(
        [-1, 0, 7].map(|tail| logs(tail).first_lines()),
        [None, Some(0), Some(7)]
    );
}
