//! `permille token`: tokens for the API and the console.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Context, moment, view};
use crate::{
    api::Path,
    cli::Role,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token; it is shown once.
    Create(Create),
    /// List tokens.
    List,
    /// Revoke a token: nothing is answered to it any more.
    Revoke {
        /// The token's public id.
        id: String,
    },
}

/// The new token.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it may do.
    #[arg(long, value_enum)]
    role: Role,
    /// Whose rows a `customer` token sees.
    #[arg(long, required_if_eq("role", "customer"))]
    customer: Option<String>,
    /// Who or what uses it: histories and signatures say so.
    #[arg(long)]
    name: Option<String>,
}

impl Create {
    fn body(&self) -> Value {
        let Self { role, customer, name } = self;
        let fields = [("customer", customer), ("name", name)];
        let given = fields.into_iter().filter_map(|(field, given)| Some((field, given.as_ref()?)));
        let given = given.map(|(field, given)| (field.to_owned(), json!(given)));
        Value::Object(given.chain([("role".to_owned(), json!(role.as_str()))]).collect())
    }
}

/// The part of a token that is printed.
#[derive(Debug, Deserialize)]
struct Token {
    id: String,
    role: String,
    customer: Option<String>,
    name: Option<String>,
    last4: String,
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
            let created = api.post(&Path::of(&["tokens"]), &create.body()).await?;
            context.output.one(&created, secret)
        }
        Command::List => {
            let tokens = api.list(&Path::of(&["tokens"])).await?;
            context.output.list(&tokens, |items| table(items.iter().map(AsRef::as_ref)))
        }
        Command::Revoke { id } => {
            let path = Path::of(&["tokens", id, "revoke"]);
            let revoked = api.post(&path, &json!({})).await?;
            context.output.one(&revoked, |revoked| table(std::iter::once(revoked)))
        }
    }
}

fn secret(created: &RawValue) -> Result<String, CliError> {
    let Token { secret, id, role, .. } = view(created)?;
    let secret = secret.unwrap_or_default();
    Ok(format!("{secret}\n\n{role} token {id}, shown only this once: keep it."))
}

fn table<'a>(tokens: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("role", Align::Left),
        ("customer", Align::Left),
        ("name", Align::Left),
        ("ends with", Align::Left),
        ("created (UTC)", Align::Left),
        ("revoked (UTC)", Align::Left),
    ]);
    for token in tokens {
        let token: Token = view(token)?;
        grid.row([
            token.id,
            token.role,
            token.customer.unwrap_or_default(),
            token.name.unwrap_or_default(),
            token.last4,
            moment(&token.created_at),
            token.revoked_at.as_deref().map_or_else(String::new, moment),
        ]);
    }
    Ok(grid.render("no tokens"))
}
