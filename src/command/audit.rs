//! `permille audit NOUN ID`: who changed what, when.

use clap::Args;

use super::{Context, history};
use crate::{api::Path, error::CliError};

/// The changes of what.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// What kind of thing: charge, customer, fx, invoice, key, period, plan, prices, project,
    /// quarantine, reconciliation, token, webhook.
    noun: String,
    /// Its id: a charge's version, a plan's name, a month; `rates` of fx and `book` of prices.
    id: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, audit: &Audit) -> Result<(), CliError> {
    let api = context.api().await?;
    let path = Path::of(&["audit"]).with("noun", Some(&audit.noun)).with("id", Some(&audit.id));
    let entries = api.list(&path).await?;
    context.output.list(&entries, history::table)
}
