//! Creations. Names are deterministic, so a repeated request meets its own success and not a second object.

use futures::future::join_all;
use kube::api::{Api, Patch, PatchParams, PostParams, Request};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{ChildKind, ChildRef, names};
use crate::cache::ObjectView;
use crate::controller::applied::{Applied, Budget, JOB_CONCURRENCY};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::job_ref::JobRef;
use crate::planner::{Action, Builder, child_labels};

/// Objects of a kind that a job asks for at once; later batches have up to [`JOB_CONCURRENCY`]. Most jobs are small and
/// wait for one answer; of a quota that is used up few refusals are taken.
const FIRST_BATCH: usize = 4;

/// Carries out the creations among `actions`: first the pods, whose start takes the longest, and beside them the
/// service of the first replica, which the others look up to find each other, and what there is one of per job; then
/// the other services, which go first where no pod is to be created. Each of these has a slow start, the slower when
/// the last pass has failed.
pub(super) async fn create(
    context: &Context,
    job: &JobRef<'_>,
    actions: &[Action],
    budget: Budget<'_>,
    applied: &mut Applied,
) {
    let children = actions.iter().filter_map(|action| match action {
        Action::Create(child) => Some(*child),
        _ => None,
    });
    let (pods, others): (Vec<_>, Vec<_>) = children.partition(|child| child.kind == ChildKind::Pod);
    if pods.is_empty() && others.is_empty() {
        return;
    }
    let (services, per_job): (Vec<_>, Vec<_>) = others.into_iter().partition(|child| child.replica.is_some());
    let beside_pods = if pods.is_empty() { services.len() } else { 1 };
    let (first, services) = services.split_at(services.len().min(beside_pods));
    let settings = context.settings.get();
    let builder = Builder::new(job.object, &settings);
    let batch = if context.pacing.failing(job.uid) {
        1
    } else {
        FIRST_BATCH
    };
    let make = |child| {
        let failed = move |source| job.not_created(child, source);
        budget.run(create_child(context, job, &builder, child), failed)
    };
    let beside = [&per_job, first].concat();
    let (pods, beside) = tokio::join!(slow_start(batch, &pods, make), slow_start(batch, &beside, make));
    let services = slow_start(batch, services, make).await;
    for wave in [pods, beside, services] {
        applied.created.extend(wave.created);
        applied.interrupted |= wave.interrupted;
        applied.fail(wave.error);
    }
}

/// Creates in batches, each twice as large as the one before, and stops after the batch in which one failed: a quota
/// that is used up then costs a few refused requests, not a thousand.
async fn slow_start<F>(mut batch: usize, children: &[ChildRef], make: impl Fn(ChildRef) -> F) -> Applied
where
    F: Future<Output = Option<Result<bool, Error>>>,
{
    let (mut wave, mut rest) = (Applied::default(), children);
    while !rest.is_empty() && wave.error.is_none() && !wave.interrupted {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        let answers = join_all(now.iter().copied().map(&make)).await;
        for (child, answer) in now.iter().zip(answers) {
            if wave.take(answer) == Some(true) {
                wave.created.push(*child);
            }
        }
        rest = later;
        batch = (batch * 2).min(JOB_CONCURRENCY);
    }
    wave
}

/// Creates an object of the job. False when it existed already.
async fn create_child(
    context: &Context,
    job: &JobRef<'_>,
    builder: &Builder<'_>,
    child: ChildRef,
) -> Result<bool, Error> {
    let result = post(context, job, builder, child).await;
    match (child.kind, &result) {
        (ChildKind::Pod, Ok(true)) => context.metrics.pod_created(),
        (ChildKind::Service, Ok(true)) => context.metrics.service_created(),
        (ChildKind::Service, Err(_)) => context.metrics.service_creation_failed(),
        (kind, Ok(true)) if kind.is_pod_group() => context.metrics.pod_group_created(),
        _ => {}
    }
    result
}

/// Posts an object of the job as it was built, decodes only what is kept of it, and records it, so that the next plan
/// knows it. False when the job's own object of that name existed already: a request whose answer was lost, or a watch
/// that is late.
async fn post(context: &Context, job: &JobRef<'_>, builder: &Builder<'_>, child: ChildRef) -> Result<bool, Error> {
    let failed = |source| job.not_created(child, Box::new(source));
    // Before the object is built: a thousand that wait for their turn would take the memory of a thousand.
    let _permit = context.creation_permit(job.namespace).await;
    let Some(body) = builder.build(child).map(|object| serde_json::to_vec(&object)) else {
        return Ok(false);
    };
    let body = body.map_err(|error| failed(kube::Error::SerdeError(error)))?;
    let url = ObjectView::url_path(&child.kind, Some(job.namespace));
    let request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let (object, created) = match context.client.request::<ObjectView>(request).await {
        Ok(created) => (created, true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => (adopt(context, job, child).await?, false),
        Err(source) => return Err(failed(source)),
    };
    context.index.created(child.kind, object, Instant::now());
    Ok(created)
}

/// The job's own object that has the name already. One that another operator made for this job may lack our labels, as
/// Kubeflow's autoscalers and whatever the legacy pytorch-operator made do, and would stay unseen by our watch: it gets
/// them.
async fn adopt(context: &Context, job: &JobRef<'_>, child: ChildRef) -> Result<ObjectView, Error> {
    // Whoever has the name goes, or has gone, meanwhile: the next pass asks again.
    let failed = |source| match source {
        kube::Error::Api(status) if status.is_not_found() || status.is_conflict() => job.conflict(),
        source => job.not_created(child, Box::new(source)),
    };
    let name = child.name(job.name);
    let api = Api::<ObjectView>::namespaced_with(context.client.clone(), job.namespace, &child.kind);
    let existing = api.get(&name).await.map_err(failed)?;
    if !job.owns(existing.meta()) {
        return Err(job.name_taken(child.kind, existing.meta()));
    }
    let operator = existing.labels().get(names::LABEL_OPERATOR_NAME);
    if operator.is_some_and(|operator| operator == names::CONTROLLER_NAME) {
        return Ok(existing);
    }
    let labels = json!({ "metadata": { "uid": existing.uid(), "labels": child_labels(job.name, child) } });
    let labels = Patch::Merge(labels);
    match api.patch(&name, &PatchParams::default(), &labels).await {
        // Of another UID the API server says that it cannot be changed.
        Err(kube::Error::Api(status)) if status.is_invalid() => {
            let now = api.get(&name).await.map_err(failed)?;
            let is_it = now.uid() == existing.uid();
            Err(if is_it {
                failed(kube::Error::Api(status))
            } else {
                job.conflict()
            })
        }
        answer => answer.map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Replica, ReplicaType};

    fn error(name: &str) -> Error {
        Error::Conflict {
            namespace: "ns".into(),
            name: name.into(),
        }
    }

    fn workers(number: u32) -> Vec<ChildRef> {
        let pod = |index| ChildRef::of_replica(ChildKind::Pod, Replica::new(ReplicaType::Worker, index));
        (0..number).map(pod).collect()
    }

    #[tokio::test]
    async fn creations_start_slowly_and_stop_at_the_first_refusal() {
        let pods = workers(100);
        for (batch, refused_from, asked, made) in [
            (1, 0, 1, 0),
            (1, 1, 3, 1),
            (1, 2, 3, 2),
            (1, 3, 7, 3),
            (1, 100, 100, 100),
            (4, 0, 4, 0),
            (4, 3, 4, 3),
            (4, 5, 12, 5),
        ] {
            let asks = std::cell::Cell::new(0);
            let wave = slow_start(batch, &pods, |child| {
                asks.set(asks.get() + 1);
                let refused = child.replica.unwrap().index >= refused_from;
                async move { Some(if refused { Err(error("full")) } else { Ok(true) }) }
            })
            .await;
            assert_eq!(
                (asks.get(), wave.created.len()),
                (asked, made),
                "batch {batch}, refused from {refused_from}"
            );
            assert_eq!(wave.error.is_some(), refused_from < 100);
        }
    }

    #[tokio::test]
    async fn what_existed_already_is_not_told_as_created() {
        let pods = workers(10);
        let wave = slow_start(1, &pods, |child| async move {
            Some(Ok(child.replica.unwrap().index % 3 == 0))
        })
        .await;
        let created = wave.created.iter().map(|child| child.replica.unwrap().index);
        assert_eq!(created.collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert!(wave.error.is_none() && !wave.interrupted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_ends_the_pass_in_time() {
        let pods = workers(100);
        let begun = Instant::now();
        let budget = Budget::begin(&|| false);
        let wave = slow_start(4, &pods, |child| {
            let request = async move {
                if child.replica.unwrap().index == 5 {
                    std::future::pending::<()>().await;
                }
                Ok(true)
            };
            budget.run(request, |_| error("not sent"))
        })
        .await;
        assert!(wave.interrupted && wave.error.is_none());
        assert_eq!(
            wave.created.len(),
            4 + 7,
            "what was answered in the same batch is known"
        );
        assert!(begun.elapsed().as_secs() <= 12, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn no_pod_is_asked_for_once_the_job_has_been_edited() {
        let pods = workers(100);
        let edited = std::sync::atomic::AtomicBool::new(false);
        let outdated = || edited.load(std::sync::atomic::Ordering::Relaxed);
        let budget = Budget::begin(&outdated);
        let wave = slow_start(4, &pods, |child| {
            let last = child.replica.unwrap().index == 5;
            edited.fetch_or(last, std::sync::atomic::Ordering::Relaxed);
            budget.run(async { Ok(true) }, |_| error("not sent"))
        })
        .await;
        assert!(wave.interrupted && wave.error.is_none());
        assert_eq!(wave.created.len(), 4, "none of the batch in which the edit came");
    }

    #[tokio::test(start_paused = true)]
    async fn no_batch_is_begun_after_five_seconds() {
        let pods: Vec<ChildRef> = (0..1_000)
            .map(|index| ChildRef::of_replica(ChildKind::Pod, Replica::new(ReplicaType::Worker, index)))
            .collect();
        let begun = Instant::now();
        let budget = Budget::begin(&|| false);
        let wave = slow_start(4, &pods, |_| {
            let request = async {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Ok(true)
            };
            budget.run(request, |_| error("not sent"))
        })
        .await;
        assert!(
            wave.interrupted && begun.elapsed().as_secs() <= 6,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(wave.created.len(), 4 + 8 + 16 + 32 + 32);
    }
}
