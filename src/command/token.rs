//! `permille token create`: tokens for the API and the console.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, view};
use crate::{api::Path, cli::Role, error::CliError};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token; it is shown once.
    Create {
        /// What it may do.
        #[arg(long, value_enum)]
        role: Role,
        /// Whose rows a `customer` token sees.
        #[arg(long, required_if_eq("role", "customer"))]
        customer: Option<String>,
        /// Who or what uses it: histories and signatures say so.
        #[arg(long)]
        name: Option<String>,
    },
}

/// The part of a token that is printed.
#[derive(Debug, Deserialize)]
struct Token {
    secret: String,
    role: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    let Command::Create { role, customer, name } = command;
    let mut body = json!({ "role": role.as_str() });
    if let (Some(customer), Some(body)) = (customer, body.as_object_mut()) {
        body.insert("customer".to_owned(), json!(customer));
    }
    if let (Some(name), Some(body)) = (name, body.as_object_mut()) {
        body.insert("name".to_owned(), json!(name));
    }
    let created = api.post(&Path::of(&["tokens"]), &body).await?;
    context.output.one(&created, text)
}

fn text(token: &RawValue) -> Result<String, CliError> {
    let token: Token = view(token)?;
    Ok(format!("{}\n\n{} token, shown only this once: keep it.", token.secret, token.role))
}
