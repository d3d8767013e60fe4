//! Why the containers of a pod do not run, in the words of the scheduler and the kubelet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::names::reason;
use crate::api::shortened;
use crate::cache::parts::{ContainerStatusView, StatusView, TROUBLE_BYTES};
use crate::planner::Trouble;

/// What the scheduler says of a pod without a node, and the kubelet of a container that waits for more than its turn,
/// or that has failed again; what starts again in place (`in_place`) has failed, and does not wait. `excludes` are the
/// nodes that the pod was built to stay away from.
pub(super) fn of(status: &StatusView, in_place: bool, excludes: impl Fn() -> Vec<String>) -> Option<Trouble> {
    let unscheduled = status.condition("PodScheduled", "False");
    let since = unscheduled.and_then(|condition| condition.last_transition_time.as_ref());
    let unscheduled = unscheduled.map(|condition| (&condition.reason, &condition.message));
    let waiting = status
        .containers()
        .filter_map(|status| status.state.as_ref()?.waiting.as_ref());
    let waiting = waiting.map(|waiting| (&waiting.reason, &waiting.message));
    let told = unscheduled.into_iter().chain(waiting).find_map(|(reason, message)| {
        let reason = known_trouble(reason.as_deref()?)?;
        let message = shortened(message.clone().unwrap_or_default(), TROUBLE_BYTES);
        Some(Trouble {
            reason,
            message,
            since: since.map(|Time(time)| *time),
            excludes: excludes(),
        })
    });
    told.or_else(|| status.containers().find_map(crash_loop).filter(|_| !in_place))
}

/// A container that has failed after it had been restarted: the kubelet waits before it starts it again. It says so by
/// `CrashLoopBackOff` only if it looks at the pod meanwhile, which a kubelet of 1.37 does not.
fn crash_loop(status: &ContainerStatusView) -> Option<Trouble> {
    let end = status.state.as_ref()?.terminated.as_ref()?;
    let again = status.restart_count > 0 && end.exit_code != 0;
    let reason = end.reason.as_deref().unwrap_or("Error");
    again.then(|| Trouble {
        reason: reason::CRASH_LOOP,
        message: format!(
            "container {} exited with code {} ({reason}) and waits to be started again",
            status.name, end.exit_code
        ),
        ..Trouble::default()
    })
}

/// The kubelet says `ErrImagePull` after each attempt, and `ImagePullBackOff` until the next.
fn known_trouble(word: &str) -> Option<&'static str> {
    let word = if word == "ErrImagePull" {
        "ImagePullBackOff"
    } else {
        word
    };
    reason::POD_TROUBLES.into_iter().find(|known| *known == word)
}
