//! `permille openapi`: the description of the billing API. Pure: it needs no data folder.

use super::Context;
use crate::error::CliError;

/// Prints the document.
///
/// # Errors
/// [`CliError`] when standard output fails.
pub(crate) fn run(context: &Context) -> Result<(), CliError> {
    context.output.document(permille_service::openapi())
}
