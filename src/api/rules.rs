//! The CEL rules of the CRD: what the API server refuses, and what it tells the user to do instead.
//! [`crate::planner::validate`] holds them for objects that were stored without them. Traps met on a real API server: a
//! rule that opens with "unless the field is absent" lets removal through; and a read of an absent field of `oldSelf`
//! refuses with an unreadable message.
//!
//! The API server evaluates every rule on every write, also of labels and status, so each costs all users time: a rule
//! opens with what is cheap and usually decides. Each step into an object costs it a copy of the schema of that object,
//! so what compares pods first asks whether this is a write of the status, of which there are most. What concerns one
//! object alone stands at the root for new objects, where no edit of a job that was stored without the rule can meet
//! it, or at the smallest part that it is about, where a write that leaves this part alone passes.

use std::sync::LazyLock;

use crate::api::cel::{
    finished, name_that_always_fits, names_fit, of_a_new_object, of_the_status, or_else, processes, same_processes,
    same_templates, same_workers, suspended, within_bounds,
};
use crate::api::immutable::{immutable, scheduling};
use crate::api::rule::{Rule, Scope, rule};
use crate::api::{names, restart_rules};

/// The policies that may stand flat or under `runPolicy`.
const TWO_SPELLINGS: [&str; 4] = [
    "activeDeadlineSeconds",
    "backoffLimit",
    "cleanPodPolicy",
    "ttlSecondsAfterFinished",
];

/// Every rule, in the order of the generated CRD.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let two_spellings = TWO_SPELLINGS.into_iter().map(one_value);
    [names(), replicas(), elastic_policy()]
        .into_iter()
        .flatten()
        .chain(two_spellings)
        .chain([failure_policy()])
        .chain([progress_policy()])
        .chain(restart_rules::window())
        .chain([restart_rules::strategy()])
        .chain([multikueue()])
        .chain(only_while_suspended().into_iter().map(Rule::forbidden))
        .chain([unfinished().forbidden()])
        .chain(immutable().into_iter().map(Rule::forbidden))
        .chain(scheduling().into_iter().map(Rule::forbidden))
        .collect()
});

fn names() -> Vec<Rule> {
    vec![
        rule(
            Scope::Root,
            ".metadata.name",
            of_a_new_object("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"),
            "metadata.name must start with a letter, consist of lower-case letters, digits and '-', and not end with '-': \
             services are named after the job",
        ),
        rule(
            Scope::Root,
            ".metadata.name",
            of_a_new_object(&names_fit()),
            "metadata.name is too long: with role and index, as in NAME-worker-0, it must fit in 63 characters, \
             the limit of service names",
        ),
        rule(
            Scope::Root,
            ".metadata.name",
            format!(
                "{} || self.spec.pytorchReplicaSpecs.all(k, k in oldSelf.spec.pytorchReplicaSpecs && {} <= {}) || {}",
                name_that_always_fits(),
                or_else("self.spec.pytorchReplicaSpecs[k].replicas", "1"),
                or_else("oldSelf.spec.pytorchReplicaSpecs[k].replicas", "1"),
                names_fit()
            ),
            "metadata.name is too long for so many workers: NAME-worker-INDEX must fit in 63 characters, \
             the limit of service names: take fewer workers, or create a new job with a shorter name",
        ),
    ]
}

/// A rule without a condition would fit nothing, and one with two would leave open how they add up.
fn failure_policy() -> Rule {
    let given = ["class", "exitCodes", "onPodConditions"].map(|field| format!("(has(rule.{field}) ? 1 : 0)"));
    rule(
        Scope::FailurePolicy,
        ".rules",
        format!("!has(self.rules) || self.rules.all(rule, {} == 1)", given.join(" + ")),
        "failurePolicy.rules: each rule needs one of class, exitCodes and onPodConditions, and no other",
    )
}

/// A container has one readiness probe.
fn progress_policy() -> Rule {
    rule(
        Scope::Spec,
        ".runPolicy.progressPolicy",
        "!has(self.runPolicy.progressPolicy) || self.pytorchReplicaSpecs.all(k, \
         self.pytorchReplicaSpecs[k].template.spec.containers.all(c, c.name != 'pytorch' || !has(c.readinessProbe)))",
        "progressPolicy needs the readiness probe of the container pytorch: \
         remove readinessProbe from the templates, or progressPolicy",
    )
}

fn replicas() -> Vec<Rule> {
    vec![
        rule(
            Scope::Replicas,
            "",
            "self.all(k, k == 'Master' || k == 'Worker')",
            "unknown replica type: use Master or Worker (case-sensitive)",
        ),
        rule(
            Scope::Replicas,
            "",
            "!('Master' in self) || !has(self['Master'].replicas) || self['Master'].replicas == 1",
            "Master.replicas must be 1: put additional pods in Worker.replicas",
        ),
        rule(
            Scope::Containers,
            "",
            "self.exists(c, c.name == 'pytorch')",
            "template.spec.containers needs a container named pytorch: it gets the rendezvous port and its exit code decides",
        )
        .required(),
    ]
}

/// A job that is stored outside of its bounds can still be suspended.
fn elastic_policy() -> Vec<Rule> {
    const OUT_OF_BOUNDS: &str =
        "Worker.replicas must lie between elasticPolicy.minReplicas and elasticPolicy.maxReplicas";
    const TWICE: &str = "elasticPolicy.nProcPerNode must not be used together with nprocPerNode: keep nprocPerNode, the other is deprecated";
    vec![
        rule(
            Scope::Root,
            ".spec.pytorchReplicaSpecs.Worker",
            of_a_new_object("!has(self.spec.elasticPolicy) || 'Worker' in self.spec.pytorchReplicaSpecs"),
            "elasticPolicy requires pytorchReplicaSpecs.Worker: only workers scale",
        )
        .required(),
        rule(
            Scope::ElasticPolicy,
            ".minReplicas",
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "elasticPolicy.minReplicas must not exceed elasticPolicy.maxReplicas",
        ),
        rule(
            Scope::Root,
            ".spec.pytorchReplicaSpecs.Worker.replicas",
            of_a_new_object(&within_bounds("self.spec")),
            OUT_OF_BOUNDS,
        ),
        rule(
            Scope::Spec,
            ".pytorchReplicaSpecs.Worker.replicas",
            format!("{} || {}", within_bounds("self"), same_workers("pytorchReplicaSpecs")),
            OUT_OF_BOUNDS,
        ),
        rule(
            Scope::Root,
            ".spec.elasticPolicy",
            of_a_new_object(&format!(
                "!has(self.spec.elasticPolicy) || !has(self.spec.elasticPolicy.nProcPerNode) || !{}",
                processes("self.spec")
            )),
            TWICE,
        ),
        rule(
            Scope::Spec,
            ".elasticPolicy",
            format!(
                "!has(self.elasticPolicy) || !has(self.elasticPolicy.nProcPerNode) || !{} || {}",
                processes("self"),
                processes("oldSelf")
            ),
            TWICE,
        ),
    ]
}

/// A policy that may stand flat or under `runPolicy` has one value.
fn one_value(policy: &str) -> Rule {
    rule(
        Scope::Spec,
        &format!(".{policy}"),
        format!("!has(self.{policy}) || !has(self.runPolicy.{policy}) || self.{policy} == self.runPolicy.{policy}"),
        format!(
            "{policy} and runPolicy.{policy} are the same setting and must not differ: \
             remove one or set both to the same value"
        ),
    )
}

/// What running pods cannot follow. Of a finished job another rule says that it cannot run again.
fn only_while_suspended() -> Vec<Rule> {
    const ADVICE: &str = "set spec.runPolicy.suspend to true first, or in the same edit";
    let exempt = format!("{} || {} || {}", suspended("self"), suspended("oldSelf"), finished());
    let same_workers = same_workers("spec.pytorchReplicaSpecs");
    vec![
        rule(
            Scope::Root,
            ".spec.pytorchReplicaSpecs",
            format!("{} || {} || {exempt}", of_the_status(), same_templates()),
            format!(
                "template can change only while the job is suspended, since running pods would not follow: {ADVICE}"
            ),
        ),
        rule(
            Scope::Root,
            ".spec.pytorchReplicaSpecs.Worker.replicas",
            format!("has(self.spec.elasticPolicy) || {same_workers} || {exempt}"),
            format!(
                "Worker.replicas of a job without elasticPolicy can change only while the job is suspended, \
                 since WORLD_SIZE of running pods cannot follow: {ADVICE}"
            ),
        ),
        rule(
            Scope::Root,
            ".spec.pytorchReplicaSpecs.Worker.replicas",
            format!(
                "!has(self.spec.elasticPolicy) || has(self.spec.elasticPolicy.minReplicas) || \
                 has(self.spec.elasticPolicy.maxReplicas) || {same_workers} || {exempt}"
            ),
            format!(
                "Worker.replicas of a job whose elasticPolicy has neither minReplicas nor maxReplicas can change only \
                 while the job is suspended, since PET_NNODES of running pods cannot follow: {ADVICE}"
            ),
        ),
        rule(
            Scope::Root,
            ".spec.nprocPerNode",
            format!("{} || {exempt}", same_processes()),
            format!(
                "nprocPerNode can change only while the job is suspended, since running pods would not follow: {ADVICE}"
            ),
        ),
    ]
}

/// What is said of a job of `MultiKueue` with flat policies.
pub(crate) const LOST_BY_MULTIKUEUE: &str =
    "MultiKueue loses the policies that stand directly under spec: write them under runPolicy";

/// `MultiKueue` copies a job to another cluster by way of Kubeflow's Go types. These have no flat policies, so the copy
/// would lose them. For the same reason no job that Kubeflow stored has them.
fn multikueue() -> Rule {
    let flat = TWO_SPELLINGS.map(|policy| format!("has(self.{policy})")).join(" || ");
    let manager = or_else("self.runPolicy.managedBy", "''");
    rule(
        Scope::Spec,
        ".runPolicy.managedBy",
        format!("!({flat}) || {manager} != '{}'", names::MANAGED_BY_MULTIKUEUE),
        LOST_BY_MULTIKUEUE,
    )
}

/// No edit brings a finished job back. Its policies can change, and those about finished jobs act.
fn unfinished() -> Rule {
    let same = [
        format!("{} == {}", suspended("self"), suspended("oldSelf")),
        same_processes(),
        same_workers("spec.pytorchReplicaSpecs"),
        same_templates(),
    ];
    rule(
        Scope::Root,
        ".spec",
        format!("!{} || ({})", finished(), same.join(" && ")),
        "the job has finished and cannot run again: delete it and create it again",
    )
}
