//! The API server of the simulation (`tests/simulation/api_server`) beside the real one: both get the same requests,
//! drawn at random from those that the operator, its users, nodes and the garbage collector make, and have to answer the
//! same. Then watches from some of the versions that were answered, and streamed lists, have to show the same.
//!
//! Names of this run are left out of the comparison: each UID and each resourceVersion is the n-th that was answered, and
//! the order of the versions has to be the same. `SEED=17 cargo test --test server simulated:: -- --nocapture` repeats one
//! sequence and tells each request; `SEQUENCES=200` is so many.

#[path = "../../simulation/api_server/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the simulation uses the rest")]
mod api_server;
mod draw;
mod names;
mod sides;

use pytorchjob_test_cluster::{Namespace, Options, not_applicable};
use serde_json::Value;

use self::api_server::Request;
use self::draw::{Sequence, clear, sentinel, served, watch};
use self::sides::{Real, Side, Simulated};
use crate::rig::own_cluster;

/// How many sequences there are, and how many requests each has.
const SEQUENCES: u64 = 12;
const REQUESTS: usize = 60;

#[tokio::test]
async fn the_simulated_api_server_answers_as_the_real_one() {
    let cluster = own_cluster(Options::default()).await;
    if !cluster.is_ours() {
        return not_applicable("stops the garbage collector");
    }
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let only = number("SEED");
    let sequences = number("SEQUENCES").unwrap_or(SEQUENCES);
    let seeds = only.map_or(0..sequences, |seed| seed..seed + 1);
    assert!(!seeds.is_empty(), "no sequence is asked for");
    let mut namespaces = Vec::new();
    for _ in seeds.clone() {
        namespaces.push(cluster.namespace("same").await.unwrap());
    }
    // What it does comes when it comes; the simulation has one of its own.
    cluster.process("kube-controller-manager").unwrap().pause();
    let mut differences = Vec::new();
    for (seed, namespace) in seeds.zip(&namespaces) {
        let mut real = Real::new(cluster.admin());
        differences.extend(compare(&mut real, seed, namespace, only.is_some()).await.err());
        // Lists of all namespaces have to be those of one sequence.
        for request in clear(namespace) {
            real.answer(&request).await;
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[tokio::test]
async fn a_watch_from_a_version_that_is_no_longer_kept_ends_as_on_the_real_one() {
    let cluster = own_cluster(Options::default()).await;
    let jobs = served().next().unwrap();
    let namespace = cluster.namespace("same").await.unwrap();
    let mut simulated = Simulated::default();
    simulated.answer(&sentinel(jobs, &namespace)).await;
    simulated.forget();
    let mut ends = Vec::new();
    // Older than the definition of the jobs, and so than all that is kept of them.
    let request = watch(jobs, &namespace, "1");
    for answer in [
        Real::new(cluster.admin()).answer(&request).await,
        simulated.answer(&request).await,
    ] {
        let event = answer["events"][0].clone();
        ends.push((
            event["type"].clone(),
            event["object"]["code"].clone(),
            event["object"]["reason"].clone(),
        ));
    }
    assert_eq!(ends[0], ("ERROR".into(), 410.into(), "Expired".into()));
    assert_eq!(ends[1], ends[0]);
}

/// The first difference of a sequence.
async fn compare(real: &mut Real, seed: u64, namespace: &Namespace<'_>, tells: bool) -> Result<(), String> {
    let mut simulated = Simulated::default();
    let mut sequence = Sequence::new(seed, namespace);
    let mut same = async |request: Request, at: &str| {
        let answers = (real.answer(&request).await, simulated.answer(&request).await);
        let body = String::from_utf8_lossy(&request.body);
        let parameters = request.query.iter().map(|(name, value)| format!("{name}={value}"));
        let parameters = parameters.collect::<Vec<_>>().join("&");
        let told = format!("{} {}?{parameters} {body}", request.method, request.path);
        if tells {
            eprintln!("{told} -> {}", answers.0);
        }
        if answers.0 != answers.1 {
            let (real, simulated) = first_difference(&answers.0, &answers.1);
            return Err(format!(
                "seed {seed}, {at}: {told}\nreal:      {real}\nsimulated: {simulated}"
            ));
        }
        Ok(simulated.names.count())
    };
    let mut versions = 0;
    for number in 0..REQUESTS {
        versions = same(sequence.next(versions), &format!("request {number}")).await?;
    }
    for resource in served() {
        let versions = same(sentinel(resource, namespace), "the last object").await?;
        for from in sequence.froms(versions) {
            same(sequence.watch(resource, from), "a watch").await?;
        }
        same(sequence.streamed_list(resource), "a streamed list").await?;
    }
    Ok(())
}

/// The answers, or of two watches the first events that differ.
fn first_difference<'a>(real: &'a Value, simulated: &'a Value) -> (&'a Value, &'a Value) {
    let events = |answer: &'a Value| answer["events"].as_array().into_iter().flatten();
    let mut pairs = events(real).zip(events(simulated));
    pairs
        .find(|(real, simulated)| real != simulated)
        .unwrap_or((real, simulated))
}
