//! The pages as a PDF/A: laid out here, written by `krilla`, with every font that it uses inside.
//!
//! Why not a typesetter: decision 0017. Scripts that are joined or run from right to left are
//! refused, since nothing here shapes them; HTML shows them.

mod fonts;
mod layout;
mod logo;
mod write;

pub use fonts::{FontFile, Fonts};

use crate::{Document, DocumentError, Issuer, Statement, pages::View, words::Words};

/// Writes the pages.
///
/// # Errors
/// [`DocumentError`] when a character has no font, the logo cannot be drawn or the script is not
/// one that can be set here.
pub(crate) fn write(
    document: &Document,
    view: &View,
    issuer: &Issuer,
    fonts: &Fonts,
    out: &mut Vec<u8>,
) -> Result<(), DocumentError> {
    let faces = fonts::Faces::open(fonts)?;
    let logo = issuer.logo.as_ref().map(logo::read).transpose()?;
    let size = logo.as_ref().map(logo::Drawn::size);
    let sheets = layout::lay_out(document, view, &faces, size)?;
    let head = write::Head {
        title: view.title,
        number: &view.number,
        language: view.words.tag,
        at: document.issued_at,
    };
    out.extend(write::pdf(&head, &faces, logo.as_ref(), &sheets)?);
    Ok(())
}

/// The pages of a report.
///
/// # Errors
/// [`DocumentError`] when a character has no font or the script is not one that can be set here.
pub(crate) fn write_statement(
    statement: &Statement,
    fonts: &Fonts,
) -> Result<Vec<u8>, DocumentError> {
    let faces = fonts::Faces::open(fonts)?;
    let sheets = layout::lay_out_statement(statement, &faces)?;
    let head = write::Head {
        title: &statement.title,
        number: &statement.number,
        language: Words::ENGLISH.tag,
        at: Some(statement.at),
    };
    write::pdf(&head, &faces, None, &sheets)
}
