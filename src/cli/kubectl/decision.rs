//! `replay --output`: what an operator would do about a recorded job, request by request.

use serde_json::{Map, Value, json};

use crate::api::names;
use crate::cli::kubectl::observation::Facts;
use crate::planner::{Action, Builder, Event, StatusWrite, ask_again, patch, resize};

/// The whole plan: the requests in their order, the status, the events, what is counted, and when it looks again.
/// What there is nothing of is absent. An error where nobody knows what an operator would do.
pub(super) fn decision(facts: &Facts) -> Result<Value, String> {
    let plan = facts.plan()?;
    let builder = Builder::new(&facts.job, &facts.settings);
    let requests = plan.actions.iter().flat_map(|action| requests(facts, &builder, action));
    let status = plan.status.map(|StatusWrite { status, urgency }| {
        let urgency = format!("{urgency:?}");
        json!({ "store": status, "urgency": urgency })
    });
    let parts = [
        ("requests", list(requests)),
        ("status", status),
        ("events", list(plan.events.iter().map(event))),
        (
            "counts",
            list(plan.counts.iter().map(|count| format!("{count:?}").into())),
        ),
        ("looksAgainIn", plan.requeue.map(|after| format!("{after:?}").into())),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, part)| Some((name.to_owned(), part?)));
    Ok(Value::Object(parts.collect::<Map<_, _>>()))
}

fn list(items: impl Iterator<Item = Value>) -> Option<Value> {
    let items: Vec<Value> = items.collect();
    (!items.is_empty()).then_some(Value::Array(items))
}

fn event(event: &Event) -> Value {
    let type_ = if event.warning { "Warning" } else { "Normal" };
    json!({ "type": type_, "reason": event.reason, "note": event.message })
}

/// What an action asks of the API server.
fn requests(facts: &Facts, builder: &Builder<'_>, action: &Action) -> Vec<Value> {
    let job = facts.world().name().to_owned();
    let delete = |kind: &str, name: &str, uid: &str| json!({ "delete": { "kind": kind, "name": name, "uid": uid } });
    match action {
        Action::Create(child) => {
            let object = builder.build(*child);
            object.into_iter().map(|object| json!({ "create": object })).collect()
        }
        Action::Delete { kind, name, uid } => vec![delete(kind.kind(), name, uid)],
        Action::ForceDelete { name, uid, .. } => {
            let mut request = delete("Pod", name, uid);
            request["delete"]["gracePeriodSeconds"] = json!(0);
            vec![request]
        }
        Action::Recreate { child, uid, .. } => vec![delete(child.kind.kind(), &child.name(&job), uid)],
        Action::DeleteJob => {
            let uid = facts.job.metadata.uid.as_deref().unwrap_or_default();
            vec![delete(names::KIND, &job, uid)]
        }
        Action::Update { child, uid, contents } => {
            let patch = patch(contents, child.kind, uid);
            vec![json!({ "patch": { "kind": child.kind.kind(), "name": child.name(&job), "patch": patch } })]
        }
        Action::RestartInPlace { child, uid, restart } => {
            let note = restart.annotate.then(|| ask_again(restart, uid));
            let patches = [note, resize(restart, uid)];
            let patches = patches.into_iter().zip(["pods", "pods/resize"]);
            let request = |(patch, resource): (Option<Value>, &str)| {
                let patch = patch?;
                Some(json!({ "patch": { "resource": resource, "name": child.name(&job), "patch": patch } }))
            };
            patches.filter_map(request).collect()
        }
    }
}
