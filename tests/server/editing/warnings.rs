//! `config/warnings`: said, and not refused.

use kube::api::{Patch, PatchParams};
use kube::client::Body;
use pytorchjob_test_cluster::repository;
use serde_json::{Value, json};

use crate::editing::rig::{Rig, SOON, bare, elastic};
use crate::job::with;
use crate::rig::until;

const DEPRECATED: &str = "spec.elasticPolicy.nProcPerNode is deprecated: create jobs with spec.nprocPerNode instead";
const OVERWRITTEN: &str = "template.spec.restartPolicy of Worker will be overwritten by the restartPolicy of the replica type (OnFailure where it has none): set that one, and leave the template's out";

const TOO_LONG: &str = "metadata.name is too long for elasticPolicy.maxReplicas: NAME-worker-INDEX must fit in 63 characters, the limit of service names, and scaling beyond that will be refused: take a shorter name";

/// Creates a job and returns the warnings of the answer.
async fn warnings(rig: &Rig, name: &str, spec: &Value, dry_run: bool) -> Vec<String> {
    let object =
        json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": name }, "spec": spec });
    let query = if dry_run { "?dryRun=All" } else { "" };
    let path = format!(
        "/apis/kubeflow.org/v1/namespaces/{}/pytorchjobs{query}",
        rig.namespace.name()
    );
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(Body::from(serde_json::to_vec(&object).unwrap()));
    let answer = rig.client.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 201);
    let headers = answer.headers().get_all("warning").iter();
    headers.map(|header| header.to_str().unwrap().to_owned()).collect()
}

const DECIDED: &str = "template.spec.restartPolicy of Worker will be overwritten, since restartScope and failurePolicy decide about restarts: leave it out";

fn with_template_policy(policy: &str, replica_policy: Option<&str>) -> Value {
    let template = json!({ "spec": { "restartPolicy": policy } });
    let worker = json!({ "template": template, "restartPolicy": replica_policy });
    with(bare(), &json!({ "pytorchReplicaSpecs": { "Worker": worker } }))
}

#[tokio::test]
async fn the_optional_policy_warns_of_what_is_deprecated_or_overwritten_and_refuses_nothing() {
    let rig = Rig::new("warnings").await;
    rig.cluster
        .apply_kustomize(&repository().join("config/warnings"))
        .await
        .unwrap();
    let deprecated = with(elastic(1, 1, 2), &json!({ "elasticPolicy": { "nProcPerNode": 2 } }));
    // The API server takes a moment to load a policy.
    until("a warning is given", SOON, async || {
        !warnings(&rig, "probe", &deprecated, true).await.is_empty()
    })
    .await;

    let said = warnings(&rig, "deprecated", &deprecated, false).await;
    assert!(said.len() == 1 && said[0].contains(DEPRECATED), "{said:?}");
    template_policies(&rig).await;
    names_that_cannot_hold_all_workers(&rig).await;
    kubectl_prints_them(&rig).await;
}

/// Each with what the pods get in the end.
async fn template_policies(rig: &Rig) {
    let template = with_template_policy;
    let under = |policy: Value, spec: Value| with(spec, &json!({ "runPolicy": policy }));
    let whole = || json!({ "restartScope": "Job" });
    let in_place = || json!({ "restartScope": "Job", "restartStrategy": "InPlace" });
    let rules = json!({ "failurePolicy": { "rules": [{ "action": "FailJob", "class": "ImportError" }] } });
    for (name, spec, warning) in [
        ("quiet", bare(), None),
        ("same", template("OnFailure", None), None),
        ("exit-code", template("Never", Some("ExitCode")), None),
        ("other", template("Never", None), Some(OVERWRITTEN)),
        ("contradiction", template("Always", Some("Never")), Some(OVERWRITTEN)),
        ("empty", template("", None), None),
        ("empty-and-same", template("OnFailure", Some("")), None),
        ("empty-and-other", template("Never", Some("")), Some(OVERWRITTEN)),
        ("whole", under(whole(), template("OnFailure", None)), Some(DECIDED)),
        ("whole-and-same", under(whole(), template("Never", None)), None),
        ("rules", under(rules, template("OnFailure", None)), Some(DECIDED)),
        (
            "in-place",
            under(in_place(), template("OnFailure", Some("Always"))),
            None,
        ),
        (
            "in-place-and-other",
            under(in_place(), template("Never", None)),
            Some(DECIDED),
        ),
        (
            "in-place-never",
            under(in_place(), template("Never", Some("Never"))),
            None,
        ),
    ] {
        let said = warnings(rig, name, &spec, false).await;
        let expected = warning.is_none_or(|warning| said.iter().any(|said| said.contains(warning)));
        assert!(
            said.len() == usize::from(warning.is_some()) && expected,
            "{name}: {said:?}"
        );
        rig.job(name).await;
    }
}

/// With 54 characters ten workers fit, of which the last is number 9.
async fn names_that_cannot_hold_all_workers(rig: &Rig) {
    for (length, max, warned) in [(54, 10, false), (54, 11, true), (53, 11, false), (53, 101, true)] {
        let name = format!("{}-{max}", "a".repeat(length - max.to_string().len() - 1));
        let said = warnings(rig, &name, &elastic(2, 1, max), false).await;
        let expected = said.len() == 1 && said[0].contains(TOO_LONG);
        assert_eq!((expected, said.is_empty()), (warned, !warned), "{name}: {said:?}");
        let scale = json!({ "spec": { "replicas": max } });
        let scaled = rig
            .jobs
            .patch_scale(&name, &PatchParams::default(), &Patch::Merge(&scale))
            .await;
        assert_eq!(scaled.is_err(), warned, "{name}");
    }
}

async fn kubectl_prints_them(rig: &Rig) {
    let patch = async |patch: &str| {
        let namespace = rig.namespace.name();
        let job = [
            "patch",
            "pytorchjob",
            "deprecated",
            "--namespace",
            namespace,
            "--type",
            "merge",
            "-p",
            patch,
        ];
        rig.cluster
            .kubectl(&[&job[..], &["--warnings-as-errors"]].concat())
            .await
    };
    patch(r#"{"metadata":{"labels":{"team":"a"}}}"#).await.unwrap();
    let said = patch(r#"{"spec":{"backoffLimit":3}}"#).await.unwrap_err().to_string();
    assert!(said.contains("Warning:") && said.contains(DEPRECATED), "{said}");
    assert_eq!(
        rig.job("deprecated").await.spec.backoff_limit(),
        Some(3),
        "the request succeeded"
    );
}
