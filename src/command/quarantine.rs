//! `permille usage quarantine list|book|dismiss`: usage that could not be booked when it came.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List payloads, the oldest first.
    List {
        /// Only those in this state: open, booked, dismissed.
        #[arg(long)]
        state: Option<String>,
    },
    /// Book one, now that what was wrong is mended.
    Book {
        /// Its id.
        id: String,
    },
    /// Say that one is not to be billed. It stays in the list.
    Dismiss {
        /// Its id.
        id: String,
        /// Why.
        #[arg(long)]
        note: String,
    },
}

/// A payload in a list.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    node: String,
    /// Absent in the answer of an earlier build, which settles none.
    #[serde(default)]
    state: String,
    reason: String,
    created_at: String,
    detail: String,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::List { state } => {
            let path = Path::of(&["usage", "quarantine"]).with("state", state.as_deref());
            let kept = api.list(&path).await?;
            context.output.list(&kept, |all| table(all.iter().map(AsRef::as_ref)))
        }
        Command::Book { id } => {
            let path = Path::of(&["usage", "quarantine", id, "book"]);
            let booked = api.post(&path, &json!({})).await?;
            context.output.one(&booked, |one| table(std::iter::once(one)))
        }
        Command::Dismiss { id, note } => {
            let path = Path::of(&["usage", "quarantine", id, "dismiss"]);
            let dismissed = api.post(&path, &json!({"note": note})).await?;
            context.output.one(&dismissed, |one| table(std::iter::once(one)))
        }
    }
}

fn table<'a>(kept: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("came (UTC)", Align::Left),
        ("node", Align::Left),
        ("request", Align::Left),
        ("state", Align::Left),
        ("reason", Align::Left),
        ("detail", Align::Left),
    ]);
    for one in kept {
        let one: Listed = view(one)?;
        let detail = match one.note {
            Some(note) => format!("{} ({note})", one.detail),
            None => one.detail,
        };
        grid.row([
            one.id,
            moment(&one.created_at),
            one.node,
            or_dash(one.request_id.as_ref()),
            one.state,
            one.reason,
            detail,
        ]);
    }
    Ok(grid.render("nothing is in quarantine"))
}
