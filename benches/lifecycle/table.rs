//! The result, as a table in Markdown.

use std::fmt;
use std::time::Duration;

/// Rows in the order in which they were measured.
#[derive(Default)]
pub struct Table(Vec<Row>);

/// One figure.
#[derive(Default)]
pub struct Row {
    figure: &'static str,
    go: [&'static str; 2],
    goal: &'static str,
    ours: String,
    null: String,
    reached: Option<bool>,
}

impl Table {
    /// Adds a row.
    pub fn row(&mut self, figure: &'static str) -> &mut Row {
        self.0.push(Row {
            figure,
            ..Row::default()
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Row {
    /// What the Go operator 1.9.4 was measured at: as shipped, and with its limits lifted.
    pub fn go(&mut self, shipped: &'static str, lifted: &'static str) -> &mut Self {
        self.go = [shipped, lifted];
        self
    }

    /// What is to be reached, and whether it is.
    pub fn goal(&mut self, goal: &'static str, reached: bool) -> &mut Self {
        (self.goal, self.reached) = (goal, Some(reached));
        self
    }

    /// What was measured.
    pub fn ours(&mut self, ours: String) -> &mut Self {
        eprintln!("{}: {ours}", self.figure);
        self.ours = ours;
        self
    }

    /// The same of the null operator.
    pub fn beside(&mut self, null: String) -> &mut Self {
        self.null = null;
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| figure | Go, as shipped | Go, limits lifted | goal | ours | null operator | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for row in &self.0 {
            let [shipped, lifted] = row.go;
            let reached = match row.reached {
                Some(true) => "PASS",
                Some(false) => "**miss**",
                None => "",
            };
            writeln!(
                f,
                "| {} | {shipped} | {lifted} | {} | {} | {} | {reached} |",
                row.figure, row.goal, row.ours, row.null
            )?;
        }
        Ok(())
    }
}

/// The smallest value that `percent` of the sorted `values` do not exceed.
pub fn quantile<T: Copy>(values: &[T], percent: usize) -> T {
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}

/// Milliseconds, with one decimal.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Seconds, with two decimals.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Mebibytes, with one decimal.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
