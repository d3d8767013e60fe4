//! What a failure was, in one word.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a failure was, told from the exit code, the reason and the message of the container. Ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FailureClass {
    /// A checkpoint cannot be read, or does not fit the model.
    CheckpointError,
    /// A program that the operating system ended by a signal of its own fault, such as SIGSEGV or SIGABRT.
    Crashed,
    /// An error of CUDA or one of its libraries that is none of the others.
    CudaError,
    /// The memory of the GPU is exhausted.
    CudaOutOfMemory,
    /// Data cannot be read: a file that is missing or broken, or a loader process that died.
    DataError,
    /// A disk is full.
    DiskFull,
    /// The node threw the pod out for a fault of its own, such as too much ephemeral storage.
    Evicted,
    /// A Python exception that is none of the others.
    Exception,
    /// The GPU itself: an uncorrectable memory or link error, or a device that is lost.
    GpuFault,
    /// A module or a library is missing.
    ImportError,
    /// SIGKILL, and nobody says from whom.
    Killed,
    /// An error of NCCL that is none of the others.
    NcclError,
    /// A collective operation of NCCL or gloo did not end in time.
    NcclTimeout,
    /// The loss or a gradient is not a number, or infinite.
    NonFinite,
    /// The kernel killed the container, or a process in it, for its memory limit.
    OOMKilled,
    /// The memory of the machine is exhausted, and the program says so itself.
    OutOfMemory,
    /// Another rank ended: its connections broke, or NCCL was aborted because of it.
    PeerFailure,
    /// The pod had to make room or its node shut down.
    Preempted,
    /// The ranks did not find each other.
    Rendezvous,
    /// Shared memory, which is /dev/shm, is too small.
    SharedMemory,
    /// The program cannot be started.
    StartError,
    /// A Python file cannot be parsed.
    SyntaxError,
    /// Somebody asked the program to stop, by SIGTERM, SIGINT or SIGHUP.
    Terminated,
    /// None of the others.
    #[default]
    Unknown,
    /// The arguments of the program are wrong.
    UsageError,
}

/// How well a class explains the failure of a job, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It failed by itself.
    Cause,
    /// It waited in vain for others, one of which may have failed by itself.
    Symptom,
    /// It ended because others did, or because it was told to.
    Consequence,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::CheckpointError,
        Self::Crashed,
        Self::CudaError,
        Self::CudaOutOfMemory,
        Self::DataError,
        Self::DiskFull,
        Self::Evicted,
        Self::Exception,
        Self::GpuFault,
        Self::ImportError,
        Self::Killed,
        Self::NcclError,
        Self::NcclTimeout,
        Self::NonFinite,
        Self::OOMKilled,
        Self::OutOfMemory,
        Self::PeerFailure,
        Self::Preempted,
        Self::Rendezvous,
        Self::SharedMemory,
        Self::StartError,
        Self::SyntaxError,
        Self::Terminated,
        Self::Unknown,
        Self::UsageError,
    ];

    /// The class of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.to_string() == name)
    }

    /// How well it explains the failure of a job.
    #[must_use]
    pub const fn standing(self) -> Standing {
        match self {
            Self::PeerFailure | Self::Terminated => Standing::Consequence,
            Self::NcclError | Self::NcclTimeout | Self::Rendezvous => Standing::Symptom,
            _ => Standing::Cause,
        }
    }

    /// Whether the machine may have caused it, as far as the failure tells: such failures count against a node. What a
    /// program does wrong, it does wrong on every node, and what the others make a rank do is not its node's fault.
    #[must_use]
    pub const fn may_be_the_nodes(self) -> bool {
        matches!(
            self,
            Self::Crashed
                | Self::CudaError
                | Self::DiskFull
                | Self::GpuFault
                | Self::Killed
                | Self::OutOfMemory
                | Self::Unknown
        )
    }

    /// Whether it says little: of two that ended in the same second, the other one explains more.
    #[must_use]
    pub const fn is_vague(self) -> bool {
        matches!(self, Self::Exception | Self::Killed | Self::Unknown)
    }
}

/// As it is written in the API.
impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
