//! Jobs, and steps that people, controllers and kubelets may take with them.

use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::differential::edit::Edit;
use crate::support::differential::simulation::{JOB, Simulation};
use crate::support::differential::walk::Step;
use crate::support::differential::{schema_walk, template_edits};
use crate::support::environment::Event;

/// What edits a walk may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taste {
    /// Any: the simulation takes every pod.
    Anything,
    /// What a real cluster takes at the same moment: pods that it creates, no time that has to pass, an operator that
    /// is always there.
    RealPods,
}

/// The policies that have two spellings, with values around their bounds.
fn policies() -> [(&'static str, Vec<Value>); 4] {
    let bounds = |some: &[i64]| -> Vec<Value> {
        let edges = [-1, 0, 2_147_483_647, 2_147_483_648];
        let numbers = some.iter().copied().chain(edges).map(|number| json!(number));
        numbers.chain([json!("1"), Value::Null, Value::Null]).collect()
    };
    [
        ("activeDeadlineSeconds", bounds(&[3600, 86_400, 600_000])),
        ("backoffLimit", bounds(&[1, 2, 3, 6, 100])),
        ("ttlSecondsAfterFinished", bounds(&[3600, 86_400, 600_000])),
        (
            "cleanPodPolicy",
            ["All", "Running", "None", "", "all"]
                .map(Value::from)
                .into_iter()
                .chain([json!(true), Value::Null])
                .collect(),
        ),
    ]
}

/// The jobs that walks begin with.
pub fn base(dice: &mut Dice, namespace: &str) -> Value {
    let elastic = |min, max| json!({ "rdzvBackend": "c10d", "minReplicas": min, "maxReplicas": max });
    let mut spec = match dice.below(9) {
        0 => json!({ "pytorchReplicaSpecs": { "Master": replica(1) } }),
        1 | 2 => json!({ "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) } }),
        3 => json!({ "pytorchReplicaSpecs": { "Worker": replica(3) } }),
        4 => json!({ "pytorchReplicaSpecs": { "Worker": replica(2) }, "elasticPolicy": elastic(1, 4) }),
        5 => json!({
            "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) }, "elasticPolicy": elastic(1, 3),
        }),
        6 => json!({ "pytorchReplicaSpecs": { "Worker": replica(2) }, "elasticPolicy": { "maxRestarts": 3 } }),
        7 => {
            let mut policy = elastic(1, 5);
            policy["metrics"] = json!([{
                "type": "Resource",
                "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
            }]);
            json!({ "pytorchReplicaSpecs": { "Worker": replica(2) }, "elasticPolicy": policy })
        }
        _ => json!({
            "pytorchReplicaSpecs": { "Master": replica(1), "Worker": replica(2) },
            "runPolicy": { "schedulingPolicy": { "queue": "q", "minAvailable": 3 } }, "nprocPerNode": "2",
        }),
    };
    for role in ["Master", "Worker"] {
        if !spec["pytorchReplicaSpecs"][role].is_null() && dice.one_in(2) {
            let policy = dice.pick(&["Always", "OnFailure", "Never", "ExitCode"]);
            spec["pytorchReplicaSpecs"][role]["restartPolicy"] = json!(policy);
        }
    }
    if dice.one_in(4) {
        spec["runPolicy"]["suspend"] = json!(true);
    }
    if dice.one_in(12) {
        spec["runPolicy"]["managedBy"] = json!("kueue.x-k8s.io/multikueue");
    }
    json!({
        "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": { "name": JOB, "namespace": namespace, "labels": { "team": "a" } }, "spec": spec,
    })
}

/// A replica with lists whose order can be changed. It needs no service account, whose volumes have names by chance.
fn replica(replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "template": { "metadata": { "labels": { "app": "a" } }, "spec": {
            "futureOne": "a",
            "automountServiceAccountToken": false,
            "initContainers": [{ "name": "first", "image": "i:1" }, { "name": "second", "image": "i:1" }],
            "containers": [
                { "name": "pytorch", "image": "t:1", "env": [
                    { "name": "A", "value": "1" }, { "name": "B", "value": "$(A)" },
                ] },
                { "name": "sidecar", "image": "s:1" },
            ],
        } },
    })
}

/// A step from the state of `sim`.
pub fn step(dice: &mut Dice, sim: &Simulation<'_>, taste: Taste) -> Step {
    match dice.below(20) {
        0 | 1 => Step::Run,
        2..=5 => {
            let names: Vec<_> = sim.pods().keys().cloned().collect();
            if names.is_empty() {
                return Step::Run;
            }
            Step::Pod(dice.pick(&names), event(dice))
        }
        6 if taste == Taste::Anything => Step::Wait(dice.pick(&[1, 60, 3600, 7200])),
        10 if taste == Taste::Anything => {
            let suspend = |suspend| Edit::Merge(json!({ "spec": { "runPolicy": { "suspend": suspend } } }));
            Step::Unseen(vec![suspend(true), edit(dice, sim, taste), suspend(false)])
        }
        7 | 8 => Step::Detour(edit(dice, sim, taste)),
        9 => {
            let first = edit(dice, sim, taste);
            Step::Edits(vec![first, edit(dice, sim, taste)])
        }
        _ => Step::Edits(vec![edit(dice, sim, taste)]),
    }
}

fn event(dice: &mut Dice) -> Event {
    match dice.below(12) {
        0 => Event::Succeed,
        1 => Event::Evict,
        2 => Event::Delete,
        3 => Event::Restart,
        4 => Event::Exit(dice.pick(&[1, 127])),
        5 => Event::Exit(dice.pick(&[128, 137, 143])),
        _ => Event::Run,
    }
}

/// An edit of the job as it stands in `sim`, valid or not.
pub fn edit(dice: &mut Dice, sim: &Simulation<'_>, taste: Taste) -> Edit {
    let job = sim.stored();
    match dice.below(10) {
        0 => whole_parent(dice, &job),
        1 | 2 if taste == Taste::Anything || job["spec"]["runPolicy"]["suspend"] == false => {
            schema_walk::edit(dice, sim.schema(), &job, taste)
        }
        3 | 4 => {
            let mut patch = known(dice, &job);
            overlay(&mut patch, known(dice, &job));
            if dice.one_in(2) {
                overlay(&mut patch, suspension(dice));
            }
            Edit::Merge(patch)
        }
        _ => Edit::Merge(known(dice, &job)),
    }
}

/// A merge patch of a field whose values mean something.
fn known(dice: &mut Dice, job: &Value) -> Value {
    match dice.below(16) {
        0..=2 => suspension(dice),
        3 | 4 => {
            let replicas = [1, 2, 3, 4, 5, 0, 10_001].map(Value::from);
            let replicas = dice.pick(&[&replicas[..], &[Value::Null, json!("2")]].concat());
            json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": replicas } } } })
        }
        5..=7 => policy(dice),
        8..=10 => template_edits::patch(dice, job),
        11 => metadata(dice),
        12 => elastic(dice),
        13 => {
            let processes = ["auto", "cpu", "gpu", "4", "9999", "0", "many", ""].map(Value::from);
            let processes = dice.pick(&[&processes[..], &[Value::Null, json!(4)]].concat());
            json!({ "spec": { "nprocPerNode": processes } })
        }
        14 => {
            let policies = ["Always", "OnFailure", "Never", "ExitCode", "", "Sometimes"].map(Value::from);
            let policy = dice.pick(&[&policies[..], &[Value::Null]].concat());
            json!({ "spec": { "pytorchReplicaSpecs": { template_edits::role(dice, job): { "restartPolicy": policy } } } })
        }
        _ => run_policy(dice),
    }
}

fn suspension(dice: &mut Dice) -> Value {
    let suspend = dice.pick(&[
        json!(true),
        json!(true),
        json!(false),
        json!(false),
        Value::Null,
        json!("yes"),
    ]);
    json!({ "spec": { "runPolicy": { "suspend": suspend } } })
}

/// A policy, in one spelling, in both, or moved from one to the other.
fn policy(dice: &mut Dice) -> Value {
    let (name, values) = dice.pick(&policies());
    let value = dice.pick(&values);
    match dice.below(5) {
        0 => json!({ "spec": { name: value } }),
        1 => json!({ "spec": { "runPolicy": { name: value } } }),
        2 => json!({ "spec": { name: value, "runPolicy": { name: null } } }),
        3 => json!({ "spec": { name: null, "runPolicy": { name: value } } }),
        _ => {
            let other = if dice.one_in(2) {
                value.clone()
            } else {
                dice.pick(&values)
            };
            json!({ "spec": { name: value, "runPolicy": { name: other } } })
        }
    }
}

fn metadata(dice: &mut Dice) -> Value {
    let field = dice.pick(&["labels", "annotations"]);
    let key = dice.pick(&[
        "team",
        "example.com/owner",
        "kueue.x-k8s.io/queue-name",
        "not a key",
        "",
    ]);
    let value = dice.pick(&[json!("a"), json!("b"), json!(""), Value::Null]);
    if dice.one_in(8) {
        return json!({ "metadata": { field: null } });
    }
    json!({ "metadata": { field: { key: value } } })
}

fn elastic(dice: &mut Dice) -> Value {
    let number = dice.pick(&[json!(1), json!(2), json!(4), json!(0), Value::Null]);
    let policy = match dice.below(6) {
        0 => Value::Null,
        1 => json!({ "minReplicas": number }),
        2 => json!({ "maxReplicas": number }),
        3 => json!({ "nProcPerNode": number }),
        4 => json!({ "rdzvConf": [{ "key": "timeout", "value": "60" }], "standalone": dice.one_in(2) }),
        _ => json!({ "metrics": [], "rdzvId": dice.pick(&["a", "b"]) }),
    };
    json!({ "spec": { "elasticPolicy": policy } })
}

fn run_policy(dice: &mut Dice) -> Value {
    let text = |dice: &mut Dice| dice.pick(&[json!("q"), json!("r"), Value::Null, json!(1)]);
    let number = dice.pick(&[json!(0), json!(1), json!(10_002), Value::Null]);
    let policy = match dice.below(7) {
        0 => {
            let managers = ["kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue", "me", ""].map(Value::from);
            json!({ "managedBy": dice.pick(&[&managers[..], &[Value::Null]].concat()) })
        }
        1 => json!({ "schedulingPolicy": null }),
        2 => json!({ "schedulingPolicy": { "queue": text(dice) } }),
        3 => json!({ "schedulingPolicy": { "priorityClass": text(dice) } }),
        4 => json!({ "schedulingPolicy": { "minResources": { "cpu": text(dice) } } }),
        5 => json!({ "schedulingPolicy": { "scheduleTimeoutSeconds": number } }),
        _ => json!({ "schedulingPolicy": { "minAvailable": number } }),
    };
    json!({ "spec": { "runPolicy": policy } })
}

/// A parent replaced or removed together with all that is in it.
fn whole_parent(dice: &mut Dice, job: &Value) -> Edit {
    let specs = &job["spec"]["pytorchReplicaSpecs"];
    let role = template_edits::role(dice, job);
    let suspend = dice.one_in(2);
    match dice.below(16) {
        0 => Edit::Merge(json!({ "spec": null })),
        1 => Edit::Merge(json!({ "spec": { "runPolicy": null } })),
        2 => Edit::put("/spec/runPolicy", &json!({})),
        3 => Edit::put("/spec/runPolicy", &json!({ "suspend": suspend })),
        4 => Edit::put("/spec/runPolicy", &Value::Null),
        5 => Edit::put("/spec", &json!({ "pytorchReplicaSpecs": specs })),
        6 => Edit::put(
            "/spec",
            &json!({ "pytorchReplicaSpecs": specs, "runPolicy": { "suspend": suspend } }),
        ),
        7 => Edit::remove("/spec/elasticPolicy"),
        8 => Edit::put("/spec/elasticPolicy", &json!({})),
        9 => Edit::remove(&format!("/spec/pytorchReplicaSpecs/{role}")),
        10 => Edit::put("/spec/pytorchReplicaSpecs/Worker", &replica(2)),
        11 => Edit::put("/spec/pytorchReplicaSpecs", &json!({ role: specs[role] })),
        12 => Edit::put("/spec/pytorchReplicaSpecs", &json!({ "worker": replica(1) })),
        13 => Edit::put("/spec/nprocPerNode", &Value::Null),
        14 => Edit::put("/spec/unknownToTheSchema", &json!({ "a": 1 })),
        _ => Edit::put("/spec/runPolicy/suspend", &Value::Null),
    }
}

/// Lays one merge patch over another, removals included.
pub fn overlay(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                overlay(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
