//! The two kinds of replica.

use std::fmt;

/// Type of a replica. The order is the order of every list this program makes: Master first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaType {
    /// The one pod with rank 0. Its success is the success of the job.
    Master,
    /// Any other pod.
    Worker,
}

impl ReplicaType {
    /// Both roles, in order.
    pub const ALL: [Self; 2] = [Self::Master, Self::Worker];

    /// The key in `spec.pytorchReplicaSpecs` and `status.replicaStatuses`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Master => "Master",
            Self::Worker => "Worker",
        }
    }

    /// The value of the replica-type label and the middle of pod names.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker => "worker",
        }
    }

    /// The role with this key. Exact, as in Kubeflow's webhook: `master` is refused.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.key() == key)
    }

    /// Name of the pod and of the service of replica `index` of the job.
    #[must_use]
    pub fn replica_name(self, job: &str, index: u32) -> String {
        format!("{job}-{}-{index}", self.label())
    }

    /// The role and index that give `name` in job `job`, or nothing for any other name.
    ///
    /// Names decide, not labels: a label can be edited into `-1` or `999999`, a name cannot.
    #[must_use]
    pub fn parse_replica_name(job: &str, name: &str) -> Option<(Self, u32)> {
        let rest = name.strip_prefix(job)?.strip_prefix('-')?;
        let (label, digits) = rest.split_once('-')?;
        let role = Self::ALL.into_iter().find(|role| role.label() == label)?;
        let index: u32 = digits.parse().ok()?;
        (index.to_string() == digits).then_some((role, index))
    }
}

impl fmt::Display for ReplicaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_name_is_read_back_as_it_was_written() {
        for role in ReplicaType::ALL {
            for index in [0, 7, 10_000] {
                let name = role.replica_name("a-worker-1", index);
                assert_eq!(
                    ReplicaType::parse_replica_name("a-worker-1", &name),
                    Some((role, index)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn other_names_are_nobodys_replica() {
        for name in [
            "job",
            "job-worker",
            "job-worker-",
            "job-worker-01",
            "job-worker--1",
            "job-worker-+1",
            "job-launcher-0",
            "job-Worker-0",
            "jobs-worker-0",
            "job-worker-0-x",
            "job-worker-99999999999",
        ] {
            assert_eq!(ReplicaType::parse_replica_name("job", name), None, "{name}");
        }
    }

    #[test]
    fn keys_are_exact() {
        assert_eq!(ReplicaType::from_key("Master"), Some(ReplicaType::Master));
        assert_eq!(ReplicaType::from_key("master"), None);
    }
}
