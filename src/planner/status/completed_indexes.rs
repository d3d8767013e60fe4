//! `status.completedIndexes`: the workers that have finished for good.
//!
//! Without a Master all workers have to succeed, and the pod of one that has may be drained before the others are done.
//! It does not run again. Kubeflow runs it again. The format is that of a Kubernetes Job: indexes and ranges, as in
//! `0,2-5`.

use std::collections::BTreeSet;

use crate::api::bounds::MAX_REPLICAS;
use crate::api::{JobStatus, Replica, ReplicaType};
use crate::planner::child::Pod;
use crate::planner::world::World;

/// The workers that have finished for good; none of a job with a Master, which alone decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompletedIndexes(BTreeSet<u32>);

impl CompletedIndexes {
    /// The recorded ones and those whose pods have succeeded by now.
    #[must_use]
    pub(crate) fn of(world: &World<'_>, status: &JobStatus) -> Self {
        if world.job.spec.replicas(ReplicaType::Master) > 0 || world.is_restarting_as_a_whole() {
            return Self::default();
        }
        let mut indexes = parse(status.completed_indexes.as_deref().unwrap_or_default());
        indexes.retain(|&index| world.is_desired(Replica::new(ReplicaType::Worker, index)));
        // What has succeeded runs again in a restart of the whole job, which it is on its way out by.
        let goes = |pod: &Pod| (pod.terminating && world.restarts_as_a_whole()) || world.is_of_past_attempt(pod);
        let succeeded = world.desired_pods().filter(|(_, pod)| pod.succeeded() && !goes(pod));
        indexes.extend(succeeded.map(|(replica, _)| replica.index));
        Self(indexes)
    }

    /// Whether the replica does not run again.
    #[must_use]
    pub(crate) fn contains(&self, replica: Replica) -> bool {
        replica.type_ == ReplicaType::Worker && self.0.contains(&replica.index)
    }

    /// How many.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of one type.
    #[must_use]
    pub(crate) fn of_type(&self, type_: ReplicaType) -> usize {
        match type_ {
            ReplicaType::Master => 0,
            ReplicaType::Worker => self.count(),
        }
    }

    /// As the status has it; absent when there is none.
    #[must_use]
    pub(crate) fn to_status(&self) -> Option<String> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &index in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        let text = |(first, last): (u32, u32)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        let parts: Vec<String> = ranges.into_iter().map(text).collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }
}

/// Reads the format; what cannot be read, or is no index of a worker, is left out.
fn parse(text: &str) -> BTreeSet<u32> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        Some(first..=last.min(MAX_REPLICAS.unsigned_abs()))
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_a_kubernetes_job_writes_them_and_read_back() {
        for (indexes, text) in [
            (&[][..], None),
            (&[0], Some("0")),
            (&[0, 1], Some("0,1")),
            (&[0, 1, 2, 7], Some("0-2,7")),
            (&[3, 5, 6, 7, 8, 12], Some("3,5-8,12")),
        ] {
            let completed = CompletedIndexes(indexes.iter().copied().collect());
            assert_eq!(completed.to_status().as_deref(), text);
            assert_eq!(parse(text.unwrap_or_default()), completed.0);
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_a_huge_range_ends() {
        assert_eq!(parse("x,1-,-,2"), BTreeSet::from([2]));
        assert!(parse("0-4294967295").len() <= 10_001);
    }
}
