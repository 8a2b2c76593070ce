//! `permille customer add|list|show`: who is billed.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with customers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a customer.
    Add(Add),
    /// List the customers.
    List,
    /// Show one customer.
    Show {
        /// Its id.
        id: String,
    },
}

/// The new customer.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Name on invoices.
    name: String,
    /// Id on rows and in the API; made from the name when absent.
    #[arg(long)]
    id: Option<String>,
    /// Billing currency: CNY or USD.
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Billing time zone: where a month begins and ends, such as Asia/Shanghai.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
}

/// The part of a customer that a table shows.
#[derive(Debug, Deserialize)]
struct Customer {
    id: String,
    name: String,
    currency: String,
    time_zone: String,
    created_at: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Add(add) => {
            let mut body = json!({
                "name": add.name,
                "currency": add.currency,
                "time_zone": add.time_zone,
            });
            if let (Some(id), Some(body)) = (&add.id, body.as_object_mut()) {
                body.insert("id".to_owned(), json!(id));
            }
            let added = api.post(&Path::of(&["customers"]), &body).await?;
            context.output.one(&added, |added| table(std::iter::once(added)))
        }
        Command::List => {
            let customers = api.list(&Path::of(&["customers"])).await?;
            context.output.list(&customers, |items| table(items.iter().map(AsRef::as_ref)))
        }
        Command::Show { id } => {
            let found = api.get(&Path::of(&["customers", id])).await?;
            context.output.one(&found, |found| table(std::iter::once(found)))
        }
    }
}

fn table<'a>(customers: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("name", Align::Left),
        ("currency", Align::Left),
        ("time zone", Align::Left),
        ("created (UTC)", Align::Left),
    ]);
    for customer in customers {
        let customer: Customer = view(customer)?;
        let created = moment(&customer.created_at);
        grid.row([customer.id, customer.name, customer.currency, customer.time_zone, created]);
    }
    Ok(grid.render("no customers yet; add one with `permille customer add NAME`"))
}
