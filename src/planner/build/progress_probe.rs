//! The readiness probe by which the kubelet tells whether a replica makes progress.

use serde_json::{Map, Value, json};

use crate::api::{ProgressPolicy, names};
use crate::planner::build::builder::Builder;
use crate::planner::build::template;

/// Fails when no regular file at or below `$1` was written in the last `$2` seconds. `stat -c` and `find -exec … +` are
/// those of GNU, busybox and toybox.
const LOOK: &str = r#"newest=$(find -L "$1" -type f -exec stat -L -c %Y {} + | sort -n | tail -n 1)
[ -n "$newest" ] || { echo "no file at $1"; exit 1; }
age=$(($(date +%s) - newest))
[ "$age" -le "$2" ] || { echo "$1 was last written $age s ago"; exit 1; }"#;

/// Looks in a row that have to find the same: one may fail because the node is busy.
const THRESHOLD: i32 = 3;

/// Gives the container that trains the probe, and the pod the annotation that says so, if the job asks for it. A
/// template that has a probe of its own, which no API server with our rules stores, keeps it.
pub(super) fn add(builder: &Builder<'_>, spec: &mut Value, metadata: &mut Map<String, Value>) {
    let policy = builder.job.spec.run_policy.progress_policy.as_ref();
    let Some(policy) = policy.filter(|policy| policy.is_usable()) else {
        return;
    };
    let training = template::named_container(spec);
    let Some(container) = training.filter(|container| container["readinessProbe"].is_null()) else {
        return;
    };
    container["readinessProbe"] = probe(policy);
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    annotations[names::ANNOTATION_PROGRESS_DEADLINE] = json!(policy.deadline_seconds.to_string());
}

fn probe(policy: &ProgressPolicy) -> Value {
    let deadline = policy.deadline_seconds.to_string();
    json!({
        "exec": { "command": ["sh", "-c", LOOK, "progress", policy.file, deadline] },
        "failureThreshold": THRESHOLD,
        "periodSeconds": policy.period_seconds(),
        "timeoutSeconds": policy.timeout_seconds(),
    })
}
