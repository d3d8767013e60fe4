//! Restarts of training containers in the pods that are there.
//!
//! Each is two requests: annotations, which say what is asked for, and the step that asks for it. Both name the UID and
//! say the same when they are sent again. The API server may refuse the step: it does not serve `pods/resize`, the
//! operator may not patch it, a quota or an admission plugin is against it, the node cannot. Then the pod is deleted,
//! as one is that the planner knows to be unable to.

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::api::{ChildKind, ChildRef};
use crate::controller::applied::{Applied, Budget, JOB_CONCURRENCY};
use crate::controller::context::Context;
use crate::controller::delete::delete_child;
use crate::controller::error::{Error, api_message};
use crate::controller::job_ref::JobRef;
use crate::controller::observe::read_child;
use crate::controller::update::patch_child;
use crate::defects::{Defect, back};
use crate::planner::{Action, Restart, ask_again, resize};

/// What came of one.
enum Done {
    /// The pod says what it was asked for; true if it was asked to start again.
    Asked(bool),
    /// It was deleted: why.
    Deleted(String),
    /// It is gone.
    Gone,
}

/// Carries out the restarts among `actions`, also when one of them fails.
pub(super) async fn restart(
    context: &Context,
    job: &JobRef<'_>,
    actions: &[Action],
    budget: Budget<'_>,
    applied: &mut Applied,
) {
    let pods = actions.iter().filter_map(|action| match action {
        Action::RestartInPlace { child, .. } | Action::Recreate { child, .. } => Some((action, *child)),
        _ => None,
    });
    let (requests, names): (Vec<_>, Vec<_>) = pods
        .map(|(action, child)| {
            let failed = move |source| job.not_updated(child, source);
            (
                budget.run(carry_out(context, job, action), failed),
                child.name(job.name),
            )
        })
        .unzip();
    let results: Vec<_> = stream::iter(requests).buffered(JOB_CONCURRENCY).collect().await;
    for (name, result) in names.into_iter().zip(results) {
        match applied.take(result) {
            Some(Done::Asked(true)) => applied.restarted.push(name),
            Some(Done::Deleted(why)) => {
                applied.deleted.push((ChildKind::Pod, name.clone()));
                applied.recreated.push((name, why));
            }
            Some(Done::Gone) => applied.gone = true,
            Some(Done::Asked(false)) | None => {}
        }
    }
}

async fn carry_out(context: &Context, job: &JobRef<'_>, action: &Action) -> Result<Done, Error> {
    match action {
        Action::RestartInPlace { child, uid, restart } => restart_one(context, job, *child, uid, restart).await,
        Action::Recreate { child, uid, why } => recreate(context, job, *child, uid, why.clone()).await,
        _ => Ok(Done::Gone),
    }
}

async fn recreate(context: &Context, job: &JobRef<'_>, child: ChildRef, uid: &str, why: String) -> Result<Done, Error> {
    let found = delete_child(context, job, child.kind, &child.name(job.name), uid).await?;
    Ok(if found { Done::Deleted(why) } else { Done::Gone })
}

async fn restart_one(
    context: &Context,
    job: &JobRef<'_>,
    child: ChildRef,
    uid: &str,
    restart: &Restart,
) -> Result<Done, Error> {
    let name = child.name(job.name);
    let failed = |source| job.not_updated(child, Box::new(source));
    if restart.annotate && !back(Defect::NoNote) {
        let version = context.index.version(child.kind, &job.id(), &name, uid);
        match patch_child(context, job, child, "", &note(restart, uid, version)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                context.index.not_found(child.kind, &job.id(), &name, uid);
                return Ok(Done::Gone);
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {
                if read_child(context, job, child.kind, &name, uid).await.map_err(failed)? == version {
                    let why = format!("the API server says: {}", status.message);
                    return recreate(context, job, child, uid, why).await;
                }
                return Ok(Done::Gone);
            }
            answer => answer.map_err(failed)?,
        }
    }
    let Some(step) = resize(restart, uid) else {
        return Ok(Done::Asked(false));
    };
    match patch_child(context, job, child, "/resize", &step).await {
        Ok(()) => Ok(Done::Asked(true)),
        Err(source) if is_refusal(&source) => {
            let why = format!("the API server says: {}", api_message(&source));
            recreate(context, job, child, uid, why).await
        }
        Err(source) => Err(failed(source)),
    }
}

/// What is written before the pod is asked, if it is still as it was when that was decided: the leader before us may
/// have asked it, and a watch that hangs does not show that.
fn note(restart: &Restart, uid: &str, version: Option<u64>) -> Value {
    let mut patch = ask_again(restart, uid);
    if let (Value::Array(operations), Some(version)) = (&mut patch, version) {
        let unchanged = json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version.to_string() });
        operations.insert(0, unchanged);
    }
    patch
}

/// Whether another try would be answered in the same way.
fn is_refusal(source: &kube::Error) -> bool {
    matches!(source, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 405 | 422))
}
