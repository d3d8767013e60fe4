//! The same rules and effects through every way of writing an object.

use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use pytorchjob_operator::api::ConditionType;
use serde_json::{Value, json};

use crate::editing::rig::{Rig, answer, bare, elastic, finished, messages, status, template};

const TEMPLATE: &str = "template can change only while the job is suspended, since running pods would not follow: set spec.runPolicy.suspend to true first, or in the same edit";
const REPLICAS: [&str; 2] = ["master-0", "worker-0"];

/// One way to write.
#[derive(Clone, Copy, Debug)]
enum Way {
    Put,
    JsonPatch,
    Apply,
    KubectlReplace,
    KubectlApply,
}

const WAYS: [Way; 5] = [
    Way::Put,
    Way::JsonPatch,
    Way::Apply,
    Way::KubectlReplace,
    Way::KubectlApply,
];

impl Way {
    /// Writes the whole `spec` of the job, and gives what a refusal says.
    async fn write(self, rig: &Rig, spec: &Value) -> Result<(), Vec<String>> {
        let said = |status: Box<Status>| messages(&status);
        match self {
            Self::Put => {
                // The operator may write the status in between, and then it is read again, as any client does.
                loop {
                    let mut object = rig.raw().get("job").await.unwrap();
                    object.data["spec"] = spec.clone();
                    match answer(rig.raw().replace("job", &PostParams::default(), &object).await) {
                        Err(status) if status.code == 409 => {}
                        other => return other.map(drop).map_err(said),
                    }
                }
            }
            Self::JsonPatch => {
                let patch = json!([{ "op": "replace", "path": "/spec", "value": spec }]);
                let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
                let answered = rig.raw().patch("job", &PatchParams::default(), &patch).await;
                answer(answered).map(drop).map_err(said)
            }
            Self::Apply => {
                let patch = Patch::Apply(manifest(spec));
                let answered = rig
                    .raw()
                    .patch("job", &PatchParams::apply("user").force(), &patch)
                    .await;
                answer(answered).map(drop).map_err(said)
            }
            Self::KubectlReplace => loop {
                // kubectl reads the version itself, and leaves it to its user to try again.
                match kubectl(rig, &["replace"], spec).await {
                    Err(said) if said[0].contains("(Conflict)") => {}
                    other => return other,
                }
            },
            Self::KubectlApply => kubectl(rig, &["apply"], spec).await,
        }
    }
}

fn manifest(spec: &Value) -> DynamicObject {
    let object =
        json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "job" }, "spec": spec });
    serde_json::from_value(object).unwrap()
}

async fn kubectl(rig: &Rig, verb: &[&str], spec: &Value) -> Result<(), Vec<String>> {
    let file = rig.cluster.directory().join(format!("{}.json", rig.namespace.name()));
    std::fs::write(&file, serde_json::to_string(&manifest(spec)).unwrap()).unwrap();
    let arguments = [
        verb,
        &[
            "--namespace",
            rig.namespace.name(),
            "--filename",
            file.to_str().unwrap(),
        ],
    ]
    .concat();
    rig.cluster
        .kubectl(&arguments)
        .await
        .map(drop)
        .map_err(|error| vec![error.to_string()])
}

/// A namespace with a job that was written in this way and runs.
async fn running(way: Way, spec: &Value, replicas: &[&str]) -> (Rig, pytorchjob_test_cluster::Operator) {
    let (rig, operator) = Rig::with_operator(&format!("{way:?}").to_lowercase()).await;
    match way {
        Way::Apply | Way::KubectlApply => way.write(&rig, spec).await.unwrap(),
        _ => drop(rig.create("job", spec.clone()).await),
    }
    rig.run("job", replicas).await;
    (rig, operator)
}

#[tokio::test]
async fn a_template_is_refused_in_every_way_while_the_job_runs_and_built_once_it_was_suspended() {
    for way in WAYS {
        let (rig, _operator) = running(way, &bare(), &REPLICAS).await;
        let mut edited = bare();
        edited["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["image"] = json!("training:2");
        let refusal = way.write(&rig, &edited).await.unwrap_err();
        assert!(
            refusal.len() == 1 && refusal[0].contains(TEMPLATE),
            "{way:?}: {refusal:?}"
        );

        edited["runPolicy"] = json!({ "suspend": true });
        way.write(&rig, &edited).await.unwrap();
        rig.until_bare("job").await;
        rig.until("job", |job| crate::editing::rig::is(job, ConditionType::Suspended))
            .await;
        edited["runPolicy"] = json!({ "suspend": false });
        way.write(&rig, &edited).await.unwrap();
        let pods = rig.until_pods("job", &REPLICAS).await;
        let image = pods[1].spec.as_ref().unwrap().containers[0].image.as_deref();
        assert_eq!(
            (pods[1].name_any().as_str(), image),
            ("job-worker-0", Some("training:2")),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn a_policy_left_out_of_the_whole_is_removed_and_one_put_in_holds() {
    for way in WAYS {
        let mut spec = bare();
        spec["activeDeadlineSeconds"] = json!(7200);
        let (rig, _operator) = running(way, &spec, &REPLICAS).await;
        way.write(&rig, &bare()).await.unwrap();
        let removed = rig.until_observed("job").await;
        assert_eq!(removed.spec.active_deadline_seconds(), None, "{way:?}");
        spec["activeDeadlineSeconds"] = json!(0);
        way.write(&rig, &spec).await.unwrap();
        let failed = rig.until("job", finished).await;
        assert!(status(&failed).completion_time.is_some(), "{way:?}");
    }
}

#[tokio::test]
async fn elastic_workers_follow_every_way_within_their_bounds() {
    for way in WAYS {
        let (rig, _operator) = running(way, &elastic(2, 1, 3), &["worker-0", "worker-1"]).await;
        way.write(&rig, &elastic(3, 1, 3)).await.unwrap();
        rig.until_pods("job", &["worker-0", "worker-1", "worker-2"]).await;
        let refusal = way.write(&rig, &elastic(4, 1, 3)).await.unwrap_err();
        let message = "Worker.replicas must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas";
        assert!(refusal[0].contains(message), "{way:?}: {refusal:?}");
        let other = json!({ "elasticPolicy": { "minReplicas": 1, "maxReplicas": 4 },
            "pytorchReplicaSpecs": { "Worker": { "replicas": 3, "template": template() } } });
        let refusal = way.write(&rig, &other).await.unwrap_err();
        assert!(
            refusal[0].contains("elasticPolicy of a job cannot change"),
            "{way:?}: {refusal:?}"
        );
    }
}
