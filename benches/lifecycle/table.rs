//! The result, as a table in Markdown.

use std::fmt;
use std::time::Duration;

use crate::rig::Side;

/// Rows in the order in which they were measured first.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    side: Side,
}

/// One figure.
#[derive(Default)]
pub struct Row {
    figure: &'static str,
    go: [&'static str; 2],
    goal: &'static str,
    ours: String,
    kubeflows: String,
    null: String,
    reached: Option<bool>,
    side: Side,
}

impl Table {
    /// Whose figures come next.
    pub fn side(&mut self, side: Side) {
        self.side = side;
    }

    /// The row of this figure.
    pub fn row(&mut self, figure: &'static str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.figure == figure);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row {
                figure,
                ..Row::default()
            });
            self.rows.len() - 1
        });
        self.rows[index].side = self.side;
        &mut self.rows[index]
    }
}

impl Row {
    /// What Kubeflow's operator 1.9.4 was measured at before: as shipped, and with its limits lifted.
    pub fn go(&mut self, shipped: &'static str, lifted: &'static str) -> &mut Self {
        self.go = [shipped, lifted];
        self
    }

    /// What is to be reached, and whether it is; by us.
    pub fn goal(&mut self, goal: &'static str, reached: bool) -> &mut Self {
        if self.side == Side::Ours {
            (self.goal, self.reached) = (goal, Some(reached));
        }
        self
    }

    /// What was measured.
    pub fn measured(&mut self, value: String) -> &mut Self {
        eprintln!("{}: {value}", self.figure);
        match self.side {
            Side::Ours => self.ours = value,
            Side::Kubeflow => self.kubeflows = value,
        }
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
            "| figure | Go, as shipped | Go, limits lifted | Go, limits lifted, in this run | goal | ours | null operator | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let [shipped, lifted] = row.go;
            let reached = match row.reached {
                Some(true) => "PASS",
                Some(false) => "**miss**",
                None => "",
            };
            writeln!(
                f,
                "| {} | {shipped} | {lifted} | {} | {} | {} | {} | {reached} |",
                row.figure, row.kubeflows, row.goal, row.ours, row.null
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
