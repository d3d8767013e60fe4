//! What becomes of pods in a simulated cluster: the kubelet's part, whoever watches and however late.

use std::collections::BTreeMap;

use crate::api::names;
use crate::planner::{FailedContainer, Failure, Phase, Pod};
use crate::support::fixture::{class, in_place};

/// Something that happens to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It runs.
    Run,
    /// All its containers end with 0.
    Succeed,
    /// Its containers end with this code.
    Exit(i32),
    /// Its node throws it out.
    Evict,
    /// The kubelet restarts a container.
    Restart,
    /// The kubelet starts its training container again: it has failed, or was asked to.
    Again,
    /// Somebody deletes it, and it is gone at once.
    Delete,
}

/// A pod as the API server has it after its creation, built from a template and generation of the spec.
pub fn created(name: &str, uid: String, built_from: Option<(u64, Option<i64>)>) -> Pod {
    Pod {
        name: name.into(),
        uid,
        template_hash: built_from.map(|(hash, _)| hash),
        generation: built_from.and_then(|(_, generation)| generation),
        ..Pod::default()
    }
}

/// Lets something other than its deletion happen to a pod. Nothing does to one that has finished.
pub fn happen(pod: &mut Pod, event: &Event) {
    if pod.finished() {
        return;
    }
    match event {
        Event::Run => in_place::run(pod),
        Event::Exit(code) if pod.in_place.is_some() && *code != 0 => in_place::fail(pod, *code),
        Event::Again => in_place::again(pod),
        Event::Succeed if !in_place::can_succeed(pod) => {}
        Event::Succeed => pod.phase = Phase::Succeeded,
        Event::Exit(code) => fail(pod, Some(*code), "Error"),
        Event::Evict => fail(pod, None, "Evicted"),
        Event::Restart => (pod.phase, pod.restarts) = (Phase::Running, pod.restarts + 1),
        Event::Delete => {}
    }
}

fn fail(pod: &mut Pod, exit_code: Option<i32>, reason: &str) {
    let container = exit_code.map(|exit_code| FailedContainer {
        name: names::CONTAINER.into(),
        exit_code,
    });
    let message = exit_code.is_none().then(|| "thrown out".to_owned());
    pod.phase = Phase::Failed;
    pod.failure = Some(Box::new(Failure {
        exit_code,
        container,
        reason: Some(reason.into()),
        class: class(exit_code, reason),
        excerpt: message.clone(),
        message,
        ..Failure::default()
    }));
}

/// Deletes a pod. It stays terminating where `stays` says so, and is gone otherwise.
pub fn delete(pods: &mut BTreeMap<String, Pod>, name: &str, stays: impl Fn(&Pod) -> bool) {
    match pods.get_mut(name) {
        Some(pod) if stays(pod) => pod.terminating = true,
        _ => drop(pods.remove(name)),
    }
}
