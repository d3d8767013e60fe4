//! What a small world begins with, and what may happen in it.

use crate::api::{PyTorchJob, Replica};
use crate::support::fixture::{JOB, JobBuilder};

use super::state::{Left, SLOTS};

/// Something that a user does to the job.
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// An edit of the spec.
    Spec(fn(&mut PyTorchJob)),
    /// The deletion of the job, in the background. Nothing comes after it.
    Delete,
}

/// A job of two replicas, and what may happen to it.
pub(super) struct World {
    job: PyTorchJob,
    pub replicas: [Replica; SLOTS],
    /// Edits in this order; each may come at any time, or never.
    pub edits: Vec<Edit>,
    /// Exit codes of failures.
    pub exit_codes: Vec<u8>,
    /// Whether the kubelet restarts containers in place.
    pub in_place: bool,
    /// Whether the watch of services is late, and services are created and deleted one by one. Without it, they come
    /// and go at once and together.
    pub late_services: bool,
    pub left: Left,
}

/// Seconds between two ticks of the clock.
pub(super) const TICK: i64 = 10;

impl World {
    /// A world in which nothing happens but life, the operator's work and one crash of it.
    pub(super) fn new(job: JobBuilder, replicas: [Replica; SLOTS]) -> Self {
        Self {
            job: job.build(),
            replicas,
            edits: Vec::new(),
            exit_codes: vec![1],
            in_place: false,
            late_services: false,
            left: Left {
                failures: 0,
                disruptions: 0,
                mishaps: 0,
                crashes: 1,
                ticks: 0,
            },
        }
    }

    /// The user may edit the spec.
    pub(super) fn edit(mut self, edit: fn(&mut PyTorchJob)) -> Self {
        self.edits.push(Edit::Spec(edit));
        self
    }

    /// The user may delete the job.
    pub(super) fn delete(mut self) -> Self {
        self.edits.push(Edit::Delete);
        self
    }

    /// So many pods may fail, with any of these codes.
    pub(super) fn fail(mut self, times: u8, exit_codes: &[u8]) -> Self {
        (self.left.failures, self.exit_codes) = (times, exit_codes.to_vec());
        self
    }

    /// Containers may restart in place instead.
    pub(super) const fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// So many pods or services may be deleted, or their nodes shut down.
    pub(super) const fn disrupt(mut self, times: u8) -> Self {
        self.left.disruptions = times;
        self
    }

    /// So many writes may be refused, lose their answers, or be given up.
    pub(super) const fn mishaps(mut self, times: u8) -> Self {
        self.left.mishaps = times;
        self
    }

    /// The operator does not crash.
    pub(super) const fn no_crash(mut self) -> Self {
        self.left.crashes = 0;
        self
    }

    /// So many times ten seconds may pass.
    pub(super) const fn ticks(mut self, times: u8) -> Self {
        self.left.ticks = times;
        self
    }

    /// The watch of services is late too.
    pub(super) const fn late_services(mut self) -> Self {
        self.late_services = true;
        self
    }

    /// More of all that may happen at all.
    pub(super) fn larger(mut self, by: u8) -> Self {
        let left = &mut self.left;
        for times in [
            &mut left.failures,
            &mut left.disruptions,
            &mut left.mishaps,
            &mut left.crashes,
        ] {
            if *times > 0 {
                *times += by;
            }
        }
        self
    }

    /// The job after each edit of its spec.
    pub(super) fn versions(&self) -> Vec<PyTorchJob> {
        let mut versions = vec![self.job.clone()];
        for edit in &self.edits {
            let mut job = versions.last().expect("there is the first one").clone();
            if let Edit::Spec(edit) = edit {
                edit(&mut job);
                job.metadata.generation = job.metadata.generation.map(|generation| generation + 1);
            }
            versions.push(job);
        }
        versions
    }

    /// Name of the pod and the service in a slot.
    pub(super) fn name(&self, slot: usize) -> String {
        self.replicas[slot].name(JOB)
    }
}
