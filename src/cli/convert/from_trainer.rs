//! A `TrainJob` and its runtime as a PyTorchJob.

use serde_json::{Map, Value, json};

use crate::api::structural::Misfit;
use crate::api::{ReplicaType, RestartScope, names};
use crate::cli::convert::names::{AUTO, JOBS, MANAGED_BY, NODE, OTHER_POLICIES, STEP, TRAINER};
use crate::cli::convert::parts::{Converted, Loss, Parts};
use crate::cli::convert::restarts::{self, Restarts};
use crate::cli::convert::{environment, gang, identity, references, template, unsupported};

const NUM_NODES: &str = "spec.trainer.numNodes";
const NUM_NODES_OF_RUNTIME: &str = "spec.mlPolicy.numNodes";

/// Both objects, as far as they have not been used.
struct Source {
    job: Parts,
    runtime: Parts,
    losses: Vec<Loss>,
}

/// Converts a job with the runtime that it refers to, which is called `title`.
pub(super) fn convert(job: Value, title: &str, runtime: Value) -> Result<Converted, Vec<Misfit>> {
    let mut source = Source {
        job: Parts::new(job),
        runtime: Parts::of_other(title, runtime),
        losses: Vec::new(),
    };
    let metadata = identity::taken(&mut source.job, &mut source.losses);
    // What a runtime is called and labelled with is not the job's.
    identity::taken(&mut source.runtime, &mut Vec::new());
    source.runtime.take("metadata");
    source.job.take("spec.runtimeRef");
    source.check_policy().map_err(|fault| vec![fault])?;
    let mut node = source.node().map_err(|fault| vec![fault])?;
    let mut set = source.part("spec.template.spec");
    let (restarts, inexact) = restarts::taken(&mut node, &mut set);
    source.losses.extend(inexact);
    let nodes = source.nodes().map_err(|fault| vec![fault])?;
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    source.references(name, &node);
    let template = source.template(&mut node).map_err(|fault| vec![fault])?;
    let (gang, of_group) = gang::taken(&mut source.runtime, nodes, &template);
    source.losses.extend(of_group);
    let mut spec = source.replicas(&mut node, nodes, &template, restarts);
    let policy = source.run_policy(&mut set, restarts, gang);
    if !policy.is_empty() {
        spec.insert("runPolicy".into(), policy.into());
    }
    let mut job = json!({ "apiVersion": names::API_VERSION, "kind": names::KIND, "metadata": metadata, "spec": spec });
    source
        .losses
        .extend(environment::without_set(&mut job, &node.path("template")));
    source.finish(job, &[node, set])
}

impl Source {
    fn finish(mut self, job: Value, parts: &[Parts]) -> Result<Converted, Vec<Misfit>> {
        let all = [&self.job, &self.runtime].into_iter().chain(parts);
        let faults: Vec<Misfit> = all.clone().flat_map(|parts| parts.faults.clone()).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        self.losses
            .extend(all.flat_map(Parts::left).map(unsupported::by_kubeflow));
        Ok(Converted {
            objects: vec![job],
            losses: self.losses,
        })
    }

    /// Takes a part of the runtime, to take it apart.
    fn part(&mut self, path: &str) -> Parts {
        let part = self.runtime.take(path).unwrap_or_default();
        Parts::within(self.runtime.path(path), part)
    }

    fn check_policy(&mut self) -> Result<(), Misfit> {
        for other in OTHER_POLICIES {
            let field = format!("spec.mlPolicy.{other}");
            if self.runtime.take(&field).is_some() {
                return Err(Misfit {
                    field: self.runtime.path(&field),
                    message: "only a runtime for PyTorch, with the policy torch, becomes a PyTorchJob".into(),
                });
            }
        }
        Ok(())
    }

    /// The spec of the Job that trains. All other Jobs of the runtime are lost.
    fn node(&mut self) -> Result<Parts, Misfit> {
        let path = self.runtime.path(JOBS);
        let jobs: Vec<Value> = self.runtime.take_as(JOBS).unwrap_or_default();
        let mut found = None;
        for (index, job) in jobs.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            if found.is_none() && job["template"]["metadata"]["labels"][STEP] == TRAINER {
                found = Some(Parts::within(path, job));
            } else {
                let remedy = "run it before the PyTorchJob, as a Job of its own or as an init container";
                self.losses
                    .push(Loss::new(path, "a PyTorchJob has only pods that train", remedy));
            }
        }
        let mut node = found.ok_or_else(|| Misfit {
            field: path,
            message: format!("none has the label {STEP}={TRAINER}, so nothing says what trains"),
        })?;
        node.take("name");
        node.drop_default("replicas", &json!(1));
        node.drop_default("groupName", &json!("default"));
        let labels: Option<Map<String, Value>> = node.take_as("template.metadata.labels");
        let others = labels
            .into_iter()
            .flatten()
            .map(|(label, _)| label)
            .filter(|label| label != STEP);
        let labels = node.path("template.metadata.labels");
        let lost = others.map(|label| unsupported::by_kubeflow(format!("{labels}.{label}")));
        self.losses.extend(lost);
        let spec = node.take("template.spec").unwrap_or_default();
        self.losses
            .extend(node.left().into_iter().map(unsupported::by_kubeflow));
        Ok(Parts::within(node.path("template.spec"), spec))
    }

    fn nodes(&mut self) -> Result<u32, Misfit> {
        let of_runtime: Option<u32> = self.runtime.take_as(NUM_NODES_OF_RUNTIME);
        let of_job: Option<u32> = self.job.take_as(NUM_NODES);
        match of_job.or(of_runtime) {
            Some(0) => Err(Misfit {
                field: of_job.map_or_else(|| self.runtime.path(NUM_NODES_OF_RUNTIME), |_| NUM_NODES.into()),
                message: "a PyTorchJob has at least one replica".into(),
            }),
            nodes => Ok(nodes.unwrap_or(1)),
        }
    }

    /// The number of processes of each node. In releases before 2.2 it may be a word, and the runtime may say it.
    fn processes(&mut self) -> Option<String> {
        let of_runtime = self.runtime.take("spec.mlPolicy.torch.numProcPerNode");
        let written = self.job.take("spec.trainer.numProcPerNode").or(of_runtime)?;
        let word = written.as_str().map_or_else(|| written.to_string(), ToOwned::to_owned);
        (word != AUTO).then_some(word)
    }

    /// Looks for what holds of Trainer's pods alone.
    fn references(&mut self, job: &str, node: &Parts) {
        let of_job = self
            .job
            .get("spec.trainer")
            .map(|part| references::to_trainer(job, "spec.trainer", part));
        let pods = "template.spec";
        let of_runtime = node
            .get(pods)
            .map(|part| references::to_trainer(job, &node.path(pods), part));
        self.losses.extend(of_job.into_iter().chain(of_runtime).flatten());
    }

    /// The replicas of a job with as many nodes, all of which have this template.
    fn replicas(&mut self, node: &mut Parts, nodes: u32, template: &Value, restarts: Restarts) -> Map<String, Value> {
        // Trainer sets them to the number of nodes.
        node.take("parallelism");
        node.take("completions");
        node.drop_default("completionMode", &json!("Indexed"));
        self.success(node, nodes);
        let replica =
            |number: u32| json!({ "replicas": number, "restartPolicy": restarts.policy, "template": template });
        let mut replicas = json!({ ReplicaType::Master.key(): replica(1) });
        if nodes > 1 {
            replicas[ReplicaType::Worker.key()] = replica(nodes - 1);
        }
        let mut spec = Map::new();
        spec.insert("pytorchReplicaSpecs".into(), replicas);
        if let Some(processes) = self.processes() {
            spec.insert("nprocPerNode".into(), processes.into());
        }
        spec
    }

    fn success(&mut self, node: &mut Parts, nodes: u32) {
        let policy = node.take("successPolicy");
        let by_master = policy == Some(json!({ "rules": [{ "succeededIndexes": "0" }] }));
        if !by_master && (nodes > 1 || policy.is_some()) {
            let why = "a PyTorchJob has succeeded when its Master has, which is node 0";
            let remedy = "see that rank 0 ends last";
            self.losses.push(Loss::new(node.path("successPolicy"), why, remedy));
        }
    }

    /// The template of the runtime with what the `TrainJob` sets in it.
    fn template(&mut self, node: &mut Parts) -> Result<Value, Misfit> {
        let path = node.path("template");
        let mut template = node.take("template").unwrap_or_default();
        let taken = template::take_container(&mut template, NODE);
        let (index, mut container) = taken.ok_or_else(|| template::no_container(&path, NODE))?;
        for (field, name) in [
            ("image", "image"),
            ("command", "command"),
            ("args", "args"),
            ("resourcesPerNode", "resources"),
        ] {
            // Amounts of nothing leave those of the runtime.
            let says = |value: &Value| name != "resources" || value != &json!({});
            if let Some(value) = self.job.take(&format!("spec.trainer.{field}")).filter(says) {
                container[name] = value;
            }
        }
        let own: Vec<Value> = self.job.take_as("spec.trainer.env").unwrap_or_default();
        if !own.is_empty() {
            container["env"] = environment::merged(&container["env"], own);
        }
        template::insert_container(&mut template, index, container);
        template::rename_container(&mut template, &path, NODE, names::CONTAINER)?;
        Ok(template)
    }

    fn run_policy(&mut self, set: &mut Parts, restarts: Restarts, gang: Option<Value>) -> Map<String, Value> {
        self.job.drop_default("spec.suspend", &json!(false));
        self.job.drop_default("spec.managedBy", &json!(MANAGED_BY));
        let mut policy = Map::new();
        let taken = [
            ("suspend", self.job.take("spec.suspend")),
            ("managedBy", self.job.take("spec.managedBy")),
            ("activeDeadlineSeconds", self.job.take("spec.activeDeadlineSeconds")),
            ("ttlSecondsAfterFinished", set.take("ttlSecondsAfterFinished")),
            ("backoffLimit", restarts.limit.map(Value::from)),
            (
                "restartScope",
                (restarts.scope == RestartScope::Job).then(|| json!(restarts.scope)),
            ),
            ("schedulingPolicy", gang),
        ];
        policy.extend(
            taken
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        policy
    }
}
