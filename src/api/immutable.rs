//! The rules about what no edit may change, suspended or not.

use crate::api::cel::{or_else, same};
use crate::api::rule::{Rule, Scope, rule};

/// Replica types, restart policies and their scope, the elastic policy and who runs the job.
pub(crate) fn immutable() -> Vec<Rule> {
    let restart_policy = |object: &str| {
        let path = format!("{object}.restartPolicy");
        format!("(has({path}) && {path} != '' ? {path} : 'OnFailure')")
    };
    let manager = |object: &str| or_else(&format!("{object}.managedBy"), "'kubeflow.org/training-operator'");
    let scope = |object: &str| or_else(&format!("{object}.restartScope"), "'Replica'");
    let services = |object: &str| or_else(&format!("{object}.servicePolicy"), "'All'");
    let strategy = |object: &str| or_else(&format!("{object}.restartStrategy"), "'Recreate'");
    vec![
        rule(
            Scope::Replicas,
            "",
            "size(self) == size(oldSelf) && self.all(k, k in oldSelf)",
            "replica types of a job cannot be added or removed: create a new job",
        ),
        rule(
            Scope::Replica,
            ".restartPolicy",
            format!("{} == {}", restart_policy("self"), restart_policy("oldSelf")),
            "restartPolicy of a job cannot change: create a new job",
        ),
        rule(
            Scope::Spec,
            ".elasticPolicy",
            same("elasticPolicy"),
            "elasticPolicy of a job cannot change: edit Worker.replicas within its bounds, or create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".managedBy",
            format!("{} == {}", manager("self"), manager("oldSelf")),
            "spec.runPolicy.managedBy is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".failurePolicy",
            same("failurePolicy"),
            "spec.runPolicy.failurePolicy is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".gracefulStopSeconds",
            same("gracefulStopSeconds"),
            "spec.runPolicy.gracefulStopSeconds is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".progressPolicy",
            same("progressPolicy"),
            "spec.runPolicy.progressPolicy is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".restartScope",
            format!("{} == {}", scope("self"), scope("oldSelf")),
            "spec.runPolicy.restartScope is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".servicePolicy",
            format!("{} == {}", services("self"), services("oldSelf")),
            "spec.runPolicy.servicePolicy is immutable: create a new job",
        ),
        rule(
            Scope::RunPolicy,
            ".restartStrategy",
            format!("{} == {}", strategy("self"), strategy("oldSelf")),
            "spec.runPolicy.restartStrategy is immutable: create a new job",
        ),
    ]
}

/// `runPolicy.schedulingPolicy` keeps its fields but for minAvailable, also when it comes or goes itself.
pub(crate) fn scheduling() -> Vec<Rule> {
    const FIELDS: [&str; 4] = ["queue", "priorityClass", "minResources", "scheduleTimeoutSeconds"];
    let message = |field: &str| format!("spec.runPolicy.schedulingPolicy.{field} is immutable: create a new job");
    let fields = FIELDS.map(|field| {
        rule(
            Scope::SchedulingPolicy,
            &format!(".{field}"),
            same(field),
            message(field),
        )
    });
    let has_none = |object: &str| {
        let policy = format!("{object}.schedulingPolicy");
        let absent = FIELDS.map(|field| format!("!has({policy}.{field})"));
        format!("(!has({policy}) || ({}))", absent.join(" && "))
    };
    let parent = rule(
        Scope::RunPolicy,
        ".schedulingPolicy",
        format!(
            "has(self.schedulingPolicy) == has(oldSelf.schedulingPolicy) || ({} && {})",
            has_none("self"),
            has_none("oldSelf")
        ),
        "spec.runPolicy.schedulingPolicy is immutable but for minAvailable: create a new job",
    );
    [parent].into_iter().chain(fields).collect()
}
