//! Lines over the number of pods, as SVG.

use std::fmt::Write as _;

/// One value of a line.
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// One diagram: its title, and its lines with their names.
pub struct Panel {
    pub title: &'static str,
    pub lines: Vec<(&'static str, Vec<Point>)>,
}

/// Of the area in which lines are drawn, in a panel of [`PANEL`] by [`HEIGHT`].
const LEFT: f64 = 48.0;
const TOP: f64 = 34.0;
const WIDE: f64 = 220.0;
const HIGH: f64 = 150.0;
const PANEL: f64 = 290.0;
const HEIGHT: f64 = 240.0;
/// Lines that people with any eyesight can tell apart.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];
/// Marks on each axis.
const MARKS: u8 = 4;

/// The panels beside each other, with one legend.
pub fn svg(panels: &[Panel]) -> String {
    let width = panels.iter().fold(0.0, |width, _| width + PANEL);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut offset = 0.0;
    for panel in panels {
        let _ = writeln!(svg, "<g transform=\"translate({offset} 0)\">{}</g>", draw(panel));
        offset += PANEL;
    }
    svg + "</svg>\n"
}

fn draw(panel: &Panel) -> String {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let (right, top) = (
        round_up(points().map(|point| point.x).fold(0.0, f64::max)),
        round_up(points().map(|point| point.y).fold(0.0, f64::max)),
    );
    let x = |value: f64| LEFT + value / right * WIDE;
    let y = |value: f64| TOP + HIGH - value / top * HIGH;
    let mut svg = format!(
        "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        panel.title
    );
    for mark in 0..=MARKS {
        let part = f64::from(mark) / f64::from(MARKS);
        let (across, up) = (label(right * part), label(top * part));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}h{WIDE}\" stroke=\"#ddd\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{up}</text>\
             <text x=\"{3:.1}\" y=\"{4}\" text-anchor=\"middle\">{across}</text>",
            y(top * part),
            LEFT - 5.0,
            y(top * part) + 4.0,
            x(right * part),
            TOP + HIGH + 15.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">pods</text>",
        LEFT + WIDE,
        TOP + HIGH + 29.0
    );
    let mut legend = LEFT;
    for ((name, points), colour) in panel.lines.iter().zip(COLOURS) {
        let path: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1} {:.1}", x(point.x), y(point.y)))
            .collect();
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        for point in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(point.x),
                y(point.y)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{legend}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            HEIGHT - 8.0
        );
        legend += 85.0;
    }
    svg
}

/// The next of 1, 2, 4, 6 and 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * unit)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

/// At most two decimals, and thousands apart.
fn label(value: f64) -> String {
    if value >= 1_000.0 {
        return format!("{},{:03.0}", (value / 1_000.0).floor(), value % 1_000.0);
    }
    format!("{value:.2}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}
