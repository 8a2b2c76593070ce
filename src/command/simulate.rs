//! `permille simulate`: what a plan would have billed of a month's real usage.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Context, or_dash, steps, terms, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid, counted, grouped},
};

/// Which plan, and on what.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// A file with one `[[plan]]`.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Whose usage; everyone's who pays in the plan's currency when absent.
    #[arg(long)]
    customer: Option<String>,
    /// A month in the customer's time zone, such as 2026-11.
    #[arg(long, value_name = "YYYY-MM")]
    period: String,
}

/// What came of it for some customers, and in the end for all, as the API says it.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    plan: String,
    period: String,
    customers: Vec<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<Box<RawValue>>,
}

/// What came of it.
#[derive(Debug, Deserialize)]
struct Simulation {
    plan: String,
    period: String,
    customers: Vec<Outcome>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

/// Who has too many requests.
#[derive(Debug, Deserialize)]
struct LeftOut {
    customer: String,
    requests: u64,
    requests_max: u64,
}

/// What came of it for one customer.
#[derive(Debug, Deserialize)]
struct Outcome {
    customer: String,
    currency: String,
    sessions: u64,
    billed: String,
    under_plan: String,
    provider_cost: String,
    unknown_requests: u64,
    margin: Option<String>,
    break_even_sessions: Option<u64>,
    one_more_turn: Option<OneMoreTurn>,
}

/// What came of it with one more turn in each session.
#[derive(Debug, Deserialize)]
struct OneMoreTurn {
    under_plan: String,
    margin: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, simulate: &Simulate) -> Result<(), CliError> {
    let api = context.api().await?;
    let body = json!({
        "toml": terms(&simulate.plan)?,
        "customer": simulate.customer,
        "period": simulate.period,
    });
    let mut whole: Option<Step> = None;
    steps::each("customers billed anew", &api, &Path::of(&["simulate"]), body, |answer| {
        let step: Step = view(answer)?;
        match &mut whole {
            None => whole = Some(step),
            Some(whole) => {
                whole.customers.extend(step.customers);
                whole.left_out.extend(step.left_out);
            }
        }
        Ok(())
    })
    .await?;
    let whole = serde_json::value::to_raw_value(&whole);
    context.output.one(&whole.map_err(|cause| CliError::Output(cause.into()))?, text)
}

fn text(simulation: &RawValue) -> Result<String, CliError> {
    let Simulation { plan, period, customers, left_out } = view(simulation)?;
    let mut grid = Grid::new(&[
        ("customer", Align::Left),
        ("sessions", Align::Right),
        ("billed", Align::Right),
        ("under plan", Align::Right),
        ("provider", Align::Right),
        ("margin", Align::Right),
        ("", Align::Left),
        ("break-even sessions", Align::Right),
        ("one more turn", Align::Right),
        ("its margin", Align::Right),
    ]);
    let mut unknown = 0_u64;
    for customer in customers {
        unknown = unknown.saturating_add(customer.unknown_requests);
        let more = customer.one_more_turn;
        let amount = |amount: Option<&String>| or_dash(amount.map(|a| grouped(a)).as_ref());
        grid.row([
            customer.customer,
            customer.sessions.to_string(),
            grouped(&customer.billed),
            grouped(&customer.under_plan),
            grouped(&customer.provider_cost),
            amount(customer.margin.as_ref()),
            customer.currency,
            or_dash(customer.break_even_sessions.as_ref()),
            amount(more.as_ref().map(|more| &more.under_plan)),
            amount(more.as_ref().and_then(|more| more.margin.as_ref())),
        ]);
    }
    let mut note = match unknown {
        0 => String::new(),
        count => {
            format!("\nnote: what providers take is not known of {}", counted(count, "request"))
        }
    };
    for LeftOut { customer, requests, requests_max } in left_out {
        let left = format!(
            "\nnote: {customer} is left out: {requests} requests; accepted: a month of at most \
             {requests_max}"
        );
        note.push_str(&left);
    }
    Ok(format!("plan {plan} on {period}\n\n{}{note}", grid.render("nothing was used")))
}
