//! Everything that stands between the operator and the machine or cluster it runs on. Nothing here knows what a job is.
//!
//! | module | what it gives the program |
//! |---|---|
//! | [`clock`] | the time: the only place that asks for it |
//! | [`logs`] | log lines on standard error, as text or JSON |
//! | [`metrics`] | all Prometheus series, under the names of Kubeflow and controller-runtime |
//! | [`client`] | connections to the API server: fenced, bounded, counted, optionally rate-limited |
//! | [`lease`] | leader election, and the fence that keeps a former leader from writing |
//! | [`tally`] | how many of something each namespace has |
//! | [`turns`] | what waits, in an order that is fair to namespaces |
//! | [`events`] | events of the API through a queue that never blocks |
//! | [`health`] | what ready and live mean |
//! | [`http`] | `/metrics`, `/healthz`, `/readyz` |
//!
//! Put together: [`client::for_lease`] and [`lease::Elector`] come first, because the elector's [`lease::Fence`] goes
//! into [`client::for_controller`], which everything else writes through. On SIGTERM the reverse: stop reconciling,
//! [drain](events::Publisher::drain) the events, [release](lease::Elector::release) the lease, stop answering probes.

pub(crate) mod client;
pub mod clock;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod http;
pub(crate) mod lease;
pub(crate) mod logs;
pub mod metrics;
pub(crate) mod tally;
pub(crate) mod turns;
