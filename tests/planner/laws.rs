//! The laws, checked after every step of random histories: S1 to S9 and L1 of the design, in the form that a pure core
//! can be held to.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::api::ConditionType::{self, Failed, Running, Succeeded, Suspended};
use crate::api::{ChildKind, ChildRef, CleanPodPolicy, JobStatus, PyTorchJob, Replica, ReplicaType, RestartScope};
use crate::planner::{Action, Phase, Plan, Pod, finished, is_true, template_hash};
use crate::support::cluster::{Cluster, Objects, Outcome, Step, Written};
use crate::support::fixture::{JobBuilder, child, elastic_workers, master, master_and_workers, workers};

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_obeys_the_laws_and_settles_once_it_is_quiet(job in jobs(), steps in prop::collection::vec(steps(), 0..80)) {
        let mut history = History::new(job);
        for step in &steps {
            history.step(step);
        }
        history.quiet();
    }
}

/// A cluster, and what must not be forgotten about its past.
struct History {
    cluster: Cluster,
    /// Outcome, reason, message and completion time, as first stored.
    outcome: Option<Ending>,
    /// UIDs of the failures counted so far.
    counted: BTreeSet<String>,
    /// The most restarts that were allowed at any time; nothing when they were unlimited.
    limit: Option<i32>,
    restarts: i32,
}

/// Type, reason, message and time of an outcome.
pub(crate) type Ending = (String, Option<String>, Option<String>, Timestamp);

impl History {
    fn new(job: PyTorchJob) -> Self {
        let limit = job.spec.backoff_limit();
        Self {
            cluster: Cluster::new(job),
            outcome: None,
            counted: BTreeSet::new(),
            limit,
            restarts: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        if let Step::Operate(first, outcomes) = step {
            if !self.cluster.in_doubt {
                self.operate(*first, outcomes);
            }
        } else {
            self.cluster.step(step);
        }
        if let Some(job) = &self.cluster.stored.job {
            self.limit = self
                .limit
                .zip(job.spec.backoff_limit())
                .map(|(most, now)| most.max(now));
        }
    }

    fn operate(&mut self, first: usize, outcomes: &[Outcome]) -> Plan {
        let (seen, now) = (self.cluster.seen.clone(), self.cluster.now);
        let plan = seen.plan(now);
        hold(&seen, &plan, now);
        let finished = self.cluster.stored.finished();
        for written in self.cluster.carry_out(&plan, first, outcomes) {
            match written {
                Written::Created(_) => assert!(!finished, "S3: created after the outcome was stored"),
                Written::Deleted(pod) => self.replaced_pods_are_counted(&pod),
                Written::Status | Written::Restarted | Written::Job => {}
            }
        }
        self.stored_status_is_monotonic();
        plan
    }

    /// S4, at the API server: no failed replica of a working job is deleted before its failure is stored.
    fn replaced_pods_are_counted(&self, pod: &Pod) {
        let Some(job) = &self.cluster.stored.job else { return };
        let status = job.status.clone().unwrap_or_default();
        let suspended = |job: &PyTorchJob| job.spec.suspended() || job.status.as_ref().is_some_and(is_suspended);
        // A suspension that was stored covers its deletions, also when the answer to its status was lost.
        let working = self.cluster.seen.job.as_ref().is_some_and(|job| !suspended(job))
            && !finished(&status)
            && !is_suspended(&status);
        let wanted = slot(job, &pod.name).is_some_and(|(role, index)| index < job.spec.replicas(role));
        let knew = pod.failed() && status.observed_generation == job.metadata.generation;
        assert!(
            !(working && wanted && knew) || self.counted.contains(&pod.uid),
            "S4: {pod:?} was not counted"
        );
    }

    /// S3 and S4, at the API server: outcomes stay, counts only grow, and never beyond what was allowed.
    fn stored_status_is_monotonic(&mut self) {
        let Some(status) = self.cluster.stored.job.as_ref().and_then(|job| job.status.clone()) else {
            return;
        };
        if let Some(outcome) = &self.outcome {
            assert_eq!(
                stored_outcome(&status).as_ref(),
                Some(outcome),
                "S3: the outcome changed"
            );
        } else {
            self.outcome = stored_outcome(&status);
        }
        let restarts = status.restarts.unwrap_or(0);
        assert!(
            restarts >= self.restarts,
            "S4: {restarts} restarts after {}",
            self.restarts
        );
        assert!(
            self.limit.is_none_or(|limit| restarts <= limit),
            "S4: {restarts} restarts of at most {:?}",
            self.limit
        );
        assert!(
            status.attempts.is_empty()
                && status.restart_times.is_empty()
                && status.starting_since.is_none()
                && status.excluded_nodes.is_empty()
                && status.node_failures.is_empty(),
            "a field that is not set leaves no trace: {status:?}"
        );
        self.restarts = restarts;
        self.counted.extend(status.replaced_pods);
        assert!(
            self.counted.len() <= usize::try_from(restarts).unwrap_or(0),
            "S4: each replaced pod is a restart"
        );
    }

    /// The faults are over, the user is content, pods start and, once deleted, end: L1 and S9.
    fn quiet(&mut self) {
        for _ in 0..40 {
            self.cluster.see();
            let plan = self.operate(0, &[]);
            let before = self.cluster.stored.pods.clone();
            self.cluster.stored.pods.retain(|_, pod| !pod.terminating);
            for pod in self
                .cluster
                .stored
                .pods
                .values_mut()
                .filter(|pod| pod.phase == Phase::Pending)
            {
                pod.phase = Phase::Running;
            }
            if plan.actions.is_empty() && plan.status.is_none() && before == self.cluster.stored.pods {
                settled(&self.cluster.stored, &plan, self.cluster.now);
                return;
            }
        }
        unreachable!("L1: does not settle: {:#?}", self.cluster.stored.plan(self.cluster.now));
    }
}

/// Holds the plan for what an operator sees against the laws.
pub(crate) fn hold(seen: &Objects, plan: &Plan, now: Timestamp) {
    let Some(job) = &seen.job else { return };
    let told = Told { job, seen, plan, now };
    told.same_again();
    told.touches_only_what_it_has_seen();
    told.outcomes_are_final_and_complete();
    told.failures_are_counted_before_pods_are_replaced();
    told.clean_up_obeys_its_policy();
    told.nothing_is_created_while_suspended();
    told.generations_do_not_meet();
    told.deadlines_are_exact();
    told.active_is_what_exists_and_what_is_about_to();
    settles(seen.clone(), now);
}

/// S9: a job at rest has arrived where it should, and is silent until the next timer, and then not.
pub(crate) fn settled(stored: &Objects, plan: &Plan, now: Timestamp) {
    assert!(
        plan.events.is_empty() && plan.counts.is_empty(),
        "S9: a settled job says nothing: {plan:?}"
    );
    goal(stored);
    let Some(timer) = plan.requeue else { return };
    let timer = SignedDuration::try_from(timer).expect("timers fit");
    let Ok(due) = now.checked_add(timer) else { return };
    let early = stored.plan(due - SignedDuration::from_millis(1));
    assert!(
        early.actions.is_empty() && early.status.is_none(),
        "S7, S8: {early:?} is early"
    );
    let on_time = stored.plan(due);
    assert!(
        !on_time.actions.is_empty() || on_time.status.is_some(),
        "S7, S8: nothing happens when the time has come"
    );
}

/// What a plan was made from, and what it says.
struct Told<'a> {
    job: &'a PyTorchJob,
    seen: &'a Objects,
    plan: &'a Plan,
    now: Timestamp,
}

impl Told<'_> {
    fn stored(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// The status after the plan.
    fn status(&self) -> JobStatus {
        self.plan
            .status
            .as_ref()
            .map_or_else(|| self.stored(), |write| write.status.clone())
    }

    /// Whether the plan treats the job as suspended. A suspension does not end by being resumed: first all pods have to
    /// go.
    fn suspended(&self) -> bool {
        self.job.spec.suspended() || is_suspended(&self.status())
    }

    fn wants(&self, (role, index): (ReplicaType, u32)) -> bool {
        index < self.job.spec.replicas(role)
    }

    fn creations(&self) -> impl Iterator<Item = ChildRef> {
        self.plan.actions.iter().filter_map(|action| match action {
            Action::Create(child) => Some(*child),
            _ => None,
        })
    }

    fn deleted_pods(&self) -> impl Iterator<Item = &Pod> {
        self.plan.actions.iter().filter_map(|action| match action {
            Action::Delete {
                kind: ChildKind::Pod,
                name,
                ..
            } => self.seen.pods.get(name),
            _ => None,
        })
    }

    fn same_again(&self) {
        assert_eq!(self.seen.plan(self.now), *self.plan, "same input, same plan");
    }

    /// S1 and S2.
    fn touches_only_what_it_has_seen(&self) {
        for (at, action) in self.plan.actions.iter().enumerate() {
            assert!(!self.plan.actions[..at].contains(action), "twice: {action:?}");
            match action {
                Action::Delete {
                    kind: ChildKind::Pod,
                    name,
                    uid,
                } => {
                    let pod = self.seen.pods.get(name).expect("S2: the pod was seen");
                    assert!(pod.uid == *uid && !pod.terminating, "S2: {action:?} of {pod:?}");
                }
                Action::Delete { name, uid, .. } => {
                    let service = self.seen.services.get(name).expect("S2: the service was seen");
                    assert!(
                        service.uid == *uid && !service.terminating,
                        "S2: {action:?} of {service:?}"
                    );
                }
                Action::ForceDelete { .. } => unreachable!("no job here has unreachableSeconds"),
                Action::RestartInPlace { child, uid, .. } | Action::Recreate { child, uid, .. } => {
                    let pod = self.seen.pods.get(&child.name("job")).expect("S2: the pod was seen");
                    assert!(pod.uid == *uid && !pod.terminating, "S2: {action:?} of {pod:?}");
                }
                Action::Create(_) | Action::Update { .. } | Action::DeleteJob => {}
            }
        }
        for child in self.creations() {
            let replica = child.replica.expect("no job here has metrics");
            assert!(
                self.wants((replica.type_, replica.index)),
                "S1: {replica:?} is not desired"
            );
            let name = child.name("job");
            let exists = if child.kind == ChildKind::Pod {
                self.seen.pods.contains_key(&name)
            } else {
                self.seen.services.contains_key(&name)
            };
            assert!(!exists, "S1: {name} exists");
        }
    }

    /// S3.
    fn outcomes_are_final_and_complete(&self) {
        let (before, after) = (self.stored(), self.status());
        assert!(
            !(is_true(&after, Succeeded) && is_true(&after, Failed)),
            "S3: two outcomes"
        );
        if finished(&before) {
            assert_eq!(
                (&before.conditions, &before.completion_time),
                (&after.conditions, &after.completion_time),
                "S3"
            );
            assert_eq!(self.creations().count(), 0, "S3: nothing is created after the outcome");
        } else if finished(&after) {
            assert!(after.completion_time.is_some(), "S3: an outcome has its time");
            assert!(
                self.plan.actions.is_empty(),
                "an outcome is stored before anything is deleted because of it"
            );
            assert!(!is_true(&after, Running), "a finished job does not run");
        }
    }

    /// S4.
    fn failures_are_counted_before_pods_are_replaced(&self) {
        if finished(&self.stored()) || self.suspended() {
            return;
        }
        for pod in self.deleted_pods() {
            let wanted = slot(self.job, &pod.name).is_some_and(|slot| self.wants(slot));
            let counted = |pod: &Pod| pod.failed() && self.stored().replaced_pods.contains(&pod.uid);
            // One failure that is counted ends them all, if the spec says so.
            let whole = self.job.spec.restart_scope() == RestartScope::Job && self.seen.pods.values().any(counted);
            assert!(
                !wanted || whole || counted(pod) || pod.is_disrupted_remnant(),
                "S4: {pod:?} is deleted"
            );
        }
        assert!(
            self.status().restarts.unwrap_or(0) >= self.stored().restarts.unwrap_or(0),
            "S4"
        );
    }

    /// S5 and S8.
    fn clean_up_obeys_its_policy(&self) {
        let expired = self.plan.actions.contains(&Action::DeleteJob);
        if !finished(&self.stored()) {
            assert!(!expired, "S8: only a finished job expires");
            return;
        }
        let ttl = self.job.spec.ttl_seconds_after_finished().map(i64::from);
        let completed = self.stored().completion_time.expect("a finished job has its time").0;
        let due = ttl.map(|seconds| completed + SignedDuration::from_secs(seconds));
        assert_eq!(
            expired,
            due.is_some_and(|due| due <= self.now),
            "S8: due {due:?} at {}",
            self.now
        );
        for pod in self.deleted_pods() {
            assert!(goes(self.job, &self.stored(), pod), "S5: {pod:?} is deleted");
        }
    }

    /// S6.
    fn nothing_is_created_while_suspended(&self) {
        assert!(
            !(self.suspended() || is_suspended(&self.stored())) || self.creations().count() == 0,
            "S6: {:?}",
            self.plan.actions
        );
        let told = is_suspended(&self.stored()) || finished(&self.stored());
        assert!(
            told || !self.suspended() || self.plan.actions.is_empty(),
            "S6: {:?} before the suspension is stored",
            self.plan.actions
        );
        let left = self.seen.pods.values().any(|pod| !pod.terminating);
        let resumed = is_suspended(&self.stored()) && !is_suspended(&self.status());
        assert!(
            !(resumed && left) || finished(&self.status()),
            "S6: resumed with pods of before: {:?}",
            self.seen.pods
        );
    }

    /// New pods wait until the old ones are gone: two generations never meet in one rendezvous.
    fn generations_do_not_meet(&self) {
        let mut ours = self
            .seen
            .pods
            .values()
            .filter(|pod| slot(self.job, &pod.name).is_some());
        let only_old = !self.seen.pods.is_empty() && ours.all(|pod| pod.terminating);
        let creates = self.creations().any(|child| child.kind == ChildKind::Pod);
        assert!(
            !(only_old && creates),
            "{:?} beside {:?}",
            self.plan.actions,
            self.seen.pods
        );
    }

    /// S7, and the timer: exact, and never beyond the nearest deadline.
    fn deadlines_are_exact(&self) {
        let (before, after) = (self.stored(), self.status());
        let timer = |from: Option<Timestamp>, seconds: Option<i64>| {
            let due = from? + SignedDuration::from_secs(seconds?);
            Some(Duration::try_from(due.duration_since(self.now)).unwrap_or(Duration::ZERO))
        };
        let start = after.start_time.as_ref().map(|time| time.0);
        let left = timer(start, self.job.spec.active_deadline_seconds());
        if finished(&before) {
            let ttl = self.job.spec.ttl_seconds_after_finished().map(i64::from);
            let left = timer(after.completion_time.map(|time| time.0), ttl).filter(|left| !left.is_zero());
            assert_eq!(self.plan.requeue, left, "the timer of the TTL");
        } else if finished(&after) {
            let message = after
                .conditions
                .last()
                .and_then(|entry| entry.message.clone())
                .unwrap_or_default();
            let deadline = message.contains("active longer");
            assert!(
                !deadline || (left == Some(Duration::ZERO) && !self.suspended()),
                "S7: {left:?} too early"
            );
            assert_eq!(self.plan.requeue, None);
        } else if self.suspended() {
            assert_eq!(self.plan.requeue, None, "S7: no deadline while suspended");
        } else {
            assert_ne!(
                left,
                Some(Duration::ZERO),
                "S7: the deadline has passed and the job goes on"
            );
            assert_eq!(self.plan.requeue, left, "the timer of the deadline");
        }
    }

    /// S6, for the quota of whoever admitted the job: every pod that has not ended counts, and every one before it is
    /// created.
    fn active_is_what_exists_and_what_is_about_to(&self) {
        let status = self.plan.status.as_ref().map(|write| write.status.clone());
        let status = status.unwrap_or_else(|| self.stored());
        if finished(&self.stored()) {
            // It has no quota any more, and of the counts only the last is worth a write.
            return;
        }
        for role in ReplicaType::ALL
            .into_iter()
            .filter(|role| self.job.spec.replica(*role).is_some())
        {
            let active = |status: &JobStatus| {
                let counts = status.replica_statuses.get(role.key());
                let active = counts.and_then(|counts| counts.active).unwrap_or(0);
                usize::try_from(active).expect("a count")
            };
            let of_role = |pod: &&Pod| slot(self.job, &pod.name).is_some_and(|at| at.0 == role) && !pod.finished();
            let existing = self.seen.pods.values().filter(of_role).count();
            let creates = |action: &&Action| {
                matches!(action, Action::Create(child) if child.kind == ChildKind::Pod
                    && child.replica.is_some_and(|replica| replica.type_ == role))
            };
            let new = self.plan.actions.iter().filter(creates).count();
            assert!(active(&status) >= existing + new, "S6: {role}");
            let claimed = active(&self.stored()).max(existing);
            assert!(
                new == 0 || existing + new <= claimed,
                "S6: created before it is claimed, {role}"
            );
        }
    }
}

/// Planning and doing it, in a world where everything happens at once, comes to an end after a few rounds.
fn settles(mut seen: Objects, now: Timestamp) {
    for round in 0.. {
        let plan = seen.plan(now);
        if plan.actions.is_empty() && plan.status.is_none() {
            return;
        }
        assert!(
            round < 5,
            "planning again on what the plan made gives something new: {plan:#?}"
        );
        if let (Some(write), Some(job)) = (plan.status, &mut seen.job) {
            job.status = Some(write.status);
        }
        for action in plan.actions {
            match action {
                Action::Create(child) if child.kind == ChildKind::Pod => {
                    let name = child.name("job");
                    let job = seen.job.as_ref();
                    let pod = Pod {
                        name: name.clone(),
                        uid: format!("{name}-{round}"),
                        template_hash: job.map(|job| template_hash::current(&job.spec)),
                        generation: job.and_then(|job| job.metadata.generation),
                        ..Pod::default()
                    };
                    seen.pods.insert(name, pod);
                }
                Action::Create(created) => {
                    let name = created.name("job");
                    seen.services.insert(name.clone(), child(created.kind, &name, ""));
                }
                Action::Delete {
                    kind: ChildKind::Pod,
                    name,
                    ..
                }
                | Action::ForceDelete { name, .. } => drop(seen.pods.remove(&name)),
                Action::Delete { name, .. } => drop(seen.services.remove(&name)),
                Action::Update { .. } | Action::RestartInPlace { .. } | Action::Recreate { .. } => {
                    unreachable!("no job here has a PodGroup or metrics, and the definition is always the same")
                }
                Action::DeleteJob => seen.job = None,
            }
        }
    }
}

/// Whether the list of indexes and ranges has that of the worker of this name.
fn is_completed(indexes: &str, name: &str) -> bool {
    let index: u32 = name.trim_start_matches("job-worker-").parse().unwrap_or(u32::MAX);
    indexes.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let within = |first: u32, last: u32| (first..=last).contains(&index);
        first
            .parse()
            .ok()
            .zip(last.parse().ok())
            .is_some_and(|(first, last)| within(first, last))
    })
}

/// Where a settled job must have arrived.
fn goal(stored: &Objects) {
    let Some(job) = &stored.job else { return };
    let status = job.status.clone().unwrap_or_default();
    let names: BTreeSet<_> = stored.pods.keys().cloned().collect();
    let services: BTreeSet<_> = stored.services.keys().cloned().collect();
    assert_eq!(
        status.observed_generation, job.metadata.generation,
        "L1: the last edit was acted on"
    );
    let active = status.replica_statuses.values().any(|counts| counts.active.is_some());
    if finished(&status) {
        assert!(
            stored.pods.values().all(|pod| !goes(job, &status, pod)),
            "L1: clean-up is complete: {:?}",
            stored.pods
        );
        assert!(
            services.is_subset(&names),
            "W14: no service outlives its pod: {services:?}"
        );
        assert!(
            !active || stored.pods.values().any(|pod| !pod.finished()),
            "W34: nothing is active any more"
        );
    } else if job.spec.suspended() {
        assert!(
            names.is_empty() && services.is_empty(),
            "L1: {names:?} {services:?} while suspended"
        );
        assert!(
            is_true(&status, Suspended) && !is_true(&status, Running) && !active,
            "L1: {status:#?}"
        );
    } else {
        let roles = ReplicaType::ALL.into_iter();
        let wanted: BTreeSet<_> = roles
            .flat_map(|role| (0..job.spec.replicas(role)).map(move |index| Replica::new(role, index).name("job")))
            .collect();
        assert_eq!(services, wanted, "L1: exactly what is wanted");
        let completed = status.completed_indexes.clone().unwrap_or_default();
        assert!(
            names.is_subset(&wanted) && wanted.difference(&names).all(|name| is_completed(&completed, name)),
            "L1: exactly what is wanted, but for finished workers {completed:?}: {names:?}"
        );
        assert!(is_true(&status, Running), "L1: {status:#?}");
        let current = template_hash::current(&job.spec);
        let built_from = |pod: &Pod| pod.template_hash == Some(current);
        assert!(
            stored.pods.values().all(built_from),
            "L1: a pod was built from something else than what the spec says: {:?}",
            stored.pods
        );
        for other in [Suspended, ConditionType::Restarting] {
            assert!(!is_true(&status, other), "L1: {status:#?}");
        }
        assert!(
            status.replaced_pods.is_empty(),
            "L2: nothing outlives its cause: {status:#?}"
        );
    }
}

/// Whether the clean-up of a finished job takes this pod. One that no replica needs and that works goes whatever the
/// policy says.
fn goes(job: &PyTorchJob, status: &JobStatus, pod: &Pod) -> bool {
    let left_over = || slot(job, &pod.name).is_some_and(|(role, index)| index >= job.spec.replicas(role));
    let kept = match job.spec.clean_pod_policy() {
        Some(CleanPodPolicy::All) => return true,
        Some(CleanPodPolicy::Running) => false,
        Some(CleanPodPolicy::None) => true,
        None => !is_true(status, Failed),
    };
    !pod.finished() && (!kept || left_over())
}

/// The outcome in a status, which comes with its time.
pub(crate) fn stored_outcome(status: &JobStatus) -> Option<Ending> {
    let entry = status.conditions.iter().find(|entry| {
        entry.status == "True" && [Succeeded.as_str(), Failed.as_str()].contains(&entry.type_.as_str())
    })?;
    let completed = status
        .completion_time
        .as_ref()
        .expect("S3: an outcome is stored with its time")
        .0;
    Some((
        entry.type_.clone(),
        entry.reason.clone(),
        entry.message.clone(),
        completed,
    ))
}

fn is_suspended(status: &JobStatus) -> bool {
    is_true(status, Suspended)
}

fn slot(job: &PyTorchJob, name: &str) -> Option<(ReplicaType, u32)> {
    Replica::parse(job.metadata.name.as_deref()?, name).map(|replica| (replica.type_, replica.index))
}

fn jobs() -> impl Strategy<Value = PyTorchJob> {
    let shapes = (0..4_u32, 1..4_u32).prop_map(|(kind, count)| match kind {
        0 => master(),
        1 => master_and_workers(count),
        2 => workers(count),
        _ => elastic_workers(count, 1, 4),
    });
    let restart = || prop::sample::select(vec!["Always", "OnFailure", "Never", "ExitCode", ""]);
    (shapes, restart(), restart(), any::<bool>(), prop::option::of(0..4_i32)).prop_map(
        |(job, first, second, suspended, limit)| {
            let job = [(ReplicaType::Master, first), (ReplicaType::Worker, second)]
                .into_iter()
                .fold(job, restarted);
            let job = if suspended { job.policy("suspend", true) } else { job };
            match limit {
                Some(limit) => job.policy("backoffLimit", limit).build(),
                None => job.build(),
            }
        },
    )
}

fn restarted(job: JobBuilder, (role, policy): (ReplicaType, &str)) -> JobBuilder {
    let has_role = job.clone().build().spec.replica(role).is_some();
    if has_role { job.restart(role, policy) } else { job }
}

fn steps() -> impl Strategy<Value = Step> {
    let pick = || 0..8_usize;
    let exit_code = prop::sample::select(vec![1, 2, 127, 128, 137, 143]);
    let clean = prop::option::of(prop::sample::select(vec![
        CleanPodPolicy::All,
        CleanPodPolicy::Running,
        CleanPodPolicy::None,
    ]));
    let outcome = prop_oneof![
        12 => Just(Outcome::Done),
        2 => Just(Outcome::Refused),
        2 => Just(Outcome::Lost),
        1 => Just(Outcome::Crash),
    ];
    prop_oneof![
        6 => pick().prop_map(Step::Run),
        1 => pick().prop_map(Step::Succeed),
        2 => (pick(), exit_code).prop_map(|(pod, code)| Step::Fail(pod, code)),
        1 => pick().prop_map(Step::Evict),
        1 => pick().prop_map(Step::Restart),
        1 => pick().prop_map(Step::DeletePod),
        2 => pick().prop_map(Step::End),
        4 => pick().prop_map(Step::Bury),
        1 => pick().prop_map(Step::DeleteService),
        2 => any::<bool>().prop_map(Step::Suspend),
        1 => (0..3_u8, any::<bool>()).prop_map(|(image, resume)| Step::Template(image, resume)),
        1 => (prop::option::of(0..30_i64), any::<bool>()).prop_map(|(seconds, flat)| Step::Deadline(seconds, flat)),
        1 => (prop::option::of(0..30_i32), any::<bool>()).prop_map(|(seconds, flat)| Step::Ttl(seconds, flat)),
        1 => (clean, any::<bool>()).prop_map(|(policy, flat)| Step::Clean(policy, flat)),
        1 => (prop::option::of(0..5_i32), any::<bool>()).prop_map(|(limit, flat)| Step::Limit(limit, flat)),
        1 => (1..5_i32).prop_map(Step::Scale),
        2 => (1..5_000_i64).prop_map(Step::Wait),
        6 => Just(Step::SeeJob),
        6 => (2..6_usize).prop_map(Step::SeePods),
        3 => Just(Step::SeeServices),
        14 => (0..6_usize, prop::collection::vec(outcome, 0..6)).prop_map(|(first, outcomes)| Step::Operate(first, outcomes)),
    ]
}
