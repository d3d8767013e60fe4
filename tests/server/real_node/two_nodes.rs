//! A training over two nodes loses one of them: from the fault to training on, in new pods and in those that are there.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node as KubeNode, Pod};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use pytorchjob_test_cluster::{Node, wait_for};
use serde_json::{Value, json};

use crate::job::with;
use crate::real_node::recovery::{Training, ranks, when};
use crate::real_node::{TIMEOUT, job, node, site, with_container, with_template};
use crate::rig::Site;

/// How long the pods tolerate a node that does not answer, in seconds; then their deletion is asked for.
const TOLERATION: u32 = 5;
/// `unreachableSeconds`.
const UNREACHABLE: u32 = 10;

/// Each worker on a node of its own while there are two, and the Master on the first.
fn over_two_nodes(site: &Site, job: Value) -> Value {
    let on_the_first = json!({ "nodeSelector": { "kubernetes.io/hostname": node(site.cluster).name() } });
    let toleration = |key: &str| {
        json!({
            "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": TOLERATION,
        })
    };
    let apart = json!({
        "tolerations": [toleration("not-ready"), toleration("unreachable")],
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": { "matchLabels": {
                "training.kubeflow.org/job-name": job["metadata"]["name"], "training.kubeflow.org/replica-type": "worker",
            } },
        }],
    });
    let template = |spec: &Value| json!({ "template": { "spec": spec } });
    let specs = json!({ "Master": template(&on_the_first), "Worker": template(&apart) });
    with(job, &json!({ "spec": { "pytorchReplicaSpecs": specs } }))
}

/// The time by the clock that the ranks read.
async fn clock(site: &Site) -> f64 {
    let time = node(site.cluster).run("date", &["+%s.%3N"]).await.unwrap();
    time.trim().parse().unwrap()
}

/// The pod of the job that runs on this node.
async fn pod_on(site: &Site, job: &str, node: &Node) -> Pod {
    let there = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node.name());
    let mut pods = site.wait_pods(job, |pods| pods.len() == 3).await;
    pods.retain(there);
    assert_eq!(pods.len(), 1, "one rank of {job} is on {}", node.name());
    pods.remove(0)
}

/// What `kubectl get -o wide` says of a job.
async fn wide(site: &Site, job: &str) -> String {
    let wide = ["get", "pytorchjob", job, "--namespace", &site.namespace, "-o", "wide"];
    site.cluster.kubectl(&wide).await.unwrap()
}

/// Waits for the end of a training, which has gone on in the second attempt on the first node. Says how long after the
/// fault it did, and what the first failure was.
async fn goes_on(site: &Site, training: &Training<'_>, name: &str, fault: f64) -> (f64, Value) {
    training.succeeds().await;
    let notes = training.notes().await;
    assert_eq!(ranks(&notes, 2), BTreeSet::from([0, 1, 2]), "{name}: {notes:?}");
    let mut done = site.get(name).await;
    assert_eq!(done.status["restarts"], 1, "{}", done.status);
    (when(&notes, 2, "stepped") - fault, done.status["firstFailure"].take())
}

/// The events of a job, as `kubectl describe` lists them.
async fn events(site: &Site, job: &str, parts: &[&str]) -> String {
    let described = site.described(job, parts).await;
    described.split_once("Events:").unwrap().1.to_owned()
}

/// The node is drained: the other ranks lose their connections to the one on it, and fail of that.
async fn drained(site: &Site, second: &Node, strategy: &str) {
    let name = format!("{}-drained", strategy.to_lowercase());
    let training = Training::new(site, name.clone());
    let job = over_two_nodes(site, training.job(strategy, "from outside", 1));
    site.create(&job).await;
    training.at_fault().await;
    pod_on(site, &name, second).await;
    let fault = clock(site).await;
    let drain = ["drain", second.name(), "--force", "--delete-emptydir-data"];
    site.cluster.kubectl(&drain).await.unwrap();
    site.wait(&name, |job| job.status["restarts"] == 1).await;
    let wide = wide(site, &name).await;
    let (pause, first) = goes_on(site, &training, &name, fault).await;
    let events = events(site, &name, &["All replicas start again"]).await;
    eprintln!("node drained, {strategy}: {pause:.1} s to the first step of all three\n{wide}{first}\n{events}");
    site.cluster.kubectl(&["uncordon", second.name()]).await.unwrap();
}

/// The machine of the node is dead: nobody closes the connections of the rank on it, so the others wait. Who says that
/// this is a failure is the rule of the job.
async fn lost(site: &Site, second: &Node, strategy: &str) {
    let name = format!("{}-lost", strategy.to_lowercase());
    let training = Training::new(site, name.clone());
    let policy = json!({
        "unreachableSeconds": UNREACHABLE,
        "failurePolicy": { "rules": [{ "class": "Preempted", "action": "Restart" }] },
    });
    let job = over_two_nodes(site, training.job(strategy, "from outside", 1));
    site.create(&with(job, &json!({ "spec": { "runPolicy": policy } })))
        .await;
    training.at_fault().await;
    let pod = pod_on(site, &name, second).await;
    second.lose_power().await.unwrap();
    let fault = clock(site).await;

    let nodes = Api::<KubeNode>::all(site.client.clone());
    wait_for(&nodes, second.name(), TIMEOUT, is_unknown).await.unwrap();
    let not_ready = clock(site).await - fault;
    let asked = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    wait_for(&site.pods(), &pod.name_any(), TIMEOUT, asked).await.unwrap();
    let terminating = clock(site).await - fault;
    site.wait(&name, |job| job.status["restarts"] == 1).await;
    let wide = wide(site, &name).await;
    site.wait_replaced(&pod).await;
    let replaced = clock(site).await - fault;
    let (pause, first) = goes_on(site, &training, &name, fault).await;
    assert_eq!(
        (&first["class"], &first["pod"], &first["node"]),
        (&json!("Preempted"), &json!(pod.name_any()), &json!(second.name()))
    );
    let disrupted = format!("{} was disrupted on node {}", pod.name_any(), second.name());
    let events = events(site, &name, &[&disrupted, "by force (unreachableSeconds)"]).await;
    eprintln!(
        "machine dead, {strategy}: {pause:.1} s to the first step of all three: node NotReady after {not_ready:.1} s, \
         pod Terminating after {terminating:.1} s, another created after {replaced:.1} s\n{wide}{first}\n{events}"
    );
}

/// The scheduler would rather have the pod on the second node, where it is killed, and tries another one then.
async fn excluded(site: &Site, second: &Node) {
    let script = format!("[ \"$NODE\" = {} ] && exit 137; exec sleep 3600", second.name());
    let here = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [second.name()] });
    let rather = json!([{ "weight": 100, "preference": { "matchExpressions": [here] } }]);
    let template =
        json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": rather } } });
    let name = json!({ "env": [{ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }] });
    let job = with_container(with_template(job("picky", "ExitCode", &script), &template), &name);
    let policy = json!({ "nodeExclusion": { "afterFailures": 1, "windowSeconds": 600, "max": 1 } });
    site.create(&with(job, &json!({ "spec": { "runPolicy": policy } })))
        .await;
    let job = site
        .wait("picky", |job| job.is("Running") && job.status["restarts"] == 1)
        .await;
    let pod = site.pod_running("picky-master-0").await;
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some(node(site.cluster).name()));
    assert_eq!(job.status["excludedNodes"][0]["name"], second.name());
    site.described("picky", &["NodeExcluded", second.name()]).await;
}

fn is_unknown(node: &KubeNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "Unknown")
}

#[tokio::test]
#[ignore = "needs a real node: make test-real"]
async fn training_goes_on_elsewhere_when_a_node_is_excluded_or_drained_and_when_its_machine_is_dead() {
    let site = site().await;
    let nodes = Api::<KubeNode>::all(site.client.clone());
    for strategy in ["Recreate", "InPlace"] {
        let second = node(site.cluster).another(site.client.clone()).await.unwrap();
        second.load_project_images().await.unwrap();
        if strategy == "Recreate" {
            excluded(&site, &second).await;
        }
        drained(&site, &second, strategy).await;
        lost(&site, &second, strategy).await;
        nodes.delete(second.name(), &DeleteParams::default()).await.unwrap();
    }
}
