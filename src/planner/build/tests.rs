use serde_json::{Value, json};

use crate::api::{ReplicaType, RestartPolicy, names};
use crate::planner::fixture::{JobBuilder, Scene, master_and_workers};
use crate::planner::gang::GangScheduler;

/// A template that has everything which the operator reads or adds to.
fn full_template() -> Value {
    json!({
        "metadata": { "labels": { "team": "a" }, "annotations": { "note": "n" }, "finalizers": ["f"] },
        "spec": {
            "schedulerName": "s",
            "nodeName": "",
            "priorityClassName": "high",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [{}], "matchFields": [{}] }],
            } } },
            "initContainers": [{ "name": "init" }],
            "containers": [{
                "name": names::CONTAINER,
                "ports": [{ "name": "http", "containerPort": 80, "protocol": "TCP" }],
                "env": [{ "name": "A", "value": "b" }],
                "resources": { "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1", "memory": "1Gi" } },
                "resizePolicy": [{ "resourceName": "cpu", "restartPolicy": "NotRequired" }],
                "readinessProbe": null,
                "terminationMessagePolicy": "File",
            }],
        },
    })
}

/// The JSON pointers of a value and of all that is in it.
fn pointers(value: &Value, here: &str) -> Vec<String> {
    let below: Vec<String> = match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| pointers(field, &format!("{here}/{name}")))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| pointers(item, &format!("{here}/{index}")))
            .collect(),
        _ => Vec::new(),
    };
    [here.to_owned()].into_iter().chain(below).collect()
}

/// A job with every policy that changes a pod.
fn job() -> JobBuilder {
    master_and_workers(1)
        .policy("restartScope", "Job")
        .policy("restartStrategy", "InPlace")
        .policy("progressPolicy", json!({ "file": "/progress", "deadlineSeconds": 60 }))
        .policy(
            "nodeExclusion",
            json!({ "afterFailures": 1, "windowSeconds": 60, "max": 1 }),
        )
        .spec(
            "/pytorchReplicaSpecs/Worker/restartPolicy",
            json!(RestartPolicy::OnFailure),
        )
}

fn scene(template: &Value) -> Scene {
    let mut scene = job().scene();
    let node = json!({ "name": "bad", "until": "2027-01-15T08:00:00Z", "because": "" });
    let status = json!({ "excludedNodes": [node], "attempts": [{ "number": 1 }] });
    scene.job.status = serde_json::from_value(status).unwrap();
    for replica in scene.job.spec.pytorch_replica_specs.values_mut() {
        replica.template = serde_json::from_value(template.clone()).unwrap();
    }
    scene
}

#[test]
fn what_is_no_template_is_left_for_the_api_server_to_refuse() {
    let full = full_template();
    let odd = [
        json!(null),
        json!("x"),
        json!(1),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([{}]),
        json!([null]),
    ];
    let gangs = [
        GangScheduler::Volcano,
        GangScheduler::SchedulerPlugins("s".into()),
        GangScheduler::Kubernetes,
    ];
    for pointer in pointers(&full, "") {
        for value in &odd {
            let mut template = full.clone();
            *template.pointer_mut(&pointer).unwrap() = value.clone();
            let what = format!("{value} at {pointer:?}");
            let plain = scene(&template);
            let ganged = gangs.iter().map(|gang| plain.clone().with_gang(gang.clone()));
            for scene in ganged.chain([plain.clone()]) {
                for role in ReplicaType::ALL {
                    let pod = scene.build_pod(role, 0);
                    assert!(
                        pod["spec"].is_object() && pod["metadata"]["annotations"].is_object(),
                        "{what}"
                    );
                    assert!(scene.build_service(role, 0)["spec"]["ports"].is_array(), "{what}");
                }
                scene.plan();
            }
        }
    }
}
