//! CEL expressions that several rules have in common, for a rule that stands at the root unless the function says
//! otherwise.

use crate::api::bounds::{MAX_NAME, MAX_REPLICAS};

/// Whether one object is suspended.
pub(crate) fn suspended(object: &str) -> String {
    or_else(&format!("{object}.spec.runPolicy.suspend"), "false")
}

/// The job has succeeded or failed, which is final.
pub(crate) fn finished() -> String {
    "(has(self.status) && has(self.status.conditions) && \
     self.status.conditions.exists(c, c.type in ['Succeeded', 'Failed'] && c.status == 'True'))"
        .to_owned()
}

/// Whether this is a write of the status, in which the API server keeps the spec; in any other it keeps the status.
/// Looks at what most of them change, and is false where that tells nothing.
pub(crate) fn of_the_status() -> String {
    let differ = |field: &str, of: &str| {
        let (new, old) = (format!("self.status.{field}"), format!("oldSelf.status.{field}"));
        format!("(has({new}) && (!has({old}) || {of}({new}) != {of}({old})))")
    };
    format!(
        "(has(self.status) && (!has(oldSelf.status) || {} || {}))",
        differ("ready", ""),
        differ("conditions", "size")
    )
}

/// `cel` with `new` and `old` for what both objects have at `path`. What is looked at more than once is looked up once:
/// each step of a path copies the schema of an object. CEL has no `let`; a list of one does for it.
fn bound(path: &str, cel: &str) -> String {
    format!("[self.{path}].all(new, [oldSelf.{path}].all(old, {cel}))")
}

/// Every template of a type that was there before and still is. Kubeflow's definition lets a type have none.
pub(crate) fn same_templates() -> String {
    bound(
        "spec.pytorchReplicaSpecs",
        &format!("new.all(k, !(k in old) || {})", same_of("new[k]", "old[k]", "template")),
    )
}

/// An optional field, or what it means when it is absent.
pub(crate) fn or_else(path: &str, default: &str) -> String {
    format!("(has({path}) ? {path} : {default})")
}

/// The number of workers, of a job that has some. `spec` is the path of the spec.
pub(crate) fn workers(spec: &str) -> String {
    or_else(&format!("{spec}.pytorchReplicaSpecs['Worker'].replicas"), "1")
}

/// As many workers as before; absent means 1. That the type itself stays is for another rule to say. `replicas` is the
/// path of `pytorchReplicaSpecs` from where the rule stands.
pub(crate) fn same_workers(replicas: &str) -> String {
    let [new, old] = ["new", "old"].map(|types| or_else(&format!("{types}['Worker'].replicas"), "1"));
    bound(
        replicas,
        &format!("!('Worker' in new) || !('Worker' in old) || {new} == {old}"),
    )
}

/// `spec.nprocPerNode` keeps its value. The API server has no bound for what a comparison of words costs that do not
/// stand in a path.
pub(crate) fn same_processes() -> String {
    let [new, old] = ["self.spec", "oldSelf.spec"].map(processes);
    format!("({new} ? {old} && self.spec.nprocPerNode == oldSelf.spec.nprocPerNode : !{old})")
}

/// `nprocPerNode` is set, in the spec at this path. Empty is the unset value of charts.
pub(crate) fn processes(spec: &str) -> String {
    format!("(has({spec}.nprocPerNode) && {spec}.nprocPerNode != '')")
}

/// Whether the bounds of the elastic policy hold the number of workers; true without policy or workers. A missing bound
/// equals the other one, as in [`crate::api::ElasticPolicy::bounds`].
pub(crate) fn within_bounds(spec: &str) -> String {
    let workers = workers(spec);
    let policy = format!("{spec}.elasticPolicy");
    let bound = |bound: &str, other: &str| {
        let other = or_else(&format!("{policy}.{other}"), &workers);
        or_else(&format!("{policy}.{bound}"), &other)
    };
    format!(
        "!has({policy}) || !('Worker' in {spec}.pytorchReplicaSpecs) || ({workers} >= {} && {workers} <= {})",
        bound("minReplicas", "maxReplicas"),
        bound("maxReplicas", "minReplicas")
    )
}

/// The root is asked about every write, also of labels and status: a stored object must not be stuck. A new one has no
/// status.
pub(crate) fn of_a_new_object(cel: &str) -> String {
    format!("has(self.status) || {cel}")
}

/// The longest name of a pod and service of each role is no longer than a service may be named.
pub(crate) fn names_fit() -> String {
    let replicas = or_else("self.spec.pytorchReplicaSpecs[k].replicas", "1");
    format!(
        "self.spec.pytorchReplicaSpecs.all(k, size(self.metadata.name) + size(k) + 2 + size(string({replicas} - 1)) <= 63)"
    )
}

/// The longest name with which any number of workers fits.
pub(crate) fn name_that_always_fits() -> String {
    let suffix = format!("-worker-{}", MAX_REPLICAS - 1).len();
    format!("size(self.metadata.name) <= {}", MAX_NAME - suffix)
}

/// An optional field of the part at which the rule stands keeps its value, whether it is changed, added or removed.
pub(crate) fn same(field: &str) -> String {
    same_of("self", "oldSelf", field)
}

fn same_of(new: &str, old: &str, field: &str) -> String {
    format!("(has({new}.{field}) ? has({old}.{field}) && {new}.{field} == {old}.{field} : !has({old}.{field}))")
}
