//! The pages as one HTML file, with nothing outside of it: for a browser, and for its printer.

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::View;
use crate::{DocumentError, Issuer};

#[derive(Template)]
#[template(path = "document.html")]
struct Html<'v> {
    view: &'v View,
    /// A picture as a `data:` URL. As an image it runs no script, even if it is SVG.
    logo: Option<String>,
}

/// Writes the pages.
///
/// # Errors
/// [`DocumentError::Page`] when the template fails.
pub(crate) fn write(view: &View, issuer: &Issuer, out: &mut Vec<u8>) -> Result<(), DocumentError> {
    let logo = issuer
        .logo
        .as_ref()
        .map(|logo| format!("data:{};base64,{}", logo.media_type(), STANDARD.encode(&logo.bytes)));
    Html { view, logo }.write_into(out).map_err(DocumentError::Page)
}
