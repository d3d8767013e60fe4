//! What fits the schema can be decoded, and what the operator then calls valid it can build, plan and label.
#![no_main]

use std::sync::LazyLock;

use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use pytorchjob_planner::api::structural::{misfits, schema_of_jobs};
use pytorchjob_planner::api::{ChildKind, ChildRef, PyTorchJob, Replica, ReplicaType, UnknownPodFields};
use pytorchjob_planner::planner::{Builder, Settings, World, plan, problems};
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema_of_jobs(UnknownPodFields::Refused));
/// More would only take time.
const REPLICAS: u32 = 3;

fuzz_target!(|text: &[u8]| {
    let Ok(object) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    // Of a key that is there twice the API server stores one.
    let decoded = serde_json::from_value::<PyTorchJob>(object.clone());
    if !misfits(&SCHEMA, &object).is_empty() {
        return;
    }
    // The API server checks the types of metadata by itself.
    let Ok(job) = decoded else {
        assert!(
            serde_json::from_value::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(
                object["metadata"].clone()
            )
            .is_err(),
            "fits the schema and cannot be decoded: {object}"
        );
        return;
    };
    let settings = Settings::default();
    let builder = Builder::new(&job, &settings);
    let faults = problems(&job);
    for type_ in ReplicaType::ALL {
        for index in 0..job.spec.replicas(type_).min(REPLICAS) {
            for kind in [ChildKind::Pod, ChildKind::Service] {
                let built = builder.build(ChildRef::of_replica(kind, Replica::new(type_, index)));
                assert!(built.is_some_and(|object| object["metadata"]["name"].is_string()));
            }
        }
    }
    let unseen = job.status.is_none() && job.metadata.deletion_timestamp.is_none();
    let few = ReplicaType::ALL
        .iter()
        .all(|type_| job.spec.replicas(*type_) <= REPLICAS);
    if unseen && few {
        let world = World {
            job: &job,
            pods: &[],
            others: &[],
            refusal: None,
            definition_may_differ: true,
            compared_generation: None,
            settings: &settings,
            now: Timestamp::UNIX_EPOCH,
        };
        let plan = plan(&world);
        let refused = plan
            .events
            .iter()
            .any(|event| event.warning && event.message.contains("is invalid"));
        let fatal = faults.iter().any(|problem| problem.fatal);
        assert!(
            refused == fatal || pytorchjob_planner::planner::managed_elsewhere(&job),
            "refused: {refused}, found invalid: {faults:?}"
        );
    }
});
