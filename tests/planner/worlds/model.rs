//! What the numbers in a [`State`] stand for, and what the planner says about it.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::jiff::Timestamp;

use crate::api::{ChildKind, JobStatus, PyTorchJob, ReplicaType};
use crate::laws::{self, Ending};
use crate::planner::{Action, Child, Phase, Plan, Pod, Urgency, finished, is_true, template_hash};
use crate::support::cluster::Objects;
use crate::support::environment::{Event, created, happen};
use crate::support::fixture::{JOB, at, child};

use super::state::{Job, Left, Life, Rank, SLOTS, State, Things, Write};
use super::world::{TICK, World};

/// A plan: the job that it is for, and what it writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Planned {
    pub job: Job,
    pub writes: Vec<Write>,
}

/// What the laws need to know of a status.
pub(super) struct Facts {
    pub status: JobStatus,
    pub outcome: Option<Ending>,
    pub suspended: bool,
    pub restarts: i32,
    /// The pods whose failure it has counted, a bit for each.
    pub counted: [u8; SLOTS],
    /// `active` of the role of each slot.
    pub active: [usize; SLOTS],
}

/// A small world, and all that has been found out about it.
pub(super) struct Model {
    pub world: World,
    pub jobs: Vec<PyTorchJob>,
    hashes: Vec<u64>,
    pub statuses: Vec<Facts>,
    numbers: HashMap<String, u16>,
    pub plans: Vec<Planned>,
    plan_numbers: HashMap<Planned, u32>,
    /// The plan for what is believed at a time; nothing when there is nothing to do.
    views: HashMap<(Things, u8), Option<u32>>,
}

impl Model {
    pub(super) fn new(world: World) -> Self {
        let jobs = world.versions();
        let mut model = Self {
            hashes: jobs.iter().map(|job| template_hash::current(&job.spec)).collect(),
            jobs,
            world,
            statuses: Vec::new(),
            numbers: HashMap::new(),
            plans: Vec::new(),
            plan_numbers: HashMap::new(),
            views: HashMap::new(),
        };
        model.number(&JobStatus::default());
        model
    }

    /// The state in which the job has just been created and seen.
    pub(super) fn start(&self) -> State {
        let things = Things {
            job: Some(Job { spec: 0, status: 0 }),
            pods: [None; SLOTS],
            services: [None; SLOTS],
        };
        State {
            stored: things,
            seen: things,
            doubted: false,
            pass: None,
            left: self.world.left,
            edits: 0,
            pods_born: [0; SLOTS],
            services_born: [0; SLOTS],
            counted: [0; SLOTS],
            lost_creation: false,
        }
    }

    pub(super) fn facts(&self, job: Job) -> &Facts {
        &self.statuses[usize::from(job.status)]
    }

    pub(super) fn version(&self, job: Job) -> &PyTorchJob {
        &self.jobs[usize::from(job.spec)]
    }

    /// Whether the spec asks for the replica of this slot.
    pub(super) fn wants(&self, job: Job, slot: usize) -> bool {
        let replica = self.world.replicas[slot];
        replica.index < self.version(job).spec.replicas(replica.type_)
    }

    /// The plan for what the operator believes; nothing when there is nothing to do. Made and held against the laws
    /// once.
    pub(super) fn plan(&mut self, seen: &Things, left: Left) -> Option<u32> {
        let mut key = (*seen, left.ticks);
        key.0.pods.iter_mut().flatten().for_each(|rank| rank.asked = false);
        if let Some(plan) = self.views.get(&key) {
            return *plan;
        }
        let (objects, now) = (self.objects(seen), self.now(left));
        let plan = objects.plan(now);
        laws::hold(&objects, &plan, now);
        let planned = seen
            .job
            .filter(|_| !plan.is_idle())
            .map(|job| self.planned(job, seen, &plan));
        self.views.insert(key, planned);
        planned
    }

    pub(super) fn now(&self, left: Left) -> Timestamp {
        at(TICK * i64::from(self.world.left.ticks - left.ticks))
    }

    fn planned(&mut self, job: Job, seen: &Things, plan: &Plan) -> u32 {
        let mut writes: Vec<Write> = plan.actions.iter().map(|action| self.write(seen, action)).collect();
        writes.sort_by_key(|write| write.rank());
        writes.extend(plan.status.as_ref().map(|write| Write::Status {
            status: self.number(&write.status),
            at_once: write.urgency == Urgency::Now,
        }));
        assert!(writes.len() <= 8, "a pass of a small world has few writes: {writes:?}");
        let planned = Planned { job, writes };
        let next = u32::try_from(self.plans.len()).expect("small worlds have few plans");
        let number = *self.plan_numbers.entry(planned.clone()).or_insert(next);
        if number == next {
            self.plans.push(planned);
        }
        number
    }

    fn write(&self, seen: &Things, action: &Action) -> Write {
        let slot = |name: &str| (0..SLOTS).find(|slot| self.world.name(*slot) == name);
        match action {
            Action::Create(new) => {
                let slot = slot(&new.name(JOB)).expect("S1: only replicas of the world are created");
                match new.kind {
                    ChildKind::Pod => Write::CreatePod { slot },
                    _ => Write::CreateService { slot },
                }
            }
            Action::Delete { kind, name, .. } => {
                let slot = slot(name).expect("S2: only what exists is deleted");
                match (kind, seen.pods[slot], seen.services[slot]) {
                    (ChildKind::Pod, Some(Rank { birth, life, .. }), _) => Write::DeletePod {
                        slot,
                        birth,
                        failed: matches!(life, Life::Failed(_)),
                    },
                    (_, _, Some(birth)) => Write::DeleteService { slot, birth },
                    _ => unreachable!("S2: only what was seen is deleted"),
                }
            }
            Action::ForceDelete { .. } => unreachable!("no job here has unreachableSeconds"),
            Action::DeleteJob => Write::DeleteJob,
            Action::Update { .. } | Action::RestartInPlace { .. } | Action::Recreate { .. } => {
                unreachable!("no job here has anything to update or starts again in place")
            }
        }
    }

    /// The number of a status, as the API server stores it.
    fn number(&mut self, status: &JobStatus) -> u16 {
        let text = serde_json::to_string(status).expect("a status is JSON");
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = u16::try_from(self.statuses.len()).expect("small worlds have few statuses");
        let facts = self.facts_of(serde_json::from_str(&text).expect("a status is read back"));
        self.statuses.push(facts);
        self.numbers.insert(text, number);
        number
    }

    fn facts_of(&self, status: JobStatus) -> Facts {
        let births = |slot: usize| {
            let prefix = format!("{}#", self.world.name(slot));
            let of_slot = status.replaced_pods.iter().filter_map(|uid| uid.strip_prefix(&prefix));
            of_slot.fold(0, |bits, birth| bits | 1 << birth.parse::<u8>().expect("a number"))
        };
        let active = |slot: usize| {
            let counts = status.replica_statuses.get(self.world.replicas[slot].type_.key());
            let active = counts.and_then(|counts| counts.active).unwrap_or(0);
            usize::try_from(active).expect("a count")
        };
        Facts {
            outcome: laws::stored_outcome(&status),
            suspended: is_true(&status, crate::api::ConditionType::Suspended),
            restarts: status.restarts.unwrap_or(0),
            counted: [births(0), births(1)],
            active: [active(0), active(1)],
            status,
        }
    }

    /// The objects as the planner takes them.
    pub(super) fn objects(&self, things: &Things) -> Objects {
        let job = things.job.map(|job| {
            let mut object = self.version(job).clone();
            object.status = (job.status != 0).then(|| self.facts(job).status.clone());
            object
        });
        let mut objects = Objects {
            job,
            ..Objects::default()
        };
        for slot in 0..SLOTS {
            let name = self.world.name(slot);
            if let Some(rank) = things.pods[slot] {
                objects.pods.insert(name.clone(), self.pod(&name, rank));
            }
            if let Some(birth) = things.services[slot] {
                let service: Child = child(ChildKind::Service, &name, &format!("{name}#{birth}"));
                objects.services.insert(name, service);
            }
        }
        objects
    }

    fn pod(&self, name: &str, rank: Rank) -> Pod {
        let spec = usize::from(rank.spec);
        let built_from = (self.hashes[spec], self.jobs[spec].metadata.generation);
        let mut pod = created(name, format!("{name}#{}", rank.birth), Some(built_from));
        match rank.life {
            Life::Pending => {}
            Life::Running => happen(&mut pod, &Event::Run),
            Life::Succeeded | Life::Stopped => happen(&mut pod, &Event::Succeed),
            Life::Failed(code) => happen(&mut pod, &Event::Exit(code.into())),
            Life::Disrupted => (pod.phase, pod.disrupted) = (Phase::Failed, true),
        }
        pod.deletion_requested = (rank.life == Life::Stopped).then(|| at(0));
        (pod.restarts, pod.terminating) = (rank.restarts.into(), rank.terminating);
        pod
    }

    /// How many pods of each role hold resources.
    pub(super) fn existing(&self, things: &Things) -> BTreeMap<ReplicaType, usize> {
        let mut existing = BTreeMap::new();
        for (replica, rank) in self.world.replicas.iter().zip(things.pods) {
            let holds = rank.is_some_and(|rank| !rank.ended());
            *existing.entry(replica.type_).or_default() += usize::from(holds);
        }
        existing
    }

    pub(super) fn finished(&self, job: Job) -> bool {
        finished(&self.facts(job).status)
    }
}
