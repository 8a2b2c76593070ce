//! `permille charge add|list|show|end`: prices of the sum of a month.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, terms, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with charges.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add the `[[charge]]` entries of a file.
    Add {
        /// The file, in TOML.
        file: PathBuf,
    },
    /// List the charges.
    List,
    /// Show one charge.
    Show {
        /// Its version, as invoices name it.
        version: String,
    },
    /// Let a charge end: months that begin at `--until` or later are not priced by it.
    End {
        /// Its version.
        version: String,
        /// From when on (RFC 3339).
        #[arg(long, value_name = "TIME")]
        until: DateTime<Utc>,
    },
}

/// The part of a charge that people see.
#[derive(Debug, Deserialize)]
struct Charge {
    version: String,
    name: String,
    #[serde(default)]
    customer: Option<String>,
    currency: String,
    from: String,
    #[serde(default)]
    until: Option<String>,
    models: Vec<String>,
    per: String,
    terms: String,
}

/// What was added.
#[derive(Debug, Deserialize)]
struct Added {
    items: Vec<Box<RawValue>>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Add { file } => {
            let body = json!({"toml": terms(file)?});
            let Added { items } = view(&api.post(&Path::of(&["charges"]), &body).await?)?;
            context.output.list(&items, table)
        }
        Command::List => {
            let charges = api.list(&Path::of(&["charges"])).await?;
            context.output.list(&charges, table)
        }
        Command::Show { version } => {
            let charge = api.get(&Path::of(&["charges", version])).await?;
            context.output.one(&charge, text)
        }
        Command::End { version, until } => {
            let body = json!({"until": until});
            let ended = api.post(&Path::of(&["charges", version, "end"]), &body).await?;
            context.output.one(&ended, text)
        }
    }
}

fn table(charges: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("name", Align::Left),
        ("customer", Align::Left),
        ("models", Align::Left),
        ("per", Align::Left),
        ("currency", Align::Left),
        ("from (UTC)", Align::Left),
        ("until (UTC)", Align::Left),
        ("version", Align::Left),
    ]);
    for charge in charges {
        let charge: Charge = view(charge)?;
        grid.row([
            charge.name,
            charge.customer.unwrap_or_else(|| "everyone".to_owned()),
            charge.models.join(" "),
            charge.per,
            charge.currency,
            moment(&charge.from),
            charge.until.map_or_else(String::new, |until| moment(&until)),
            charge.version,
        ]);
    }
    Ok(grid.render("no charges; add some with `permille charge add FILE`"))
}

fn text(charge: &RawValue) -> Result<String, CliError> {
    let charge: Charge = view(charge)?;
    let until = charge.until.map_or_else(|| "open".to_owned(), |until| moment(&until));
    let from = moment(&charge.from);
    Ok(format!(
        "charge {}, from {from} until {until}\n\n{}",
        charge.version,
        charge.terms.trim_end()
    ))
}
