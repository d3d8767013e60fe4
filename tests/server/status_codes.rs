//! The status codes of the page "Update PyTorchJob", and those that Kubernetes has besides, each by a real request.

use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use pytorchjob_test_cluster::{Cluster, Namespace, User};
use serde_json::{Value, json};

use crate::job::{Job, job, with};
use crate::rig::create;

const MERGE_PATCH: &str = "application/merge-patch+json";
const NAME: &str = "pytorch-test";

struct Server {
    cluster: &'static Cluster,
    client: Client,
    namespace: Namespace<'static>,
}

/// The status code, and the `Status` or the object of the answer.
type Answer = (u16, Value);

impl Server {
    /// An API server with one job. Status codes are its affair: no operator is there.
    async fn with_a_job() -> Self {
        let cluster = Cluster::shared().await;
        let namespace = cluster.namespace("codes").await.unwrap();
        let client = cluster.admin();
        create(&client, &namespace, &job(NAME, 1)).await.unwrap();
        Self {
            cluster,
            client,
            namespace,
        }
    }

    async fn patch(&self, client: &Client, name: &str, content_type: &str, body: &str) -> Answer {
        let path = <Job as kube::Resource>::url_path(&(), Some(&self.namespace));
        let request = Request::patch(format!("{path}/{name}"))
            .header(CONTENT_TYPE, content_type)
            .body(body.as_bytes().to_vec().into())
            .unwrap();
        let answer = client.send(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await.unwrap();
        (code, serde_json::from_slice(&body).unwrap())
    }

    async fn merge(&self, body: &Value) -> Answer {
        self.patch(&self.client, NAME, MERGE_PATCH, &body.to_string()).await
    }
}

/// E2 of Kubeflow's integration tests.
#[tokio::test]
async fn e2_the_queue_of_a_job_is_immutable() {
    let server = Server::with_a_job().await;
    let queue = |queue: &str| json!({ "spec": { "runPolicy": { "schedulingPolicy": { "queue": queue } } } });
    let named = with(
        with(job("queued", 1), &queue("initial-queue")),
        &json!({ "metadata": { "name": "queued" } }),
    );
    create(&server.client, &server.namespace, &named).await.unwrap();
    let answer = server
        .patch(&server.client, "queued", MERGE_PATCH, &queue("test").to_string())
        .await;
    let says = "spec.runPolicy.schedulingPolicy.queue is immutable";
    assert_status(&answer, 422, "Invalid", says);
    let stored = server.patch(&server.client, "queued", MERGE_PATCH, "{}").await.1;
    assert_eq!(
        stored["spec"]["runPolicy"]["schedulingPolicy"]["queue"],
        "initial-queue"
    );
}

/// Checks the code, and that the body is a `Status` that says the same to programs and something to people.
fn assert_status(answer: &Answer, code: u16, reason: &str, message: &str) {
    let (sent, status) = answer;
    assert_eq!(*sent, code, "{status}");
    assert_eq!(status["kind"], "Status");
    assert_eq!(status["code"], code);
    assert_eq!(status["reason"], reason, "{status}");
    let text = status["message"].as_str().unwrap();
    assert!(text.contains(message), "{text:?} does not say {message:?}");
}

#[tokio::test]
async fn a_valid_merge_patch_is_answered_with_200_and_the_job() {
    let server = Server::with_a_job().await;
    let (code, job) = server
        .merge(&json!({ "metadata": { "labels": { "app": "test" } } }))
        .await;
    assert_eq!(code, 200);
    assert_eq!(job["kind"], "PyTorchJob");
    assert_eq!(job["metadata"]["labels"]["app"], "test");
}

#[tokio::test]
async fn a_malformed_body_is_answered_with_400() {
    let server = Server::with_a_job().await;
    for body in ["{\"metadata\": ", "", "[]", "\"text\"", "null"] {
        let answer = server.patch(&server.client, NAME, MERGE_PATCH, body).await;
        assert_status(&answer, 400, "BadRequest", "");
    }
    let answer = server.merge(&json!({ "metadata": { "name": "other" } })).await;
    assert_status(&answer, 400, "BadRequest", "the name of the object");
}

#[tokio::test]
async fn a_bad_token_is_answered_with_401() {
    let server = Server::with_a_job().await;
    let stranger = server.cluster.client_as_token("wrong").await.unwrap();
    let answer = server.patch(&stranger, NAME, MERGE_PATCH, "{}").await;
    assert_status(&answer, 401, "Unauthorized", "Unauthorized");
}

#[tokio::test]
async fn a_user_without_a_role_is_answered_with_403() {
    let server = Server::with_a_job().await;
    let account = User::ServiceAccount {
        namespace: &server.namespace,
        name: "default",
    };
    let somebody = server.cluster.client(account).await.unwrap();
    let answer = server.patch(&somebody, NAME, MERGE_PATCH, "{}").await;
    assert_status(&answer, 403, "Forbidden", "cannot patch resource \"pytorchjobs\"");
}

#[tokio::test]
async fn a_job_that_does_not_exist_is_answered_with_404() {
    let server = Server::with_a_job().await;
    let answer = server.patch(&server.client, "missing", MERGE_PATCH, "{}").await;
    assert_status(
        &answer,
        404,
        "NotFound",
        "pytorchjobs.kubeflow.org \"missing\" not found",
    );
}

#[tokio::test]
async fn a_stale_resource_version_is_answered_with_409() {
    let server = Server::with_a_job().await;
    let (_, job) = server
        .merge(&json!({ "metadata": { "labels": { "app": "one" } } }))
        .await;
    let version = &job["metadata"]["resourceVersion"];
    let bound = |label: &str| json!({ "metadata": { "resourceVersion": version, "labels": { "app": label } } });

    assert_eq!(server.merge(&bound("two")).await.0, 200, "the current one is accepted");
    assert_status(
        &server.merge(&bound("three")).await,
        409,
        "Conflict",
        "the object has been modified",
    );
}

#[tokio::test]
async fn another_content_type_is_answered_with_415_that_names_the_right_ones() {
    let server = Server::with_a_job().await;
    for content_type in [
        "application/strategic-merge-patch+json",
        "application/json",
        "text/plain",
    ] {
        let answer = server.patch(&server.client, NAME, content_type, "{}").await;
        assert_status(&answer, 415, "UnsupportedMediaType", MERGE_PATCH);
    }
}

#[tokio::test]
async fn an_invalid_value_is_answered_with_422_that_names_the_field() {
    let server = Server::with_a_job().await;
    for (policy, value) in [
        ("activeDeadlineSeconds", json!(-1)),
        ("activeDeadlineSeconds", json!(1.5)),
        ("activeDeadlineSeconds", json!(2_147_483_648_u64)),
        ("ttlSecondsAfterFinished", json!("soon")),
        ("cleanPodPolicy", json!("Sometimes")),
    ] {
        for (path, patch) in [
            (format!("spec.{policy}"), json!({ "spec": { policy: value } })),
            (
                format!("spec.runPolicy.{policy}"),
                json!({ "spec": { "runPolicy": { policy: value } } }),
            ),
        ] {
            let answer = server.merge(&patch).await;
            assert_status(&answer, 422, "Invalid", &path);
            assert_eq!(answer.1["details"]["causes"][0]["field"], path, "{}", answer.1);
        }
    }
}

#[tokio::test]
async fn a_resource_version_that_is_no_number_is_answered_with_500() {
    let server = Server::with_a_job().await;
    let answer = server.merge(&json!({ "metadata": { "resourceVersion": "abc" } })).await;
    // The server's own words for "this should not happen": it gives no reason.
    let (code, status) = answer;
    assert_eq!((code, &status["code"]), (500, &json!(500)), "{status}");
    assert!(status["message"].as_str().unwrap().contains("\"abc\""), "{status}");
}
