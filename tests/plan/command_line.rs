//! The command line, as far as it needs no cluster.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pytorchjob_test_cluster::repository;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_pytorchjob-operator");

fn run(arguments: &[&str]) -> Output {
    // Whatever goes on to look for a cluster finds none.
    Command::new(BINARY)
        .args(arguments)
        .env("KUBECONFIG", "/dev/null")
        .env("RUST_LOG", "")
        .output()
        .unwrap()
}

fn log(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments).stderr).unwrap()
}

/// Every flag of training-operator 1.9, and the flags of its libraries.
const KUBEFLOW: [&str; 21] = [
    "--metrics-bind-address=:0",
    "--health-probe-bind-address=:0",
    "--leader-elect=F",
    "--leader-election-id=1ca428e5.training-operator.kubeflow.org",
    "--enable-scheme=PyTorchJob",
    "--enable-scheme=tfjob",
    "--namespace=ml",
    "--controller-threads=4",
    "--kube-api-qps=20",
    "--kube-api-burst=30",
    "--pytorch-init-container-image=alpine:3.10",
    "--pytorch-init-container-max-tries=100",
    "--pytorch-init-container-template-file=/etc/config/initContainer.yaml",
    "--mpi-kubectl-delivery-image=mpioperator/kubectl-delivery:latest",
    "--webhook-server-port=9443",
    "--webhook-service-name=training-operator",
    "--webhook-secret-name=training-operator-webhook-cert",
    "--zap-devel=true",
    "--zap-encoder=json",
    "--zap-stacktrace-level=panic",
    "--zap-time-encoding=rfc3339nano",
];

/// What the operator says when it has accepted its flags.
const NO_CLUSTER: &str = "kubeconfig";

#[test]
fn the_command_line_of_kubeflows_operator_is_accepted_with_one_dash_or_two() {
    let one_dash = KUBEFLOW.map(|flag| &flag[1..]);
    for flags in [KUBEFLOW, one_dash] {
        let log = log(&flags);
        assert!(log.contains(NO_CLUSTER), "{log}");
    }
}

#[test]
fn a_flag_that_does_nothing_is_named_with_the_reason() {
    let log = log(&KUBEFLOW);
    for warning in [
        "--enable-scheme TFJob has no effect: only PyTorchJob is run here",
        "--mpi-kubectl-delivery-image has no effect: MPIJob is not run here",
        "--webhook-server-port has no effect: there is no webhook: the rules are in the definition",
        "--webhook-service-name has no effect",
        "--webhook-secret-name has no effect",
        "--zap-stacktrace-level has no effect: errors are logged with their cause and without a stack",
        "--zap-time-encoding has no effect: times are RFC 3339",
    ] {
        let line = log.lines().find(|line| line.contains(warning));
        assert!(line.is_some_and(|line| line.contains("WARN")), "{warning} in {log}");
    }
}

#[test]
fn a_burst_without_a_rate_is_accepted_and_limits_nothing() {
    let log = log(&["--kube-api-burst=30"]);
    assert!(
        log.contains("--kube-api-burst has no effect without --kube-api-qps"),
        "{log}"
    );
    assert!(log.contains(NO_CLUSTER), "{log}");
}

#[test]
fn without_pytorchjob_among_the_schemes_the_program_ends() {
    let output = run(&["--enable-scheme=TFJob", "--enable-scheme=MPIJob"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(log.contains("--enable-scheme does not name PyTorchJob"), "{log}");
    assert!(!log.contains(NO_CLUSTER), "{log}");
}

#[test]
fn an_unknown_scheme_is_refused_with_those_that_there_are() {
    let log = log(&["--enable-scheme=RayJob"]);
    for kind in [
        "RayJob",
        "TFJob",
        "PyTorchJob",
        "XGBoostJob",
        "MPIJob",
        "PaddleJob",
        "JAXJob",
    ] {
        assert!(log.contains(kind), "{kind} in {log}");
    }
}

#[test]
fn flags_of_zap_set_the_format_and_the_level_and_our_own_come_first() {
    let text = |flags: &[&str]| !log(flags).starts_with('{');
    assert!(!text(&["--kube-api-burst=1"]));
    assert!(text(&["--kube-api-burst=1", "--zap-devel"]));
    assert!(text(&["--kube-api-burst=1", "--zap-encoder=console"]));
    assert!(!text(&["--kube-api-burst=1", "--zap-devel", "--zap-encoder=json"]));
    assert!(!text(&[
        "--kube-api-burst=1",
        "--zap-encoder=console",
        "--log-format=json"
    ]));
    let warns = |level: &str| log(&["--kube-api-burst=1", &format!("--zap-log-level={level}")]).contains("WARN");
    assert!(["info", "debug", "1", "5"].into_iter().all(warns));
    assert!(!["error", "panic"].into_iter().any(warns));
    assert!(log(&["--zap-log-level=loud"]).contains("must be debug, info, error, panic or a number above 0"));
}

/// The init containers of the worker of `examples/simple.yaml` under a template.
fn planned(template: &str, flags: &[&str]) -> Result<Value, String> {
    let path = written(template);
    let file = repository().join("examples/simple.yaml");
    let template = format!("--pytorch-init-container-template-file={}", path.display());
    let output = run(&[&["plan", "-f", file.to_str().unwrap(), &template], flags].concat());
    fs::remove_file(path).unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let worker = objects
        .iter()
        .find(|object| object["kind"] == "Pod" && object["metadata"]["name"] == "simple-worker-0");
    Ok(worker.unwrap()["spec"]["initContainers"].clone())
}

fn written(template: &str) -> PathBuf {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("init-container-{}-{number}.yaml", std::process::id()));
    fs::write(&path, template).unwrap();
    path
}

#[test]
fn a_template_of_the_init_container_is_rendered_for_each_worker() {
    let template = "
- name: wait
  image: {{.InitContainerImage}}
  command: [wait-for, {{.MasterAddr}}, \"{{ .MaxTries }}\"]
- name: note
  image: registry.example/note:1
  env:
    - name: MASTER
      value: tcp://{{.MasterAddr}}:23456";
    let flags = [
        "--pytorch-init-container-image=registry.example/wait:1",
        "--pytorch-init-container-max-tries=7",
    ];
    let containers = planned(template, &flags).unwrap();
    assert_eq!(
        containers,
        serde_json::json!([
            {
                "name": "wait",
                "image": "registry.example/wait:1",
                "command": ["wait-for", "simple-master-0", "7"],
            },
            {
                "name": "note",
                "image": "registry.example/note:1",
                "env": [{ "name": "MASTER", "value": "tcp://simple-master-0:23456" }],
            },
        ])
    );
    assert_eq!(
        planned(template, &["--pytorch-init-container-image="]).unwrap(),
        Value::Null
    );
}

#[test]
fn a_template_that_no_pod_could_have_ends_the_program_with_its_path_and_the_reason() {
    for (template, reason) in [
        (
            "- name: {{if .MasterAddr}}a{{end}}",
            "{{if .MasterAddr}} is not supported",
        ),
        ("- name: {{.MasterAddr", "`{{` without `}}`"),
        ("name: wait", "is not a YAML list of containers"),
        ("- image: alpine", "container 1 has no name"),
    ] {
        let error = planned(template, &[]).unwrap_err();
        assert!(
            error.starts_with("--pytorch-init-container-template-file: /"),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
    }
    let missing = log(&["--pytorch-init-container-template-file=/nowhere.yaml"]);
    assert!(missing.contains("/nowhere.yaml: cannot be read"), "{missing}");
}

#[test]
fn plan_prints_the_pod_group_before_its_pods_and_the_flag_takes_kubeflows_values() {
    let file = repository().join("examples/simple.yaml");
    for (flag, group) in [
        ("", None),
        ("none", None),
        ("Volcano", Some("scheduling.volcano.sh/v1beta1")),
        ("scheduler-plugins-scheduler", Some("scheduling.x-k8s.io/v1alpha1")),
        ("kubernetes", Some("scheduling.k8s.io/v1beta1")),
    ] {
        let flag = format!("--gang-scheduler-name={flag}");
        let output = run(&["plan", "-f", file.to_str().unwrap(), &flag]).stdout;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output).unwrap()).unwrap();
        let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        let pods = ["Pod", "Pod", "Service", "Service"];
        let expected = group.map(|_| "PodGroup").into_iter().chain(pods);
        assert_eq!(kinds, expected.collect::<Vec<_>>(), "{flag}");
        assert!(group.is_none_or(|group| objects[0]["apiVersion"] == group), "{flag}");
    }
}

#[test]
fn every_job_of_a_file_is_validated_however_many_there_are() {
    let job = |index: u32, image| manifest(&format!("job-{index}"), image);
    let jobs = (1..5_000).map(|index| job(index, "i")).chain([job(5_000, "")]);
    let documents: Vec<String> = jobs.map(|job| job.to_string()).collect();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("many.yaml");
    fs::write(&file, documents.join("\n---\n")).unwrap();
    let output = run(&["validate", "-f", file.to_str().unwrap()]);
    let faults = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(faults.starts_with("pytorchjob/job-5000: "), "{faults}");
    assert_eq!(faults.trim().lines().count(), 1, "{faults}");
}

/// A manifest with a Master of this image.
fn manifest(name: &str, image: &str) -> Value {
    let template = json!({ "spec": { "containers": [{ "name": "pytorch", "image": image }] } });
    let spec = json!({ "pytorchReplicaSpecs": { "Master": { "template": template } } });
    json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": name }, "spec": spec })
}

/// A directory with these files, of this test alone.
fn directory(test: &str, files: &[(&str, String)]) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _absent = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    directory
}

/// Standard output, standard error and exit code.
fn said(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = run(arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn files_and_directories_are_read_as_kubectl_reads_them_and_each_job_is_named_with_its_file() {
    let files = directory(
        "files",
        &[
            ("b.yaml", manifest("b", "i").to_string()),
            ("a.json", manifest("a", "i").to_string()),
            ("c.yml", manifest("c", "").to_string()),
            ("notes.txt", "[".into()),
        ],
    );
    let path = |name: &str| files.join(name).display().to_string();
    let directory = files.display().to_string();
    let (output, faults, code) = said(&["validate", &directory]);
    let expected = format!(
        "{}: pytorchjob/a is valid\n{}: pytorchjob/b is valid\n",
        path("a.json"),
        path("b.yaml")
    );
    assert_eq!(output, expected);
    assert!(
        faults.starts_with(&format!("{}: pytorchjob/c: spec.", path("c.yml"))),
        "{faults}"
    );
    assert_eq!(code, Some(1));

    let (output, faults, code) = said(&[
        "validate",
        "-f",
        &path("b.yaml"),
        "-f",
        &path("a.json"),
        &path("b.yaml"),
    ]);
    assert_eq!((output.lines().count(), faults.as_str(), code), (3, "", Some(0)));
    assert!(output.starts_with(&format!("{}: ", path("b.yaml"))), "{output}");
}

#[test]
fn items_of_lists_are_jobs_and_what_is_no_job_is_named_by_its_place_and_passed_over() {
    let nameless = {
        let mut job = manifest("x", "");
        job["metadata"] = json!({ "generateName": "train-", "namespace": "team" });
        job
    };
    let list = json!({ "kind": "List", "apiVersion": "v1", "items": [
        { "kind": "ConfigMap", "apiVersion": "v1" }, manifest("listed", "i"), nameless,
    ] });
    let text = format!("---\n# nothing\n---\nkind: Service\n---\n{list}\n---\n- 1\n");
    let file = directory("lists", &[("jobs.yaml", text)]).join("jobs.yaml");
    let (output, remarks, code) = said(&["validate", file.to_str().unwrap()]);
    assert_eq!(output, "pytorchjob/listed is valid\n");
    let remarks: Vec<&str> = remarks.lines().collect();
    assert_eq!(
        remarks[..3],
        [
            "document 1 is passed over: Service",
            "document 2, item 1 is passed over: ConfigMap",
            "document 3 is passed over: no Kubernetes object",
        ]
    );
    assert!(
        remarks[3].starts_with("pytorchjob/train-xxxxx -n team: spec."),
        "{remarks:?}"
    );
    assert!(remarks[3].ends_with(" (line 6)"), "{remarks:?}");
    assert_eq!((remarks.len(), code), (4, Some(1)));
}

#[test]
fn a_fault_has_the_line_that_the_user_has_to_change() {
    let text = "\
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: { name: train }
spec:
  runPolicy:
    backoffLimit: -1
  pytorchReplicaSpecs:
    Master:
      template:
        spec:
          nodeselector: {}
          containers:
          - name: other
            image: training
";
    let file = directory("lines", &[("job.yaml", text.to_owned())]).join("job.yaml");
    let (_, faults, code) = said(&["validate", file.to_str().unwrap()]);
    for (field, line) in [
        ("backoffLimit", 6),
        ("nodeselector", 11),
        ("template.spec.containers", 12),
    ] {
        let end = format!(" (line {line})");
        let found = faults
            .lines()
            .any(|fault| fault.contains(field) && fault.ends_with(&end));
        assert!(found, "{field}: {faults}");
    }
    assert_eq!(code, Some(1));
    let (verdicts, _, _) = said(&["validate", "-o", "json", file.to_str().unwrap()]);
    let verdicts: Value = serde_json::from_str(&verdicts).unwrap();
    let faults = verdicts[0]["faults"].as_array().unwrap();
    let lines: Vec<_> = faults.iter().map(|fault| fault["line"].as_u64()).collect();
    assert!(lines.is_sorted() && lines[0].is_some(), "{lines:?}");
}

#[test]
fn a_value_of_another_type_in_a_template_is_one_fault_at_its_own_field() {
    let mut job = manifest("typed", "i");
    let containers = &mut job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"];
    containers[0]["env"] = json!([{ "name": "a", "value": 1 }]);
    let file = directory("typed", &[("job.json", job.to_string())]).join("job.json");
    let (_, faults, code) = said(&["validate", file.to_str().unwrap()]);
    assert!(
        faults.contains("containers[0].env[0].value: must be a string"),
        "{faults}"
    );
    assert_eq!((faults.lines().count(), code), (1, Some(1)), "{faults}");
}

#[test]
fn what_cannot_be_read_is_another_exit_code_than_what_is_invalid() {
    let files = directory(
        "unreadable",
        &[("broken.yaml", "a: [".into()), ("service.yaml", "kind: Service".into())],
    );
    let path = |name: &str| files.join(name).display().to_string();
    for (arguments, says) in [
        (
            ["validate".to_owned(), path("missing.yaml")],
            "missing.yaml: No such file",
        ),
        (
            ["plan".to_owned(), path("broken.yaml")],
            "broken.yaml: it is not YAML: ",
        ),
        (
            ["validate".to_owned(), path("service.yaml")],
            "no PyTorchJob of kubeflow.org/v1 in ",
        ),
    ] {
        let (output, error, code) = said(&[&arguments[0], &arguments[1]]);
        assert!(error.contains(says), "{says} in {error}");
        assert_eq!((output.as_str(), code), ("", Some(2)), "{arguments:?}");
    }
    assert_eq!(said(&["validate"]).2, Some(2), "no file at all");
}

#[test]
fn faults_of_a_job_that_an_operator_has_started_are_warnings() {
    let with_status = |name: &str, status: Value| {
        let mut job = manifest(name, "");
        job["status"] = status;
        job.to_string()
    };
    let condition = json!([{ "type": "Succeeded", "status": "True" }]);
    let started = with_status("started", json!({ "startTime": "2026-01-01T00:00:00Z" }));
    let finished = with_status("finished", json!({ "conditions": condition }));
    let file = directory("stored", &[("jobs.yaml", format!("{started}\n---\n{finished}"))]).join("jobs.yaml");
    let (output, warnings, code) = said(&["validate", file.to_str().unwrap()]);
    let lines: Vec<&str> = warnings.lines().collect();
    assert!(
        lines[0].starts_with("pytorchjob/started: warning: it has started and goes on: spec."),
        "{warnings}"
    );
    let left = "pytorchjob/finished: warning: it has finished and is left alone: spec.";
    assert!(lines.iter().any(|line| line.starts_with(left)), "{warnings}");
    assert_eq!((output.as_str(), code), ("", Some(0)));
}

#[test]
fn plan_says_why_nothing_is_created() {
    let with = |name: &str, policy: Value| {
        let mut job = manifest(name, "i");
        job["spec"]["runPolicy"] = policy;
        job.to_string()
    };
    let jobs = [
        with("asleep", json!({ "suspend": true })),
        with("elsewhere", json!({ "managedBy": "kueue.x-k8s.io/multikueue" })),
        with("runs", json!({})),
    ];
    let file = directory("nothing", &[("jobs.yaml", jobs.join("\n---\n"))]).join("jobs.yaml");
    let (output, remarks, code) = said(&["plan", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(
        remarks,
        "pytorchjob/asleep: nothing is created: it is suspended\n\
         pytorchjob/elsewhere: nothing is created: it is managed by kueue.x-k8s.io/multikueue\n"
    );
    let list: Value = serde_json::from_str(&output).unwrap();
    let names: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(names, ["runs-master-0", "runs-master-0"]);
    assert_eq!((&list["kind"], code), (&json!("List"), Some(0)));
}

#[test]
fn validate_prints_what_it_found_for_programs() {
    let jobs = format!("{}\n---\n{}", manifest("good", "i"), manifest("bad", ""));
    let file = directory("formats", &[("jobs.yaml", jobs)]).join("jobs.yaml");
    let (json, remarks, code) = said(&["validate", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!((remarks.as_str(), code), ("", Some(1)));
    let verdicts: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(verdicts[0], json!({ "job": "pytorchjob/good", "faults": [] }));
    let field = "spec.pytorchReplicaSpecs[Master].template.spec.containers[0].image";
    assert_eq!(verdicts[1]["faults"][0]["field"], field, "{verdicts}");
    let (yaml, ..) = said(&["validate", file.to_str().unwrap(), "-o", "yaml"]);
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), verdicts);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let mut crd = Command::new(BINARY)
        .arg("crd")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(crd.stdout.take());
    let output = crd.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");

    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(BINARY).arg("crd").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("cannot write the output: "), "{error}");
}

/// What `convert` says of these documents.
fn converted(test: &str, documents: &[Value], arguments: &[&str]) -> (String, String, Option<i32>) {
    let documents: Vec<String> = documents.iter().map(Value::to_string).collect();
    let file = directory(test, &[("jobs.yaml", documents.join("\n---\n"))]).join("jobs.yaml");
    said(&[&["convert", "-f", file.to_str().unwrap()], arguments].concat())
}

#[test]
fn convert_writes_the_runtime_before_the_job_and_says_what_is_lost_and_why() {
    let mut job = manifest("train", "i");
    job["spec"]["runPolicy"] = json!({ "cleanPodPolicy": "All", "backoffLimit": 3, "suspend": true });
    let service = json!({ "kind": "Service" });
    let (output, remarks, code) = converted("there", &[service, job], &["-o", "json"]);
    assert_eq!(
        remarks,
        "document 1 is passed over: Service\n\
         pytorchjob/train: lost: spec.runPolicy.cleanPodPolicy: a Job keeps its finished pods; delete the TrainJob for \
         its pods to go\n"
    );
    let list: Value = serde_json::from_str(&output).unwrap();
    let kinds = [0, 1].map(|index| list["items"][index]["kind"].as_str().unwrap());
    assert_eq!((kinds, code), (["TrainingRuntime", "TrainJob"], Some(0)));
    let spec = &list["items"][1]["spec"];
    assert_eq!(spec["runtimeRef"]["kind"], "TrainingRuntime");
    assert_eq!(
        (&spec["suspend"], &spec["trainer"]["image"]),
        (&json!(true), &json!("i"))
    );
    let node = &list["items"][0]["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"];
    assert_eq!(node["backoffLimit"], 3);
    assert_eq!(node["template"]["spec"]["containers"][0]["name"], "node");

    let (back, remarks, code) = converted("back", &[list], &[]);
    assert_eq!((remarks.as_str(), code), ("", Some(0)));
    let back: Value = serde_saphyr::from_str(&back).unwrap();
    assert_eq!(back["spec"]["runPolicy"], json!({ "backoffLimit": 3, "suspend": true }));
}

#[test]
fn convert_reads_what_trainer_ships_and_asks_for_a_runtime_that_is_missing() {
    let runtime = json!({
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": { "name": "torch-distributed", "labels": { "trainer.kubeflow.org/framework": "torch" } },
        "spec": { "mlPolicy": { "numNodes": 1, "torch": {} }, "template": { "spec": { "replicatedJobs": [
            { "name": "dataset-initializer", "template": {} },
            { "name": "node", "replicas": 1, "template": {
                "metadata": { "labels": { "trainer.kubeflow.org/trainjob-ancestor-step": "trainer" } },
                "spec": { "template": { "spec": { "containers": [{ "name": "node", "image": "pytorch/pytorch" }] } } },
            } },
        ] } } },
    });
    let job = json!({
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": { "name": "train" },
        "spec": {
            "runtimeRef": { "name": "torch-distributed" },
            "trainer": { "numNodes": 4, "numProcPerNode": 8, "env": [{ "name": "A", "value": "1" }] },
            "initializer": { "dataset": { "storageUri": "hf://data" } },
        },
    });
    let (output, remarks, code) = converted("shipped", &[runtime, job.clone()], &[]);
    let runtime = "trainjob/train: lost: clustertrainingruntime/torch-distributed: spec.template.spec.replicatedJobs";
    let lines: Vec<&str> = remarks.lines().collect();
    assert_eq!((lines.len(), code), (3, Some(0)), "{remarks}");
    assert!(lines[0].starts_with(&format!("{runtime}[0]: ")), "{remarks}");
    assert!(
        lines[1].starts_with(&format!("{runtime}[1].template.spec.successPolicy: ")),
        "{remarks}"
    );
    assert!(
        lines[2].starts_with("trainjob/train: lost: spec.initializer.dataset.storageUri: "),
        "{remarks}"
    );
    let converted_job: Value = serde_saphyr::from_str(&output).unwrap();
    let spec = &converted_job["spec"];
    let replicas = ["Master", "Worker"].map(|role| spec["pytorchReplicaSpecs"][role]["replicas"].as_u64().unwrap());
    assert_eq!((replicas, &spec["nprocPerNode"]), ([1, 3], &json!("8")));
    assert_eq!(spec["runPolicy"]["backoffLimit"], 6, "the default of a Job");
    let container = &spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0];
    let env = json!([{ "name": "A", "value": "1" }]);
    assert_eq!((&container["name"], &container["env"]), (&json!("pytorch"), &env));

    let (output, fault, code) = converted("alone", &[job], &[]);
    assert_eq!(
        fault,
        "trainjob/train: spec.runtimeRef: there is no ClusterTrainingRuntime torch-distributed in these files: add what \
         `kubectl get clustertrainingruntime torch-distributed -o yaml` prints\n"
    );
    assert_eq!((output.as_str(), code), ("", Some(1)));
}

#[test]
fn convert_prints_nothing_for_an_invalid_job_and_has_another_exit_code_for_what_it_cannot_read() {
    let (output, faults, code) = converted("invalid", &[manifest("bad", ""), manifest("good", "i")], &[]);
    assert!(faults.starts_with("pytorchjob/bad: spec."), "{faults}");
    assert_eq!((output.as_str(), code), ("", Some(1)));
    let mut clash = manifest("clash", "i");
    let containers = &mut clash["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"];
    containers
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "node", "image": "i" }));
    let (_, faults, code) = converted("clash", &[clash], &[]);
    assert!(faults.contains("containers[1].name: node will be the name"), "{faults}");
    assert_eq!(code, Some(1));
    let (_, error, code) = converted("none", &[json!({ "kind": "Service" })], &[]);
    assert!(
        error.starts_with("no PyTorchJob of kubeflow.org/v1 and no TrainJob of "),
        "{error}"
    );
    assert_eq!(code, Some(2));
}

#[test]
fn the_plugin_exits_with_0_for_every_answer_1_for_none_and_2_for_a_command_line_that_is_wrong() {
    let path = |name: &str| repository().join(name).display().to_string();
    let (failed, no_record) = (
        path("tests/recorded/never-master-failed-and-stored.json"),
        path("Cargo.toml"),
    );
    for (arguments, code) in [
        (&["replay", &failed][..], 0),
        (&["timeline", "--filename", &failed], 0),
        (&["--help"], 0),
        (&["replay", "/nowhere.json"], 1),
        (&["replay", &no_record], 1),
        (&["timeline", "--filename", &failed, "--html", "/nowhere/page.html"], 1),
        (&["--kubeconfig", "/nowhere", "why", "train"], 1),
        (&["why"], 2),
        (&["why", "pod/train"], 2),
        (&["get", "--output", "toml"], 2),
        (&["describe"], 2),
    ] {
        let mut plugin = Command::new(BINARY);
        let output = plugin.arg0("kubectl-pytorchjob").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}: {output:?}");
    }
}

#[test]
fn what_cannot_even_be_said_ends_with_the_same_exit_code() {
    for (name, arguments, code) in [
        ("pytorchjob-operator", ["validate", "/nowhere.yaml"], 2),
        ("kubectl-pytorchjob", ["replay", "/nowhere.json"], 1),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(BINARY);
        let status = command.arg0(name).args(arguments).stderr(full).status();
        assert_eq!(status.unwrap().code(), Some(code), "{name}");
    }
}

#[test]
fn a_place_in_a_text_that_is_no_yaml_is_a_place_in_the_users_file() {
    let text = "kind: ConfigMap\n---\n# A job.\nmetadata:\n  name: a\n  name: b\n";
    let file = directory("places", &[("jobs.yaml", text.into())]).join("jobs.yaml");
    let file = file.to_str().unwrap();
    let (_, error, _) = said(&["validate", file]);
    let start = format!("cannot read {file}: it is not YAML: line 6 column 3: duplicate mapping key: name\n");
    assert!(
        error.starts_with(&start) && error.contains(&format!("--> {file}:6:3")),
        "{error}"
    );
}

#[test]
fn a_second_signal_ends_the_operator_at_once_and_with_a_failure() {
    let (silent, probes) = (listener(), listener().local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let server = silent.local_addr().unwrap();
    let text = format!(
        "clusters: [{{name: k, cluster: {{server: 'http://{server}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n\
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\ncurrent-context: c\n"
    );
    fs::write(&kubeconfig, text).unwrap();
    for (signals, code) in [(1, 0), (2, 1)] {
        let mut operator = Command::new(BINARY)
            .args(["--metrics-bind-address=0", "--leader-elect=false", "--kubeconfig"])
            .arg(&kubeconfig)
            .arg(format!("--health-probe-bind-address={probes}"))
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(operator.stderr.take().unwrap());
        // A request that does not end holds up the end in order.
        let mut slow = (0..1_000)
            .find_map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                TcpStream::connect(probes).ok()
            })
            .unwrap();
        slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        let mut answered = TcpStream::connect(probes).unwrap();
        answered
            .write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            .unwrap();
        answered.read_to_end(&mut Vec::new()).unwrap();
        let mut line = String::new();
        for _ in 0..signals {
            let pid = operator.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            while !line.contains("shutting down") && log.read_line(&mut line).unwrap() > 0 {}
        }
        let status = operator.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{signals} signals: {line}");
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
