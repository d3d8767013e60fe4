//! What a pod was built from, as a hash in a label of it.
//!
//! Templates, `nprocPerNode` and the number of workers, unless an elasticPolicy bounds it, can be edited only while the
//! job is suspended, so that no pod outlives them. Who was not there to see the suspension sees by the hash that a pod
//! is older than the spec; Deployments tell their pods apart in the same way. Pods without the label, such as those of
//! Kubeflow's operator, are never held to be outdated.
//!
//! Another definition may give the same templates other defaults and prune other fields, so the label has the
//! generation of the spec too: only an edit makes a new one, and without an edit no pod is outdated. Where pods differ
//! and no edit can have done it, it is the definition that has changed, and they get the new hash, with which the next
//! edit is compared. An edit may come before that is done, so defaults do not count in the hash either.

use std::hash::Hasher as _;
use std::sync::LazyLock;

use fnv::FnvHasher;
use serde_json::{Value, json};

use crate::api::{ChildKind, ChildRef, ElasticPolicy, PyTorchJobSpec, ReplicaType, names};
use crate::planner::build::env::DEFAULT_NPROC_PER_NODE;
use crate::planner::build::template;
use crate::planner::child::Pod;
use crate::planner::plan::{Action, Contents};
use crate::planner::world::World;

/// Defaults that definitions give to the fields of a template, and what clients with Go types write for an unset field.
/// They mean the same as an absent field. A new default in our definition is one here too; a test compares the two.
static DEFAULTS: LazyLock<[(&str, Value); 5]> = LazyLock::new(|| {
    [
        ("metadata", json!({})),
        ("name", json!("")),
        ("protocol", json!("TCP")),
        ("resources", json!({})),
        ("service", json!("")),
    ]
});

/// The value without nulls and [`DEFAULTS`].
fn without_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| (name, without_defaults(value)));
            let is_default = |name: &str, value: &Value| {
                DEFAULTS
                    .iter()
                    .any(|(field, default)| *field == name && default == value)
            };
            let kept = fields.filter(|(name, value)| !is_default(name, value));
            kept.map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(without_defaults).collect(),
        _ => value.clone(),
    }
}

/// The hash of what pods are built from and what a suspension alone allows to change. It must never depend on anything
/// else, nor on the version of this program: a new hash replaces the pods of every running job.
#[must_use]
pub fn of(spec: &PyTorchJobSpec, templates: &[Option<Value>; 2]) -> u64 {
    let replicas = ReplicaType::ALL.map(|role| spec.replicas(role));
    let elastic = spec.elastic_policy.as_ref().is_some_and(ElasticPolicy::is_bounded);
    let fixed = (!elastic).then_some(replicas);
    let processes = spec
        .nproc_per_node
        .as_deref()
        .filter(|&processes| processes != DEFAULT_NPROC_PER_NODE);
    let templates = templates
        .each_ref()
        .map(|template| template.as_ref().map(without_defaults));
    let mut hasher = FnvHasher::default();
    // The keys of an object are sorted, so equal values are equal texts.
    hasher.write(json!([templates, processes, fixed]).to_string().as_bytes());
    hasher.finish()
}

/// [`of`] the templates in the spec.
#[must_use]
pub fn current(spec: &PyTorchJobSpec) -> u64 {
    of(spec, &template::of_roles(spec))
}

/// The value of the label: the hash, and the generation of the spec. A job that is not stored yet has none.
#[must_use]
pub fn label(hash: u64, generation: Option<i64>) -> String {
    generation.map_or_else(
        || format!("{hash:016x}"),
        |generation| format!("{hash:016x}-{generation}"),
    )
}

/// Reads the label. A value that is none of ours is no hash; one of an earlier version of this operator has no
/// generation.
#[must_use]
pub fn parse(label: &str) -> Option<(u64, Option<i64>)> {
    let (hash, generation) = label
        .split_once('-')
        .map_or((label, None), |(hash, rest)| (hash, Some(rest)));
    let hash = u64::from_str_radix(hash, 16).ok()?;
    match generation {
        None => Some((hash, None)),
        Some(generation) => Some((hash, Some(generation.parse().ok()?))),
    }
}

/// What writes the label into a pod, as an operation of a JSON patch.
#[must_use]
pub(super) fn patch(label: &str) -> Value {
    let path = names::LABEL_POD_TEMPLATE_HASH.replace('/', "~1");
    json!({ "op": "add", "path": format!("/metadata/labels/{path}"), "value": label })
}

/// Gives the label of today to pods that differ from the spec although no edit has made them differ: the definition has
/// changed, and shows the same spec with another default or without a field. Edits to come are then compared with what
/// it shows now.
#[must_use]
pub(crate) fn relabel(world: &World<'_>) -> Vec<Action> {
    let generation = world.job.metadata.generation;
    if !world.definition_may_differ || !has_pods_with_hash(world) {
        return Vec::new();
    }
    let current = current(&world.job.spec);
    let same_spec = |pod: &Pod| pod.generation == generation || is_compared(world);
    let pods = world
        .desired_pods()
        .filter(|(_, pod)| !pod.finished() && same_spec(pod));
    pods.filter(|(_, pod)| differs(pod, current))
        .map(|(replica, pod)| Action::Update {
            child: ChildRef::of_replica(ChildKind::Pod, replica),
            uid: pod.uid.clone(),
            contents: Contents::TemplateHash(label(current, generation)),
        })
        .collect()
}

/// Whether an edit since then has made a pod that is not terminating one that was built from something else than what
/// the spec says now.
#[must_use]
pub fn any_outdated(world: &World<'_>) -> bool {
    let edited_since = |pod: &&Pod| pod.generation < world.job.metadata.generation;
    let older = || world.pods.iter().filter(edited_since);
    if (world.definition_may_differ && is_compared(world)) || !older().any(has_hash) {
        return false;
    }
    let current = current(&world.job.spec);
    older().any(|pod| differs(pod, current))
}

/// Whether the pods were compared with this very generation of the spec before: by this process, or by one that stored
/// so. Those that an edit had outdated were seen then. Of a job that has started, and whose status says nothing about
/// it because the definition prunes that, it is assumed: only what a person did may cost running pods.
fn is_compared(world: &World<'_>) -> bool {
    let generation = world.job.metadata.generation;
    let status = world.job.status.as_ref();
    let stored = status.and_then(|status| status.observed_generation);
    let pruned = stored.is_none() && status.is_some_and(|status| status.start_time.is_some());
    let compared = world.compared_generation;
    generation.is_some() && (stored == generation || compared == generation || (pruned && compared.is_none()))
}

fn has_pods_with_hash(world: &World<'_>) -> bool {
    world.pods.iter().any(has_hash)
}

/// Whether it can be compared: a pod of an earlier version of this operator has no generation.
fn has_hash(pod: &Pod) -> bool {
    !pod.terminating && pod.generation.is_some() && pod.template_hash.is_some()
}

fn differs(pod: &Pod, current: u64) -> bool {
    has_hash(pod) && pod.template_hash != Some(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PyTorchJob;
    use crate::planner::fixture::{JobBuilder, Scene, elastic_workers, master_and_workers, workers};

    fn hash(job: JobBuilder) -> u64 {
        current(&job.build().spec)
    }

    #[test]
    fn the_hash_of_a_job_never_changes_or_an_upgrade_would_replace_all_pods_of_all_jobs() {
        assert_eq!(label(hash(master_and_workers(2)), None), "15bea8074df8c3cf");
        assert_eq!(label(hash(elastic_workers(2, 1, 3)), Some(7)), "121541d37734a1f1-7");
    }

    #[test]
    fn what_only_a_suspension_allows_to_change_changes_the_hash_and_nothing_else_does() {
        let job = || master_and_workers(2);
        let image = |role| job().container(role, "/image", "registry.example/train:2".into());
        for (edited, changes) in [
            (image(ReplicaType::Master), true),
            (image(ReplicaType::Worker), true),
            (
                job().template(ReplicaType::Worker, "/spec/fieldOfTomorrow", 1.into()),
                true,
            ),
            (
                job().template(ReplicaType::Worker, "/metadata/labels/team", "a".into()),
                true,
            ),
            (job().spec("/nprocPerNode", "2".into()), true),
            (job().replicas(ReplicaType::Worker, 3), true),
            (job().field("/metadata/labels/team", "a".into()), false),
            (job().policy("activeDeadlineSeconds", 5), false),
            (job().policy("suspend", true), false),
            (job().flat("backoffLimit", 5), false),
        ] {
            assert_eq!(hash(edited.clone()) != hash(job()), changes, "{edited:?}");
        }
    }

    #[test]
    fn the_workers_of_an_elastic_job_may_become_more_and_less_within_bounds_and_there_have_to_be_some() {
        assert_eq!(hash(elastic_workers(2, 1, 3)), hash(elastic_workers(3, 1, 3)));
        let one_bound = |count| workers(count).spec("/elasticPolicy", json!({ "maxReplicas": 3 }));
        assert_eq!(hash(one_bound(2)), hash(one_bound(3)));
        let unbounded = |count| workers(count).spec("/elasticPolicy", json!({ "maxRestarts": 3 }));
        assert_ne!(
            hash(unbounded(2)),
            hash(unbounded(3)),
            "PET_NNODES is the number of workers"
        );
    }

    #[test]
    fn a_default_is_the_same_as_an_absent_field() {
        let job = || master_and_workers(2);
        assert_eq!(hash(job().spec("/nprocPerNode", "auto".into())), hash(job()));
        for (path, default) in [
            ("/metadata", json!({ "creationTimestamp": null })),
            ("/spec/imagePullSecrets", Value::Null),
            ("/spec/containers/0/resources", json!({})),
            ("/spec/containers/0/env", Value::Null),
        ] {
            let with_default = job().template(ReplicaType::Worker, path, default);
            assert_eq!(hash(with_default), hash(job()), "{path}");
        }
        let port = |port: Value| job().container(ReplicaType::Worker, "/ports", json!([port]));
        let tcp = port(json!({ "containerPort": 80, "protocol": "TCP" }));
        assert_eq!(hash(tcp.clone()), hash(port(json!({ "containerPort": 80 }))));
        let udp = port(json!({ "containerPort": 80, "protocol": "UDP" }));
        assert_ne!(hash(tcp), hash(udp));
        let secrets = |secrets| hash(job().template(ReplicaType::Worker, "/spec/imagePullSecrets", secrets));
        assert_eq!(secrets(json!([{ "name": "" }])), secrets(json!([{}])));
        assert_ne!(secrets(json!([{ "name": "a" }])), secrets(json!([{}])));
    }

    /// Calls `visit` with the name and the default of every field that has one.
    fn defaults(schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(default) = field.get("default") {
                visit(name, default);
            }
            defaults(field, visit);
        }
        for nested in ["items", "additionalProperties"]
            .iter()
            .filter_map(|name| schema.get(name))
        {
            defaults(nested, visit);
        }
    }

    #[test]
    fn no_default_that_our_definition_gives_to_a_template_changes_the_hash() {
        let definition = json!(crate::api::crd());
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let template = &schema["properties"]["pytorchReplicaSpecs"]["additionalProperties"]["properties"]["template"];
        let mut seen = 0;
        defaults(template, &mut |name, default| {
            let field = json!({ name: default });
            assert_eq!(without_defaults(&field), json!({}), "add it to DEFAULTS: {field}");
            seen += 1;
        });
        assert!(seen > 0, "the definition has defaults");
    }

    #[test]
    fn an_edit_of_something_else_after_a_change_of_definition_outdates_no_pod() {
        let mut scene = elastic_workers(2, 1, 3).running();
        let default = elastic_workers(2, 1, 3).container(ReplicaType::Worker, "/resources", json!({}));
        scene.job.spec = default.build().spec;
        scene.scale(ReplicaType::Worker, 3);
        assert!(!any_outdated(&scene.world()));
    }

    #[test]
    fn pods_are_told_apart_from_the_spec_by_edits_and_not_by_definitions() {
        // A gRPC probe, say, that a definition prunes.
        let pruned = |scene: &mut Scene| scene.job.spec = elastic_workers(2, 1, 3).build().spec;
        let probe = json!({ "grpc": { "port": 1 } });
        let whole = || elastic_workers(2, 1, 3).container(ReplicaType::Worker, "/livenessProbe", probe.clone());
        let image = |job: &mut PyTorchJob| {
            let edited = elastic_workers(2, 1, 3).container(ReplicaType::Worker, "/image", json!("i:2"));
            job.spec = edited.build().spec;
        };
        for edited_before in [false, true] {
            let mut scene = whole().running();
            if edited_before {
                scene.edit(|job| job.spec.active_deadline_seconds = Some(1_000_000));
                scene.settle();
            }
            let uids = |scene: &Scene| scene.pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
            let before = uids(&scene);
            pruned(&mut scene);
            scene.settle();
            scene.scale(ReplicaType::Worker, 3);
            scene.settle();
            assert_eq!(uids(&scene)[..2], before, "edited before: {edited_before}");
            scene.edit(image);
            assert!(any_outdated(&scene.world()), "a template was edited");
        }
    }

    #[test]
    fn without_a_trace_of_an_earlier_comparison_a_difference_counts_as_an_edit() {
        let mut scene = master_and_workers(1).running();
        scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
        assert!(relabel(&scene.world()).is_empty() && any_outdated(&scene.world()));
        let mut world = scene.world();
        world.compared_generation = scene.job.metadata.generation;
        assert!(relabel(&world).len() == 2 && !any_outdated(&world));
        world.definition_may_differ = false;
        assert!(relabel(&world).is_empty() && any_outdated(&world));
        // The definition prunes what is stored of it.
        scene.job.status.as_mut().unwrap().observed_generation = None;
        let mut world = scene.world();
        assert!(
            relabel(&world).len() == 2 && !any_outdated(&world),
            "a process that begins"
        );
        world.compared_generation = Some(1);
        assert!(
            relabel(&world).is_empty() && any_outdated(&world),
            "one that knows better"
        );
    }

    #[test]
    fn the_order_of_keys_and_white_space_do_not_matter() {
        let spec = |template: &str| {
            let text = format!(r#"{{ "pytorchReplicaSpecs": {{ "Master": {{ "template": {template} }} }} }}"#);
            current(&serde_json::from_str(&text).unwrap())
        };
        assert_eq!(
            spec(r#"{"spec":{"containers":[{"name":"pytorch","image":"i"}]}}"#),
            spec(r#"{ "spec": { "containers": [ { "image": "\u0069", "name": "pytorch" } ] } }"#)
        );
    }

    #[test]
    fn a_label_is_read_back_and_anything_else_is_no_hash() {
        for hash in [0, 1, u64::MAX] {
            for generation in [None, Some(1), Some(i64::MAX)] {
                assert_eq!(parse(&label(hash, generation)), Some((hash, generation)));
            }
        }
        for other in ["", "v1", "10000000000000000", "-1", "0-", "0-x"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_pod_on_its_way_out_and_one_without_the_label_are_not_outdated() {
        let mut scene = master_and_workers(1).running();
        scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
        assert!(any_outdated(&scene.world()));
        scene.terminate("job-master-0");
        assert!(any_outdated(&scene.world()), "the worker is");
        scene.pod("job-worker-0").template_hash = None;
        assert!(!any_outdated(&scene.world()));
    }

    #[test]
    fn a_change_of_definition_outdates_no_pod_and_an_edit_does() {
        let mut scene = master_and_workers(1).running();
        // Another default: the spec reads differently, and nobody has edited it.
        scene.job.spec.nproc_per_node = Some("auto".into());
        assert!(!any_outdated(&scene.world()));
        scene.edit(|job| job.spec.nproc_per_node = Some("2".into()));
        assert!(any_outdated(&scene.world()));
        scene.pods.iter_mut().for_each(|pod| pod.generation = None);
        assert!(
            !any_outdated(&scene.world()),
            "pods of an earlier version of this operator"
        );
    }
}
