//! Plans of faults, enumerated after Sieve (OSDI 2022): each request that the operator makes in the life of a job meets
//! each fault, on a real API server, behind a proxy. What comes of it is held against the laws in every version that is
//! stored, and against the run in which nothing goes wrong.
//!
//! `FAULT_PLAN=suspend/delete-pods-worker-0/cut-after make faults` runs one plan again, and `*` in it stands for each.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod aim;
mod campaign;
#[path = "../support/dice.rs"]
mod dice;
mod fault;
#[path = "../server/job.rs"]
#[allow(dead_code, reason = "what the tests of the server need is more")]
mod job;
mod kubelet;
mod laws;
mod meddler;
mod objects;
mod observer;
mod outcome;
mod plan;
mod policies;
mod proxy;
mod replica;
#[path = "../server/rig.rs"]
#[allow(dead_code, reason = "what the tests of the server need is more")]
mod rig;
mod scenarios;
mod seen;
mod soak;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use pytorchjob_test_cluster::{EXISTING_CLUSTER, not_applicable};

use crate::aim::Guard;
use crate::campaign::{Campaign, Run};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::scenarios::Scenario;

/// Plans of `make test`.
const FEW: usize = 60;
/// Runs at once. Most of the time of a run is waiting.
const AT_ONCE: usize = 12;

/// Plans of several faults at random for each scenario, of `make faults`.
const SEEDS: u64 = 30;
/// A run that takes longer is told.
const SLOW: Duration = Duration::from_secs(30);

/// The runs in which nothing goes wrong, and all plans that they give.
async fn enumerate(campaign: &Campaign, scenarios: &[Scenario]) -> (BTreeMap<&'static str, Run>, Vec<Plan>) {
    let runs = scenarios
        .iter()
        .map(|&scenario| async move { (scenario, campaign.undisturbed(scenario).await) });
    let runs: Vec<_> = stream::iter(runs).buffered(AT_ONCE).collect().await;
    for (scenario, run) in &runs {
        let steps: Vec<String> = run.steps.iter().map(ToString::to_string).collect();
        println!("{}: {}", scenario.name, steps.join(" "));
    }
    let plans = runs
        .iter()
        .flat_map(|(scenario, run)| plan::all(*scenario, &run.steps))
        .collect();
    let expected = runs.into_iter().map(|(scenario, run)| (scenario.name, run)).collect();
    (expected, plans)
}

/// What came of plans.
#[derive(Default)]
struct Tally {
    done: usize,
    failed: Vec<String>,
    /// Plans whose request did not come.
    missed: Vec<String>,
    /// Plans whose request came, and whose fault did not happen: what it waits for did not come.
    idle: Vec<String>,
    /// Faults that happened.
    met: BTreeSet<Fault>,
}

impl Tally {
    fn add(&mut self, plan: &Plan, run: Run, time: Duration) {
        self.done += 1;
        if time > SLOW {
            println!("{plan} took {time:?}");
        }
        if !run.came {
            self.missed.push(plan.to_string());
        } else if run.met.is_empty() {
            self.idle.push(plan.to_string());
        }
        self.met.extend(run.met);
        if !run.violations.is_empty() {
            println!("{plan} fails:\n{}\n{}", run.violations.join("\n"), run.logs);
            self.failed.push(plan.to_string());
        }
    }
}

/// Runs plans, tells of each that fails, and fails if one did. Returns the faults that happened.
async fn run(campaign: &Campaign, plans: &[Plan], expected: &BTreeMap<&'static str, Run>) -> BTreeSet<Fault> {
    assert!(!plans.is_empty(), "no plan is asked for");
    let (begun, number) = (Instant::now(), plans.len());
    let mut tally = Tally::default();
    campaign
        .all(plans, expected, AT_ONCE, |plan, run, time| {
            tally.add(plan, run, time);
            let (done, failed) = (tally.done, tally.failed.len());
            if done % 50 == 0 {
                println!("{done} of {number} plans, {failed} failed, {:?}", begun.elapsed());
            }
        })
        .await;
    let Tally {
        failed,
        missed,
        idle,
        met,
        ..
    } = tally;
    println!(
        "{number} plans in {:?}: {} failed; in {} the request did not come: {missed:?}; in {} the fault did not \
        happen: {idle:?}",
        begun.elapsed(),
        failed.len(),
        missed.len(),
        idle.len()
    );
    assert!(
        failed.is_empty(),
        "FAULT_PLAN=… make faults runs one again: {failed:#?}"
    );
    // Requests depend a little on time: two changes may be stored in one status. Most plans must come to their point.
    assert!(missed.len() * 10 <= number, "{missed:#?}");
    assert!(idle.len() * 2 < number, "{idle:#?}");
    met
}

/// Fails if a fault happened in no plan.
fn assert_each_met(met: &BTreeSet<Fault>) {
    let absent: Vec<&str> = Fault::ALL
        .into_iter()
        .filter_map(|(fault, name)| (!met.contains(&fault)).then_some(name))
        .collect();
    assert!(absent.is_empty(), "no plan has come to {absent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_at_any_of_some_requests_breaks_a_law_or_changes_the_end() {
    if env::var_os(EXISTING_CLUSTER).is_some() {
        return not_applicable("starts a cluster of its own");
    }
    let campaign = Campaign::start().await;
    let (expected, plans) = enumerate(&campaign, scenarios::ALL).await;
    let mut plans = plan::choose(plans, FEW);
    plans.extend(Plan::at_random(scenarios::ALL, 1));
    assert_each_met(&run(&campaign, &plans, &expected).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make faults: an hour"]
async fn no_fault_at_any_request_breaks_a_law_or_changes_the_end() {
    let campaign = Campaign::start().await;
    let asked = env::var("FAULT_PLAN").unwrap_or_default();
    if !asked.is_empty() && !asked.contains('*') {
        let plan: Plan = asked.parse().unwrap();
        let (expected, _) = enumerate(&campaign, &[plan.scenario]).await;
        run(&campaign, &[plan], &expected).await;
        return;
    }
    let (expected, mut plans) = enumerate(&campaign, scenarios::ALL).await;
    plans.retain(|plan| asked.is_empty() || plan.is_one_of(&asked));
    let number = env::var("FAULT_PLANS").ok().and_then(|number| number.parse().ok());
    let mut plans = plan::choose(plans, number.unwrap_or(usize::MAX));
    let seeds = Plan::at_random(scenarios::ALL, SEEDS);
    plans.extend(
        seeds
            .into_iter()
            .filter(|plan| asked.is_empty() || plan.is_one_of(&asked)),
    );
    let met = run(&campaign, &plans, &expected).await;
    if asked.is_empty() && number.is_none() {
        assert_each_met(&met);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make soak: half an hour"]
async fn jobs_that_come_and_go_with_faults_leave_nothing_behind() {
    soak::soak().await;
}

/// Two guards of the operator, each with a plan that needs it.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_requests_lack_a_guard_breaks_a_law() {
    if env::var_os(EXISTING_CLUSTER).is_some() {
        return not_applicable("starts a cluster of its own");
    }
    let campaign = Campaign::start().await;
    for (guard, plan) in [
        (Guard::Version, "life/status-Running/belated"),
        (Guard::Uid, "restart/delete-pods-worker-0/belated"),
    ] {
        let plan: Plan = plan.parse().unwrap();
        let expected = campaign.undisturbed(plan.scenario).await;
        let guarded = campaign.disturbed(&plan, &expected, None).await;
        assert!(
            !guarded.met.is_empty() && guarded.violations.is_empty(),
            "{plan}: {:#?}",
            guarded.violations
        );
        let without = campaign.disturbed(&plan, &expected, Some(guard)).await;
        assert!(
            !without.met.is_empty() && !without.violations.is_empty(),
            "{plan} does not need {guard:?}"
        );
        println!("{plan} without {guard:?}: {:#?}", without.violations);
    }
}
