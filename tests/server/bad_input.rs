//! Jobs that cannot be run as they are written: what the API server says, what `validate` says, and what becomes of
//! such objects where the API server let them in.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use k8s_openapi::api::events::v1::Event;
use pytorchjob_test_cluster::{AuditFilter, Cluster, Namespace, Options, not_applicable, repository, wait_for_all};
use serde_json::{Value, json};

use crate::{
    job::{Job, job, replica, with},
    rig::{BINARY, Rig, TIMEOUT, create, install_identity, is_about, refusal},
};

/// A job, and what is said about it.
struct Bad {
    job: Value,
    /// The field that the API server names.
    field: &'static str,
    /// What it says: what is wrong or what is right.
    says: &'static str,
    /// What the operator and `validate` say.
    operator: Stored,
}

/// What becomes of the job if it is stored all the same.
#[derive(Clone, Copy)]
enum Stored {
    /// It fails; this is in the message.
    Fails(&'static str),
    /// It runs; this is in a warning. Another operator may have accepted and started it.
    Runs(&'static str),
    /// Somebody else is to manage it.
    IsLeftAlone,
}
use Stored::{Fails, IsLeftAlone, Runs};

fn spec(name: &str, patch: Value) -> Value {
    with(job(name, 1), &Value::from_iter([("spec", patch)]))
}

/// With something else in the place of a replica's spec.
fn replicas(name: &str, replicas: Value) -> Value {
    let mut job = job(name, 1);
    job["spec"]["pytorchReplicaSpecs"] = replicas;
    job
}

/// With something else in the place of the Master's containers.
fn containers(name: &str, containers: Value) -> Value {
    let mut job = job(name, 1);
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"] = containers;
    job
}

/// Both spellings of a policy, with different values.
fn twice(name: &str, policy: &str, flat: impl Into<Value>, nested: impl Into<Value>) -> Value {
    spec(
        name,
        json!({ policy: flat.into(), "runPolicy": { policy: nested.into() } }),
    )
}

const fn bad(job: Value, field: &'static str, says: &'static str, operator: Stored) -> Bad {
    Bad {
        job,
        field,
        says,
        operator,
    }
}

fn types_and_numbers() -> Vec<Bad> {
    vec![
        bad(
            spec("deadline-text", json!({ "activeDeadlineSeconds": "soon" })),
            "spec.activeDeadlineSeconds",
            "must be of type integer",
            Fails("spec.activeDeadlineSeconds"),
        ),
        bad(
            spec("ttl-fraction", json!({ "ttlSecondsAfterFinished": 1.5 })),
            "spec.ttlSecondsAfterFinished",
            "must be of type int32",
            Fails("spec.ttlSecondsAfterFinished"),
        ),
        bad(
            spec("deadline-negative", json!({ "activeDeadlineSeconds": -1 })),
            "spec.activeDeadlineSeconds",
            "greater than or equal to 0",
            Fails("spec.activeDeadlineSeconds: is -1 and must not be negative"),
        ),
        bad(
            spec("backoff-negative", json!({ "runPolicy": { "backoffLimit": -3 } })),
            "spec.runPolicy.backoffLimit",
            "greater than or equal to 0",
            Fails("spec.runPolicy.backoffLimit: is -3 and must not be negative"),
        ),
        bad(
            spec("ttl-huge", json!({ "ttlSecondsAfterFinished": 4_294_967_296_u64 })),
            "spec.ttlSecondsAfterFinished",
            "less than or equal to 2147483647",
            Fails("spec.ttlSecondsAfterFinished"),
        ),
        bad(
            spec("clean-sometimes", json!({ "cleanPodPolicy": "Sometimes" })),
            "spec.cleanPodPolicy",
            "supported values: \"All\", \"Running\", \"None\"",
            Fails("spec.cleanPodPolicy"),
        ),
        bad(
            replicas("restart-perhaps", json!({ "Master": replica(1, "Perhaps") })),
            "spec.pytorchReplicaSpecs.Master.restartPolicy",
            "supported values: \"Always\", \"OnFailure\", \"Never\", \"ExitCode\"",
            Fails("spec.pytorchReplicaSpecs.Master.restartPolicy"),
        ),
        bad(
            spec("nproc-words", json!({ "nprocPerNode": "as many as possible" })),
            "spec.nprocPerNode",
            "should match '^([1-9]",
            Fails("spec.nprocPerNode: must be a number from 1 to 9999, auto, cpu, gpu or another kind"),
        ),
        bad(
            spec(
                "managed-by-somebody",
                json!({ "runPolicy": { "managedBy": "somebody" } }),
            ),
            "spec.runPolicy.managedBy",
            "supported values: \"kubeflow.org/training-operator\", \"kueue.x-k8s.io/multikueue\"",
            IsLeftAlone,
        ),
    ]
}

fn replica_types() -> Vec<Bad> {
    let with_second_master = json!({ "Master": replica(2, "Never") });
    vec![
        bad(
            replicas("masters-two", with_second_master),
            "spec.pytorchReplicaSpecs",
            "Master.replicas must be 1: further pods belong into Worker.replicas",
            Fails("further pods belong into Worker.replicas"),
        ),
        bad(
            replicas(
                "workers-none",
                json!({ "Master": replica(1, "Never"), "Worker": replica(0, "Never") }),
            ),
            "spec.pytorchReplicaSpecs.Worker.replicas",
            "greater than or equal to 1",
            Fails("spec.pytorchReplicaSpecs[Worker].replicas: must be between 1 and 10000"),
        ),
        bad(
            replicas(
                "workers-text",
                json!({ "Worker": with(replica(1, "Never"), &json!({ "replicas": "two" })) }),
            ),
            "spec.pytorchReplicaSpecs.Worker.replicas",
            "must be of type integer",
            Fails("spec.pytorchReplicaSpecs.Worker.replicas"),
        ),
        bad(
            replicas(
                "role-chief",
                json!({ "Master": replica(1, "Never"), "Chief": replica(1, "Never") }),
            ),
            "spec.pytorchReplicaSpecs",
            "the keys are Master and Worker",
            Fails("the keys are Master and Worker"),
        ),
        bad(
            replicas("role-lower-case", json!({ "master": replica(1, "Never") })),
            "spec.pytorchReplicaSpecs",
            "the keys are Master and Worker",
            Fails("the keys are Master and Worker"),
        ),
        bad(
            replicas("roles-none", json!({})),
            "spec.pytorchReplicaSpecs",
            "should have at least 1 properties",
            Fails("must have at least one of Master and Worker"),
        ),
        bad(
            with(job("spec-none", 0), &json!({ "spec": null })),
            "spec",
            "Required value",
            Fails("spec"),
        ),
        bad(
            {
                let mut job = job("spec-null", 0);
                job["spec"] = Value::Null;
                job
            },
            "spec",
            "Required value",
            Fails("spec"),
        ),
    ]
}

fn templates() -> Vec<Bad> {
    vec![
        bad(
            containers("containers-none", json!([])),
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            "needs a container named pytorch: it is the one that trains",
            Fails("spec.pytorchReplicaSpecs[Master].template.spec.containers: needs a container named pytorch"),
        ),
        bad(
            containers("container-other", json!([{ "name": "main", "image": "image" }])),
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            "needs a container named pytorch: it is the one that trains",
            Fails("spec.pytorchReplicaSpecs[Master].template.spec.containers: needs a container named pytorch"),
        ),
        bad(
            containers("image-missing", json!([{ "name": "pytorch" }])),
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            "every container needs an image",
            Fails("spec.pytorchReplicaSpecs[Master].template.spec.containers[0].image: is required"),
        ),
        bad(
            containers("image-empty", json!([{ "name": "pytorch", "image": "" }])),
            "spec.pytorchReplicaSpecs[Master].template.spec.containers",
            "every container needs an image",
            Fails("spec.pytorchReplicaSpecs[Master].template.spec.containers[0].image: is required"),
        ),
        bad(
            containers("containers-text", json!("pytorch")),
            "spec.pytorchReplicaSpecs.Master.template.spec.containers",
            "must be of type array",
            Fails("spec.pytorchReplicaSpecs[Master].template: is not a pod template"),
        ),
        bad(
            replicas("template-empty", json!({ "Master": { "template": {} } })),
            "spec.pytorchReplicaSpecs.Master.template.spec",
            "Required value",
            Fails("spec.pytorchReplicaSpecs[Master].template.spec: is required"),
        ),
        bad(
            replicas("template-missing", json!({ "Master": { "replicas": 1 } })),
            "spec.pytorchReplicaSpecs.Master.template",
            "Required value",
            Fails("template"),
        ),
    ]
}

fn names() -> Vec<Bad> {
    vec![
        bad(
            job("a-name-that-is-so-long-that-with-role-and-index-it-is-no-name", 1),
            "<nil>",
            "metadata.name is too long: with role and index, as in NAME-worker-0, it must fit in 63 characters",
            Fails("metadata.name: is too long"),
        ),
        bad(
            job("0-digit", 1),
            "<nil>",
            "metadata.name must start with a letter",
            Fails("metadata.name: must start with a letter"),
        ),
        bad(
            job("with.dot", 1),
            "<nil>",
            "metadata.name must start with a letter, consist of lower-case letters, digits and '-'",
            Fails("metadata.name: must start with a letter"),
        ),
    ]
}

fn spellings_and_elastic_policies() -> Vec<Bad> {
    let elastic = |name, policy: Value| spec(name, json!({ "elasticPolicy": policy }));
    let mut without_worker = elastic("elastic-without-worker", json!({ "minReplicas": 1 }));
    without_worker["spec"]["pytorchReplicaSpecs"]
        .as_object_mut()
        .unwrap()
        .remove("Worker");
    vec![
        bad(
            twice("twice-deadline", "activeDeadlineSeconds", 3600, 3601),
            "spec.activeDeadlineSeconds",
            "set both to the same value or remove one",
            Runs(
                "spec.activeDeadlineSeconds: activeDeadlineSeconds and runPolicy.activeDeadlineSeconds are one policy",
            ),
        ),
        bad(
            twice("twice-backoff", "backoffLimit", 1, 2),
            "spec.backoffLimit",
            "set both to the same value or remove one",
            Runs("spec.backoffLimit: backoffLimit and runPolicy.backoffLimit are one policy"),
        ),
        bad(
            twice("twice-clean", "cleanPodPolicy", "All", "None"),
            "spec.cleanPodPolicy",
            "set both to the same value or remove one",
            Runs("spec.cleanPodPolicy: cleanPodPolicy and runPolicy.cleanPodPolicy are one policy"),
        ),
        bad(
            twice("twice-ttl", "ttlSecondsAfterFinished", 3600, 0),
            "spec.ttlSecondsAfterFinished",
            "set both to the same value or remove one",
            Runs(
                "spec.ttlSecondsAfterFinished: ttlSecondsAfterFinished and runPolicy.ttlSecondsAfterFinished are one policy",
            ),
        ),
        bad(
            without_worker,
            "spec.elasticPolicy",
            "elasticPolicy needs pytorchReplicaSpecs.Worker",
            Fails("spec.elasticPolicy: needs pytorchReplicaSpecs.Worker"),
        ),
        bad(
            elastic("elastic-min-above-max", json!({ "minReplicas": 2, "maxReplicas": 1 })),
            "spec.elasticPolicy.minReplicas",
            "minReplicas must not exceed elasticPolicy.maxReplicas",
            Runs("spec.elasticPolicy.minReplicas: must not exceed"),
        ),
        bad(
            elastic("elastic-out-of-bounds", json!({ "minReplicas": 2, "maxReplicas": 4 })),
            "spec.pytorchReplicaSpecs",
            "must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas",
            Runs("spec.pytorchReplicaSpecs[Worker].replicas: must lie between"),
        ),
        bad(
            spec(
                "nproc-twice",
                json!({ "nprocPerNode": "2", "elasticPolicy": { "nProcPerNode": 2 } }),
            ),
            "spec.elasticPolicy",
            "keep nprocPerNode, the other is deprecated",
            Runs("spec.elasticPolicy.nProcPerNode: must not be used together with nprocPerNode"),
        ),
    ]
}

fn all() -> Vec<Bad> {
    [
        types_and_numbers(),
        replica_types(),
        templates(),
        names(),
        spellings_and_elastic_policies(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn name(job: &Value) -> &str {
    job["metadata"]["name"].as_str().unwrap()
}

#[tokio::test]
async fn the_api_server_refuses_each_with_422_that_names_the_field_and_the_remedy() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("bad").await.unwrap();
    let client = cluster.admin();
    create(&client, &namespace, &job("good", 1)).await.unwrap();
    let mut wrong = Vec::new();
    for Bad { job, field, says, .. } in all() {
        let status = refusal(create(&client, &namespace, &job).await);
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let named = causes
            .iter()
            .any(|cause| cause.field == field && cause.message.contains(says));
        if (status.code, status.reason.as_str(), named) != (422, "Invalid", true) {
            wrong.push(format!("{}: {} {}", name(&job), status.code, status.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn validate_says_the_same_without_a_cluster() {
    let mut wrong = Vec::new();
    for Bad { job, operator, .. } in all() {
        let output = validate(&job);
        let said = String::from_utf8(output.stderr).unwrap();
        let says = match operator {
            Fails(says) | Runs(says) => says,
            IsLeftAlone => "spec.runPolicy.managedBy",
        };
        if output.status.code() != Some(1) || !said.starts_with("pytorchjob/") || !said.contains(says) {
            wrong.push(format!("{}: {:?} {said}", name(&job), output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let good = validate(&job("good", 1));
    assert_eq!(String::from_utf8(good.stdout).unwrap(), "pytorchjob/good is valid\n");
}

#[tokio::test]
async fn a_null_in_the_place_of_a_role_is_no_role_to_the_api_server_and_to_validate() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("bad").await.unwrap();
    let job = replicas("no-master", json!({ "Master": null, "Worker": replica(1, "Never") }));
    let stored = create(&cluster.admin(), &namespace, &job).await.unwrap();
    let roles = stored.spec["pytorchReplicaSpecs"].as_object().unwrap();
    assert_eq!(roles.keys().collect::<Vec<_>>(), ["Worker"]);
    assert!(validate(&job).status.success());
}

/// Runs `validate` on one job.
fn validate(job: &Value) -> std::process::Output {
    let mut process = Command::new(BINARY)
        .args(["validate", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    input.write_all(job.to_string().as_bytes()).unwrap();
    drop(input);
    process.wait_with_output().unwrap()
}

/// A definition of the same kind that lets everything in.
pub const WITHOUT_RULES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: pytorchjobs.kubeflow.org
spec:
  group: kubeflow.org
  scope: Namespaced
  names: { kind: PyTorchJob, listKind: PyTorchJobList, plural: pytorchjobs, singular: pytorchjob }
  versions:
    - name: v1
      served: true
      storage: true
      subresources: { status: {} }
      schema:
        openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true }
";

/// A cluster of its own, whose API server has let all of them in, and good ones beside them.
async fn stored_without_rules() -> (&'static Cluster, Namespace<'static>) {
    let options = Options {
        crds: Vec::new(),
        ..Options::default()
    };
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(options).await.unwrap()));
    if cluster.is_ours() {
        let file = cluster.directory().join("without-rules.yaml");
        fs::write(&file, WITHOUT_RULES).unwrap();
        cluster.apply_kustomize(&file).await.unwrap();
    }
    let namespace = cluster.namespace("stored").await.unwrap();
    let client = cluster.admin();
    create(&client, &namespace, &job("good", 1)).await.unwrap();
    for Bad { job, .. } in all() {
        create(&client, &namespace, &job).await.unwrap();
    }
    (cluster, namespace)
}

/// Waits until the operator has said of every bad job what is wrong with it, and returns the jobs.
async fn wait_told(rig: &Rig) -> Vec<Job> {
    let told = |events: &[Event], bad: &Bad| {
        let about = |event: &&Event| is_about(event, name(&bad.job), "Warning", "InvalidPyTorchJobSpec");
        let says = match bad.operator {
            Fails(says) | Runs(says) => says,
            IsLeftAlone => return true,
        };
        events
            .iter()
            .filter(about)
            .any(|event| event.note.as_deref().unwrap_or_default().contains(says))
    };
    let waited = wait_for_all(&rig.api::<Event>(), "", TIMEOUT, |events| {
        all().iter().all(|bad| told(events, bad))
    })
    .await;
    let events = rig
        .api::<Event>()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
        .items;
    let silent: Vec<_> = all()
        .iter()
        .filter(|bad| !told(&events, bad))
        .map(|bad| name(&bad.job).to_owned())
        .collect();
    assert!(waited.is_ok(), "no event names the cause for {silent:?}");
    rig.jobs().list(&kube::api::ListParams::default()).await.unwrap().items
}

/// Checks that the good jobs are served, the one from before and a new one, and that the operator is well.
async fn assert_others_are_served(rig: &Rig) {
    rig.wait_pods("good", |pods| pods.len() == 2).await;
    rig.set_phases(
        ["good-master-0", "good-worker-0"].map(ToOwned::to_owned),
        &pytorchjob_test_cluster::PodPhase::Succeeded,
    )
    .await;
    rig.wait("good", |job| job.is("Succeeded")).await;
    rig.succeeded(&job("later", 1)).await;
    rig.operator.probe("/healthz").await.unwrap();
    rig.operator.probe("/readyz").await.unwrap();
}

#[tokio::test]
async fn stored_where_there_are_no_rules_each_fails_with_its_cause_and_the_others_are_served() {
    let (cluster, namespace) = stored_without_rules().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let rig = Rig::start_in(cluster, namespace, install_identity(cluster).await).await;
    assert_others_are_served(&rig).await;
    wait_told(&rig).await;
    for Bad { job, operator, .. } in all() {
        let name = name(&job);
        match operator {
            Fails(says) => {
                let failed = rig.wait_finished(name).await;
                let [type_, status, reason, message] = *failed.conditions().last().unwrap();
                assert_eq!(
                    (type_, status, reason),
                    ("Failed", "True", "InvalidPyTorchJobSpec"),
                    "{name}"
                );
                assert!(message.contains(says), "{name}: {message}");
                assert!(failed.second("completionTime").is_some(), "{name}");
                assert_eq!(rig.pod_names(name).await, [""; 0]);
            }
            Runs(_) => {
                rig.wait_pods(name, |pods| !pods.is_empty()).await;
                assert!(!rig.get(name).await.finished(), "{name}");
            }
            IsLeftAlone => assert_eq!(rig.get(name).await.status, Value::Null, "{name}"),
        }
    }
}

#[tokio::test]
async fn stored_before_the_rules_came_each_is_told_its_cause_and_the_others_are_served() {
    let (cluster, namespace) = stored_without_rules().await;
    if !cluster.is_ours() {
        return not_applicable("replaces the definition");
    }
    let audit = cluster.audit().unwrap().unwrap();
    // Both definitions are applied by the same manager, so the fields of the first that the second has not are removed.
    cluster
        .apply_kustomize(&repository().join("crds/kubeflow.org_pytorchjobs.yaml"))
        .await
        .unwrap();
    let rig = Rig::start_in(cluster, namespace, install_identity(cluster).await).await;
    assert_others_are_served(&rig).await;
    let jobs = wait_told(&rig).await;
    let mut refused = Vec::new();
    for Bad { job, operator, .. } in all() {
        let stored = jobs.iter().find(|stored| stored.name() == name(&job)).unwrap();
        if let Fails(says) = operator {
            if stored.finished() {
                assert!(stored.why().contains(says), "{}: {}", stored.name(), stored.why());
            } else {
                refused.push(stored.name().to_owned());
            }
            let status_writes = AuditFilter {
                subresource: Some("status"),
                name_prefix: Some(stored.name()),
                ..rig.writes()
            };
            let attempts = audit.count(&status_writes).unwrap();
            assert!(
                attempts <= 10,
                "{attempts} attempts to store the status of {}",
                stored.name()
            );
        }
    }
    println!("status refused by the API server: {refused:?}");
}
