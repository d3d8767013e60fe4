//! OpenShift assigns the user ID of a container, and refuses one that is not of the namespace's range.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use pytorchjob_test_cluster::{Cluster, Options, not_applicable};
use serde_json::{Value, json};

use crate::installing::{built, published};
use crate::job::job;
use crate::rig::{Rig, TIMEOUT, install_identity, own_cluster, until};

/// The kind by which OpenShift does that, as far as discovery shows it.
fn definition() -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "metadata": { "name": "securitycontextconstraints.security.openshift.io" },
        "spec": {
            "group": "security.openshift.io",
            "names": {
                "kind": "SecurityContextConstraints",
                "plural": "securitycontextconstraints",
                "singular": "securitycontextconstraints",
            },
            "scope": "Cluster",
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    })
}

#[tokio::test]
async fn the_init_container_names_no_user_on_openshift() {
    let cluster = own_cluster(Options::default()).await;
    if !cluster.is_ours() {
        return not_applicable("installs a kind of OpenShift");
    }
    let definition: CustomResourceDefinition = serde_json::from_value(definition()).unwrap();
    let client = cluster.admin();
    Api::all(client.clone())
        .create(&PostParams::default(), &definition)
        .await
        .unwrap();
    // Discovery shows the kind a moment after the definition is established, and cannot be watched.
    until("the kind is shown", TIMEOUT, async || {
        let shown = client.list_api_group_resources("security.openshift.io/v1").await;
        shown.is_ok()
    })
    .await;
    let rig = Rig::start_on(cluster, install_identity(cluster).await).await;
    let (_, pods) = rig.create_with_pods(&job("worker", 1)).await;
    let worker = pods
        .iter()
        .find(|pod| pod.metadata.name.as_deref() == Some("worker-worker-0"));
    let container = &worker.unwrap().spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0];
    let context = container.security_context.as_ref().unwrap();
    assert_eq!((context.run_as_non_root, context.run_as_user), (Some(true), None));
}

/// As an overlay has it that names a version of the repository.
#[tokio::test]
async fn the_component_for_openshift_takes_user_and_group_from_the_operator_and_leaves_all_else() {
    let cluster = Cluster::shared().await;
    let published = published();
    for base in ["default", "existing-namespace", "namespaced"] {
        let [base, component] =
            [base, "openshift"].map(|name| format!("'file://{}//config/{name}?ref=v1'", published.path().display()));
        let plain = built(cluster, &format!("resources: [{base}]")).await;
        let adapted = built(cluster, &format!("resources: [{base}]\ncomponents: [{component}]")).await;
        let [plain, adapted] = [plain, adapted].map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap());
        let without_user = |mut object: Value| {
            if object["kind"] == "Deployment" {
                let context = object.pointer_mut("/spec/template/spec/securityContext").unwrap();
                let context = context.as_object_mut().unwrap();
                let removed = ["runAsUser", "runAsGroup"].map(|field| context.remove(field));
                assert_eq!(removed, [Some(json!(65532)), Some(json!(65532))]);
            }
            object
        };
        let expected: Vec<Value> = plain.into_iter().map(without_user).collect();
        assert!(adapted == expected, "{base}");
    }
}
