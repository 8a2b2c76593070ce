//! `permille session summary`: what sessions cost over a stretch of time, and what of it is hidden.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Context, or_dash,
    session::{Hidden, share},
    view,
};
use crate::{
    api::{Api, Path},
    error::CliError,
    output::waiting,
    table::{Align, Grid, counted},
};

/// Which requests, and a fee to compare them with.
#[derive(Debug, Args)]
pub(crate) struct Summary {
    /// Whose sessions.
    #[arg(long)]
    customer: Option<String>,
    /// Requests admitted at or after this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Requests admitted before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// A fee for any number of sessions, such as "99 CNY": how many cost more?
    #[arg(long, value_name = "AMOUNT CURRENCY")]
    flat_fee: Option<String>,
    /// Most requests, up to 20,000,000; of more nothing is summed up [default: 1000000].
    #[arg(long, value_name = "N")]
    requests_max: Option<u32>,
}

/// The summary, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Document {
    currencies: Vec<OfCurrency>,
    customers: Vec<OfCustomer>,
}

/// The sessions of one currency.
#[derive(Debug, Deserialize)]
struct OfCurrency {
    currency: String,
    sessions: u64,
    #[serde(default)]
    unmetered_sessions: u64,
    requests: u64,
    unpriced_requests: u64,
    simulated_requests: u64,
    cost: String,
    hidden: Hidden,
    regenerated_share_permille: Option<u64>,
    failed_share_permille: Option<u64>,
    session_cost: Distribution,
    turns: Vec<TurnCost>,
    outcomes: Vec<OutcomeCost>,
    cost_per_accepted: Option<String>,
    list_price_multiplier: Option<String>,
    list_price_multiplier_inferred: Option<String>,
    break_even: Option<BreakEven>,
}

/// What a session costs.
#[derive(Debug, Deserialize)]
struct Distribution {
    mean: String,
    p50: String,
    p90: String,
    p99: String,
    max: String,
}

/// What a turn costs.
#[derive(Debug, Deserialize)]
struct TurnCost {
    turn: String,
    requests: u64,
    cost: String,
    mean: String,
}

/// Sessions of one outcome.
#[derive(Debug, Deserialize)]
struct OutcomeCost {
    outcome: String,
    source: String,
    sessions: u64,
    cost: String,
}

/// From where on sessions cost more than a flat fee.
#[derive(Debug, Deserialize)]
struct BreakEven {
    flat_fee: String,
    sessions: Option<u64>,
}

/// One customer.
#[derive(Debug, Deserialize)]
struct OfCustomer {
    customer: String,
    currency: String,
    sessions: u64,
    requests: u64,
    cost: String,
    margin: Option<Margin>,
    break_even: Option<BreakEven>,
}

/// What is left.
#[derive(Debug, Deserialize)]
struct Margin {
    provider_cost: String,
    unknown_requests: u64,
    amount: Option<String>,
    share_permille: Option<i64>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(super) async fn run(context: &Context, api: &Api, asked: &Summary) -> Result<(), CliError> {
    let most = asked.requests_max.map(|most| most.to_string());
    let path = Path::of(&["session-summary"])
        .with("customer", asked.customer.as_deref())
        .with("since", asked.since.as_deref())
        .with("until", asked.until.as_deref())
        .with("flat_fee", asked.flat_fee.as_deref())
        .with("requests_max", most.as_deref());
    let summary = waiting("the rows are read", api.get(&path)).await?;
    context.output.one(&summary, text)
}

/// A summary as text, currency by currency.
///
/// # Errors
/// [`CliError::Api`] when the document is not what this version expects.
pub(crate) fn text(document: &RawValue) -> Result<String, CliError> {
    let Document { currencies, customers } = view(document)?;
    let mut parts: Vec<String> = currencies.iter().map(OfCurrency::text).collect();
    if parts.is_empty() {
        return Ok("no sessions".to_owned());
    }
    parts.push(margins(&customers));
    Ok(parts.join("\n\n"))
}

impl OfCurrency {
    fn text(&self) -> String {
        let currency = &self.currency;
        let (sessions, requests) =
            (counted(self.sessions, "session"), counted(self.requests, "request"));
        let silent = counted(self.unmetered_sessions, "session");
        let cost = &self.cost;
        let mut head = vec![format!("{sessions} in {requests}: {cost} {currency}")];
        let told = [
            (self.unpriced_requests, format!("{} unpriced", self.unpriced_requests)),
            (self.simulated_requests, format!("{} simulated", self.simulated_requests)),
            (self.unmetered_sessions, format!("{silent} that no model answered")),
        ];
        head.extend(told.into_iter().filter(|(count, _)| *count > 0).map(|(_, what)| what));
        let hidden = self.hidden.text(currency);
        let head = head.join(", ");
        [head, self.session_costs(), hidden, self.turns(), self.outcomes(), self.figures()]
            .join("\n\n")
    }

    fn session_costs(&self) -> String {
        let mut grid = Grid::new(&[
            ("a session costs", Align::Left),
            ("mean", Align::Right),
            ("p50", Align::Right),
            ("p90", Align::Right),
            ("p99", Align::Right),
            ("max", Align::Right),
        ]);
        let Distribution { mean, p50, p90, p99, max } = &self.session_cost;
        grid.row([&self.currency, mean, p50, p90, p99, max]);
        grid.render("")
    }

    fn turns(&self) -> String {
        let mut grid = Grid::new(&[
            ("turn", Align::Right),
            ("requests", Align::Right),
            ("cost", Align::Right),
            ("of a request", Align::Right),
        ]);
        for turn in &self.turns {
            let requests = turn.requests.to_string();
            grid.row([&turn.turn, &requests, &turn.cost, &turn.mean]);
        }
        grid.render("nothing has a price")
    }

    fn outcomes(&self) -> String {
        let mut grid = Grid::new(&[
            ("outcome", Align::Left),
            ("", Align::Left),
            ("sessions", Align::Right),
            ("cost", Align::Right),
        ]);
        for outcome in &self.outcomes {
            let OutcomeCost { outcome, source, sessions, cost } = outcome;
            grid.row([&outcome.replace('_', " "), source, &sessions.to_string(), cost]);
        }
        grid.render("no outcomes")
    }

    /// What is left out is not known: nothing was accepted, or no fee was named.
    fn figures(&self) -> String {
        let currency = &self.currency;
        let mut grid = Grid::new(&[("figure", Align::Left), ("", Align::Right)]);
        let accepted = self.cost_per_accepted.as_ref();
        let accepted = accepted.map(|cost| format!("{cost} {currency}"));
        let inferred = self.list_price_multiplier_inferred.as_ref();
        let fee = self.break_even.as_ref().map(|fee| {
            let sessions = fee.sessions;
            let sessions = or_dash(sessions.as_ref());
            let fee = &fee.flat_fee;
            let what = "sessions of mean cost that together cost more than a fee of";
            (format!("{what} {fee} {currency}"), sessions)
        });
        let known = [
            ("cost of regenerated turns", share(self.regenerated_share_permille)),
            ("cost of requests that did not complete", share(self.failed_share_permille)),
            ("cost per accepted result", accepted),
            ("accepted: cost ÷ price of the reply alone", self.list_price_multiplier.clone()),
            ("ended (inferred): cost ÷ price of the reply alone", inferred.cloned()),
        ];
        let known = known.into_iter().filter_map(|(what, value)| Some((what.to_owned(), value?)));
        for (what, value) in known.chain(fee) {
            grid.row([what, value]);
        }
        grid.render("no figures")
    }
}

impl OfCustomer {
    /// What is not known, and from where on they cost more than the fee that was named.
    fn notes(&self, unknown: Option<u64>) -> String {
        let unknown = unknown
            .map(|count| format!("provider's price of {} not known", counted(count, "request")));
        let sessions = self.break_even.as_ref().and_then(|fee| fee.sessions);
        let lost = sessions.map(|sessions| {
            format!("costs more than the fee from {} of mean cost on", counted(sessions, "session"))
        });
        [unknown, lost].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn margins(customers: &[OfCustomer]) -> String {
    let mut grid = Grid::new(&[
        ("customer", Align::Left),
        ("sessions", Align::Right),
        ("requests", Align::Right),
        ("cost", Align::Right),
        ("provider", Align::Right),
        ("margin", Align::Right),
        ("share", Align::Right),
        ("", Align::Left),
        ("notes", Align::Left),
    ]);
    for of in customers {
        let margin = of.margin.as_ref();
        let known = margin.filter(|margin| margin.amount.is_some());
        let share = known.and_then(|margin| margin.share_permille);
        let unknown = margin.map(|margin| margin.unknown_requests).filter(|count| *count > 0);
        grid.row([
            of.customer.clone(),
            of.sessions.to_string(),
            of.requests.to_string(),
            of.cost.clone(),
            or_dash(known.map(|margin| &margin.provider_cost)),
            or_dash(known.and_then(|margin| margin.amount.as_ref())),
            or_dash(share.map(|share| format!("{share} ‰")).as_ref()),
            of.currency.clone(),
            of.notes(unknown),
        ]);
    }
    grid.render("no customers")
}
