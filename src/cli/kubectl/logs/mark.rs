//! What is said of the failure that came first, and how its lines are marked.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{FailureClass, FirstFailure, names};
use crate::cli::kubectl::age::time;

/// What the operator leaves out of an excerpt that is too long.
const GAP: &str = " … ";

/// How a replica is named before its lines.
pub(super) fn prefix(job: &str, pod: &str) -> String {
    let replica = pod.strip_prefix(job).and_then(|rest| rest.strip_prefix('-'));
    format!("[{}]", replica.unwrap_or(pod))
}

/// The line about a failure.
pub(super) fn heading(job: &str, failure: &FirstFailure) -> String {
    let of = failure.container.as_deref().filter(|name| *name != names::CONTAINER);
    let of = of.map(|name| format!(" of container {name}")).unwrap_or_default();
    let class = failure.class.as_deref();
    let class = class.filter(|class| *class != FailureClass::Unknown.to_string());
    let word = class.or(failure.reason.as_deref());
    let what = match (failure.exit_code, word) {
        (Some(code), Some(word)) => format!("exit code {code}{of} ({word})"),
        (Some(code), None) => format!("exit code {code}{of}"),
        (None, word) => word.unwrap_or("the pod as a whole").to_owned(),
    };
    let node = failure.node.as_ref().map(|node| format!(" on {node}"));
    let at = failure.finished_at.as_ref();
    let at = at.map(|Time(at)| format!(" at {}", time(*at)));
    let excerpt = lines_of(failure).last().map(|line| format!(": {line}"));
    let rest = [node, at, excerpt].map(Option::unwrap_or_default).concat();
    format!("{} first failure: {what}{rest}", prefix(job, &failure.pod)).replace(char::is_control, " ")
}

/// Whether a line of the log of the run that failed is one of those that say what the failure was.
pub(super) fn tells(failure: &FirstFailure, line: &str) -> bool {
    let line = line.trim();
    let is_it = |told: &str| match told.split_once(GAP) {
        // A launcher may have put the rank before it.
        None => line.ends_with(told),
        Some((head, tail)) => line.contains(head) && line.ends_with(tail),
    };
    lines_of(failure).any(is_it)
}

fn lines_of(failure: &FirstFailure) -> impl Iterator<Item = &str> {
    let lines = failure.excerpt.iter().flat_map(|excerpt| excerpt.lines());
    lines.map(str::trim).filter(|line| !line.is_empty())
}

/// In bold red.
pub(super) fn painted(text: &str) -> String {
    format!("\x1b[1;31m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failure(fields: &Value) -> FirstFailure {
        let mut failure = json!({ "pod": "train-worker-1" });
        let fields = fields.as_object().unwrap();
        fields.iter().for_each(|(field, value)| failure[field] = value.clone());
        serde_json::from_value(failure).unwrap()
    }

    #[test]
    fn a_line_is_named_by_its_replica_and_a_pod_of_another_name_by_that() {
        assert_eq!(prefix("train", "train-master-0"), "[master-0]");
        assert_eq!(prefix("train", "training-master-0"), "[training-master-0]");
    }

    #[test]
    fn the_heading_says_how_and_where_the_replica_failed_as_far_as_it_is_known() {
        for (fields, said) in [
            (
                json!({ "exitCode": 1, "class": "ImportError", "reason": "Error", "node": "node-a",
                    "container": "pytorch", "finishedAt": "2026-01-01T00:00:05Z",
                    "excerpt": "ModuleNotFoundError: No module named 'x'" }),
                "exit code 1 (ImportError) on node-a at 2026-01-01T00:00:05Z: ModuleNotFoundError: No module named 'x'",
            ),
            (
                json!({ "exitCode": 3, "class": "Unknown", "reason": "Error", "excerpt": "one\ntwo\u{1b}[0m\n" }),
                "exit code 3 (Error): two [0m",
            ),
            (
                json!({ "exitCode": 2, "container": "fetch" }),
                "exit code 2 of container fetch",
            ),
            (
                json!({ "class": "Evicted", "reason": "Evicted", "node": "n" }),
                "Evicted on n",
            ),
            (json!({}), "the pod as a whole"),
        ] {
            let line = heading("train", &failure(&fields));
            assert_eq!(line, format!("[worker-1] first failure: {said}"));
        }
    }

    #[test]
    fn the_lines_of_the_excerpt_tell_of_the_failure_with_what_a_launcher_puts_before_them() {
        let failed = failure(&json!({ "excerpt": "ImportError: x" }));
        assert!(tells(&failed, "ImportError: x"));
        assert!(tells(&failed, "[rank1]: ImportError: x "));
        assert!(!tells(&failed, "ImportError: xy"));
        let long = failure(&json!({ "excerpt": "RuntimeError: begins … ends" }));
        assert!(tells(&long, "RuntimeError: begins and goes on and ends"));
        assert!(!tells(&long, "RuntimeError: begins"));
        let lines = failure(&json!({ "excerpt": "one\n\ntwo" }));
        assert!(tells(&lines, "one") && tells(&lines, "two") && !tells(&lines, "three"));
        assert!(!tells(&failure(&json!({})), ""));
    }
}
