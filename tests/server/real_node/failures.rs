//! Failures of the training itself: each job says what happened to it.

use serde_json::json;

use crate::job::with;
use crate::real_node::{first_failure, job, site, with_container, with_template, with_worker};

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn what_the_training_wrote_last_is_the_cause_and_a_rule_about_it_ends_the_job_at_once() {
    let site = site().await;
    let policy =
        json!({ "backoffLimit": 5, "failurePolicy": { "rules": [{ "class": "ImportError", "action": "FailJob" }] } });
    let script = "echo begins; exec python3 -c 'import flash_attn'";
    let job = job("lacks", "OnFailure", script);
    site.create(&with(job, &json!({ "spec": { "runPolicy": policy } })))
        .await;
    let failed = site.wait_finished("lacks").await;
    let first = first_failure(&failed);
    assert_eq!(
        (&first["class"], &first["exitCode"]),
        (&json!("ImportError"), &json!(1)),
        "{first}"
    );
    let excerpt = first["excerpt"].as_str().unwrap();
    assert!(excerpt.contains("No module named 'flash_attn'"), "{excerpt}");
    assert_eq!(failed.status["restarts"], json!(null));
    site.described("lacks", &["failurePolicy.rules[0] says FailJob", "It was ImportError"])
        .await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn an_exit_code_fails_the_job_or_restarts_the_replica_as_its_restart_policy_says() {
    let site = site().await;
    let never = job("never", "Never", "echo out of luck | tee /dev/termination-log; exit 1");
    site.create(&never).await;
    let failed = site.wait("never", |job| job.is("Failed")).await;
    assert_eq!(first_failure(&failed)["exitCode"], 1);
    assert!(failed.why().contains("code 1"), "{}", failed.why());
    site.described("never", &["out of luck", "Warning", "code 1"]).await;

    // 137 is retryable, 1 is not.
    let script = "test -e /state/again || { touch /state/again; exit 137; }; exit 1";
    let volume = json!({ "volumes": [{ "name": "state", "hostPath": { "path": "/run/by-exit-code", "type": "DirectoryOrCreate" } }] });
    let by_code = with_template(job("by-exit-code", "ExitCode", script), &volume);
    let mounts = json!({ "volumeMounts": [{ "name": "state", "mountPath": "/state" }] });
    site.create(&with_container(by_code, &mounts)).await;
    let failed = site.wait("by-exit-code", |job| job.is("Failed")).await;
    assert_eq!(failed.status["restarts"], 1);
    assert_eq!(first_failure(&failed)["exitCode"], 137);
    assert!(failed.why().contains("code 1"), "{}", failed.why());
    site.described("by-exit-code", &["by-exit-code-master-0 exited with code 137"])
        .await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_container_that_exceeds_its_memory_limit_is_said_to_be_out_of_memory() {
    let site = site().await;
    let hungry = "exec python3 -c 'held = bytearray(200 << 20); print(len(held))'";
    let limit = json!({ "resources": { "limits": { "memory": "64Mi" } } });
    site.create(&with_container(job("hungry", "Never", hungry), &limit))
        .await;
    let failed = site.wait("hungry", |job| job.is("Failed")).await;
    assert_eq!(first_failure(&failed)["reason"], "OOMKilled");
    assert!(failed.why().contains("OOMKilled"), "{}", failed.why());
    site.described("hungry", &["OOMKilled"]).await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_pod_that_is_evicted_for_its_own_use_of_the_disk_fails_the_job_by_name() {
    let site = site().await;
    let greedy = "head -c 60M /dev/zero > /tmp/file; sleep 600";
    let limit = json!({ "resources": { "limits": { "ephemeral-storage": "20Mi" } } });
    site.create(&with_container(job("greedy", "Never", greedy), &limit))
        .await;
    let failed = site.wait("greedy", |job| job.is("Failed")).await;
    assert!(failed.why().contains("Evicted"), "{}", failed.why());
    site.described("greedy", &["Evicted", "ephemeral"]).await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn an_image_that_does_not_exist_is_on_the_status_line_and_training_goes_on_when_it_does() {
    let site = site().await;
    let missing = with_container(
        job("missing", "OnFailure", "true"),
        &json!({ "image": "local/nothing:1" }),
    );
    site.create(&missing).await;
    let waiting = site
        .wait("missing", |job| job.status.to_string().contains("ImagePull"))
        .await;
    assert!(
        waiting.status.to_string().contains("local/nothing:1"),
        "{}",
        waiting.status
    );
    site.described("missing", &["local/nothing:1"]).await;
    let node = site.cluster.node().unwrap();
    let tag = [
        "--namespace=k8s.io",
        "images",
        "tag",
        "docker.io/local/torch:1",
        "docker.io/local/nothing:1",
    ];
    node.run("ctr", &tag).await.unwrap();
    let done = site.wait("missing", |job| job.is("Succeeded")).await;
    assert!(!done.status.to_string().contains("ImagePull"), "{}", done.status);
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_crash_loop_is_told_though_the_pod_is_running_and_init_containers_are_told_by_name() {
    let site = site().await;
    site.create(&with_worker(
        job("looping", "OnFailure", "sleep 600"),
        "OnFailure",
        "exit 3",
    ))
    .await;
    let init =
        json!({ "initContainers": [{ "name": "prepare", "image": super::IMAGE, "command": ["sh", "-c", "exit 4"] }] });
    site.create(&with_template(job("unprepared", "OnFailure", "true"), &init))
        .await;
    for (name, container) in [("looping", "worker-0"), ("unprepared", "prepare")] {
        let looping = site
            .wait(name, |job| job.status.to_string().contains("CrashLoopBackOff"))
            .await;
        assert!(looping.status.to_string().contains(container), "{}", looping.status);
        site.described(name, &["CrashLoopBackOff"]).await;
    }
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_deadline_ends_pods_that_ignore_sigterm_when_their_grace_is_over() {
    let site = site().await;
    let deaf = job("deaf", "OnFailure", "trap '' TERM; while :; do sleep 1; done");
    site.create(&deaf).await;
    site.pod_running("deaf-master-0").await;
    site.wait("deaf", |job| job.is("Running")).await;
    site.patch("deaf", &json!({ "spec": { "activeDeadlineSeconds": 1 } }))
        .await;
    let failed = site.wait("deaf", |job| job.is("Failed")).await;
    assert!(failed.why().contains("specified deadline (1 s)"), "{}", failed.why());
    site.described("deaf", &["Warning", "specified deadline (1 s)"]).await;
    site.wait_pod_names("deaf", &[]).await;
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn a_rank_that_is_frozen_is_told_and_started_again_and_one_that_writes_is_left_alone() {
    let site = site().await;
    // The first process of a container cannot be stopped from inside.
    let trains = "while :; do date > /tmp/progress; sleep 1; done & echo $! > /tmp/rank; wait";
    let policy = json!({ "file": "/tmp/progress", "deadlineSeconds": 10, "startupSeconds": 5, "action": "Restart" });
    let job = with_worker(job("frozen", "OnFailure", trains), "OnFailure", trains);
    let patch = json!({ "spec": { "runPolicy": { "restartScope": "Job", "progressPolicy": policy } } });
    site.create(&with(job, &patch)).await;
    let old = site.pod_running("frozen-worker-0").await;
    site.wait("frozen", |job| job.is("Running") && job.status["ready"] == "2/2")
        .await;
    let freeze = "kill -STOP $(cat /tmp/rank)";
    let exec = [
        "exec",
        "frozen-worker-0",
        "--namespace",
        &site.namespace,
        "--",
        "sh",
        "-c",
        freeze,
    ];
    site.cluster.kubectl(&exec).await.unwrap();
    let stalled = site.wait("frozen", |job| job.is("Stalled")).await;
    let failure = first_failure(&stalled);
    assert_eq!(
        (&failure["class"], &failure["pod"]),
        (&json!("Stalled"), &json!("frozen-worker-0"))
    );
    site.described(
        "frozen",
        &[
            "ProgressDeadlineExceeded",
            "frozen-worker-0 runs and has written nothing",
        ],
    )
    .await;
    site.pod_replaced(&old).await;
    let again = site
        .wait("frozen", |job| !job.is("Stalled") && job.status["ready"] == "2/2")
        .await;
    assert_eq!(again.status["restarts"], 1);
}
