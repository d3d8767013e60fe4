//! Jobs that cannot be run as they are written: what the API server says, what `validate` says, and what becomes of
//! such objects where the API server let them in.

use std::fs;
use std::process::Output;

use k8s_openapi::api::events::v1::Event;
use pytorchjob_test_cluster::{AuditFilter, Cluster, Namespace, not_applicable, repository, wait_for_all};
use serde_json::{Value, json};

use crate::job::{Job, job, replica};
use crate::rig::{Rig, TIMEOUT, cluster_without_definition, create, install_identity, is_about, offline, refusal};
use crate::support::bad_jobs::{Bad, Stored, bad_jobs};

#[tokio::test]
async fn the_api_server_refuses_each_with_422_that_names_the_field_and_the_remedy() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("bad").await.unwrap();
    let client = cluster.admin();
    create(&client, &namespace, &job("good", 1)).await.unwrap();
    let mut wrong = Vec::new();
    for Bad { job, field, says, .. } in bad_jobs() {
        let status = refusal(create(&client, &namespace, &job.clone().manifest()).await);
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let named = causes
            .iter()
            .any(|cause| cause.field == field && cause.message.contains(says));
        if (status.code, status.reason.as_str(), named) != (422, "Invalid", true) {
            wrong.push(format!("{}: {} {}", job.name(), status.code, status.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn validate_says_the_same_without_a_cluster() {
    let mut wrong = Vec::new();
    for Bad {
        job, field, operator, ..
    } in bad_jobs()
    {
        let output = validate(&job.clone().manifest()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let says = match operator {
            Stored::Fails(says) | Stored::Runs(says) => says,
            Stored::IsLeftAlone => field,
        };
        // Of a template that is not one, it names the field in it instead.
        let in_template = says.contains("is not a pod template") && said.contains(".template.");
        let named = said.contains(&says) || in_template;
        if output.status.code() != Some(1) || !said.starts_with("pytorchjob/") || !named {
            wrong.push(format!("{}: {:?} {said}", job.name(), output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let good = validate(&job("good", 1)).await;
    assert_eq!(String::from_utf8(good.stdout).unwrap(), "pytorchjob/good is valid\n");
}

#[tokio::test]
async fn a_null_in_the_place_of_a_role_is_no_role_to_the_api_server_and_to_validate() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace("bad").await.unwrap();
    let mut job = job("no-master", 0);
    job["spec"]["pytorchReplicaSpecs"] = json!({ "Master": null, "Worker": replica(1, "Never") });
    let stored = create(&cluster.admin(), &namespace, &job).await.unwrap();
    let roles = stored.spec["pytorchReplicaSpecs"].as_object().unwrap();
    assert_eq!(roles.keys().collect::<Vec<_>>(), ["Worker"]);
    assert!(validate(&job).await.status.success());
}

/// Runs `validate` on one job.
async fn validate(job: &Value) -> Output {
    offline(&["validate", "-f", "-"], &job.to_string()).await
}

/// A definition of the same kind that lets everything in.
const WITHOUT_RULES: &str = "
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

/// A cluster whose definition lets everything in. None where the definition must not be replaced.
pub async fn permissive_cluster() -> Option<&'static Cluster> {
    let cluster = cluster_without_definition().await;
    if !cluster.is_ours() {
        not_applicable("replaces the definition");
        return None;
    }
    let file = cluster.directory().join("without-rules.yaml");
    fs::write(&file, WITHOUT_RULES).unwrap();
    cluster.apply_kustomize(&file).await.unwrap();
    Some(cluster)
}

/// A cluster of its own, whose API server has let all of them in, and good ones beside them.
async fn stored_without_rules() -> Option<(&'static Cluster, Namespace<'static>)> {
    let cluster = permissive_cluster().await?;
    let namespace = cluster.namespace("stored").await.unwrap();
    let client = cluster.admin();
    create(&client, &namespace, &job("good", 1)).await.unwrap();
    for Bad { job, .. } in bad_jobs() {
        create(&client, &namespace, &job.manifest()).await.unwrap();
    }
    Some((cluster, namespace))
}

/// Waits until the operator has said of every bad job what is wrong with it, and returns the jobs.
async fn wait_told(rig: &Rig) -> Vec<Job> {
    let told = |events: &[Event], bad: &Bad| {
        let about = |event: &&Event| is_about(event, bad.job.name(), "Warning", "InvalidPyTorchJobSpec");
        let says = match &bad.operator {
            Stored::Fails(says) | Stored::Runs(says) => says,
            Stored::IsLeftAlone => return true,
        };
        events
            .iter()
            .filter(about)
            .any(|event| event.note.as_deref().unwrap_or_default().contains(says))
    };
    let waited = wait_for_all(&rig.api::<Event>(), "", TIMEOUT, |events| {
        bad_jobs().iter().all(|bad| told(events, bad))
    })
    .await;
    let events = rig
        .api::<Event>()
        .list(&kube::api::ListParams::default())
        .await
        .unwrap()
        .items;
    let silent: Vec<_> = bad_jobs()
        .iter()
        .filter(|bad| !told(&events, bad))
        .map(|bad| bad.job.name().to_owned())
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
    let Some((cluster, namespace)) = stored_without_rules().await else {
        return;
    };
    let rig = Rig::start_in(cluster, namespace, install_identity(cluster).await).await;
    assert_others_are_served(&rig).await;
    wait_told(&rig).await;
    for Bad { job, operator, .. } in bad_jobs() {
        let name = job.name();
        match operator {
            Stored::Fails(says) => {
                let failed = rig.wait_finished(name).await;
                let [type_, status, reason, message] = *failed.conditions().last().unwrap();
                assert_eq!(
                    (type_, status, reason),
                    ("Failed", "True", "InvalidPyTorchJobSpec"),
                    "{name}"
                );
                assert!(message.contains(&says), "{name}: {message}");
                assert!(failed.second("completionTime").is_some(), "{name}");
                assert_eq!(rig.pod_names(name).await, [""; 0]);
            }
            Stored::Runs(_) => {
                rig.wait_pods(name, |pods| !pods.is_empty()).await;
                assert!(!rig.get(name).await.finished(), "{name}");
            }
            Stored::IsLeftAlone => assert_eq!(rig.get(name).await.status, Value::Null, "{name}"),
        }
    }
}

#[tokio::test]
async fn stored_before_the_rules_came_each_is_told_its_cause_and_the_others_are_served() {
    let Some((cluster, namespace)) = stored_without_rules().await else {
        return;
    };
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
    for Bad { job, operator, .. } in bad_jobs() {
        let stored = jobs.iter().find(|stored| stored.name() == job.name()).unwrap();
        if let Stored::Fails(says) = operator {
            if stored.finished() {
                assert!(stored.why().contains(&says), "{}: {}", stored.name(), stored.why());
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
