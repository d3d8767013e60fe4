//! Pods whose training container starts again in place: the API server's part, and the kubelet's.

use super::exited;
use crate::api::{JobStatus, PyTorchJob, RestartScope};
use crate::planner::{Doing, EarlierFailure, InPlace, Mark, Phase, Pod, Resource, Restart};

/// Makes the pod one of the newest attempt of its job, and one that starts again in place if that is asked for.
pub fn join(pod: &mut Pod, job: &PyTorchJob) {
    let newest = job.status.as_ref().map_or(0, JobStatus::attempt).max(1);
    pod.attempt = (job.spec.restart_scope() == RestartScope::Job).then_some(newest);
    pod.in_place = job.spec.restarts_in_place().then(|| {
        let (resource, asked) = (Resource::Cpu, None);
        Box::new(InPlace {
            mark: Mark { resource, asked },
            container: 0,
            amount: 10,
            limit: false,
            grace: 30,
            ends: 0,
            earlier: None,
            doing: Doing::Waits,
            applied: false,
            deferred: false,
            refused: None,
        })
    });
}

/// Whether its training container runs, of a pod that starts again in place.
pub fn can_succeed(pod: &Pod) -> bool {
    pod.in_place
        .as_ref()
        .is_none_or(|training| training.doing == Doing::Runs)
}

/// Does to a pod what the operator asks for: first its annotations, and then the step if it comes to that.
pub fn ask(pod: &mut Pod, restart: &Restart, step: bool) {
    let training = pod.in_place.as_mut().expect("it starts again in place");
    if restart.annotate {
        (pod.attempt, training.mark) = (Some(restart.attempt), restart.mark);
    }
    if step && restart.container.is_some() {
        let asked = restart.mark.asked.expect("it is asked for something");
        (training.amount, training.applied, training.deferred) = (asked.amount, false, false);
    }
    forget(pod);
}

/// It runs.
pub fn run(pod: &mut Pod) {
    pod.phase = Phase::Running;
    if let Some(training) = pod.in_place.as_mut().filter(|training| training.doing == Doing::Waits) {
        (training.doing, training.applied) = (Doing::Runs, true);
    }
}

/// Its training container fails, and the pod stays as it is.
pub fn fail(pod: &mut Pod, code: i32) {
    end(pod, code);
    forget(pod);
}

/// The same, but for what is accounted for.
pub fn end(pod: &mut Pod, code: i32) {
    let Some(training) = &mut pod.in_place else { return };
    if training.doing == Doing::Runs {
        (training.doing, training.ends) = (Doing::Waits, training.ends + 1);
        pod.failure = Some(Box::new(exited(code)));
    }
}

/// The kubelet starts its training container again: it has failed, or was asked to.
pub fn again(pod: &mut Pod) {
    let Some(training) = &mut pod.in_place else { return };
    let asked = training.doing == Doing::Runs && !training.applied;
    if training.doing == Doing::Waits || asked {
        training.ends += i32::from(asked);
        (training.doing, training.applied) = (Doing::Runs, true);
    }
    forget(pod);
}

/// An end that is accounted for is no failure.
pub fn forget(pod: &mut Pod) {
    let failed = pod.phase == Phase::Failed;
    let Some(training) = pod.in_place.as_mut().filter(|training| !failed && !training.failed()) else {
        return;
    };
    if let (Some(failure), Some(finished_at)) = (pod.failure.take(), pod.finished_at) {
        let failure = *failure;
        training.earlier = Some(EarlierFailure { failure, finished_at });
    }
}
