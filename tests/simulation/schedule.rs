//! What happens in a run: jobs, and what users, nodes, networks and machines do, with the time of each. A seed
//! determines it, and any part of it is a schedule too, so a failure can be made smaller.

use std::fmt;

use super::policies::Policies;
use super::process::Millis;
use super::random::Random;

/// A job of a run.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) master: bool,
    pub(super) workers: u32,
    pub(super) restart_policy: &'static str,
    pub(super) restarts: Restarts,
    pub(super) backoff_limit: Option<i32>,
    pub(super) clean_pod_policy: Option<&'static str>,
    pub(super) deadline: Option<i64>,
    pub(super) ttl: Option<i64>,
    pub(super) elastic: bool,
    pub(super) suspended: bool,
    pub(super) policies: Policies,
}

/// What starts again after a failure, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restarts {
    Replica,
    Job,
    JobInPlace,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Answered with this code, and not carried out.
    Refused(u16),
    /// The connection breaks before it arrives.
    CutBefore,
    /// It is carried out, and the connection breaks.
    CutAfter,
    /// It is carried out, and nothing is ever heard of it.
    Silent,
    /// It arrives late.
    Late(Millis),
    /// It arrives twice, and the answer is the second one.
    Twice,
    /// It is carried out, and the operator is killed before the answer arrives.
    Kill,
    /// The operator is killed before it arrives, and it does not.
    KillBefore,
}

/// Which request a fault meets: the next of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Status,
    Create,
    Delete,
    Read,
    List,
    Lease,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Suspend(bool),
    Scale(u32),
    Deadline(Option<i64>),
    Ttl(Option<i64>),
    BackoffLimit(Option<i32>),
    /// While the job is suspended its pods get another image, and the same edit resumes it or does not.
    Image(u64, bool),
    Label,
    /// Deletes the job, in the background, in the foreground or leaving its pods behind.
    Delete(Option<&'static str>),
    /// Creates it again if it is gone.
    Recreate,
    /// A pod ends with this exit code.
    Exit(usize, i32),
    /// The kubelet restarts a container in place.
    RestartContainer(usize),
    /// A pod is evicted by its node.
    Evict(usize),
    /// A pod is told to go by a disruption: its condition says so, then it is deleted.
    Disrupt(usize),
    /// A pod is deleted by a user, with its grace period or without.
    DeletePod(usize, bool),
    /// A pod that has to write writes no more.
    StandStill(usize),
    DeleteService(usize),
    /// The kubelet of a node stops, and goes on after so long.
    NodeLost(u64, Millis),
    /// In another namespace, somebody makes a pod that names the job as its owner, and it succeeds.
    Forge(usize),
    /// A quota allows so many pods for so long.
    Quota(usize, Millis),
    /// Every pod is refused for so long.
    Deny(Millis),
    /// Something happens to the next request of a kind.
    Meet(usize, Kind, Fault),
    /// Every answer takes so long, for so long.
    Slow(Millis, Millis),
    /// Nothing arrives in either direction for so long.
    Partition(usize, Millis),
    /// The events of a kind are so late, for so long.
    WatchLate(usize, &'static str, Millis, Millis),
    /// The watches of a kind hang half-open.
    WatchDeaf(usize, &'static str),
    /// The watches of a kind are cut.
    WatchCut(&'static str),
    /// The API server forgets its history, and cuts all watches.
    Compact,
    /// etcd is restored from a snapshot that was taken so many steps ago.
    Restore(usize),
    Crash(usize, Millis),
    Freeze(usize, Millis),
    Terminate(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    /// The jobs.
    pub(super) shapes: Vec<Shape>,
    /// Whether the operators make gangs of the pods, and Volcano admits them.
    pub(super) gang: bool,
    /// Whether the API server streams lists.
    pub(super) streams_lists: bool,
    pub(super) replicas: usize,
    /// With the number that each had when the schedule was drawn, its time, and the job that it is about if it is about
    /// one.
    pub(super) steps: Vec<(usize, Millis, usize, Step)>,
}

/// When the first step may come, and the last.
const BEGIN: Millis = 500;
const END: Millis = 30_000;

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut shapes = vec![Shape::draw(&mut random)];
        if random.once_in(3) {
            let more = random.within(1..3);
            shapes.extend((0..more).map(|_| Shape::draw(&mut random).small()));
        }
        let mut other = Random::new(!seed);
        for shape in &mut shapes {
            shape.restart_in_place(&mut other);
        }
        let streams_lists = !other.once_in(4);
        let gang = random.once_in(4);
        let mut replicas = if random.once_in(6) { 2 } else { 1 };
        let story = match random.within(0..24) {
            0 => {
                replicas = 2;
                late_take_over(&mut random)
            }
            1 => {
                shapes[0].workers = 60;
                (shapes[0].elastic, shapes[0].suspended) = (false, false);
                slow_start(&mut random)
            }
            2 => late_deletion(&mut random),
            3 => lost_recreation(&mut random),
            4 => unseen_image(&mut random),
            5 => {
                shapes[0].suspended = true;
                lost_suspension(&mut random)
            }
            _ => Vec::new(),
        };
        let count = random.within(1..14);
        let mut times: Vec<_> = (0..count).map(|_| moment(&mut random)).collect();
        times.sort_unstable();
        let mut steps: Vec<_> = times
            .into_iter()
            .map(|time| {
                let job = usize::try_from(random.within(0..shapes.len() as u64)).unwrap();
                (time, job, step(&mut random, &shapes[job], replicas))
            })
            .collect();
        // Numbers of its own, so that a seed of before is the same schedule with policies.
        let mut own = Random::new(seed.rotate_left(32));
        for (job, shape) in shapes.iter_mut().enumerate() {
            shape.policies = Policies::draw(&mut own, shape.restarts);
            let own_steps = shape.policies.steps(&mut own).into_iter();
            steps.extend(own_steps.map(|step| (own.within(3_000..END), job, step)));
        }
        steps.extend(story.into_iter().map(|(time, step)| (time, 0, step)));
        steps.sort_by_key(|(time, ..)| *time);
        let steps = steps.into_iter().enumerate();
        let steps = steps.map(|(number, (time, job, step))| (number, time, job, step));
        Self {
            seed,
            shapes,
            gang,
            streams_lists,
            replicas,
            steps: steps.collect(),
        }
    }

    /// The same without all but these steps.
    pub(super) fn only(&self, kept: &[usize]) -> Self {
        let mut less = self.clone();
        less.steps.retain(|(number, ..)| kept.contains(number));
        less
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gang = if self.gang { ", gangs" } else { "" };
        let lists = if self.streams_lists { "" } else { ", lists by pages" };
        writeln!(f, "seed {}, replicas {}{gang}{lists}", self.seed, self.replicas)?;
        for (job, shape) in self.shapes.iter().enumerate() {
            writeln!(f, "  job {job}: {shape:?}")?;
        }
        for (number, time, job, step) in &self.steps {
            writeln!(f, "  step {number} at {time} ms, job {job}: {step}")?;
        }
        Ok(())
    }
}

/// What seldom meets by chance: a leader stops after an edit that the watch of the other replica does not show for long.
fn late_take_over(random: &mut Random) -> Vec<(Millis, Step)> {
    let edit = random.within(4_000..7_000);
    let late = |replica| (3_000, Step::WatchLate(replica, "pytorchjobs", 25_000, 10_000));
    vec![
        late(0),
        late(1),
        (edit, Step::Suspend(true)),
        (edit + random.within(1_000..2_000), Step::Crash(0, 20_000)),
    ]
}

/// The same: the watch does not show for long that a job is gone, while its pods go.
fn late_deletion(random: &mut Random) -> Vec<(Millis, Step)> {
    let late = |replica| (3_000, Step::WatchLate(replica, "pytorchjobs", 25_000, 20_000));
    vec![late(0), (random.within(4_000..12_000), Step::Delete(None))]
}

/// The same: etcd is restored from a snapshot that was taken before the job was created again, and then it lacks a pod.
fn lost_recreation(random: &mut Random) -> Vec<(Millis, Step)> {
    let deleted = random.within(4_000..8_000);
    let created = deleted + random.within(3_000..5_000);
    let restored = created + random.within(1_000..6_000);
    let back = usize::try_from(random.within(1..4)).unwrap();
    vec![
        (deleted, Step::Delete(None)),
        (created, Step::Recreate),
        (restored, Step::Restore(back)),
        (restored + random.within(2_000..8_000), Step::DeletePod(0, true)),
    ]
}

/// The same: etcd is restored from a snapshot that was taken while a job was to run, and nobody was there to start it.
fn lost_suspension(random: &mut Random) -> Vec<(Millis, Step)> {
    let crash = random.within(4_000..8_000);
    let resumed = crash + random.within(200..1_000);
    let suspended = resumed + random.within(200..1_000);
    let restored = suspended + random.within(8_000..14_000);
    let back = usize::try_from(random.within(1..3)).unwrap();
    vec![
        (crash, Step::Crash(0, 4_000)),
        (resumed, Step::Suspend(false)),
        (suspended, Step::Suspend(true)),
        (restored, Step::Restore(back)),
    ]
}

/// The same: nobody is there while a job is suspended, gets another image and is resumed.
fn unseen_image(random: &mut Random) -> Vec<(Millis, Step)> {
    let crash = random.within(4_000..10_000);
    let suspended = crash + random.within(200..1_000);
    let edited = suspended + random.within(100..2_000);
    vec![
        (crash, Step::Crash(0, 6_000)),
        (suspended, Step::Suspend(true)),
        (edited, Step::Image(random.within(2..4), true)),
    ]
}

/// The same: a large job is suspended while it is created slowly.
fn slow_start(random: &mut Random) -> Vec<(Millis, Step)> {
    vec![
        (BEGIN, Step::Slow(random.within(2_000..4_000), 40_000)),
        (random.within(3_000..15_000), Step::Suspend(true)),
    ]
}

/// Half of the steps come in bursts, while the job is being set up or right after one another.
fn moment(random: &mut Random) -> Millis {
    match random.within(0..4) {
        0 => BEGIN + random.within(0..2_000),
        1 => 5_000 + random.within(0..1_000),
        _ => random.within(BEGIN..END),
    }
}

impl Shape {
    fn draw(random: &mut Random) -> Self {
        let master = !random.once_in(4);
        let workers = match random.within(0..8) {
            0 if master => 0,
            7 => u32::try_from(random.within(20..60)).unwrap(),
            few => u32::try_from(few % 3 + 1).unwrap(),
        };
        let elastic = workers > 0 && workers < 20 && random.once_in(3);
        Self {
            master,
            workers,
            restart_policy: *random.pick(&["OnFailure", "Never", "ExitCode", "OnFailure", "ExitCode"]),
            restarts: if random.once_in(4) {
                Restarts::Job
            } else {
                Restarts::Replica
            },
            backoff_limit: *random.pick(&[None, Some(0), Some(1), Some(3)]),
            clean_pod_policy: *random.pick(&[None, Some("None"), Some("Running"), Some("All")]),
            deadline: *random.pick(&[None, None, None, Some(8), Some(20)]),
            ttl: *random.pick(&[None, None, None, Some(0), Some(10)]),
            elastic,
            suspended: random.once_in(6),
            policies: Policies::default(),
        }
    }

    /// Makes some jobs start again in the pods that are there, most of them with a policy that lets them.
    fn restart_in_place(&mut self, random: &mut Random) {
        if random.once_in(if self.restarts == Restarts::Job { 2 } else { 8 }) {
            self.restarts = Restarts::JobInPlace;
            if !random.once_in(4) {
                self.restart_policy = "OnFailure";
            }
        }
    }

    /// The same with few workers.
    fn small(self) -> Self {
        Self {
            workers: self.workers.min(3),
            ..self
        }
    }
}

fn step(random: &mut Random, shape: &Shape, replicas: usize) -> Step {
    let pod = usize::try_from(random.within(0..64)).unwrap();
    let replica = pod % replicas;
    let resource = *random.pick(&["pytorchjobs", "pods", "pytorchjobs", "pods", "services"]);
    match random.within(0..42) {
        0..=3 => Step::Suspend(random.once_in(2)),
        4 if shape.elastic => Step::Scale(u32::try_from(random.within(1..5)).unwrap()),
        4 => Step::Label,
        5 => Step::Deadline(*random.pick(&[None, Some(5), Some(15)])),
        6 => Step::Ttl(*random.pick(&[None, Some(0), Some(5)])),
        7 => Step::BackoffLimit(*random.pick(&[None, Some(0), Some(2)])),
        8 => Step::Delete(*random.pick(&[None, None, Some("Foreground"), Some("Orphan")])),
        9 => Step::Recreate,
        10..=12 => Step::Exit(pod, *random.pick(&[0, 1, 1, 137, 143])),
        13 => Step::RestartContainer(pod),
        14 => Step::Evict(pod),
        15 => Step::Disrupt(pod),
        16..=17 => Step::DeletePod(pod, random.once_in(3)),
        18 => Step::DeleteService(pod),
        19 => Step::NodeLost(random.within(0..2), random.within(1_000..40_000)),
        20 => Step::Forge(pod),
        21 => Step::Quota(pod % 4, random.within(500..20_000)),
        22 => Step::Deny(random.within(500..10_000)),
        23..=28 => Step::Meet(replica, kind(random), fault(random)),
        29 => Step::Slow(random.within(100..4_000), random.within(1_000..15_000)),
        30 => Step::Partition(replica, random.within(500..30_000)),
        31..=32 => Step::WatchLate(
            replica,
            resource,
            random.within(200..20_000),
            random.within(1_000..20_000),
        ),
        33 => Step::WatchDeaf(replica, resource),
        34 => Step::WatchCut(resource),
        35 => Step::Compact,
        36 => Step::Restore(usize::try_from(random.within(1..6)).unwrap()),
        37 => Step::Freeze(replica, random.within(100..40_000)),
        38 => Step::Terminate(replica),
        39..=40 => Step::Image(random.within(1..4), random.once_in(2)),
        _ => Step::Crash(replica, random.within(0..5_000)),
    }
}

fn kind(random: &mut Random) -> Kind {
    *random.pick(&[
        Kind::Status,
        Kind::Status,
        Kind::Create,
        Kind::Delete,
        Kind::Read,
        Kind::List,
        Kind::Lease,
    ])
}

fn fault(random: &mut Random) -> Fault {
    match random.within(0..10) {
        0 => Fault::Refused(*random.pick(&[429, 500, 503, 504])),
        1 => Fault::CutBefore,
        2..=3 => Fault::CutAfter,
        4 => Fault::Silent,
        5 => Fault::Late(random.within(50..20_000)),
        6 => Fault::Twice,
        7 => Fault::KillBefore,
        _ => Fault::Kill,
    }
}
