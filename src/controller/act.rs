//! Carries out the changes of a plan.
//!
//! Every request is safe to repeat and safe to send late: names are deterministic, deletions name the UID, and the
//! deletion of a job also the resourceVersion that was decided on. So a pass may also give a request up whose answer
//! does not come.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::Resource;

use crate::cache::NamespacedName;
use crate::controller::applied::{Applied, Budget};
use crate::controller::context::Context;
use crate::controller::create::create;
use crate::controller::delete::delete;
use crate::controller::error::Error;
use crate::controller::job_ref::JobRef;
use crate::controller::restart::restart;
use crate::controller::update::update;
use crate::planner::Action;

/// Carries out `actions`: deletions first, then updates, then restarts, then creations, of which no batch is begun any
/// more when a new plan is `due`.
pub(super) async fn act(context: &Context, job: &JobRef<'_>, actions: &[Action], due: &AtomicBool) -> Applied {
    let key = job.key();
    let outdated = || is_outdated(context, job, &key);
    let (mut applied, budget) = (Applied::default(), Budget::begin(&outdated));
    delete(context, job, actions, budget, &mut applied).await;
    update(context, job, actions, budget, &mut applied).await;
    restart(context, job, actions, budget, &mut applied).await;
    if applied.error.is_none() && !applied.interrupted {
        let outdated = || due.load(Ordering::Relaxed) || is_outdated(context, job, &key);
        create(context, job, actions, budget.ends_when(&outdated), &mut applied).await;
        let refusal = applied.error.as_ref().and_then(Error::refusal);
        let outage = applied.error.as_ref().is_some_and(Error::is_outage);
        // Without an answer the last one still stands.
        if refusal.is_some() || !(applied.interrupted || outage) {
            context.pacing.attempted(job.uid, refusal);
        }
    }
    applied
}

/// Whether the plan is of a spec that is no more: somebody has edited the job since, or it is gone. A suspension does
/// not wait for the last of a thousand pods.
fn is_outdated(context: &Context, job: &JobRef<'_>, key: &NamespacedName) -> bool {
    let Some(stored) = context.index.jobs().get(key) else {
        return true;
    };
    let planned = job.object.metadata.generation;
    stored.uid() != job.uid || stored.meta().generation > planned
}
