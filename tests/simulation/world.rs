//! The world of a run: one API server, its operators, and what happens to them, in the order of time.
//!
//! The world owns the time. An operator runs until the next event of the world or until it sends something, whichever
//! comes first; what it sends becomes an event. So there is one order of everything, and it follows from the seed.

use std::collections::BTreeMap;

use super::api_server::request::Target;
use super::api_server::{Answer, ApiServer, Key, Request, Resource, Store, expired, finished, shown};
use super::jobs::{self, NAMESPACE, OTHER_NAMESPACE};
use super::laws::{Job, Knowledge, Laws, Refuted, Sent, refuted};
use super::nodes::{Nodes, backs_off, deleting, uid};
use super::process::{Millis, Process, wall};
use super::random::Random;
use super::schedule::{Fault, Kind, Schedule};
use super::wire::{self, Events, Outgoing, Reply, WireBody};
use crate::platform::clock::simulation;

/// When nothing happens any more that a schedule has.
pub(super) const QUIET: Millis = 45_000;

/// What is to happen.
pub(super) enum Event {
    Step(usize),
    /// A request arrives.
    Arrive(Origin, Request, Option<Reply>, Option<Fault>),
    /// An answer arrives.
    Answer(Origin, Reply, Answer, Option<Refuted>),
    /// The answer to a watch arrives; its events follow.
    Begin(Origin, Reply, WireBody),
    /// An event of a watch arrives, and says this of a job.
    Chunk(usize, String, Option<serde_json::Value>),
    Bookmark(usize),
    WatchEnds(usize),
    Boot(usize),
    Thaw(usize),
    Collect,
    /// Volcano admits a gang.
    Admit(Key),
    Bind(String),
    Run(String),
    /// The kubelet sees that the resources of a container were changed.
    Resize(String),
    /// The kubelet has waited long enough after a failure.
    StartAgain(String),
    /// The kubelet calls a pod ended.
    End(String),
    Stop(String),
    Remove(String),
    /// All faults are over.
    Quiet,
    /// Nothing: up to here everybody runs.
    Rest,
}

/// Which process sent a request, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) replica: usize,
    pub(super) incarnation: u64,
    pub(super) sent: Millis,
}

/// A replica of the operator.
pub(super) struct Replica {
    pub(super) process: Option<Process>,
    pub(super) incarnation: u64,
    pub(super) frozen: bool,
    /// What has arrived while it was frozen.
    unread: Vec<serde_json::Value>,
    pub(super) partitioned: Millis,
    pub(super) faults: Vec<(Kind, Fault)>,
    /// By plural: until when, and how late, the events of a watch are.
    pub(super) late: BTreeMap<&'static str, (Millis, Millis)>,
}

/// A watch that is open.
struct Watch {
    origin: Origin,
    /// Without a name.
    key: Key,
    selector: String,
    events: Option<Events>,
    last: Millis,
    deaf: bool,
}

/// etcd at some time, and what was true then.
#[derive(Clone)]
pub(super) struct Snapshot {
    store: Store,
    jobs: BTreeMap<String, Job>,
    nodes: Nodes,
}

pub(super) struct World {
    pub(super) now: Millis,
    pub(super) schedule: Schedule,
    pub(super) random: Random,
    pub(super) server: ApiServer,
    pub(super) replicas: Vec<Replica>,
    pub(super) nodes: Nodes,
    pub(super) laws: Laws,
    pub(super) snapshots: Vec<Snapshot>,
    /// How long requests and answers take, and until when.
    pub(super) slow: (Millis, Millis),
    pub(super) refuses_until: Millis,
    /// Requests that an operator has sent which change something, and when the last was.
    pub(super) writes: u32,
    pub(super) last_write: Option<(Millis, String)>,
    queue: BTreeMap<(Millis, u64), Event>,
    number: u64,
    /// When the garbage collector comes next.
    collects: Millis,
    watches: Vec<Watch>,
    /// Up to which version changes have been seen.
    seen: u64,
    /// What happened, if it is to be told.
    pub(super) trace: Option<Vec<String>>,
    prints: bool,
}

impl World {
    pub(super) fn new(schedule: &Schedule, traces: bool, prints: bool) -> Self {
        fastrand::seed(schedule.seed);
        simulation::seed(Some(schedule.seed));
        let replica = || Replica {
            process: None,
            incarnation: 0,
            frozen: false,
            unread: Vec::new(),
            partitioned: 0,
            faults: Vec::new(),
            late: BTreeMap::new(),
        };
        let mut world = Self {
            now: 0,
            schedule: schedule.clone(),
            random: Random::new(schedule.seed ^ 0x5eed),
            server: ApiServer::default(),
            replicas: (0..schedule.replicas).map(|_| replica()).collect(),
            nodes: Nodes::default(),
            laws: Laws {
                knowledge: vec![Knowledge::default(); schedule.replicas],
                gangs: schedule.gang,
                ..Laws::default()
            },
            snapshots: Vec::new(),
            slow: (0, 0),
            refuses_until: 0,
            writes: 0,
            last_write: None,
            queue: BTreeMap::new(),
            number: 0,
            collects: 0,
            watches: Vec::new(),
            seen: 1,
            trace: traces.then(Vec::new),
            prints,
        };
        (0..schedule.replicas).for_each(|replica| world.at(1 + 7 * replica as u64, Event::Boot(replica)));
        let steps: Vec<_> = schedule.steps.iter().map(|(_, time, ..)| *time).collect();
        for (at, time) in steps.into_iter().enumerate() {
            world.at(time, Event::Step(at));
        }
        world.at(QUIET, Event::Quiet);
        world
    }

    /// Something is to happen at this time.
    pub(super) fn at(&mut self, time: Millis, event: Event) {
        self.number += 1;
        self.queue.insert((time.max(self.now), self.number), event);
    }

    /// Something is to happen within this time.
    pub(super) fn within(&mut self, range: std::ops::Range<Millis>, event: Event) {
        let after = self.random.within(range);
        self.at(self.now + after, event);
    }

    /// The garbage collector comes within this time, unless it comes before anyway.
    fn collect_within(&mut self, range: std::ops::Range<Millis>) {
        let at = self.now + self.random.within(range);
        if self.collects <= self.now || at < self.collects {
            self.collects = at;
            self.at(at, Event::Collect);
        }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        self.tell_if(true, what);
    }

    fn tell_if(&mut self, worth_it: bool, what: impl FnOnce() -> String) {
        if !worth_it {
            return;
        }
        if let Some(trace) = &mut self.trace {
            let line = format!("{:>7} {}", self.now, what());
            if self.prints {
                eprintln!("{line}");
            }
            trace.push(line);
        }
    }

    /// Lets time pass until `until`, or until a law is broken.
    pub(super) fn run_until(&mut self, until: Millis) -> Result<(), String> {
        self.at(until, Event::Rest);
        while self.now < until {
            self.run_replicas();
            let Some(((time, _), event)) = self.queue.pop_first() else {
                break;
            };
            self.now = time;
            self.happen(event);
            self.changes();
            if let Some(law) = self.laws.broken.take() {
                return Err(law);
            }
        }
        Ok(())
    }

    /// Lets every operator run until the next event.
    fn run_replicas(&mut self) {
        for at in 0..self.replicas.len() {
            loop {
                let Some(((next, _), _)) = self.queue.first_key_value() else {
                    return;
                };
                let next = *next;
                let replica = &mut self.replicas[at];
                let Some(process) = replica.process.as_mut().filter(|_| !replica.frozen) else {
                    break;
                };
                if process.now() >= next {
                    break;
                }
                let sent = process.run(next);
                let now = process.now();
                if let Some(why) = process.broken() {
                    self.laws
                        .broken
                        .get_or_insert_with(|| format!("an operator is not live: {why}"));
                }
                if let Some(ended) = process.ended() {
                    self.exited(at, now, &ended);
                }
                for outgoing in sent {
                    self.send(at, now, outgoing);
                }
            }
        }
    }

    fn exited(&mut self, replica: usize, now: Millis, ended: &Result<(), String>) {
        self.tell(|| format!("operator {replica} exits: {ended:?}"));
        let expected = match ended {
            Ok(()) => self.replicas[replica]
                .process
                .as_ref()
                .is_some_and(Process::was_terminated),
            Err(error) if error.starts_with("the API server was restored") => self.laws.restored.is_some(),
            Err(error) => self.replicas.len() > 1 && error.starts_with("leadership lost"),
        };
        if !expected {
            self.laws
                .broken
                .get_or_insert_with(|| format!("an operator ended: {ended:?}"));
        }
        self.end_process(replica);
        self.at(now + 1_000, Event::Boot(replica));
    }

    /// The process is gone, and its connections are closed.
    pub(super) fn end_process(&mut self, replica: usize) {
        self.replicas[replica].process = None;
        self.replicas[replica].frozen = false;
        self.replicas[replica].unread.clear();
        let watches = self.watches.iter_mut().filter(|watch| watch.origin.replica == replica);
        watches.for_each(|watch| watch.events = None);
    }

    fn send(&mut self, replica: usize, now: Millis, outgoing: Outgoing) {
        let Outgoing { request, reply } = outgoing;
        let slot = &mut self.replicas[replica];
        let origin = Origin {
            replica,
            incarnation: slot.incarnation,
            sent: now,
        };
        let kind = kind_of(&request);
        let met = slot.faults.iter().position(|(known, _)| Some(*known) == kind);
        let fault = met.map(|at| slot.faults.remove(at).1);
        let held = slot.partitioned;
        if let Some(fault) = fault {
            self.tell(|| format!("! {fault:?}"));
        }
        let mut arrives = (now + self.latency()).max(held);
        if let Some(Fault::Late(late)) = fault {
            arrives += late;
        }
        match fault {
            Some(Fault::KillBefore) => self.crash(replica, 500),
            _ => self.at(arrives, Event::Arrive(origin, request, Some(reply), fault)),
        }
    }

    /// How long a message takes.
    fn latency(&mut self) -> Millis {
        let (slow, until) = self.slow;
        let extra = if self.now < until {
            self.random.within(slow / 2..slow + 1)
        } else {
            0
        };
        self.random.within(1..5) + extra
    }

    pub(super) fn crash(&mut self, replica: usize, pause: Millis) {
        if self.replicas[replica].process.is_some() {
            self.tell(|| format!("operator {replica} is killed"));
            self.end_process(replica);
            self.at(self.now + pause, Event::Boot(replica));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(at) => self.step(at),
            Event::Arrive(origin, request, reply, fault) => self.arrive(origin, &request, reply, fault),
            Event::Begin(origin, reply, body) if self.is_there(origin) => wire::begin_watch(reply, body),
            Event::Answer(origin, reply, answer, refuted) => self.answered(origin, reply, &answer, refuted),
            Event::Chunk(watch, text, job) => self.chunk(watch, text, job),
            Event::Bookmark(watch) => self.bookmark(watch),
            Event::WatchEnds(watch) => self.watch_ends(watch),
            Event::Boot(replica) => self.boot(replica),
            Event::Thaw(replica) => self.thaw(replica),
            Event::Collect => self.collect(),
            Event::Admit(group) => self.admit(group),
            Event::Bind(pod) => self.bind(&pod),
            Event::Run(pod) => self.start_pod(&pod),
            Event::Resize(pod) => self.resize_pod(&pod),
            Event::StartAgain(pod) => self.start_again(&pod),
            Event::End(pod) => self.end_pod(&pod),
            Event::Stop(pod) => self.stop_pod(&pod),
            Event::Remove(pod) => self.remove_pod(&pod),
            Event::Quiet => self.quiet(),
            Event::Begin(..) | Event::Rest => {}
        }
    }

    fn boot(&mut self, replica: usize) {
        if self.replicas[replica].process.is_some() {
            return;
        }
        self.tell(|| format!("operator {replica} starts"));
        let (now, elects, gang) = (self.now, self.replicas.len() > 1, self.schedule.gang);
        let slot = &mut self.replicas[replica];
        slot.incarnation += 1;
        let name = format!("operator-{replica}-{}", slot.incarnation);
        slot.process = Some(Process::start(&name, now, elects, gang));
        self.laws.knowledge[replica] = Knowledge::begin(now);
    }

    pub(super) fn thaw(&mut self, replica: usize) {
        let slot = &mut self.replicas[replica];
        if !slot.frozen {
            return;
        }
        slot.frozen = false;
        if let Some(process) = &slot.process {
            process.thaw(self.now);
        }
        for body in std::mem::take(&mut slot.unread) {
            self.laws.told(replica, self.now, &body);
        }
        self.tell(|| format!("operator {replica} goes on"));
    }

    fn arrive(&mut self, origin: Origin, request: &Request, reply: Option<Reply>, fault: Option<Fault>) {
        if fault == Some(Fault::CutBefore) {
            return;
        }
        if request.watches() {
            if let Some(reply) = reply.filter(|_| self.is_there(origin)) {
                self.asked_to_watch(origin, request, reply, fault);
            }
            return;
        }
        let answer = match fault {
            Some(Fault::Refused(code)) => Answer::trouble(code),
            _ => self.serve(origin, request),
        };
        let lease = request.path.ends_with("/leases/lock") && answer.code == 200;
        self.tell_if(!lease, || {
            let body = String::from_utf8_lossy(&request.body);
            let body: String = body
                .chars()
                .take(if request.path.ends_with("/status") { 900 } else { 200 })
                .collect();
            let body = if request.path.contains("/events") {
                jobs::note(&request.body)
            } else {
                body
            };
            let (replica, sent) = (origin.replica, origin.sent);
            format!(
                "{replica} (at {sent}) {} {} {body} -> {}",
                request.method, request.path, answer.code
            )
        });
        if fault == Some(Fault::Kill) && self.is_there(origin) {
            self.crash(origin.replica, 500);
        }
        let refuted = refuted(request, &answer);
        match (fault, reply) {
            (Some(Fault::Twice), Some(reply)) => {
                let again = Event::Arrive(origin, request.clone(), Some(reply), None);
                self.within(1..50, again);
            }
            // The connection breaks when the reply is dropped.
            (Some(Fault::CutAfter | Fault::Kill), _) | (_, None) => {}
            (Some(Fault::Silent), Some(reply)) => {
                self.at(Millis::MAX, Event::Answer(origin, reply, answer, None));
            }
            (_, Some(reply)) => {
                let arrives = (self.now + self.latency()).max(self.replicas[origin.replica].partitioned);
                self.at(arrives, Event::Answer(origin, reply, answer, refuted));
            }
        }
    }

    fn asked_to_watch(&mut self, origin: Origin, request: &Request, reply: Reply, fault: Option<Fault>) {
        match fault {
            Some(Fault::Refused(code)) => wire::answer(reply, &Answer::trouble(code)),
            // The connection breaks when the reply is dropped.
            Some(Fault::CutAfter) => {}
            Some(Fault::Silent) => self.at(Millis::MAX, Event::Answer(origin, reply, Answer::trouble(504), None)),
            Some(Fault::Kill) => self.crash(origin.replica, 500),
            _ if request.streams_list() && !self.schedule.streams_lists => {
                wire::answer(reply, &Answer::streams_no_lists());
            }
            _ => self.watch(origin, request, reply),
        }
    }

    /// Whether the process that sent something still runs.
    fn is_there(&self, origin: Origin) -> bool {
        let slot = &self.replicas[origin.replica];
        slot.process.is_some() && slot.incarnation == origin.incarnation
    }

    fn serve(&mut self, origin: Origin, request: &Request) -> Answer {
        let Some(target) = request.target() else {
            return self.server.handle(request, wall(self.now));
        };
        if target.key.resource.plural == "events" {
            // Nobody reads them here.
            return Answer::created(serde_json::from_slice(&request.body).unwrap_or_default());
        }
        let before = self.server.store.get(&target.key).cloned();
        let answer = self.server.handle(request, wall(self.now));
        if self.is_there(origin) || request.mutates() {
            self.judge(origin, request, &target, before, answer.code);
        }
        answer
    }

    fn judge(
        &mut self,
        origin: Origin,
        request: &Request,
        target: &Target,
        before: Option<super::api_server::Object>,
        code: u16,
    ) {
        if request.mutates() && target.key.resource.plural != "leases" {
            self.writes += 1;
            self.last_write = Some((origin.sent, format!("{} {} -> {code}", request.method, request.path)));
        }
        let sent = Sent {
            replica: origin.replica,
            at: origin.sent,
            now: self.now,
            request,
            target,
            before,
            code,
        };
        if self.is_there(origin) {
            self.laws.sent(&sent, &self.server.store, &self.nodes);
        } else {
            self.laws.landed(&sent, &self.server.store, &self.nodes);
        }
    }

    fn answered(&mut self, origin: Origin, reply: Reply, answer: &Answer, refuted: Option<Refuted>) {
        if !self.is_there(origin) {
            return;
        }
        self.laws.refuted(origin.replica, self.now, refuted);
        self.told(origin.replica, answer.body.clone());
        let spec = &answer.body["spec"]["holderIdentity"];
        let name = format!("operator-{}-{}", origin.replica, origin.incarnation);
        if answer.body["kind"] == "Lease" && *spec == name {
            self.laws.leads(origin.replica, origin.sent, self.now);
        }
        wire::answer(reply, answer);
    }

    /// Something arrives at a replica; one that is frozen reads it later.
    fn told(&mut self, replica: usize, body: serde_json::Value) {
        let slot = &mut self.replicas[replica];
        if slot.frozen {
            slot.unread.push(body);
        } else {
            self.laws.told(replica, self.now, &body);
        }
    }

    fn watch(&mut self, origin: Origin, request: &Request, reply: Reply) {
        let Some(target) = request.target() else { return };
        let asked = request.query("resourceVersion").unwrap_or_default();
        let version: u64 = asked.parse().unwrap_or(0);
        let lists = request.streams_list();
        self.tell(|| {
            let from = if lists { "a list" } else { asked };
            format!("{} watches {} from {from}", origin.replica, target.key.resource.plural)
        });
        let watch = self.watches.len();
        let (events, body) = wire::new_watch();
        let slow = if lists && self.random.once_in(4) {
            self.random.within(50..1_500)
        } else {
            0
        };
        let begins = (self.now + self.latency() + slow).max(self.replicas[origin.replica].partitioned);
        self.at(begins, Event::Begin(origin, reply, body));
        self.watches.push(Watch {
            origin,
            key: target.key,
            selector: request.query("labelSelector").unwrap_or_default().to_owned(),
            events: Some(events),
            last: begins,
            deaf: false,
        });
        if lists {
            self.show_list(watch);
        } else if let Some(backlog) = self.server.store.since(version).map(<[_]>::to_vec) {
            for change in &backlog {
                self.show_change(watch, change);
            }
        } else {
            let error = expired(version, self.server.store.version());
            self.show(watch, line("ERROR", &error), None);
            let last = self.watches[watch].last;
            self.at(last + 1, Event::WatchEnds(watch));
            return;
        }
        let seconds = request.query("timeoutSeconds").unwrap_or_default();
        let seconds: u64 = seconds.parse().unwrap_or(290);
        self.at(self.now + seconds.saturating_sub(2) * 1_000, Event::Bookmark(watch));
        self.at(self.now + seconds * 1_000, Event::WatchEnds(watch));
    }

    /// What a streaming list begins with.
    fn show_list(&mut self, watch: usize) {
        let known = &self.watches[watch];
        for object in self.server.listed(&known.key, &known.selector) {
            self.show_object(watch, "ADDED", object);
        }
        let bookmark = self.server.bookmark(self.watches[watch].key.resource, true);
        self.show(watch, line("BOOKMARK", &bookmark), None);
    }

    fn show_change(&mut self, watch: usize, change: &super::api_server::Change) {
        let known = &self.watches[watch];
        if known.events.is_none() {
            return;
        }
        if let Some((type_, object)) = shown(change, &known.key, &known.selector) {
            self.show_object(watch, type_, object);
        }
    }

    fn show_object(&mut self, watch: usize, type_: &str, object: serde_json::Value) {
        let text = line(type_, &object);
        let job = (object["kind"] == "PyTorchJob").then_some(object);
        self.show(watch, text, job);
    }

    /// Sends an event of a watch on its way, behind those before it.
    fn show(&mut self, watch: usize, text: String, job: Option<serde_json::Value>) {
        let mut arrives = self.now + self.latency();
        let known = &self.watches[watch];
        let replica = &self.replicas[known.origin.replica];
        if let Some((until, late)) = replica.late.get(known.key.resource.plural)
            && self.now < *until
        {
            arrives += late;
        }
        let arrives = arrives.max(known.last).max(replica.partitioned);
        self.watches[watch].last = arrives;
        self.at(arrives, Event::Chunk(watch, text, job));
    }

    fn chunk(&mut self, watch: usize, text: String, job: Option<serde_json::Value>) {
        let known = &self.watches[watch];
        let replica = known.origin.replica;
        if known.deaf || known.events.is_none() || !self.is_there(known.origin) {
            return;
        }
        if let Some(job) = job {
            self.told(replica, job);
        }
        if let Some(events) = &self.watches[watch].events {
            let _closed = events.unbounded_send(text.into());
        }
    }

    fn bookmark(&mut self, watch: usize) {
        let bookmark = self.server.bookmark(self.watches[watch].key.resource, false);
        self.show(watch, line("BOOKMARK", &bookmark), None);
    }

    fn watch_ends(&mut self, watch: usize) {
        let known = &mut self.watches[watch];
        if known.events.is_none() || known.deaf {
            return;
        }
        // Not before what is on its way.
        if known.last > self.now {
            let last = known.last;
            self.at(last, Event::WatchEnds(watch));
            return;
        }
        known.events = None;
    }

    /// Cuts watches of a resource, or of all.
    pub(super) fn cut_watches(&mut self, plural: Option<&str>) {
        let of_kind =
            |watch: &&mut Watch| plural.is_none_or(|plural| watch.key.resource.plural == plural) && !watch.deaf;
        self.watches
            .iter_mut()
            .filter(of_kind)
            .for_each(|watch| watch.events = None);
    }

    /// The watches of a resource hang: nothing comes from them, not even their end.
    pub(super) fn deafen(&mut self, replica: usize, plural: &str) {
        let meant = |watch: &&mut Watch| watch.origin.replica == replica && watch.key.resource.plural == plural;
        self.watches
            .iter_mut()
            .filter(meant)
            .for_each(|watch| watch.deaf = true);
    }

    /// Tells the watches, the laws and the nodes what has changed.
    pub(super) fn changes(&mut self) {
        while self.seen < self.server.store.version() {
            let changes = self
                .server
                .store
                .since(self.seen)
                .map(<[_]>::to_vec)
                .unwrap_or_default();
            self.seen = self.server.store.version();
            for change in changes {
                for watch in 0..self.watches.len() {
                    self.show_change(watch, &change);
                }
                match change.key.resource.plural {
                    "pytorchjobs" => {
                        self.laws.changed(&change, self.now);
                        if change.gone || deleting(&change.after) {
                            self.collect_within(10..300);
                        }
                    }
                    "pods" => self.pod_changed(&change),
                    "podgroups" => self.group_changed(&change),
                    _ => self.collect_within(10..300),
                }
            }
        }
    }

    fn pod_changed(&mut self, change: &super::api_server::Change) {
        let pod = &change.after;
        let id = uid(pod).to_owned();
        if change.gone {
            self.nodes.gone(pod, self.now);
            self.collect_within(10..100);
            return;
        }
        self.nodes.changed(change.before.as_deref(), pod, self.now);
        if change.before.is_none() {
            self.nodes.born(pod);
            self.within(5..100, Event::Bind(id.clone()));
            let forged = change.key.namespace == OTHER_NAMESPACE;
            let range = if forged { 4_000..5_000 } else { 100..500 };
            self.collect_within(range);
        }
        if change
            .before
            .as_ref()
            .is_some_and(|before| before["spec"]["containers"] != pod["spec"]["containers"])
        {
            let soon = if self.random.once_in(6) {
                2_000..15_000
            } else {
                50..1_500
            };
            self.within(soon, Event::Resize(id.clone()));
        }
        if backs_off(pod) && !change.before.as_ref().is_some_and(|before| backs_off(before)) {
            self.within(200..12_000, Event::StartAgain(id.clone()));
        }
        if deleting(pod) && !change.before.as_ref().is_some_and(|before| deleting(before)) && !finished(pod) {
            self.nodes.stop(pod);
            let soon = if self.random.once_in(4) { 1_000..8_000 } else { 20..900 };
            self.within(soon, Event::Stop(id));
        }
    }

    /// Volcano admits a group some time after it was created.
    fn group_changed(&mut self, change: &super::api_server::Change) {
        let goes = change.gone || deleting(&change.after);
        if goes || change.before.is_none() {
            self.collect_within(10..300);
        }
        if goes {
            return;
        }
        if super::nodes::pending_group(&change.after) {
            self.within(50..900, Event::Admit(change.key.clone()));
        } else {
            self.laws.admitted(&change.after);
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            store: self.server.store.clone(),
            jobs: self.laws.jobs.clone(),
            nodes: self.nodes.clone(),
        }
    }

    pub(super) fn restore(&mut self, back: usize) {
        let Some(at) = self.snapshots.len().checked_sub(back + 1) else {
            return;
        };
        let earlier = self.snapshots[at].clone();
        self.changes();
        // No API server runs meanwhile: connections break, and what is under way in them is lost.
        self.queue
            .retain(|_, event| !matches!(event, Event::Arrive(..) | Event::Answer(..) | Event::Begin(..)));
        self.server.store.restore(&earlier.store);
        self.server.compact();
        self.seen = self.server.store.version();
        let back = std::mem::take(&mut self.nodes.back);
        let undone = std::mem::replace(&mut self.nodes, earlier.nodes);
        self.nodes.back = back;
        let nodes = [&undone, &self.nodes];
        self.laws.restored(&earlier.jobs, nodes, &self.server.store, self.now);
        self.cut_watches(None);
        self.revive();
    }

    /// After a restore every kubelet takes up the pods that there are.
    fn revive(&mut self) {
        let namespaces = [NAMESPACE, OTHER_NAMESPACE];
        let pods: Vec<_> = namespaces
            .iter()
            .flat_map(|namespace| super::nodes::pods(&self.server.store, namespace))
            .map(|(_, pod)| (uid(pod).to_owned(), deleting(pod)))
            .collect();
        for (pod, deleting) in pods {
            self.within(5..100, Event::Bind(pod.clone()));
            self.within(100..500, Event::Run(pod.clone()));
            self.within(500..1_000, Event::Resize(pod.clone()));
            self.within(500..1_000, Event::StartAgain(pod.clone()));
            self.within(500..1_000, Event::End(pod.clone()));
            if deleting {
                self.within(500..1_000, Event::Stop(pod));
            }
        }
        let groups = self.server.store.entries(Resource::named("podgroups"), NAMESPACE);
        let groups: Vec<_> = groups.map(|(key, _)| key.clone()).collect();
        for group in groups {
            self.within(50..900, Event::Admit(group));
        }
        self.collect_within(10..300);
    }

    fn quiet(&mut self) {
        self.tell(|| "quiet".into());
        self.slow = (0, 0);
        self.nodes.back.clear();
        (self.server.admission.pods, self.server.admission.denies) = (None, false);
        for replica in 0..self.replicas.len() {
            let slot = &mut self.replicas[replica];
            slot.faults.clear();
            slot.partitioned = 0;
            slot.late.clear();
            self.thaw(replica);
            self.boot(replica);
        }
        self.remove_orphans();
    }
}

/// An event of a watch as it is sent: the type comes first.
fn line(type_: &str, object: &serde_json::Value) -> String {
    format!("{{\"type\":\"{type_}\",\"object\":{object}}}\n")
}

/// Which faults may meet a request.
fn kind_of(request: &Request) -> Option<Kind> {
    let target = request.target()?;
    let plural = target.key.resource.plural;
    Some(match (request.method.as_str(), plural) {
        (_, "events") => return None,
        (_, "leases") => Kind::Lease,
        ("PATCH", _) => Kind::Status,
        ("POST", _) => Kind::Create,
        ("DELETE", _) => Kind::Delete,
        _ if !target.key.name.is_empty() => Kind::Read,
        _ => Kind::List,
    })
}
