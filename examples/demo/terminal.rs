//! Output for a person: headings, commands, what changed, and how long it took.
//!
//! Colours and the line that follows a wait are for terminals only; `NO_COLOR` switches the colours off.

use std::env;
use std::io::{IsTerminal, Write, stdout};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Columns that times are aligned to.
const WIDTH: usize = 88;
/// Column in which the values of [`Terminal::change`] begin, after the indentation.
const VALUES: usize = 30;
/// How often the line that follows a wait is drawn.
const FRAME: Duration = Duration::from_millis(100);
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    live: bool,
    colours: bool,
}

impl Terminal {
    /// Finds out what standard output can show.
    pub fn detect() -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let live = stdout().is_terminal() && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        Self {
            live,
            colours: live && !set("NO_COLOR"),
        }
    }

    /// Begins a part of the story.
    pub fn heading(self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    /// A line of explanation.
    pub fn say(self, text: &str) {
        println!("  {}", self.paint(DIM, text));
    }

    /// A command as a user would type it. Each further argument is a line of its own.
    pub fn command(self, first: &str, further: &[&str]) {
        let lines = [&[first], further].concat().join(" \\\n      ");
        println!("  {} {}", self.paint(DIM, "$"), self.paint(CYAN, &lines));
    }

    /// What a command printed, or what an object says.
    pub fn output(self, text: &str) {
        for line in text.trim_end().lines() {
            println!("  {} {line}", self.paint(DIM, "│"));
        }
    }

    /// What was, and what is now.
    pub fn change(self, what: &str, before: &str, after: &str) {
        let values = if before == after {
            format!("{before} {}", self.paint(DIM, "(unchanged)"))
        } else {
            format!(
                "{} {} {}",
                self.paint(YELLOW, before),
                self.paint(DIM, "→"),
                self.paint(GREEN, after)
            )
        };
        println!("    {what:<VALUES$}{values}");
    }

    /// Something happened as it should, after `took`.
    pub fn done(self, text: &str, took: Duration) {
        let took = seconds(took);
        let room = WIDTH.saturating_sub(4 + took.chars().count());
        println!("  {} {text:<room$}{}", self.paint(GREEN, "✓"), self.paint(DIM, &took));
    }

    /// Something did not happen. Goes to standard error.
    pub fn failed(self, text: &str) {
        eprintln!("\n  {} {text}", self.paint(RED, "✗"));
    }

    /// Waits for `work`, and shows on a terminal what is being waited for: the time that has passed, or that is left
    /// until `end`.
    pub async fn during<T>(self, what: &str, end: Option<Instant>, work: impl Future<Output = T>) -> T {
        if !self.live {
            return work.await;
        }
        let mut work = pin!(work);
        let begun = Instant::now();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for spinner in SPINNER.iter().cycle() {
            tokio::select! {
                biased;
                result = &mut work => {
                    clear();
                    return result;
                }
                _ = frames.tick() => {
                    let time = end.map_or_else(
                        || seconds(begun.elapsed()),
                        |end| format!("{} left", seconds(end.saturating_duration_since(Instant::now()))),
                    );
                    draw(&format!("  {} {what} {}", self.paint(CYAN, spinner), self.paint(DIM, &time)));
                }
            }
        }
        work.await
    }

    fn paint(self, style: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn draw(line: &str) {
    clear();
    print!("{line}");
    // A terminal that is gone is noticed by the next line that is not decoration.
    let _shown = stdout().flush();
}

/// Empties the line that the cursor is in.
fn clear() {
    print!("\r\x1b[K");
}

/// A duration the way people say it: milliseconds below a second, tenths of a second above.
pub fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
