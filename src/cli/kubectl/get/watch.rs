//! `get --watch`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _, stdout};
use std::time::Duration;

use futures::stream::{BoxStream, select};
use futures::{Stream, StreamExt};
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::files::complain;
use crate::cli::kubectl::get::board::{Board, Key};
use crate::cli::kubectl::get::job_now::Columns;
use crate::cli::kubectl::get::objects::{Format, printed};
use crate::cli::kubectl::get::read::{Scope, no_pods, with_kind};
use crate::cli::kubectl::get::table::Table;
use crate::cli::kubectl::read::{said, said_of_jobs};
use crate::cli::kubectl::terminal::Terminal;
use crate::cli::offline::Report;
use crate::platform::clock;
use crate::platform::logs::with_causes;

/// How often a table is drawn again at most, and at least every fifth time: ages grow.
const FRAME: Duration = Duration::from_millis(200);
const FRAMES_OF_A_SECOND: u32 = 5;
/// The column that changes by itself.
const AGE: &str = "AGE";
/// The column that says that a job is gone.
const STATE: &str = "STATE";

/// What is watched.
const JOBS: &str = "PyTorchJobs";
const PODS: &str = "pods";

/// What the two watches tell.
enum News {
    Job(watcher::Result<Event<DynamicObject>>),
    Pod(watcher::Result<Event<DynamicObject>>),
}

/// Prints the table and goes on with what changes.
pub(super) async fn table(
    scope: &Scope,
    columns: Columns,
    headings: bool,
    terminal: Terminal,
) -> Result<Report, String> {
    let pods = events(scope.pod_api(), scope.pod_watch()).map(News::Pod);
    let jobs = events(scope.job_api(), scope.job_watch()).map(News::Job);
    let mut news: BoxStream<'_, News> = select(jobs, pods).boxed();
    let mut board = Board::default();
    let mut screen = Screen::new(columns, headings, terminal);
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut changed, mut drawn) = (false, 0);
    loop {
        tokio::select! {
            Some(told) = news.next() => {
                changed = true;
                if let Some(trouble) = learn(&mut board, told, scope)? {
                    complain(&trouble);
                }
            }
            _ = frames.tick() => {
                drawn += 1;
                let ages = terminal.live && drawn % FRAMES_OF_A_SECOND == 0;
                if board.is_complete() && (changed || ages) {
                    changed = false;
                    if !shown(&screen.next(board.rows(columns, clock::now())))? {
                        return Ok(Report::default());
                    }
                }
            }
        }
    }
}

/// Prints the objects and goes on with those that change.
pub(super) async fn objects(scope: &Scope, format: Format) -> Result<Report, String> {
    let mut jobs = events(scope.job_api(), scope.job_watch()).boxed();
    loop {
        let Some(event) = jobs.next().await else {
            return Ok(Report::default());
        };
        let job = match event.map_err(|error| lost(&error, JOBS, said_of_jobs)) {
            Ok(Event::InitApply(job) | Event::Apply(job) | Event::Delete(job)) => with_kind(job),
            Ok(Event::Init | Event::InitDone) => continue,
            Err((error, true)) => return Err(error),
            Err((error, false)) => {
                complain(&error);
                continue;
            }
        };
        if scope.has(&job.name_any()) {
            let job = serde_json::to_value(&job).unwrap_or_default();
            let mut text = printed(vec![job], true, format)?;
            if format == Format::Yaml {
                text.insert_str(0, "---\n");
            }
            if !shown(&text)? {
                return Ok(Report::default());
            }
        }
    }
}

fn events(
    api: Api<DynamicObject>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send {
    watch(api, config).default_backoff()
}

/// Takes in what is told. Returns what is to be said of it, or as an error what ends the watch.
fn learn(board: &mut Board, news: News, scope: &Scope) -> Result<Option<String>, String> {
    match news {
        News::Job(Ok(Event::InitApply(job) | Event::Apply(job))) if !scope.has(&job.name_any()) => {}
        News::Job(Ok(event)) => board.job(event),
        News::Pod(Ok(event)) => board.pod(event),
        News::Pod(Err(error)) => {
            let (said, for_good) = lost(&error, PODS, said);
            let first = !board.is_without_pods();
            if for_good {
                board.without_pods();
            }
            return Ok(first.then(|| if for_good { no_pods(&said) } else { said }));
        }
        News::Job(Err(error)) => {
            let (said, for_good) = lost(&error, JOBS, said_of_jobs);
            return if for_good { Err(said) } else { Ok(Some(said)) };
        }
    }
    Ok(None)
}

/// What is said of an error, and whether to try again is no use.
fn lost(error: &watcher::Error, what: &str, said: impl Fn(&kube::Error) -> String) -> (String, bool) {
    let code = |error: &kube::Error| match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match error {
        watcher::Error::InitialListFailed(error) => {
            let refused = (400..500).contains(&code(error)) && code(error) != 429;
            (format!("cannot list {what}: {}", said(error)), refused)
        }
        // A list may be allowed where a watch is not.
        watcher::Error::WatchStartFailed(error) if matches!(code(error), 401 | 403) => {
            (format!("cannot watch {what}: {}", said(error)), true)
        }
        error => (format!("{}; trying again", with_causes(error)), false),
    }
}

/// Prints; false when nobody reads any more.
fn shown(text: &str) -> Result<bool, String> {
    let mut output = stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("cannot write the output: {error}")),
    }
}

/// What has been printed.
struct Screen {
    table: Table,
    columns: Columns,
    terminal: Terminal,
    /// To be printed, once or on top of every table.
    headings: Option<Vec<String>>,
    /// The rows that were printed last, ages left out.
    rows: BTreeMap<Key, Vec<String>>,
    /// Lines of the table that is drawn.
    lines: usize,
}

impl Screen {
    fn new(columns: Columns, headings: bool, terminal: Terminal) -> Self {
        Self {
            table: Table::default(),
            headings: headings.then(|| columns.headings()),
            columns,
            terminal,
            rows: BTreeMap::new(),
            lines: 0,
        }
    }

    /// What is to be printed so that these rows are seen.
    fn next(&mut self, rows: BTreeMap<Key, Vec<String>>) -> String {
        if self.terminal.live {
            self.drawn(rows.into_values())
        } else {
            self.added(rows)
        }
    }

    /// The table in the place of the one before it, as much of it as the terminal has room for.
    fn drawn(&mut self, rows: impl Iterator<Item = Vec<String>>) -> String {
        let rows: Vec<Vec<String>> = self.headings.clone().into_iter().chain(rows).collect();
        let lines = Table::default().lines(&rows);
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}A", self.lines);
        }
        text += "\r\x1b[J";
        let room = self.terminal.lines.saturating_sub(2).max(1);
        for line in lines.iter().take(room) {
            text.extend(line.chars().take(self.terminal.columns));
            text.push('\n');
        }
        self.lines = lines.len().min(room);
        if lines.len() > room {
            let _ = writeln!(text, "and {} more", lines.len() - room);
            self.lines += 1;
        }
        text
    }

    /// A line for each row that is new or has changed, but for its age, and for each that is gone.
    fn added(&mut self, rows: BTreeMap<Key, Vec<String>>) -> String {
        let headings = self.columns.headings();
        let age = headings.iter().position(|heading| heading == AGE);
        let same = |one: &[String], other: &[String]| {
            let mut cells = one.iter().zip(other).enumerate();
            one.len() == other.len() && cells.all(|(at, (one, other))| one == other || Some(at) == age)
        };
        let gone = self.rows.iter().filter(|(key, _)| !rows.contains_key(*key));
        let state = headings.iter().position(|heading| heading == STATE).unwrap_or_default();
        let gone = gone.map(|(_, row)| {
            let mut row = row.clone();
            "Deleted".clone_into(&mut row[state]);
            row
        });
        let news = rows
            .iter()
            .filter(|(key, row)| !self.rows.get(*key).is_some_and(|before| same(before, row)));
        let news = news.map(|(_, row)| row.clone());
        let added: Vec<Vec<String>> = self.headings.take().into_iter().chain(gone).chain(news).collect();
        self.rows = rows;
        self.table
            .lines(&added)
            .iter()
            .fold(String::new(), |text, line| text + line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::kubectl::tests::{client, unreachable};

    const TERMINAL: Terminal = Terminal {
        columns: 30,
        lines: 4,
        live: true,
        colours: false,
    };

    fn rows(rows: &[(&str, &str, &str)]) -> BTreeMap<Key, Vec<String>> {
        let row = |(name, state, age): &(&str, &str, &str)| {
            let cells = [*name, *state, "1/1", "0", *age, ""].map(ToOwned::to_owned);
            ((String::new(), (*name).to_owned()), cells.to_vec())
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn where_nothing_can_be_drawn_again_a_line_is_added_for_each_change_and_none_for_an_age() {
        let mut screen = Screen::new(
            Columns::default(),
            true,
            Terminal {
                live: false,
                ..TERMINAL
            },
        );
        let lines = |text: String| {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect::<Vec<_>>()
        };
        let first = lines(screen.next(rows(&[("a", "Created", "1s"), ("b", "Running", "9s")])));
        assert_eq!(
            first,
            [
                "NAME STATE READY RESTARTS AGE PROGRESS",
                "a Created 1/1 0 1s",
                "b Running 1/1 0 9s"
            ]
        );
        assert_eq!(
            screen.next(rows(&[("a", "Created", "2s"), ("b", "Running", "10s")])),
            ""
        );
        let later = lines(screen.next(rows(&[("a", "Running", "3s")])));
        assert_eq!(later, ["b Deleted 1/1 0 10s", "a Running 1/1 0 3s"]);
    }

    #[test]
    fn a_watch_that_breaks_off_is_told_with_what_is_behind_it() {
        let (told, for_good) = lost(&watcher::Error::WatchStartFailed(unreachable()), PODS, said);
        assert!(told.ends_with(": refused; trying again") && !for_good, "{told}");
    }

    #[tokio::test]
    async fn who_may_not_watch_jobs_is_told_so_and_who_may_not_watch_pods_once() {
        let scope = Scope {
            client: client(|_| json!({})),
            namespace: None,
            jobs: Vec::new(),
            selector: None,
        };
        let refused = |code: u16| {
            let status = json!({ "kind": "Status", "code": code, "message": "no" });
            watcher::Error::WatchStartFailed(kube::Error::Api(serde_json::from_value(status).unwrap()))
        };
        for code in [401, 403] {
            let mut board = Board::default();
            let mut learn = |news| learn(&mut board, news, &scope);
            assert_eq!(
                learn(News::Job(Err(refused(code)))),
                Err("cannot watch PyTorchJobs: no".to_owned())
            );
            let told = "PROGRESS is empty: cannot watch pods: no";
            assert_eq!(learn(News::Pod(Err(refused(code)))), Ok(Some(told.to_owned())));
            let quiet = [refused(code), watcher::Error::WatchStartFailed(unreachable())];
            for error in quiet {
                assert_eq!(learn(News::Pod(Err(error))), Ok(None));
            }
            assert!(board.is_without_pods());
        }
        let gone = learn(&mut Board::default(), News::Job(Err(refused(410))), &scope);
        assert!(gone.unwrap().unwrap().ends_with("trying again"));
    }

    #[test]
    fn a_terminal_shows_the_table_in_the_place_of_the_one_before_cut_to_its_size() {
        let mut screen = Screen::new(Columns::default(), true, TERMINAL);
        let first = screen.next(rows(&[("a", "Created", "1s")]));
        assert_eq!(
            first,
            "\r\x1b[JNAME   STATE     READY   RESTA\na      Created   1/1     0    \n"
        );
        let second = screen.next(rows(&[
            ("a", "Running", "2s"),
            ("b", "Created", "1s"),
            ("c", "Created", "1s"),
        ]));
        assert!(second.starts_with("\x1b[2A\r\x1b[J"), "{second:?}");
        assert!(second.ends_with("\nand 2 more\n"), "{second:?}");
        let third = screen.next(rows(&[]));
        assert!(third.starts_with("\x1b[3A\r\x1b[J"), "{third:?}");
    }
}
