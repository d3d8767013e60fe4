//! The CRD as checked in: what the API server will do with it, as far as that can be told without one.
//!
//! Schemas are checked by `api::structural`, which a test holds to the API server, CEL rules by `kube_cel`. The same
//! objects go through `planner::validate`, which must say the same of them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value, json};

use crate::api::structural::{misfits, schema_of_jobs};
use crate::api::{PyTorchJob, RULES, ReplicaType, UnknownPodFields, crd_yaml, definition, names};
use crate::planner::problems;
use crate::support::bad_jobs::{Bad, bad_jobs};
use crate::support::fixture::{JobBuilder, elastic_workers, master, master_and_workers, workers};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/kubeflow.org_pytorchjobs.yaml");

/// The schema with its rules compiled, which takes a second.
static COMPILED: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema()));

fn checked_in() -> Value {
    let text = fs::read_to_string(FILE).expect("the CRD is checked in");
    serde_saphyr::from_str(&text).expect("the CRD is YAML")
}

fn version() -> Value {
    checked_in()["spec"]["versions"][0].take()
}

fn schema() -> Value {
    version()["schema"]["openAPIV3Schema"].take()
}

fn spec(schema: &Value) -> &Value {
    &schema["properties"]["spec"]
}

fn pod_spec(schema: &Value) -> &Value {
    &spec(schema)["properties"]["pytorchReplicaSpecs"]["additionalProperties"]["properties"]["template"]["properties"]["spec"]
}

/// Calls `visit` with the path of every schema.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    let Some(object) = schema.as_object() else { return };
    visit(path, object);
    for (name, property) in object
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = object.get(nested) {
            walk(&format!("{path}[]"), nested, visit);
        }
    }
}

#[test]
fn the_file_is_what_the_code_generates() {
    let text = fs::read_to_string(FILE).expect("the CRD is checked in");
    assert!(
        text == crd_yaml(UnknownPodFields::Refused),
        "crds/kubeflow.org_pytorchjobs.yaml is out of date: run `make crds`"
    );
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.starts_with('#') && line.contains("make crds"))
    );
}

#[test]
fn plain_kubectl_apply_fits_it_into_its_annotation() {
    let json = checked_in().to_string();
    assert!(
        json.len() < 262_144,
        "{} bytes; all annotations of an object together have 262144",
        json.len()
    );
}

#[test]
fn names_and_columns_are_kubeflows_with_the_wide_ones_behind() {
    let crd = checked_in();
    assert_eq!(crd["metadata"]["name"], "pytorchjobs.kubeflow.org");
    let names = &crd["spec"]["names"];
    assert_eq!(
        (&names["kind"], &names["plural"]),
        (&json!("PyTorchJob"), &json!("pytorchjobs"))
    );
    assert_eq!(
        (&names["singular"], &crd["spec"]["scope"]),
        (&json!("pytorchjob"), &json!("Namespaced"))
    );
    let version = version();
    assert_eq!(
        (&version["name"], &version["served"], &version["storage"]),
        (&json!("v1"), &json!(true), &json!(true))
    );
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        columns[..2],
        [
            json!({ "jsonPath": ".status.conditions[-1:].type", "name": "State", "type": "string" }),
            json!({ "jsonPath": ".metadata.creationTimestamp", "name": "Age", "type": "date" }),
        ]
    );
    assert!(
        columns[2..].iter().all(|column| column["priority"] == 1),
        "ours show with -o wide alone"
    );
}

#[test]
fn status_and_scale_are_subresources_with_kubeflows_paths() {
    assert_eq!(
        version()["subresources"],
        json!({
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.pytorchReplicaSpecs.Worker.replicas",
                "statusReplicasPath": ".status.replicaStatuses.Worker.active",
                "labelSelectorPath": ".status.replicaStatuses.Worker.selector",
            },
        })
    );
}

#[test]
fn spec_is_required_and_nothing_is_nullable() {
    let schema = schema();
    assert_eq!(schema["required"], json!(["spec"]));
    assert_eq!(spec(&schema)["required"], json!(["pytorchReplicaSpecs"]));
    walk("", &schema, &mut |path, object| {
        assert!(!object.contains_key("nullable"), "{path} is nullable");
    });
}

#[test]
fn w17_run_policy_is_always_there() {
    let schema = schema();
    let policy = &spec(&schema)["properties"]["runPolicy"];
    assert_eq!(policy["default"], json!({}));
    assert_eq!(policy["properties"]["suspend"]["default"], json!(false));
}

#[test]
fn an_absent_number_of_replicas_is_stored_as_what_it_means_so_that_it_can_be_scaled() {
    let schema = schema();
    let replica = &spec(&schema)["properties"]["pytorchReplicaSpecs"]["additionalProperties"];
    let absent = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "job" },
        "spec": { "pytorchReplicaSpecs": { "Worker": { "template": {} } } } });
    let job: PyTorchJob = serde_json::from_str(&absent.to_string()).unwrap();
    assert_eq!(
        replica["properties"]["replicas"]["default"],
        job.spec.replicas(ReplicaType::Worker)
    );
}

#[test]
fn nothing_else_of_our_own_has_a_default() {
    let mut defaults = BTreeSet::new();
    walk("", &schema(), &mut |path, object| {
        if object.contains_key("default") && !path.contains(".template") {
            defaults.insert(path.to_owned());
        }
    });
    assert_eq!(
        defaults.into_iter().collect::<Vec<_>>(),
        [
            ".spec.pytorchReplicaSpecs[].replicas",
            ".spec.runPolicy",
            ".spec.runPolicy.suspend"
        ]
    );
}

#[test]
fn w24_every_number_of_our_own_has_bounds() {
    let mut numbers = 0;
    walk("", spec(&schema()), &mut |path, object| {
        let foreign = path.contains(".template") || path.contains(".metrics") || path.contains(".minResources");
        if object.get("type") == Some(&json!("integer")) && !foreign {
            assert!(
                object.contains_key("minimum") && object.contains_key("maximum"),
                "{path} has no bounds"
            );
            numbers += 1;
        }
    });
    assert_eq!(numbers, 25);
}

#[test]
fn w36_pod_fields_newer_than_the_schema_are_kept_when_asked_for() {
    let preserving =
        json!(definition(UnknownPodFields::Preserved))["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    for (schema, kept) in [(schema(), Value::Null), (preserving, json!(true))] {
        let spec = pod_spec(&schema);
        for path in [
            "",
            "/properties/containers/items",
            "/properties/initContainers/items",
            "/properties/containers/items/properties/securityContext",
            "/properties/volumes/items",
            "/properties/affinity",
        ] {
            let place = spec.pointer(path).expect("the schema has it");
            assert_eq!(place["x-kubernetes-preserve-unknown-fields"], kept, "{path}");
            assert!(place["properties"].is_object(), "{path}: known fields keep their types");
        }
    }
}

#[test]
fn a_list_of_a_template_is_one_value_so_that_one_with_repeated_keys_equals_itself() {
    let schema = schema();
    let replicas = &spec(&schema)["properties"]["pytorchReplicaSpecs"];
    walk("", replicas, &mut |path, object| {
        assert!(!object.contains_key("x-kubernetes-list-type"), "{path}");
        assert!(!object.contains_key("x-kubernetes-list-map-keys"), "{path}");
    });
}

#[test]
fn template_metadata_is_what_a_pod_can_take_from_it() {
    let schema = schema();
    let template =
        &spec(&schema)["properties"]["pytorchReplicaSpecs"]["additionalProperties"]["properties"]["template"];
    let names: Vec<_> = template["properties"]["metadata"]["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["annotations", "finalizers", "labels", "name", "namespace"]);
}

#[test]
fn our_own_fields_have_descriptions_and_the_pods_have_none() {
    walk("", spec(&schema()), &mut |path, object| {
        let pods = path.contains(".template.") || path.contains(".metrics[]");
        if path.ends_with("[]") {
            return;
        }
        assert_eq!(object.contains_key("description"), !pods, "{path}");
    });
}

#[test]
fn every_rule_is_in_the_schema_compiles_and_names_its_field() {
    assert!(!COMPILED.has_errors());
    let mut found = Vec::new();
    walk("", &schema(), &mut |_, object| {
        for rule in object
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            found.push((rule["rule"].clone(), rule["message"].clone()));
        }
    });
    let expected: Vec<_> = RULES
        .iter()
        .map(|rule| (json!(rule.cel), json!(rule.message)))
        .collect();
    assert_eq!(found.len(), expected.len());
    assert!(expected.iter().all(|rule| found.contains(rule)));
}

#[test]
fn the_map_of_replicas_is_bounded_or_the_cost_of_its_rules_is_not() {
    let schema = schema();
    let replicas = &spec(&schema)["properties"]["pytorchReplicaSpecs"];
    assert_eq!(
        (&replicas["minProperties"], &replicas["maxProperties"]),
        (&json!(1), &json!(2))
    );
}

/// One rule: its message, an object (or an edit) it accepts and one it refuses.
struct Case {
    message: &'static str,
    accepted: (Option<JobBuilder>, JobBuilder),
    refused: (Option<JobBuilder>, JobBuilder),
}

fn create(message: &'static str, accepted: JobBuilder, refused: JobBuilder) -> Case {
    Case {
        message,
        accepted: (None, accepted),
        refused: (None, refused),
    }
}

fn edit(message: &'static str, old: &JobBuilder, accepted: JobBuilder, refused: JobBuilder) -> Case {
    Case {
        message,
        accepted: (Some(old.clone()), accepted),
        refused: (Some(old.clone()), refused),
    }
}

fn creations() -> Vec<Case> {
    let elastic = || elastic_workers(2, 1, 3);
    vec![
        create(
            "metadata.name must start with a letter",
            master().named("a-1"),
            master().named("0-test"),
        ),
        // With "-master-0" 63 and 64 characters.
        create(
            "metadata.name is too long",
            master().named(&"x".repeat(54)),
            master().named(&"x".repeat(55)),
        ),
        create(
            "unknown replica type",
            master_and_workers(1),
            master().spec("/pytorchReplicaSpecs", json!({ "master": replica() })),
        ),
        create(
            "Master.replicas must be 1",
            master().replicas(ReplicaType::Master, 1),
            master().replicas(ReplicaType::Master, 2),
        ),
        create(
            "needs a container named pytorch",
            master().template(
                ReplicaType::Master,
                "/spec/containers/1",
                json!({ "name": "sidecar", "image": "s" }),
            ),
            master().container(ReplicaType::Master, "/name", json!("train")),
        ),
        create(
            "elasticPolicy requires pytorchReplicaSpecs.Worker",
            elastic(),
            master().spec("/elasticPolicy", json!({})),
        ),
        create(
            "elasticPolicy.minReplicas must not exceed",
            elastic_workers(2, 2, 2),
            elastic().spec("/elasticPolicy", json!({ "minReplicas": 3, "maxReplicas": 2 })),
        ),
        create(
            "Worker.replicas must lie between",
            elastic_workers(3, 1, 3),
            elastic_workers(4, 1, 3),
        ),
        create(
            "elasticPolicy.nProcPerNode must not be used",
            elastic().spec("/elasticPolicy/nProcPerNode", json!(2)),
            elastic()
                .spec("/elasticPolicy/nProcPerNode", json!(2))
                .spec("/nprocPerNode", json!("2")),
        ),
        spellings(
            "activeDeadlineSeconds and",
            "activeDeadlineSeconds",
            &json!(1),
            &json!(2),
        ),
        spellings("backoffLimit and", "backoffLimit", &json!(1), &json!(2)),
        spellings("cleanPodPolicy and", "cleanPodPolicy", &json!("All"), &json!("None")),
        spellings(
            "ttlSecondsAfterFinished and",
            "ttlSecondsAfterFinished",
            &json!(1),
            &json!(2),
        ),
        create(
            "each rule needs one of class, exitCodes and onPodConditions",
            failure_rule(&json!({ "class": "ImportError", "action": "FailJob" })),
            failure_rule(&json!({ "class": "Evicted", "onPodConditions": [{ "type": "Bad" }], "action": "FailJob" })),
        ),
        create(
            "progressPolicy needs the readiness probe of the container pytorch",
            progress().template(ReplicaType::Worker, "/spec/containers/1", sidecar_with_probe()),
            progress().container(
                ReplicaType::Worker,
                "/readinessProbe",
                json!({ "tcpSocket": { "port": 80 } }),
            ),
        ),
        create(
            "restartWindow needs restartScope Job",
            window().policy("restartScope", "Job"),
            window(),
        ),
        create(
            "restartStrategy InPlace needs restartScope Job",
            strategy().policy("restartScope", "Job"),
            strategy(),
        ),
        create(
            "MultiKueue loses the policies",
            multikueue().policy("backoffLimit", 3),
            multikueue().flat("backoffLimit", 3),
        ),
    ]
}

fn failure_rule(rule: &Value) -> JobBuilder {
    master().policy("failurePolicy", json!({ "rules": [rule] }))
}

fn progress() -> JobBuilder {
    let policy = json!({ "file": "/ckpt", "deadlineSeconds": 600, "action": "Restart" });
    master_and_workers(1).policy("progressPolicy", policy)
}

fn sidecar_with_probe() -> Value {
    json!({ "name": "sidecar", "image": "i", "readinessProbe": { "tcpSocket": { "port": 80 } } })
}

fn progress_policy() -> Case {
    edit(
        "spec.runPolicy.progressPolicy is immutable",
        &progress(),
        progress().policy("backoffLimit", 1),
        progress().spec("/runPolicy/progressPolicy/action", json!("Warn")),
    )
}

fn window() -> JobBuilder {
    master().policy("restartWindow", json!({ "restarts": 3, "seconds": 3_600 }))
}

fn strategy() -> JobBuilder {
    master().policy("restartStrategy", "InPlace")
}

fn multikueue() -> JobBuilder {
    master().policy("managedBy", names::MANAGED_BY_MULTIKUEUE)
}

fn spellings(message: &'static str, policy: &str, one: &Value, other: &Value) -> Case {
    let both = |second: &Value| master().flat(policy, one.clone()).policy(policy, second.clone());
    create(message, both(one), both(other))
}

fn replica() -> Value {
    json!({ "template": { "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } } })
}

fn replica_types() -> Case {
    edit(
        "replica types of a job cannot be added or removed",
        &master(),
        master().policy("backoffLimit", 1),
        master_and_workers(1),
    )
}

fn runs_again() -> Case {
    let job = finished(&master_and_workers(2));
    let image = json!("registry.example/train:2");
    edit(
        "the job has finished and cannot run again",
        &job,
        job.clone().flat("ttlSecondsAfterFinished", json!(60)),
        job.clone()
            .policy("suspend", true)
            .container(ReplicaType::Worker, "/image", image),
    )
}

fn scope() -> Case {
    let job = master_and_workers(2);
    edit(
        "spec.runPolicy.restartScope is immutable",
        &job,
        job.clone().policy("restartScope", "Replica"),
        job.clone().policy("restartScope", "Job"),
    )
}

fn fixed_strategy() -> Case {
    let job = master().policy("restartScope", "Job");
    edit(
        "spec.runPolicy.restartStrategy is immutable",
        &job,
        job.clone().policy("restartStrategy", "Recreate"),
        job.clone().policy("restartStrategy", "InPlace"),
    )
}

fn failure_policy() -> Case {
    let rule = |action: &str| failure_rule(&json!({ "class": "ImportError", "action": action }));
    let job = rule("FailJob");
    edit(
        "spec.runPolicy.failurePolicy is immutable",
        &job,
        job.clone().policy("backoffLimit", 1),
        rule("Ignore"),
    )
}

fn graceful_stop() -> Case {
    let job = master().policy("gracefulStopSeconds", 60);
    edit(
        "spec.runPolicy.gracefulStopSeconds is immutable",
        &job,
        job.clone().policy("backoffLimit", 1),
        master(),
    )
}

fn service_policy() -> Case {
    let job = master().policy("servicePolicy", "Rendezvous");
    edit(
        "spec.runPolicy.servicePolicy is immutable",
        &job,
        job.clone().policy("backoffLimit", 1),
        master(),
    )
}

fn edits() -> Vec<Case> {
    let job = master_and_workers(2);
    let held = job.clone().policy("suspend", true);
    let image = |job: &JobBuilder| {
        job.clone()
            .container(ReplicaType::Worker, "/image", json!("registry.example/train:2"))
    };
    let scheduled = |field: &str, value: Value| job.clone().policy("schedulingPolicy", json!({ field: value }));
    let hint = |message, field: &str, value: Value, other: Value| {
        let old = scheduled(field, value);
        edit(
            message,
            &old,
            old.clone().policy("backoffLimit", 3),
            scheduled(field, other),
        )
    };
    vec![
        replica_types(),
        edit(
            "template can change only while the job is suspended",
            &job,
            image(&held),
            image(&job),
        ),
        edit(
            "Worker.replicas of a job without elasticPolicy",
            &job,
            held.clone().replicas(ReplicaType::Worker, 3),
            job.clone().replicas(ReplicaType::Worker, 3),
        ),
        edit(
            "Worker.replicas of a job whose elasticPolicy has neither minReplicas nor maxReplicas",
            &unbounded(2),
            unbounded(3).policy("suspend", true),
            unbounded(3),
        ),
        // With "-worker-9" 63 characters, with "-worker-10" one more.
        edit(
            "metadata.name is too long for so many workers",
            &stored(10),
            stored(9),
            stored(11),
        ),
        runs_again(),
        edit(
            "restartPolicy of a job cannot change",
            &held,
            held.clone().restart(ReplicaType::Worker, "OnFailure"),
            held.clone().restart(ReplicaType::Worker, "Never"),
        ),
        edit(
            "nprocPerNode can change only while the job is suspended",
            &job,
            held.clone().spec("/nprocPerNode", json!("4")),
            job.clone().spec("/nprocPerNode", json!("4")),
        ),
        edit(
            "elasticPolicy of a job cannot change",
            &elastic_workers(2, 1, 3),
            elastic_workers(3, 1, 3),
            elastic_workers(2, 1, 4),
        ),
        edit(
            "spec.runPolicy.managedBy is immutable",
            &job,
            job.clone().policy("managedBy", names::MANAGED_BY_SELF),
            job.clone().policy("managedBy", names::MANAGED_BY_MULTIKUEUE),
        ),
        edit(
            "schedulingPolicy is immutable but for minAvailable",
            &job,
            scheduled("minAvailable", json!(1)),
            scheduled("queue", json!("test")),
        ),
        hint(
            "schedulingPolicy.queue is immutable",
            "queue",
            json!("initial-queue"),
            json!("test"),
        ),
        hint(
            "schedulingPolicy.priorityClass is immutable",
            "priorityClass",
            json!("high"),
            json!("low"),
        ),
        hint(
            "schedulingPolicy.minResources is immutable",
            "minResources",
            json!({ "cpu": "1" }),
            json!({ "cpu": "2" }),
        ),
        hint(
            "schedulingPolicy.scheduleTimeoutSeconds is immutable",
            "scheduleTimeoutSeconds",
            json!(1),
            json!(2),
        ),
    ]
}

/// The same job after its success.
fn finished(job: &JobBuilder) -> JobBuilder {
    let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status });
    let conditions = [
        condition("Created", "True"),
        condition("Running", "False"),
        condition("Succeeded", "True"),
    ];
    job.clone().field("/status", json!({ "conditions": conditions }))
}

/// Elastic workers without bounds.
fn unbounded(count: u32) -> JobBuilder {
    workers(count).spec("/elasticPolicy", json!({}))
}

/// Elastic workers of a job that has a status, and a name that leaves room for ten.
fn stored(count: u32) -> JobBuilder {
    elastic_workers(count, 1, 20)
        .named(&"x".repeat(54))
        .field("/status", json!({}))
}

/// Messages of the rules that refuse `new`, as an edit of `old` if there is one.
fn refusals(old: Option<&Value>, new: &Value) -> Vec<String> {
    match Validator::new().validate_compiled(&COMPILED, new, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

#[test]
fn every_rule_accepts_one_object_and_refuses_another_with_its_message_alone() {
    let mut covered = BTreeSet::new();
    for case in creations().into_iter().chain(edits()).chain([
        scope(),
        fixed_strategy(),
        failure_policy(),
        graceful_stop(),
        progress_policy(),
        service_policy(),
    ]) {
        let (old, new) = (case.accepted.0.map(JobBuilder::json), case.accepted.1.json());
        assert_eq!(refusals(old.as_ref(), &new), [""; 0], "{}", case.message);
        let (old, new) = (case.refused.0.map(JobBuilder::json), case.refused.1.json());
        let mut messages = refusals(old.as_ref(), &new);
        // Nothing lies between bounds that exclude each other.
        messages.retain(|message| !case.message.contains("must not exceed") || !message.contains("must lie between"));
        assert_eq!(messages.len(), 1, "{}: {messages:?}", case.message);
        assert!(messages[0].contains(case.message), "{}: {messages:?}", case.message);
        covered.extend(messages);
    }
    let all: BTreeSet<_> = RULES.iter().map(|rule| rule.message.clone()).collect();
    assert_eq!(covered, all, "every rule has a case");
}

#[test]
fn the_planner_and_the_rules_agree_about_every_new_object() {
    for case in creations() {
        let accepted = problems(&case.accepted.1.build());
        assert_eq!(accepted, [], "{}", case.message);
        let refused = problems(&case.refused.1.build());
        assert_eq!(refused.len(), 1, "{}: {refused:?}", case.message);
    }
}

#[test]
fn what_a_user_may_edit_at_any_time_is_accepted_in_either_spelling_and_removed_again() {
    let running = master_and_workers(2);
    for (policy, value) in [
        ("activeDeadlineSeconds", json!(5)),
        ("ttlSecondsAfterFinished", json!(0)),
        ("cleanPodPolicy", json!("All")),
        ("backoffLimit", json!(2)),
    ] {
        for edited in [
            running.clone().flat(policy, value.clone()),
            running.clone().policy(policy, value),
        ] {
            let (old, new) = (running.clone().json(), edited.json());
            assert_eq!(refusals(Some(&old), &new), [""; 0], "{policy} set");
            assert_eq!(refusals(Some(&new), &old), [""; 0], "{policy} removed");
        }
    }
    for edited in [
        running.clone().policy("suspend", true),
        running.clone().field("/metadata/labels", json!({ "a": "b" })),
        running.clone().policy("schedulingPolicy", json!({ "minAvailable": 2 })),
    ] {
        assert_eq!(refusals(Some(&running.clone().json()), &edited.json()), [""; 0]);
    }
}

#[test]
fn no_edit_makes_a_finished_job_run_again() {
    let job = || elastic_workers(2, 1, 3);
    let old = finished(&job()).json();
    for accepted in [
        job(),
        job().flat("activeDeadlineSeconds", json!(60)),
        job().policy("backoffLimit", json!(5)),
        job().flat("ttlSecondsAfterFinished", json!(60)),
        job().policy("ttlSecondsAfterFinished", json!(60)),
        job().flat("cleanPodPolicy", json!("All")),
        job().policy("cleanPodPolicy", json!("All")),
        job().field("/metadata/labels", json!({ "a": "b" })),
        job().policy("suspend", false),
    ] {
        let new = finished(&accepted).json();
        assert_eq!(refusals(Some(&old), &new), [""; 0], "{new}");
        assert_eq!(refusals(Some(&new), &old), [""; 0], "back from {new}");
    }
    for refused in [
        job().policy("suspend", true),
        job().spec("/nprocPerNode", json!("4")),
        job().replicas(ReplicaType::Worker, 3),
        job().container(ReplicaType::Worker, "/image", json!("registry.example/train:2")),
        job()
            .policy("suspend", true)
            .container(ReplicaType::Worker, "/image", json!("registry.example/train:2")),
    ] {
        const REFUSED: [&str; 1] = ["the job has finished and cannot run again: delete it and create it again"];
        let new = finished(&refused).json();
        assert_eq!(refusals(Some(&old), &new), REFUSED, "{new}");
        assert_eq!(refusals(Some(&new), &old), REFUSED, "back from {new}");
    }
}

#[test]
fn kueue_admits_with_resume_and_node_selector_in_one_edit() {
    let held = master_and_workers(2).policy("suspend", true);
    let admitted = master_and_workers(2).policy("suspend", false).template(
        ReplicaType::Worker,
        "/spec/nodeSelector",
        json!({ "pool": "a" }),
    );
    assert_eq!(refusals(Some(&held.json()), &admitted.json()), [""; 0]);
}

#[test]
fn an_empty_number_of_processes_is_none_beside_that_of_the_elastic_policy() {
    const TWICE: &str = "elasticPolicy.nProcPerNode must not be used together with nprocPerNode: keep nprocPerNode, the other is deprecated";
    let job = |processes: Value| {
        let elastic = elastic_workers(2, 1, 3).spec("/elasticPolicy/nProcPerNode", json!(2));
        elastic.spec("/nprocPerNode", processes).json()
    };
    let unset = job(json!(""));
    assert_eq!(refusals(None, &unset), [""; 0]);
    for set in [json!("2"), json!(2)] {
        assert_eq!(refusals(None, &job(set.clone())), [TWICE], "{set}");
        assert!(
            refusals(Some(&unset), &job(set.clone())).contains(&TWICE.to_owned()),
            "{set}"
        );
    }
}

#[test]
fn removing_a_field_is_a_change_of_its_effective_value() {
    let without = |job: JobBuilder, path: &str, field: &str| {
        let mut json = job.json();
        json.pointer_mut(path)
            .and_then(Value::as_object_mut)
            .map(|object| object.remove(field));
        json
    };
    let workers = "/spec/pytorchReplicaSpecs/Worker";
    for (job, path, field, accepted) in [
        (master_and_workers(1), workers, "replicas", true),
        (master_and_workers(2), workers, "replicas", false),
        (
            master_and_workers(1).restart(ReplicaType::Worker, "OnFailure"),
            workers,
            "restartPolicy",
            true,
        ),
        (
            master_and_workers(1).restart(ReplicaType::Worker, "Never"),
            workers,
            "restartPolicy",
            false,
        ),
        (
            master().spec("/nprocPerNode", json!("2")),
            "/spec",
            "nprocPerNode",
            false,
        ),
        (master().spec("/nprocPerNode", json!("")), "/spec", "nprocPerNode", true),
        (elastic_workers(2, 1, 3), "/spec", "elasticPolicy", false),
        (
            master().policy("managedBy", names::MANAGED_BY_SELF),
            "/spec/runPolicy",
            "managedBy",
            true,
        ),
        (
            master().policy("managedBy", names::MANAGED_BY_MULTIKUEUE),
            "/spec/runPolicy",
            "managedBy",
            false,
        ),
        (
            master().policy("schedulingPolicy", json!({ "queue": "q" })),
            "/spec/runPolicy",
            "schedulingPolicy",
            false,
        ),
        (
            master().policy("schedulingPolicy", json!({ "minAvailable": 1 })),
            "/spec/runPolicy",
            "schedulingPolicy",
            true,
        ),
        (master_and_workers(1), "/spec/pytorchReplicaSpecs", "Worker", false),
    ] {
        let (old, new) = (job.clone().json(), without(job, path, field));
        assert_eq!(
            refusals(Some(&old), &new).is_empty(),
            accepted,
            "{path}/{field} removed"
        );
        assert_eq!(refusals(Some(&new), &old).is_empty(), accepted, "{path}/{field} added");
    }
}

#[test]
fn bad_input_is_refused_by_the_schema_and_stored_all_the_same_by_the_planner_or_the_decoder() {
    let schema = schema_of_jobs(UnknownPodFields::Refused);
    let mut by_schema = 0;
    for Bad { job, field, .. } in bad_jobs() {
        let object = job.clone().json();
        let misplaced = misplaced(&schema, &object);
        if misplaced.is_empty() {
            assert!(
                !refusals(None, &object).is_empty(),
                "neither schema nor rule refuses {object}"
            );
        } else {
            assert_eq!(misplaced, [field], "{object}");
            by_schema += 1;
        }
        assert!(!passes(&job), "validate takes {object}");
    }
    assert!(by_schema >= 30, "{by_schema} of them by the schema");
    // What Kubeflow's definition also stores: unset to its operator, no value of ours.
    for path in ["/cleanPodPolicy", "/runPolicy/managedBy"] {
        let job = master().spec(path, json!(""));
        assert!(!passes(&job), "validate takes {path} as the empty string");
        assert_eq!(
            misplaced(&schema, &job.json()),
            [format!("spec{}", path.replace('/', "."))]
        );
    }
}

/// Whether the job decodes and `validate` finds nothing.
fn passes(job: &JobBuilder) -> bool {
    job.decode().is_ok_and(|job| problems(&job).is_empty())
}

#[test]
fn one_bound_of_an_elastic_job_is_both() {
    for (policy, count, fits) in [
        (json!({ "minReplicas": 1 }), 3, false),
        (json!({ "minReplicas": 3 }), 3, true),
        (json!({ "maxReplicas": 4 }), 3, false),
        (json!({ "maxReplicas": 3 }), 3, true),
        (json!({}), 3, true),
    ] {
        let job = workers(count).spec("/elasticPolicy", policy.clone());
        assert_eq!(refusals(None, &job.clone().json()).is_empty(), fits, "{policy}");
        assert_eq!(problems(&job.build()).is_empty(), fits, "{policy}");
        let stored = |count| {
            let mut job = workers(count).spec("/elasticPolicy", policy.clone()).json();
            job["status"] = json!({});
            job
        };
        for scaled in [count - 1, count + 1] {
            let within = policy.as_object().unwrap().values().any(|bound| *bound == scaled);
            let refused = refusals(Some(&stored(count)), &stored(scaled));
            assert_eq!(
                refused.is_empty(),
                within,
                "{scaled} workers under {policy}: {refused:?}"
            );
        }
    }
}

#[test]
fn quantities_are_checked_where_they_are_typed() {
    let schema = schema_of_jobs(UnknownPodFields::Refused);
    for (memory, good) in [("16Gi", true), ("1e3", true), ("16GB", false), ("much", false)] {
        let limits = json!({ "limits": { "memory": memory } });
        let job = master().container(ReplicaType::Master, "/resources", limits).json();
        assert_eq!(misfits(&schema, &job).is_empty(), good, "{memory}");
        let job = serde_json::from_str(&job.to_string()).expect("the job decodes");
        assert_eq!(problems(&job).is_empty(), good, "validate says the same of {memory}");
    }
}

#[test]
fn good_input_passes_the_schema() {
    let schema = schema_of_jobs(UnknownPodFields::Refused);
    let whole = elastic_workers(2, 1, 3)
        .policy(
            "schedulingPolicy",
            json!({ "minAvailable": 1, "minResources": { "cpu": 2, "memory": "4Gi" } }),
        )
        .container(
            ReplicaType::Worker,
            "/resources",
            json!({ "limits": { "cpu": 2, "nvidia.com/gpu": "1" } }),
        );
    for job in [
        master(),
        master_and_workers(3),
        workers(1),
        elastic_workers(2, 1, 3),
        whole,
    ] {
        assert_eq!(misplaced(&schema, &job.clone().json()), [""; 0]);
        assert_eq!(problems(&job.build()), []);
    }
}

#[test]
fn an_unknown_pod_field_does_not_fit_unless_such_fields_are_preserved() {
    let job = master()
        .template(ReplicaType::Master, "/spec/nodeselector", json!({ "pool": "a" }))
        .container(ReplicaType::Master, "/volumeMount", json!([1, { "a": null }]))
        .json();
    let template = "spec.pytorchReplicaSpecs.Master.template.spec";
    assert_eq!(
        misplaced(&schema_of_jobs(UnknownPodFields::Refused), &job),
        [
            format!("{template}.containers[0].volumeMount"),
            format!("{template}.nodeselector")
        ]
    );
    assert_eq!(misplaced(&schema_of_jobs(UnknownPodFields::Preserved), &job), [""; 0]);
}

/// The fields that do not fit the schema.
fn misplaced(schema: &Value, job: &Value) -> Vec<String> {
    misfits(schema, job).into_iter().map(|misfit| misfit.field).collect()
}
