//! `permille margin`: what was billed less what providers took, in one currency.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Context, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    output::waiting,
    table::{Align, Grid, grouped},
};

/// Which margins.
#[derive(Debug, Args)]
pub(crate) struct Margin {
    /// The currency of the report; amounts of others are converted by the rate of their day.
    #[arg(long)]
    currency: String,
    /// What they are told of.
    #[arg(long, value_enum, default_value = "customer")]
    by: By,
    /// Whose requests.
    #[arg(long)]
    customer: Option<String>,
    /// Requests admitted at or after this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Requests admitted before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most rows, those of the lowest margins [default: 100].
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Days that an exchange rate may be old [default: 9].
    #[arg(long, value_name = "DAYS")]
    fx_days: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each customer.
    Customer,
    /// Each model.
    Model,
    /// Each session.
    Session,
    /// Each plan, with its fees.
    Plan,
}

/// The report, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Report {
    currency: String,
    total: Sums,
    groups: Vec<Group>,
    groups_unlisted: u64,
    simulated_left_out: u64,
    left_out: Vec<LeftOut>,
    rates: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Group {
    customer: Option<String>,
    model: Option<String>,
    session: Option<String>,
    plan: Option<String>,
    sums: Sums,
}

#[derive(Debug, Deserialize)]
struct Sums {
    requests: u64,
    unbilled_requests: u64,
    simulated_requests: u64,
    left_out_requests: u64,
    billed: String,
    fees: String,
    provider_cost: String,
    failed_attempt_cost: String,
    margin: String,
    share_permille: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct LeftOut {
    reason: String,
    what: String,
    first: String,
    last: String,
    requests: u64,
    billed: Vec<Amount>,
    provider_cost: Vec<Amount>,
}

#[derive(Debug, Deserialize)]
struct Amount {
    currency: String,
    amount: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, asked: &Margin) -> Result<(), CliError> {
    let api = context.api().await?;
    let by = match asked.by {
        By::Customer => "customer",
        By::Model => "model",
        By::Session => "session",
        By::Plan => "plan",
    };
    let (limit, days) = (asked.limit.map(|n| n.to_string()), asked.fx_days.map(|n| n.to_string()));
    let path = Path::of(&["margin"])
        .with("currency", Some(&asked.currency))
        .with("by", Some(by))
        .with("customer", asked.customer.as_deref())
        .with("since", asked.since.as_deref())
        .with("until", asked.until.as_deref())
        .with("limit", limit.as_deref())
        .with("fx_days", days.as_deref());
    let report = waiting("the rows are read", api.get(&path)).await?;
    context.output.one(&report, text)
}

fn text(document: &RawValue) -> Result<String, CliError> {
    let report: Report = view(document)?;
    let mut grid = Grid::new(&[
        ("of", Align::Left),
        ("", Align::Left),
        ("requests", Align::Right),
        ("billed", Align::Right),
        ("fees", Align::Right),
        ("provider", Align::Right),
        ("of it failed", Align::Right),
        ("margin", Align::Right),
        ("share", Align::Right),
        ("left out", Align::Right),
    ]);
    for Group { customer, model, session, plan, sums } in &report.groups {
        let first = customer.as_ref().or(model.as_ref()).or(plan.as_ref());
        grid.row(sums.row(&or_dash(first), session.as_deref().unwrap_or_default()));
    }
    if !report.groups.is_empty() {
        grid.row(report.total.row("all", &report.currency));
    }
    let mut parts = vec![grid.render("no requests")];
    parts.extend(notes(&report));
    if !report.left_out.is_empty() {
        parts.push(left_out(&report.left_out));
    }
    Ok(parts.join("\n\n"))
}

impl Sums {
    fn row(&self, of: &str, more: &str) -> [String; 10] {
        [
            of.to_owned(),
            more.to_owned(),
            self.requests.to_string(),
            grouped(&self.billed),
            grouped(&self.fees),
            grouped(&self.provider_cost),
            grouped(&self.failed_attempt_cost),
            grouped(&self.margin),
            or_dash(self.share_permille.map(|share| format!("{share} ‰")).as_ref()),
            self.left_out_requests.to_string(),
        ]
    }
}

fn notes(report: &Report) -> Option<String> {
    let Report { total, groups_unlisted, rates, .. } = report;
    let rates = u64::try_from(rates.len()).unwrap_or(u64::MAX);
    let told = [
        (
            total.unbilled_requests,
            "requests not billed yet, at their own prices, by plan as 0 under a plan with a fee",
        ),
        (total.simulated_requests, "requests served by the simulated provider"),
        (report.simulated_left_out, "requests of the simulated provider, in no sum"),
        (*groups_unlisted, "rows not shown (--limit)"),
        (rates, "exchange rates used, by currency and day (--json shows them)"),
    ];
    let told = told.into_iter().filter(|(count, _)| *count > 0);
    let lines: Vec<String> = told.map(|(count, what)| format!("{what}: {count}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn left_out(left: &[LeftOut]) -> String {
    let mut grid = Grid::new(&[
        ("in no sum", Align::Left),
        ("", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("requests", Align::Right),
        ("billed", Align::Right),
        ("provider", Align::Right),
    ]);
    let amounts = |amounts: &[Amount]| {
        let shown = amounts.iter().map(|of| format!("{} {}", grouped(&of.amount), of.currency));
        shown.collect::<Vec<_>>().join(", ")
    };
    for of in left {
        grid.row([
            of.reason.replace('_', " "),
            of.what.clone(),
            of.first.clone(),
            of.last.clone(),
            of.requests.to_string(),
            amounts(&of.billed),
            amounts(&of.provider_cost),
        ]);
    }
    grid.render("")
}
