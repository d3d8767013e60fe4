//! What the definitions of Kubeflow 1.3 to 1.9 let in stays writable under ours. They know types and required fields,
//! and hardly any rule.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::core::Request;
use kube::{Api, Resource as _, ResourceExt as _};
use pytorchjob_operator::api::structural::{misfits, schema_of_jobs};
use pytorchjob_operator::api::{UnknownPodFields, crd};
use pytorchjob_test_cluster::{Cluster, PodPhase, set_pod_phase, training_operator, wait_for};
use serde_json::{Value, json};

use crate::bad_input::permissive_cluster;
use crate::job::{Job, job, replica, with};
use crate::rig::{Rig, TIMEOUT, create, dry_run, install_identity, refusal, until};
use crate::support::dice::Dice;
use crate::support::differential::generator::Taste;
use crate::support::differential::schema_walk;

/// Jobs drawn by chance, of which half fit.
const DRAWN: u64 = 120;

/// What those definitions let in, as changes of a job with one Master and one Worker.
fn oddities() -> Vec<(&'static str, Value)> {
    let master = |patch: Value| json!({ "spec": { "pytorchReplicaSpecs": { "Master": patch } } });
    let worker = |patch: Value| json!({ "spec": { "pytorchReplicaSpecs": { "Worker": patch } } });
    let pod = |patch: Value| master(json!({ "template": { "spec": patch } }));
    let container = |patch: Value| {
        let container = with(json!({ "name": "pytorch", "image": "i" }), &patch);
        pod(json!({ "containers": [container] }))
    };
    let policy = |patch: Value| json!({ "spec": { "runPolicy": patch } });
    let elastic = |patch: Value| json!({ "spec": { "elasticPolicy": patch } });
    let (master_spec, worker_spec) = (replica(1, "OnFailure"), replica(1, "OnFailure"));
    let keys = json!({ "Master": null, "Worker": null, "master": master_spec, "worker": worker_spec });
    let repeated = json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }]);
    let ports = json!([{ "containerPort": 80 }, { "containerPort": 80 }]);
    let mounts = json!([{ "name": "v", "mountPath": "/a" }, { "name": "v", "mountPath": "/a" }]);
    vec![
        ("env-twice", container(json!({ "env": repeated }))),
        ("port-twice", container(json!({ "ports": ports }))),
        ("mount-twice", container(json!({ "volumeMounts": mounts }))),
        ("secret-without-name", pod(json!({ "imagePullSecrets": [{}] }))),
        (
            "secret-twice",
            pod(json!({ "imagePullSecrets": [{ "name": "a" }, { "name": "a" }] })),
        ),
        (
            "memory-misspelt",
            container(json!({ "resources": { "limits": { "memory": "16GB" } } })),
        ),
        ("field-unknown", pod(json!({ "nodeselector": { "a": "b" } }))),
        ("nproc-empty", json!({ "spec": { "nprocPerNode": "" } })),
        (
            "nproc-words",
            json!({ "spec": { "nprocPerNode": "as many as possible" } }),
        ),
        ("nproc-xpu", json!({ "spec": { "nprocPerNode": "xpu" } })),
        ("ttl-negative", policy(json!({ "ttlSecondsAfterFinished": -1 }))),
        ("deadline-negative", policy(json!({ "activeDeadlineSeconds": -1 }))),
        ("limit-negative", policy(json!({ "backoffLimit": -1 }))),
        ("clean-empty", policy(json!({ "cleanPodPolicy": "" }))),
        ("clean-all", policy(json!({ "cleanPodPolicy": "all" }))),
        ("manager-empty", policy(json!({ "managedBy": "" }))),
        ("restart-empty", master(json!({ "restartPolicy": "" }))),
        ("restart-unknown", master(json!({ "restartPolicy": "Sometimes" }))),
        ("workers-none", worker(json!({ "replicas": 0 }))),
        ("template-absent", worker(json!({ "template": null }))),
        ("elastic-below", elastic(json!({ "minReplicas": 2, "maxReplicas": 4 }))),
        (
            "elastic-reversed",
            elastic(json!({ "minReplicas": 4, "maxReplicas": 2 })),
        ),
        ("elastic-zero", elastic(json!({ "minReplicas": 0, "maxRestarts": -1 }))),
        (
            "nproc-twice",
            json!({ "spec": { "nprocPerNode": "2", "elasticPolicy": { "nProcPerNode": 2 } } }),
        ),
        ("keys-in-lower-case", json!({ "spec": { "pytorchReplicaSpecs": keys } })),
        (
            "a-name-that-with-role-and-index-is-longer-than-a-service-may-be",
            json!({}),
        ),
    ]
}

/// Jobs drawn from a schema that has our fields with their types, and what is required, as Kubeflow's definitions have
/// it.
fn generated() -> impl Iterator<Item = Value> {
    let mut schema = schema_of_jobs(UnknownPodFields::Refused);
    loosen(&mut schema);
    let flat = [
        "activeDeadlineSeconds",
        "backoffLimit",
        "cleanPodPolicy",
        "ttlSecondsAfterFinished",
    ];
    let spec = schema["properties"]["spec"]["properties"].as_object_mut().unwrap();
    spec.retain(|field, _| !flat.contains(&field.as_str()));
    drawn(schema)
}

/// Jobs drawn from a schema, all of them the operator's. A definition leaves metadata to the API server.
fn drawn(mut schema: Value) -> impl Iterator<Item = Value> {
    schema["properties"]["metadata"] = json!({ "x-kubernetes-preserve-unknown-fields": true });
    (0..DRAWN).filter_map(move |seed| {
        let mut dice = Dice::new(seed);
        let mut job = with(job(&format!("drawn-{seed}"), 1), &json!({}));
        for _ in 0..3 {
            let edit = schema_walk::edit(&mut dice, &schema["properties"]["spec"], &job, Taste::Anything);
            job = edit.apply(&job).unwrap_or(job);
        }
        let ours = job["spec"]["runPolicy"]["managedBy"].is_null();
        (ours && misfits(&schema, &job).is_empty()).then_some(job)
    })
}

/// Takes away what Kubeflow's definitions do not have: bounds, words, patterns and rules.
fn loosen(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut() {
        for stricter in [
            "minimum",
            "maximum",
            "pattern",
            "enum",
            "maxProperties",
            "x-kubernetes-validations",
        ] {
            // A property may have such a name too.
            if fields.get(stricter).is_some_and(|value| value.get("type").is_none()) {
                fields.remove(stricter);
            }
        }
        fields.values_mut().for_each(loosen);
    }
}

/// Each oddity alone, each with the next, and jobs by chance.
fn jobs() -> Vec<Value> {
    odd().into_iter().chain(generated()).collect()
}

/// Each oddity alone, and each with the next.
fn odd() -> Vec<Value> {
    let all = oddities();
    let alone = all.iter().map(|(name, oddity)| with(job(name, 1), oddity));
    let pairs = all.windows(2).enumerate().map(|(index, pair)| {
        let both = with(job(&format!("pair-{index}"), 1), &pair[0].1);
        with(both, &pair[1].1)
    });
    alone.chain(pairs).collect()
}

/// The writes that must pass, each with what it is called.
fn edits() -> Vec<(&'static str, Value)> {
    let policy = |patch: Value| json!({ "spec": { "runPolicy": patch } });
    vec![
        ("label", json!({ "metadata": { "labels": { "team": "a" } } })),
        ("annotation", json!({ "metadata": { "annotations": { "note": "a" } } })),
        ("suspend", policy(json!({ "suspend": true }))),
        ("resume", policy(json!({ "suspend": false }))),
        ("deadline", policy(json!({ "activeDeadlineSeconds": 3600 }))),
        ("limit", policy(json!({ "backoffLimit": 3 }))),
        ("ttl", policy(json!({ "ttlSecondsAfterFinished": 60 }))),
        ("clean", policy(json!({ "cleanPodPolicy": "Running" }))),
        ("flat clean", json!({ "spec": { "cleanPodPolicy": "Running" } })),
        (
            "finalizer",
            json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
        ),
    ]
}

fn status(type_: &str) -> Patch<Value> {
    let time = "2026-01-01T00:00:00Z";
    let mut condition = json!({ "type": type_, "status": "True", "reason": "R" });
    for field in ["lastUpdateTime", "lastTransitionTime"] {
        condition[field] = time.into();
    }
    Patch::Merge(json!({ "status": { "startTime": time, "conditions": [condition], "replicaStatuses": {} } }))
}

/// Stores as running jobs what the definition there is lets in, then installs ours. Returns what was let in.
async fn under_our_definition(cluster: &Cluster, jobs: &Api<Job>, manifests: Vec<Value>) -> Vec<Value> {
    let client = cluster.admin();
    let mut stored = Vec::new();
    for manifest in manifests {
        let Ok(job) = create(&client, jobs.namespace().unwrap(), &manifest).await else {
            continue;
        };
        let params = PatchParams::default();
        jobs.patch_status(job.name(), &params, &status("Running"))
            .await
            .unwrap();
        stored.push(manifest);
    }
    install(cluster, jobs, &serde_json::to_string(&crd()).unwrap(), false).await;
    stored
}

/// Installs a definition, and waits until it holds, a moment after it has changed. Ours lets no negative limit in.
async fn install(cluster: &Cluster, jobs: &Api<Job>, definition: &str, lets_in: bool) {
    cluster.install_crd(definition).await.unwrap();
    let bad = with(
        job("bad", 1),
        &json!({ "spec": { "runPolicy": { "backoffLimit": -1 } } }),
    );
    let url = Job::url_path(&(), jobs.namespace());
    until("the definition holds", TIMEOUT, async || {
        let body = serde_json::to_vec(&bad).unwrap();
        let request = Request::new(&url).create(&dry_run(), body).unwrap();
        cluster.admin().request::<Value>(request).await.is_ok() == lets_in
    })
    .await;
}

/// The job is the operator's, asks for a Master, is not suspended, and has no deadline that is over or will be: its
/// workers never run. Each role has a template: a job without one is left as it is.
fn goes_on(job: &Value) -> bool {
    let spec = &job["spec"];
    let Some(roles) = spec["pytorchReplicaSpecs"].as_object() else {
        return false;
    };
    let master = ["Master", "master"].iter().find_map(|key| roles.get(*key));
    let master = master.unwrap_or(&Value::Null);
    let unset = |deadline: &str, least: i64| {
        let seconds = spec["runPolicy"][deadline].as_i64();
        seconds.is_none_or(|seconds| seconds < least)
    };
    master.is_object()
        && roles.values().all(|role| role["template"].is_object())
        && master["replicas"].as_i64() != Some(0)
        && spec["runPolicy"]["suspend"] != true
        && spec["runPolicy"]["managedBy"].is_null()
        && unset("activeDeadlineSeconds", 0)
        && unset("startupDeadlineSeconds", 1)
}

#[tokio::test]
async fn the_operator_fails_and_deletes_nothing_of_what_runs_under_a_definition_of_kubeflow() {
    let Some(cluster) = permissive_cluster().await else {
        return;
    };
    all_go_on(cluster, jobs(), 50).await;
}

/// Takes over from a definition what it lets in of these jobs, each with a Master that runs: more than so many.
async fn all_go_on(cluster: &'static Cluster, manifests: Vec<Value>, least: usize) {
    let namespace = cluster.namespace("goes-on").await.unwrap();
    let client = cluster.admin();
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let stored = under_our_definition(cluster, &jobs, manifests).await;
    let mut running = Vec::new();
    for job in stored.into_iter().filter(goes_on) {
        let name = job["metadata"]["name"].as_str().unwrap();
        if name.len() > 50 {
            continue;
        }
        let uid = jobs.get(name).await.unwrap().metadata.uid;
        let pod = serde_json::from_value(pod_of(name, uid.as_deref())).unwrap();
        let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
        set_pod_phase(&client, &namespace, &pod.name_any(), &PodPhase::Running, 0)
            .await
            .unwrap();
        running.push((name.to_owned(), pod.uid()));
    }
    assert!(running.len() > least, "{} go on", running.len());

    let rig = Rig::start_in(cluster, namespace, install_identity(cluster).await).await;
    for (name, _) in &running {
        wait_for(&jobs, name, TIMEOUT, |job: &Job| {
            job.status["observedGeneration"].is_i64()
        })
        .await
        .unwrap_or_else(|error| panic!("{name} is abandoned: {error}"));
    }
    rig.succeeded(&job("later", 0)).await;
    let mut wrong = Vec::new();
    for (name, uid) in running {
        let pod = pods.get_opt(&format!("{name}-master-0")).await.unwrap();
        let kept = pod.is_some_and(|pod| pod.uid() == uid && pod.metadata.deletion_timestamp.is_none());
        let job = jobs.get(&name).await.unwrap();
        if !kept || job.finished() {
            wrong.push(format!("{name}: pod kept: {kept}; {}; {}", job.why(), job.spec));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The Master's pod, as Kubeflow's operator labels it.
fn pod_of(name: &str, uid: Option<&str>) -> Value {
    json!({
        "metadata": {
            "name": format!("{name}-master-0"),
            "labels": {
                "training.kubeflow.org/operator-name": "pytorchjob-controller",
                "training.kubeflow.org/job-name": name,
                "training.kubeflow.org/replica-type": "master",
                "training.kubeflow.org/replica-index": "0",
                "training.kubeflow.org/job-role": "master",
            },
            "ownerReferences": [{
                "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": name, "uid": uid, "controller": true,
            }],
        },
        "spec": { "schedulerName": "nobody", "containers": [{ "name": "pytorch", "image": "i" }] },
    })
}

#[tokio::test]
async fn what_definitions_of_kubeflow_let_in_stays_writable_under_ours() {
    let Some(cluster) = permissive_cluster().await else {
        return;
    };
    all_stay_writable(cluster, jobs(), 50).await;
}

/// Takes over from a definition what it lets in of these jobs, more than so many, and makes every write that has to pass.
async fn all_stay_writable(cluster: &Cluster, manifests: Vec<Value>, least: usize) {
    let namespace = cluster.namespace("taken-over").await.unwrap();
    let jobs = Api::<Job>::namespaced(cluster.admin(), &namespace);
    let stored = under_our_definition(cluster, &jobs, manifests).await;
    assert!(stored.len() > least, "{} were let in", stored.len());

    let params = PatchParams::default();
    let mut refused = Vec::new();
    for job in stored {
        let name = job["metadata"]["name"].as_str().unwrap();
        let mut check = |what: &str, answer: Result<Job, kube::Error>| {
            if answer.is_err() {
                refused.push(format!("{name}: {what}: {}", refusal(answer).message));
            }
        };
        check("status", jobs.patch_status(name, &params, &status("Restarting")).await);
        for (what, edit) in edits() {
            check(what, jobs.patch(name, &params, &Patch::Merge(&edit)).await);
        }
        let foreground = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        jobs.delete(name, &foreground).await.unwrap();
        check(
            "status while deleted",
            jobs.patch_status(name, &params, &status("Failed")).await,
        );
        let released = json!({ "metadata": { "finalizers": null } });
        check(
            "no finalizers",
            jobs.patch(name, &params, &Patch::Merge(&released)).await,
        );
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// The same with the definitions themselves, of 1.4 to 1.9, from which jobs are drawn.
pub(crate) async fn what_each_definition_lets_in_is_taken_over() {
    let Some(cluster) = permissive_cluster().await else {
        return;
    };
    let definitions = training_operator::definitions();
    assert!(definitions.len() > 5, "{definitions:?}");
    for file in definitions {
        eprintln!("{}", file.display());
        let text = fs::read_to_string(&file).unwrap();
        let definition: Value = serde_saphyr::from_str(&text).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let drawn: Vec<Value> = drawn(schema.clone()).collect();
        assert!(drawn.len() > 40, "{} fit {}", drawn.len(), file.display());
        let manifests: Vec<Value> = odd().into_iter().chain(drawn).collect();
        let anywhere = Api::<Job>::namespaced(cluster.admin(), "default");
        install(cluster, &anywhere, &text, true).await;
        all_stay_writable(cluster, manifests.clone(), 30).await;
        install(cluster, &anywhere, &text, true).await;
        all_go_on(cluster, manifests, 20).await;
    }
}
