//! Tables: numbers to the right in columns as wide as they need, names in what is left, the head
//! and what they are of again on every page.

use super::{
    Colour, Flow, INK, LEADING, LEFT, Piece, RULE, SMALL, SOFT, STRONG, Style, WIDTH, wrap,
};
use crate::{DocumentError, pdf::fonts::Weight};

const CELL: Style = Style { size: 8.6, weight: Weight::Regular, colour: INK };
const SUM: Style = Style { size: 8.6, weight: Weight::Bold, colour: INK };
const HEAD: Style = Style { size: SMALL, weight: Weight::Bold, colour: SOFT };
/// Between two columns.
const GAP: f32 = 10.0;
/// Above and below the text of a row.
const PADDING: f32 = 3.2;
/// Widest column of numbers.
const NUMBERS_MAX: f32 = 110.0;
/// A heading of a column of numbers is broken rather than wider than this.
const HEAD_MIN: f32 = 56.0;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'w> {
    label: &'w str,
    /// Of names: its part of what the numbers leave. Of numbers: none.
    part: Option<f32>,
}

impl<'w> Column<'w> {
    pub(super) fn left(label: &'w str, part: f32) -> Self {
        Self { label, part: Some(part) }
    }

    pub(super) fn right(label: &'w str) -> Self {
        Self { label, part: None }
    }
}

pub(super) struct Table<'w> {
    columns: &'w [Column<'w>],
    rows: Vec<Vec<String>>,
    sum: Option<Vec<String>>,
    /// What it is of, above its head on a page that it goes on over.
    continued: Option<String>,
}

/// Where a column stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    x: f32,
    width: f32,
    is_right: bool,
}

impl<'w> Table<'w> {
    pub(super) fn new(columns: &'w [Column<'w>], rows: Vec<Vec<String>>) -> Self {
        Self { columns, rows, sum: None, continued: None }
    }

    /// With a last row that is the sum.
    pub(super) fn with_sum(self, sum: Vec<String>) -> Self {
        Self { sum: Some(sum), ..self }
    }

    /// With `title` above its head on every page but the first.
    pub(super) fn continued(self, title: String) -> Self {
        Self { continued: Some(title), ..self }
    }

    pub(super) fn set(&self, flow: &mut Flow<'_>) -> Result<(), DocumentError> {
        let places = self.places(flow)?;
        self.head(flow, &places)?;
        let last = self.rows.len().saturating_sub(1);
        for (number, row) in self.rows.iter().enumerate() {
            // The sum does not stand alone on a page.
            let is_last = number == last && self.sum.is_some();
            self.row(flow, &places, row, CELL, if is_last { 20.0 } else { 0.0 })?;
            rule(flow, 0.5, RULE);
        }
        match &self.sum {
            Some(sum) => self.row(flow, &places, sum, SUM, 0.0),
            None => Ok(()),
        }
    }

    fn places(&self, flow: &Flow<'_>) -> Result<Vec<Place>, DocumentError> {
        let mut widths = Vec::with_capacity(self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            let mut width: f32 = 0.0;
            if column.part.is_none() {
                let head = flow.faces.width(column.label, HEAD.size, HEAD.weight)?;
                width = head.min(HEAD_MIN);
                for row in &self.rows {
                    let cell = row.get(number).map_or("", String::as_str);
                    width = width.max(flow.faces.width(cell, CELL.size, CELL.weight)?);
                }
                if let Some(cell) = self.sum.as_ref().and_then(|sum| sum.get(number)) {
                    width = width.max(flow.faces.width(cell, SUM.size, SUM.weight)?);
                }
            }
            widths.push(width.min(NUMBERS_MAX));
        }
        let gaps: f32 = self.columns.iter().skip(1).map(|_| GAP).sum();
        let left = (WIDTH - gaps - widths.iter().sum::<f32>()).max(0.0);
        let parts: f32 = self.columns.iter().filter_map(|column| column.part).sum();
        let mut x = LEFT;
        let places = self.columns.iter().zip(widths).map(|(column, numbers)| {
            let width = column.part.map_or(numbers, |part| left * part / parts);
            let place = Place { x, width, is_right: column.part.is_none() };
            x += width + GAP;
            place
        });
        Ok(places.collect())
    }

    fn head(&self, flow: &mut Flow<'_>, places: &[Place]) -> Result<(), DocumentError> {
        let labels: Vec<String> =
            self.columns.iter().map(|column| column.label.to_owned()).collect();
        // With a row below it.
        flow.make_room(46.0);
        cells(flow, places, &labels, HEAD)?;
        rule(flow, 1.0, INK);
        Ok(())
    }

    fn row(
        &self,
        flow: &mut Flow<'_>,
        places: &[Place],
        row: &[String],
        style: Style,
        more: f32,
    ) -> Result<(), DocumentError> {
        let mut lines = 1;
        for (place, text) in places.iter().zip(row) {
            let wrapped = wrap::wrap(flow.faces, text, style.size, style.weight, place.width)?;
            lines = lines.max(wrapped.len());
        }
        let lines = f32::from(u16::try_from(lines).unwrap_or(u16::MAX));
        let height = lines * style.size * LEADING + 2.0 * PADDING;
        if flow.make_room(height + more) {
            if let Some(title) = &self.continued {
                flow.y = flow.column((LEFT, flow.y), WIDTH, title, STRONG)? + 3.0;
            }
            self.head(flow, places)?;
        }
        cells(flow, places, row, style)
    }
}

/// A row of texts; the flow is below it then.
fn cells(
    flow: &mut Flow<'_>,
    places: &[Place],
    row: &[String],
    style: Style,
) -> Result<(), DocumentError> {
    let top = flow.y + PADDING;
    let mut bottom = top;
    for (place, text) in places.iter().zip(row) {
        let lines = wrap::wrap(flow.faces, text, style.size, style.weight, place.width + 0.5)?;
        let mut y = top;
        for line in lines {
            if place.is_right {
                flow.text_right((place.x + place.width, y), &line, style)?;
            } else {
                flow.text((place.x, y), &line, style)?;
            }
            y += style.size * LEADING;
        }
        bottom = bottom.max(y);
    }
    flow.y = bottom + PADDING;
    Ok(())
}

fn rule(flow: &mut Flow<'_>, height: f32, colour: Colour) {
    let y = flow.y;
    flow.piece(Piece::Box { x: LEFT, y, width: WIDTH, height, colour });
    flow.y += height;
}
