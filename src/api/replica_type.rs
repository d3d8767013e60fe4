//! The two types of replica, and replicas.

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
    /// Both types, in order.
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

    /// The type with this key. Exact, as in Kubeflow's webhook: a new job with `master` is refused.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|type_| type_.key() == key)
    }
}

/// One replica of a job. The order is that of every list: Master first, then by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Its type.
    pub type_: ReplicaType,
    /// Its index within the type, from 0.
    pub index: u32,
}

impl Replica {
    /// Replica `index` of a type.
    #[must_use]
    pub const fn new(type_: ReplicaType, index: u32) -> Self {
        Self { type_, index }
    }

    /// Its place among the pods of the job: the Master has rank 0, or without one worker 0.
    #[must_use]
    pub const fn rank(self, has_master: bool) -> u32 {
        match self.type_ {
            ReplicaType::Worker if has_master => self.index + 1,
            _ => self.index,
        }
    }

    /// Name of its pod and of its service in the job of this name.
    #[must_use]
    pub fn name(self, job: &str) -> String {
        format!("{job}-{}-{}", self.type_.label(), self.index)
    }

    /// The replica whose objects have `name` in the job of the name `job`; nothing for any other name.
    ///
    /// Names decide, not labels: a label can be edited into `-1` or `999999`, a name cannot.
    #[must_use]
    pub fn parse(job: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(job)?.strip_prefix('-')?;
        let (label, digits) = rest.split_once('-')?;
        let type_ = ReplicaType::ALL.into_iter().find(|type_| type_.label() == label)?;
        let index: u32 = digits.parse().ok()?;
        (index.to_string() == digits).then_some(Self { type_, index })
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
                let replica = Replica::new(role, index);
                let name = replica.name("a-worker-1");
                assert_eq!(Replica::parse("a-worker-1", &name), Some(replica), "{name}");
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
            assert_eq!(Replica::parse("job", name), None, "{name}");
        }
    }

    #[test]
    fn keys_are_exact() {
        assert_eq!(ReplicaType::from_key("Master"), Some(ReplicaType::Master));
        assert_eq!(ReplicaType::from_key("master"), None);
    }
}
