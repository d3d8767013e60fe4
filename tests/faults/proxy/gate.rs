//! Watches on their way to the operator: they flow, are held, or break off.

use axum::body::{Body as Answered, BodyDataStream, Bytes};
use futures::{StreamExt as _, stream};
use http::Response;
use kube::client::Body as Sent;
use tokio::sync::watch;

/// What becomes of the events of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Open,
    /// They wait.
    Held,
    /// They are lost, and the watch ends with 410 Gone: what happened meanwhile is found by a list only.
    Lost,
}

/// One gate a kind.
pub struct Gates {
    kinds: [(&'static str, watch::Sender<Flow>); 3],
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            kinds: ["pytorchjobs", "pods", ""].map(|kind| (kind, watch::Sender::new(Flow::Open))),
        }
    }
}

/// What a watch sends when the API server no longer has its resourceVersion.
const GONE: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version, by the fault plan","reason":"Expired","code":410}}
"#;

impl Gates {
    fn gate(&self, kind: &str) -> &watch::Sender<Flow> {
        let own = self.kinds.iter().find(|(name, _)| *name == kind);
        &own.unwrap_or(&self.kinds[2]).1
    }

    /// Sets what becomes of the events of a kind: `pytorchjobs`, `pods`, or anything else for all others together.
    pub fn set(&self, kind: &str, flow: Flow) {
        self.gate(kind).send_replace(flow);
    }

    /// The same for all kinds.
    pub fn set_all(&self, flow: Flow) {
        for (_, gate) in &self.kinds {
            gate.send_replace(flow);
        }
    }

    /// Lets the answer to a watch pass, as its gate allows.
    pub(super) fn pass(&self, kind: &str, answer: Response<Sent>) -> Response<Answered> {
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            return Response::from_parts(head, Answered::new(body));
        }
        let watched = Watched {
            chunks: Answered::new(body).into_data_stream(),
            flow: self.gate(kind).subscribe(),
            begun: false,
            lost: false,
        };
        let passed = stream::unfold(watched, async |mut watched| {
            let chunk = watched.next().await?;
            Some((chunk, watched))
        });
        Response::from_parts(head, Answered::from_stream(passed))
    }
}

struct Watched {
    chunks: BodyDataStream,
    flow: watch::Receiver<Flow>,
    /// Whether the last chunk ended in the middle of an event, which has to be completed.
    begun: bool,
    lost: bool,
}

impl Watched {
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        loop {
            let flow = *self.flow.borrow_and_update();
            self.lost |= flow == Flow::Lost;
            match flow {
                Flow::Open if self.lost => {
                    if self.begun {
                        return None;
                    }
                    // The next look ends it.
                    self.begun = true;
                    return Some(Ok(Bytes::from_static(GONE.as_bytes())));
                }
                Flow::Open => tokio::select! {
                    chunk = self.chunks.next() => {
                        let chunk = chunk?;
                        self.begun = chunk.as_ref().is_ok_and(|bytes| !bytes.ends_with(b"\n"));
                        return Some(chunk);
                    }
                    changed = self.flow.changed() => changed.ok()?,
                },
                Flow::Held | Flow::Lost if self.begun && !self.lost => {
                    let chunk = self.chunks.next().await?;
                    self.begun = chunk.as_ref().is_ok_and(|bytes| !bytes.ends_with(b"\n"));
                    return Some(chunk);
                }
                Flow::Held | Flow::Lost => self.flow.changed().await.ok()?,
            }
        }
    }
}
