//! When a job runs, and when it has succeeded. Kubeflow's rules: with a Master, the Master alone decides both; without
//! one, all workers must succeed, and any one of them suffices in an elastic job, where the others have nothing left to
//! do.

use crate::api::ReplicaType;
use crate::planner::child::Pod;
use crate::planner::status::completed_indexes::CompletedIndexes;
use crate::planner::world::World;

/// The message of the Succeeded condition, if the job has succeeded.
#[must_use]
pub(crate) fn succeeded(world: &World<'_>, completed: &CompletedIndexes) -> Option<String> {
    let role = deciding_role(world)?;
    let wanted = world.job.spec.replicas(role) as usize;
    let done = match role {
        ReplicaType::Master => count(world, role, Pod::succeeded),
        ReplicaType::Worker => completed.count(),
    };
    let enough = match role {
        ReplicaType::Master => done >= wanted,
        ReplicaType::Worker => done >= wanted || (world.job.spec.elastic_policy.is_some() && done > 0),
    };
    enough.then(|| match role {
        ReplicaType::Master => format!("PyTorchJob {} is successfully completed.", world.name()),
        ReplicaType::Worker => format!(
            "PyTorchJob {}/{} successfully completed.",
            world.namespace(),
            world.name()
        ),
    })
}

/// The message of the Running condition, if the job runs.
#[must_use]
pub(crate) fn running(world: &World<'_>) -> Option<String> {
    let role = deciding_role(world)?;
    (count(world, role, Pod::running) > 0).then(|| match role {
        ReplicaType::Master => format!("PyTorchJob {} is running.", world.name()),
        ReplicaType::Worker => format!("PyTorchJob {}/{} is running.", world.namespace(), world.name()),
    })
}

fn deciding_role(world: &World<'_>) -> Option<ReplicaType> {
    ReplicaType::ALL
        .into_iter()
        .find(|&role| world.job.spec.replicas(role) > 0)
}

fn count(world: &World<'_>, role: ReplicaType, matches: impl Fn(&Pod) -> bool) -> usize {
    world
        .desired_pods()
        .filter(|(replica, pod)| replica.type_ == role && matches(pod))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Replica;
    use crate::planner::Phase;
    use crate::planner::fixture::{JobBuilder, Scene, elastic_workers, master, master_and_workers, workers};

    fn outcome(scene: &Scene) -> Option<String> {
        let world = scene.world();
        succeeded(&world, &CompletedIndexes::of(&world, &world.status()))
    }

    /// The scene with pods in these phases: `R`unning, `S`ucceeded, `F`ailed, `P`ending, `T`erminating while it runs,
    /// `-` absent.
    fn scene(job: JobBuilder, master: &str, workers: &str) -> Scene {
        let mut scene = job.scene();
        for (role, letters) in ReplicaType::ALL.into_iter().zip([master, workers]) {
            for (index, letter) in (0..).zip(letters.chars()) {
                let phase = match letter {
                    'R' | 'T' => Phase::Running,
                    'S' => Phase::Succeeded,
                    'F' => Phase::Failed,
                    'P' => Phase::Pending,
                    _ => continue,
                };
                let pod = scene.add_pod(&Replica::new(role, index).name("job"));
                (pod.phase, pod.terminating) = (phase, letter == 'T');
            }
        }
        scene
    }

    #[test]
    fn with_a_master_the_master_alone_decides() {
        for (master, workers, runs, done) in [
            ("-", "--", false, false),
            ("P", "RR", false, false),
            ("R", "PP", true, false),
            ("R", "SS", true, false),
            ("S", "RR", false, true),
            ("S", "FF", false, true),
            ("F", "SS", false, false),
            ("T", "RR", false, false),
        ] {
            let scene = scene(master_and_workers(2), master, workers);
            assert_eq!(
                running(&scene.world()).is_some(),
                runs,
                "running: master {master}, workers {workers}"
            );
            assert_eq!(
                outcome(&scene).is_some(),
                done,
                "succeeded: master {master}, workers {workers}"
            );
        }
    }

    #[test]
    fn without_a_master_all_workers_must_succeed_and_any_makes_it_running() {
        for (pods, runs, done) in [
            ("---", false, false),
            ("PPR", true, false),
            ("SSR", true, false),
            ("SS-", false, false),
            ("SSF", false, false),
            ("SSS", false, true),
            ("SSTS", false, false),
        ] {
            let scene = scene(workers(3), "", pods);
            assert_eq!(running(&scene.world()).is_some(), runs, "running: {pods}");
            assert_eq!(outcome(&scene).is_some(), done, "succeeded: {pods}");
        }
    }

    #[test]
    fn of_an_elastic_job_any_worker_that_succeeds_is_enough() {
        for (pods, done) in [
            ("RR", false),
            ("SR", true),
            ("RS", true),
            ("FS", true),
            ("FF", false),
            ("RRS", false),
        ] {
            let scene = scene(elastic_workers(2, 1, 3), "", pods);
            assert_eq!(outcome(&scene).is_some(), done, "{pods}; only wanted replicas count");
        }
    }

    #[test]
    fn an_elastic_job_with_a_master_is_decided_by_the_master() {
        let job = || master_and_workers(2).spec("/elasticPolicy/minReplicas", 1.into());
        assert!(outcome(&scene(job(), "R", "SS")).is_none());
        assert!(outcome(&scene(job(), "S", "RR")).is_some());
    }

    #[test]
    fn the_messages_are_kubeflows() {
        let alone = scene(master(), "S", "");
        assert_eq!(
            outcome(&alone).as_deref(),
            Some("PyTorchJob job is successfully completed.")
        );
        let alone = scene(master(), "R", "");
        assert_eq!(running(&alone.world()).as_deref(), Some("PyTorchJob job is running."));
        let pair = scene(workers(1), "", "S");
        assert_eq!(
            outcome(&pair).as_deref(),
            Some("PyTorchJob ns/job successfully completed.")
        );
        let pair = scene(workers(1), "", "R");
        assert_eq!(running(&pair.world()).as_deref(), Some("PyTorchJob ns/job is running."));
    }

    #[test]
    fn w22_a_job_without_any_replica_has_not_succeeded() {
        let scene = scene(workers(0), "", "");
        assert_eq!(outcome(&scene), None);
        assert_eq!(running(&scene.world()), None);
    }
}
