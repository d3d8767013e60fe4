//! The differential law of editing on the real API server.

use std::path::Path;

use futures::future::join_all;
use pytorchjob_test_cluster::{self as process, Cluster, Options, not_applicable};

use crate::live;
use crate::support::differential::walk::Tally;
use crate::support::differential::{STEPS, seeds};

/// Walks, all at once.
const WALKS: usize = 14;
/// Transitions that must have been tried.
const TRANSITIONS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_api_server_and_operator_go_the_same_way() {
    // Of its own: an operator for all namespaces would work on the jobs of other tests as well.
    let cluster = Cluster::start(Options::default()).await.unwrap();
    if !cluster.is_ours() {
        return not_applicable("needs an operator for all namespaces");
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_pytorchjob-operator"));
    let operator = process::Operator::start(binary, cluster.admin_kubeconfig(), &[]).unwrap();
    operator.ready().await.unwrap();
    let seeds: Vec<_> = seeds().into_iter().take(WALKS).collect();
    let results = join_all(seeds.iter().map(|&seed| live::walk(&cluster, seed, STEPS))).await;
    let (walked, failures): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut tally = Tally::default();
    walked.into_iter().flatten().for_each(|walked| tally.add(walked));
    println!("{} transitions: {tally:?}", tally.transitions());
    let failures: Vec<_> = failures.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(seeds.len() == 1 || tally.transitions() >= TRANSITIONS, "{tally:?}");
}
