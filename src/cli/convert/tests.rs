//! Laws of the conversion, and its cases.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::api::structural::schema_of_jobs;
use crate::api::{PyTorchJob, ReplicaType, UnknownPodFields};
use crate::cli::convert::parts::{Converted, Loss, differences};
use crate::cli::convert::{convert, from_trainer, to_trainer};
use crate::cli::files::Object;
use crate::cli::manifest::{decode, without_nulls};
use crate::cli::offline::{Format, Report};
use crate::cli::place::Place;
use crate::planner::problems;

/// What may stand in a job beside its replicas: places, and the values there.
fn places() -> Vec<(&'static str, Vec<Value>)> {
    let reference = json!({ "resourceFieldRef": { "containerName": "pytorch", "resource": "limits.cpu" } });
    vec![
        ("/metadata/labels", vec![json!({ "kueue.x-k8s.io/queue-name": "gpus" })]),
        (
            "/metadata/annotations",
            vec![
                json!({ "a": "b" }),
                json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" }),
            ],
        ),
        ("/metadata/uid", vec![json!("1")]),
        ("/metadata/finalizers", vec![json!(["example.com/hold"])]),
        ("/status", vec![json!({ "restarts": 1 })]),
        ("/spec/activeDeadlineSeconds", vec![json!(0), json!(60)]),
        ("/spec/backoffLimit", vec![json!(0), json!(3)]),
        (
            "/spec/cleanPodPolicy",
            vec![json!("All"), json!("None"), json!("Running")],
        ),
        ("/spec/ttlSecondsAfterFinished", vec![json!(0), json!(60)]),
        ("/spec/runPolicy/activeDeadlineSeconds", vec![json!(0), json!(60)]),
        ("/spec/runPolicy/backoffLimit", vec![json!(0), json!(3)]),
        ("/spec/runPolicy/cleanPodPolicy", vec![json!("All")]),
        ("/spec/runPolicy/ttlSecondsAfterFinished", vec![json!(60)]),
        ("/spec/runPolicy/suspend", vec![json!(true), json!(false)]),
        (
            "/spec/runPolicy/managedBy",
            vec![
                json!("kubeflow.org/training-operator"),
                json!("kueue.x-k8s.io/multikueue"),
            ],
        ),
        ("/spec/runPolicy/restartScope", vec![json!("Job"), json!("Replica")]),
        ("/spec/runPolicy/schedulingPolicy/minAvailable", vec![json!(1)]),
        (
            "/spec/runPolicy/schedulingPolicy/minResources",
            vec![json!({ "cpu": "1" })],
        ),
        ("/spec/runPolicy/schedulingPolicy/priorityClass", vec![json!("high")]),
        ("/spec/runPolicy/schedulingPolicy/queue", vec![json!("research")]),
        (
            "/spec/runPolicy/schedulingPolicy/scheduleTimeoutSeconds",
            vec![json!(30)],
        ),
        (
            "/spec/nprocPerNode",
            vec![json!("auto"), json!("8"), json!("gpu"), json!(2)],
        ),
        (
            "/spec/elasticPolicy",
            vec![
                json!({}),
                json!({ "minReplicas": 1, "maxReplicas": 4 }),
                json!({ "maxRestarts": 2, "rdzvBackend": "c10d", "rdzvId": "x", "standalone": true }),
                json!({ "nProcPerNode": 4, "rdzvHost": "h", "rdzvPort": 1, "rdzvConf": [{ "key": "a", "value": "b" }] }),
            ],
        ),
        ("T/metadata/labels", vec![json!({ "team": "vision" })]),
        ("T/spec/restartPolicy", vec![json!("Always")]),
        ("T/spec/schedulerName", vec![json!("volcano"), json!("mine")]),
        ("T/spec/nodeSelector", vec![json!({ "gpu": "a100" })]),
        (
            "T/spec/containers/1",
            vec![
                json!({ "name": "logs", "image": "i" }),
                json!({ "name": "logs", "image": "i", "env": [{ "name": "RANK", "value": "7" }, { "name": "A", "value": "1" }] }),
            ],
        ),
        (
            "T/spec/containers/0/command",
            vec![json!(["tune", "run"]), json!(["python", "train.py"])],
        ),
        ("T/spec/containers/0/args", vec![json!(["--x"]), json!(vec!["a"; 200])]),
        (
            "T/spec/containers/0/resources",
            vec![
                json!({ "limits": { "cpu": "1" } }),
                json!({ "claims": [{ "name": "gpu" }] }),
            ],
        ),
        (
            "T/spec/containers/0/ports",
            vec![json!([{ "name": "pytorchjob-port", "containerPort": 2222 }])],
        ),
        (
            "T/spec/containers/0/env",
            vec![
                json!([{ "name": "A", "value": "1" }, { "name": "LIMIT", "valueFrom": reference }]),
                json!([{ "name": "WORLD_SIZE", "value": "7" }, { "name": "B", "value": "2" }]),
                json!([{ "name": "PET_NNODES", "value": "7" }, { "name": "A", "value": "1" }, { "name": "A", "value": "2" }]),
                json!(
                    (0..128)
                        .map(|number| json!({ "name": format!("V{number}"), "value": "" }))
                        .collect::<Vec<_>>()
                ),
            ],
        ),
    ]
}

fn replica() -> impl Strategy<Value = Value> {
    let policies = vec![None, Some("Always"), Some("ExitCode"), Some("Never"), Some("OnFailure")];
    (1..4, select(policies)).prop_map(|(replicas, policy)| {
        let template =
            json!({ "spec": { "containers": [{ "name": "pytorch", "image": "registry.example/train:1" }] } });
        let mut replica = json!({ "replicas": replicas, "template": template });
        if let Some(policy) = policy {
            replica["restartPolicy"] = policy.into();
        }
        replica
    })
}

/// Sets a value, making the objects and lists above it.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let place = pointer
        .split('/')
        .skip(1)
        .fold(object, |object, step| match step.parse::<usize>() {
            Ok(index) => {
                let items = object.as_array_mut().unwrap();
                items.resize(items.len().max(index + 1), Value::Null);
                &mut items[index]
            }
            Err(_) => &mut object[step],
        });
    *place = value;
}

/// Jobs of any shape; templates of the roles differ now and then.
fn written() -> impl Strategy<Value = Value> {
    let roles = prop_oneof![
        (replica().prop_map(Some), Just(None)),
        (Just(None), replica().prop_map(Some)),
        (replica().prop_map(Some), replica().prop_map(Some)),
    ];
    let chosen = subsequence(places(), 0..=8).prop_flat_map(|places| {
        let values = places
            .into_iter()
            .map(|(place, values)| (Just(place), select(values), 0..4));
        values.collect::<Vec<_>>()
    });
    (roles, chosen).prop_map(|((master, worker), chosen)| {
        let mut job = json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "train" } });
        for (role, replica) in [("Master", master), ("Worker", worker)] {
            if let Some(mut replica) = replica {
                if role == "Master" {
                    replica["replicas"] = 1.into();
                }
                job["spec"]["pytorchReplicaSpecs"][role] = replica;
            }
        }
        for (place, value, luck) in chosen {
            let Some(place) = place.strip_prefix('T') else {
                set(&mut job, place, value);
                continue;
            };
            for (role, but) in [("Master", 0), ("Worker", 1)] {
                let path = format!("/spec/pytorchReplicaSpecs/{role}");
                if luck != but && job.pointer(&path).is_some() {
                    set(&mut job, &format!("{path}/template{place}"), value.clone());
                }
            }
        }
        job
    })
}

/// The job, if `validate` has nothing against it.
fn valid(written: &Value) -> Option<Box<PyTorchJob>> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema_of_jobs(UnknownPodFields::Refused));
    let document = decode(&SCHEMA, None, &Place::default(), written.clone());
    let job = document.job.filter(|_| document.misfits.is_empty())?;
    problems(&job).is_empty().then_some(job)
}

fn there(written: &Value) -> Converted {
    to_trainer::convert(&valid(written).unwrap(), written.clone()).unwrap()
}

fn back_of(objects: &[Value]) -> Converted {
    from_trainer::convert(objects[1].clone(), "runtime", objects[0].clone()).unwrap()
}

/// What a job says, however it says it: one spelling, no defaults, nodes in the place of replicas.
fn meaning(written: &Value) -> Value {
    let job = valid(written).unwrap();
    let spec = &job.spec;
    let first = ReplicaType::ALL
        .into_iter()
        .find(|role| spec.replica(*role).is_some())
        .unwrap();
    let mut template: Value = spec.replica(first).unwrap().template.parse().unwrap();
    for container in template["spec"]["containers"].as_array_mut().unwrap() {
        let variables = container["env"].as_array().cloned().unwrap_or_default();
        let by_name: BTreeMap<_, _> = variables
            .iter()
            .map(|env| (env["name"].as_str().unwrap(), env))
            .collect();
        container["env"] = json!(by_name);
    }
    let number = spec.elastic_policy.as_ref().and_then(|policy| policy.n_proc_per_node);
    let processes = number
        .map(|number| number.to_string())
        .or_else(|| spec.nproc_per_node.clone());
    let mut policy = json!(spec.run_policy);
    policy["activeDeadlineSeconds"] = json!(spec.active_deadline_seconds());
    policy["backoffLimit"] = json!(spec.backoff_limit());
    policy["cleanPodPolicy"] = json!(spec.clean_pod_policy());
    policy["ttlSecondsAfterFinished"] = json!(spec.ttl_seconds_after_finished());
    policy["restartScope"] = json!(spec.restart_scope());
    policy["suspend"] = json!(spec.suspended());
    policy["managedBy"] = json!(crate::planner::managed_elsewhere(&job));
    if let Some(gang) = policy.get_mut("schedulingPolicy") {
        let all = json!(spec.total_replicas());
        gang["minAvailable"] = gang.get("minAvailable").cloned().unwrap_or(all);
        let gang = gang.as_object_mut().unwrap();
        gang.retain(|field, value| field != "queue" || *value != "default");
        // The operator writes it there for Volcano.
        let pods = template["spec"].as_object_mut().unwrap();
        pods.retain(|field, value| field != "schedulerName" || *value != "volcano");
    }
    let mut elastic = json!(spec.elastic_policy);
    elastic.as_object_mut().map(|elastic| elastic.remove("nProcPerNode"));
    let metadata = &written["metadata"];
    let spec = json!({
        "elasticPolicy": elastic,
        "nodes": spec.total_replicas(),
        "nprocPerNode": processes.filter(|word| word != "auto"),
        "restartPolicy": spec.restart_policy(first),
        "runPolicy": policy,
        "template": template,
    });
    json!({
        "metadata": { "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"] },
        "spec": spec,
    })
}

/// Where [`meaning`] has the field of a loss.
fn place(loss: &Loss) -> String {
    let mut field = loss.field.clone();
    for policy in [
        "activeDeadlineSeconds",
        "backoffLimit",
        "cleanPodPolicy",
        "ttlSecondsAfterFinished",
    ] {
        if field == format!("spec.{policy}") {
            field = format!("spec.runPolicy.{policy}");
        }
    }
    let of_runtime = "runtime: spec.template.spec.replicatedJobs[0].template.spec.template.spec";
    field = field.replace(of_runtime, "spec.template.spec");
    field = field.replace("spec.trainer.env", "spec.template.spec.containers[0].env");
    for role in ["Master.", "Worker."] {
        field = field.replace(&format!("pytorchReplicaSpecs.{role}"), "");
    }
    field
        .replace("env[", "env.")
        .replace("containers[0]", "containers_0")
        .replace("containers[1]", "containers_1")
        .replace(']', "")
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_said_to_be_lost_comes_back(written in written()) {
        prop_assume!(valid(&written).is_some());
        let there = there(&written);
        let back = back_of(&there.objects);
        let result = &back.objects[0];
        prop_assert!(valid(result).is_some(), "{result:#}");
        let lost: Vec<String> = there.losses.iter().chain(&back.losses).map(place).collect();
        let mut different = Vec::new();
        differences("", &meaning(&written), &meaning(result), &mut different);
        different.retain(|path| {
            let path = path[1..].replace("containers[0]", "containers_0").replace("containers[1]", "containers_1");
            // What kubectl keeps there speaks of the old object.
            let applied = path.ends_with("last-applied-configuration") || path == "metadata.annotations";
            let is_within = |one: &str, other: &str| one == other || one.starts_with(&format!("{other}."));
            !applied && !lost.iter().any(|lost| is_within(&path, lost) || is_within(lost, &path))
        });
        prop_assert!(different.is_empty(), "{different:?} of {written:#}\nlost: {lost:?}\n{result:#}");
        // Another round changes nothing any more.
        let again = to_trainer::convert(&valid(result).unwrap(), result.clone()).unwrap();
        prop_assert_eq!(&back_of(&again.objects).objects[0], result);
    }
}

/// What `convert` says of these objects, and what it prints.
fn said(objects: &[Value]) -> (Report, Vec<Value>) {
    let read = objects.iter().map(|value| Object {
        origin: None,
        place: Place::default(),
        value: value.clone(),
    });
    let read: Vec<Object> = read.collect();
    let report = convert(&[], &read, UnknownPodFields::Refused, Format::Json).unwrap();
    let list: Value = serde_json::from_str(&report.output).unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    (report, items)
}

fn job(name: &str) -> Value {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": "i" }] } });
    json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": { "name": name },
        "spec": { "pytorchReplicaSpecs": { "Master": { "replicas": 1, "template": template } } },
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    set(&mut object, pointer, value);
    object
}

/// The names of the jobs among these objects.
fn names(objects: &[Value]) -> Vec<&str> {
    let jobs = objects.iter().filter(|object| object["spec"]["mlPolicy"].is_null());
    jobs.map(|job| job["metadata"]["name"].as_str().unwrap()).collect()
}

#[test]
fn a_started_job_of_which_nothing_can_be_made_is_named_and_the_others_are_converted() {
    let replicas = "/spec/pytorchReplicaSpecs";
    let container = "/spec/pytorchReplicaSpecs/Master/template/spec/containers/0";
    for (pointer, value, why) in [
        (replicas, json!({}), "spec.pytorchReplicaSpecs: there are no replicas"),
        (
            replicas,
            json!({ "Launcher": job("a")["spec"]["pytorchReplicaSpecs"]["Master"] }),
            "spec.pytorchReplicaSpecs: there are no replicas",
        ),
        (
            replicas,
            json!({ "Worker": { "replicas": 0, "template": {} } }),
            "spec.pytorchReplicaSpecs: there are no replicas",
        ),
        (
            "/spec/pytorchReplicaSpecs/Master/template",
            json!("text"),
            "spec.pytorchReplicaSpecs.Master.template.spec.containers: none is called pytorch",
        ),
        (
            container,
            json!("text"),
            "spec.pytorchReplicaSpecs.Master.template.spec.containers: none is called pytorch",
        ),
        (
            container,
            json!({ "name": "train", "image": "i" }),
            "spec.pytorchReplicaSpecs.Master.template.spec.containers: none is called pytorch",
        ),
        ("/spec", json!({}), "it cannot be read"),
    ] {
        let odd = with(job("odd"), "/status/startTime", json!("2026-01-01T00:00:00Z"));
        let (report, items) = said(&[with(odd, pointer, value.clone()), job("plain")]);
        assert_eq!((names(&items), report.invalid), (vec!["plain"], false), "{value}");
        let start = format!("pytorchjob/odd: not converted: {why}");
        let last = report.remarks.last().unwrap();
        assert!(last.starts_with(&start), "{:?}", report.remarks);
    }
}

#[test]
fn a_job_that_has_finished_is_named_and_does_not_run_again() {
    let condition = |type_: &str, status: &str| {
        json!([
            { "type": "Created", "status": "True", "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": type_, "status": status, "reason": "r", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ])
    };
    let remark = "has finished, and would run again; remove its status to convert it nonetheless";
    let (runtime, train_job) = {
        let mut objects = there(&job("there")).objects;
        let train_job = objects.pop().unwrap();
        (objects.pop().unwrap(), train_job)
    };
    for (kind, type_, status, finished) in [
        ("pytorchjob", "Succeeded", "True", true),
        ("pytorchjob", "Failed", "True", true),
        ("pytorchjob", "Failed", "False", false),
        ("pytorchjob", "Running", "True", false),
        ("trainjob", "Complete", "True", true),
        ("trainjob", "Failed", "True", true),
        ("trainjob", "Complete", "False", false),
        ("trainjob", "Suspended", "True", false),
    ] {
        let of_kind = if kind == "trainjob" { &train_job } else { &job("there") };
        let object = with(of_kind.clone(), "/status/conditions", condition(type_, status));
        let (report, items) = said(&[runtime.clone(), object, job("plain")]);
        let expected = if finished {
            vec!["plain"]
        } else {
            vec!["there", "plain"]
        };
        assert_eq!((names(&items), report.invalid), (expected, false), "{kind} {type_}");
        let named = format!("{kind}/there: not converted: it {remark}");
        assert_eq!(report.remarks.contains(&named), finished, "{:?}", report.remarks);
    }
    let finished = with(job("there"), "/status/conditions", condition("Succeeded", "True"));
    let (report, items) = said(&[finished]);
    assert_eq!((items, report.invalid), (vec![], false), "nothing is left to convert");
}

/// Where the pods of a runtime are.
const PODS: &str = "/spec/template/spec/replicatedJobs/0/template/spec/template/spec";

fn fields(losses: &[Loss]) -> Vec<&str> {
    losses.iter().map(|loss| loss.field.as_str()).collect()
}

/// A job of a Master and two workers, with this `schedulingPolicy`, whose pods name this scheduler.
fn scheduled(policy: Value, scheduler: Option<&str>) -> Value {
    let mut job = with(job("train"), "/spec/runPolicy/schedulingPolicy", policy);
    let replica = &mut job["spec"]["pytorchReplicaSpecs"];
    if let Some(scheduler) = scheduler {
        replica["Master"]["template"]["spec"]["schedulerName"] = scheduler.into();
    }
    replica["Worker"] = with(replica["Master"].clone(), "/replicas", json!(2));
    job
}

#[test]
fn whatever_is_said_of_a_gang_asks_trainer_for_one() {
    let (coscheduling, volcano) = (json!({ "coscheduling": {} }), json!({ "volcano": {} }));
    let queue = |name: &str| json!({ "scheduling.volcano.sh/queue-name": name });
    let plugins = Some("scheduler-plugins-scheduler");
    let scheduler = "spec.pytorchReplicaSpecs.Master.template.spec.schedulerName";
    let policy = |field: &str| format!("spec.runPolicy.schedulingPolicy.{field}");
    for (said, named, group, annotations, pods, lost) in [
        (
            json!({ "minAvailable": 3 }),
            None,
            &coscheduling,
            Value::Null,
            None,
            vec![scheduler.to_owned()],
        ),
        (
            json!({ "minAvailable": 3 }),
            plugins,
            &coscheduling,
            Value::Null,
            plugins,
            vec![],
        ),
        (
            json!({ "minAvailable": 2 }),
            plugins,
            &coscheduling,
            Value::Null,
            plugins,
            vec![policy("minAvailable")],
        ),
        (
            json!({ "minResources": { "cpu": "1" } }),
            plugins,
            &coscheduling,
            Value::Null,
            plugins,
            vec![policy("minResources")],
        ),
        (
            json!({ "minAvailable": 3 }),
            Some("volcano"),
            &volcano,
            queue("default"),
            Some("volcano"),
            vec![],
        ),
        (
            json!({ "minAvailable": 3, "queue": "a" }),
            None,
            &volcano,
            queue("a"),
            Some("volcano"),
            vec![],
        ),
        (
            json!({ "queue": "a", "scheduleTimeoutSeconds": 9 }),
            Some("mine"),
            &volcano,
            queue("a"),
            Some("mine"),
            vec![policy("scheduleTimeoutSeconds")],
        ),
        (
            json!({ "scheduleTimeoutSeconds": 9, "queue": "" }),
            plugins,
            &json!({ "coscheduling": { "scheduleTimeoutSeconds": 9 } }),
            Value::Null,
            plugins,
            vec![],
        ),
        (
            json!({ "priorityClass": "high" }),
            None,
            &volcano,
            queue("default"),
            Some("volcano"),
            vec![policy("priorityClass")],
        ),
        (json!({ "queue": "" }), None, &Value::Null, Value::Null, None, vec![]),
        (
            json!({}),
            Some("volcano"),
            &Value::Null,
            Value::Null,
            Some("volcano"),
            vec![],
        ),
    ] {
        let converted = there(&scheduled(said.clone(), named));
        let spec = &converted.objects[0]["spec"];
        assert_eq!(&spec["podGroupPolicy"], group, "{said}");
        assert_eq!(spec["template"]["metadata"]["annotations"], annotations, "{said}");
        let pods_name = &converted.objects[0].pointer(PODS).unwrap()["schedulerName"];
        assert_eq!(pods_name.as_str(), pods, "{said}");
        assert_eq!(fields(&converted.losses), lost, "{said}");
    }
}

#[test]
fn a_gang_of_some_nodes_is_said_to_need_room_for_all() {
    let policy = json!({ "minAvailable": 2 });
    let converted = there(&scheduled(policy, Some("volcano")));
    let lost = "lost: spec.runPolicy.schedulingPolicy.minAvailable: Trainer places all nodes together or none; see that \
                there is room for all 3";
    assert_eq!(converted.losses[0].to_string(), lost);
}

#[test]
fn a_gang_of_the_priority_of_its_pods_loses_nothing() {
    let pods = "/spec/pytorchReplicaSpecs/Master/template/spec/priorityClassName";
    let policy = json!({ "queue": "a", "priorityClass": "high" });
    let job = with(job("train"), "/spec/runPolicy/schedulingPolicy", policy.clone());
    for (of_pods, lost) in [
        ("high", vec![]),
        ("low", vec!["spec.runPolicy.schedulingPolicy.priorityClass"]),
    ] {
        let converted = there(&with(job.clone(), pods, json!(of_pods)));
        assert_eq!(fields(&converted.losses), lost, "{of_pods}");
    }
    let back = back_of(&there(&with(job, pods, json!("high"))).objects);
    assert_eq!(back.objects[0]["spec"]["runPolicy"]["schedulingPolicy"], policy);
}

#[test]
fn a_gang_of_trainer_stays_one() {
    let with_priority = |runtime: Value| with(runtime, &format!("{PODS}/priorityClassName"), json!("high"));
    let objects = there(&scheduled(json!({}), None)).objects;
    for (policy, queue, expected, priority) in [
        (json!({}), None, Value::Null, Value::Null),
        (
            json!({ "coscheduling": {} }),
            None,
            json!({ "minAvailable": 3 }),
            json!({ "minAvailable": 3 }),
        ),
        (
            json!({ "coscheduling": { "scheduleTimeoutSeconds": 60 } }),
            None,
            json!({ "scheduleTimeoutSeconds": 60 }),
            json!({ "scheduleTimeoutSeconds": 60 }),
        ),
        (
            json!({ "volcano": {} }),
            None,
            json!({ "queue": "default" }),
            json!({ "queue": "default", "priorityClass": "high" }),
        ),
        (
            json!({ "volcano": {} }),
            Some("a"),
            json!({ "queue": "a" }),
            json!({ "queue": "a", "priorityClass": "high" }),
        ),
    ] {
        let mut runtime = with(objects[0].clone(), "/spec/podGroupPolicy", policy.clone());
        if let Some(queue) = queue {
            runtime["spec"]["template"]["metadata"]["annotations"] =
                json!({ "scheduling.volcano.sh/queue-name": queue });
        }
        for (runtime, expected) in [(runtime.clone(), expected), (with_priority(runtime), priority)] {
            let back = back_of(&[runtime, objects[1].clone()]);
            assert_eq!(
                back.objects[0]["spec"]["runPolicy"]["schedulingPolicy"], expected,
                "{policy}"
            );
            assert_eq!(fields(&back.losses), [""; 0], "{policy}");
        }
    }
    let topology = json!({ "volcano": { "networkTopology": { "mode": "hard" } } });
    let back = back_of(&[
        with(objects[0].clone(), "/spec/podGroupPolicy", topology),
        objects[1].clone(),
    ]);
    assert_eq!(
        fields(&back.losses),
        ["runtime: spec.podGroupPolicy.volcano.networkTopology.mode"]
    );
}

#[test]
fn containers_beside_the_training_one_keep_what_the_operator_tells_them() {
    let beside = |env: Value| json!({ "name": "logs", "image": "i", "env": env });
    let place = "/spec/pytorchReplicaSpecs/Master/template/spec/containers/1";
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    let said = with(
        job("train"),
        place,
        beside(json!([variable("RANK", "7"), variable("A", "$(RANK)")])),
    );
    let converted = there(&said);
    assert_eq!(
        fields(&converted.losses),
        ["spec.pytorchReplicaSpecs.Master.template.spec.containers[1].env[RANK]"]
    );
    let containers = &converted.objects[0].pointer(PODS).unwrap()["containers"];
    let names = |index: usize| -> Vec<&str> {
        let variables = containers[index]["env"].as_array().unwrap().iter();
        variables.map(|variable| variable["name"].as_str().unwrap()).collect()
    };
    let of_operator = [
        "PYTHONUNBUFFERED",
        "MASTER_PORT",
        "TRAINJOB_NAME",
        "MASTER_ADDR",
        "RANK",
    ];
    assert_eq!(
        (names(0), names(1)),
        (of_operator.to_vec(), [&of_operator[..], &["WORLD_SIZE", "A"]].concat())
    );

    let back = back_of(&converted.objects);
    let own = with(said, place, beside(json!([variable("A", "$(RANK)")])));
    assert_eq!((meaning(&back.objects[0]), back.losses), (meaning(&own), Vec::new()));

    let other = with(
        converted.objects[0].clone(),
        &format!("{PODS}/containers/1/env/4"),
        variable("RANK", "7"),
    );
    let back = back_of(&[other, converted.objects[1].clone()]);
    let node = "runtime: spec.template.spec.replicatedJobs[0].template.spec.template.spec";
    assert_eq!(fields(&back.losses), [format!("{node}.containers[1].env[RANK]")]);
}

#[test]
fn a_template_that_speaks_of_its_own_pods_is_said_to_need_other_names() {
    let args = |text: &str| {
        (
            "containers/0/args",
            json!(["--join", text]),
            "containers[0].args[1]".to_owned(),
        )
    };
    let spread = |label: &str| {
        let selector = json!({ "matchLabels": { label: "train" } });
        let constraint = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector });
        let path = format!("topologySpreadConstraints[0].labelSelector.matchLabels.{label}");
        ("topologySpreadConstraints", json!([constraint]), path)
    };
    let objects = there(&job("train")).objects;
    for ((place, value, path), there_too, back_too) in [
        (args("tcp://train-master-0:29400"), true, false),
        (args("train-worker-1.team.svc"), true, false),
        (args("train-node-0-1.train"), false, true),
        (args("pretrain-master-0 train-master no-train-node-0-1"), false, false),
        (spread("training.kubeflow.org/job-name"), true, false),
        (spread("jobset.sigs.k8s.io/jobset-name"), false, true),
        (spread("example.com/job-name"), false, false),
    ] {
        let expected =
            |said: bool, pods: &str| -> Vec<String> { said.then(|| format!("{pods}.{path}")).into_iter().collect() };
        let pods = "/spec/pytorchReplicaSpecs/Master/template/spec";
        let losses = there(&with(job("train"), &format!("{pods}/{place}"), value.clone())).losses;
        let of_master = "spec.pytorchReplicaSpecs.Master.template.spec";
        assert_eq!(fields(&losses), expected(there_too, of_master), "{value}");

        let runtime = with(objects[0].clone(), &format!("{PODS}/{place}"), value.clone());
        let losses = back_of(&[runtime, objects[1].clone()]).losses;
        let of_node = "runtime: spec.template.spec.replicatedJobs[0].template.spec.template.spec";
        assert_eq!(fields(&losses), expected(back_too, of_node), "{value}");
    }
    let of_job = with(
        objects[1].clone(),
        "/spec/trainer/args",
        json!(["train-node-0-1.train"]),
    );
    assert_eq!(
        fields(&back_of(&[objects[0].clone(), of_job]).losses),
        ["spec.trainer.args[0]"]
    );
}

#[test]
fn a_name_that_is_too_long_for_the_pods_of_a_jobset_is_said() {
    let workers = |name: &str, workers: u32| {
        let mut job = job(name);
        let replicas = &mut job["spec"]["pytorchReplicaSpecs"];
        replicas["Worker"] = with(replicas["Master"].clone(), "/replicas", json!(workers));
        job
    };
    for (letters, nodes, said) in [(48, 10, false), (49, 10, true), (48, 11, true), (47, 11, false)] {
        let losses = there(&workers(&"a".repeat(letters), nodes - 1)).losses;
        let expected = if said { vec!["metadata.name"] } else { vec![] };
        assert_eq!(fields(&losses), expected, "{letters} letters, {nodes} nodes");
    }
    let long = there(&workers(&"a".repeat(49), 9)).losses;
    assert_eq!(
        long[0].to_string(),
        "lost: metadata.name: a JobSet refuses it, whose pods would have names of more than 63 letters; give the \
         TrainJob one of at most 48"
    );
}

#[test]
fn what_a_trainjob_says_of_its_nodes_holds_as_in_trainer() {
    let resources = json!({ "limits": { "nvidia.com/gpu": 8 } });
    let runtime = with(
        there(&job("train")).objects[0].clone(),
        &format!("{PODS}/containers/0/resources"),
        resources.clone(),
    );
    let train_job = with(there(&job("train")).objects[1].clone(), "/spec/trainer/env", json!([]));
    for (of_job, of_runtime, expected) in [
        (Value::Null, Value::Null, Value::Null),
        (json!(8), Value::Null, json!("8")),
        (json!("gpu"), json!(2), json!("gpu")),
        (json!("auto"), json!(2), Value::Null),
        (Value::Null, json!(2), json!("2")),
        (Value::Null, json!("auto"), Value::Null),
    ] {
        let mut objects = [runtime.clone(), train_job.clone()];
        objects[0]["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = of_runtime.clone();
        objects[1]["spec"]["trainer"]["numProcPerNode"] = of_job.clone();
        let objects = objects.map(|object| without_nulls(&object));
        let back = back_of(&objects);
        let spec = &back.objects[0]["spec"];
        assert_eq!(spec["nprocPerNode"], expected, "{of_job} {of_runtime}");
        assert_eq!(fields(&back.losses), [""; 0], "{of_job} {of_runtime}");
    }
    for (of_job, expected) in [
        (json!({}), &resources),
        (
            json!({ "requests": { "cpu": 1 } }),
            &json!({ "requests": { "cpu": 1 } }),
        ),
    ] {
        let train_job = with(train_job.clone(), "/spec/trainer/resourcesPerNode", of_job);
        let back = back_of(&[runtime.clone(), train_job]);
        let template = &back.objects[0]["spec"]["pytorchReplicaSpecs"]["Master"]["template"];
        assert_eq!(&template["spec"]["containers"][0]["resources"], expected);
    }
    let none = with(train_job, "/spec/trainer/numNodes", json!(0));
    let faults = from_trainer::convert(none, "runtime", runtime).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "spec.trainer.numNodes: a PyTorchJob has at least one replica"
    );
}

#[test]
fn a_runtime_that_would_overwrite_that_of_another_job_is_refused() {
    let generated = |image: &str| {
        let mut job = job("train");
        job["metadata"] = json!({ "generateName": "train-" });
        set(
            &mut job,
            "/spec/pytorchReplicaSpecs/Master/template/spec/nodeSelector/gpu",
            json!(image),
        );
        job
    };
    let elsewhere = with(generated("b"), "/metadata/namespace", json!("team"));
    let nameless = with(generated("b"), "/metadata/name", json!(""));
    for (jobs, clash) in [
        ([generated("a"), generated("a")], false),
        ([generated("a"), elsewhere], false),
        ([generated("a"), generated("b")], true),
        ([generated("a"), nameless], true),
        ([generated("a"), job("train")], true),
    ] {
        let (report, items) = said(&jobs);
        let remark = "trainingruntime/train: jobs that differ would have it: give one of them another name or prefix";
        let expected = if clash { vec![remark] } else { vec![] };
        assert_eq!(
            (report.remarks, report.invalid),
            (expected.into_iter().map(Into::into).collect(), clash)
        );
        assert_eq!(items.len(), if clash { 0 } else { 4 });
    }
}

#[test]
fn patches_are_said_to_be_patches_under_their_older_name_too() {
    let objects = there(&job("train")).objects;
    for name in ["runtimePatches", "podTemplateOverrides"] {
        let patched = with(
            objects[1].clone(),
            &format!("/spec/{name}"),
            json!([{ "manager": "me" }]),
        );
        let losses = back_of(&[objects[0].clone(), patched]).losses;
        let why = "a PyTorchJob has no patches; make the changes in its template";
        assert_eq!(losses[0].to_string(), format!("lost: spec.{name}: {why}"));
    }
}
