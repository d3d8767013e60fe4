//! `pytorchReplicaSpecs` as Trainer's nodes, which are all alike.

use serde_json::{Map, Value, json};

use crate::api::names::CONTAINER;
use crate::api::structural::Misfit;
use crate::api::{PyTorchJob, ReplicaType, RestartPolicy, RestartScope};
use crate::cli::convert::names::{AUTO, NODE, RESERVED};
use crate::cli::convert::parts::{Loss, Parts, differences};
use crate::cli::convert::restarts::Restarts;
use crate::cli::convert::{environment, references, template, unsupported};

/// Most entries of a list in `spec.trainer`.
const MAX_ITEMS: usize = 128;
/// Most letters of an argument there.
const MAX_ARGUMENT: usize = 65_536;
/// Most letters of an image there.
const MAX_IMAGE: usize = 500;
/// The command that Trainer rewrites when it stands in a `TrainJob`.
const TORCHTUNE: [&str; 2] = ["tune", "run"];

/// The nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    pub number: u32,
    /// `spec.trainer` of the `TrainJob`.
    pub trainer: Map<String, Value>,
    /// The pod template of the runtime, without its restart policy.
    pub template: Value,
    pub restarts: Restarts,
}

/// Takes the replicas: their number, and the template of the first role. Of none, which only a job has that is stored
/// already, nothing can be made.
pub(super) fn taken(job: &PyTorchJob, parts: &mut Parts, losses: &mut Vec<Loss>) -> Result<Nodes, Vec<Misfit>> {
    let number = job.spec.total_replicas();
    if number == 0 {
        let (field, message) = ("spec.pytorchReplicaSpecs".into(), "there are no replicas".into());
        return Err(vec![Misfit { field, message }]);
    }
    let mut roles: Vec<(ReplicaType, Parts)> = Vec::new();
    for role in ReplicaType::ALL {
        let path = format!("spec.pytorchReplicaSpecs.{}", role.key());
        if let Some(replica) = parts.take(&path) {
            roles.push((role, Parts::within(path, replica)));
        }
    }
    let restarts = restarts(job, parts, &mut roles, losses);
    let mut templates = Vec::new();
    for (_, replica) in &mut roles {
        replica.take("replicas");
        templates.push(own_template(job, replica, losses).map_err(|fault| vec![fault])?);
        losses.extend(
            replica
                .left()
                .into_iter()
                .map(|field| unsupported::by_trainer(job, field)),
        );
    }
    let mut templates = templates.into_iter();
    let mut template = templates.next().unwrap_or_default();
    for other in templates {
        let mut different = Vec::new();
        differences(&roles[1].1.path("template"), &template, &other, &mut different);
        losses.extend(different.into_iter().map(unsupported::second_template));
    }
    let trainer = trainer(job, &mut template, &roles[0].1.path("template"), parts, losses);
    Ok(Nodes {
        number,
        trainer,
        template,
        restarts,
    })
}

/// Takes the template of a role, with the training container under Trainer's name.
fn own_template(job: &PyTorchJob, replica: &mut Parts, losses: &mut Vec<Loss>) -> Result<Value, Misfit> {
    let path = replica.path("template");
    let mut template = replica.take("template").unwrap_or_default();
    if !template::has_container(&template, CONTAINER) {
        return Err(template::no_container(&path, CONTAINER));
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    losses.extend(references::to_operator(name, &path, &template));
    let restart_policy = template["spec"]
        .as_object_mut()
        .and_then(|spec| spec.remove("restartPolicy"));
    if restart_policy.is_some_and(|policy| policy != "") {
        let field = format!("{path}.spec.restartPolicy");
        losses.push(Loss::new(
            field,
            "it has no effect in a PyTorchJob: the replica's own holds",
            "nothing is to be done",
        ));
    }
    template::rename_container(&mut template, &path, CONTAINER, NODE)?;
    Ok(template)
}

fn restarts(
    job: &PyTorchJob,
    parts: &mut Parts,
    roles: &mut [(ReplicaType, Parts)],
    losses: &mut Vec<Loss>,
) -> Restarts {
    let policies: Vec<RestartPolicy> = roles.iter().map(|(role, _)| job.spec.restart_policy(*role)).collect();
    let restarts = Restarts {
        policy: policies.first().copied().unwrap_or(RestartPolicy::OnFailure),
        scope: job.spec.restart_scope(),
        limit: job.spec.backoff_limit(),
    };
    for ((_, replica), policy) in roles.iter_mut().zip(policies) {
        replica.take("restartPolicy");
        if policy != restarts.policy {
            losses.push(unsupported::second_restart_policy(
                replica.path("restartPolicy"),
                restarts.policy,
            ));
        } else if policy == RestartPolicy::Always {
            losses.push(unsupported::always(replica.path("restartPolicy")));
        }
    }
    let scope = parts.take("spec.runPolicy.restartScope");
    let limits = ["spec.backoffLimit", "spec.runPolicy.backoffLimit"].map(|field| Some((field, parts.take(field)?)));
    if restarts.policy == RestartPolicy::Never {
        let scope = scope
            .filter(|_| restarts.scope == RestartScope::Job)
            .map(|_| "spec.runPolicy.restartScope");
        let ignored = limits.into_iter().flatten().map(|(field, _)| field).chain(scope);
        losses.extend(ignored.map(unsupported::without_restarts));
    }
    restarts
}

/// What the `TrainJob` says of its nodes. Whatever it has room for is moved there, so that the runtime serves other
/// jobs too.
fn trainer(
    job: &PyTorchJob,
    template: &mut Value,
    path: &str,
    parts: &mut Parts,
    losses: &mut Vec<Loss>,
) -> Map<String, Value> {
    let set = environment::set_by_operator(job);
    let mut trainer = Map::new();
    trainer.insert("numNodes".into(), job.spec.total_replicas().into());
    processes(job, parts, &mut trainer, losses);
    let mut env: Vec<Value> = Vec::new();
    if let Some((index, mut container)) = template::take_container(template, NODE) {
        let place = format!("{path}.spec.containers[{index}]");
        let own = environment::own(&mut container, &set, &RESERVED, &place, losses);
        move_fields(&mut container, &mut trainer);
        let mut of_runtime = environment::of_runtime(&set);
        // With the size of the job.
        let all_fit = own.len() < MAX_ITEMS;
        if all_fit {
            env.extend(own);
        } else {
            of_runtime.extend(own);
        }
        container["env"] = of_runtime.into();
        template::insert_container(template, index, container);
    }
    env.extend(environment::of_job(&set));
    environment::tell_others(template, &set, path, losses);
    if !env.is_empty() {
        trainer.insert("env".into(), env.into());
    }
    trainer
}

type Fits = fn(&Value) -> bool;
/// Fields of the container, their names in `spec.trainer`, and what there is room for.
const MOVED: [(&str, &str, Fits); 4] = [
    ("image", "image", |image| {
        image.as_str().is_some_and(|image| image.chars().count() <= MAX_IMAGE)
    }),
    ("command", "command", |command| fits(command) && !is_torchtune(command)),
    ("args", "args", fits),
    ("resources", "resourcesPerNode", has_amounts_alone),
];

fn move_fields(container: &mut Value, trainer: &mut Map<String, Value>) {
    for (field, name, fits) in MOVED {
        if let Some(value) = container.as_object_mut().and_then(|fields| fields.remove(field)) {
            if fits(&value) {
                trainer.insert(name.into(), value);
            } else {
                container[field] = value;
            }
        }
    }
}

fn fits(list: &Value) -> bool {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    let short = |item: &Value| item.as_str().is_some_and(|text| text.chars().count() <= MAX_ARGUMENT);
    items.len() <= MAX_ITEMS && items.iter().all(short)
}

fn is_torchtune(command: &Value) -> bool {
    *command == json!(TORCHTUNE)
}

/// Trainer passes on no claims.
fn has_amounts_alone(resources: &Value) -> bool {
    let known = |name: &String| ["limits", "requests"].contains(&name.as_str());
    resources
        .as_object()
        .is_some_and(|resources| resources.keys().all(known))
}

fn processes(job: &PyTorchJob, parts: &mut Parts, trainer: &mut Map<String, Value>, losses: &mut Vec<Loss>) {
    parts.take("spec.nprocPerNode");
    parts.take("spec.elasticPolicy.nProcPerNode");
    let elastic = job
        .spec
        .elastic_policy
        .as_ref()
        .and_then(|policy| policy.n_proc_per_node);
    let written = elastic
        .map(|number| number.to_string())
        .or_else(|| job.spec.nproc_per_node.clone());
    match written.as_deref().map(|word| (word, word.parse::<i32>())) {
        Some((_, Ok(number))) => drop(trainer.insert("numProcPerNode".into(), number.into())),
        Some((word, Err(_))) if word != AUTO => {
            losses.push(unsupported::processes(word));
        }
        _ => {}
    }
}
