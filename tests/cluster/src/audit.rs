//! Counting requests by the API server's audit log.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::Error;

/// The requests that were answered since this mark was set.
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
    /// The server writes the line of a request right after its answer, so the last answer that a client has seen may
    /// be missing for a moment: let something else happen first, or compare with what must be there at least.
    pub fn entries(&self, filter: &AuditFilter<'_>) -> Result<Vec<AuditEntry>, Error> {
        let text = self
            .read()
            .map_err(Error::io(format!("read {}", self.path.display())))?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entries = whole
            .lines()
            .filter_map(|line| serde_json::from_str::<Event>(line).ok())
            .filter_map(Event::entry);
        Ok(entries.filter(|entry| filter.matches(entry)).collect())
    }

    /// The number of requests since the mark that match.
    pub fn count(&self, filter: &AuditFilter<'_>) -> Result<usize, Error> {
        self.entries(filter).map(|entries| entries.len())
    }

    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A line of the log: `audit.k8s.io/v1` Event, as far as it is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
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
}

#[derive(Deserialize)]
struct EventUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl Event {
    /// A watch has a line at its beginning and one at its end. Anything else that streams has the first as well.
    fn entry(self) -> Option<AuditEntry> {
        let counts = if self.verb == "watch" {
            "ResponseStarted"
        } else {
            "ResponseComplete"
        };
        (self.stage == counts).then_some(AuditEntry {
            user: self.user.username,
            verb: self.verb,
            resource: self.object_ref.resource,
            subresource: self.object_ref.subresource,
            namespace: self.object_ref.namespace,
            name: self.object_ref.name,
            code: self.response_status.code,
            uri: self.uri,
            user_agent: self.user_agent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"stage":"ResponseStarted","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"operator"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"watch","requestURI":"/api/v1/pods?watch=true","user":{"username":"operator"},"objectRef":{"resource":"pods"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"create","requestURI":"/api/v1/namespaces/a/pods","user":{"username":"operator"},"objectRef":{"resource":"pods","namespace":"a","name":"job-master-0"},"responseStatus":{"code":201}}
{"stage":"ResponseComplete","verb":"patch","requestURI":"/x","user":{"username":"admin"},"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":"job-master-0"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"get","requestURI":"/api","user":{"username":"admin"},"responseStatus":{"code":200}}
{"stage":"ResponseComplete","verb":"del"#;

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
    fn what_was_logged_before_the_mark_is_not_seen() {
        let second_line = u64::try_from(LINES.find('\n').unwrap() + 1).unwrap();
        let (_directory, audit) = audit(second_line);
        assert_eq!(
            audit
                .count(&AuditFilter {
                    verb: Some("watch"),
                    ..AuditFilter::default()
                })
                .unwrap(),
            0
        );
    }
}
