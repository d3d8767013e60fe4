//! `why` of jobs that quota, a gang scheduler or Kueue keeps waiting.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::kubectl::{Viewer, plugin, text};
use crate::rig::{Rig, run};
use crate::scheduling_policy::group::Volcano;
use crate::scheduling_policy::{gang, min_available, place};

#[tokio::test]
async fn why_says_which_quota_is_used_up_and_by_how_much_with_no_right_but_to_view() {
    let rig = Rig::start().await;
    let viewer = Viewer::of(&rig).await;
    rig.quota("pods", 1).await;
    rig.create(&job("limited", 2)).await;
    rig.wait_event("limited", "Warning", "FailedCreatePod").await;
    rig.settle("limited").await;
    let (succeeds, said, errors) = viewer.run(&["why", "limited"]).await;
    assert!(succeeds, "{errors}");
    let quota = "Quota:\n  ResourceQuota pods: pods: 1 of 1 used, 1 more asked for.\n    To do: wait until";
    assert!(said.contains(quota), "{said}");
    assert!(
        said.contains(" Waiting: cannot create pod ") && !said.contains("Then it is"),
        "{said}"
    );
}

/// A Workload of a job, as Kueue makes it.
fn workload(job: &crate::job::Job) -> Value {
    let uid = job.metadata.uid.as_deref().unwrap();
    json!({
        "apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload",
        "metadata": {
            "name": "pytorchjob-train-1a2b3", "labels": { "kueue.x-k8s.io/job-uid": uid },
            "ownerReferences": [{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "train", "uid": uid }],
        },
        "spec": { "queueName": "team-queue", "podSets": [{ "name": "very-secret" }] },
        "status": { "conditions": [{ "type": "QuotaReserved", "status": "False", "reason": "Pending",
            "message": "insufficient unused quota for cpu in flavor default, 2 more needed" }] },
    })
}

#[tokio::test]
async fn why_says_what_the_gang_scheduler_and_kueue_say_to_those_who_may_read_it_and_to_others_that_they_may_not() {
    let rig = place().await.rig("volcano").await;
    let viewer = Viewer::of(&rig).await;
    let queued = json!({ "metadata": { "labels": { "kueue.x-k8s.io/queue-name": "team-queue" } } });
    let job = rig
        .create(&with(with(gang("train", 1), &queued), &min_available(2)))
        .await;
    rig.wait_group::<Volcano>("train", |_| true).await;
    let unschedulable = json!({ "phase": "Inqueue", "conditions": [{ "type": "Unschedulable", "status": "True",
        "reason": "NotEnoughResources", "message": "2/2 tasks in gang unschedulable" }] });
    rig.schedule::<Volcano>("train", &unschedulable).await;
    let kind = GroupVersionKind::gvk("kueue.x-k8s.io", "v1beta2", "Workload");
    let workloads: Api<DynamicObject> =
        Api::namespaced_with(rig.client.clone(), &rig.namespace, &ApiResource::from_gvk(&kind));
    let object = serde_json::from_value(workload(&job)).unwrap();
    workloads.create(&PostParams::default(), &object).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let program = plugin(directory.path());
    let kubeconfig = rig.cluster.admin_kubeconfig().display().to_string();
    let of_admin = ["--kubeconfig", &kubeconfig, "--namespace", rig.namespace.name()];
    let record = run(&program, &[&of_admin[..], &["record", "train"]].concat(), "").await;
    assert!(
        !text(&record.stdout).contains("very-secret"),
        "{}",
        text(&record.stdout)
    );
    let why = run(&program, &[&of_admin[..], &["why", "train"]].concat(), "").await;
    let replay = run(&program, &["replay", "-"], text(&record.stdout)).await;
    for said in [text(&why.stdout), text(&replay.stdout)] {
        for part in [
            "Queue:\n  Workload pytorchjob-train-1a2b3 in queue team-queue: no quota (Pending): insufficient unused quota",
            "Gang:\n  PodGroup train of scheduling.volcano.sh/v1beta1: Inqueue, 2 pods at once",
            "Unschedulable: 2/2 tasks in gang unschedulable.\n    To do: free resources",
        ] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    }

    let (succeeds, said, errors) = viewer.run(&["why", "train"]).await;
    assert!(succeeds, "{errors}");
    for kind in ["podgroups", "workloads"] {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(kind)).collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("Not read: ") && line.contains("forbidden")),
            "{said}"
        );
    }
}
