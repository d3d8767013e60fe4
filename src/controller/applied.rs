//! What came of the changes of a plan, and how long they may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::{ChildKind, ChildRef};
use crate::controller::error::Error;
use crate::defects::{Defect, back};
use crate::platform::client::{Unanswered, Waited, until};

/// Requests of one job under way at once.
pub(super) const JOB_CONCURRENCY: usize = 32;
/// No request is begun after this: the world has moved on, and an edit must not wait for a plan made before it.
const BUDGET: Duration = Duration::from_secs(5);
/// No budget.
const LONG: Duration = Duration::from_hours(1);
/// How much longer the answers to what was begun are waited for. By default an admission webhook has ten seconds, and
/// what the API server says of one that has not answered is to be heard.
const PATIENCE: Duration = Duration::from_secs(7);

/// What came of the changes of one plan.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What was created, in order. What existed already is not in it.
    pub created: Vec<ChildRef>,
    /// Kind and name of what was deleted.
    pub deleted: Vec<(ChildKind, String)>,
    /// What to tell of the pods that were deleted by force.
    pub forced: Vec<String>,
    /// Names of the pods that were asked to start again in place.
    pub restarted: Vec<String>,
    /// Names of the pods that were deleted because they cannot, and why.
    pub recreated: Vec<(String, String)>,
    /// The first change that failed. Those that were under way with it were carried out, later ones were not.
    pub error: Option<Error>,
    /// Whether time ran out, or the job was edited, before all changes were made: the next pass has to come at once.
    pub interrupted: bool,
    /// Whether something was gone before its watch has said so: it never will, so the next pass has to come at once.
    pub gone: bool,
}

impl Applied {
    /// Adds what failed; the most severe stays.
    pub(super) fn fail(&mut self, errors: impl IntoIterator<Item = Error>) {
        self.error = Error::most_severe(self.error.take().into_iter().chain(errors));
    }

    /// Whether there is a change that a watch is yet to show.
    pub(super) fn changed(&self) -> bool {
        !(self.created.is_empty() && self.deleted.is_empty() && self.restarted.is_empty())
    }

    /// Records what [`Budget::run`] came to, and returns the answer of a request that was answered well.
    pub(super) fn take<T>(&mut self, result: Option<Result<T, Error>>) -> Option<T> {
        match result {
            Some(Ok(answer)) => Some(answer),
            Some(Err(error)) => {
                self.fail([error]);
                None
            }
            None => {
                self.interrupted = true;
                None
            }
        }
    }
}

/// How long a pass may go on.
#[derive(Clone, Copy)]
pub(super) struct Budget<'a> {
    until: Instant,
    outdated: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Budget<'a> {
    /// The budget of a pass that begins now, and ends early when its plan is `outdated`.
    pub(super) fn begin(outdated: &'a (dyn Fn() -> bool + Sync)) -> Self {
        let budget = if back(Defect::LongPass) { LONG } else { BUDGET };
        let until = Instant::now() + budget;
        Self { until, outdated }
    }

    /// The same budget for what ends early when this is so.
    pub(super) fn ends_when(self, outdated: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { outdated, ..self }
    }

    /// The result of a request; nothing when none may be begun any more, or when it has not left in time. One that the
    /// API server does not answer in time goes on, and has `failed` for this pass.
    pub(super) async fn run<T>(
        self,
        request: impl Future<Output = Result<T, Error>>,
        failed: impl FnOnce(Box<kube::Error>) -> Error,
    ) -> Option<Result<T, Error>> {
        let outdated = (self.outdated)() && !back(Defect::LongPass);
        if Instant::now() >= self.until || outdated {
            return None;
        }
        match until(self.until + PATIENCE, request).await {
            Waited::Answered(result) => Some(result),
            Waited::Unanswered => Some(Err(failed(Box::new(kube::Error::Service(Unanswered.into()))))),
            Waited::NotSent => None,
        }
    }
}
