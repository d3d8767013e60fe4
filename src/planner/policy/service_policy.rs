//! `runPolicy.servicePolicy`: which replicas have a service. Kubeflow gives one to each.

use crate::api::{PyTorchJobSpec, Replica, ReplicaType, ServicePolicy};
use crate::planner::build::elastic_env;

/// Whether this replica of the job has one. With Rendezvous, those whose names stand in the environment of the others
/// do: the Master, the host of the elastic rendezvous, and worker 0 of a job without Master.
#[must_use]
pub(crate) fn has_service(job: &str, spec: &PyTorchJobSpec, replica: Replica) -> bool {
    let first = match replica.type_ {
        ReplicaType::Master => true,
        ReplicaType::Worker => replica.index == 0 && spec.replica(ReplicaType::Master).is_none(),
    };
    first || spec.service_policy() == ServicePolicy::All || is_host(job, spec, replica)
}

/// Whether the elastic rendezvous is at this replica. Its host may be written with its domain.
fn is_host(job: &str, spec: &PyTorchJobSpec, replica: Replica) -> bool {
    spec.elastic_policy.as_ref().is_some_and(|policy| {
        let host = elastic_env::rendezvous_host(job, policy);
        host.split('.').next() == Some(replica.name(job).as_str())
    })
}

#[cfg(test)]
mod tests {
    use crate::api::ChildKind;
    use crate::planner::Action;
    use crate::planner::fixture::{JobBuilder, elastic_workers, master, master_and_workers, workers};
    use crate::planner::policy::replicas;
    use crate::planner::status::completed_indexes::CompletedIndexes;

    /// The services that a new job is given.
    fn services(job: JobBuilder) -> Vec<String> {
        let scene = job.scene();
        let plan = replicas::reconcile(&scene.world(), &CompletedIndexes::default());
        let made = plan.into_iter().filter(|action| action.creates(ChildKind::Service));
        made.filter_map(|action| match action {
            Action::Create(child) => Some(child.name("job")),
            _ => None,
        })
        .collect()
    }

    fn rendezvous(job: JobBuilder) -> JobBuilder {
        job.policy("servicePolicy", "Rendezvous")
    }

    #[test]
    fn with_rendezvous_only_replicas_that_the_others_look_up_have_a_service() {
        let hosted = |host: &str| elastic_workers(3, 1, 3).spec("/elasticPolicy/rdzvHost", host.into());
        let cases: [(&str, JobBuilder, &[&str]); 7] = [
            ("a Master alone", master(), &["job-master-0"]),
            ("a Master and workers", master_and_workers(256), &["job-master-0"]),
            ("workers", workers(256), &["job-worker-0"]),
            ("elastic workers", elastic_workers(3, 1, 3), &["job-worker-0"]),
            (
                "an elastic job with a Master",
                master_and_workers(3).spec("/elasticPolicy/maxReplicas", 4.into()),
                &["job-master-0", "job-worker-0"],
            ),
            (
                "a rendezvous at another worker",
                hosted("job-worker-2.ns.svc"),
                &["job-worker-0", "job-worker-2"],
            ),
            ("a rendezvous elsewhere", hosted("etcd"), &["job-worker-0"]),
        ];
        for (case, job, expected) in cases {
            assert_eq!(services(rendezvous(job)), expected, "{case}");
        }
    }

    #[test]
    fn absent_and_all_and_a_word_that_nobody_knows_give_each_replica_one() {
        let all = services(master_and_workers(3));
        assert_eq!(all, ["job-master-0", "job-worker-0", "job-worker-1", "job-worker-2"]);
        for word in ["All", "Some"] {
            assert_eq!(
                services(master_and_workers(3).policy("servicePolicy", word)),
                all,
                "{word}"
            );
        }
    }

    #[test]
    fn a_complete_job_without_the_other_services_needs_nothing() {
        let mut scene = rendezvous(master_and_workers(2)).scene();
        for name in ["job-master-0", "job-worker-0", "job-worker-1"] {
            scene.add_pod(name);
        }
        scene.add_service("job-master-0");
        let actions = replicas::reconcile(&scene.world(), &CompletedIndexes::default());
        assert!(actions.is_empty(), "{actions:?}");
    }
}
