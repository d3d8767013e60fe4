//! What a template says of its own pods by names and labels that only one of the two systems gives them.

use regex_lite::Regex;
use serde_json::Value;

use crate::api::names::{LABEL_JOB_NAME, LABEL_REPLICA_INDEX, LABEL_REPLICA_TYPE, env};
use crate::cli::convert::names::{INDEX_LABEL, NAME_LABEL, NAME_VARIABLE, NODE};
use crate::cli::convert::parts::Loss;

/// What of a template, which stands at this path of a PyTorchJob, holds of the operator's pods alone.
pub(super) fn to_operator(job: &str, path: &str, template: &Value) -> Vec<Loss> {
    let of_operator = System {
        hosts: hosts(job, "(master|worker)"),
        labels: &["training.kubeflow.org/"],
        other: "Trainer's pods",
        remedies: [
            format!("that of rank N is {job}-{NODE}-0-N.{job}"),
            format!("they have {NAME_LABEL}, the name of the job, and {INDEX_LABEL}, the rank"),
        ],
    };
    of_operator.losses(&format!("{path}.spec"), &template["spec"])
}

/// What of a part of a `TrainJob` or its runtime holds of Trainer's pods alone.
pub(super) fn to_trainer(job: &str, path: &str, part: &Value) -> Vec<Loss> {
    let of_trainer = System {
        hosts: hosts(job, &format!("{NODE}-0")),
        labels: &[
            "batch.kubernetes.io/job-",
            "jobset.sigs.k8s.io/",
            "trainer.kubeflow.org/",
        ],
        other: "the operator's pods",
        remedies: [
            format!("that of rank 0 is {job}-master-0, and those of ranks from 1 {job}-worker-0 and so on"),
            format!("they have {LABEL_JOB_NAME}, {LABEL_REPLICA_TYPE} and {LABEL_REPLICA_INDEX}"),
        ],
    };
    of_trainer.losses(path, part)
}

/// The names of the pods of a job in DNS, in a longer text.
fn hosts(job: &str, role: &str) -> Option<Regex> {
    Regex::new(&format!("(^|[^-.a-z0-9]){job}-{role}-[0-9]")).ok()
}

/// One of the two, and what to say of its names.
struct System {
    hosts: Option<Regex>,
    /// How its labels begin.
    labels: &'static [&'static str],
    /// The pods that have other ones, and which those are.
    other: &'static str,
    remedies: [String; 2],
}

impl System {
    fn losses(&self, path: &str, part: &Value) -> Vec<Loss> {
        let mut losses = Vec::new();
        self.look(path, part, &mut losses);
        losses
    }

    fn look(&self, path: &str, part: &Value, losses: &mut Vec<Loss>) {
        match part {
            // Conversion takes care of these.
            Value::Object(fields) if fields.get("name").is_some_and(is_converted) => {}
            Value::Object(fields) => {
                for (name, field) in fields {
                    let path = format!("{path}.{name}");
                    match self.loss(&path, name) {
                        Some(loss) => losses.push(loss),
                        None => self.look(&path, field, losses),
                    }
                }
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(index, item)| self.look(&format!("{path}[{index}]"), item, losses));
            }
            Value::String(text) => losses.extend(self.loss(path, text)),
            _ => {}
        }
    }

    fn loss(&self, path: &str, text: &str) -> Option<Loss> {
        let [host, label] = &self.remedies;
        let (what, remedy) = if self.hosts.as_ref().is_some_and(|hosts| hosts.is_match(text)) {
            ("names", host)
        } else if self.labels.iter().any(|start| text.contains(start)) {
            ("labels", label)
        } else {
            return None;
        };
        Some(Loss::new(path, format!("{} have other {what}", self.other), remedy))
    }
}

fn is_converted(name: &Value) -> bool {
    [NAME_VARIABLE, env::MASTER_ADDR, env::RANK]
        .iter()
        .any(|variable| name == variable)
}
