//! Lines over what is counted across, as SVG.

use std::fmt::Write as _;

/// One value of a line.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// What the legend calls a line, and its values.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<Point>,
}

/// One diagram.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: String,
    /// The unit across.
    pub across: &'static str,
    pub lines: Vec<Line>,
    pub width: f64,
    pub height: f64,
}

/// Around the area in which lines are drawn; the legend is below it.
const LEFT: f64 = 48.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 22.0;
const BOTTOM: f64 = 36.0;
/// Of the legend: a row, a letter, and what is between two names.
const ROW: f64 = 15.0;
const LETTER: f64 = 6.0;
const GAP: f64 = 14.0;
/// Lines that people with any eyesight can tell apart (Okabe and Ito's colours). They come again when there are more.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
];
/// Marks on each axis.
const MARKS: u8 = 4;
/// A line of more points than these shows no circle at each.
const CIRCLES: usize = 12;

/// The panels beside each other.
pub fn svg(panels: &[Panel]) -> String {
    let width: f64 = panels.iter().map(|panel| panel.width).sum();
    let height = panels.iter().map(|panel| panel.height).fold(0.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut offset = 0.0;
    for panel in panels {
        let _ = writeln!(svg, "<g transform=\"translate({offset} 0)\">{}</g>", draw(panel));
        offset += panel.width;
    }
    svg + "</svg>\n"
}

/// Where the values of a panel are drawn.
struct Area {
    /// What its right end and its top stand for.
    right: f64,
    top: f64,
    wide: f64,
    high: f64,
}

impl Area {
    fn of(panel: &Panel, rows: f64) -> Self {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        Self {
            right: round_up(points().map(|point| point.x).fold(0.0, f64::max)),
            top: round_up(points().map(|point| point.y).fold(0.0, f64::max)),
            wide: panel.width - LEFT - RIGHT,
            high: panel.height - TOP - BOTTOM - rows * ROW,
        }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.right * self.wide
    }

    fn y(&self, value: f64) -> f64 {
        TOP + self.high - value / self.top * self.high
    }
}

fn draw(panel: &Panel) -> String {
    let (legend, rows) = legend(panel);
    let area = Area::of(panel, rows);
    let title = text(&panel.title);
    let mut svg = format!("<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{title}</text>\n");
    svg += &axes(panel, &area);
    for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
        svg += &curve(line, colour, &area);
    }
    svg + &legend
}

fn axes(panel: &Panel, area: &Area) -> String {
    let (wide, below) = (area.wide, TOP + area.high);
    let mut svg = String::new();
    for mark in 0..=MARKS {
        let part = f64::from(mark) / f64::from(MARKS);
        let (across, up) = (area.right * part, area.top * part);
        let (x, y) = (area.x(across), area.y(up));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}h{wide}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            LEFT - 5.0,
            y + 4.0,
            label(up),
            below + 15.0,
            label(across)
        );
    }
    let (x, y, unit) = (LEFT + wide, below + 29.0, panel.across);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{unit}</text>");
    svg
}

fn curve(line: &Line, colour: &str, area: &Area) -> String {
    let places = line.points.iter().map(|point| (area.x(point.x), area.y(point.y)));
    let path: Vec<String> = places.clone().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    let path = path.join("L");
    let mut svg = format!("<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n");
    if line.points.len() <= CIRCLES {
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
    svg
}

/// The names of the lines in as many rows as they need, at the bottom.
fn legend(panel: &Panel) -> (String, f64) {
    let (mut x, mut rows, mut places) = (LEFT, 1.0, Vec::new());
    for line in &panel.lines {
        let width = line.name.chars().fold(GAP, |width, _| width + LETTER);
        if x > LEFT && x + width > panel.width {
            (x, rows) = (LEFT, rows + 1.0);
        }
        places.push((x, rows));
        x += width;
    }
    let mut svg = String::new();
    for ((line, (x, row)), colour) in panel.lines.iter().zip(places).zip(COLOURS.iter().cycle()) {
        let (y, name) = (panel.height - 8.0 - (rows - row) * ROW, text(&line.name));
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name}</text>");
    }
    (svg, rows)
}

/// Text where SVG and HTML have text.
pub fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The next of 1, 2, 4, 6 and 8 times a power of ten; 1 if there is nothing.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * unit)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

/// At most five decimals, and thousands apart.
pub fn label(value: f64) -> String {
    if value >= 1_000.0 {
        let whole = value.round();
        return format!("{},{:03}", label((whole / 1_000.0).floor()), whole % 1_000.0);
    }
    format!("{value:.5}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}
