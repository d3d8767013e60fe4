//! The same walks on the real API server, step by step beside the simulation.
//!
//! Each outcome of the server must be the simulation's, and whenever things have come to rest both must be in the same
//! state. So what holds of the simulated admission and the simulated operator holds of the real ones. Now and then a
//! job is created in the state that was reached, in a namespace of its own, and everything the two jobs own is compared
//! as the API server shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client, Error, ResourceExt};
use pytorchjob_operator::api::{ChildKind, ConditionType, PyTorchJob};
use pytorchjob_operator::planner::{self, Phase, is_true};
use pytorchjob_test_cluster::{Cluster, PodPhase, remove_pod, set_pod_phase, wait_for, wait_for_all, wait_gone};
use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::differential::admission::Admission;
use crate::support::differential::edit::Edit;
use crate::support::differential::generator::{self, Taste};
use crate::support::differential::law;
use crate::support::differential::simulation::{JOB, Operator, Simulation};
use crate::support::differential::walk::{Step, Tally, Walk};
use crate::support::environment::Event;

/// How long anything may take on a loaded machine.
const SOON: Duration = Duration::from_mins(1);
/// Steps between two comparisons with a new job.
const COMPARED: usize = 12;

/// One job on a real API server.
struct Live {
    client: Client,
    namespace: String,
}

impl Live {
    fn jobs(&self) -> Api<PyTorchJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, job: &Value) -> Result<(), String> {
        let resource = ApiResource::erase::<PyTorchJob>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object = serde_json::from_value(job.clone()).map_err(|error| error.to_string())?;
        let created = api.create(&PostParams::default(), &object).await;
        created
            .map(drop)
            .map_err(|error| format!("the job is not created: {error}"))
    }

    /// Whether the server accepts the edit.
    async fn edit(&self, edit: &Edit) -> Result<Result<(), String>, String> {
        let patch = match edit {
            Edit::Merge(patch) => Patch::Merge(patch.clone()),
            Edit::Json(operations) => Patch::Json(edit.operations(operations)),
        };
        match self.jobs().patch_metadata(JOB, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(Ok(())),
            Err(Error::Api(status)) if status.code == 422 => Ok(Err(status.message)),
            Err(error) => Err(format!("{edit}\n    gives neither 200 nor 422: {error}")),
        }
    }

    async fn happen(&self, name: &str, event: &Event, restarts: i32) -> Result<(), String> {
        let phase = match event {
            Event::Run | Event::Restart | Event::Again => PodPhase::Running,
            Event::Succeed => PodPhase::Succeeded,
            Event::Exit(exit_code) => PodPhase::Failed {
                exit_code: *exit_code,
                reason: "Error".into(),
                message: String::new(),
            },
            Event::Evict => PodPhase::Evicted {
                reason: "Evicted".into(),
                message: "thrown out".into(),
            },
            Event::Delete => return remove_pod(&self.client, &self.namespace, name).await.map_err(text),
        };
        let set = set_pod_phase(&self.client, &self.namespace, name, &phase, restarts).await;
        set.map(drop).map_err(text)
    }

    /// Waits until the job is in the state of `sim`.
    async fn follow(&self, sim: &Simulation<'_>) -> Result<(), String> {
        if sim.job.is_none() {
            return wait_gone(&self.jobs(), JOB, SOON).await.map_err(text);
        }
        let expected: BTreeMap<_, _> = sim
            .pods()
            .iter()
            .map(|(name, pod)| (name.clone(), phase(pod)))
            .collect();
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let seen = |pods: &[Pod]| {
            pods.iter()
                .map(|pod| (pod.name_any(), live_phase(pod)))
                .eq(expected.clone())
        };
        wait_for_all(&pods, "", SOON, seen).await.map_err(text)?;
        let names = |kind| sim.built(kind).map(|(name, _)| name.to_owned());
        let services = Api::<Service>::namespaced(self.client.clone(), &self.namespace);
        let seen = |services: &[Service]| services.iter().map(Service::name_any).eq(names(ChildKind::Service));
        wait_for_all(&services, "", SOON, seen).await.map_err(text)?;
        let autoscalers = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), &self.namespace);
        let seen = |autoscalers: &[HorizontalPodAutoscaler]| {
            autoscalers
                .iter()
                .map(ResourceExt::name_any)
                .eq(names(ChildKind::HorizontalPodAutoscaler))
        };
        wait_for_all(&autoscalers, "", SOON, seen).await.map_err(text)?;
        self.status_of(sim).await
    }

    async fn status_of(&self, sim: &Simulation<'_>) -> Result<(), String> {
        let namespace = sim.stored()["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let here = |status: Value| status.to_string().replace(&namespace, &self.namespace);
        let expected = here(law::status(sim.status()));
        let seen = |job: &PyTorchJob| {
            let status = job.status.clone().unwrap_or_default();
            let acted = sim.elsewhere() || status.observed_generation == job.metadata.generation;
            acted && here(law::status(status)) == expected
        };
        let job = wait_for(&self.jobs(), JOB, SOON, seen).await;
        job.map(drop)
            .map_err(|error| format!("{error}\n    expected: {expected}"))
    }

    /// What the job owns, as the API server shows it.
    async fn image(&self, masked: &[&str]) -> Result<Value, String> {
        let every = ListParams::default();
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pods = pods.list(&every).await.map_err(text)?.items.into_iter().map(|pod| {
            let mut spec = json!(pod.spec);
            law::mask_environment(&mut spec, masked);
            let mut labels = json!(pod.labels());
            law::mask_generation(&mut labels);
            let mut annotations = json!(pod.annotations());
            law::mask_attempt(&mut annotations);
            (
                pod.name_any(),
                json!({ "labels": labels, "annotations": annotations, "spec": spec }),
            )
        });
        let pods: BTreeMap<_, _> = pods.collect();
        let services = Api::<Service>::namespaced(self.client.clone(), &self.namespace);
        let services = services.list(&every).await.map_err(text)?.items.into_iter();
        let services: BTreeMap<_, _> = services
            .map(|service| {
                (
                    service.name_any(),
                    json!({ "labels": service.labels(), "spec": service.spec }),
                )
            })
            .collect();
        let autoscalers = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), &self.namespace);
        let autoscaler = autoscalers.get_opt(JOB).await.map_err(text)?;
        Ok(json!({ "pods": pods, "services": services, "autoscaler": autoscaler.map(|found| found.spec) }))
    }

    /// Takes the pods to where those of `sim` are.
    async fn adopt(&self, sim: &Simulation<'_>) -> Result<(), String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        for (name, pod) in sim.pods() {
            let event = match pod.phase {
                Phase::Running => Event::Run,
                Phase::Succeeded => Event::Succeed,
                _ => {
                    let pending = Patch::Merge(json!({ "status": { "phase": "Pending" } }));
                    let set = pods.patch_status(name, &PatchParams::default(), &pending).await;
                    set.map_err(text)?;
                    continue;
                }
            };
            self.happen(name, &event, pod.restarts).await?;
        }
        Ok(())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn phase(pod: &planner::Pod) -> String {
    format!("{:?}", pod.phase)
}

fn live_phase(pod: &Pod) -> String {
    pod.status.clone().unwrap_or_default().phase.unwrap_or_default()
}

/// Walks from a seed, beside the simulation. The error has the steps until the failure.
pub async fn walk(cluster: &Cluster, seed: u64, length: usize) -> Result<Tally, String> {
    let (admission, operator) = (Admission::checked_in(), Operator::real());
    let namespace = cluster.namespace("walk").await.map_err(text)?;
    let live = Live {
        client: cluster.admin(),
        namespace: namespace.name().to_owned(),
    };
    let mut dice = Dice::new(seed);
    let base = generator::base(&mut dice, &namespace);
    let mut steps = Vec::new();
    let walked = Box::pin(steps_beside(
        cluster,
        &live,
        &mut dice,
        (&admission, &operator),
        &base,
        length,
        &mut steps,
    ))
    .await;
    walked.map_err(|what| {
        let steps: Vec<_> = steps.iter().map(|step| format!("  {step}\n")).collect();
        format!(
            "the real API server and the simulation part. Replay: DIFFERENTIAL_SEED={seed} cargo test --test server\n  created: {base}\n{}  {what}",
            steps.concat()
        )
    })
}

async fn steps_beside(
    cluster: &Cluster,
    live: &Live,
    dice: &mut Dice,
    (admission, operator): (&Admission, &Operator),
    base: &Value,
    length: usize,
    steps: &mut Vec<Step>,
) -> Result<Tally, String> {
    let mut walk = Walk::start(admission, operator, false, base)?;
    live.create(base).await?;
    live.follow(&walk.sim).await?;
    for number in 1..=length {
        if walk.sim.job.is_none() {
            break;
        }
        for step in single(generator::step(dice, &walk.sim, Taste::RealPods), &walk.sim) {
            steps.push(step.clone());
            beside(live, &mut walk, &step).await?;
        }
        if (number % COMPARED == 0 || number == length) && !walk.sim.over() {
            compare_with_new(cluster, live, &walk.sim).await?;
        }
    }
    Ok(walk.tally)
}

/// The step, one request at a time.
fn single(step: Step, sim: &Simulation<'_>) -> Vec<Step> {
    match step {
        Step::Edits(edits) => edits.into_iter().map(|edit| Step::Edits(vec![edit])).collect(),
        Step::Detour(edit) => [edit, Edit::back_to(&sim.stored())]
            .map(|edit| Step::Edits(vec![edit]))
            .into(),
        other => vec![other],
    }
}

/// Takes a step in both worlds.
async fn beside(live: &Live, walk: &mut Walk<'_>, step: &Step) -> Result<(), String> {
    let before = walk.sim.clone();
    let refused = walk.tally.refused;
    walk.step(step)?;
    match step {
        Step::Edits(edits) if before.job.is_some() => {
            for edit in edits {
                let simulated = walk.tally.refused == refused;
                let real = live.edit(edit).await?;
                if real.is_ok() != simulated {
                    let simulated = before.clone().edit(edit);
                    return Err(format!("the server says {real:?}, the simulation {simulated:?}"));
                }
                if !simulated {
                    return Ok(());
                }
            }
        }
        Step::Pod(name, event) => {
            if let Some(pod) = before
                .pods()
                .get(name)
                .filter(|pod| *event == Event::Delete || !pod.finished())
            {
                live.happen(name, event, pod.restarts + i32::from(*event == Event::Restart))
                    .await?;
            }
        }
        Step::Run => {
            for (name, pod) in before.pods().iter().filter(|(_, pod)| !pod.finished()) {
                live.happen(name, &Event::Run, pod.restarts).await?;
            }
        }
        _ => {}
    }
    live.follow(&walk.sim).await
}

/// Creates a job in the state of `sim` in a namespace of its own, and compares what the two own.
async fn compare_with_new(cluster: &Cluster, live: &Live, sim: &Simulation<'_>) -> Result<(), String> {
    let namespace = cluster.namespace("new").await.map_err(text)?;
    let new = Live {
        client: live.client.clone(),
        namespace: namespace.name().to_owned(),
    };
    let mut job = sim.stored();
    let metadata = &job["metadata"];
    let metadata = json!({
        "name": JOB, "namespace": new.namespace, "labels": metadata["labels"], "annotations": metadata["annotations"],
    });
    job["metadata"] = metadata;
    job.as_object_mut().map(|job| job.remove("status"));
    new.create(&job).await?;
    let pods = Api::<Pod>::namespaced(new.client.clone(), &new.namespace);
    let all = |pods: &[Pod]| pods.iter().map(Pod::name_any).eq(sim.pods().keys().cloned());
    wait_for_all(&pods, "", SOON, all).await.map_err(text)?;
    if is_true(&sim.status(), ConditionType::Running) {
        for name in sim.pods().keys() {
            new.happen(name, &Event::Run, 0).await?;
        }
        let runs = |job: &PyTorchJob| {
            job.status
                .as_ref()
                .is_some_and(|status| is_true(status, ConditionType::Running))
        };
        wait_for(&new.jobs(), JOB, SOON, runs).await.map_err(text)?;
    }
    if !sim.elsewhere() {
        let seen = |job: &PyTorchJob| job.status.is_some();
        wait_for(&new.jobs(), JOB, SOON, seen).await.map_err(text)?;
        let status = sim.status();
        let history = json!({ "restarts": status.restarts, "restartTimes": status.restart_times,
            "firstFailure": status.first_failure });
        let history = Patch::Merge(json!({ "status": history }));
        let given = new.jobs().patch_status(JOB, &PatchParams::default(), &history).await;
        given.map_err(text)?;
    }
    new.adopt(sim).await?;
    new.follow(sim).await?;
    let masked = law::unsteady_variables(&sim.stored()["spec"]);
    let (mut edited, mut created) = (live.image(masked).await?, new.image(masked).await?);
    for (image, live) in [(&mut edited, live), (&mut created, &new)] {
        let uid = live.jobs().get(JOB).await.map_err(text)?.uid().unwrap_or_default();
        *image = serde_json::from_str(&image.to_string().replace(&uid, "UID")).map_err(text)?;
    }
    law::compare(&edited, &created)
}
