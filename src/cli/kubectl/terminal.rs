//! What standard output can show.

use std::env;
use std::io::{IsTerminal, stdout};

use rustix::termios::tcgetwinsize;

/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;
/// Lines where nobody says how many there are.
const LINES: usize = 24;

/// Standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Width in columns: what `COLUMNS` says, or the terminal, or 80.
    pub columns: usize,
    /// Height in lines, in the same way.
    pub lines: usize,
    /// Whether what has been printed can be replaced.
    pub live: bool,
    /// Whether colours are shown: on a terminal, unless `NO_COLOR` is set.
    pub colours: bool,
}

impl Terminal {
    /// Finds out.
    pub(super) fn detect() -> Self {
        let size = tcgetwinsize(stdout()).ok();
        let said = |name: &str| env::var(name).ok()?.parse().ok().filter(|count| *count > 0);
        let told = |count: Option<u16>| count.map(usize::from).filter(|count| *count > 0);
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let live = stdout().is_terminal() && env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        Self {
            columns: said("COLUMNS")
                .or_else(|| told(size.map(|size| size.ws_col)))
                .unwrap_or(COLUMNS),
            lines: said("LINES")
                .or_else(|| told(size.map(|size| size.ws_row)))
                .unwrap_or(LINES),
            live,
            colours: live && !set("NO_COLOR"),
        }
    }
}
