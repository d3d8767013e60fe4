//! Carries out the changes of a plan.
//!
//! Every request is safe to repeat and safe to send late: names are deterministic, deletions name the UID, and the
//! deletion of a job also the resourceVersion that was decided on. So a pass may also give a request up whose answer
//! does not come.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::ChildKind;
use crate::api::ChildRef;
use crate::controller::Context;
use crate::controller::create::create;
use crate::controller::delete::delete;
use crate::controller::error::Error;
use crate::controller::job_ref::Target;
use crate::controller::update::update;
use crate::planner::Action;

/// No request is begun after this: the world has moved on, and an edit must not wait for a plan made before it.
const BUDGET: Duration = Duration::from_secs(5);
/// How much longer the answers to what was begun are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of the changes of one plan.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What was created, in order. What existed already is not in it.
    pub created: Vec<ChildRef>,
    /// Kind and name of what was deleted.
    pub deleted: Vec<(ChildKind, String)>,
    /// The first change that failed. Those that were under way with it were carried out, later ones were not.
    pub error: Option<Error>,
    /// Whether time ran out before all changes were made: the next pass has to come at once.
    pub interrupted: bool,
}

impl Applied {
    /// Adds what failed; the most severe stays.
    pub(super) fn fail(&mut self, errors: impl IntoIterator<Item = Error>) {
        self.error = Error::gravest(self.error.take().into_iter().chain(errors));
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(Instant);

impl Budget {
    /// The budget of a pass that begins now.
    pub(super) fn begin() -> Self {
        Self(Instant::now() + BUDGET)
    }

    /// The result of a request; nothing when no more may be begun, or when its answer does not come in time.
    pub(super) async fn run<T>(self, request: impl Future<Output = T>) -> Option<T> {
        if Instant::now() >= self.0 {
            return None;
        }
        tokio::time::timeout_at(self.0 + PATIENCE, request).await.ok()
    }
}

/// Carries out `actions`: deletions first, then updates, then creations.
pub(super) async fn act(context: &Context, target: &Target<'_>, actions: &[Action]) -> Applied {
    let (mut applied, budget) = (Applied::default(), Budget::begin());
    delete(context, target, actions, budget, &mut applied).await;
    update(context, target, actions, budget, &mut applied).await;
    if applied.error.is_none() && !applied.interrupted {
        create(context, target, actions, budget, &mut applied).await;
        // Without an answer the last one still stands.
        if !applied.interrupted && !applied.error.as_ref().is_some_and(Error::is_outage) {
            let refusal = applied.error.as_ref().and_then(Error::refusal);
            context.memory.attempted(target.uid, refusal);
        }
    }
    applied
}
