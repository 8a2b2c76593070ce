//! Tables for people: no frames, numbers to the right, double-width characters aligned.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names and texts.
    Left,
    /// Quantities and amounts.
    Right,
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Grid {
    table: Table,
    rows: usize,
}

impl Grid {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|(title, _)| Cell::new(title.to_uppercase())));
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table, rows: 0 }
    }

    /// Adds a row; a shorter one leaves the last columns empty.
    pub(crate) fn row<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.table.add_row(cells.into_iter().map(|cell| Cell::new(printable(&cell.into()))));
        self.rows += 1;
    }

    /// The table as text, or `empty` when it has no row.
    pub(crate) fn render(&self, empty: &str) -> String {
        if self.rows == 0 { empty.to_owned() } else { self.table.trim_fmt() }
    }
}

/// A name may come from a client: control characters must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// So many of what `one` names: `1 turn`, `2 turns`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    let several = if count == 1 { "" } else { "s" };
    format!("{count} {one}{several}")
}

/// A decimal string with its thousands set apart: `1234567.5` becomes `1,234,567.5`.
pub(crate) fn grouped(decimal: &str) -> String {
    let (sign, rest) = decimal.strip_prefix('-').map_or(("", decimal), |rest| ("-", rest));
    let (whole, fraction) =
        rest.split_once('.').map_or((rest, None), |(whole, part)| (whole, Some(part)));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return decimal.to_owned();
    }
    let mut text = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_names_keep_the_columns_aligned() {
        let mut grid = Grid::new(&[("name", Align::Left), ("amount", Align::Right)]);
        grid.row(["上海文心科技", "1.50"]);
        grid.row(["Acme", "12.00"]);

        assert_eq!(
            grid.render("none"),
            "NAME          AMOUNT\n上海文心科技    1.50\nAcme           12.00"
        );
    }

    #[test]
    fn an_empty_table_says_what_is_missing() {
        assert_eq!(Grid::new(&[("name", Align::Left)]).render("no customers"), "no customers");
    }

    #[test]
    fn a_terminal_escape_in_a_name_is_defused() {
        let mut grid = Grid::new(&[("name", Align::Left)]);
        grid.row(["\u{1b}[2Jx"]);

        assert!(!grid.render("none").contains('\u{1b}'));
    }

    #[test]
    fn one_of_many_has_no_plural() {
        let words = [0, 1, 2].map(|count| counted(count, "turn"));

        assert_eq!(words, ["0 turns", "1 turn", "2 turns"]);
    }

    #[test]
    fn thousands_are_set_apart_and_decimals_kept_as_given() {
        assert_eq!(grouped("1234567.50"), "1,234,567.50");
        assert_eq!(grouped("-1000"), "-1,000");
        assert_eq!(grouped("999"), "999");
        assert_eq!(grouped("n/a"), "n/a");
    }
}
