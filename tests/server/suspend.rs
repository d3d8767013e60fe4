//! A suspension that is over at once either has happened or it has not.

use std::collections::BTreeSet;

use kube::ResourceExt;
use serde_json::json;

use crate::job::{job, suspend};
use crate::rig::Rig;

#[tokio::test]
async fn a_suspension_that_is_over_at_once_has_replaced_the_pods_and_is_told_or_has_done_nothing() {
    let rig = Rig::start().await;
    for other_writes in 0..8 {
        let name = format!("suspended-{other_writes}");
        rig.running(&job(&name, 20)).await;
        let uids = async || -> BTreeSet<String> {
            let all = rig.wait_pods(&name, |pods| {
                pods.len() == 21 && pods.iter().all(|pod| pod.metadata.deletion_timestamp.is_none())
            });
            all.await.iter().filter_map(ResourceExt::uid).collect()
        };
        let old = uids().await;
        let started = rig.get(&name).await.status["startTime"].clone();
        rig.patch(&name, &suspend(true)).await;
        // Each takes a few milliseconds, so the resumption comes at another point of the suspension every time.
        for value in 0..other_writes {
            let label = json!({ "metadata": { "labels": { "write": value.to_string() } } });
            rig.patch(&name, &label).await;
        }
        rig.patch(&name, &suspend(false)).await;
        rig.settle(&name).await;
        // What has begun of a suspension goes on after the resumption is seen.
        let after = rig.wait(&name, |job| !job.is("Suspended")).await;
        let kept = uids().await.intersection(&old).count();
        let told = after.condition("Suspended");
        assert_eq!(
            kept,
            if told.is_some() { 0 } else { old.len() },
            "{name}, told: {told:?}"
        );
        // Of a job that has run again, the time since is what its deadline counts.
        let resumed = told.map_or(&started, |told| &told["lastTransitionTime"]);
        assert_eq!(after.status["startTime"], *resumed, "{name}, told: {told:?}");
    }
}
