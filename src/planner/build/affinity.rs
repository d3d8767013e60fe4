//! The nodes that a pod must not go to, in its affinity.
//!
//! By the name of the node, which is what a pod says of where it ran: its label `kubernetes.io/hostname` may be another
//! word, and the operator reads no nodes to find out. A field of a node takes one value in each requirement.

use serde_json::{Map, Value, json};

use crate::api::names;
use crate::planner::build::builder::Builder;
use crate::planner::build::template::object;

/// Where a pod names the node that it runs on, and nobody schedules it.
const NODE_NAME: &str = "/nodeName";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Keeps the pod away from the nodes that `status.excludedNodes` names, and says so in an annotation.
pub(super) fn exclude_nodes(builder: &Builder<'_>, spec: &mut Value, metadata: &mut Map<String, Value>) {
    let status = builder.job.status.as_ref();
    let status = status.filter(|_| builder.job.spec.run_policy.node_exclusion.is_some());
    let nodes = status.into_iter().flat_map(|status| &status.excluded_nodes);
    let nodes: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    let has_node = spec
        .pointer(NODE_NAME)
        .is_some_and(|node| !node.is_null() && *node != "");
    if nodes.is_empty() || has_node {
        return;
    }
    let requirement = |node: &&str| json!({ "key": "metadata.name", "operator": "NotIn", "values": [node] });
    let requirements: Vec<Value> = nodes.iter().map(requirement).collect();
    let required = object(object(object(spec, "affinity"), "nodeAffinity"), REQUIRED);
    require(&mut required["nodeSelectorTerms"], &requirements);
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    annotations[names::ANNOTATION_EXCLUDED_NODES] = json!(nodes.join(","));
}

/// Adds the requirements to the terms that a user requires. One of them suffices, so each of them gets all; one without
/// any requirement fits no node, and must not fit all others now.
fn require(terms: &mut Value, requirements: &[Value]) {
    if terms.is_null() {
        *terms = json!([{ "matchFields": requirements }]);
        return;
    }
    for term in terms.as_array_mut().into_iter().flatten() {
        let has = |field: &str| term[field].as_array().is_some_and(|list| !list.is_empty());
        if has("matchExpressions") || has("matchFields") {
            match &mut term["matchFields"] {
                Value::Array(fields) => fields.extend(requirements.iter().cloned()),
                absent => *absent = json!(requirements),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ExcludedNode, JobStatus, ReplicaType};
    use crate::planner::fixture::{JobBuilder, master, time};

    fn not_in(node: &str) -> Value {
        json!({ "key": "metadata.name", "operator": "NotIn", "values": [node] })
    }

    fn excluding(job: JobBuilder, nodes: &[&str]) -> Value {
        let policy = json!({ "afterFailures": 1, "windowSeconds": 60, "max": 9 });
        let mut scene = job.policy("nodeExclusion", policy).scene();
        let excluded = nodes.iter().map(|node| ExcludedNode {
            name: (*node).to_owned(),
            until: time(60),
            because: "it failed".into(),
        });
        scene.job.status = Some(JobStatus {
            excluded_nodes: excluded.collect(),
            ..JobStatus::default()
        });
        scene.build_pod(ReplicaType::Master, 0)
    }

    fn required(terms: &Value) -> JobBuilder {
        let affinity = json!({ "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": terms } } });
        master().template(ReplicaType::Master, "/spec/affinity", affinity)
    }

    fn terms(pod: &Value) -> Value {
        pod["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"].clone()
    }

    #[test]
    fn a_pod_without_affinity_stays_away_from_each_node_by_its_name() {
        let pod = excluding(master(), &["a", "b"]);
        assert_eq!(terms(&pod), json!([{ "matchFields": [not_in("a"), not_in("b")] }]));
        let annotation = &pod["metadata"]["annotations"]["training.kubeflow.org/excluded-nodes"];
        assert_eq!(annotation, "a,b");
    }

    #[test]
    fn each_term_of_the_users_gets_it_and_one_that_fits_no_node_does_not() {
        let zone = json!([{ "key": "zone", "operator": "In", "values": ["z"] }]);
        let theirs = json!([
            { "matchExpressions": zone },
            { "matchFields": [not_in("mine")] },
            {},
            { "matchExpressions": [] },
        ]);
        assert_eq!(
            terms(&excluding(required(&theirs), &["a"])),
            json!([
                { "matchExpressions": zone, "matchFields": [not_in("a")] },
                { "matchFields": [not_in("mine"), not_in("a")] },
                {},
                { "matchExpressions": [] },
            ])
        );
    }

    #[test]
    fn other_affinities_stay_as_they_are() {
        let preferred = json!([{ "weight": 1, "preference": { "matchExpressions": [] } }]);
        let affinity = json!({ "podAntiAffinity": { "a": 1 }, "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred, REQUIRED: null } });
        let pod = excluding(
            master().template(ReplicaType::Master, "/spec/affinity", affinity),
            &["a"],
        );
        let affinity = &pod["spec"]["affinity"];
        assert_eq!(affinity["podAntiAffinity"], json!({ "a": 1 }));
        assert_eq!(
            affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"],
            preferred
        );
        assert_eq!(terms(&pod), json!([{ "matchFields": [not_in("a")] }]));
    }

    #[test]
    fn a_pod_of_a_template_that_names_its_node_and_a_job_without_exclusions_are_left_alone() {
        let fixed = master().template(ReplicaType::Master, "/spec/nodeName", json!("a"));
        for pod in [excluding(fixed, &["a"]), excluding(master(), &[])] {
            assert_eq!(pod["spec"]["affinity"], Value::Null);
            assert_eq!(pod["metadata"]["annotations"], Value::Null);
        }
    }

    #[test]
    fn what_a_pod_is_built_from_is_the_same_with_exclusions() {
        let label = |pod: &Value| pod["metadata"]["labels"]["training.kubeflow.org/pod-template-hash"].clone();
        assert_eq!(label(&excluding(master(), &["a"])), label(&excluding(master(), &[])));
    }
}
