//! The pods of a job, built from its templates.

use serde_json::{Map, Value, json};

use crate::api::{Replica, ReplicaType, RestartPolicy, ServicePolicy, names};
use crate::planner::build::builder::Builder;
use crate::planner::build::env::{self, Ports};
use crate::planner::build::{affinity, in_place, pod_group, progress_probe, template, template_hash};
use crate::planner::in_place::Mark;

/// The pod of a replica: labels, annotations, finalizers and spec of the template, and what makes it a member of
/// the job. Whatever else the template holds, fields newer than our schema included, is carried over as it is.
#[must_use]
pub(super) fn build(builder: &Builder<'_>, role: ReplicaType, index: u32) -> Value {
    let template = builder.template(role);
    let spec = template.get("spec").filter(|spec| spec.is_object());
    let mut spec = spec.cloned().unwrap_or_else(|| json!({}));
    spec["restartPolicy"] = json!(builder.job.spec.restart_policy_of_pod(role));
    let in_place = restarts_in_place(builder, role)
        .then(|| in_place::prepare(&mut spec))
        .flatten();
    if in_place.is_some() {
        spec["restartPolicy"] = json!(RestartPolicy::OnFailure.of_pod());
    }
    if let Some((grace, _)) = builder.job.spec.run_policy.stop_periods() {
        spec["terminationGracePeriodSeconds"] = json!(grace);
    }
    add_default_port(&mut spec, template);
    add_environment(builder, &mut spec, role, index);
    add_attempt(builder, &mut spec, in_place.is_some());
    template::containers(&mut spec).for_each(keep_the_end_of_the_log);
    if role == ReplicaType::Worker && builder.job.spec.replica(ReplicaType::Master).is_some() {
        for container in builder.settings.init_container.build(builder.name()) {
            push(&mut spec["initContainers"], container);
        }
    }
    let mut metadata = metadata(builder, template, role, index);
    progress_probe::add(builder, &mut spec, &mut metadata);
    affinity::exclude_nodes(builder, &mut spec, &mut metadata);
    if let Some(resource) = in_place {
        let mark = Mark { resource, asked: None };
        metadata["annotations"][names::ANNOTATION_IN_PLACE] = json!(mark.to_string());
    }
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    if let Some(gang) = &builder.settings.gang {
        pod_group::decorate(&mut pod, gang, builder.name(), role);
    }
    pod
}

fn metadata(builder: &Builder<'_>, template: &Value, role: ReplicaType, index: u32) -> Map<String, Value> {
    let mut labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    labels.extend(builder.labels(role, index));
    labels.insert(
        names::LABEL_POD_TEMPLATE_HASH.into(),
        json!(template_hash::label(
            builder.template_hash,
            builder.job.metadata.generation
        )),
    );
    if role == ReplicaType::Master || (index == 0 && builder.job.spec.replica(ReplicaType::Master).is_none()) {
        labels.insert(names::LABEL_JOB_ROLE.into(), json!(names::JOB_ROLE_MASTER));
    }
    let mut metadata = builder.metadata(&Replica::new(role, index).name(builder.name()), labels);
    let kept = |name: &str| template.get("metadata")?.get(name).cloned();
    let annotations = kept("annotations").filter(Value::is_object);
    metadata.extend(annotations.map(|annotations| ("annotations".to_owned(), annotations)));
    metadata.extend(kept("finalizers").map(|finalizers| ("finalizers".to_owned(), finalizers)));
    if let Some(attempt) = builder.attempt {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        annotations[names::ANNOTATION_ATTEMPT] = json!(attempt.to_string());
    }
    metadata
}

fn add_environment(builder: &Builder<'_>, spec: &mut Value, role: ReplicaType, index: u32) {
    let ports = Ports {
        master: template::rendezvous_port(builder.template(ReplicaType::Master)),
        worker: template::rendezvous_port(builder.template(ReplicaType::Worker)),
    };
    let mut variables = env::variables(builder.name(), &builder.job.spec, role, index, ports);
    let stop = builder.job.spec.run_policy.stop_periods();
    variables.extend(stop.map(|(_, wait)| (names::env::TORCH_ELASTIC_SHUTDOWN_TIMEOUT, wait.to_string())));
    let by_address =
        builder.job.spec.elastic_policy.is_some() && builder.job.spec.service_policy() == ServicePolicy::Rendezvous;
    for container in template::containers(spec) {
        for (name, value) in &variables {
            push(&mut container["env"], json!({ "name": name, "value": value }));
        }
        if by_address {
            add_address(&mut container["env"]);
        }
    }
}

/// Any member of an elastic rendezvous may become the one that the others connect to, by the name of its pod, which
/// only a service makes known, or by what torchrun is told here.
fn add_address(variables: &mut Value) {
    let name = names::env::PET_LOCAL_ADDR;
    let own = variables.as_array().into_iter().flatten();
    if own.filter(|variable| variable["name"] == name).count() == 0 {
        let field = json!({ "fieldRef": { "fieldPath": "status.podIP" } });
        push(variables, json!({ "name": name, "valueFrom": field }));
    }
}

/// Tells the containers which attempt they are of. The kubelet looks the annotation up whenever it starts a container,
/// so one that starts again in place is told the new number.
fn add_attempt(builder: &Builder<'_>, spec: &mut Value, in_place: bool) {
    let Some(attempt) = builder.attempt else { return };
    let name = names::env::TRAINING_ATTEMPT;
    let path = format!("metadata.annotations['{}']", names::ANNOTATION_ATTEMPT);
    let variable = if in_place {
        json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } })
    } else {
        json!({ "name": name, "value": attempt.to_string() })
    };
    for container in template::containers(spec) {
        push(&mut container["env"], variable.clone());
    }
}

/// Whether the kubelet may start the training container of this role again. Of a replica that is not to restart, the
/// first failure ends the job.
fn restarts_in_place(builder: &Builder<'_>, role: ReplicaType) -> bool {
    builder.job.spec.restarts_in_place() && builder.job.spec.restart_policy(role) != RestartPolicy::Never
}

/// The kubelet then brings the end of the log of a container that failed and left no message of its own. In Kubeflow,
/// only the exit code tells why a pod failed once it is gone.
fn keep_the_end_of_the_log(container: &mut Value) {
    let policy = &mut container["terminationMessagePolicy"];
    if policy.is_null() || *policy == "" {
        *policy = json!("FallbackToLogsOnError");
    }
}

fn add_default_port(spec: &mut Value, template: &Value) {
    if let Some(container) = template::training_container(template).filter(|_| template::needs_default_port(template)) {
        push(
            &mut spec["containers"][container]["ports"],
            json!({ "name": names::PORT_NAME, "containerPort": names::PORT, "protocol": "TCP" }),
        );
    }
}

/// Appends to a list that may be absent.
fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        absent => *absent = Value::Array(vec![item]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fixture::{
        JobBuilder, UID, elastic_workers, master, master_and_workers, owner_references, workers,
    };

    fn pod(job: JobBuilder, role: ReplicaType, index: u32) -> Value {
        job.scene().build_pod(role, index)
    }

    #[test]
    fn an_elastic_replica_without_a_name_in_dns_tells_torchrun_its_address_unless_its_author_does() {
        let address = |job: JobBuilder| {
            let pod = pod(job, ReplicaType::Worker, 1);
            let variables = pod["spec"]["containers"][0]["env"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let mut addresses = variables
                .into_iter()
                .filter(|variable| variable["name"] == "PET_LOCAL_ADDR");
            (addresses.next(), addresses.next())
        };
        let rendezvous = |job: JobBuilder| job.policy("servicePolicy", "Rendezvous");
        let field = json!({ "fieldRef": { "fieldPath": "status.podIP" } });
        let ours = json!({ "name": "PET_LOCAL_ADDR", "valueFrom": field });
        assert_eq!(address(rendezvous(elastic_workers(2, 1, 3))), (Some(ours), None));
        let own = json!({ "name": "PET_LOCAL_ADDR", "value": "10.0.0.1" });
        let with_own = elastic_workers(2, 1, 3).container(ReplicaType::Worker, "/env", json!([own]));
        assert_eq!(address(rendezvous(with_own)), (Some(own), None));
        assert_eq!(address(elastic_workers(2, 1, 3)), (None, None), "by name");
        assert_eq!(
            address(rendezvous(master_and_workers(2))),
            (None, None),
            "the Master is found by name"
        );
    }

    fn names(list: &Value) -> Vec<&str> {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["name"].as_str())
            .collect()
    }

    #[test]
    fn a_pod_is_named_and_labelled_as_in_kubeflow_and_says_what_it_was_built_from() {
        let pod = pod(master_and_workers(2), ReplicaType::Worker, 1);
        assert_eq!((&pod["apiVersion"], &pod["kind"]), (&json!("v1"), &json!("Pod")));
        let metadata = &pod["metadata"];
        assert_eq!(
            (&metadata["name"], &metadata["namespace"]),
            (&json!("job-worker-1"), &json!("ns"))
        );
        assert_eq!(
            metadata["labels"],
            json!({
                "training.kubeflow.org/operator-name": "pytorchjob-controller",
                "training.kubeflow.org/job-name": "job",
                "training.kubeflow.org/replica-type": "worker",
                "training.kubeflow.org/replica-index": "1",
                "training.kubeflow.org/pod-template-hash": "15bea8074df8c3cf-1",
            })
        );
    }

    #[test]
    fn the_job_is_the_controlling_owner() {
        assert_eq!(
            pod(master(), ReplicaType::Master, 0)["metadata"]["ownerReferences"],
            owner_references()
        );
    }

    #[test]
    fn the_job_role_is_on_the_master_or_without_one_on_worker_0() {
        for (job, role, index, expected) in [
            (master_and_workers(2), ReplicaType::Master, 0, true),
            (master_and_workers(2), ReplicaType::Worker, 0, false),
            (workers(2), ReplicaType::Worker, 0, true),
            (workers(2), ReplicaType::Worker, 1, false),
            (elastic_workers(2, 1, 3), ReplicaType::Worker, 0, true),
        ] {
            let label = pod(job, role, index)["metadata"]["labels"]["training.kubeflow.org/job-role"].clone();
            let expected = if expected { json!("master") } else { Value::Null };
            assert_eq!(label, expected, "{role} {index}");
        }
    }

    #[test]
    fn template_metadata_is_copied_except_the_name_and_our_labels_win() {
        let metadata = json!({
            "name": "mine",
            "namespace": "elsewhere",
            "labels": { "team": "vision", "training.kubeflow.org/job-name": "mine" },
            "annotations": { "sidecar.istio.io/inject": "false" },
            "finalizers": ["example.com/keep"],
            "ownerReferences": [{ "name": "mine" }],
        });
        let pod = pod(
            master().template(ReplicaType::Master, "/metadata", metadata),
            ReplicaType::Master,
            0,
        );
        let metadata = &pod["metadata"];
        assert_eq!(
            (&metadata["name"], &metadata["namespace"]),
            (&json!("job-master-0"), &json!("ns"))
        );
        assert_eq!(metadata["labels"]["team"], "vision");
        assert_eq!(metadata["labels"]["training.kubeflow.org/job-name"], "job");
        assert_eq!(metadata["annotations"], json!({ "sidecar.istio.io/inject": "false" }));
        assert_eq!(metadata["finalizers"], json!(["example.com/keep"]));
        assert_eq!(metadata["ownerReferences"][0]["uid"], UID);
    }

    #[test]
    fn the_replicas_restart_policy_overwrites_the_templates() {
        for (policy, expected) in [
            ("Always", "Always"),
            ("OnFailure", "OnFailure"),
            ("Never", "Never"),
            ("ExitCode", "Never"),
        ] {
            let job = master().restart(ReplicaType::Master, policy).template(
                ReplicaType::Master,
                "/spec/restartPolicy",
                json!("Always"),
            );
            assert_eq!(
                pod(job, ReplicaType::Master, 0)["spec"]["restartPolicy"],
                expected,
                "{policy}"
            );
        }
        assert_eq!(
            pod(master(), ReplicaType::Master, 0)["spec"]["restartPolicy"],
            "OnFailure",
            "unset"
        );
        assert_eq!(
            pod(master().restart(ReplicaType::Master, ""), ReplicaType::Master, 0)["spec"]["restartPolicy"],
            "OnFailure",
            "empty"
        );
    }

    #[test]
    fn fields_newer_than_our_schema_survive() {
        let job = master()
            .template(
                ReplicaType::Master,
                "/spec/fieldOfTheFuture",
                json!({ "a": [1, 2.5, null] }),
            )
            .container(ReplicaType::Master, "/alsoNew", json!("x"));
        let spec = pod(job, ReplicaType::Master, 0)["spec"].clone();
        assert_eq!(spec["fieldOfTheFuture"], json!({ "a": [1, 2.5, null] }));
        assert_eq!(spec["containers"][0]["alsoNew"], "x");
    }

    #[test]
    fn quantities_written_as_numbers_stay_as_written() {
        let job = master().container(
            ReplicaType::Master,
            "/resources",
            json!({ "limits": { "cpu": 2, "memory": "4Gi" } }),
        );
        let limits = pod(job, ReplicaType::Master, 0)["spec"]["containers"][0]["resources"]["limits"].clone();
        assert_eq!(limits, json!({ "cpu": 2, "memory": "4Gi" }));
    }

    #[test]
    fn our_variables_follow_the_users_in_every_container_and_in_no_init_container() {
        let job = master()
            .container(
                ReplicaType::Master,
                "/env",
                json!([{ "name": "RANK", "value": "9" }, { "name": "MINE", "value": "1" }]),
            )
            .template(
                ReplicaType::Master,
                "/spec/containers/1",
                json!({ "name": "sidecar", "image": "s" }),
            )
            .template(
                ReplicaType::Master,
                "/spec/initContainers",
                json!([{ "name": "prepare", "image": "p" }]),
            );
        let pod = pod(job, ReplicaType::Master, 0);
        let spec = &pod["spec"];
        let train = names(&spec["containers"][0]["env"]);
        assert_eq!(train[..3], ["RANK", "MINE", "PYTHONUNBUFFERED"]);
        assert_eq!(
            train[2..],
            names(&spec["containers"][1]["env"]),
            "the sidecar has ours and nothing else"
        );
        assert_eq!(spec["initContainers"], json!([{ "name": "prepare", "image": "p" }]));
        let ranks: Vec<_> = train.iter().filter(|name| **name == "RANK").collect();
        assert_eq!(ranks.len(), 2, "the user's stays, the later one holds");
    }

    #[test]
    fn a_container_that_fails_leaves_the_end_of_its_log_unless_the_template_says_otherwise() {
        let policy = |written: Value| {
            let job = master().container(ReplicaType::Master, "/terminationMessagePolicy", written);
            pod(job, ReplicaType::Master, 0)["spec"]["containers"][0]["terminationMessagePolicy"].clone()
        };
        assert_eq!(policy(Value::Null), "FallbackToLogsOnError");
        assert_eq!(policy(json!("")), "FallbackToLogsOnError");
        assert_eq!(policy(json!("File")), "File");
    }

    /// What the first container has in its environment under this name.
    fn variable(pod: &Value, name: &str) -> Value {
        let env = pod["spec"]["containers"][0]["env"].as_array();
        let entry = env.into_iter().flatten().find(|entry| entry["name"] == name);
        entry.map(|entry| entry["value"].clone()).unwrap_or_default()
    }

    #[test]
    fn a_pod_of_a_job_that_starts_again_as_a_whole_says_which_attempt_it_is_of_and_no_other_does() {
        let attempt = |job: JobBuilder| {
            let pod = pod(job, ReplicaType::Master, 0);
            (
                pod["metadata"]["annotations"]["training.kubeflow.org/attempt"].clone(),
                variable(&pod, "TRAINING_ATTEMPT"),
            )
        };
        let whole = || master().policy("restartScope", "Job");
        assert_eq!(attempt(master()), (Value::Null, Value::Null));
        assert_eq!(attempt(whole()), (json!("1"), json!("1")), "it is not stored yet");
        let third = whole().field("/status/attempts", json!([{ "number": 3 }]));
        let annotated = third.template(ReplicaType::Master, "/metadata/annotations", json!({ "note": "a" }));
        assert_eq!(attempt(annotated), (json!("3"), json!("3")));
    }

    #[test]
    fn the_grace_period_goes_to_the_pod_and_five_seconds_less_to_torchrun() {
        let of = |job: JobBuilder| {
            let pod = pod(job, ReplicaType::Master, 0);
            (
                pod["spec"]["terminationGracePeriodSeconds"].clone(),
                variable(&pod, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"),
            )
        };
        let with = |seconds: i64| {
            let job = master().policy("gracefulStopSeconds", seconds);
            job.template(ReplicaType::Master, "/spec/terminationGracePeriodSeconds", json!(7))
        };
        assert_eq!(of(with(120)), (json!(120), json!("115")));
        assert_eq!(of(with(3)), (json!(3), json!("1")));
        assert_eq!(
            of(with(-1)),
            (json!(7), Value::Null),
            "a stored value that means nothing"
        );
        assert_eq!(of(master()), (Value::Null, Value::Null));
    }

    #[test]
    fn workers_of_a_job_with_master_wait_for_it_after_the_users_init_containers() {
        let mine = json!([{ "name": "prepare", "image": "p" }]);
        for (job, role, expected) in [
            (master_and_workers(1), ReplicaType::Worker, &["init-pytorch"][..]),
            (master_and_workers(1), ReplicaType::Master, &[]),
            (workers(1), ReplicaType::Worker, &[]),
            (elastic_workers(1, 1, 1), ReplicaType::Worker, &[]),
            (
                master_and_workers(1).template(ReplicaType::Worker, "/spec/initContainers", mine),
                ReplicaType::Worker,
                &["prepare", "init-pytorch"],
            ),
        ] {
            assert_eq!(names(&pod(job, role, 0)["spec"]["initContainers"]), expected, "{role}");
        }
    }

    #[test]
    fn the_default_port_goes_to_the_training_container_after_the_users() {
        let job = master().container(
            ReplicaType::Master,
            "/ports",
            json!([{ "name": "http", "containerPort": 80 }]),
        );
        assert_eq!(
            pod(job, ReplicaType::Master, 0)["spec"]["containers"][0]["ports"],
            json!([
                { "name": "http", "containerPort": 80 },
                { "name": "pytorchjob-port", "containerPort": 23456, "protocol": "TCP" },
            ])
        );
        let named = json!([{ "name": "pytorchjob-port", "containerPort": 29500 }]);
        let pod = pod(
            master().container(ReplicaType::Master, "/ports", named.clone()),
            ReplicaType::Master,
            0,
        );
        assert_eq!(pod["spec"]["containers"][0]["ports"], named);
    }

    #[test]
    fn the_ports_in_the_environment_are_those_of_the_templates() {
        let port = |number: u16| json!([{ "name": "pytorchjob-port", "containerPort": number }]);
        let job = master_and_workers(1)
            .container(ReplicaType::Master, "/ports", port(29500))
            .container(ReplicaType::Worker, "/ports", port(29501))
            .spec("/elasticPolicy", json!({}));
        let pod = pod(job, ReplicaType::Worker, 0);
        let value = |name: &str| {
            let env = pod["spec"]["containers"][0]["env"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            env.into_iter()
                .find(|entry| entry["name"] == name)
                .map(|entry| entry["value"].clone())
        };
        assert_eq!(value("MASTER_PORT"), Some(json!("29500")));
        assert_eq!(value("PET_RDZV_ENDPOINT"), Some(json!("job-worker-0:29501")));
    }

    #[test]
    fn a_built_pod_is_a_pod() {
        let pod = pod(master_and_workers(1), ReplicaType::Worker, 0);
        let typed: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod).expect("the pod decodes");
        assert_eq!(typed.spec.map(|spec| spec.containers.len()), Some(1));
    }
}
