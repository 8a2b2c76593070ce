//! `permille plan add|list|show`: terms of contracts.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, terms, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add the `[[plan]]` entries of a file.
    Add {
        /// The file, in TOML.
        file: PathBuf,
    },
    /// List the plans.
    List,
    /// Show one plan.
    Show {
        /// Its name, which shows the latest of that name, or its version.
        name: String,
    },
}

/// The part of a plan that people see.
#[derive(Debug, Deserialize)]
struct Plan {
    version: String,
    name: String,
    kind: String,
    currency: String,
    added_at: String,
    terms: String,
}

/// What was added.
#[derive(Debug, Deserialize)]
struct Added {
    items: Vec<Box<RawValue>>,
}

/// A customer's plan from an instant on.
#[derive(Debug, Deserialize)]
struct Assigned {
    from: String,
    plan: Option<String>,
    version: Option<String>,
    trial_until: Option<String>,
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
            let Added { items } = view(&api.post(&Path::of(&["plans"]), &body).await?)?;
            context.output.list(&items, table)
        }
        Command::List => {
            let plans = api.list(&Path::of(&["plans"])).await?;
            context.output.list(&plans, table)
        }
        Command::Show { name } => {
            let plan = api.get(&Path::of(&["plans", name])).await?;
            context.output.one(&plan, text)
        }
    }
}

fn table(plans: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("name", Align::Left),
        ("kind", Align::Left),
        ("currency", Align::Left),
        ("added (UTC)", Align::Left),
        ("version", Align::Left),
    ]);
    for plan in plans {
        let plan: Plan = view(plan)?;
        grid.row([plan.name, plan.kind, plan.currency, moment(&plan.added_at), plan.version]);
    }
    Ok(grid.render("no plans; add some with `permille plan add FILE`"))
}

fn text(plan: &RawValue) -> Result<String, CliError> {
    let plan: Plan = view(plan)?;
    let added = moment(&plan.added_at);
    Ok(format!("plan {}, added {added}\n\n{}", plan.version, plan.terms.trim_end()))
}

/// Which plans a customer has had and will have.
///
/// # Errors
/// [`CliError`] when an item is not what this version expects.
pub(crate) fn of_customer(plans: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("from (UTC)", Align::Left),
        ("plan", Align::Left),
        ("trial until (UTC)", Align::Left),
        ("version", Align::Left),
    ]);
    for plan in plans {
        let plan: Assigned = view(plan)?;
        grid.row([
            moment(&plan.from),
            plan.plan.unwrap_or_else(|| "none".to_owned()),
            plan.trial_until.map_or_else(String::new, |until| moment(&until)),
            plan.version.unwrap_or_default(),
        ]);
    }
    Ok(grid.render("no plan; give one with `permille customer set ID --plan NAME`"))
}
