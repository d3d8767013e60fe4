//! The timeline as a page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use k8s_openapi::jiff::Timestamp;

use crate::cli::kubectl::age::{age, time};
use crate::cli::kubectl::stage::Stage;
use crate::cli::kubectl::timeline::model::{Mark, MarkKind, Row, Span, Timeline};

const STYLE: &str = include_str!("page.css");
/// Marks of the axis at most: more do not fit on a narrow screen.
const MARKS: i64 = 8;
/// Parts of a hundredth, in which places are written.
const PARTS: i64 = 10_000;

/// The page.
pub(super) fn page(timeline: &Timeline) -> String {
    let (job, state) = (text(&timeline.job), text(&timeline.state));
    let length = age(timeline.known.duration_since(timeline.begin));
    let (from, until) = (time(timeline.begin), time(timeline.known));
    let rows: String = timeline.rows.iter().map(|row| line(timeline, row)).collect();
    let remarks = timeline
        .remarks
        .iter()
        .map(|remark| ["<li>", &text(remark), "</li>\n"].concat())
        .collect::<String>();
    let remarks = if remarks.is_empty() {
        remarks
    } else {
        format!("<ul>\n{remarks}</ul>\n")
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Timeline of {job}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>{job} <span class=\"state {class}\">{state}</span></h1>\n\
         <p><time>{from}</time> to <time>{until}</time>: {length}</p>\n{legend}\
         <table class=\"timeline\">\n<thead><tr><th scope=\"col\">Rank</th><th scope=\"col\">Replica</th>\
         <th scope=\"col\" class=\"axis\">{axis}</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n{remarks}\
         <details>\n<summary>All times</summary>\n{times}</details>\n</body>\n</html>\n",
        class = text(&timeline.state.to_lowercase()),
        legend = legend(timeline),
        axis = axis(timeline),
        times = times(timeline),
    )
}

fn legend(timeline: &Timeline) -> String {
    let swatch = |class: &str, word: &str| {
        format!(
            "<li><svg class=\"swatch\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"100%\" height=\"100%\"/></svg>\
             {word}</li>"
        )
    };
    let stages = timeline.stages().map(|stage| swatch(stage.word(), stage.word()));
    let marked = |kind: MarkKind| {
        let mut marks = timeline.rows.iter().flat_map(|row| &row.marks).chain(&timeline.limits);
        marks.any(|mark| mark.kind == kind)
    };
    let kinds = [MarkKind::Restart, MarkKind::Deadline, MarkKind::Ttl];
    let kinds = kinds
        .into_iter()
        .filter(|kind| marked(*kind))
        .map(|kind| swatch(class(kind), kind.word()));
    format!(
        "<ul class=\"legend\" aria-label=\"Legend\">{}</ul>\n",
        stages.chain(kinds).collect::<String>()
    )
}

/// Times since the beginning, and the limits.
fn axis(timeline: &Timeline) -> String {
    let marks = timeline.axis(MARKS).map(|(after, at)| {
        let anchor = if timeline.place(at, PARTS) > PARTS - PARTS / 20 {
            "end"
        } else {
            "start"
        };
        let place = percent(timeline, at);
        let label = age(after);
        format!(
            "<line class=\"tick\" x1=\"{place}\" x2=\"{place}\" y1=\"16\" y2=\"22\"/>\
                 <text x=\"{place}\" y=\"12\" text-anchor=\"{anchor}\">{label}</text>"
        )
    });
    format!(
        "<svg class=\"bar\" role=\"img\" aria-label=\"Time since the job was created\">{}</svg>",
        marks.collect::<String>()
    )
}

/// A row: what it says to those who do not see it, then what is drawn.
fn line(timeline: &Timeline, row: &Row) -> String {
    let rank = row.rank.map(|rank| rank.to_string()).unwrap_or_default();
    let spans = row
        .spans
        .iter()
        .map(|span| stretch(timeline, row, span))
        .collect::<String>();
    let limits = timeline.limits.iter().map(|limit| upright(timeline, limit));
    let marks = row.marks.iter().map(|mark| upright(timeline, mark));
    let said: Vec<String> = row
        .spans
        .iter()
        .map(|span| length(span.stage, span.from, span.until))
        .collect();
    let said = if said.is_empty() {
        "nothing is known".to_owned()
    } else {
        said.join(", ")
    };
    format!(
        "<tr><td>{rank}</td><th scope=\"row\">{name}</th><td><svg class=\"bar\" role=\"img\" aria-label=\"{name}: {said}\">\
         {spans}{}</svg></td></tr>\n",
        limits.chain(marks).collect::<String>(),
        name = text(&row.name),
    )
}

/// A span: a rectangle, which is seen however short it is.
fn stretch(timeline: &Timeline, row: &Row, span: &Span) -> String {
    let title = format!(
        "{}: {}{}",
        row.name,
        length(span.stage, span.from, span.until),
        note(&span.note)
    );
    let [from, until] = [span.from, span.until].map(|at| timeline.place(at, PARTS));
    format!(
        "<rect class=\"{}\" x=\"{}\" y=\"3\" width=\"{}\" height=\"18\"><title>{}</title></rect>",
        span.stage.word(),
        hundredths(from),
        hundredths((until - from).max(PARTS / 1000)),
        text(&title)
    )
}

/// A mark: a line from top to bottom.
fn upright(timeline: &Timeline, mark: &Mark) -> String {
    let place = percent(timeline, mark.at);
    let title = format!("{} at {}{}", mark.kind.word(), time(mark.at), note(&mark.note));
    format!(
        "<line class=\"{}\" x1=\"{place}\" x2=\"{place}\" y1=\"0\" y2=\"24\"><title>{}</title></line>",
        class(mark.kind),
        text(&title)
    )
}

/// The same in words, for those who cannot hover, and to be copied.
fn times(timeline: &Timeline) -> String {
    let mut rows = String::new();
    for row in &timeline.rows {
        for span in &row.spans {
            // Writing to a text does not fail.
            let _ = writeln!(
                rows,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(&row.name),
                span.stage.word(),
                time(span.from),
                time(span.until),
                age(span.until.duration_since(span.from)),
                text(&span.note)
            );
        }
    }
    let marks = timeline
        .rows
        .iter()
        .flat_map(|row| row.marks.iter().map(move |mark| (row.name.as_str(), mark)));
    for (name, mark) in marks.chain(timeline.limits.iter().map(|limit| ("job", limit))) {
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td></td><td></td><td>{}</td></tr>",
            text(name),
            mark.kind.word(),
            time(mark.at),
            text(&mark.note)
        );
    }
    let headings = ["Replica", "What", "From", "Until", "Length", "Why"];
    let headings: String = headings
        .map(|heading| format!("<th scope=\"col\">{heading}</th>"))
        .concat();
    format!("<table class=\"times\">\n<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
}

fn length(stage: Stage, from: Timestamp, until: Timestamp) -> String {
    format!("{} {}", stage.word(), age(until.duration_since(from)))
}

fn note(note: &str) -> String {
    if note.is_empty() {
        String::new()
    } else {
        format!(". {note}")
    }
}

const fn class(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Restart => "restart",
        MarkKind::Deadline => "deadline",
        MarkKind::Ttl => "ttl",
    }
}

fn percent(timeline: &Timeline, at: Timestamp) -> String {
    hundredths(timeline.place(at, PARTS))
}

fn hundredths(parts: i64) -> String {
    format!("{}.{:02}%", parts / 100, parts % 100)
}

/// What objects say, as text and in attributes.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_objects_say_is_text_and_no_markup_and_nothing_comes_from_elsewhere() {
        let second = |second: i64| Timestamp::from_second(second).unwrap();
        let hostile = "</title><script>alert('1')</script>\u{1b}&\"".to_owned();
        let timeline = Timeline {
            job: hostile.clone(),
            state: hostile.clone(),
            begin: second(0),
            known: second(10),
            end: second(10),
            rows: vec![Row {
                name: hostile.clone(),
                rank: Some(0),
                spans: vec![Span {
                    stage: Stage::Running,
                    from: second(2),
                    until: second(10),
                    note: hostile.clone(),
                }],
                marks: vec![Mark {
                    kind: MarkKind::Restart,
                    at: second(5),
                    note: hostile.clone(),
                }],
            }],
            limits: Vec::new(),
            remarks: vec![hostile],
        };
        let page = page(&timeline);
        assert!(
            !page.contains("<script") && !page.contains('\u{1b}') && !page.contains("&\""),
            "{page}"
        );
        for word in ["http:", "https:", "url(", "src=", "@import"] {
            assert!(!page.contains(word), "{word}: {page}");
        }
        assert!(
            page.contains("<rect class=\"running\" x=\"20.00%\" y=\"3\" width=\"80.00%\""),
            "{page}"
        );
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn every_stage_and_every_mark_has_a_colour_in_both_schemes() {
        let marks = [MarkKind::Restart, MarkKind::Deadline, MarkKind::Ttl].map(class);
        for class in Stage::ALL.map(Stage::word).into_iter().chain(marks) {
            assert_eq!(STYLE.matches(&format!("--{class}: #")).count(), 2, "{class}");
            assert!(STYLE.contains(&format!("var(--{class})")), "{class}");
        }
    }
}
