//! Logs: one line per event on standard error, as text for people or JSON for collectors.

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Environment variable that selects what is logged: levels by target, for instance `info,kube=debug`.
pub(crate) const FILTER_ENV: &str = "RUST_LOG";

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Readable, with colours when standard error is a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The filter does not parse.
    #[error("{FILTER_ENV}={filter:?} is not a log filter: {source}; write for example `info` or `info,kube=debug`")]
    Filter {
        /// The text that was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// [`init`] was called twice.
    #[error("logging is already set up: {0}")]
    Installed(#[from] TryInitError),
}

/// Targets under which kube repeats errors that it also returns.
const REPEATED: [&str; 2] = ["kube_client::client::builder", "kube_runtime::watcher"];
/// Where kube's text for an answer of the API server has said what it is, and goes on with a dump of all its fields.
const DUMP: &str = " (Status {";

/// An error and the errors behind it, as far as it does not name them itself, in one line for people.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.split(DUMP).next().unwrap_or_default().to_owned()
}

/// Sends the log of the whole process to standard error. `filter` is the value of [`FILTER_ENV`]; where it names no
/// level, everything from `info` up is logged. Call once, before anything else logs.
pub(crate) fn init(format: Format, filter: Option<&str>) -> Result<(), Error> {
    let filter = parse(filter)?;
    subscriber(format, filter, stderr().is_terminal(), stderr).try_init()?;
    Ok(())
}

fn parse(filter: Option<&str>) -> Result<Targets, Error> {
    let targets = filter.filter(|text| !text.is_empty()).map(|text| {
        text.parse().map_err(|source| Error::Filter {
            filter: text.to_owned(),
            source,
        })
    });
    let targets: Targets = targets.transpose()?.unwrap_or_default();
    let default = targets.default_level().unwrap_or(LevelFilter::INFO);
    let asks_for_kube = filter.is_some_and(|text| text.contains("kube"));
    let targets = if asks_for_kube {
        targets
    } else {
        targets.with_targets(REPEATED.map(|target| (target, LevelFilter::OFF)))
    };
    Ok(targets.with_default(default))
}

fn subscriber<W>(format: Format, filter: Targets, colours: bool, out: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::Subscriber::builder()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(colours)
        .with_writer(out);
    match format {
        Format::Text => Box::new(lines.finish().with(filter)),
        Format::Json => Box::new(lines.json().flatten_event(true).finish().with(filter)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: Option<&str>) -> String {
        let out = Captured::default();
        let writer = out.clone();
        let subscriber = subscriber(format, parse(filter).unwrap(), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(namespace = "default", name = "train", "created 4 pods");
            tracing::debug!("nothing to do");
        });
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json, None)).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "created 4 pods");
        assert_eq!(
            (&line["namespace"], &line["name"]),
            (&"default".into(), &"train".into())
        );
    }

    #[test]
    fn text_is_plain_when_it_does_not_go_to_a_terminal() {
        let text = logged(Format::Text, None);
        assert!(
            text.contains("created 4 pods namespace=\"default\" name=\"train\""),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn info_is_the_default_and_the_filter_can_ask_for_more() {
        assert!(!logged(Format::Text, None).contains("nothing to do"));
        for silent_on_us in ["", "kube=debug"] {
            let text = logged(Format::Text, Some(silent_on_us));
            assert!(text.contains("created") && !text.contains("nothing to do"), "{text}");
        }
        assert!(logged(Format::Text, Some("debug")).contains("nothing to do"));
        assert!(!logged(Format::Text, Some("off")).contains("created"));
    }

    #[test]
    fn what_kube_repeats_is_logged_only_where_kube_is_asked_for() {
        for target in REPEATED {
            let logs = |filter| parse(filter).unwrap().would_enable(target, &tracing::Level::ERROR);
            assert!(!logs(None) && !logs(Some("debug")) && logs(Some("info,kube=debug")));
        }
    }

    #[test]
    fn an_error_is_told_with_what_is_behind_it_and_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Connect(#[source] io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("request: {0}")]
        struct Request(#[source] Connect);
        let error = Request(Connect(io::Error::other("refused")));
        assert_eq!(with_causes(&error), "request: cannot connect: refused");
    }

    #[test]
    fn an_answer_of_the_api_server_is_told_with_its_message_alone() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden");
        let error = kube::Error::Api(Box::new(status));
        assert!(error.to_string().contains(DUMP), "what is cut: {error}");
        let text = with_causes(&error);
        assert!(text.contains("pods is forbidden") && !text.contains('{'), "{text}");
    }

    #[test]
    fn a_bad_filter_is_named_in_the_error() {
        let error = parse(Some("info,kube=loud")).unwrap_err().to_string();
        assert!(
            error.starts_with("RUST_LOG=\"info,kube=loud\" is not a log filter"),
            "{error}"
        );
    }
}
