//! Where a report stands on its sheets: facts, tables, and places to sign.

use super::{
    ACCENT, BODY, Column, Flow, INK, LABEL, LEADING, LEFT, PAGE_WIDTH, Piece, RIGHT, STRONG, Sheet,
    Style, TEXT, TOP, Table, WIDTH,
};
use crate::{
    DocumentError, Statement, StatementSection, StatementSignature,
    pdf::fonts::{Faces, Weight},
    text,
    words::Words,
};

/// Wide enough for the labels of facts.
const LABELS: f32 = 84.0;
/// Between two places to sign.
const GAP: f32 = 28.0;
/// Room to write above a line.
const HAND: f32 = 42.0;
/// Places to sign beside each other.
const ABREAST: usize = 3;

/// Lays out everything that the report says.
pub(in crate::pdf) fn lay_out(
    statement: &Statement,
    faces: &Faces,
) -> Result<Vec<Sheet>, DocumentError> {
    let mut flow =
        Flow { faces, document: &statement.number, sheets: vec![Sheet::default()], y: TOP };
    let (title, number) = (text::line(&statement.title), text::line(&statement.number));
    flow.piece(Piece::Box { x: 0.0, y: 0.0, width: PAGE_WIDTH, height: 5.0, colour: ACCENT });
    let large = Style { size: 20.0, weight: Weight::Bold, colour: INK };
    flow.text((LEFT, flow.y - 8.0), &title, large)?;
    flow.y += 20.0;
    flow.text((LEFT, flow.y), &number, Style { size: 11.0, ..LABEL })?;
    flow.y += 26.0;
    for (label, told) in &statement.facts {
        flow.fact(&text::line(label), &text::line(told))?;
    }
    for section in &statement.sections {
        flow.section(section)?;
    }
    flow.signatures(&statement.signatures)?;
    flow.feet(&Words::ENGLISH, &format!("{title} {number}"))?;
    Ok(flow.sheets)
}

impl Flow<'_> {
    fn fact(&mut self, label: &str, told: &str) -> Result<(), DocumentError> {
        self.make_room(2.0 * TEXT * LEADING);
        let top = self.y;
        let below = self.column((LEFT, top + 0.8), LABELS - 8.0, label, LABEL)?;
        let end = self.column((LEFT + LABELS, top), WIDTH - LABELS, told, BODY)?;
        self.y = below.max(end) + 1.0;
        Ok(())
    }

    fn section(&mut self, section: &StatementSection) -> Result<(), DocumentError> {
        self.heading(&text::line(&section.heading))?;
        if !section.rows.is_empty() {
            let labels: Vec<(String, bool)> =
                section.columns.iter().map(|(label, of)| (text::line(label), *of)).collect();
            let columns: Vec<Column<'_>> = labels
                .iter()
                .map(
                    |(label, is_number)| {
                        if *is_number { Column::right(label) } else { Column::left(label, 1.0) }
                    },
                )
                .collect();
            let safe = |row: &Vec<String>| row.iter().map(|cell| text::line(cell)).collect();
            Table::new(&columns, section.rows.iter().map(safe).collect()).set(self)?;
        }
        if !section.rows.is_empty() && !section.texts.is_empty() {
            self.y += 4.0;
        }
        let texts: Vec<String> = section.texts.iter().map(|told| text::line(told)).collect();
        self.paragraphs(&texts, BODY)
    }

    /// Lines to write on, and what those say who have signed already.
    fn signatures(&mut self, signatures: &[StatementSignature]) -> Result<(), DocumentError> {
        for signature in signatures {
            if let Some(signed) = &signature.signed {
                self.y += 12.0;
                self.make_room(4.0 * TEXT * LEADING);
                self.text((LEFT, self.y), &text::line(&signature.label), STRONG)?;
                self.y += TEXT * LEADING;
                self.paragraphs(&[text::line(signed)], BODY)?;
            }
        }
        let open: Vec<&StatementSignature> =
            signatures.iter().filter(|signature| signature.signed.is_none()).collect();
        let width = (WIDTH - 2.0 * GAP) / 3.0;
        for some in open.chunks(ABREAST) {
            self.make_room(HAND + 2.0 * TEXT * LEADING);
            self.y += HAND;
            let (mut x, y) = (LEFT, self.y);
            for signature in some {
                self.piece(Piece::Box { x, y, width, height: 0.8, colour: INK });
                self.column((x, y + 4.0), width, &text::line(&signature.label), LABEL)?;
                x = (x + width + GAP).min(RIGHT);
            }
            self.y += 2.0 * TEXT * LEADING;
        }
        Ok(())
    }
}
