//! `permille key create|list|revoke`: virtual API keys.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Context, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key; its secret is shown once.
    Create(Create),
    /// List the keys of a customer, or of all of them.
    List {
        /// Whose.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Revoke a key: within seconds, no request passes with it.
    Revoke {
        /// The key's public id.
        id: String,
    },
}

/// The new key.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Who is billed.
    #[arg(long)]
    customer: String,
    /// The cost centre; the customer's `default` one when absent.
    #[arg(long)]
    project: Option<String>,
    /// Requests per minute.
    #[arg(long, value_name = "N")]
    rpm: Option<u32>,
    /// Tokens per minute.
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Spending limit, such as "50 CNY/month".
    #[arg(long)]
    budget: Option<String>,
}

impl Create {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("customer".to_owned(), json!(self.customer));
        // Limits that nothing enforces yet are sent as well: refusing them is the API's word.
        let optional = [
            ("project", self.project.as_ref().map(|project| json!(project))),
            ("rpm", self.rpm.map(|rpm| json!(rpm))),
            ("tpm", self.tpm.map(|tpm| json!(tpm))),
            ("budget", self.budget.as_ref().map(|budget| json!(budget))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        }
        Value::Object(body)
    }
}

/// The part of a key that is printed.
#[derive(Debug, Deserialize)]
struct Key {
    id: String,
    customer: String,
    project: String,
    rpm: Option<u32>,
    created_at: String,
    revoked_at: Option<String>,
    /// Only in the answer to its creation.
    secret: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Create(create) => {
            let created = api.post(&Path::of(&["keys"]), &create.body()).await?;
            context.output.one(&created, secret)
        }
        Command::List { customer } => {
            let path = Path::of(&["keys"]).with("customer", customer.as_deref());
            let keys = api.list(&path).await?;
            context.output.list(&keys, |items| table(items.iter().map(AsRef::as_ref)))
        }
        Command::Revoke { id } => {
            let path = Path::of(&["keys", id, "revoke"]);
            let revoked = api.post(&path, &json!({})).await?;
            context.output.one(&revoked, |revoked| table(std::iter::once(revoked)))
        }
    }
}

fn secret(created: &RawValue) -> Result<String, CliError> {
    let key: Key = view(created)?;
    Ok(format!(
        "{}\n\nkey {} of customer {}, project {}; shown only this once: keep it.",
        key.secret.unwrap_or_default(),
        key.id,
        key.customer,
        key.project,
    ))
}

fn table<'a>(keys: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("customer", Align::Left),
        ("project", Align::Left),
        ("rpm", Align::Right),
        ("created (UTC)", Align::Left),
        ("revoked (UTC)", Align::Left),
    ]);
    for key in keys {
        let key: Key = view(key)?;
        let created = moment(&key.created_at);
        let revoked = key.revoked_at.as_deref().map_or_else(String::new, moment);
        grid.row([key.id, key.customer, key.project, or_dash(key.rpm.as_ref()), created, revoked]);
    }
    Ok(grid.render("no keys; create one with `permille key create --customer C`"))
}
