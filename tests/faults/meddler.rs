//! Carries out the fault of a plan when its request comes, and keeps what was sent.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use http::StatusCode;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aim::{Aim, Guard};
use crate::fault::Fault;
use crate::job::Job;
use crate::observer::Space;
use crate::proxy::{Answer, Cut, Flow, Handler, Proxy, Request, Step, detached};
use crate::replica::Replica;
use crate::seen::Seen;
use crate::stage::JOB;

/// How long the API server is away.
const AWAY: Duration = Duration::from_millis(700);
/// How late what is late is. Less than the operator waits for an answer, more than a scenario takes for its next step.
const LATE: Duration = Duration::from_millis(1500);
/// How long a frozen replica sleeps on when another leads.
const ASLEEP: Duration = Duration::from_millis(500);
/// Longest wait for what a fault depends on: the end of a lease, or the same request by the next operator.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is done to the requests of an operator.
pub struct Meddler {
    aim: Aim,
    without: Option<Guard>,
    client: Client,
    /// What is stored, if it is one namespace.
    space: Option<Arc<Space>>,
    replicas: OnceLock<Vec<Arc<Replica>>>,
    seen: Mutex<Seen>,
    /// Tells of answers.
    answered: watch::Sender<()>,
    /// What a fault does in the background.
    pub background: TaskTracker,
    /// The scenario has been played.
    pub over: CancellationToken,
}

impl Meddler {
    pub fn new(client: Client, space: Option<Arc<Space>>, aim: Aim, without: Option<Guard>) -> Arc<Self> {
        Arc::new(Self {
            aim,
            without,
            client,
            space,
            replicas: OnceLock::new(),
            seen: Mutex::default(),
            answered: watch::Sender::new(()),
            background: TaskTracker::new(),
            over: CancellationToken::new(),
        })
    }

    /// The handler of the proxy of this replica.
    pub fn handler(self: &Arc<Self>, replica: usize) -> Handler {
        let meddler = self.clone();
        Arc::new(move |proxy, request| meddler.clone().handle(replica, proxy, request).boxed())
    }

    /// All replicas, in their order.
    pub fn attach(&self, replicas: Vec<Arc<Replica>>) {
        assert!(self.replicas.set(replicas).is_ok(), "they are attached once");
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests so far.
    pub fn steps(&self) -> Vec<Step> {
        self.seen().steps.clone()
    }

    /// Requests that may change something so far.
    pub fn mutating(&self) -> usize {
        self.seen().mutating
    }

    /// How many requests were to meet a fault.
    pub fn aimed(&self) -> usize {
        self.seen().aimed
    }

    /// The faults that have happened.
    pub fn met(&self) -> BTreeSet<Fault> {
        self.seen().met.clone()
    }

    fn happened(&self, fault: Fault) {
        self.seen().met.insert(fault);
    }

    pub fn strays(&self) -> BTreeSet<String> {
        self.seen().strays.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.seen().violations.clone()
    }

    /// Waits until a replica leads.
    pub async fn leads(&self, replica: usize) -> bool {
        self.wait(|seen| seen.leads == Some(replica)).await
    }

    async fn wait(&self, holds: impl Fn(&Seen) -> bool) -> bool {
        let mut answered = self.answered.subscribe();
        let wait = async {
            while !holds(&self.seen()) {
                let _changed = answered.changed().await;
            }
        };
        timeout(PATIENCE, wait).await.is_ok()
    }

    async fn handle(self: Arc<Self>, replica: usize, proxy: Arc<Proxy>, mut request: Request) -> Result<Answer, Cut> {
        if let Some(guard) = self.without {
            request.strip(guard);
        }
        let step = self.arrived(replica, &request);
        match self.aim.fault(&step, self.over.is_cancelled()) {
            Some(fault) => {
                self.seen().aimed += 1;
                detached(self.meet(fault, replica, proxy, request)).await
            }
            None => self.pass(replica, &proxy, &request).await,
        }
    }

    /// Counts a request.
    fn arrived(&self, replica: usize, request: &Request) -> Step {
        let name = request.step().expect("others are not handled");
        let mut seen = self.seen();
        let number = seen.counts.entry(name.clone()).or_default();
        *number += 1;
        let step = Step { number: *number, name };
        if request.is_mutating() && !step.is_of_lease() {
            seen.mutating += 1;
            if seen.thawed == Some(replica) && seen.leads != Some(replica) {
                let violation = format!("S12: {step} by a replica that was frozen, and another leads");
                seen.violations.push(violation);
            }
        }
        seen.steps.push(step.clone());
        step
    }

    /// Passes a request on, and notes the answer.
    async fn pass(&self, replica: usize, proxy: &Proxy, request: &Request) -> Result<Answer, Cut> {
        let answer = proxy.forward(request).await?;
        let name = request.step().expect("others are not handled");
        let mut seen = self.seen();
        if name.ends_with("-leases") && request.is_mutating() && answer.is_success() {
            seen.leads = Some(replica);
        }
        *seen.answered.entry(name).or_default() += 1;
        drop(seen);
        self.answered.send_replace(());
        Ok(answer)
    }

    async fn meet(
        self: Arc<Self>,
        fault: Fault,
        replica: usize,
        proxy: Arc<Proxy>,
        request: Request,
    ) -> Result<Answer, Cut> {
        let itself = self.replicas.get().expect("they are attached")[replica].clone();
        let pass = async || self.pass(replica, &proxy, &request).await;
        let pass_first = async || pass().await.inspect(|_| self.happened(fault));
        if fault.is_at_once() {
            self.happened(fault);
        }
        match fault {
            Fault::Refused => {
                proxy.go_away(AWAY);
                return Err(Cut);
            }
            Fault::CutBefore => return Err(Cut),
            Fault::CutAfter => {
                pass_first().await?;
                return Err(Cut);
            }
            Fault::TimedOut => {
                pass_first().await?;
                return Ok(Answer::failure(StatusCode::GATEWAY_TIMEOUT, "Timeout"));
            }
            Fault::Unavailable => return Ok(Answer::failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")),
            Fault::Throttled => return Ok(Answer::failure(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
            Fault::Slow => sleep(LATE).await,
            Fault::Late => {
                let answer = pass().await;
                sleep(LATE).await;
                return answer;
            }
            Fault::Twice => drop(pass_first().await?),
            Fault::KilledBefore => {
                itself.kill().await;
                return Err(Cut);
            }
            Fault::KilledAfter => {
                pass_first().await?;
                itself.kill().await;
                return Err(Cut);
            }
            Fault::Overtaken | Fault::Belated | Fault::Misplaced => {
                self.background
                    .spawn(self.clone().stray(fault, replica, proxy, request));
                itself.kill().await;
                return Err(Cut);
            }
            Fault::Frozen => {
                let answer = pass().await;
                return self.clone().freeze(replica, itself, answer).await;
            }
            Fault::JobsHeld => self.disturb(proxy.clone(), Some("pytorchjobs"), Flow::Held, LATE),
            Fault::PodsHeld => self.disturb(proxy.clone(), Some("pods"), Flow::Held, LATE),
            Fault::AllHeld => self.disturb(proxy.clone(), None, Flow::Held, LATE),
            Fault::Gone => self.disturb(proxy.clone(), None, Flow::Lost, AWAY),
            Fault::Conflict => {
                let edit = json!({ "metadata": { "annotations": { "second-writer": request.step() } } });
                let jobs = Api::<Job>::namespaced(self.client.clone(), request.namespace().unwrap_or_default());
                let edited = jobs.patch(JOB, &PatchParams::default(), &Patch::Merge(&edit)).await;
                // It may be gone.
                if edited.is_ok() {
                    self.happened(fault);
                }
            }
        }
        pass().await
    }

    /// Disturbs the watches for a while.
    fn disturb(self: &Arc<Self>, proxy: Arc<Proxy>, kind: Option<&'static str>, flow: Flow, time: Duration) {
        let set = move |flow| match kind {
            Some(kind) => proxy.gates.set(kind, flow),
            None => proxy.gates.set_all(flow),
        };
        set(flow);
        self.background.spawn(async move {
            sleep(time).await;
            set(Flow::Open);
        });
    }

    /// A request of an operator that is dead, which arrives late.
    async fn stray(self: Arc<Self>, fault: Fault, replica: usize, proxy: Arc<Proxy>, request: Request) {
        let name = request.step().expect("others are not handled");
        let before = self.seen().answered.get(&name).copied().unwrap_or_default();
        let moment = async {
            match (fault, request.created(), &self.space) {
                (Fault::Overtaken, ..) => {
                    let again = |seen: &Seen| seen.answered.get(&name).copied().unwrap_or_default() > before;
                    self.wait(again).await
                }
                (Fault::Misplaced, Some((kind, name)), Some(space)) => {
                    space.wait(PATIENCE, |state| state.get(kind, &name).is_some()).await
                        && space.wait(PATIENCE, |state| state.get(kind, &name).is_none()).await
                }
                _ => pending().await,
            }
        };
        let came = tokio::select! {
            came = moment => came,
            () = self.over.cancelled() => fault == Fault::Belated,
        };
        let Ok(answer) = self.pass(replica, &proxy, &request).await else {
            return;
        };
        if came {
            self.happened(fault);
        }
        if let Some(uid) = answer.uid().filter(|_| request.created().is_some()) {
            self.seen().strays.insert(uid);
        }
    }

    /// Stops a replica until another one leads. The answer lies ready when it wakes.
    async fn freeze(
        self: Arc<Self>,
        replica: usize,
        itself: Arc<Replica>,
        answer: Result<Answer, Cut>,
    ) -> Result<Answer, Cut> {
        let Some(operator) = itself.operator() else {
            return answer;
        };
        operator.pause();
        let other = self.wait(|seen| seen.leads.is_some_and(|leads| leads != replica)).await;
        if other {
            self.seen().thawed = Some(replica);
            self.happened(Fault::Frozen);
        } else {
            let violation = format!("S12: a replica is frozen, and no other leads within {PATIENCE:?}");
            self.seen().violations.push(violation);
        }
        self.background.clone().spawn(async move {
            sleep(ASLEEP).await;
            operator.resume();
        });
        answer
    }
}
