//! `permille config check`: is the configuration usable, and what is it in effect?

use super::Context;
use crate::error::CliError;

/// Checks every source and prints what they amount to, secrets masked.
///
/// # Errors
/// [`CliError::Config`] names the source and the key, or the variable or file that is missing.
pub(crate) fn check(context: &Context) -> Result<(), CliError> {
    let config = context.config()?;
    // A start would fail without them, so the check does.
    config.check_files()?;
    if config.settings.billing.url.is_none() {
        config.store_to_open(&context.data)?;
    }
    if context.output.is_json() {
        return context.output.document(&config.to_json()?);
    }
    context.output.line(config.to_toml()?.trim_end())
}
