//! `elasticPolicy.metrics`: the autoscaler of an elastic job.

use serde_json::json;

use crate::api::{ChildKind, ChildRef, PyTorchJob};
use crate::planner::{Builder, Settings};
use crate::support::fixture::master;

const KIND: ChildKind = ChildKind::HorizontalPodAutoscaler;

fn job(metrics: &str) -> PyTorchJob {
    let text = format!(
        r#"{{"apiVersion":"kubeflow.org/v1","kind":"PyTorchJob","metadata":{{"name":"job","namespace":"ns","uid":"u","generation":1}},
        "spec":{{"elasticPolicy":{{"minReplicas":1,"maxReplicas":3{metrics}}},
        "pytorchReplicaSpecs":{{"Worker":{{"template":{{"spec":{{"containers":[{{"name":"pytorch","image":"i"}}]}}}}}}}}}}}}"#
    );
    serde_json::from_str(&text).expect("the job decodes")
}

const METRICS: &str = r#","metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}}]"#;

#[test]
fn the_autoscaler_scales_the_job_between_its_bounds_by_its_metrics() {
    let (job, settings) = (job(METRICS), Settings::default());
    let built = Builder::new(&job, &settings)
        .build(ChildRef::of_job(KIND))
        .expect("it has metrics");
    assert_eq!(
        built["spec"]["scaleTargetRef"],
        json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": "job" })
    );
    assert_eq!(
        (&built["spec"]["minReplicas"], &built["spec"]["maxReplicas"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        built["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        80
    );
    assert_eq!(built["metadata"]["ownerReferences"][0]["uid"], "u");
}

#[test]
fn the_autoscaler_is_there_exactly_while_the_job_may_run() {
    let mut scene = master().scene();
    scene.job = job(METRICS);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 1, "running");
    scene.job.spec.run_policy.suspend = Some(true);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 0, "suspended");
    scene.job.spec.run_policy.suspend = Some(false);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 1, "resumed");
    scene.job.spec.active_deadline_seconds = Some(0);
    scene.settle();
    assert_eq!(scene.autoscalers().len(), 0, "failed");
}

#[test]
fn an_autoscaler_goes_when_the_metrics_that_asked_for_it_are_gone() {
    for metrics in ["", r#","metrics":[]"#] {
        let mut scene = master().scene();
        scene.job = job(METRICS);
        scene.settle();
        let wanted = job(metrics).spec;
        scene.edit(|job| job.spec = wanted);
        scene.settle();
        assert_eq!(scene.autoscalers().len(), 0, "{metrics}");
        assert!(scene.plan().is_idle(), "{metrics}");
    }
}
