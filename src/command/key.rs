//! `permille key create|list|limit|revoke`: virtual API keys.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Context, limits, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a key; its secret is shown once.
    Create(Box<Create>),
    /// List the keys of a customer, or of all of them.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show or change the limits of a key; what was used so far stays used.
    #[command(alias = "update")]
    Limit {
        /// The key's public id.
        id: String,
        #[command(flatten)]
        limits: Box<limits::Flags>,
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
    #[command(flatten)]
    limits: limits::Flags,
}

impl Create {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("customer".to_owned(), json!(self.customer));
        if let Some(project) = &self.project {
            body.insert("project".to_owned(), json!(project));
        }
        self.limits.insert_into(&mut body);
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
    #[serde(default)]
    limits: limits::Limits,
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
        Command::Limit { id, limits } => {
            limits.run(context, &api, &Path::of(&["keys", id, "limits"])).await
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
        ("tpm", Align::Right),
        ("at once", Align::Right),
        ("budget", Align::Left),
        ("created (UTC)", Align::Left),
        ("revoked (UTC)", Align::Left),
    ]);
    for key in keys {
        let key: Key = view(key)?;
        let created = moment(&key.created_at);
        let revoked = key.revoked_at.as_deref().map_or_else(String::new, moment);
        grid.row([
            key.id,
            key.customer,
            key.project,
            or_dash(key.rpm.as_ref()),
            or_dash(key.limits.tpm.as_ref()),
            or_dash(key.limits.concurrency.as_ref()),
            or_dash(key.limits.budget.as_ref()),
            created,
            revoked,
        ]);
    }
    Ok(grid.render("no keys; create one with `permille key create --customer C`"))
}
