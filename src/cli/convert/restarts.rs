//! What happens when a replica fails, in the words of both APIs.
//!
//! | PyTorchJob | pods of the Job | the Job | the `JobSet` |
//! |---|---|---|---|
//! | `OnFailure`, `Always` | `OnFailure` | backoffLimit | |
//! | `ExitCode` | `Never` | backoffLimit; exit codes 1 to 127 fail it | |
//! | `Never` | `Never` | backoffLimit 0 | |
//! | restartScope `Job` | `Never` | backoffLimit 0; with `ExitCode` as above | starts again, maxRestarts times |
//!
//! A disruption counts in none of them, where the pods' policy is `Never`: with `OnFailure` a Job has no word for it.

use serde_json::{Value, json};

use crate::api::{RestartPolicy, RestartScope};
use crate::cli::convert::names::NODE;
use crate::cli::convert::parts::{Loss, Parts};

/// `backoffLimit` of a Job that names none.
const DEFAULT_LIMIT: i32 = 6;
/// No limit: Trainer has no word for it.
const UNLIMITED: i32 = i32::MAX;
/// Exit codes that are the program's own decision; those above are signals, and worth another try.
const OWN_CODES: std::ops::RangeInclusive<i32> = 1..=127;

/// What a PyTorchJob says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restarts {
    pub policy: RestartPolicy,
    pub scope: RestartScope,
    /// `backoffLimit`; none is no limit.
    pub limit: Option<i32>,
}

/// What a runtime says of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    /// `restartPolicy` of the pods.
    pub pods: &'static str,
    /// `backoffLimit` of the Job.
    pub backoff_limit: i32,
    /// `podFailurePolicy` of the Job.
    pub pod_failure_policy: Option<Value>,
    /// `failurePolicy` of the `JobSet`.
    pub failure_policy: Option<Value>,
}

impl Restarts {
    /// For a runtime.
    pub(super) fn written(self) -> Written {
        let whole = self.scope == RestartScope::Job && self.policy != RestartPolicy::Never;
        let pods = match self.policy {
            _ if whole => RestartPolicy::Never,
            RestartPolicy::Always => RestartPolicy::OnFailure,
            policy => policy,
        };
        let limit = self.limit.unwrap_or(UNLIMITED);
        Written {
            pods: pods.of_pod(),
            backoff_limit: if whole || self.policy == RestartPolicy::Never {
                0
            } else {
                limit
            },
            pod_failure_policy: (pods.of_pod() == RestartPolicy::Never.of_pod()).then(|| self.pod_failure_policy()),
            failure_policy: whole.then(|| self.failure_policy(limit)),
        }
    }

    fn pod_failure_policy(self) -> Value {
        let mut rules = vec![json!({
            "action": "Ignore",
            "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }],
        })];
        if self.policy == RestartPolicy::ExitCode {
            rules.push(json!({
                "action": "FailJob",
                "onExitCodes": { "containerName": NODE, "operator": "In", "values": OWN_CODES.collect::<Vec<_>>() },
            }));
        }
        json!({ "rules": rules })
    }

    fn failure_policy(self, limit: i32) -> Value {
        let mut policy = json!({ "maxRestarts": limit, "restartStrategy": "BlockingRecreate" });
        if self.policy == RestartPolicy::ExitCode {
            policy["rules"] = json!([{
                "name": "ownExitCode",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
            }]);
        }
        policy
    }
}

/// What a runtime says that somebody else has written.
struct Found {
    pods: String,
    backoff_limit: i32,
    pod_failure_policy: Option<Value>,
    failure_policy: Option<Value>,
}

/// Takes what a runtime says: `job` is the spec of the Job that trains, `set` that of the `JobSet`.
pub(super) fn taken(job: &mut Parts, set: &mut Parts) -> (Restarts, Vec<Loss>) {
    let pods: Option<String> = job.take_as("template.spec.restartPolicy");
    let found = Found {
        pods: pods.unwrap_or_else(|| RestartPolicy::OnFailure.of_pod().to_owned()),
        backoff_limit: job.take_as("backoffLimit").unwrap_or(DEFAULT_LIMIT),
        pod_failure_policy: job.take("podFailurePolicy"),
        failure_policy: set.take("failurePolicy"),
    };
    if let Some(exact) = candidates(found.limit()).find(|candidate| found.is(&candidate.written())) {
        return (exact, Vec::new());
    }
    let nearest = found.nearest();
    (nearest, found.losses(nearest, job, set))
}

impl Found {
    /// How often what starts again may do so; none is no limit.
    fn limit(&self) -> Option<i32> {
        let restarts = self.failure_policy.as_ref().map(|policy| &policy["maxRestarts"]);
        let restarts = restarts.map(|restarts| restarts.as_i64().and_then(|number| i32::try_from(number).ok()));
        let limit = restarts.map_or(self.backoff_limit, Option::unwrap_or_default);
        Some(limit).filter(|limit| *limit != UNLIMITED)
    }

    fn is(&self, written: &Written) -> bool {
        (written.pods, written.backoff_limit) == (self.pods.as_str(), self.backoff_limit)
            && (&written.pod_failure_policy, &written.failure_policy)
                == (&self.pod_failure_policy, &self.failure_policy)
    }

    fn never(&self) -> bool {
        self.pods == RestartPolicy::Never.of_pod()
    }

    fn nearest(&self) -> Restarts {
        let (policy, scope) = match &self.failure_policy {
            Some(_) => (RestartPolicy::OnFailure, RestartScope::Job),
            None if self.never() && self.backoff_limit == 0 => (RestartPolicy::Never, RestartScope::Replica),
            None => (RestartPolicy::OnFailure, RestartScope::Replica),
        };
        let limit = self.limit().filter(|_| policy != RestartPolicy::Never);
        Restarts { policy, scope, limit }
    }

    /// What the nearest does not say.
    fn losses(&self, nearest: Restarts, job: &Parts, set: &Parts) -> Vec<Loss> {
        let mut losses = Vec::new();
        let mut lost =
            |field: String, why: &str| losses.push(Loss::new(field, why, "compare restartPolicy of the PyTorchJob"));
        if self.pod_failure_policy.is_some() {
            lost(
                job.path("podFailurePolicy"),
                "a PyTorchJob knows of exit codes only what restartPolicy ExitCode says",
            );
        }
        if self
            .failure_policy
            .as_ref()
            .is_some_and(|policy| !policy["rules"].is_null())
        {
            lost(
                set.path("failurePolicy.rules"),
                "a PyTorchJob starts again after any failure",
            );
        }
        if self.failure_policy.is_some() && self.backoff_limit > 0 {
            lost(
                job.path("backoffLimit"),
                "with restartScope Job no node starts again alone: every failure counts against maxRestarts",
            );
        }
        if self.never() && (nearest.policy, nearest.scope) == (RestartPolicy::OnFailure, RestartScope::Replica) {
            lost(
                job.path("template.spec.restartPolicy"),
                "a failed container is restarted in its pod and not in a new one",
            );
        }
        losses
    }
}

/// Every way to restart with this limit; one that always fails has none.
fn candidates(limit: Option<i32>) -> impl Iterator<Item = Restarts> {
    let policies = [RestartPolicy::OnFailure, RestartPolicy::ExitCode, RestartPolicy::Never];
    let scopes = [RestartScope::Replica, RestartScope::Job];
    let all = scopes
        .into_iter()
        .flat_map(move |scope| policies.map(|policy| (policy, scope)));
    all.filter(|pair| *pair != (RestartPolicy::Never, RestartScope::Job))
        .map(move |(policy, scope)| Restarts {
            policy,
            scope,
            limit: limit.filter(|_| policy != RestartPolicy::Never),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runtime's specs of the Job and of the `JobSet`.
    fn runtime(written: &Written) -> [Parts; 2] {
        let job = json!({
            "template": { "spec": { "restartPolicy": written.pods } },
            "backoffLimit": written.backoff_limit,
            "podFailurePolicy": written.pod_failure_policy,
        });
        let set = json!({ "failurePolicy": written.failure_policy });
        [job, set].map(without_nulls)
    }

    fn without_nulls(mut spec: Value) -> Parts {
        spec.as_object_mut().unwrap().retain(|_, field| !field.is_null());
        Parts::new(spec)
    }

    #[test]
    fn every_way_to_restart_comes_back_as_it_was() {
        for limit in [None, Some(0), Some(3)] {
            for restarts in candidates(limit) {
                let [mut job, mut set] = runtime(&restarts.written());
                assert_eq!(taken(&mut job, &mut set), (restarts, Vec::new()));
                assert_eq!([job.left(), set.left()].concat(), [""; 0]);
            }
        }
    }

    #[test]
    fn each_way_has_its_words_in_a_runtime() {
        let written = |policy, scope| {
            let limit = Some(3);
            Restarts { policy, scope, limit }.written()
        };
        let each = written(RestartPolicy::Always, RestartScope::Replica);
        assert_eq!((each.pods, each.backoff_limit), ("OnFailure", 3));
        assert_eq!((each.pod_failure_policy, each.failure_policy), (None, None));

        let never = written(RestartPolicy::Never, RestartScope::Replica);
        assert_eq!((never.pods, never.backoff_limit), ("Never", 0));
        assert_eq!(never.pod_failure_policy.unwrap()["rules"].as_array().unwrap().len(), 1);

        let code = written(RestartPolicy::ExitCode, RestartScope::Job);
        assert_eq!((code.pods, code.backoff_limit), ("Never", 0));
        let codes = &code.pod_failure_policy.unwrap()["rules"][1]["onExitCodes"]["values"];
        assert_eq!(
            (&codes[0], &codes[126], &codes[127]),
            (&json!(1), &json!(127), &Value::Null)
        );
        let policy = code.failure_policy.unwrap();
        assert_eq!(
            (&policy["maxRestarts"], &policy["rules"][0]["action"]),
            (&json!(3), &json!("FailJobSet"))
        );
    }

    #[test]
    fn what_no_pytorchjob_says_becomes_the_nearest_that_one_can_say() {
        for (job, set, expected, lost) in [
            (json!({}), json!({}), ("OnFailure", "Replica", Some(6)), vec![]),
            (
                json!({ "template": { "spec": { "restartPolicy": "Never" } }, "backoffLimit": 2 }),
                json!({}),
                ("OnFailure", "Replica", Some(2)),
                vec!["template.spec.restartPolicy"],
            ),
            (
                json!({ "template": { "spec": { "restartPolicy": "Never" } }, "backoffLimit": 0 }),
                json!({}),
                ("Never", "Replica", None),
                vec![],
            ),
            (
                json!({ "podFailurePolicy": { "rules": [] } }),
                json!({ "failurePolicy": { "maxRestarts": 4, "rules": [{ "name": "a" }] } }),
                ("OnFailure", "Job", Some(4)),
                vec!["podFailurePolicy", "failurePolicy.rules", "backoffLimit"],
            ),
            (
                json!({}),
                json!({ "failurePolicy": {} }),
                ("OnFailure", "Job", Some(0)),
                vec!["backoffLimit"],
            ),
            (
                json!({ "backoffLimit": 0 }),
                json!({ "failurePolicy": { "maxRestarts": 2 } }),
                ("OnFailure", "Job", Some(2)),
                vec![],
            ),
        ] {
            let (restarts, losses) = taken(&mut Parts::new(job.clone()), &mut Parts::new(set));
            let said = (
                format!("{:?}", restarts.policy),
                format!("{:?}", restarts.scope),
                restarts.limit,
            );
            assert_eq!(said, (expected.0.into(), expected.1.into(), expected.2), "{job}");
            let fields: Vec<&str> = losses.iter().map(|loss| loss.field.as_str()).collect();
            assert_eq!(fields, lost, "{job}");
        }
    }
}
