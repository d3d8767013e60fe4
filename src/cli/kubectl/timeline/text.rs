//! The timeline in a terminal.

use std::fmt::Write;

use k8s_openapi::jiff::Timestamp;

use crate::cli::kubectl::age::{age, time};
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::model::{MarkKind, Row, Timeline};

/// The narrowest bar, where the terminal has no room for one.
const NARROWEST: usize = 20;
/// Columns that a mark of the axis takes.
const MARK: usize = 10;

/// A letter and its colour, as parameters of the escape sequence.
type Cell = (char, &'static str);

const BLANK: Cell = (' ', "");
const LIMIT: &str = "1;35";

/// The timeline, as wide as the terminal.
pub(super) fn draw(timeline: &Timeline, columns: usize, colours: bool) -> String {
    let names = timeline.rows.iter().map(|row| row.name.len());
    let label = names.chain(["REPLICA".len()]).max().unwrap_or_default();
    let width = columns.saturating_sub("RANK  ".len() + label + 2).max(NARROWEST);
    let span = timeline.known.duration_since(timeline.begin);
    let (state, from, until) = (&timeline.state, time(timeline.begin), time(timeline.known));
    let mut text = format!("{}: {state}\n{from} to {until}: {}\n\n", timeline.job, age(span));
    // Writing to a text does not fail.
    let _ = writeln!(text, "RANK  {:<label$}  {}", "REPLICA", axis(timeline, width));
    for row in &timeline.rows {
        let rank = row.rank.map(|rank| rank.to_string()).unwrap_or_default();
        let _ = writeln!(
            text,
            "{rank:>4}  {:<label$}  {}",
            row.name,
            painted(&bar(timeline, row, width), colours)
        );
    }
    text += "\n";
    text += &painted_legend(timeline, colours);
    for limit in &timeline.limits {
        let _ = writeln!(
            text,
            "{} {}: {} ({})",
            limit.kind.letter(),
            limit.kind.word(),
            time(limit.at),
            limit.note
        );
    }
    for remark in &timeline.remarks {
        let _ = writeln!(text, "{}", remark.replace(char::is_control, " "));
    }
    text
}

/// Times since the beginning, each above its place.
fn axis(timeline: &Timeline, width: usize) -> String {
    let mut line = String::new();
    for (after, at) in timeline.axis(number(width / MARK)) {
        let (place, text) = (place(timeline, at, width), age(after));
        let used = line.chars().count();
        if (line.is_empty() || place > used) && place + text.len() <= width {
            let _ = write!(line, "{:gap$}{text}", "", gap = place - used);
        }
    }
    line
}

/// A letter for each part of the time: the stage that lasted longest in it, and on top what happened.
fn bar(timeline: &Timeline, row: &Row, width: usize) -> Vec<Cell> {
    const FINE: usize = 8;
    let mut lasted = vec![[0_usize; Stage::ALL.len()]; width];
    let mut cells = vec![BLANK; width];
    for span in &row.spans {
        let [from, until] = [span.from, span.until].map(|at| place(timeline, at, width * FINE));
        let index = Stage::ALL
            .iter()
            .position(|stage| *stage == span.stage)
            .unwrap_or_default();
        (from..until).for_each(|part| lasted[part / FINE][index] += 1);
    }
    for (cell, lasted) in cells.iter_mut().zip(&lasted) {
        let longest = lasted.iter().zip(Stage::ALL).rev().max_by_key(|(parts, _)| **parts);
        if let Some((_, stage)) = longest.filter(|(parts, _)| **parts > 0) {
            *cell = filling(stage);
        }
    }
    let ends = row
        .spans
        .iter()
        .filter(|span| matches!(span.stage, Stage::Succeeded | Stage::Failed));
    for span in ends {
        let at = place(timeline, span.from, width).min(width - 1);
        cells[at] = letter(span.stage);
    }
    for limit in &timeline.limits {
        let at = place(timeline, limit.at, width).min(width - 1);
        if cells[at].0 == ' ' {
            cells[at] = (limit.kind.letter(), LIMIT);
        }
    }
    for mark in &row.marks {
        cells[place(timeline, mark.at, width).min(width - 1)] = (mark.kind.letter(), "1;33");
    }
    cells
}

/// What a stage is drawn with, and stands for it in the legend.
const fn letter(stage: Stage) -> Cell {
    match stage {
        Stage::Queued => ('·', "2"),
        Stage::Scheduled => ('-', "34"),
        Stage::Pulling => ('░', "36"),
        Stage::Initializing => ('▒', "36"),
        Stage::Running => ('█', "32"),
        Stage::Restarting => ('~', "33"),
        Stage::Suspended => ('=', "2"),
        Stage::Terminating => ('<', "35"),
        Stage::Succeeded => ('✓', "32"),
        Stage::Failed => ('✗', "31"),
    }
}

/// What has ended is marked where it ended, and leaves room after that.
const fn filling(stage: Stage) -> Cell {
    match stage {
        Stage::Succeeded | Stage::Failed => BLANK,
        stage => letter(stage),
    }
}

fn painted_legend(timeline: &Timeline, colours: bool) -> String {
    let stages = timeline.stages().map(|stage| (letter(stage), stage.word()));
    let restarts = timeline.rows.iter().any(|row| !row.marks.is_empty());
    let restart = MarkKind::Restart;
    let restart = restarts.then(|| ((restart.letter(), "1;33"), restart.word()));
    let entries = stages.chain(restart);
    let entries: Vec<String> = entries
        .map(|(cell, word)| format!("{} {word}", painted(&[cell], colours)))
        .collect();
    entries.join("  ") + "\n"
}

/// The letters with their colours, without blanks at the end.
fn painted(cells: &[Cell], colours: bool) -> String {
    let end = cells.iter().rposition(|cell| *cell != BLANK).map_or(0, |last| last + 1);
    let mut text = String::new();
    for same in cells[..end].chunk_by(|one, other| one.1 == other.1) {
        let letters: String = same.iter().map(|(letter, _)| *letter).collect();
        match same[0].1 {
            "" => text += &letters,
            _ if !colours => text += &letters,
            colour => {
                let _ = write!(text, "\x1b[{colour}m{letters}\x1b[0m");
            }
        }
    }
    text
}

fn place(timeline: &Timeline, at: Timestamp, width: usize) -> usize {
    usize::try_from(timeline.place(at, number(width))).unwrap_or_default()
}

fn number(width: usize) -> i64 {
    i64::try_from(width).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::kubectl::timeline::model::{Mark, Span};

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn timeline() -> Timeline {
        let row = |name: &str, rank, spans: &[(Stage, i64, i64)], restart: Option<i64>| Row {
            name: name.to_owned(),
            rank,
            spans: spans
                .iter()
                .map(|(stage, from, until)| Span {
                    stage: *stage,
                    from: second(*from),
                    until: second(*until),
                    note: String::new(),
                })
                .collect(),
            marks: restart
                .map(|at| Mark {
                    kind: MarkKind::Restart,
                    at: second(at),
                    note: String::new(),
                })
                .into_iter()
                .collect(),
        };
        Timeline {
            job: "team/train".to_owned(),
            state: "Failed".to_owned(),
            begin: second(0),
            known: second(66),
            end: second(80),
            rows: vec![
                row(
                    "job",
                    None,
                    &[(Stage::Queued, 0, 4), (Stage::Running, 4, 60), (Stage::Failed, 60, 66)],
                    None,
                ),
                row(
                    "worker-0",
                    Some(1),
                    &[(Stage::Queued, 0, 8), (Stage::Pulling, 8, 20), (Stage::Running, 20, 66)],
                    Some(40),
                ),
                row("worker-10", Some(11), &[], None),
            ],
            limits: vec![Mark {
                kind: MarkKind::Deadline,
                at: second(80),
                note: "activeDeadlineSeconds: 80".to_owned(),
            }],
            remarks: vec!["What else is to be said.".to_owned()],
        }
    }

    #[test]
    fn each_rank_is_a_line_in_which_a_column_is_the_same_time_for_all() {
        let expected = "\
team/train: Failed
1970-01-01T00:00:00Z to 1970-01-01T00:01:06Z: 66s

RANK  REPLICA    0s             30s            60s
      job        ··████████████████████████████✗        D
   1  worker-0   ····░░░░░░██████████R████████████      D
  11  worker-10                                         D

· queued  ░ pulling  █ running  ✗ failed  R restart
D deadline: 1970-01-01T00:01:20Z (activeDeadlineSeconds: 80)
What else is to be said.
";
        assert_eq!(draw(&timeline(), 57, false), expected);
    }

    #[test]
    fn colours_come_only_where_they_are_shown_and_lines_are_never_wider_than_the_terminal() {
        assert!(draw(&timeline(), 100, true).contains("\x1b[32m████"));
        for columns in [50, 57, 80, 200] {
            let text = draw(&timeline(), columns, false);
            let widest = text.lines().skip(3).take(4).map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns), "{columns}: {widest:?}\n{text}");
            assert!(!text.contains('\x1b'));
        }
    }
}
