//! What `convert` writes, held to the definitions of Kubeflow Trainer v2, which `make test-trainer` fetches.

use std::fs;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use pytorchjob_test_cluster::{Cluster, Namespace, Options, not_applicable, repository};
use serde_json::{Value, json};

use crate::job::{job, with};
use crate::rig::{offline, own_cluster};

/// Kinds of Trainer, and their plurals.
const KINDS: [(&str, &str); 2] = [("TrainingRuntime", "trainingruntimes"), ("TrainJob", "trainjobs")];

/// Jobs that use every word of a runtime.
fn jobs() -> Vec<Value> {
    let workers = |policy: Value| with(job("job", 2), &policy);
    let role = |role: &str, field: &str, value: Value| json!({ "spec": { "pytorchReplicaSpecs": { role: { field: value } } } });
    let policy = |policy: Value| json!({ "spec": { "runPolicy": policy } });
    let exit_code = workers(role("Master", "restartPolicy", json!("ExitCode")));
    let mut jobs = vec![
        workers(json!({})),
        workers(role("Master", "restartPolicy", json!("Never"))),
        exit_code.clone(),
        with(exit_code, &policy(json!({ "restartScope": "Job", "backoffLimit": 3 }))),
        workers(policy(
            json!({ "restartScope": "Job", "suspend": true, "activeDeadlineSeconds": 60 }),
        )),
        workers(policy(json!({ "managedBy": "kueue.x-k8s.io/multikueue" }))),
        workers(policy(
            json!({ "schedulingPolicy": { "queue": "research", "minAvailable": 3 } }),
        )),
        workers(policy(json!({ "schedulingPolicy": { "scheduleTimeoutSeconds": 30 } }))),
        workers(json!({ "spec": { "elasticPolicy": { "minReplicas": 1, "maxReplicas": 4 }, "nprocPerNode": "8" } })),
        workers(json!({ "metadata": { "labels": { "kueue.x-k8s.io/queue-name": "gpus" } } })),
    ];
    for (index, job) in jobs.iter_mut().enumerate() {
        job["metadata"]["name"] = format!("job-{index}").into();
    }
    jobs
}

async fn apply(cluster: &Cluster, namespace: &Namespace<'_>, object: &Value) -> Result<DynamicObject, kube::Error> {
    let kind = object["kind"].as_str().unwrap();
    let (_, plural) = KINDS.into_iter().find(|(known, _)| *known == kind).unwrap();
    let of_trainer = GroupVersionKind::gvk("trainer.kubeflow.org", "v1alpha1", kind);
    let resource = ApiResource::from_gvk_with_plural(&of_trainer, plural);
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.admin(), namespace, &resource);
    let name = object["metadata"]["name"].as_str().unwrap();
    let strict = PatchParams::apply("convert").validation_strict();
    api.patch(name, &strict, &Patch::Apply(object)).await
}

#[tokio::test]
#[ignore = "needs the definitions of Trainer: make test-trainer"]
async fn what_convert_writes_fits_the_definitions_of_trainer_and_comes_back() {
    let cluster = own_cluster(Options::default()).await;
    if !cluster.is_ours() {
        return not_applicable("installs the definitions of Trainer");
    }
    for (_, plural) in KINDS {
        let file = repository().join(format!("target/trainer/crds/trainer.kubeflow.org_{plural}.yaml"));
        let definition = fs::read_to_string(file).expect("make test-trainer fetches the definitions");
        cluster.install_crd(&definition).await.unwrap();
    }
    let namespace = cluster.namespace("trainer").await.unwrap();
    let examples = ["checkpoint", "ddp", "elastic", "kubeflow", "restart", "seed", "simple"]
        .map(|name| fs::read_to_string(repository().join(format!("examples/{name}.yaml"))).unwrap());
    let jobs = jobs();
    for text in jobs.iter().map(Value::to_string).chain(examples) {
        let converted = offline(&["convert", "-o", "json", "-"], &text).await;
        assert!(
            converted.status.success(),
            "{}",
            String::from_utf8_lossy(&converted.stderr)
        );
        let list: Value = serde_json::from_slice(&converted.stdout).unwrap();
        let mut stored = Vec::new();
        for object in list["items"].as_array().unwrap() {
            let applied = apply(cluster, &namespace, object).await;
            stored.push(applied.unwrap_or_else(|error| panic!("{error}\n{object:#}")));
        }
        // With the defaults of the API server.
        let stored = json!({ "kind": "List", "items": stored });
        let back = offline(&["convert", "-"], &stored.to_string()).await;
        let said = String::from_utf8_lossy(&back.stderr);
        assert!(back.status.success(), "{said}");
        let other = said.lines().find(|line| !line.contains("successPolicy"));
        assert_eq!(other, None, "{text}");
    }
}
