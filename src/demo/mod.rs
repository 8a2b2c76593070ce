//! `permille demo`: the main job, shown end to end in some seconds.
//!
//! A whole server on free ports and a throwaway folder, the simulated provider in a process of
//! its own, customers whose multi-turn conversations go over real HTTP through the gateway; then
//! what each turn cost and what each customer would be billed.

mod client;
mod report;
mod script;

use std::{net::SocketAddr, time::Duration};

use futures_util::future::try_join_all;
use http::StatusCode;
use permille_rating::price_book::parse_price_book;
use serde_json::json;

use self::{
    client::Talker,
    script::{BUYERS, Buyer, CONVERSATIONS, Conversation, Step},
};
use crate::{
    api::{Api, Path, created_secret},
    cli::Demo,
    command::Context,
    config::{BudgetSection, Config, LogFormat},
    data_folder::DataFolder,
    error::CliError,
    logging,
    output::Output,
    serve::{Access, Running, Shape, Signals},
};

/// Longest wait until billing has every row: they arrive within a second.
const SETTLE: Duration = Duration::from_secs(20);
/// Between two looks whether they have.
const SETTLE_POLL: Duration = Duration::from_millis(50);

/// Why the demonstration broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The throwaway folder cannot be made.
    #[error("make a folder for the demonstration")]
    Folder(#[source] std::io::Error),
    /// A request cannot be built.
    #[error("build a request")]
    Build(#[source] http::Error),
    /// The gateway cannot be reached.
    #[error("send a request to the gateway")]
    Send(#[source] hyper_util::client::legacy::Error),
    /// The gateway refused.
    #[error("the gateway answered {status}: {body}")]
    Answer {
        /// The status.
        status: StatusCode,
        /// What it said.
        body: String,
    },
    /// An answer broke off.
    #[error("read a stream")]
    Stream(#[source] hyper::Error),
    /// An answer broke off or is too long.
    #[error("read an answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The prices of its provider.
    #[error("read the prices of the demonstration")]
    Prices(#[source] permille_rating::price_book::PriceBookError),
    /// Usage did not arrive in billing.
    #[error("{missing} of {sent} requests did not reach billing within {seconds} s")]
    Unsettled {
        /// How many rows are missing.
        missing: usize,
        /// How many requests were sent.
        sent: usize,
        /// The limit.
        seconds: u64,
    },
}

/// Runs the demonstration and stays up afterwards, unless told to exit.
///
/// # Errors
/// [`CliError`] when a part of it fails.
pub(crate) async fn run(context: &Context, args: Demo) -> Result<(), CliError> {
    let mut signals = Signals::take()?;
    let output = context.output;
    // The report is the point, not what a server logs all the time.
    logging::start(LogFormat::Text, "warn");
    let dir = tempfile::tempdir().map_err(DemoError::Folder)?;
    let folder = DataFolder::open(&dir.path().join("permille-data"))?;
    let mut running = Running::start(&config()?, &folder, Shape::All).await?;
    let access = running.access().ok_or(CliError::Interrupted)?;
    let shown = tokio::select! {
        shown = show(output, &access) => shown,
        error = running.failed() => Err(error.into()),
        () = signals.next() => Err(CliError::Interrupted),
    };
    if shown.is_ok() && !args.exit {
        report::where_to_look(output, &access, &folder)?;
        tokio::select! {
            () = signals.next() => {}
            error = running.failed() => return Err(error.into()),
        }
    }
    running.stop(&mut signals).await?;
    shown
}

/// What the demonstration pays its provider, so that margins are seen: less than the lists say.
const COST_SIDE: &str = r#"
[[price]]
model = "ERNIE-Bot"
side = "cost"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "the demonstration"
input = "0.009"
output = "0.009"
[[price]]
model = "gpt-4o-mini"
side = "cost"
currency = "USD"
from = 2023-10-01T00:00:00Z
source = "the demonstration"
input = "0.00012"
cache_read = "0.00006"
output = "0.0005"
"#;

/// The defaults on free ports, whatever the configuration of this place says; every reply is
/// audited.
fn config() -> Result<Config, CliError> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::built_in();
    config.settings.gateway.listen = free;
    config.settings.console.listen = free;
    config.settings.metrics.listen = free;
    // Its conversations are over at once and are to be seen in the metrics soon, but none is over
    // because a machine is slow.
    config.settings.session.idle_seconds = 20;
    // With a sample of it, a short demonstration would show no audit.
    config.settings.metering.audit_sample = permille_proxy::config::Share::ALL;
    config.prices = parse_price_book(COST_SIDE, "the demonstration").map_err(DemoError::Prices)?;
    // Far above what it costs: the pace is to be seen, and no alert.
    let budget = |buyer: &Buyer| {
        let monthly = format!("100000 {}", buyer.currency);
        Some(BudgetSection { customer: buyer.id.parse().ok()?, monthly })
    };
    config.settings.budget = BUYERS.iter().filter_map(budget).collect();
    Ok(config)
}

async fn show(output: Output, access: &Access) -> Result<(), CliError> {
    for buyer in &BUYERS {
        create(&access.api, buyer).await?;
    }
    report::opening(output)?;
    let talks = CONVERSATIONS.iter().map(|conversation| talk(output, access, *conversation));
    let sent = try_join_all(talks).await?.into_iter().sum();
    settled(&access.api, sent).await?;
    report::sessions(output, &access.api).await?;
    accept(&access.api).await?;
    report::summary(output, &access.api).await?;
    report::invoices(output, &access.api).await
}

/// The first two conversations had a result that somebody took.
async fn accept(api: &Api) -> Result<(), CliError> {
    for conversation in CONVERSATIONS.iter().take(2) {
        let path = Path::of(&["sessions", conversation.session, "outcome"]);
        let body = json!({"customer": conversation.buyer, "outcome": "accepted"});
        api.post(&path, &body).await?;
    }
    Ok(())
}

/// Adds a customer with its second project.
async fn create(api: &Api, buyer: &Buyer) -> Result<(), CliError> {
    let customer = json!({"id": buyer.id, "name": buyer.name, "currency": buyer.currency,
                          "time_zone": buyer.time_zone});
    api.post(&Path::of(&["customers"]), &customer).await?;
    if let Some((id, name)) = buyer.project {
        let project = json!({"customer": buyer.id, "id": id, "name": name});
        api.post(&Path::of(&["projects"]), &project).await?;
    }
    Ok(())
}

/// One conversation, start to end; gives the number of requests that were made.
async fn talk(
    output: Output,
    access: &Access,
    conversation: Conversation,
) -> Result<usize, CliError> {
    let project = conversation.project.unwrap_or("default");
    let body = json!({"customer": conversation.buyer, "project": project});
    let created = access.api.post(&Path::of(&["keys"]), &body).await?;
    let key = created_secret(&created)?;
    let mut talker = Talker::new(access.gateway, key, conversation);
    let deadline = tokio::time::Instant::now() + SETTLE;
    while !talker.is_known().await? && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(SETTLE_POLL).await;
    }
    for step in conversation.steps {
        let outcome = match *step {
            Step::Ask { text, tokens, stream } => talker.ask(text, tokens, stream).await?,
            Step::Regenerate { tokens } => talker.regenerate(tokens).await?,
            Step::Abort { text, tokens, after_chunks } => {
                talker.abort(text, tokens, after_chunks).await?
            }
        };
        report::step(output, &conversation, step, outcome)?;
    }
    Ok(conversation.steps.len())
}

/// Waits until billing has a row for each request.
async fn settled(api: &Api, sent: usize) -> Result<(), CliError> {
    let deadline = tokio::time::Instant::now() + SETTLE;
    loop {
        let rows = api.list(&Path::of(&["usage"])).await?.len();
        if rows >= sent {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let (missing, seconds) = (sent - rows, SETTLE.as_secs());
            return Err(DemoError::Unsettled { missing, sent, seconds }.into());
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}
