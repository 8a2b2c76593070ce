//! `permille close`: the close of a month, its signatures, and how it is taken back.

use clap::Args;
use permille_ledger::{Close as Report, CloseState};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, history, steps, view};
use crate::{
    api::{Api, Path, WORK_SECONDS_MAX},
    error::CliError,
    output::waiting,
    table::{Align, Grid},
};

/// Which month, and what to do with it. Without more: draft what is missing and check.
#[derive(Debug, Args)]
pub(crate) struct Close {
    /// A month, such as 2026-11.
    #[arg(long, value_name = "YYYY-MM")]
    period: String,
    /// Only tell how far it is; change nothing.
    #[arg(long)]
    check: bool,
    /// Sign it in the role of the token in `PERMILLE_TOKEN`: operator (engineering) or finance. The
    /// second signature closes it.
    #[arg(long, conflicts_with = "check")]
    sign: bool,
    /// Why it is signed although a check is not in order.
    #[arg(long, value_name = "REASON", requires = "sign")]
    accept: Option<String>,
    /// Open a closed month again.
    #[arg(long, requires = "reason", conflicts_with_all = ["check", "sign"])]
    reopen: bool,
    /// Why it is opened again.
    #[arg(long, requires = "reopen")]
    reason: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, close: &Close) -> Result<(), CliError> {
    let api = context.api().await?;
    let period = close.period.as_str();
    let done = if close.check {
        let path = Path::of(&["close", period]);
        waiting("the month is checked", api.get_within(WORK_SECONDS_MAX, &path)).await?
    } else if close.sign {
        let body = json!({"accept": close.accept});
        let path = Path::of(&["close", period, "sign"]);
        let signed = api.post_within(WORK_SECONDS_MAX, &path, &body);
        waiting("the month is checked and signed", signed).await?
    } else if close.reopen {
        let body = json!({"reason": close.reason});
        let path = Path::of(&["close", period, "reopen"]);
        let opened = api.post_within(WORK_SECONDS_MAX, &path, &body);
        waiting("the month is opened and checked", opened).await?
    } else {
        prepared(&api, period).await?
    };
    context.output.one(&done, text)
}

/// Drafts what is missing, from customer to customer, and gives what is left to do.
async fn prepared(api: &Api, period: &str) -> Result<Box<RawValue>, CliError> {
    /// The last step has it.
    #[derive(Deserialize)]
    struct Step {
        close: Option<Box<RawValue>>,
    }
    let path = Path::of(&["close", period, "drafts"]);
    let mut close = None;
    steps::each("customers drafted", api, &path, json!({}), |answer| {
        close = view::<Step>(answer)?.close;
        Ok(())
    })
    .await?;
    close.ok_or_else(|| CliError::Refused("the last step of the close tells nothing".to_owned()))
}

/// State, checks, signatures, history, and what comes next.
fn text(document: &RawValue) -> Result<String, CliError> {
    let report: Report = view(document)?;
    let mut checks =
        Grid::new(&[("check", Align::Left), ("", Align::Left), ("found", Align::Left)]);
    for check in &report.checks {
        let ok = if check.ok { "ok" } else { "open" };
        checks.row([check.name.as_str(), ok, check.detail.as_str()]);
    }
    let state = match report.state {
        CloseState::Open => "open",
        CloseState::Closed => "closed",
    };
    let signed: Vec<String> = report
        .signatures
        .iter()
        .map(|signature| {
            let who = signature.name.as_ref().unwrap_or(&signature.token);
            format!("signed by {} ({who}) at {}", signature.role, signature.at)
        })
        .collect();
    let next = match (report.state, report.checks.iter().all(|check| check.ok)) {
        (CloseState::Closed, _) => "closed: late usage is on the next invoices".to_owned(),
        (CloseState::Open, true) => format!("in order: sign with --sign as {}", unsigned(&report)),
        (CloseState::Open, false) => "not in order yet: see the checks that are open".to_owned(),
    };
    let mut parts = vec![format!("Month {} ({state})\n\n{}\n", report.period, checks.render(""))];
    parts.extend(signed);
    if !report.history.is_empty() {
        parts.push(format!("\n{}\n", history::entries_table(&report.history)));
    }
    parts.push(next);
    Ok(parts.join("\n"))
}

/// The roles whose signature is missing.
fn unsigned(report: &Report) -> String {
    let signed = |role: &str| report.signatures.iter().any(|signature| signature.role == role);
    let roles = ["operator", "finance"].into_iter().filter(|role| !signed(role));
    roles.collect::<Vec<_>>().join(" and as ")
}
