//! `permille webhook add|list|remove|rotate|test|log|resend`: endpoints that are told of changes.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add an endpoint; its secret is shown once.
    Add(Add),
    /// List endpoints.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Remove an endpoint: it is told of nothing more.
    Remove {
        /// Id of the endpoint, as `webhook list` shows it.
        webhook: String,
    },
    /// Give an endpoint a new secret; it is shown once.
    Rotate {
        /// Id of the endpoint, as `webhook list` shows it.
        webhook: String,
        /// For how many hours events are signed with the secret of before as well, at most 720.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        overlap: u32,
    },
    /// Send an endpoint a test event.
    Test {
        /// Id of the endpoint, as `webhook list` shows it.
        webhook: String,
    },
    /// What an endpoint was told, newest first.
    Log {
        /// Id of the endpoint, as `webhook list` shows it.
        webhook: String,
        /// Only what is so far: `pending`, `delivered` or `dead`.
        #[arg(long)]
        state: Option<String>,
    },
    /// Send an event to an endpoint again.
    Resend {
        /// The endpoint's id.
        webhook: String,
        /// The event's id.
        event: String,
    },
}

/// The endpoint.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Where events are sent: https://…
    url: String,
    /// Whose changes it is told of; everyone's when absent.
    #[arg(long)]
    customer: Option<String>,
    /// Of what it is told, such as `invoice.finalized`; of everything when absent. May be repeated.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
}

/// The part of an endpoint that is printed.
#[derive(Debug, Deserialize)]
struct Webhook {
    id: String,
    customer: Option<String>,
    url: String,
    events: Vec<String>,
    failures: u32,
    paused_until: Option<String>,
    secret: Option<String>,
}

/// The part of a delivery that is printed.
#[derive(Debug, Deserialize)]
struct Delivery {
    event: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    at: String,
    state: String,
    attempts: u32,
    due_at: Option<String>,
    last_status: Option<u16>,
    last_error: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    let nothing = json!({});
    match command {
        Command::Add(add) => {
            let mut body = json!({"url": add.url, "events": add.events});
            for (field, value) in [("customer", &add.customer), ("description", &add.description)] {
                if let (Some(value), Some(body)) = (value, body.as_object_mut()) {
                    body.insert(field.to_owned(), json!(value));
                }
            }
            let added = api.post(&Path::of(&["webhooks"]), &body).await?;
            context.output.one(&added, with_secret)
        }
        Command::List { customer } => {
            let path = Path::of(&["webhooks"]).with("customer", customer.as_deref());
            let webhooks = api.list(&path).await?;
            context.output.list(&webhooks, |webhooks| table(webhooks.iter().map(AsRef::as_ref)))
        }
        Command::Remove { webhook } => {
            let removed = api.post(&Path::of(&["webhooks", webhook, "remove"]), &nothing).await?;
            context.output.one(&removed, |removed| table(std::iter::once(removed)))
        }
        Command::Rotate { webhook, overlap } => {
            let body = json!({"overlap_hours": overlap});
            let rotated = api.post(&Path::of(&["webhooks", webhook, "rotate"]), &body).await?;
            context.output.one(&rotated, with_secret)
        }
        Command::Test { webhook } => {
            let sent = api.post(&Path::of(&["webhooks", webhook, "test"]), &nothing).await?;
            context.output.one(&sent, |sent| log(std::iter::once(sent)))
        }
        Command::Log { webhook, state } => {
            let path = Path::of(&["webhooks", webhook, "deliveries"]);
            let deliveries = api.list(&path.with("state", state.as_deref())).await?;
            context.output.list(&deliveries, |sent| log(sent.iter().map(AsRef::as_ref)))
        }
        Command::Resend { webhook, event } => {
            let path = Path::of(&["webhooks", webhook, "deliveries", event, "resend"]);
            let sent = api.post(&path, &nothing).await?;
            context.output.one(&sent, |sent| log(std::iter::once(sent)))
        }
    }
}

fn with_secret(webhook: &RawValue) -> Result<String, CliError> {
    let Webhook { id, secret, .. } = view(webhook)?;
    let secret = secret.unwrap_or_default();
    Ok(format!("{secret}\n\nsecret of webhook {id}, shown only this once: keep it."))
}

fn table<'a>(webhooks: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("customer", Align::Left),
        ("url", Align::Left),
        ("events", Align::Left),
        ("failures", Align::Right),
        ("paused until (UTC)", Align::Left),
    ]);
    for webhook in webhooks {
        let webhook: Webhook = view(webhook)?;
        let events = webhook.events;
        grid.row([
            webhook.id,
            webhook.customer.unwrap_or_else(|| "all".to_owned()),
            webhook.url,
            if events.is_empty() { "all".to_owned() } else { events.join(" ") },
            webhook.failures.to_string(),
            webhook.paused_until.map_or_else(|| "-".to_owned(), |until| moment(&until)),
        ]);
    }
    Ok(grid.render("no webhooks; add one with `permille webhook add URL`"))
}

fn log<'a>(deliveries: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("at (UTC)", Align::Left),
        ("event", Align::Left),
        ("type", Align::Left),
        ("subject", Align::Left),
        ("state", Align::Left),
        ("attempts", Align::Right),
        ("status", Align::Right),
        ("due (UTC)", Align::Left),
        ("error", Align::Left),
    ]);
    for delivery in deliveries {
        let delivery: Delivery = view(delivery)?;
        grid.row([
            moment(&delivery.at),
            delivery.event,
            delivery.kind,
            delivery.subject,
            delivery.state,
            delivery.attempts.to_string(),
            or_dash(delivery.last_status.as_ref()),
            delivery.due_at.map_or_else(|| "-".to_owned(), |due| moment(&due)),
            delivery.last_error.unwrap_or_default(),
        ]);
    }
    Ok(grid.render("nothing was told yet"))
}
