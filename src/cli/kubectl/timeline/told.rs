//! Events of the API, as they tell of a job and its pods.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// When it happened, or happened first, in seconds as in pods and conditions.
    pub at: Timestamp,
    /// Kind and name of what it is about.
    pub kind: String,
    pub name: String,
    /// UID of what it is about: a pod that was created again is another one.
    pub uid: String,
    /// The part it is about, such as `spec.containers{pytorch}`.
    pub part: String,
    pub reason: String,
    pub note: String,
}

impl Told {
    /// Reads an event; nothing if it does not say when. Kubelets write the older form, whose times have other names.
    pub(super) fn of(event: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let times = [
            &event["eventTime"],
            &event["deprecatedFirstTimestamp"],
            &event["metadata"]["creationTimestamp"],
        ];
        let at: Timestamp = times.into_iter().find_map(|time| time.as_str()?.parse().ok())?;
        let about = &event["regarding"];
        Some(Self {
            at: Timestamp::from_second(at.as_second()).ok()?,
            kind: text(&about["kind"]),
            name: text(&about["name"]),
            uid: text(&about["uid"]),
            part: text(&about["fieldPath"]),
            reason: text(&event["reason"]),
            note: text(&event["note"]),
        })
    }
}
