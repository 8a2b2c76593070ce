//! `permille usage`: settled usage, one row per request; files of old usage, how old days of it
//! are dropped, and what is in quarantine.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use permille_ledger::UsageDrop;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, archive, moment, or_dash, quarantine, view};
use crate::{
    api::Path,
    error::CliError,
    output::waiting,
    table::{Align, Grid},
};

/// Rows of a table when `--limit` does not say otherwise: what a person can read. JSON has no
/// limit of its own.
const TABLE_ROWS: usize = 200;

/// What to do with usage.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List requests, newest first.
    List(List),
    /// Drop the rows of old days that nothing needs any more. Roll-ups, sessions, invoices and the
    /// roots of records stay, and a request that comes again is still known.
    Drop(Drop),
    /// Write the usage of days that are over to Parquet files, one per UTC day; list them; read
    /// them back.
    Archive(archive::Archive),
    /// Usage that could not be booked when it came: list it, book it once it can be, or dismiss it.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
}

/// Which days.
#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// Days (UTC) before this one, such as 2026-08-01.
    #[arg(long, value_name = "DATE")]
    before: NaiveDate,
    /// Only tell which days would be dropped, and why others are kept.
    #[arg(long)]
    check: bool,
}

/// Which rows.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this customer, by its id.
    #[arg(long)]
    customer: Option<String>,
    /// Of one session.
    #[arg(long)]
    session: Option<String>,
    /// One request, by its id.
    #[arg(long)]
    request: Option<String>,
    /// Admitted at or after this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Admitted before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most this many rows.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// The part of a row that a table shows.
#[derive(Debug, Deserialize)]
struct Row {
    at: String,
    customer: String,
    session: String,
    turn: u32,
    model_requested: String,
    model_served: Option<String>,
    ended: String,
    source: String,
    input_total: Option<u64>,
    output_total: Option<u64>,
    #[serde(default)]
    tokens: BTreeMap<String, u64>,
    cost: Option<String>,
    currency: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    match command {
        Command::List(list) => rows(context, list).await,
        Command::Archive(asked) => archive::run(context, asked).await,
        Command::Drop(drop) => drop_days(context, drop).await,
        Command::Quarantine(command) => quarantine::run(context, command).await,
    }
}

async fn rows(context: &Context, list: &List) -> Result<(), CliError> {
    let api = context.api().await?;
    let path = Path::of(&["usage"])
        .with("customer", list.customer.as_deref())
        .with("session", list.session.as_deref())
        .with("request", list.request.as_deref())
        .with("since", list.since.as_deref())
        .with("until", list.until.as_deref());
    let output = context.output;
    if output.is_json() {
        let mut left = list.limit.unwrap_or(usize::MAX);
        return api
            .pages(&path, |page| {
                for row in page.iter().take(left) {
                    output.line(row.get())?;
                }
                left = left.saturating_sub(page.len());
                Ok(left > 0)
            })
            .await;
    }
    let limit = list.limit.unwrap_or(TABLE_ROWS);
    let mut rows = Vec::new();
    api.pages(&path, |page| {
        rows.extend(page);
        Ok(rows.len() <= limit)
    })
    .await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    output.line(&table(&rows)?)?;
    if more {
        output.line(&format!("\nmore rows exist; the first {limit} are shown (--limit)"))?;
    }
    Ok(())
}

async fn drop_days(context: &Context, drop: &Drop) -> Result<(), CliError> {
    let api = context.api().await?;
    let body = json!({"before": drop.before, "check": drop.check});
    let done = waiting("days are dropped", api.post(&Path::of(&["usage", "drop"]), &body)).await?;
    let dropped = if drop.check { "would be dropped" } else { "dropped" };
    context.output.one(&done, |document| {
        let found: UsageDrop = view(document)?;
        let mut grid =
            Grid::new(&[("day (UTC)", Align::Left), ("requests", Align::Right), ("", Align::Left)]);
        for day in found.days {
            let kept = day.kept.map(|why| format!("kept: {why}"));
            let what = kept.unwrap_or_else(|| dropped.to_owned());
            grid.row([day.day.to_string(), or_dash(day.requests.as_ref()), what]);
        }
        Ok(grid.render("no day before that has usage"))
    })
}

fn table(rows: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("at (UTC)", Align::Left),
        ("customer", Align::Left),
        ("session", Align::Left),
        ("turn", Align::Right),
        ("model", Align::Left),
        ("in", Align::Right),
        ("cached", Align::Right),
        ("out", Align::Right),
        ("cost", Align::Right),
        ("", Align::Left),
        ("ended", Align::Left),
        ("source", Align::Left),
        ("flags", Align::Left),
    ]);
    for row in rows {
        let row: Row = view(row)?;
        grid.row([
            moment(&row.at),
            row.customer,
            row.session,
            row.turn.to_string(),
            row.model_served.unwrap_or(row.model_requested),
            or_dash(row.input_total.as_ref()),
            or_dash(row.tokens.get("cache_read")),
            or_dash(row.output_total.as_ref()),
            or_dash(row.cost.as_ref()),
            row.currency.unwrap_or_default(),
            row.ended,
            row.source,
            row.flags.join(" "),
        ]);
    }
    Ok(grid.render("no usage matches"))
}
