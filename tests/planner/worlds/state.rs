//! One state of a small world: what is stored, what the operator believes, what it is about to write, and what may yet
//! happen. Small enough that millions fit into memory.

/// Replicas of a small world.
pub(super) const SLOTS: usize = 2;

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Pending,
    Running,
    /// Ended well by itself.
    Succeeded,
    /// Told to stop, and ended well then.
    Stopped,
    /// Ended with this exit code.
    Failed(u8),
    /// Ended because its node was shut down.
    Disrupted,
}

/// A pod. Its name is that of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rank {
    /// How many pods of this name there were before: its UID.
    pub birth: u8,
    /// The version of the spec that it was built from.
    pub spec: u8,
    pub life: Life,
    /// Restarts in place.
    pub restarts: u8,
    pub terminating: bool,
    /// Whether the operator has asked for its deletion, as far as it remembers.
    pub asked: bool,
}

impl Rank {
    pub(super) const fn ended(self) -> bool {
        !matches!(self.life, Life::Pending | Life::Running)
    }

    /// Whether it runs and nobody wants it gone.
    pub(super) fn works(self) -> bool {
        self.life == Life::Running && !self.terminating
    }
}

/// A job as stored. Its content is its resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Job {
    /// How many edits it has seen.
    pub spec: u8,
    /// Its status, as [`super::model::Model`] numbers them.
    pub status: u16,
}

/// The objects, as stored or as the operator believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Things {
    pub job: Option<Job>,
    pub pods: [Option<Rank>; SLOTS],
    /// Services: how many of this name there were before.
    pub services: [Option<u8>; SLOTS],
}

/// A write of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Write {
    DeletePod { slot: usize, birth: u8, failed: bool },
    DeleteService { slot: usize, birth: u8 },
    DeleteJob,
    CreatePod { slot: usize },
    CreateService { slot: usize },
    Status { status: u16, at_once: bool },
}

impl Write {
    /// Deletions come first, then creations. The status goes out beside them when they take long.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::DeletePod { .. } | Self::DeleteService { .. } | Self::DeleteJob => 0,
            Self::CreatePod { .. } | Self::CreateService { .. } => 1,
            Self::Status { .. } => 2,
        }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Done,
    /// Done, and the answer is lost.
    Lost,
    /// Refused.
    Refused,
}

/// A pass of the operator under way: a plan, as [`super::model::Model`] numbers them, and the writes that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pass {
    pub plan: u32,
    pub left: u8,
}

/// How often something may yet happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    /// Pods fail, or are restarted in place.
    pub failures: u8,
    /// Somebody deletes a pod or a service, or a node is shut down.
    pub disruptions: u8,
    /// A write is refused, its answer is lost, or a pass is given up.
    pub mishaps: u8,
    /// The operator stops and starts again.
    pub crashes: u8,
    /// A timer runs out.
    pub ticks: u8,
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub stored: Things,
    pub seen: Things,
    /// Whether the job has to be read before it is decided on again.
    pub doubted: bool,
    pub pass: Option<Pass>,
    pub left: Left,
    /// How many edits have been made.
    pub edits: u8,
    /// How many pods and services of each name there were.
    pub pods_born: [u8; SLOTS],
    pub services_born: [u8; SLOTS],
    /// The pods whose failure a status has ever counted, a bit for each.
    pub counted: [u8; SLOTS],
    /// Whether the answer to the creation of a pod was ever lost.
    pub lost_creation: bool,
}

/// What leads from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Run(usize),
    Succeed(usize),
    Fail(usize, u8),
    RestartInPlace(usize),
    Disrupt(usize),
    DeletePod(usize),
    DeleteService(usize),
    /// A terminating pod ends, and its object stays for now.
    Stop(usize),
    Kill(usize),
    /// A terminating pod is gone.
    Bury(usize),
    /// The garbage collector takes what a deleted job has left.
    Collect(usize),
    Edit,
    Tick,
    SeeJob,
    SeePods,
    SeeServices,
    /// The operator reads the job that it doubts.
    Read,
    Plan,
    Write(Write, Answer),
    /// The status waits for the end of a burst of changes, and the pass is over.
    StatusWaits,
    GiveUp,
    Crash,
}

impl Step {
    /// Whether it happens by itself when nobody does anything any more.
    pub(super) const fn goes_on(self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Bury(_)
                | Self::Collect(_)
                | Self::SeeJob
                | Self::SeePods
                | Self::SeeServices
                | Self::Read
                | Self::Plan
                | Self::Write(_, Answer::Done)
        )
    }
}
