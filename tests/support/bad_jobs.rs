//! Jobs that cannot be run as they are written, and what is said of each: by the schema and its rules, by `validate`,
//! and by the operator where such a job is stored all the same.

use serde_json::{Value, json};

use crate::api::ReplicaType::{Master, Worker};
use crate::support::fixture::{JobBuilder, elastic_workers, master, master_and_workers, workers};

/// A job, and what is said about it.
pub struct Bad {
    pub job: JobBuilder,
    /// The field that the API server names.
    pub field: String,
    /// What it says: what is wrong or what is right.
    pub says: &'static str,
    /// What the operator and `validate` say.
    pub operator: Stored,
}

/// What becomes of the job if it is stored all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It fails; this is in the message.
    Fails(String),
    /// It runs; this is in a warning. Another operator may have accepted and started it.
    Runs(String),
    /// Another controller is to run it, so nothing is said.
    IsLeftAlone,
}
use Stored::IsLeftAlone;

fn bad(job: JobBuilder, field: &str, says: &'static str, operator: Stored) -> Bad {
    let field = field.to_owned();
    Bad {
        job,
        field,
        says,
        operator,
    }
}

fn fails(says: &str) -> Stored {
    Stored::Fails(says.to_owned())
}

fn runs(says: &str) -> Stored {
    Stored::Runs(says.to_owned())
}

/// All of them, each with a name of its own.
pub fn bad_jobs() -> Vec<Bad> {
    let rows = [
        values(),
        numbers(),
        spellings(),
        failure_rules(),
        progress(),
        windows(),
        replicas(),
        templates(),
        elastic(),
    ];
    let mut all: Vec<Bad> = rows.into_iter().flatten().collect();
    for (number, bad) in all.iter_mut().enumerate() {
        bad.job = bad.job.clone().named(&format!("bad-{number:02}"));
    }
    all.extend(names());
    all
}

/// A field of `spec` with a value that is bad by itself.
fn values() -> Vec<Bad> {
    const POLICIES: &str = "supported values: \"All\", \"Running\", \"None\"";
    const MANAGERS: &str = "supported values: \"kubeflow.org/training-operator\", \"kueue.x-k8s.io/multikueue\"";
    const PROCESSES: &str = "should match '^([1-9]";
    let nproc = || fails("spec.nprocPerNode: must be a number from 1 to 9999, auto, cpu, gpu or another kind");
    let rows = [
        (
            "activeDeadlineSeconds",
            json!("soon"),
            "must be of type integer",
            fails("spec.activeDeadlineSeconds"),
        ),
        (
            "ttlSecondsAfterFinished",
            json!(1.5),
            // "int32", or "integer" on older servers.
            "must be of type int",
            fails("spec.ttlSecondsAfterFinished"),
        ),
        (
            "ttlSecondsAfterFinished",
            json!(4_294_967_296_u64),
            "less than or equal to 2147483647",
            fails("spec.ttlSecondsAfterFinished"),
        ),
        (
            "activeDeadlineSeconds",
            json!(2_147_483_648_u64),
            "less than or equal to 2147483647",
            runs("spec.activeDeadlineSeconds: "),
        ),
        (
            "cleanPodPolicy",
            json!("Sometimes"),
            POLICIES,
            fails("spec.cleanPodPolicy: "),
        ),
        (
            "runPolicy.cleanPodPolicy",
            json!("all"),
            POLICIES,
            fails("spec.runPolicy.cleanPodPolicy: "),
        ),
        ("runPolicy.managedBy", json!("somebody"), MANAGERS, IsLeftAlone),
        (
            "runPolicy.suspend",
            json!("yes"),
            "must be of type boolean",
            fails("spec.runPolicy.suspend"),
        ),
        ("nprocPerNode", json!("as many as possible"), PROCESSES, nproc()),
        ("nprocPerNode", json!("two words"), PROCESSES, nproc()),
        ("nprocPerNode", json!("+4"), PROCESSES, nproc()),
        ("nprocPerNode", json!("007"), PROCESSES, nproc()),
        ("nprocPerNode", json!("0"), PROCESSES, nproc()),
        ("nprocPerNode", json!("10000"), PROCESSES, nproc()),
    ];
    rows.map(|(field, value, says, operator)| {
        let job = master().spec(&format!("/{}", field.replace('.', "/")), value);
        bad(job, &format!("spec.{field}"), says, operator)
    })
    .into()
}

/// Each policy that is a number, negative, in either spelling.
fn numbers() -> Vec<Bad> {
    let policies = ["activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    let spelt = policies.iter().flat_map(|policy| {
        [
            (format!("spec.{policy}"), master().flat(policy, -1)),
            (format!("spec.runPolicy.{policy}"), master().policy(policy, -1)),
        ]
    });
    spelt
        .map(|(field, job)| {
            let operator = fails(&format!("{field}: is -1 and must not be negative"));
            bad(job, &field, "greater than or equal to 0", operator)
        })
        .collect()
}

/// Each policy, with different values in its two places.
fn spellings() -> Vec<Bad> {
    let twice = |(policy, flat, nested): (&str, Value, Value)| {
        let field = format!("spec.{policy}");
        let operator = runs(&format!(
            "{field}: {policy} and runPolicy.{policy} are the same setting"
        ));
        let job = master().flat(policy, flat).policy(policy, nested);
        bad(job, &field, "remove one or set both to the same value", operator)
    };
    [
        ("activeDeadlineSeconds", json!(3600), json!(3601)),
        ("backoffLimit", json!(1), json!(2)),
        ("cleanPodPolicy", json!("All"), json!("None")),
        ("ttlSecondsAfterFinished", json!(3600), json!(0)),
    ]
    .map(twice)
    .into()
}

/// A rule about failures that has no condition, has two, or has a word that means nothing.
fn failure_rules() -> Vec<Bad> {
    let rules = "spec.runPolicy.failurePolicy.rules";
    let one = "each rule needs one of class, exitCodes and onPodConditions, and no other";
    let in_one = json!({ "operator": "In", "values": [1] });
    let in_some = json!({ "operator": "Some", "values": [1] });
    [
        (json!({ "action": "FailJob" }), rules.to_owned(), one, ": needs one of"),
        (
            json!({ "action": "FailJob", "class": "ImportError", "exitCodes": in_one }),
            rules.to_owned(),
            one,
            ": needs one of",
        ),
        (
            json!({ "action": "Count", "class": "ImportError" }),
            format!("{rules}[0].action"),
            r#"supported values: "FailJob", "Restart", "Ignore""#,
            ".action: is \"Count\" and must be",
        ),
        (
            json!({ "action": "Ignore", "class": "Gremlins" }),
            format!("{rules}[0].class"),
            r#""CudaOutOfMemory""#,
            ".class: is \"Gremlins\"",
        ),
        (
            json!({ "action": "Ignore", "exitCodes": in_some }),
            format!("{rules}[0].exitCodes.operator"),
            r#"supported values: "In", "NotIn""#,
            ".exitCodes.operator: is \"Some\" and must be",
        ),
        (
            json!({ "action": "Ignore", "onPodConditions": [{ "type": "Bad" }, { "type": "Late", "status": "true" }] }),
            format!("{rules}[0].onPodConditions[1].status"),
            r#"supported values: "True", "False", "Unknown""#,
            ".onPodConditions[1].status: is \"true\" and must be",
        ),
    ]
    .into_iter()
    .map(|(rule, field, says, operator)| {
        bad(
            master().policy("failurePolicy", json!({ "rules": [rule] })),
            &field,
            says,
            fails(&format!("{rules}[0]{operator}")),
        )
    })
    .collect()
}

/// Progress that cannot be looked after.
fn progress() -> Vec<Bad> {
    let policy = |field: &str, value: Value| {
        let mut policy = json!({ "file": "/ckpt", "deadlineSeconds": 600, "action": "Restart" });
        policy[field] = value;
        master().policy("progressPolicy", policy)
    };
    let field = |name: &str| format!("spec.runPolicy.progressPolicy.{name}");
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let probed = policy("action", json!("Warn")).container(Master, "/readinessProbe", probe);
    vec![
        bad(
            policy("action", json!("Dance")),
            &field("action"),
            r#"supported values: "Restart", "Fail", "Warn""#,
            fails(&format!("{}: is \"Dance\" and must be", field("action"))),
        ),
        bad(
            policy("file", json!("ckpt")),
            &field("file"),
            "should match '^/'",
            fails(&format!("{}: is \"ckpt\" and must be an absolute path", field("file"))),
        ),
        bad(
            policy("deadlineSeconds", json!(9)),
            &field("deadlineSeconds"),
            "greater than or equal to 10",
            runs(&format!("{}: must be between 10 and 86400", field("deadlineSeconds"))),
        ),
        bad(
            policy("startupSeconds", json!(0)),
            &field("startupSeconds"),
            "greater than or equal to 1",
            runs(&format!("{}: must be between 1 and 86400", field("startupSeconds"))),
        ),
        bad(
            probed,
            "spec.runPolicy.progressPolicy",
            "remove readinessProbe from the templates, or progressPolicy",
            fails("spec.pytorchReplicaSpecs[Master].template.spec.containers[0].readinessProbe: is needed by"),
        ),
    ]
}

/// A window for restarts that the kubelet would make by itself, and times that have no length.
fn windows() -> Vec<Bad> {
    let field = "spec.runPolicy.restartWindow";
    let window = |restarts: i32, seconds: i32| {
        let window = json!({ "restarts": restarts, "seconds": seconds });
        master().policy("restartWindow", window)
    };
    let whole = |job: JobBuilder| job.policy("restartScope", "Job");
    let stop = "spec.runPolicy.gracefulStopSeconds";
    let start = "spec.runPolicy.startupDeadlineSeconds";
    let strategy = "spec.runPolicy.restartStrategy";
    let action = "spec.runPolicy.startupDeadlineAction";
    let lost = "spec.runPolicy.unreachableSeconds";
    vec![
        bad(
            master().policy(
                "nodeExclusion",
                json!({ "afterFailures": 1, "windowSeconds": 60, "max": 65 }),
            ),
            "spec.runPolicy.nodeExclusion.max",
            "less than or equal to 64",
            runs("spec.runPolicy.nodeExclusion.max: must be between 1 and 64"),
        ),
        bad(
            master().policy("unreachableSeconds", 0),
            lost,
            "greater than or equal to 1",
            runs(&format!("{lost}: must be between 1 and 2147483647")),
        ),
        bad(
            master().policy("startupDeadlineSeconds", 0),
            start,
            "greater than or equal to 1",
            runs(&format!("{start}: must be between 1 and 2147483647")),
        ),
        bad(
            master().policy("startupDeadlineAction", "Wait"),
            action,
            r#"supported values: "Fail", "Restart", "Suspend""#,
            fails(&format!("{action}: is \"Wait\" and must be")),
        ),
        bad(
            master().policy("restartStrategy", "InPlace"),
            strategy,
            "restartStrategy InPlace needs restartScope Job",
            runs(&format!("{strategy}: InPlace needs")),
        ),
        bad(
            whole(master().policy("restartStrategy", "Inplace")),
            strategy,
            r#"supported values: "Recreate", "InPlace""#,
            fails(&format!("{strategy}: is \"Inplace\" and must be")),
        ),
        bad(
            master().policy("gracefulStopSeconds", 0),
            stop,
            "greater than or equal to 1",
            runs(&format!("{stop}: must be between 1 and 86400")),
        ),
        bad(
            window(3, 60),
            field,
            "restartWindow needs restartScope Job",
            runs(&format!("{field}: needs")),
        ),
        bad(
            whole(window(3, 0)),
            &format!("{field}.seconds"),
            "greater than or equal to 1",
            runs(&format!("{field}.seconds: must be")),
        ),
        bad(
            whole(window(-1, 60)),
            &format!("{field}.restarts"),
            "greater than or equal to 0",
            runs(&format!("{field}.restarts: must be")),
        ),
    ]
}

fn replicas() -> Vec<Bad> {
    let specs = "spec.pytorchReplicaSpecs";
    let roles = "use Master or Worker";
    let of = |role: &str, field: &str| format!("{specs}.{role}.{field}");
    let role = |name: &str| {
        let replica = master().json()["spec"]["pytorchReplicaSpecs"]["Master"].take();
        master().spec(&format!("/pytorchReplicaSpecs/{name}"), replica)
    };
    let bounds = || fails("spec.pytorchReplicaSpecs[Worker].replicas: must be between 1 and 10000");
    let least = "greater than or equal to 1";
    let text = master_and_workers(1).spec("/pytorchReplicaSpecs/Worker/replicas", json!("two"));
    vec![
        bad(
            master().replicas(Master, 2),
            specs,
            "Master.replicas must be 1: put additional pods in Worker.replicas",
            fails("spec.pytorchReplicaSpecs[Master].replicas: must be 1: put additional pods in Worker.replicas"),
        ),
        bad(
            master().replicas(Master, 0),
            &of("Master", "replicas"),
            least,
            fails("spec.pytorchReplicaSpecs[Master].replicas: "),
        ),
        bad(master_and_workers(0), &of("Worker", "replicas"), least, bounds()),
        bad(workers(0), &of("Worker", "replicas"), least, bounds()),
        bad(
            workers(1).replicas(Worker, -1),
            &of("Worker", "replicas"),
            least,
            bounds(),
        ),
        bad(
            workers(10_001),
            &of("Worker", "replicas"),
            "less than or equal to 10000",
            bounds(),
        ),
        bad(
            text,
            &of("Worker", "replicas"),
            "must be of type integer",
            fails(&of("Worker", "replicas")),
        ),
        bad(
            master().restart(Master, "Perhaps"),
            &of("Master", "restartPolicy"),
            "supported values: \"Always\", \"OnFailure\", \"Never\", \"ExitCode\"",
            fails("spec.pytorchReplicaSpecs.Master.restartPolicy"),
        ),
        bad(role("Chief"), specs, roles, fails(&format!("{specs}[Chief]: "))),
        bad(role("master"), specs, roles, fails(&format!("{specs}[master]: "))),
        bad(
            master().spec("/pytorchReplicaSpecs", json!({})),
            specs,
            "should have at least 1 properties",
            fails(&format!("{specs}: must have at least one of Master and Worker")),
        ),
        bad(master().without_spec(), "spec", "Required value", fails("spec")),
        bad(
            master().field("/spec", Value::Null),
            "spec",
            "Required value",
            fails("spec"),
        ),
    ]
}

fn templates() -> Vec<Bad> {
    let template = "spec.pytorchReplicaSpecs.Master.template";
    let containers = "spec.pytorchReplicaSpecs[Master].template.spec.containers";
    let named = "needs a container named pytorch: it gets the rendezvous port and its exit code decides";
    let image = format!("{template}.spec.containers[0].image");
    let unnamed = || fails(&format!("{containers}: needs a container named pytorch"));
    let without_image = || fails(&format!("{containers}[0].image: is required"));
    let nameless = json!([{ "name": "pytorch" }]);
    vec![
        bad(
            master().template(Master, "/spec/containers", json!([])),
            containers,
            named,
            unnamed(),
        ),
        bad(
            master().container(Master, "/name", json!("main")),
            containers,
            named,
            unnamed(),
        ),
        bad(
            master().template(Master, "/spec/containers", nameless),
            &image,
            "Required value",
            without_image(),
        ),
        bad(
            master().container(Master, "/image", json!("")),
            &image,
            "should be at least 1 chars long",
            without_image(),
        ),
        bad(
            master().template(Master, "/spec/containers", json!("pytorch")),
            &format!("{template}.spec.containers"),
            "must be of type array",
            fails("spec.pytorchReplicaSpecs[Master].template: is not a pod template"),
        ),
        bad(
            master().container(Master, "/env", json!("A=1")),
            &format!("{template}.spec.containers[0].env"),
            "must be of type array",
            fails("spec.pytorchReplicaSpecs[Master].template: is not a pod template"),
        ),
        bad(
            master().template(Master, "", json!({})),
            &format!("{template}.spec"),
            "Required value",
            fails("spec.pytorchReplicaSpecs[Master].template.spec: is required"),
        ),
        bad(
            master().template(Master, "/spec", json!({})),
            &format!("{template}.spec.containers"),
            "Required value",
            fails(containers),
        ),
        bad(
            master().spec("/pytorchReplicaSpecs", json!({ "Master": { "replicas": 1 } })),
            template,
            "Required value",
            fails("template"),
        ),
    ]
}

fn elastic() -> Vec<Bad> {
    let with = |job: JobBuilder, field: &str, value: i32| job.spec(&format!("/elasticPolicy/{field}"), json!(value));
    vec![
        bad(
            master().spec("/elasticPolicy", json!({ "minReplicas": 1 })),
            "spec.pytorchReplicaSpecs[Worker]",
            "Required value: elasticPolicy requires pytorchReplicaSpecs.Worker",
            fails("spec.pytorchReplicaSpecs[Worker]: is required by elasticPolicy"),
        ),
        bad(
            elastic_workers(1, 2, 1),
            "spec.elasticPolicy.minReplicas",
            "minReplicas must not exceed elasticPolicy.maxReplicas",
            runs("spec.elasticPolicy.minReplicas: must not exceed"),
        ),
        bad(
            elastic_workers(5, 1, 3),
            "spec.pytorchReplicaSpecs[Worker].replicas",
            "must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas",
            runs("spec.pytorchReplicaSpecs[Worker].replicas: must lie between"),
        ),
        bad(
            with(elastic_workers(2, 1, 3), "nProcPerNode", 2).spec("/nprocPerNode", json!("2")),
            "spec.elasticPolicy",
            "keep nprocPerNode, the other is deprecated",
            runs("spec.elasticPolicy.nProcPerNode: must not be used together with nprocPerNode"),
        ),
        bad(
            with(elastic_workers(1, 1, 1), "minReplicas", 0),
            "spec.elasticPolicy.minReplicas",
            "greater than or equal to 1",
            runs("spec.elasticPolicy.minReplicas"),
        ),
        bad(
            with(workers(1), "rdzvPort", 70_000),
            "spec.elasticPolicy.rdzvPort",
            "less than or equal to 65535",
            runs("spec.elasticPolicy.rdzvPort"),
        ),
    ]
}

fn names() -> Vec<Bad> {
    let shape = "metadata.name must start with a letter, consist of lower-case letters, digits and '-'";
    let name = |name: &str, says, operator| {
        bad(
            master_and_workers(1).named(name),
            "metadata.name",
            says,
            fails(operator),
        )
    };
    vec![
        name(
            "a-name-that-is-so-long-that-with-role-and-index-it-is-no-name",
            "metadata.name is too long: with role and index, as in NAME-worker-0, it must fit in 63 characters",
            "metadata.name: is too long",
        ),
        name("0-digit", shape, "metadata.name: must start with a letter"),
        name("with.dot", shape, "metadata.name: must start with a letter"),
    ]
}
