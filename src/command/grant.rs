//! `permille grant add|list`: prepaid credit.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, amount::Amount, moment, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid, grouped},
};

/// What to do with prepaid credit.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Grant prepaid credit to a customer.
    Add(Box<Add>),
    /// List grants and what is left of them.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
}

/// The grant.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The customer who gets it, by its id.
    #[arg(long)]
    customer: String,
    /// How much it pays in all, such as "100 CNY": another currency than the customer's is refused.
    #[arg(long, allow_negative_numbers = true)]
    amount: Amount,
    /// What was paid for it; nothing for a promotion.
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    paid: String,
    /// Lower pays first, 0 to 100.
    #[arg(long, default_value_t = 0)]
    priority: u32,
    /// First instant at which it pays (RFC 3339); now when absent.
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// First instant at which it pays no more (RFC 3339); never when absent.
    #[arg(long, value_name = "TIME")]
    expires: Option<DateTime<Utc>>,
    /// Only for models that match. May be repeated.
    #[arg(long = "model", value_name = "GLOB")]
    models: Vec<String>,
    /// What it is for.
    #[arg(long)]
    reason: String,
}

/// The part of a grant that a table shows.
#[derive(Debug, Deserialize)]
struct Grant {
    id: String,
    customer: String,
    currency: String,
    amount: String,
    left: String,
    priority: u32,
    expires_at: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Add(add) => {
            let body = json!({
                "customer": add.customer,
                "amount": add.amount.number,
                "currency": add.amount.currency,
                "paid": add.paid,
                "priority": add.priority,
                "from": add.from,
                "expires_at": add.expires,
                "models": add.models,
                "reason": add.reason,
            });
            let granted = api.post(&Path::of(&["grants"]), &body).await?;
            context.output.one(&granted, |granted| table(std::iter::once(granted)))
        }
        Command::List { customer } => {
            let path = Path::of(&["grants"]).with("customer", customer.as_deref());
            let grants = api.list(&path).await?;
            context.output.list(&grants, |grants| table(grants.iter().map(AsRef::as_ref)))
        }
    }
}

fn table<'a>(grants: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("customer", Align::Left),
        ("amount", Align::Right),
        ("left", Align::Right),
        ("", Align::Left),
        ("priority", Align::Right),
        ("expires (UTC)", Align::Left),
        ("models", Align::Left),
        ("reason", Align::Left),
    ]);
    for grant in grants {
        let grant: Grant = view(grant)?;
        grid.row([
            grant.id,
            grant.customer,
            grouped(&grant.amount),
            grouped(&grant.left),
            grant.currency,
            grant.priority.to_string(),
            grant.expires_at.map_or_else(|| "never".to_owned(), |at| moment(&at)),
            if grant.models.is_empty() { "all".to_owned() } else { grant.models.join(" ") },
            grant.reason,
        ]);
    }
    Ok(grid.render("no grants; make one with `permille grant add`"))
}
