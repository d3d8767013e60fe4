//! Counting requests by the API server's audit log.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use crate::Error;

/// How long [`Audit::entries`] waits for the answers to requests that are under way. One that never ends is of an API
/// server that was killed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The requests that arrived since this mark was set.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// One request. Watches are listed when they begin, everything else when it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who sent it, for example `system:serviceaccount:kubeflow:pytorchjob-operator`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural of the kind, for example `pods`; empty for paths that are no resource.
    pub resource: String,
    /// For example `status`; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects and for requests across namespaces.
    pub namespace: String,
    /// Name of the object; empty for requests on collections.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// When it arrived.
    pub received: Timestamp,
    /// When it was answered; of a watch, when it began.
    pub answered: Timestamp,
    /// Path and query.
    pub uri: String,
    /// What the client calls itself.
    pub user_agent: String,
}

/// Which requests to look at. Fields that are `None` match everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// The sender.
    pub user: Option<&'a str>,
    /// The verb.
    pub verb: Option<&'a str>,
    /// Plural of the kind.
    pub resource: Option<&'a str>,
    /// Subresource; `Some("")` for the object itself.
    pub subresource: Option<&'a str>,
    /// Namespace.
    pub namespace: Option<&'a str>,
    /// Beginning of the object's name: all objects of a job have its name at their beginning.
    pub name_prefix: Option<&'a str>,
    /// Only requests that change something.
    pub writes: bool,
}

impl AuditFilter<'_> {
    /// Whether the answer to a request that has only arrived may match: an object to create is not named yet.
    fn may_match(self, arrived: &AuditEntry) -> bool {
        let of_any_name = AuditFilter {
            name_prefix: self.name_prefix.filter(|_| !arrived.name.is_empty()),
            ..self
        };
        of_any_name.matches(arrived)
    }

    fn matches(&self, entry: &AuditEntry) -> bool {
        let same = |wanted: Option<&str>, found: &str| wanted.is_none_or(|wanted| wanted == found);
        same(self.user, &entry.user)
            && same(self.verb, &entry.verb)
            && same(self.resource, &entry.resource)
            && same(self.subresource, &entry.subresource)
            && same(self.namespace, &entry.namespace)
            && self.name_prefix.is_none_or(|prefix| entry.name.starts_with(prefix))
            && (!self.writes || entry.is_write())
    }
}

impl AuditEntry {
    /// Whether the request was one to change something, done or refused.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Audit {
    /// Sets a mark at the end of the log at `path`.
    pub(crate) fn mark(path: PathBuf) -> Result<Self, Error> {
        let attempt = format!("read the length of {}", path.display());
        let from = path.metadata().map_err(Error::io(attempt))?.len();
        Ok(Self { path, from })
    }

    /// The requests since the mark that match, in the order of their answers.
    ///
    /// The API server writes the line of an answer after it has sent the answer, and after others see what the request
    /// did. So this waits for the answers to all matching requests that have arrived: what the caller has seen happen is
    /// among the entries.
    pub fn entries(&self, filter: &AuditFilter<'_>) -> Result<Vec<AuditEntry>, Error> {
        let mut events = self.events()?;
        let under_way = under_way(&events, filter);
        let deadline = Instant::now() + ANSWERED_WITHIN;
        while !all_answered(&under_way, &events) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            events = self.events()?;
        }
        let arrived: HashSet<String> = with_stage(&events, |stage| stage == ARRIVED);
        let since = events.into_iter().filter(|event| arrived.contains(&event.id));
        let entries = since.filter(Event::counts).map(Event::entry);
        Ok(entries.filter(|entry| filter.matches(entry)).collect())
    }

    /// The number of requests since the mark that match.
    pub fn count(&self, filter: &AuditFilter<'_>) -> Result<usize, Error> {
        self.entries(filter).map(|entries| entries.len())
    }

    fn events(&self) -> Result<Vec<Event>, Error> {
        let text = self
            .read()
            .map_err(Error::io(format!("read {}", self.path.display())))?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().map(serde_json::from_str);
        Ok(events.filter_map(Result::ok).collect())
    }

    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The stage of the first line of a request, written before anything else is done about it.
const ARRIVED: &str = "RequestReceived";

/// The requests that may match and have no answer yet.
fn under_way(events: &[Event], filter: &AuditFilter<'_>) -> HashSet<String> {
    let answered = with_stage(events, |stage| stage != ARRIVED);
    let waiting = events.iter().filter(|event| !answered.contains(&event.id));
    let matching = waiting.filter(|event| filter.may_match(&(*event).clone().entry()));
    matching.map(|event| event.id.clone()).collect()
}

fn all_answered(requests: &HashSet<String>, events: &[Event]) -> bool {
    requests.is_subset(&with_stage(events, |stage| stage != ARRIVED))
}

fn with_stage(events: &[Event], wanted: impl Fn(&str) -> bool) -> HashSet<String> {
    let found = events.iter().filter(|event| wanted(&event.stage));
    found.map(|event| event.id.clone()).collect()
}

/// A line of the log: `audit.k8s.io/v1` Event, as far as it is read here.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    id: String,
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: EventUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Option<MicroTime>,
    stage_timestamp: Option<MicroTime>,
}

#[derive(Clone, Deserialize)]
struct EventUser {
    #[serde(default)]
    username: String,
}

#[derive(Clone, Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Clone, Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Event {
    /// A watch is answered when it begins, and has a line at its end as well.
    fn counts(&self) -> bool {
        let answer = if self.verb == "watch" {
            "ResponseStarted"
        } else {
            "ResponseComplete"
        };
        self.stage == answer
    }

    fn entry(self) -> AuditEntry {
        AuditEntry {
            user: self.user.username,
            verb: self.verb,
            resource: self.object_ref.resource,
            subresource: self.object_ref.subresource,
            namespace: self.object_ref.namespace,
            name: self.object_ref.name,
            code: self.response_status.code,
            received: self
                .request_received_timestamp
                .map_or_else(Timestamp::default, |time| time.0),
            answered: self.stage_timestamp.map_or_else(Timestamp::default, |time| time.0),
            uri: self.uri,
            user_agent: self.user_agent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LINES: &str = r#"{"auditID":"1","stage":"RequestReceived","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"operator"},"objectRef":{"resource":"pods"}}
{"auditID":"1","stage":"ResponseStarted","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"operator"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}
{"auditID":"1","stage":"ResponseComplete","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"operator"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}
{"auditID":"2","stage":"RequestReceived","verb":"create","requestURI":"/api/v1/namespaces/a/pods","user":{"username":"operator"},"objectRef":{"resource":"pods","namespace":"a"}}
{"auditID":"2","stage":"ResponseComplete","verb":"create","requestURI":"/api/v1/namespaces/a/pods","user":{"username":"operator"},"objectRef":{"resource":"pods","namespace":"a","name":"job-master-0"},"responseStatus":{"code":201},"requestReceivedTimestamp":"2027-01-15T08:00:00.000001Z","stageTimestamp":"2027-01-15T08:00:00.250001Z"}
{"auditID":"3","stage":"RequestReceived","verb":"patch","requestURI":"/x","user":{"username":"admin"},"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":"job-master-0"}}
{"auditID":"4","stage":"RequestReceived","verb":"get","requestURI":"/api","user":{"username":"admin"}}
{"auditID":"3","stage":"ResponseComplete","verb":"patch","requestURI":"/x","user":{"username":"admin"},"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":"job-master-0"},"responseStatus":{"code":200}}
{"auditID":"4","stage":"ResponseComplete","verb":"get","requestURI":"/api","user":{"username":"admin"},"responseStatus":{"code":200}}
{"auditID":"5","stage":"RequestRec"#;

    fn audit(from: u64) -> (tempfile::TempDir, Audit) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(&path, LINES).unwrap();
        (directory, Audit { path, from })
    }

    #[test]
    fn a_watch_counts_once_and_a_half_written_line_not_at_all() {
        let (_directory, audit) = audit(0);
        let verbs: Vec<String> = audit
            .entries(&AuditFilter::default())
            .unwrap()
            .into_iter()
            .map(|entry| entry.verb)
            .collect();
        assert_eq!(verbs, ["watch", "create", "patch", "get"]);
    }

    #[test]
    fn a_request_says_when_it_arrived_and_when_it_was_answered() {
        let (_directory, audit) = audit(0);
        let creations = AuditFilter {
            verb: Some("create"),
            ..AuditFilter::default()
        };
        let creation = audit.entries(&creations).unwrap().remove(0);
        let took = creation.answered.duration_since(creation.received);
        assert_eq!(took.as_millis(), 250);
        assert_eq!(creation.received.to_string(), "2027-01-15T08:00:00.000001Z");
    }

    #[test]
    fn every_field_of_the_filter_narrows_the_result() {
        let (_directory, audit) = audit(0);
        let count = |filter: AuditFilter<'_>| audit.count(&filter).unwrap();
        let any = AuditFilter::default();
        assert_eq!(
            count(AuditFilter {
                user: Some("operator"),
                ..any
            }),
            2
        );
        assert_eq!(
            count(AuditFilter {
                verb: Some("create"),
                ..any
            }),
            1
        );
        assert_eq!(
            count(AuditFilter {
                resource: Some("pods"),
                ..any
            }),
            3
        );
        assert_eq!(
            count(AuditFilter {
                subresource: Some("status"),
                ..any
            }),
            1
        );
        assert_eq!(
            count(AuditFilter {
                subresource: Some(""),
                ..any
            }),
            3
        );
        assert_eq!(
            count(AuditFilter {
                namespace: Some("a"),
                ..any
            }),
            2
        );
        assert_eq!(
            count(AuditFilter {
                name_prefix: Some("job-"),
                ..any
            }),
            2
        );
        assert_eq!(count(AuditFilter { writes: true, ..any }), 2);
    }

    #[test]
    fn what_arrived_before_the_mark_is_not_seen_though_it_was_answered_later() {
        let second_line = u64::try_from(LINES.find('\n').unwrap() + 1).unwrap();
        let (_directory, audit) = audit(second_line);
        let watches = AuditFilter {
            verb: Some("watch"),
            ..AuditFilter::default()
        };
        assert_eq!(audit.count(&watches).unwrap(), 0);
    }

    #[test]
    fn the_answer_to_a_request_that_has_arrived_is_waited_for_if_it_may_match() {
        let answer = LINES.find(r#"{"auditID":"2","stage":"ResponseComplete""#).unwrap();
        let (arrived, answer) = LINES.split_at(answer);
        let (_directory, audit) = audit(0);
        std::fs::write(&audit.path, arrived).unwrap();
        let of_verb = |verb| AuditFilter {
            verb: Some(verb),
            name_prefix: Some("job-"),
            ..AuditFilter::default()
        };
        std::thread::scope(|scope| {
            let creations = scope.spawn(|| audit.count(&of_verb("create")).unwrap());
            assert_eq!(audit.count(&of_verb("patch")).unwrap(), 0, "nothing to wait for");
            assert!(!creations.is_finished());
            let mut log = File::options().append(true).open(&audit.path).unwrap();
            log.write_all(answer.as_bytes()).unwrap();
            assert_eq!(creations.join().unwrap(), 1);
        });
    }
}
