//! `permille dispute open|list|show|resolve`: what somebody holds against an issued invoice.

use clap::{ArgGroup, Args, Subcommand};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, or_dash, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid},
};

/// What to do with disputes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with an issued invoice; what there is to be seen of it is kept with it.
    Open {
        /// Id or number of the invoice.
        invoice: String,
        /// Which line, the first is 1; the whole invoice when absent.
        #[arg(long)]
        line: Option<usize>,
        /// A request that it bills, by its id.
        #[arg(long, value_name = "ID")]
        request: Option<String>,
        /// What is wrong.
        #[arg(long)]
        reason: String,
    },
    /// List disputes.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one with its evidence.
    Show {
        /// Its id.
        id: String,
    },
    /// Answer one that is open.
    Resolve(Resolve),
}

/// The answer.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("answer").required(true).args(["accept", "reject"])))]
pub(crate) struct Resolve {
    /// Its id.
    id: String,
    /// It is right.
    #[arg(long)]
    accept: bool,
    /// The invoice stands.
    #[arg(long)]
    reject: bool,
    /// Why.
    #[arg(long)]
    note: String,
    /// The credit note that takes back what was wrong.
    #[arg(long, value_name = "NUMBER", requires = "accept")]
    credit_note: Option<String>,
}

/// A dispute in a list.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    number: String,
    customer: String,
    #[serde(default)]
    line: Option<usize>,
    #[serde(default)]
    request: Option<String>,
    state: String,
    opened_at: String,
    reason: String,
    #[serde(default)]
    resolution: Option<String>,
    #[serde(default)]
    credit_note: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Open { invoice, line, request, reason } => {
            let body =
                json!({"invoice": invoice, "line": line, "request": request, "reason": reason});
            let opened = api.post(&Path::of(&["disputes"]), &body).await?;
            context.output.one(&opened, |one| table(std::iter::once(one)))
        }
        Command::List { customer } => {
            let path = Path::of(&["disputes"]).with("customer", customer.as_deref());
            let disputes = api.list(&path).await?;
            context.output.list(&disputes, |all| table(all.iter().map(AsRef::as_ref)))
        }
        Command::Show { id } => {
            let dispute = api.get(&Path::of(&["disputes", id])).await?;
            context.output.one(&dispute, shown)
        }
        Command::Resolve(Resolve { id, accept, note, credit_note, .. }) => {
            let body = json!({"accepted": accept, "note": note, "credit_note": credit_note});
            let resolved = api.post(&Path::of(&["disputes", id, "resolve"]), &body).await?;
            context.output.one(&resolved, |one| table(std::iter::once(one)))
        }
    }
}

/// One dispute, and what was found when it was opened, as the JSON has it.
fn shown(dispute: &RawValue) -> Result<String, CliError> {
    #[derive(Deserialize)]
    struct Evident {
        evidence: Box<RawValue>,
    }
    let Evident { evidence } = view(dispute)?;
    Ok(format!("{}\nevidence: {}", table(std::iter::once(dispute))?.trim_end(), evidence.get()))
}

fn table<'a>(disputes: impl Iterator<Item = &'a RawValue>) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("invoice", Align::Left),
        ("customer", Align::Left),
        ("of", Align::Left),
        ("state", Align::Left),
        ("opened (UTC)", Align::Left),
        ("reason", Align::Left),
        ("answer", Align::Left),
        ("credit note", Align::Left),
    ]);
    for dispute in disputes {
        let dispute: Listed = view(dispute)?;
        let line = dispute.line.map(|line| format!("line {line}"));
        let request = dispute.request.map(|request| format!("request {request}"));
        let of: Vec<String> = line.into_iter().chain(request).collect();
        grid.row([
            dispute.id,
            dispute.number,
            dispute.customer,
            if of.is_empty() { "the whole".to_owned() } else { of.join(", ") },
            dispute.state,
            moment(&dispute.opened_at),
            dispute.reason,
            or_dash(dispute.resolution.as_ref()),
            or_dash(dispute.credit_note.as_ref()),
        ]);
    }
    Ok(grid.render("no disputes"))
}
