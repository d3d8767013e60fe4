use std::time::Duration;

use http::Method;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::{Instant, advance, sleep, timeout};

use super::super::{Config, Elector, Fence, Fenced, LeadershipLost, Timing};
use super::fake::{FakeApi, Fault};
use super::machine::Machine;
use crate::platform::clock::Clock;
use crate::platform::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);

fn elector(fake: &FakeApi, identity: &str, clock: Clock) -> Elector {
    let config = Config {
        name: "lock".to_owned(),
        identity: identity.to_owned(),
        timing: Timing::default(),
    };
    Elector::on_clock(fake.api(), config, Metrics::new().unwrap(), clock)
}

async fn leader(fake: &FakeApi, machine: &Machine) -> (Elector, Fence) {
    let mut elector = elector(fake, "me", machine.clock());
    elector.acquire().await;
    let fence = elector.fence();
    (elector, fence)
}

fn held_by(holder: &str) -> impl FnOnce(&mut k8s_openapi::api::coordination::v1::Lease) {
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        ..LeaseSpec::default()
    };
    |lease| lease.spec = Some(spec)
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_creates_the_lease_and_leads_at_once() {
    let fake = FakeApi::default();
    let start = Instant::now();
    let (_elector, fence) = leader(&fake, &Machine::new()).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(fence.check(), Ok(()));
    let lease = fake.state().lease.clone().unwrap();
    assert_eq!(lease.metadata.name.as_deref(), Some("lock"));
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("me"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert!(spec.acquire_time.is_some() && spec.acquire_time == spec.renew_time);
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_replaced_when_its_lease_ends_and_not_before() {
    let fake = FakeApi::default();
    fake.edit(held_by("dead"));
    let start = Instant::now();
    let (_elector, fence) = leader(&fake, &Machine::new()).await;
    assert!(start.elapsed() >= 15 * SECOND, "{:?}", start.elapsed());
    assert!(
        start.elapsed() < 15 * SECOND + Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(fence.check(), Ok(()));
    assert_eq!(
        fake.state().lease.clone().unwrap().spec.unwrap().lease_transitions,
        Some(0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_within_a_second() {
    let fake = FakeApi::default();
    let machine = Machine::new();
    let (first, fence) = leader(&fake, &machine).await;
    let mut second = elector(&fake, "second", machine.clock());
    assert!(timeout(5 * SECOND, second.acquire()).await.is_err());
    first.release().await.unwrap();
    assert_eq!(fence.check(), Err(Fenced));
    assert_eq!(fake.holder(), None);
    let released = Instant::now();
    second.acquire().await;
    assert!(released.elapsed() <= SECOND, "{:?}", released.elapsed());
    assert_eq!(fake.holder().as_deref(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_renews_every_two_seconds_without_reading() {
    let fake = FakeApi::default();
    let (mut elector, fence) = leader(&fake, &Machine::new()).await;
    fake.state().requests.clear();
    assert!(timeout(60 * SECOND, elector.hold()).await.is_err());
    assert_eq!(fence.check(), Ok(()));
    let requests = fake.state().requests.clone();
    assert!(requests.iter().all(|method| method == Method::PUT), "{requests:?}");
    assert!((29..=38).contains(&requests.len()), "{}", requests.len());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_at_the_deadline() {
    for fault in [Fault::Refused, Fault::Lost, Fault::AnswerLost] {
        let fake = FakeApi::default();
        let start = Instant::now();
        let (mut elector, fence) = leader(&fake, &Machine::new()).await;
        fake.state().always = fault;
        let just_before = async {
            sleep(Duration::from_millis(9_995)).await;
            assert_eq!(fence.check(), Ok(()));
        };
        let (lost, ()) = tokio::join!(elector.hold(), just_before);
        assert!(
            matches!(&lost, LeadershipLost::Expired { cause, .. } if cause.contains("API server") || cause.contains("Unavailable")),
            "{fault:?}: {lost}"
        );
        assert!(start.elapsed() >= 10 * SECOND, "{fault:?}: {:?}", start.elapsed());
        assert!(
            start.elapsed() < 10 * SECOND + Duration::from_millis(5),
            "{fault:?}: {:?}",
            start.elapsed()
        );
        assert_eq!(fence.check(), Err(Fenced));
        assert!(
            fake.state().requests.len() >= 4,
            "{fault:?}: fewer than three attempts to renew"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_when_the_renewal_was_sent_not_from_when_it_was_answered() {
    let fake = FakeApi::default();
    fake.state().faults = vec![Fault::Slow(SECOND), Fault::None];
    let (_elector, fence) = leader(&fake, &Machine::new()).await;
    advance(Duration::from_millis(7_995)).await;
    assert_eq!(fence.check(), Ok(()));
    advance(Duration::from_millis(5)).await;
    assert_eq!(fence.check(), Err(Fenced));
}

#[tokio::test(start_paused = true)]
async fn a_leader_survives_a_few_failures() {
    let fake = FakeApi::default();
    let (mut elector, fence) = leader(&fake, &Machine::new()).await;
    fake.state().faults = vec![Fault::Refused, Fault::AnswerLost, Fault::Lost];
    assert!(timeout(60 * SECOND, elector.hold()).await.is_err());
    assert_eq!(fence.check(), Ok(()));
    assert_eq!(fake.holder().as_deref(), Some("me"));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_leader_finds_its_fence_shut_before_any_of_its_tasks_ran() {
    let fake = FakeApi::default();
    let machine = Machine::new();
    let (mut elector, fence) = leader(&fake, &machine).await;
    assert!(timeout(7 * SECOND, elector.hold()).await.is_err());
    fake.state().requests.clear();
    machine.stop_for(60 * SECOND);
    assert_eq!(fence.check(), Err(Fenced));
    let lost = elector.hold().await;
    assert!(
        matches!(&lost, LeadershipLost::Expired { cause, .. } if cause.contains("stopped")),
        "{lost}"
    );
    assert!(fake.state().requests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_taken_stops_and_leaves_it_alone() {
    let fake = FakeApi::default();
    let machine = Machine::new();
    let (mut elector, fence) = leader(&fake, &machine).await;
    fake.edit(held_by("usurper"));
    let start = Instant::now();
    let lost = elector.hold().await;
    assert!(
        matches!(&lost, LeadershipLost::Taken { holder: Some(holder), .. } if holder == "usurper"),
        "{lost}"
    );
    assert!(start.elapsed() <= 4 * SECOND, "{:?}", start.elapsed());
    assert_eq!(fence.check(), Err(Fenced));
    elector.release().await.unwrap();
    assert_eq!(fake.holder().as_deref(), Some("usurper"));
}

#[tokio::test(start_paused = true)]
async fn a_label_on_the_lease_or_its_deletion_does_not_cost_the_lead() {
    let fake = FakeApi::default();
    let (mut elector, fence) = leader(&fake, &Machine::new()).await;
    fake.edit(|lease| lease.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into()));
    assert!(timeout(8 * SECOND, elector.hold()).await.is_err());
    assert!(fake.state().lease.clone().unwrap().metadata.labels.is_some());
    fake.state().lease = None;
    assert!(timeout(8 * SECOND, elector.hold()).await.is_err());
    assert_eq!(fake.holder().as_deref(), Some("me"));
    assert_eq!(fence.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_cut_off_by_the_shutdown_does_not_keep_the_lease_from_being_released() {
    let fake = FakeApi::default();
    let (mut elector, _fence) = leader(&fake, &Machine::new()).await;
    fake.state().faults = vec![Fault::AnswerLost];
    assert!(timeout(3 * SECOND, elector.hold()).await.is_err());
    elector.release().await.unwrap();
    assert_eq!(fake.holder(), None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_lost_its_lease_in_an_outage_releases_it_when_the_api_server_is_back() {
    for fault in [Fault::Refused, Fault::Lost] {
        let fake = FakeApi::default();
        let (mut elector, _fence) = leader(&fake, &Machine::new()).await;
        fake.state().always = fault;
        elector.hold().await;
        let back = async {
            sleep(10 * SECOND).await;
            fake.state().always = Fault::None;
        };
        let (released, ()) = tokio::join!(elector.release(), back);
        released.unwrap();
        assert_eq!(fake.holder(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_without_an_answer_ends_in_the_time_that_the_deployment_grants() {
    let fake = FakeApi::default();
    let (elector, _fence) = leader(&fake, &Machine::new()).await;
    fake.state().always = Fault::Lost;
    let start = Instant::now();
    elector.release().await.unwrap_err();
    assert!(start.elapsed() <= 24 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_never_claimed_the_lease_asks_nothing_to_release_it() {
    let fake = FakeApi::default();
    fake.edit(held_by("another"));
    let mut standby = elector(&fake, "me", Machine::new().clock());
    assert!(timeout(5 * SECOND, standby.acquire()).await.is_err());
    fake.state().always = Fault::Lost;
    let (start, asked) = (Instant::now(), fake.state().requests.len());
    standby.release().await.unwrap();
    assert_eq!((start.elapsed(), fake.state().requests.len()), (Duration::ZERO, asked));
    assert_eq!(fake.holder().as_deref(), Some("another"));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_down_at_the_start_only_delays_the_lead() {
    let fake = FakeApi::default();
    fake.state().faults = vec![Fault::Lost, Fault::Refused];
    let start = Instant::now();
    let (_elector, fence) = leader(&fake, &Machine::new()).await;
    assert_eq!(fence.check(), Ok(()));
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_elector_shuts_its_fence() {
    let fake = FakeApi::default();
    let (elector, fence) = leader(&fake, &Machine::new()).await;
    assert_eq!(fence.check(), Ok(()));
    drop(elector);
    assert_eq!(fence.check(), Err(Fenced));
}

#[test]
fn losing_the_lease_says_which_and_why() {
    let expired = LeadershipLost::Expired {
        lease: "kubeflow/lock".to_owned(),
        deadline: 10 * SECOND,
        cause: "forbidden".to_owned(),
    };
    assert_eq!(
        expired.to_string(),
        "the leader lease kubeflow/lock could not be renewed for 10s: forbidden"
    );
    let taken = LeadershipLost::Taken {
        lease: "kubeflow/lock".to_owned(),
        holder: None,
    };
    assert_eq!(
        taken.to_string(),
        "the leader lease kubeflow/lock was taken away and is now held by nobody"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_for_a_missing_lease_the_slower_stands_by() {
    let fake = FakeApi::default();
    let machine = Machine::new();
    // Both read before either writes.
    let pause = Fault::Slow(Duration::from_millis(10));
    fake.state().always = pause;
    let (mut one, mut other) = (
        elector(&fake, "one", machine.clock()),
        elector(&fake, "other", machine.clock()),
    );
    let fences = [one.fence(), other.fence()];
    let race = timeout(5 * SECOND, async { tokio::join!(one.acquire(), other.acquire()) });
    assert!(race.await.is_err());
    assert_eq!(fences.iter().filter(|fence| fence.check().is_ok()).count(), 1);
    let posts = fake
        .state()
        .requests
        .iter()
        .filter(|method| **method == Method::POST)
        .count();
    assert_eq!(posts, 2);
}
