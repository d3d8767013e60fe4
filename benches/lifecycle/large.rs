//! Jobs of 65 and of 257 pods: created, and suspended.

use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use pytorchjob_operator::api::PyTorchJob;
use pytorchjob_operator::planner::Phase;
use serde_json::json;
use tokio::time::Instant;

use crate::Result;
use crate::jobs::Job;
use crate::rig::Rig;
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
        .ours(format!("{} / {}", seconds(created[0]), seconds(created[1])));
    table
        .row("suspend, 65 pods gone")
        .go("14.1 s", "0.87 s")
        .goal("≤ 0.5 s", suspended[0] <= Duration::from_millis(500))
        .ours(seconds(suspended[0]));
    table.row("suspend, 257 pods gone").ours(seconds(suspended[1]));
    Ok(())
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
            u32::try_from(seen.count(Phase::Running)) == Ok(pods) && seen.is("Running")
        })
        .await?;
    let (created, pods) = seen.created.zip(seen.pod_created).ok_or("a job without its creation")?;
    Ok(pods - created.min(answered))
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
