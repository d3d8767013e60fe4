//! What a decision is made from.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::{ChildKind, ChildRef, ConditionType, JobStatus, PyTorchJob, Replica, ReplicaType, RestartScope};
use crate::planner::child::{Child, Pod};
use crate::planner::gang::Gang;
use crate::planner::init_container::InitContainer;
use crate::planner::replaced_pods::ReplacedPods;

/// A snapshot of one job and what it owns, and the time.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The job as stored.
    pub job: &'a PyTorchJob,
    /// The pods that this job's UID controls, sorted by name.
    pub pods: &'a [Pod],
    /// Everything else that this job's UID controls, sorted by kind and name.
    pub others: &'a [Child],
    /// Why the last attempt to create what is missing was refused, if it was.
    pub refusal: Option<&'a str>,
    /// Whether the definition may show the templates in another way than when the pods were built. To find out costs
    /// their parsing.
    pub definition_may_differ: bool,
    /// The generation of the spec that this process has last compared the pods with. A definition that prunes the
    /// status takes away what is stored of it.
    pub compared_generation: Option<i64>,
    /// What the operator's flags say about pods.
    pub settings: &'a Settings,
    /// The current time.
    pub now: Timestamp,
}

impl<'a> World<'a> {
    /// The stored status; empty before the first write.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// Name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace of the job.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.job.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod of this name.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods
            .binary_search_by(|pod| pod.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.pods[at])
    }

    /// The other objects of a kind.
    pub fn others(&self, kind: ChildKind) -> impl Iterator<Item = &Child> {
        self.others.iter().filter(move |child| child.kind == kind)
    }

    /// Whether the object exists, terminating or not.
    #[must_use]
    pub fn exists(&self, child: ChildRef) -> bool {
        let name = child.name(self.name());
        if child.kind == ChildKind::Pod {
            return self.pod(&name).is_some();
        }
        let key = |other: &Child| (other.kind, other.name.as_str()).cmp(&(child.kind, name.as_str()));
        self.others.binary_search_by(key).is_ok()
    }

    /// The replica that a pod or service of this name belongs to.
    #[must_use]
    pub fn replica_of(&self, name: &str) -> Option<Replica> {
        Replica::parse(self.name(), name)
    }

    /// Whether the spec asks for this replica.
    #[must_use]
    pub fn is_desired(&self, replica: Replica) -> bool {
        replica.index < self.job.spec.replicas(replica.type_)
    }

    /// The pods of replicas that the spec asks for, sorted by name.
    pub fn desired_pods(&self) -> impl Iterator<Item = (Replica, &'a Pod)> {
        self.pods
            .iter()
            .filter_map(|pod| Some((self.replica_of(&pod.name)?, pod)))
            .filter(|(replica, _)| self.is_desired(*replica))
    }

    /// Whether one failure starts the whole job again.
    #[must_use]
    pub fn restarts_as_a_whole(&self) -> bool {
        self.job.spec.restart_scope() == RestartScope::Job
    }

    /// Whether the whole job is being restarted in new pods: a failed pod that the status has counted is still there.
    #[must_use]
    pub fn is_restarting_as_a_whole(&self) -> bool {
        let recreates = self.restarts_as_a_whole() && !self.job.spec.restarts_in_place();
        let counted = self.counted();
        recreates && self.pods.iter().any(|pod| counted.contains(pod))
    }

    /// Whether the pod is of an attempt that is over and goes on in the newest one, in place or in a new pod.
    #[must_use]
    pub fn is_of_earlier_attempt(&self, pod: &Pod) -> bool {
        let newest = || self.job.status.as_ref().map_or(0, JobStatus::attempt);
        self.job.spec.restarts_in_place() && pod.attempt.is_some_and(|attempt| attempt < newest())
    }

    /// Whether the pod is of an attempt that is over and whose pods do not go on. It was created late, by a request of
    /// an operator that is dead, or was yet to be asked to start again in place when that was edited away.
    #[must_use]
    pub fn is_of_ended_attempt(&self, pod: &Pod) -> bool {
        let attempts = self.job.status.as_ref().map(|status| status.attempts.as_slice());
        let newest = attempts.and_then(<[_]>::last);
        let ended = newest.and_then(|newest| match (&newest.ended, newest.why.as_deref()) {
            (None, _) => Some(newest.number.saturating_sub(1)),
            (Some(_), Some(why)) if why == ConditionType::Restarting.as_str() => Some(newest.number),
            (Some(_), _) => None,
        });
        let recreates = self.restarts_as_a_whole() && !self.job.spec.restarts_in_place();
        recreates && pod.attempt.zip(ended).is_some_and(|(attempt, ended)| attempt <= ended)
    }

    /// Whether what becomes of the pod is of no concern to the newest attempt: its own is over.
    #[must_use]
    pub fn is_of_past_attempt(&self, pod: &Pod) -> bool {
        self.is_of_earlier_attempt(pod) || self.is_of_ended_attempt(pod)
    }

    /// The pods whose failure the stored status has counted.
    #[must_use]
    pub(crate) fn counted(&self) -> ReplacedPods<'a> {
        let status = self.job.status.as_ref();
        status.map(ReplacedPods::of).unwrap_or_default()
    }

    /// Every replica the spec asks for, Master first, then by index.
    pub fn desired(&self) -> impl Iterator<Item = Replica> {
        let spec = &self.job.spec;
        ReplicaType::ALL
            .into_iter()
            .flat_map(move |type_| (0..spec.replicas(type_)).map(move |index| Replica { type_, index }))
    }
}

/// What the operator's flags say about pods, and whether the cluster can do it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What workers wait for the Master in.
    pub init_container: InitContainer,
    /// The gang scheduler, if there is to be one.
    pub gang: Option<Gang>,
    /// The priority classes of the cluster with their values, as far as a gang scheduler needs them.
    pub priorities: BTreeMap<String, i32>,
}

impl Settings {
    /// The kinds of objects that jobs own.
    pub fn kinds(&self) -> impl Iterator<Item = ChildKind> + use<> {
        let gang = self.gang.as_ref().map(|gang| gang.scheduler.kind());
        ChildKind::ALL
            .into_iter()
            .filter(move |kind| !kind.is_pod_group() || gang == Some(*kind))
    }
}
