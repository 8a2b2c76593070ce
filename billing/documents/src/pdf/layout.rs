//! Where everything stands on A4 sheets: head, parties, what is due, tables that go on over pages.

mod statement;
mod table;
mod wrap;

use super::fonts::{Faces, Weight, refuse_shaped};
use crate::{
    Document, DocumentError,
    pages::{SessionLine, View},
    words::Words,
};
pub(super) use statement::lay_out as lay_out_statement;
use table::{Column, Table};

/// A4, in points.
pub(super) const PAGE_WIDTH: f32 = 595.28;
pub(super) const PAGE_HEIGHT: f32 = 841.89;
const LEFT: f32 = 46.0;
const RIGHT: f32 = PAGE_WIDTH - LEFT;
const WIDTH: f32 = RIGHT - LEFT;
const TOP: f32 = 52.0;
/// Nothing but the foot is below.
const BOTTOM: f32 = PAGE_HEIGHT - 62.0;
/// From one line of text to the next, in sizes of the text.
const LEADING: f32 = 1.38;
const TEXT: f32 = 9.0;
const SMALL: f32 = 7.8;
/// Largest picture at the head.
const LOGO: (f32, f32) = (150.0, 48.0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u8, pub(super) u8, pub(super) u8);

const INK: Colour = Colour(27, 36, 48);
const SOFT: Colour = Colour(92, 103, 115);
const RULE: Colour = Colour(216, 222, 229);
const ACCENT: Colour = Colour(11, 110, 99);
const TINT: Colour = Colour(240, 246, 245);
const ALERT: Colour = Colour(179, 84, 30);

/// Something on a sheet, with its place from the upper left corner.
#[derive(Debug)]
pub(super) enum Piece {
    Text { x: f32, y: f32, size: f32, weight: Weight, colour: Colour, text: String },
    Box { x: f32, y: f32, width: f32, height: f32, colour: Colour },
    Logo { x: f32, y: f32, width: f32 },
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) pieces: Vec<Piece>,
}

/// How a text is set.
#[derive(Debug, Clone, Copy)]
struct Style {
    size: f32,
    weight: Weight,
    colour: Colour,
}

const BODY: Style = Style { size: TEXT, weight: Weight::Regular, colour: INK };
const STRONG: Style = Style { size: TEXT, weight: Weight::Bold, colour: INK };
const LABEL: Style = Style { size: SMALL, weight: Weight::Regular, colour: SOFT };

/// Sheets that fill up from the top.
struct Flow<'f> {
    faces: &'f Faces,
    document: &'f str,
    sheets: Vec<Sheet>,
    y: f32,
}

/// Lays out everything that the pages say.
pub(super) fn lay_out(
    document: &Document,
    view: &View,
    faces: &Faces,
    logo: Option<(f32, f32)>,
) -> Result<Vec<Sheet>, DocumentError> {
    let name = document.shown_number();
    let mut flow = Flow { faces, document: name, sheets: vec![Sheet::default()], y: TOP };
    flow.head(view, logo)?;
    flow.parties(view)?;
    flow.due(view)?;
    flow.summary(view)?;
    flow.taxes(view)?;
    if !view.payment.is_empty() {
        flow.heading(view.words.payment)?;
        flow.paragraphs(&view.payment, BODY)?;
    }
    flow.detail(view)?;
    flow.charges(view)?;
    flow.sessions(view)?;
    flow.standing(view)?;
    if !view.notes.is_empty() {
        flow.heading(view.words.notes)?;
        flow.paragraphs(&view.notes, BODY)?;
    }
    flow.verify(view)?;
    flow.feet(&view.words, &format!("{} {}", view.title, view.number))?;
    Ok(flow.sheets)
}

impl Flow<'_> {
    fn piece(&mut self, piece: Piece) {
        if let Some(sheet) = self.sheets.last_mut() {
            sheet.pieces.push(piece);
        }
    }

    /// Starts a sheet if `height` does not fit on this one any more. Whether it did.
    fn make_room(&mut self, height: f32) -> bool {
        let is_full = self.y + height > BOTTOM && self.y > TOP;
        if is_full {
            self.sheets.push(Sheet::default());
            self.y = TOP;
        }
        is_full
    }

    /// A text on one line; `y` is its top.
    fn text(&mut self, (x, y): (f32, f32), text: &str, style: Style) -> Result<(), DocumentError> {
        refuse_shaped(text, self.document)?;
        let Style { size, weight, colour } = style;
        // The baseline: an ascent of nearly one size.
        let y = y + size;
        // Nothing is set that cannot be drawn later.
        self.faces.width(text, size, weight)?;
        self.piece(Piece::Text { x, y, size, weight, colour, text: text.to_owned() });
        Ok(())
    }

    fn text_right(
        &mut self,
        (right, y): (f32, f32),
        text: &str,
        style: Style,
    ) -> Result<(), DocumentError> {
        let width = self.faces.width(text, style.size, style.weight)?;
        self.text((right - width, y), text, style)
    }

    /// Lines from `y` down in a column; gives the place below.
    fn column(
        &mut self,
        (x, mut y): (f32, f32),
        width: f32,
        text: &str,
        style: Style,
    ) -> Result<f32, DocumentError> {
        for line in wrap::wrap(self.faces, text, style.size, style.weight, width)? {
            self.text((x, y), &line, style)?;
            y += style.size * LEADING;
        }
        Ok(y)
    }

    /// Paragraphs over the whole width.
    fn paragraphs(&mut self, texts: &[String], style: Style) -> Result<(), DocumentError> {
        for text in texts {
            for line in wrap::wrap(self.faces, text, style.size, style.weight, WIDTH)? {
                self.make_room(style.size * LEADING);
                self.text((LEFT, self.y), &line, style)?;
                self.y += style.size * LEADING;
            }
        }
        Ok(())
    }

    fn heading(&mut self, text: &str) -> Result<(), DocumentError> {
        // With the beginning of what it is over.
        self.make_room(80.0);
        self.y += if self.y > TOP { 16.0 } else { 0.0 };
        let style = Style { size: 12.0, weight: Weight::Bold, colour: ACCENT };
        self.text((LEFT, self.y), text, style)?;
        self.y += 20.0;
        Ok(())
    }

    fn head(&mut self, view: &View, logo: Option<(f32, f32)>) -> Result<(), DocumentError> {
        self.piece(Piece::Box { x: 0.0, y: 0.0, width: PAGE_WIDTH, height: 5.0, colour: ACCENT });
        if let Some((width, height)) = logo.filter(|(width, height)| *width > 0.0 && *height > 0.0)
        {
            let scale = (LOGO.0 / width).min(LOGO.1 / height);
            let width = width * scale;
            self.piece(Piece::Logo { x: RIGHT - width, y: TOP - 8.0, width });
        }
        let title = Style { size: 24.0, weight: Weight::Bold, colour: INK };
        self.text((LEFT, self.y - 8.0), view.title, title)?;
        self.y += 24.0;
        self.text((LEFT, self.y), &view.number, Style { size: 11.0, ..LABEL })?;
        self.y += 18.0;
        if let Some(stamp) = view.stamp {
            let style = Style { size: 10.0, weight: Weight::Bold, colour: ALERT };
            let width = self.faces.width(stamp, style.size, style.weight)? + 12.0;
            let (x, y, height) = (LEFT, self.y, 17.0);
            for (x, y, width, height) in [
                (x, y, width, 1.0),
                (x, y + height, width, 1.0),
                (x, y, 1.0, height),
                (x + width - 1.0, y, 1.0, height),
            ] {
                self.piece(Piece::Box { x, y, width, height, colour: ALERT });
            }
            self.text((x + 6.0, y + 2.5), stamp, style)?;
            self.y += 24.0;
        }
        self.y = self.y.max(TOP + LOGO.1) + 14.0;
        Ok(())
    }

    fn parties(&mut self, view: &View) -> Result<(), DocumentError> {
        let (begin, mut end) = (self.y, self.y);
        let wide = (WIDTH - 32.0) * 0.29;
        let columns = [
            (LEFT, view.words.from, &view.seller),
            (LEFT + wide + 16.0, view.words.bill_to, &view.buyer),
        ];
        for (x, label, lines) in columns {
            if lines.is_empty() {
                continue;
            }
            let mut y = self.column((x, begin), wide, label, LABEL)?;
            for (place, line) in lines.iter().enumerate() {
                let style = if place == 0 { STRONG } else { BODY };
                y = self.column((x, y), wide, line, style)?;
            }
            end = end.max(y);
        }
        let x = LEFT + (wide + 16.0) * 2.0;
        let wide = RIGHT - x;
        let mut label_width: f32 = 0.0;
        for (label, _) in &view.facts {
            label_width = label_width.max(self.faces.width(label, SMALL, Weight::Regular)?);
        }
        let label_width = label_width.min(wide / 2.0) + 8.0;
        let mut y = begin;
        for (label, text) in &view.facts {
            let below = self.column((x, y + 0.8), label_width - 4.0, label, LABEL)?;
            let told = self.column((x + label_width, y), wide - label_width, text, BODY)?;
            y = below.max(told);
        }
        self.y = end.max(y) + 14.0;
        Ok(())
    }

    fn due(&mut self, view: &View) -> Result<(), DocumentError> {
        let height = 40.0;
        self.make_room(height);
        let y = self.y;
        self.piece(Piece::Box { x: LEFT, y, width: WIDTH, height, colour: TINT });
        self.piece(Piece::Box { x: LEFT, y, width: 3.0, height, colour: ACCENT });
        let top = if view.amount_note.is_some() { y + 8.0 } else { y + 14.0 };
        self.text((LEFT + 14.0, top), view.amount_label, STRONG)?;
        if let Some(note) = &view.amount_note {
            self.text((LEFT + 14.0, y + 21.5), note, LABEL)?;
        }
        let amount = Style { size: 18.0, weight: Weight::Bold, colour: INK };
        self.text_right((RIGHT - 14.0, y + 10.0), &view.amount, amount)?;
        self.y += height;
        Ok(())
    }

    fn summary(&mut self, view: &View) -> Result<(), DocumentError> {
        let words = &view.words;
        self.heading(words.summary)?;
        let projects: Vec<(String, String)> = view
            .projects
            .iter()
            .map(|project| (project.name.clone(), project.subtotal.clone()))
            .collect();
        for (label, rows) in [(words.by_model, &view.models), (words.by_project, &projects)] {
            if rows.len() > 1 {
                let columns = [Column::left(label, 1.0), Column::right(words.amount)];
                let rows = rows.iter().map(|(name, amount)| vec![name.clone(), amount.clone()]);
                Table::new(&columns, rows.collect()).set(self)?;
                self.y += 10.0;
            }
        }
        let left = LEFT + WIDTH * 0.52;
        for (label, amount, is_grand) in &view.totals {
            self.make_room(24.0);
            let size = if *is_grand { 11.5 } else { TEXT };
            let weight = if *is_grand { Weight::Bold } else { Weight::Regular };
            let style = Style { size, weight, colour: INK };
            if *is_grand {
                let (y, width) = (self.y, RIGHT - left);
                self.piece(Piece::Box { x: left, y, width, height: 1.0, colour: INK });
                self.y += 5.0;
            }
            self.text((left, self.y), label, style)?;
            self.text_right((RIGHT, self.y), amount, style)?;
            self.y += size * LEADING + 2.0;
        }
        Ok(())
    }

    fn taxes(&mut self, view: &View) -> Result<(), DocumentError> {
        let words = &view.words;
        self.heading(words.tax_summary)?;
        if !view.taxes.is_empty() {
            let columns = [
                Column::left(words.tax, 1.0),
                Column::right(words.rate),
                Column::right(words.base),
                Column::right(words.amount),
            ];
            let rows = view.taxes.iter().map(|tax| {
                vec![tax.name.clone(), tax.rate.clone(), tax.base.clone(), tax.amount.clone()]
            });
            Table::new(&columns, rows.collect()).set(self)?;
        }
        let note: Vec<String> = view.tax_note.iter().cloned().collect();
        self.paragraphs(&note, BODY)
    }

    fn detail(&mut self, view: &View) -> Result<(), DocumentError> {
        let words = &view.words;
        if view.projects.is_empty() {
            return Ok(());
        }
        self.heading(words.detail)?;
        let columns = [
            Column::left(words.line, 0.16),
            Column::left(words.model, 1.0),
            Column::left(words.class, 0.95),
            Column::right(words.thousands),
            Column::right(words.price),
            Column::right(words.amount),
        ];
        for project in &view.projects {
            self.make_room(70.0);
            let name = format!("{}: {}", words.project, project.name);
            self.y = self.column((LEFT, self.y), WIDTH, &name, STRONG)?;
            if project.id != project.name {
                self.y = self.column((LEFT, self.y), WIDTH, &project.id, LABEL)?;
            }
            self.y += 3.0;
            let rows = project.rows.iter().map(|row| {
                vec![
                    row.number.clone(),
                    row.model.clone(),
                    row.class.clone(),
                    row.quantity.clone(),
                    row.price.clone(),
                    row.amount.clone(),
                ]
            });
            let mut sum = vec![String::new(); columns.len()];
            for (place, text) in [(1, words.subtotal), (5, project.subtotal.as_str())] {
                if let Some(cell) = sum.get_mut(place) {
                    text.clone_into(cell);
                }
            }
            let again = format!("{name} {}", words.continued);
            Table::new(&columns, rows.collect()).with_sum(sum).continued(again).set(self)?;
            self.y += 12.0;
        }
        Ok(())
    }

    fn charges(&mut self, view: &View) -> Result<(), DocumentError> {
        let words = &view.words;
        if view.charges.is_empty() {
            return Ok(());
        }
        self.heading(words.charges)?;
        let columns = [
            Column::left(words.charge, 0.8),
            Column::left(words.step, 1.0),
            Column::right(words.quantity),
            Column::right(words.unit_price),
            Column::right(words.amount),
        ];
        let rows = view.charges.iter().map(|row| {
            vec![
                row.name.clone(),
                row.step.clone(),
                row.quantity.clone(),
                row.price.clone(),
                row.amount.clone(),
            ]
        });
        Table::new(&columns, rows.collect()).set(self)
    }

    fn sessions(&mut self, view: &View) -> Result<(), DocumentError> {
        let Some(sessions) = &view.sessions else { return Ok(()) };
        let words = &view.words;
        self.heading(words.sessions_of)?;
        let columns = [
            Column::left(words.session, 1.0),
            Column::right(words.requests),
            Column::right(words.turns),
            Column::right(words.input_tokens),
            Column::right(words.resent),
            Column::right(words.amount),
        ];
        let row = |line: &SessionLine| {
            vec![
                line.name.clone(),
                line.requests.clone(),
                line.turns.clone(),
                line.input.clone(),
                line.resent.clone(),
                line.amount.clone(),
            ]
        };
        let rows = sessions.rows.iter().map(row).collect();
        Table::new(&columns, rows).with_sum(row(&sessions.all)).set(self)?;
        self.y += 4.0;
        self.paragraphs(&[words.resent_note.to_owned()], LABEL)
    }

    fn standing(&mut self, view: &View) -> Result<(), DocumentError> {
        if view.standing.is_empty() {
            return Ok(());
        }
        self.y += 12.0;
        for (label, amount) in &view.standing {
            self.make_room(TEXT * LEADING);
            self.text((LEFT, self.y), label, BODY)?;
            self.text_right((LEFT + WIDTH / 2.0, self.y), amount, BODY)?;
            self.y += TEXT * LEADING;
        }
        self.paragraphs(&[view.words.standing_note.to_owned()], LABEL)
    }

    fn verify(&mut self, view: &View) -> Result<(), DocumentError> {
        let words = &view.words;
        self.heading(words.verify)?;
        self.paragraphs(&[words.verify_lines.to_owned()], LABEL)?;
        if !view.records.is_empty() {
            self.paragraphs(&[words.verify_records.to_owned()], LABEL)?;
            let columns = [
                Column::left(words.month, 0.16),
                Column::right(words.requests),
                Column::left(words.root, 1.0),
            ];
            let rows = view.records.iter().map(|records| {
                vec![records.month.clone(), records.size.clone(), records.root.clone()]
            });
            Table::new(&columns, rows.collect()).set(self)?;
            self.y += 4.0;
        }
        let mut texts = Vec::new();
        if let Some(digest) = &view.digest {
            texts.push(words.verify_digest.to_owned());
            texts.push(digest.clone());
        }
        if let Some(command) = &view.command {
            texts.push(words.verify_command.to_owned());
            texts.push(command.clone());
        }
        self.paragraphs(&texts, LABEL)
    }

    /// The foot of every sheet, now that their number is known, and what the later ones belong to.
    fn feet(&mut self, words: &Words, name: &str) -> Result<(), DocumentError> {
        let sheets = std::mem::take(&mut self.sheets);
        let count = sheets.len();
        for (place, sheet) in (1..).zip(sheets) {
            self.sheets.push(sheet);
            let y = PAGE_HEIGHT - 44.0;
            self.piece(Piece::Box { x: LEFT, y, width: WIDTH, height: 0.6, colour: RULE });
            self.text((LEFT, y + 6.0), words.generated, LABEL)?;
            let page = format!("{} {place} {} {count} {}", words.page, words.of, words.pages_end);
            self.text_right((RIGHT, y + 6.0), page.trim_end(), LABEL)?;
            if place > 1 {
                self.text_right((RIGHT, 26.0), name, LABEL)?;
            }
        }
        Ok(())
    }
}
