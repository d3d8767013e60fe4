//! Jobs of 65 and of 257 pods: created, and suspended.

use std::time::Duration;

use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use pytorchjob_operator::api::PyTorchJob;
use serde_json::json;
use tokio::time::Instant;

use crate::Result;
use crate::jobs::{IN_FLIGHT, Job};
use crate::rig::{Rig, Side};
use crate::table::{Table, quantile, seconds};

/// How often each size is measured.
const ROUNDS: [(u32, usize); 2] = [(65, 7), (257, 5)];

/// Creates jobs of both sizes, and suspends each when its pods run.
pub async fn measure(rig: &Rig, table: &mut Table) -> Result<()> {
    let operator = rig.operator().await?;
    let namespace = rig.cluster.namespace("large").await?;
    let (mut created, mut suspended) = (Vec::new(), Vec::new());
    for (pods, rounds) in ROUNDS {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let name = format!("job-of-{pods}-{round}");
            up.push(create(rig, &namespace, &name, pods).await?);
            down.push(suspend(rig, &namespace, &name).await?);
            eprintln!(
                "large: {pods} pods: created {:?}, suspended {:?}",
                up[round], down[round]
            );
        }
        up.sort();
        down.sort();
        created.push(quantile(&up, 50));
        suspended.push(quantile(&down, 50));
    }
    operator.stop().await?;
    let reached = created[0] <= Duration::from_millis(400) && created[1] <= Duration::from_millis(1500);
    table
        .row("65 pods / 257 pods all created")
        .go("6.6 / 22.9 s", "0.61 / 2.27 s")
        .goal("≤ 0.4 / 1.5 s", reached)
        .measured(format!("{} / {}", seconds(created[0]), seconds(created[1])));
    table
        .row("suspend, 65 pods gone")
        .go("14.1 s", "0.87 s")
        .goal("≤ 0.5 s", suspended[0] <= Duration::from_millis(500))
        .measured(seconds(suspended[0]));
    table.row("suspend, 257 pods gone").measured(seconds(suspended[1]));
    if rig.side == Side::Ours {
        let blind = blind(rig, &namespace).await?;
        table.row("suspend, 65 pods gone").beside(seconds(blind));
    }
    Ok(())
}

/// What the null operator takes for the deletion of 65 pods.
async fn blind(rig: &Rig, namespace: &str) -> Result<Duration> {
    let (pods, rounds) = ROUNDS[0];
    let mut times = Vec::new();
    for round in 0..rounds {
        let name = format!("job-deleted-blindly-{round}");
        times.push(delete_blindly(rig, namespace, &name, pods).await?);
        eprintln!("large: {pods} pods: deleted blindly {:?}", times[round]);
    }
    times.sort();
    Ok(quantile(&times, 50))
}

async fn create(rig: &Rig, namespace: &str, name: &str, pods: u32) -> Result<Duration> {
    let job = Job {
        workers: pods - 1,
        ..Job::of_four(namespace, name)
    };
    let (answered, _) = job.create(&rig.admin).await?;
    let seen = rig
        .recorder
        .wait(namespace, name, |seen| {
            u32::try_from(seen.count("Running")) == Ok(pods) && seen.is("Running")
        })
        .await?;
    let (created, pods) = seen.created.zip(seen.pod_created).ok_or("a job without its creation")?;
    Ok(pods - created.min(answered))
}

/// The limit that the API server and the node set: the deletions alone, all at once, by somebody who knows the names
/// beforehand.
async fn delete_blindly(rig: &Rig, namespace: &str, name: &str, pods: u32) -> Result<Duration> {
    let operator = rig.operator().await?;
    create(rig, namespace, name, pods).await?;
    operator.stop().await?;
    let api = Api::<Pod>::namespaced(rig.null_client().await?, namespace);
    let names = rig.recorder.wait(namespace, name, |_| true).await?.pods.into_keys();
    let asked = Instant::now();
    stream::iter(names.map(Ok))
        .try_for_each_concurrent(IN_FLIGHT, async |pod| {
            api.delete(&pod, &DeleteParams::background()).await.map(drop)
        })
        .await?;
    let seen = rig.recorder.wait(namespace, name, |seen| seen.pods.is_empty()).await?;
    Api::<PyTorchJob>::namespaced(rig.admin.clone(), namespace)
        .delete(name, &DeleteParams::background())
        .await?;
    Ok(seen.pod_gone.ok_or("no pod has gone")? - asked)
}

async fn suspend(rig: &Rig, namespace: &str, name: &str) -> Result<Duration> {
    let api = Api::<PyTorchJob>::namespaced(rig.admin.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "runPolicy": { "suspend": true } } }));
    let asked = Instant::now();
    api.patch(name, &PatchParams::default(), &patch).await?;
    let seen = rig
        .recorder
        .wait(namespace, name, |seen| seen.pods.is_empty() && seen.is("Suspended"))
        .await?;
    Ok(seen.pod_gone.ok_or("no pod has gone")? - asked)
}
