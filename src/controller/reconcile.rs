//! One pass over one job: observe, plan, act, store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use tokio::time::Instant;
use tracing::debug;

use crate::api::JobStep;
use crate::cache::{CONFIRMED_WITHIN, Snapshot, StoredJob, Undecodable, identity};
use crate::controller::act::act;
use crate::controller::applied::Applied;
use crate::controller::context::Context;
use crate::controller::error::{Error, ReconcileError};
use crate::controller::events;
use crate::controller::job_ref::JobRef;
use crate::controller::observe::{read, read_ended, read_overdue};
use crate::controller::pacing::{Templates, UnansweredStatus};
use crate::controller::store_status::store_status;
use crate::controller::tell::{of_departures, publish, tell, tell_late};
use crate::defects::{self, Defect, back};
use crate::planner::{self, Count, Plan, StatusWrite, Urgency, World};
use crate::platform::clock;
use crate::platform::logs::with_causes;

/// When a job is looked at again although nothing happened and nothing is due: a safety net below the watches, which
/// costs no request.
const RESYNC: Duration = Duration::from_mins(45);
/// Part of [`RESYNC`] that is left to chance, so that jobs do not come all at once.
const RESYNC_JITTER: f64 = 0.3;
/// Passes that follow each other at once when the job is changed meanwhile.
const TRIES: u32 = 3;
/// When to look again after a conflict, should the change that caused it not come by the watch before.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);
/// When to look again at a job whose namespace is being deleted. Its end needs nothing of us, but of several API
/// servers one may not have heard yet that there is another namespace of that name.
const END_OF_NAMESPACE: Duration = Duration::from_mins(1);

/// How long the status waits for the changes of the same plan.
const STATUS_WAITS: Duration = Duration::from_secs(1);

/// One pass over one job. Says when to come back if nothing happens before.
pub(super) async fn reconcile(stored: Arc<StoredJob>, context: Arc<Context>) -> Result<Duration, ReconcileError> {
    match passes(&context, &stored).await {
        Ok(next) => {
            context.pacing.succeeded(stored.uid());
            Ok(next)
        }
        Err(ReconcileError { error, retry_by, .. }) if error.is_benign() => {
            let key = stored.key();
            debug!(
                namespace = key.namespace,
                name = key.name,
                error = with_causes(&error),
                "trying again"
            );
            let pause = match error {
                // It may take as long as its grace period, or forever; its deletion may be watched, and may not be.
                Error::NameTaken { .. } => context.pacing.failed(stored.uid(), false, Instant::now()),
                _ if error.is_end_of_namespace() => END_OF_NAMESPACE,
                _ => AFTER_CONFLICT,
            };
            Ok(retry_by.map_or(pause, |retry_by| retry_by.min(pause)))
        }
        Err(failed) => Err(failed),
    }
}

/// One pass, and another one as soon as somebody else has changed the job meanwhile: the next reads it first, so only
/// an edit within that moment makes it fail as well. The watch may be too late for a job that is edited all the time.
async fn passes(context: &Context, stored: &Arc<StoredJob>) -> Result<Duration, ReconcileError> {
    let mut tries = TRIES;
    loop {
        let result = one_pass(context, stored).await;
        tries -= 1;
        if !matches!(&result, Err(failed) if matches!(failed.error, Error::Conflict { .. })) {
            return result;
        }
        if !back(Defect::RefutedJob) {
            context.index.jobs().doubt(&stored.key());
        }
        // What is gone, or another by now, is not what was planned for. What cannot be decoded is not read again.
        let kept = context.index.jobs().get(&stored.key());
        let decoded = matches!(stored.as_ref(), StoredJob::Decoded(_));
        if tries == 0 || !decoded || kept.is_none_or(|kept| kept.uid() != stored.uid()) {
            return result;
        }
    }
}

async fn one_pass(context: &Context, stored: &Arc<StoredJob>) -> Result<Duration, ReconcileError> {
    let job = match stored.as_ref() {
        StoredJob::Undecodable(object) => return report_undecodable(context, object, stored.object_ref(&())).await,
        StoredJob::Decoded(job) => JobRef::of(job),
    };
    read_overdue(context, &job).await;
    let (mut plan, mut owned) = plan(context, &job);
    if !plan.is_idle() && !back(Defect::StaleStandby) && read_ended(context, &job).await? {
        (plan, owned) = self::plan(context, &job);
    }
    // What was read may have taken its time, and the watch have shown another version since, or that it is gone.
    let version = job.object.metadata.resource_version.as_deref();
    if plan.is_idle() || context.index.jobs().is_certain_at(&job.key(), version) {
        return pass(context, &job, &plan, &owned).await;
    }
    match read(context, &job).await?.as_ref() {
        StoredJob::Undecodable(_) => Err(job.conflict().into()),
        StoredJob::Decoded(job) => {
            let job = JobRef::of(job);
            let (plan, owned) = self::plan(context, &job);
            pass(context, &job, &plan, &owned).await
        }
    }
}

fn plan(context: &Context, job: &JobRef<'_>) -> (Plan, Snapshot) {
    let owned = context.index.owned_by(&job.id());
    let refusal = context.pacing.refusal(job.uid);
    let compared = context.pacing.compared(job.uid);
    let world = World {
        job: job.object,
        pods: &owned.pods,
        others: &owned.others,
        refusal: refusal.as_deref(),
        definition_may_differ: compared.is_none_or(|compared| compared.text != Templates::of(job.object).text),
        compared_generation: compared.and_then(|compared| compared.generation),
        settings: &context.settings.get(),
        now: clock::now(),
    };
    let plan = defects::plan(&world).unwrap_or_else(|| planner::plan(&world));
    (plan, owned)
}

async fn pass(context: &Context, job: &JobRef<'_>, plan: &Plan, owned: &Snapshot) -> Result<Duration, ReconcileError> {
    if context.index.jobs().restored().is_cancelled() {
        // The operator ends, see [`RunError::Restored`](super::run::RunError::Restored).
        return Ok(RESYNC);
    }
    let planned = Instant::now();
    let reference = job.object.object_ref(&());
    tell_late(context, &job.object.metadata, job.object.status.as_ref(), &reference);
    let (applied, wait) = carry_out(context, job, plan).await;
    // Also after a failure: what a creation makes that was given up, and comes late, is older than this plan.
    let carried_out = applied.error.is_none() && !applied.interrupted;
    if wait.is_ok() && (carried_out || !plan.relabels()) {
        context.pacing.record_comparison(job.uid, Templates::of(job.object));
    }
    publish(context, &reference, events::of_changes(&applied, job.name));
    publish(context, &reference, of_departures(context, job, owned));
    // A status that waits for the end of its burst does not wait for the end of a pause as well.
    let waiting = wait.as_ref().ok().copied().flatten().filter(|wait| !wait.is_zero());
    let timer = plan.requeue.map(|after| after.saturating_sub(planned.elapsed()));
    let failed = |error| ReconcileError {
        retry_by: timer.into_iter().chain(waiting).min(),
        ..ReconcileError::from(error)
    };
    let (wait, refused) = wait.map_or_else(|error| (None, Some(error)), |wait| (wait, None));
    let unconfirmed = owned.unconfirmed || applied.changed();
    if let Some(error) = Error::most_severe(applied.error.into_iter().chain(refused)) {
        return Err(failed(error));
    }
    if applied.interrupted || applied.gone {
        return Ok(Duration::ZERO);
    }
    Ok(next(timer, unconfirmed, wait))
}

/// Makes the changes and stores the status, also when a change failed: the status says what was observed, so the user
/// sees the truth while the cause lasts. Nothing in a plan that has both depends on their order: a status that is
/// urgent goes beside the changes, since the pods of a new job wait for it and not for its services, and any other
/// after them, unless they take long.
async fn carry_out(context: &Context, job: &JobRef<'_>, plan: &Plan) -> (Applied, Result<Option<Duration>, Error>) {
    let stored = AtomicBool::new(false);
    let mut acting = std::pin::pin!(act(context, job, &plan.actions, &stored));
    if plan.status.as_ref().is_some_and(|write| write.urgency == Urgency::Now) {
        let storing = async {
            let result = store_status_when_due(context, job, plan).await;
            stored.store(result.is_ok(), Ordering::Relaxed);
            result
        };
        return tokio::join!(acting, storing);
    }
    if let Ok(applied) = tokio::time::timeout(STATUS_WAITS, &mut acting).await {
        return (applied, store_status_when_due(context, job, plan).await);
    }
    tokio::join!(acting, store_status_in_time(context, job, plan))
}

/// The same as [`store_status_when_due`], but for a condition that waits for the rest of its burst: what is under way
/// may take longer than that.
async fn store_status_in_time(context: &Context, job: &JobRef<'_>, plan: &Plan) -> Result<Option<Duration>, Error> {
    let wait = store_status_when_due(context, job, plan).await?;
    let is_condition = plan
        .status
        .as_ref()
        .is_some_and(|write| write.urgency == Urgency::Condition);
    match wait.filter(|wait| is_condition && !wait.is_zero()) {
        None => Ok(wait),
        Some(wait) => {
            tokio::time::sleep(wait).await;
            store_status_when_due(context, job, plan).await
        }
    }
}

/// Stores the status of the plan if it is due, and then says what happened. Returns how long it has to wait, zero when
/// something depends on its being stored.
async fn store_status_when_due(context: &Context, job: &JobRef<'_>, plan: &Plan) -> Result<Option<Duration>, Error> {
    let Some(StatusWrite { status, urgency }) = &plan.status else {
        context.pacing.status_settled(job.uid);
        return Ok(None);
    };
    if let Some(wait) = context.pacing.status_wait(job.uid, *urgency, Instant::now()) {
        return Ok(Some(wait));
    }
    let reference = job.object.object_ref(&());
    let write = UnansweredStatus {
        status: status.clone(),
        events: plan.events.clone(),
        counts: plan.counts.clone(),
    };
    let result = store(context, &job.object.metadata, &reference, write).await;
    // An object that breaks the rules of the CRD may not even take a status: its owner learns of it by the event.
    if result.as_ref().is_err_and(Error::is_invalid) {
        publish(context, &reference, plan.events.clone());
    }
    result?;
    context.pacing.status_settled(job.uid);
    Ok(Some(Duration::ZERO))
}

/// Stores a status, and tells and counts what comes with it. Should the pass end before the API server has answered,
/// that is done when the watch shows the status.
async fn store(
    context: &Context,
    job: &ObjectMeta,
    reference: &ObjectReference,
    write: UnansweredStatus,
) -> Result<(), Error> {
    let [namespace, _, uid] = identity(job);
    context.pacing.writes_status(uid, write.clone());
    let result = store_status(context, job, write.status).await;
    if !result.as_ref().is_err_and(Error::may_be_done) {
        context.pacing.answered(uid);
    }
    result?;
    tell(context, namespace, reference, &write.counts, write.events);
    Ok(())
}

/// The nearest of what the plan, the waiting status and the watches call for.
fn next(timer: Option<Duration>, unconfirmed: bool, status: Option<Duration>) -> Duration {
    let unconfirmed = unconfirmed.then_some(CONFIRMED_WITHIN);
    let resync = clock::jittered(RESYNC, RESYNC_JITTER);
    let timer = timer.filter(|_| !back(Defect::NoTimer));
    [timer, status, unconfirmed]
        .into_iter()
        .flatten()
        .fold(resync, Duration::min)
}

/// Fails a job that cannot be decoded, or says so where it has started already.
async fn report_undecodable(
    context: &Context,
    object: &Undecodable,
    regarding: ObjectReference,
) -> Result<Duration, ReconcileError> {
    let (metadata, kept) = (&object.metadata, object.status.as_ref());
    let [_, name, uid] = identity(metadata);
    tell_late(context, metadata, kept, &regarding);
    if let Some((status, event)) = planner::undecodable(name, kept, &object.cause, clock::now()) {
        // First the event: of an object so broken the API server may refuse to store even a status.
        if context.pacing.is_news(uid, &object.cause) {
            publish(context, &regarding, vec![event]);
        }
        if let Some(status) = status {
            let (events, counts) = (Vec::new(), vec![Count::Job(JobStep::Failed)]);
            let write = UnansweredStatus { status, events, counts };
            store(context, metadata, &regarding, write).await?;
        }
    }
    Ok(clock::jittered(RESYNC, RESYNC_JITTER))
}
