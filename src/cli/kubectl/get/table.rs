//! Columns, as kubectl prints them.

/// Spaces between two columns.
const GAP: usize = 3;

/// The widths of the columns so far. They only grow, so that lines which are added later stand below the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// The lines of these rows.
    pub(super) fn lines(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| plain(cell)).collect())
            .collect();
        for row in &rows {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, cells: &[String]) -> String {
        let padded = self.widths.iter().zip(cells);
        let line = padded.fold(String::new(), |line, (width, cell)| {
            format!("{line}{cell:<width$}{:GAP$}", "")
        });
        line.trim_end().to_owned()
    }
}

/// A cell is one line, and tells the terminal nothing: what objects say is not ours.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_so_far_and_lines_have_no_blanks_at_the_end() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut table = Table::default();
        let first = table.lines(&[row(&["NAME", "STATE"]), row(&["a-long-name", "Running"])]);
        assert_eq!(first, ["NAME          STATE", "a-long-name   Running"]);
        let later = table.lines(&[row(&["a", "\u{1b}[2Jno\nway"]), row(&["b", ""])]);
        assert_eq!(later, ["a              [2Jno way", "b"]);
    }
}
