//! The steps of a schedule: what users, nodes and the garbage collector do to the objects.

use serde_json::{Map, Value, json};

use super::api_server::{Key, Request, Resource, finished};
use super::laws::{replica_of, suspended};
use super::nodes::{
    End, alive, asked_to_restart, back_off, backs_off, bound, container_exited, deleting, ended, evicted, exited,
    has_ended, has_to_write, is_as_it_was_asked, owner, pending_group, pods, resize_pending, restarted, running,
    started, starts_after_back_off, starts_in_place, uid, unready,
};
use super::process::{Millis, wall};
use super::schedule::{Restarts, Schedule, Shape, Step};
use super::world::{Event, QUIET, World};

/// Namespace of the job, and another one.
pub(super) const NAMESPACE: &str = "team-a";
pub(super) const OTHER_NAMESPACE: &str = "team-b";
/// What a job owns.
pub(super) const CHILDREN: [&str; 4] = ["pods", "services", "horizontalpodautoscalers", "podgroups"];
/// Names of the jobs.
pub(super) const JOBS: [&str; 3] = ["train", "tune", "evaluate"];

/// The template of all replicas, with this version of the image.
fn template(version: u64) -> Value {
    json!({ "spec": { "containers": [{ "name": "pytorch", "image": format!("training:{version}") }] } })
}

/// A job of a schedule.
pub(super) fn job(name: &str, shape: &Shape) -> Value {
    let replica =
        |replicas: u32| json!({ "replicas": replicas, "restartPolicy": shape.restart_policy, "template": template(1) });
    let mut run_policy = json!({});
    for (field, value) in [
        ("backoffLimit", json!(shape.backoff_limit)),
        ("cleanPodPolicy", json!(shape.clean_pod_policy)),
        ("activeDeadlineSeconds", json!(shape.deadline)),
        ("ttlSecondsAfterFinished", json!(shape.ttl)),
        (
            "restartScope",
            json!((shape.restarts != Restarts::Replica).then_some("Job")),
        ),
        (
            "restartStrategy",
            json!((shape.restarts == Restarts::JobInPlace).then_some("InPlace")),
        ),
        ("suspend", json!(shape.suspended.then_some(true))),
    ]
    .into_iter()
    .chain(shape.policies.fields())
    {
        if !value.is_null() {
            run_policy[field] = value;
        }
    }
    let mut spec = json!({ "runPolicy": run_policy, "pytorchReplicaSpecs": {} });
    if shape.master {
        spec["pytorchReplicaSpecs"]["Master"] = replica(1);
    }
    if shape.workers > 0 {
        spec["pytorchReplicaSpecs"]["Worker"] = replica(shape.workers);
    }
    if shape.elastic {
        spec["elasticPolicy"] = json!({ "minReplicas": 1, "maxReplicas": 5 });
    }
    json!({ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec })
}

/// What an event says.
pub(super) fn note(event: &[u8]) -> String {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    format!("{} {}", event["reason"], event["note"])
}

fn url(job: usize) -> String {
    format!("/apis/kubeflow.org/v1/namespaces/{NAMESPACE}/pytorchjobs/{}", JOBS[job])
}

impl World {
    /// A job as stored.
    pub(super) fn job(&self, job: usize) -> Option<&Value> {
        let key = Key::new(Resource::named("pytorchjobs"), NAMESPACE, JOBS[job]);
        self.server.store.get(&key).map(AsRef::as_ref)
    }

    /// The jobs that are stored.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Value> {
        (0..self.schedule.shapes.len()).filter_map(|job| self.job(job))
    }

    /// Somebody asks the API server for something.
    fn ask(&mut self, method: &str, url: String, body: &Value) -> u16 {
        let request = Request {
            method: method.into(),
            path: url,
            content_type: "application/merge-patch+json".into(),
            body: if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            },
            ..Request::default()
        };
        let code = self.server.handle(&request, wall(self.now)).code;
        self.changes();
        code
    }

    pub(super) fn create_job(&mut self, number: usize) {
        let job = job(JOBS[number], &self.schedule.shapes[number]);
        let path = format!("/apis/kubeflow.org/v1/namespaces/{NAMESPACE}/pytorchjobs");
        self.ask("POST", path, &job);
    }

    fn edit(&mut self, job: usize, patch: &Value) {
        // What has finished takes no edit that would have to act.
        if !self.job(job).is_none_or(super::laws::terminal) {
            self.ask("PATCH", url(job), patch);
        }
    }

    /// What the definition lets a user do while the job is suspended, and not otherwise.
    fn change_image(&mut self, job: usize, version: u64, resumes: bool) {
        let Some(stored) = self.job(job).filter(|stored| suspended(stored)) else {
            return;
        };
        let roles = stored["spec"]["pytorchReplicaSpecs"].as_object().into_iter().flatten();
        let roles: Map<_, _> = roles
            .map(|(role, _)| (role.clone(), json!({ "template": template(version) })))
            .collect();
        let patch = json!({ "spec": { "pytorchReplicaSpecs": roles, "runPolicy": { "suspend": !resumes } } });
        self.edit(job, &patch);
    }

    pub(super) fn step(&mut self, at: usize) {
        let (number, _, job, step) = self.schedule.steps[at];
        self.tell(|| format!("step {number}, job {job}: {step}"));
        let to_come = &self.schedule.steps[at..];
        if to_come.iter().any(|(.., step)| matches!(step, Step::Restore(_))) {
            let snapshot = self.snapshot();
            self.snapshots.push(snapshot);
        }
        let of_policy = |name: &str, value: Value| json!({ "spec": { "runPolicy": { name: value } } });
        match step {
            Step::Suspend(suspend) => self.edit(job, &of_policy("suspend", json!(suspend))),
            Step::Scale(workers) => {
                self.edit(
                    job,
                    &json!({ "spec": { "pytorchReplicaSpecs": { "Worker": { "replicas": workers } } } }),
                );
            }
            Step::Deadline(seconds) => self.edit(job, &of_policy("activeDeadlineSeconds", json!(seconds))),
            Step::Ttl(seconds) => self.edit(job, &of_policy("ttlSecondsAfterFinished", json!(seconds))),
            Step::BackoffLimit(limit) => self.edit(job, &of_policy("backoffLimit", json!(limit))),
            Step::Image(version, resumes) => self.change_image(job, version, resumes),
            Step::Label => self.edit(
                job,
                &json!({ "metadata": { "labels": { "step": number.to_string() } } }),
            ),
            Step::Delete(propagation) => {
                self.ask("DELETE", url(job), &json!({ "propagationPolicy": propagation }));
            }
            Step::Recreate => self.create_job(job),
            Step::Exit(pod, code) => self.exit(pod, code),
            Step::RestartContainer(pod) => self.exit_in_place(pod),
            Step::Evict(pod) => self.evict(pod),
            Step::Disrupt(pod) => self.disrupt(pod),
            Step::DeletePod(pod, forced) => self.delete_pod(pod, forced),
            Step::StandStill(pod) => self.stand_still(pod),
            Step::DeleteService(service) => self.delete_service(service),
            Step::Forge(pod) => self.forge(pod),
            step => self.trouble(step),
        }
    }

    /// What happens to machines and connections.
    fn trouble(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::NodeLost(node, time) => {
                self.nodes.back.insert(node, now + time);
            }
            Step::Quota(pods, time) => {
                self.server.admission.pods = Some(pods);
                self.refuses_until = now + time;
            }
            Step::Deny(time) => {
                self.server.admission.denies = true;
                self.refuses_until = now + time;
            }
            Step::Meet(replica, kind, fault) => self.replicas[replica].faults.push((kind, fault)),
            Step::Slow(latency, time) => self.slow = (latency, now + time),
            Step::Partition(replica, time) => {
                let until = &mut self.replicas[replica].partitioned;
                *until = (now + time).max(*until);
            }
            Step::WatchLate(replica, plural, late, time) => {
                self.replicas[replica].late.insert(plural, (now + time, late));
            }
            Step::WatchDeaf(replica, plural) => self.deafen(replica, plural),
            Step::WatchCut(plural) => self.cut_watches(Some(plural)),
            Step::Compact => {
                self.changes();
                self.server.compact();
                self.cut_watches(None);
            }
            Step::Restore(back) => self.restore(back),
            Step::Crash(replica, pause) => self.crash(replica, pause),
            Step::Freeze(replica, time) => {
                let slot = &mut self.replicas[replica];
                if slot.process.is_some() && !slot.frozen {
                    slot.frozen = true;
                    self.at(now + time, Event::Thaw(replica));
                }
            }
            Step::Terminate(replica) => {
                let slot = &self.replicas[replica];
                if let Some(process) = slot.process.as_ref().filter(|_| !slot.frozen) {
                    process.terminate();
                }
            }
            _ => unreachable!("{step} is a step of somebody else"),
        }
    }

    /// The pod of the job that a number picks among those it may mean.
    fn pick(&self, number: usize, eligible: impl Fn(&Value) -> bool) -> Option<(Key, Value)> {
        let pods: Vec<_> = pods(&self.server.store, NAMESPACE)
            .filter(|(_, pod)| eligible(pod))
            .collect();
        let (key, pod) = pods.get(number % pods.len().max(1))?;
        Some(((*key).clone(), (*pod).clone()))
    }

    fn find(&self, pod: &str) -> Option<(Key, Value)> {
        let namespaces = [NAMESPACE, OTHER_NAMESPACE];
        let mut found = namespaces
            .iter()
            .flat_map(|namespace| pods(&self.server.store, namespace));
        found
            .find(|(_, known)| uid(known) == pod)
            .map(|(key, pod)| (key.clone(), pod.clone()))
    }

    fn put(&mut self, key: Key, pod: Value) {
        self.server.store.put(key, pod);
        self.changes();
    }

    fn exit(&mut self, number: usize, code: i32) {
        let Some((key, pod)) = self.pick(number, running) else {
            return;
        };
        self.end_container(key, pod, code);
    }

    /// A container ends by itself.
    pub(super) fn end_container(&mut self, key: Key, mut pod: Value, code: i32) {
        let (now, may_restart) = (self.now, !deleting(&pod));
        if backs_off(&pod) {
            return;
        }
        let waits = may_restart && code != 0 && starts_in_place(&pod) && self.random.once_in(2);
        if waits {
            back_off(&mut pod, code, now);
        }
        if waits || container_exited(&mut pod, code, now, may_restart) {
            if let Some(job) = owner(&pod).and_then(|job| self.laws.jobs.get_mut(job)) {
                job.unseen += 1;
            }
        } else {
            if let Some(life) = self.nodes.lives.get_mut(uid(&pod)) {
                life.ended = Some(End::Exited(code));
            }
            if self.random.once_in(2) {
                ended(&mut pod);
            } else {
                self.within(1..500, Event::End(uid(&pod).to_owned()));
            }
        }
        self.put(key, pod);
    }

    /// The kubelet calls the pod ended whose container has.
    pub(super) fn end_pod(&mut self, pod: &str) {
        let Some((key, mut pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::End(uid(&pod).to_owned()));
        }
        if has_ended(&pod) {
            ended(&mut pod);
            self.put(key, pod);
        }
    }

    fn exit_in_place(&mut self, number: usize) {
        let restartable = |pod: &Value| running(pod) && pod["spec"]["restartPolicy"] != "Never" && !deleting(pod);
        if let Some((key, pod)) = self.pick(number, restartable) {
            self.end_container(key, pod, 1);
        }
    }

    fn evict(&mut self, number: usize) {
        let Some((key, mut pod)) = self.pick(number, |pod| running(pod) && !deleting(pod)) else {
            return;
        };
        evicted(&mut pod, false);
        if let Some(life) = self.nodes.lives.get_mut(uid(&pod)) {
            life.ended = Some(End::Evicted);
        }
        self.put(key, pod);
    }

    /// The kubelet finds that nothing was written for too long.
    fn stand_still(&mut self, number: usize) {
        let writes = |pod: &Value| running(pod) && !deleting(pod) && !backs_off(pod) && has_to_write(pod);
        if let Some((key, mut pod)) = self.pick(number, writes) {
            unready(&mut pod, self.now);
            self.put(key, pod);
        }
    }

    fn disrupt(&mut self, number: usize) {
        let Some((key, mut pod)) = self.pick(number, |pod| running(pod) && !deleting(pod)) else {
            return;
        };
        if number.is_multiple_of(2) {
            evicted(&mut pod, true);
        } else {
            pod["status"]["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True" }]);
        }
        self.nodes.stop(&pod);
        self.put(key.clone(), pod);
        if !number.is_multiple_of(2) {
            self.delete(&key, false);
        }
    }

    fn delete(&mut self, key: &Key, forced: bool) {
        let resource = key.resource;
        let path = format!(
            "{}/namespaces/{}/{}/{}",
            resource.prefix(),
            key.namespace,
            resource.plural,
            key.name
        );
        let grace = forced.then_some(0);
        self.ask("DELETE", path, &json!({ "gracePeriodSeconds": grace }));
    }

    fn delete_pod(&mut self, number: usize, forced: bool) {
        if let Some((key, _)) = self.pick(number, |_| true) {
            self.delete(&key, forced);
        }
    }

    fn delete_service(&mut self, number: usize) {
        let services: Vec<Key> = self
            .server
            .store
            .entries(Resource::named("services"), NAMESPACE)
            .map(|(key, _)| key.clone())
            .collect();
        if let Some(key) = services.get(number % services.len().max(1)) {
            self.delete(key, false);
        }
    }

    /// Somebody in another namespace makes a pod that says it is the job's, and ends well at once.
    fn forge(&mut self, number: usize) {
        let Some((key, pod)) = self.pick(number, |_| true) else {
            return;
        };
        let metadata = json!({ "name": key.name, "namespace": OTHER_NAMESPACE, "labels": pod["metadata"]["labels"],
            "ownerReferences": pod["metadata"]["ownerReferences"] });
        let forged = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": { "containers": [{ "name": "pytorch", "image": "mine" }], "restartPolicy": "Never" } });
        self.ask("POST", format!("/api/v1/namespaces/{OTHER_NAMESPACE}/pods"), &forged);
        let key = Key::new(key.resource, OTHER_NAMESPACE, &key.name);
        if let Some(mut pod) = self.server.store.get(&key).map(|pod| pod.as_ref().clone()) {
            started(&mut pod, self.now);
            exited(&mut pod, 0, self.now, false);
            if let Some(life) = self.nodes.lives.get_mut(uid(&pod)) {
                // It is nobody's.
                life.job.clear();
            }
            self.put(key, pod);
        }
    }

    /// Volcano has found room for a gang.
    pub(super) fn admit(&mut self, key: Key) {
        let group = self.server.store.get(&key).map(|group| group.as_ref().clone());
        if let Some(mut group) = group.filter(pending_group) {
            group["status"] = json!({ "phase": "Inqueue" });
            self.put(key, group);
        }
    }

    pub(super) fn bind(&mut self, pod: &str) {
        let Some((key, mut pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::Bind(uid(&pod).to_owned()));
        }
        if pod["spec"]["nodeName"].is_null() && !finished(&pod) && !deleting(&pod) {
            bound(&mut pod);
            self.within(50..700, Event::Run(uid(&pod).to_owned()));
            self.put(key, pod);
        }
    }

    pub(super) fn start_pod(&mut self, pod: &str) {
        let Some((key, mut pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::Run(uid(&pod).to_owned()));
        }
        if pod["status"]["phase"] == "Pending" && !deleting(&pod) && !pod["spec"]["nodeName"].is_null() {
            started(&mut pod, self.now);
            self.put(key, pod);
        }
    }

    /// The kubelet restarts a container whose resources were changed, or says why it does not.
    pub(super) fn resize_pod(&mut self, pod: &str) {
        let Some((key, mut pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::Resize(uid(&pod).to_owned()));
        }
        if !running(&pod) || deleting(&pod) || !asked_to_restart(&pod) {
            return;
        }
        if backs_off(&pod) {
            if self.nodes.starts_at_once(&pod) {
                self.end_back_off(key, pod);
            }
            return;
        }
        let refuses = self.now < QUIET;
        match self.random.within(0..16) {
            0 if refuses => resize_pending(&mut pod, "Infeasible"),
            1 if refuses => {
                resize_pending(&mut pod, "Deferred");
                self.laws.deferred.insert(uid(&pod).to_owned());
            }
            2 if is_as_it_was_asked(&pod) => self.end_before_restart(&mut pod),
            _ => {
                let code = *self.random.pick(&[0, 1, 143, 143]);
                restarted(&mut pod, code, self.now);
                self.nodes.restarted(&pod);
            }
        }
        self.put(key, pod);
    }

    /// The kubelet has waited long enough after a failure.
    pub(super) fn start_again(&mut self, pod: &str) {
        let Some((key, pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::StartAgain(uid(&pod).to_owned()));
        }
        if running(&pod) && !deleting(&pod) && backs_off(&pod) {
            self.end_back_off(key, pod);
        }
    }

    fn end_back_off(&mut self, key: Key, mut pod: Value) {
        starts_after_back_off(&mut pod, self.now);
        self.nodes.restarted(&pod);
        self.put(key, pod);
    }

    /// The container ends well by itself when it is told to, before the kubelet has seen to it that it starts again.
    fn end_before_restart(&mut self, pod: &mut Value) {
        self.nodes.stop(pod);
        if !exited(pod, 0, self.now, true)
            && let Some(life) = self.nodes.lives.get_mut(uid(pod))
        {
            life.ended = Some(End::Exited(0));
        }
    }

    /// The kubelet has stopped what it was told to stop.
    pub(super) fn stop_pod(&mut self, pod: &str) {
        let Some((key, mut pod)) = self.find(pod) else { return };
        if let Some(back) = self.nodes.lost_until(&pod, self.now) {
            return self.at(back, Event::Stop(uid(&pod).to_owned()));
        }
        if running(&pod) {
            let code = if self.random.once_in(3) { 0 } else { 143 };
            exited(&mut pod, code, self.now, false);
            let life = self.nodes.lives.entry(uid(&pod).to_owned()).or_default();
            life.ended = life.ended.or(Some(End::Exited(code)));
            self.put(key, pod.clone());
        } else if has_ended(&pod) {
            ended(&mut pod);
            self.put(key, pod.clone());
        }
        self.within(10..300, Event::Remove(uid(&pod).to_owned()));
    }

    pub(super) fn remove_pod(&mut self, pod: &str) {
        if let Some((key, _)) = self.find(pod) {
            self.delete(&key, true);
        }
    }

    /// The garbage collector.
    pub(super) fn collect(&mut self) {
        self.lift_quota();
        let jobs: Vec<(Key, Value)> = self
            .server
            .store
            .entries(Resource::named("pytorchjobs"), "")
            .map(|(key, job)| (key.clone(), job.as_ref().clone()))
            .collect();
        let mut children = Vec::new();
        for plural in CHILDREN {
            let entries = self.server.store.entries(Resource::named(plural), "");
            let owned =
                entries.filter_map(|(key, child)| Some((key.clone(), owner(child)?.to_owned(), deleting(child))));
            children.extend(owned);
        }
        for (key, owner, going) in &children {
            let job = jobs
                .iter()
                .find(|(job, object)| job.namespace == key.namespace && uid(object) == *owner);
            let foreground = |job: &Value| has_finalizer(job, "foregroundDeletion");
            if !going && job.is_none_or(|(_, job)| foreground(job)) {
                self.delete(key, false);
            }
        }
        for (key, job) in jobs {
            let own: Vec<&Key> = children
                .iter()
                .filter(|(_, owner, _)| *owner == uid(&job))
                .map(|(key, ..)| key)
                .collect();
            if has_finalizer(&job, "orphan") {
                for key in own {
                    self.disown(key);
                }
                self.release(&key);
            } else if has_finalizer(&job, "foregroundDeletion") && own.is_empty() {
                self.release(&key);
            }
        }
    }

    fn disown(&mut self, key: &Key) {
        if let Some(mut child) = self.server.store.get(key).map(|child| child.as_ref().clone()) {
            child["metadata"]["ownerReferences"] = json!([]);
            self.put(key.clone(), child);
        }
    }

    fn release(&mut self, key: &Key) {
        let path = format!(
            "/apis/kubeflow.org/v1/namespaces/{}/pytorchjobs/{}",
            key.namespace, key.name
        );
        self.ask("PATCH", path, &json!({ "metadata": { "finalizers": null } }));
    }

    fn lift_quota(&mut self) {
        if self.now >= self.refuses_until {
            (self.server.admission.pods, self.server.admission.denies) = (None, false);
        }
    }

    /// The user takes away what a deleted job was told to leave behind.
    pub(super) fn remove_orphans(&mut self) {
        for plural in CHILDREN {
            let entries = self.server.store.entries(Resource::named(plural), NAMESPACE);
            let orphans: Vec<Key> = entries
                .filter(|(_, object)| owner(object).is_none())
                .map(|(key, _)| key.clone())
                .collect();
            for key in &orphans {
                self.delete(key, true);
            }
        }
    }

    /// All pods that decide about a job end well.
    pub(super) fn finish_job(&mut self, job: usize) {
        let role = if self.schedule.shapes[job].master {
            "Master"
        } else {
            "Worker"
        };
        let Some(id) = self.job(job).map(uid) else { return };
        let deciding: Vec<_> = pods(&self.server.store, NAMESPACE)
            .filter(|(_, pod)| owner(pod) == Some(id) && alive(pod) && running(pod) && !deleting(pod))
            .filter(|(_, pod)| replica_of(pod).is_some_and(|(of, _)| of == role))
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect();
        for (key, mut pod) in deciding {
            exited(&mut pod, 0, self.now, false);
            if let Some(life) = self.nodes.lives.get_mut(uid(&pod)) {
                life.ended = Some(End::Exited(0));
            }
            self.put(key, pod);
        }
    }
}

fn has_finalizer(job: &Value, name: &str) -> bool {
    let finalizers = job["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == name))
}

/// When the user creates a job.
pub(super) fn born(schedule: &Schedule, job: usize) -> Millis {
    100 + (schedule.seed + 311 * job as u64) % 700
}
