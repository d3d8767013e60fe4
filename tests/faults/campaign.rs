//! Runs plans, and compares each with the run of its scenario in which nothing goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use pytorchjob_test_cluster::{Cluster, Options, User, repository};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::aim::{Aim, Guard};
use crate::fault::Fault;
use crate::kubelet;
use crate::laws;
use crate::meddler::Meddler;
use crate::observer::{Kind, Observer, Space};
use crate::outcome::{Outcome, objects};
use crate::plan::{Disturbance, Plan};
use crate::proxy::Step;
use crate::replica::Replica;
use crate::rig::{file_cluster, install_identity};
use crate::scenarios::{Scenario, at_rest};
use crate::stage::{JOB, Stage, Stuck};

/// Longest wait for the end of a run to look as it should.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that change something beside those of the run in which nothing goes wrong: what is repeated after a fault.
const SPARE: usize = 12;

/// A request in so many meets a fault, where faults are at random.
const ONE_IN: usize = 6;

/// A cluster on which plans are run.
pub struct Campaign {
    pub cluster: &'static Cluster,
    /// With the rights that the operator has.
    pub operator: Client,
    pub observer: Observer,
}

/// What came of a run.
pub struct Run {
    pub outcome: Outcome,
    /// The requests that were made.
    pub steps: Vec<Step>,
    /// Those that may have changed something.
    pub mutating: usize,
    /// Whether the request of the plan has come.
    pub came: bool,
    /// The faults that have happened.
    pub met: BTreeSet<Fault>,
    pub violations: Vec<String>,
    /// The ends of the logs of the replicas.
    pub logs: String,
}

/// The node that all pods are bound to: the API server looks at it when the resources of one are changed.
async fn register_node(cluster: &Cluster) {
    let room = json!({ "cpu": "1k", "memory": "1Ti", "pods": "1k" });
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" },
        "status": { "allocatable": room, "capacity": room } });
    let node: Node = serde_json::from_value(node).unwrap();
    let nodes: Api<Node> = Api::all(cluster.admin());
    nodes.create(&PostParams::default(), &node).await.unwrap();
}

/// What is to be run.
#[derive(Clone, Copy)]
struct Task<'a> {
    scenario: Scenario,
    what: Option<&'a Disturbance>,
    without: Option<Guard>,
    expected: Option<&'a Run>,
}

impl Task<'_> {
    fn aim(&self) -> Aim {
        match self.what {
            None => Aim::Nothing,
            Some(Disturbance::Fault(step, fault)) => Aim::At(step.clone(), *fault),
            Some(Disturbance::Seed(seed)) => {
                // The one that is left out takes a second replica.
                let faults = Fault::ALL.into_iter().map(|(fault, _)| fault);
                Aim::at_random(*seed, ONE_IN, faults.filter(|&fault| fault != Fault::Frozen).collect())
            }
        }
    }

    /// Whether it takes a second replica to see what comes of it.
    fn freezes(&self) -> bool {
        matches!(self.what, Some(Disturbance::Fault(_, Fault::Frozen)))
    }
}

impl Campaign {
    /// On a cluster that has the definitions of Volcano and the shipped roles, the same for all campaigns.
    pub async fn start() -> Self {
        static CLUSTER: OnceCell<&'static Cluster> = OnceCell::const_new();
        let start = async || {
            let mut options = Options::default();
            let volcano = "tests/server/scheduling_policy/volcano.yaml";
            options.crds.push(repository().join(volcano));
            let cluster = file_cluster(options).await;
            install_identity(cluster).await;
            register_node(cluster).await;
            cluster
        };
        let cluster = *CLUSTER.get_or_init(start).await;
        let account = User::ServiceAccount {
            namespace: "kubeflow",
            name: "pytorchjob-operator",
        };
        let campaign = Self {
            cluster,
            operator: cluster.client(account).await.unwrap(),
            observer: Observer::start(&cluster.admin()),
        };
        campaign.allow_leases().await;
        campaign
    }

    /// Each namespace has a lease of its own.
    async fn allow_leases(&self) {
        let role: ClusterRole = serde_json::from_value(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "plans" },
            "rules": [{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"] }],
        }))
        .unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "plans" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "plans" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": "kubeflow", "name": "pytorchjob-operator" }],
        }))
        .unwrap();
        let apply = PatchParams::apply("test");
        let roles: Api<ClusterRole> = Api::all(self.cluster.admin());
        let bindings: Api<ClusterRoleBinding> = Api::all(self.cluster.admin());
        roles.patch("plans", &apply, &Patch::Apply(&role)).await.unwrap();
        bindings.patch("plans", &apply, &Patch::Apply(&binding)).await.unwrap();
    }

    /// A run in which nothing goes wrong.
    pub async fn undisturbed(&self, scenario: Scenario) -> Run {
        let task = Task {
            scenario,
            what: None,
            without: None,
            expected: None,
        };
        let run = self.run(task).await;
        assert!(
            run.violations.is_empty(),
            "{}: {:#?}\n{}",
            scenario.name,
            run.violations,
            run.logs
        );
        run
    }

    /// A run of a plan, by an operator whose requests lack a guard if `without` says so.
    pub async fn disturbed(&self, plan: &Plan, expected: &Run, without: Option<Guard>) -> Run {
        self.run(Task {
            scenario: plan.scenario,
            what: Some(&plan.what),
            without,
            expected: Some(expected),
        })
        .await
    }

    /// Runs of several plans at once, in the order in which they end.
    pub async fn all<'a>(
        &'a self,
        plans: &'a [Plan],
        expected: &'a BTreeMap<&'static str, Run>,
        at_once: usize,
        mut each: impl FnMut(&'a Plan, Run, Duration),
    ) {
        let runs = plans.iter().map(|plan| async move {
            let begun = Instant::now();
            let run = self.disturbed(plan, &expected[plan.scenario.name], None).await;
            (plan, run, begun.elapsed())
        });
        let mut runs = std::pin::pin!(stream::iter(runs).buffer_unordered(at_once));
        while let Some((plan, run, time)) = runs.next().await {
            each(plan, run, time);
        }
    }

    async fn run(&self, task: Task<'_>) -> Run {
        let namespace = self.cluster.namespace("plan").await.unwrap().name().to_owned();
        let space = self.observer.observe(&namespace);
        let client = self.cluster.admin();
        let meddler = Meddler::new(client.clone(), Some(space.clone()), task.aim(), task.without);
        let replicas = self.replicas(&task, &namespace, &meddler).await;
        let actor = kubelet::act(space.clone(), client.clone(), namespace.clone());
        let _actor = AbortOnDropHandle::new(tokio::spawn(actor));
        let stage = Stage {
            space: space.clone(),
            client,
            namespace: namespace.clone(),
            replicas,
        };
        let mut violations = Vec::new();
        if let Err(Stuck(what)) = play(&task, &stage, &meddler).await {
            violations.push(what);
        }
        let run = finish(&stage, &meddler, &space, &task, violations);
        for replica in &stage.replicas {
            replica.end().await;
        }
        self.observer.forget(&namespace);
        run
    }

    async fn replicas(&self, task: &Task<'_>, namespace: &str, meddler: &Arc<Meddler>) -> Vec<Arc<Replica>> {
        let number = if task.freezes() { 2 } else { task.scenario.replicas };
        let mut replicas = Vec::new();
        for index in 0..number {
            let name = format!("{namespace}-{index}");
            let mut flags = vec![format!("--namespace={namespace}")];
            flags.extend(task.scenario.flags.iter().map(|&flag| flag.to_owned()));
            if number > 1 {
                flags.extend([
                    "--leader-elect".to_owned(),
                    format!("--leader-election-namespace={namespace}"),
                    format!("--pod-name={name}"),
                ]);
            }
            let handler = meddler.handler(index);
            let directory = self.cluster.directory();
            replicas.push(Replica::new(self.operator.clone(), handler, directory, &name, flags).await);
        }
        meddler.attach(replicas.clone());
        replicas[0].start();
        if let Some(standby) = replicas.get(1) {
            meddler.leads(0).await;
            standby.start();
        }
        replicas
    }
}

/// Plays the scenario, lets what was disturbed come to rest, and waits for the end that it should have.
async fn play(task: &Task<'_>, stage: &Stage, meddler: &Meddler) -> Result<(), Stuck> {
    (task.scenario.script)(stage).await?;
    meddler.over.cancel();
    meddler.background.close();
    meddler.background.wait().await;
    stage.wait("everything to be at rest", at_rest).await?;
    if stage.space.state().get(Kind::Job, JOB).is_some() {
        // It asks for nothing, and whatever was to happen before has happened when its generation is stored.
        let nothing = json!({ "spec": { "runPolicy": { "schedulingPolicy": { "minAvailable": 1 } } } });
        let generation = stage.edit(&nothing).await;
        stage
            .wait("an edit to be observed", |state| {
                let job = state.get(Kind::Job, JOB);
                job.is_some_and(|job| job["status"]["observedGeneration"] == generation)
            })
            .await?;
    }
    if let Some(expected) = task.expected {
        let expected = &expected.outcome.objects;
        // What differs is told by the comparison.
        stage.space.wait(PATIENCE, |state| objects(state) == *expected).await;
    }
    Ok(())
}

fn finish(stage: &Stage, meddler: &Meddler, space: &Space, task: &Task<'_>, mut violations: Vec<String>) -> Run {
    let (history, strays) = (space.history(), meddler.strays());
    let outcome = Outcome::new(&space.state(), &history, &strays);
    let (steps, mutating) = (meddler.steps(), meddler.mutating());
    violations.extend(laws::violations(&history, &strays));
    violations.extend(meddler.violations());
    // It ends when it cannot renew its lease for long, as when it was frozen.
    let ends = stage.replicas.iter().flat_map(|replica| replica.ends());
    let ends = ends.filter(|end| !end.contains("leadership lost"));
    violations.extend(
        ends.filter(|_| !task.freezes())
            .map(|end| format!("S13: the operator {end}")),
    );
    if let Some(expected) = task.expected {
        violations.extend(outcome.differences(&expected.outcome));
        if mutating > expected.mutating + SPARE * meddler.aimed().max(1) {
            violations.push(format!(
                "S9: {mutating} writes, {} without a fault: {steps:?}",
                expected.mutating
            ));
        }
    }
    Run {
        outcome,
        steps,
        mutating,
        came: meddler.aimed() > 0,
        met: meddler.met(),
        violations,
        logs: stage.replicas.iter().map(|replica| replica.log_tail()).collect(),
    }
}
