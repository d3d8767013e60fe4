//! `docs/differences.md`.

use crate::support::page::page;

/// The events of training-operator 1.9 about a `PyTorchJob`, with their types.
const OF_KUBEFLOW: [(&str, &str); 22] = [
    ("SuccessfulCreatePod", "Normal"),
    ("FailedCreatePod", "Warning"),
    ("SuccessfulDeletePod", "Normal"),
    ("FailedDeletePod", "Warning"),
    ("SuccessfulCreateService", "Normal"),
    ("FailedCreateService", "Warning"),
    ("SuccessfulDeleteService", "Normal"),
    ("FailedDeleteService", "Warning"),
    ("ExitedWithCode", "Normal"),
    ("PyTorchJobRestarting", "Warning"),
    ("PyTorchJobFailed", "Warning"),
    ("PyTorchJobFailed", "Normal"),
    ("PyTorchJobSucceeded", "Normal"),
    ("PyTorchJobSuspended", "Normal"),
    ("PyTorchJobResumed", "Normal"),
    ("SetPodTemplateRestartPolicy", "Warning"),
    ("SetPodTemplateSchedulerName", "Warning"),
    ("JobTerminated", "Normal"),
    ("SuccessfulDeletePodGroup", "Normal"),
    ("FailedDeletePodGroup", "Warning"),
    ("ImagePullBackOff", "Warning"),
    ("OOMKilled", "Warning"),
];
/// The conditions that are events too, as the page of the API has it above its table.
const OF_CONDITIONS: [(&str, &str); 5] = [
    ("PyTorchJobRestarting", "Warning"),
    ("PyTorchJobFailed", "Warning"),
    ("PyTorchJobSucceeded", "Normal"),
    ("PyTorchJobSuspended", "Normal"),
    ("PyTorchJobResumed", "Normal"),
];

#[test]
fn every_event_of_kubeflow_is_one_here_too_with_its_type_or_is_a_difference() {
    let ours = page("docs/api.md").table("## Events");
    let listed = page("docs/differences.md").table("### Events");
    let is_ours = |event: &(&str, &str)| {
        OF_CONDITIONS.contains(event) || ours.iter().any(|row| (row[0].as_str(), row[1].as_str()) == *event)
    };
    let is_listed = |reason: &str| listed.iter().any(|row| row[0].contains(reason));
    for event in &OF_KUBEFLOW {
        assert!(is_ours(event) || is_listed(event.0), "{event:?}");
    }
}

#[test]
fn an_event_that_the_page_says_is_none_here_is_none() {
    let ours = page("docs/api.md").column("## Events", 0);
    let listed = page("docs/differences.md").table("### Events").into_iter();
    let none: Vec<_> = listed.filter(|row| row[2].starts_with('–')).collect();
    assert!(none.len() >= 4, "{none:?}");
    // What is left of a reason that is told of something else.
    let always = none.iter().filter(|row| !row[0].contains("TTL"));
    for row in always {
        let told = ours.iter().find(|reason| row[0].contains(reason.as_str()));
        assert_eq!(told, None, "{row:?}");
    }
}
