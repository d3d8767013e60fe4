//! The law bites: operators and CRDs with one fault each, and the walk that finds it.

use pytorchjob_operator::api::ChildKind;
use pytorchjob_operator::planner::{self, Action, Plan, World};

use crate::support::differential::admission::Admission;
use crate::support::differential::simulation::Operator;
use crate::support::differential::walk::{Violation, walk};

/// Walks that a fault may need to be found.
const WALKS: u64 = 150;
/// Steps of each.
const STEPS: usize = 25;

fn find(admission: &Admission, operator: &Operator) -> Option<Box<Violation>> {
    (0..WALKS).find_map(|seed| walk(admission, operator, seed, STEPS).err())
}

fn operator(plan: fn(&World<'_>) -> Plan) -> Operator {
    Operator {
        plan: Box::new(plan),
        ..Operator::real()
    }
}

fn without_actions(world: &World<'_>, left_out: fn(&Action) -> bool) -> Plan {
    let mut plan = planner::plan(world);
    plan.actions.retain(|action| !left_out(action));
    plan
}

fn blind_to_the_hash(world: &World<'_>) -> Plan {
    let mut pods = world.pods.to_vec();
    for pod in &mut pods {
        pod.template_hash = None;
    }
    planner::plan(&World { pods: &pods, ..*world })
}

#[test]
fn an_operator_that_misses_a_suspension_nobody_saw_is_found() {
    let found = find(&Admission::checked_in(), &operator(blind_to_the_hash)).expect("the fault is found");
    let text = found.to_string();
    assert!(text.contains("unseen: "), "{text}");
}

#[test]
fn an_operator_that_ignores_template_edits_on_resume_is_found() {
    let faulty = Operator {
        // It does not see either that its pods are outdated, or it would replace them forever.
        plan: Box::new(blind_to_the_hash),
        sees: |created, now| {
            let mut job = now.clone();
            for (role, spec) in &mut job.spec.pytorch_replica_specs {
                if let Some(first) = created.spec.pytorch_replica_specs.get(role) {
                    spec.template = first.template.clone();
                }
            }
            job
        },
    };
    let found = find(&Admission::checked_in(), &faulty).expect("the fault is found");
    let text = found.to_string();
    assert!(text.contains("built") && text.contains("DIFFERENTIAL_SEED="), "{text}");
    assert!(found.steps() <= 5, "the walk is shortened: {text}");
}

#[test]
fn an_operator_that_keeps_pods_during_a_suspension_is_found() {
    let faulty = operator(|world| {
        if world.job.spec.suspended() {
            without_actions(world, |action| {
                matches!(
                    action,
                    Action::Delete {
                        kind: ChildKind::Pod,
                        ..
                    }
                )
            })
        } else {
            planner::plan(world)
        }
    });
    assert!(find(&Admission::checked_in(), &faulty).is_some());
}

#[test]
fn an_operator_that_forgets_the_autoscaler_is_found() {
    let faulty = operator(|world| {
        without_actions(
            world,
            |action| matches!(action, Action::Delete { kind, .. } if *kind == ChildKind::HorizontalPodAutoscaler),
        )
    });
    assert!(find(&Admission::checked_in(), &faulty).is_some());
}

#[test]
fn an_operator_that_does_not_say_what_it_has_acted_on_is_found() {
    let faulty = operator(|world| {
        let mut plan = planner::plan(world);
        if let Some(write) = &mut plan.status {
            write.status.observed_generation = world.status().observed_generation.or(Some(1));
        }
        plan.status.take_if(|write| write.status == world.status());
        plan
    });
    assert!(find(&Admission::checked_in(), &faulty).is_some());
}

#[test]
fn a_crd_that_lacks_a_rule_is_found() {
    for missing in [
        "template can change only while the job is suspended",
        "Worker.replicas of a job without elasticPolicy can change only",
        "restartPolicy of a job cannot change",
        "nprocPerNode can change only",
        "elasticPolicy of a job cannot change",
        "spec.runPolicy.managedBy is immutable",
        "replica types of a job cannot be added or removed",
    ] {
        let admission = Admission::without(missing);
        assert!(find(&admission, &Operator::real()).is_some(), "{missing}");
    }
}
