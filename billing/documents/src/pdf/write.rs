//! Sheets to bytes.

use chrono::{Datelike, Timelike, Utc};
use krilla::{
    Document as Pdf, SerializeSettings,
    color::rgb,
    configure::{Archival, ConfigurationBuilder},
    geom::{PathBuilder, Point, Rect},
    metadata::{DateTime, Metadata},
    num::NormalizedF32,
    page::PageSettings,
    paint::Fill,
    surface::Surface,
    text::KrillaGlyph,
};

use super::{
    fonts::Faces,
    layout::{Colour, PAGE_HEIGHT, PAGE_WIDTH, Piece, Sheet},
    logo::Drawn,
};
use crate::DocumentError;

/// What a file says of itself.
pub(super) struct Head<'d> {
    pub(super) title: &'d str,
    pub(super) number: &'d str,
    /// As RFC 5646 tags it.
    pub(super) language: &'d str,
    /// When it was issued; absent on what is not kept.
    pub(super) at: Option<chrono::DateTime<Utc>>,
}

/// The file of these sheets.
///
/// Source: ISO 19005-2, conformance level U: fonts inside, and every glyph has its text.
pub(super) fn pdf(
    head: &Head<'_>,
    faces: &Faces,
    logo: Option<&Drawn>,
    sheets: &[Sheet],
) -> Result<Vec<u8>, DocumentError> {
    let failed = |cause: String| DocumentError::Pdf(cause);
    // What is kept for years has a date, and that is the day of issue; a draft is not kept.
    let configuration = match head.at {
        Some(_) => ConfigurationBuilder::new().with_archival_validator(Archival::A2_U),
        None => ConfigurationBuilder::new(),
    };
    let configuration = configuration.finish().map_err(|cause| failed(format!("{cause:?}")))?;
    let settings = SerializeSettings { configuration, ..SerializeSettings::default() };
    let mut pdf = Pdf::new_with(settings);
    pdf.set_metadata(metadata(head));
    for sheet in sheets {
        let page = PageSettings::from_wh(PAGE_WIDTH, PAGE_HEIGHT);
        let page = page.ok_or_else(|| failed("a page has no size".to_owned()))?;
        let mut page = pdf.start_page_with(page);
        let mut surface = page.surface();
        for piece in &sheet.pieces {
            draw(&mut surface, faces, logo, piece)?;
        }
        surface.finish();
        page.finish();
    }
    pdf.finish().map_err(|cause| failed(cause.to_string()))
}

fn metadata(head: &Head<'_>) -> Metadata {
    let title = format!("{} {}", head.title, head.number);
    let mut metadata = Metadata::new()
        .title(title)
        .language(head.language.to_owned())
        .producer("Permille".to_owned())
        .document_id(head.number.to_owned());
    if let Some(at) = head.at {
        let part = |part: u32| u8::try_from(part).unwrap_or_default();
        let date = DateTime::new(u16::try_from(at.year()).unwrap_or_default())
            .month(part(at.month()))
            .day(part(at.day()))
            .hour(part(at.hour()))
            .minute(part(at.minute()))
            .second(part(at.second()))
            .utc_offset_hour(0)
            .utc_offset_minute(0);
        metadata = metadata.creation_date(date);
    }
    metadata
}

fn draw(
    surface: &mut Surface<'_>,
    faces: &Faces,
    logo: Option<&Drawn>,
    piece: &Piece,
) -> Result<(), DocumentError> {
    match piece {
        Piece::Box { x, y, width, height, colour } => {
            let mut path = PathBuilder::new();
            let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { return Ok(()) };
            path.push_rect(rect);
            if let Some(path) = path.finish() {
                surface.set_fill(Some(fill(*colour)));
                surface.draw_path(&path);
            }
        }
        Piece::Logo { x, y, width } => {
            if let Some(logo) = logo {
                logo.draw(surface, (*x, *y), *width);
            }
        }
        Piece::Text { x, y, size, weight, colour, text } => {
            surface.set_fill(Some(fill(*colour)));
            let mut x = *x;
            let mut run: Vec<KrillaGlyph> = Vec::new();
            let mut face = None;
            let mut begins = x;
            for (at, character) in text.char_indices() {
                let glyph = faces.glyph(character, *weight, text)?;
                if face != Some(glyph.face) {
                    draw_run(surface, faces, face, (begins, *y), *size, text, &run);
                    run.clear();
                    face = Some(glyph.face);
                    begins = x;
                }
                let range = at..at.saturating_add(character.len_utf8());
                run.push(KrillaGlyph::new(glyph.id, glyph.advance, 0.0, 0.0, 0.0, range, None));
                x += glyph.advance * size;
            }
            draw_run(surface, faces, face, (begins, *y), *size, text, &run);
        }
    }
    Ok(())
}

fn draw_run(
    surface: &mut Surface<'_>,
    faces: &Faces,
    face: Option<usize>,
    (x, y): (f32, f32),
    size: f32,
    text: &str,
    run: &[KrillaGlyph],
) {
    if let Some(font) = face.and_then(|face| faces.font(face)).filter(|_| !run.is_empty()) {
        surface.draw_glyphs(Point::from_xy(x, y), run, font, text, size, false);
    }
}

fn fill(Colour(red, green, blue): Colour) -> Fill {
    Fill {
        paint: rgb::Color::new(red, green, blue).into(),
        opacity: NormalizedF32::ONE,
        ..Fill::default()
    }
}
