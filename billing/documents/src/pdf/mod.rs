//! The pages as a PDF/A: laid out here, written by `krilla`, with every font that it uses inside.
//!
//! Why not a typesetter: decision 0017. Scripts that are joined or run from right to left are
//! refused, since nothing here shapes them; HTML shows them.

mod fonts;
mod layout;
mod logo;
mod write;

pub use fonts::{FontFile, Fonts};

use crate::{Document, DocumentError, Issuer, pages::View};

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
    out.extend(write::pdf(document, view, &faces, logo.as_ref(), &sheets)?);
    Ok(())
}
