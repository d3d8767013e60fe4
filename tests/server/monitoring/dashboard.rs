//! The dashboard as a page: its panels in their places, drawn from what Prometheus answers. Grafana draws the same queries
//! in its own way; what it takes to have it here is more than a picture is worth.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::plot::{Line, Panel, Point, label, svg, text};

/// A column and a row of the grid, in pixels, and how many columns there are.
const COLUMN: f64 = 50.0;
const ROW: f64 = 30.0;
const COLUMNS: f64 = 24.0;
/// Between two panels.
const GAP: f64 = 8.0;
const MIB: f64 = 1024.0 * 1024.0;

const STYLE: &str = "body { margin: 0; background: #f4f5f5; font: 11px sans-serif; }
section { position: absolute; overflow: hidden; background: #fff; border: 1px solid #d8d9da; box-sizing: border-box; }
h2 { margin: 8px 12px 0; font-size: 11px; }
output { display: block; text-align: center; font-size: 34px; line-height: 70px; color: #0072b2; }
";

/// One query of a panel: what the legend says of each line, and a matrix, as Prometheus answers it.
pub struct Answer<'a> {
    pub legend: &'a str,
    pub matrix: &'a Value,
}

/// One panel of the dashboard and the answers to its queries.
pub struct Answered<'a> {
    pub panel: &'a Value,
    pub answers: Vec<Answer<'a>>,
}

/// The page, whose times are seconds after `from`, and how wide and high it is.
pub fn page(panels: &[Answered], from: f64) -> (String, [u32; 2]) {
    let mut sections = String::new();
    let mut rows = 0;
    for answered in panels {
        let place = |field: &str| answered.panel["gridPos"][field].as_u64().unwrap();
        rows = rows.max(place("y") + place("h"));
        sections += &section(answered, from);
    }
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Dashboard</title>\n\
         <style>{STYLE}</style></head>\n<body>\n{sections}</body></html>\n"
    );
    (page, [pixels(COLUMNS * COLUMN), pixels(float(rows) * ROW)])
}

fn section(answered: &Answered, from: f64) -> String {
    let place = |field: &str| float(answered.panel["gridPos"][field].as_u64().unwrap());
    let (left, top) = (place("x") * COLUMN, place("y") * ROW);
    let (width, height) = (place("w") * COLUMN - GAP, place("h") * ROW - GAP);
    let lines: Vec<Line> = answered.answers.iter().flat_map(|answer| lines(answer, from)).collect();
    let title = answered.panel["title"].as_str().unwrap();
    let content = match answered.panel["type"].as_str().unwrap() {
        "stat" => stat(title, &lines),
        "timeseries" => {
            let unit = answered.panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            svg(&[scaled(title, unit, lines, [width, height])])
        }
        other => panic!("panel {title}: {other} is not drawn"),
    };
    let mut section = String::new();
    let style = format!("left:{left}px;top:{top}px;width:{width}px;height:{height}px");
    let _ = writeln!(section, "<section style=\"{style}\">{content}</section>");
    section
}

/// The last value.
fn stat(title: &str, lines: &[Line]) -> String {
    let last = lines.iter().find_map(|line| line.points.last());
    let value = last.map_or_else(|| "No data".to_owned(), |point| label(point.y.round()));
    format!("<h2>{}</h2><output>{value}</output>", text(title))
}

/// What is to be drawn, in the unit that the title has then.
fn scaled(title: &str, unit: &str, mut lines: Vec<Line>, [width, height]: [f64; 2]) -> Panel {
    let (unit, by) = match unit {
        "bytes" => (", MiB", MIB),
        "s" => (", s", 1.0),
        "ops" | "reqps" => (", 1/s", 1.0),
        "short" => ("", 1.0),
        other => panic!("panel {title}: the unit {other} is not drawn"),
    };
    let points = lines.iter_mut().flat_map(|line| &mut line.points);
    points.for_each(|point| point.y /= by);
    let title = if lines.is_empty() {
        format!("{title}: no data")
    } else {
        format!("{title}{unit}")
    };
    Panel {
        title,
        across: "s",
        lines,
        width,
        height,
    }
}

/// The series of an answer that have a value.
fn lines(answer: &Answer, from: f64) -> Vec<Line> {
    let series = answer.matrix.as_array().unwrap().iter().map(|series| {
        let values = series["values"].as_array().unwrap().iter();
        let points = values.map(|value| Point {
            x: value[0].as_f64().unwrap() - from,
            y: value[1].as_str().unwrap().parse().unwrap(),
        });
        Line {
            name: name(answer.legend, &series["metric"]),
            points: points.filter(|point| point.y.is_finite()).collect(),
        }
    });
    series.filter(|line| !line.points.is_empty()).collect()
}

/// A legend with the values of the labels that it names.
fn name(legend: &str, labels: &Value) -> String {
    let mut name = legend.to_owned();
    for (label, value) in labels.as_object().unwrap() {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap());
    }
    name
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "columns and rows are few and whole"
)]
fn pixels(length: f64) -> u32 {
    length as u32
}
