//! `permille invoice preview|draft|list|show`: what a customer owes for a period.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use permille_ledger::Invoice;
use permille_rating::invoice::InvoiceLine;
use permille_types::{Currency, Money};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, moment, view};
use crate::{
    api::Path,
    error::CliError,
    table::{Align, Grid, grouped},
};

/// What to do with invoices.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What an invoice would say now; nothing is stored.
    Preview(Period),
    /// Make or renew the draft of a period.
    Draft(Period),
    /// List invoices.
    List {
        /// Whose.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one invoice.
    Show {
        /// Its id.
        id: String,
    },
}

/// Whom to bill, and for when.
#[derive(Debug, Args)]
pub(crate) struct Period {
    /// Whom.
    #[arg(long)]
    customer: String,
    /// A month in the customer's time zone, such as 2026-11.
    #[arg(long, value_name = "YYYY-MM")]
    period: String,
}

/// An invoice in a list.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    customer: String,
    period: String,
    state: String,
    currency: String,
    total: String,
    updated_at: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Preview(period) => {
            let preview = api.post(&Path::of(&["invoices", "preview"]), &period.body()).await?;
            context.output.one(&preview, text)
        }
        Command::Draft(period) => {
            let draft = api.post(&Path::of(&["invoices", "draft"]), &period.body()).await?;
            context.output.one(&draft, text)
        }
        Command::List { customer } => {
            let path = Path::of(&["invoices"]).with("customer", customer.as_deref());
            let invoices = api.list(&path).await?;
            context.output.list(&invoices, table)
        }
        Command::Show { id } => {
            let invoice = api.get(&Path::of(&["invoices", id])).await?;
            context.output.one(&invoice, text)
        }
    }
}

impl Period {
    fn body(&self) -> serde_json::Value {
        json!({"customer": self.customer, "period": self.period})
    }
}

fn table(invoices: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("customer", Align::Left),
        ("period", Align::Left),
        ("state", Align::Left),
        ("total", Align::Right),
        ("", Align::Left),
        ("updated (UTC)", Align::Left),
    ]);
    for invoice in invoices {
        let invoice: Listed = view(invoice)?;
        grid.row([
            invoice.id,
            invoice.customer,
            invoice.period,
            invoice.state,
            grouped(&invoice.total),
            invoice.currency,
            moment(&invoice.updated_at),
        ]);
    }
    Ok(grid.render("no invoices; make one with `permille invoice draft`"))
}

/// One invoice as text: head, lines with a subtotal for each project, total, notes.
///
/// # Errors
/// [`CliError`] when the document is not what this version expects.
pub(crate) fn text(document: &RawValue) -> Result<String, CliError> {
    let invoice: Invoice = view(document)?;
    let id = invoice.id.as_ref().map_or_else(String::new, |id| format!(" {id}"));
    let period = &invoice.period;
    let local =
        |instant: DateTime<Utc>| instant.with_timezone(&period.time_zone).format("%Y-%m-%d %H:%M");
    let mut parts = vec![format!(
        "Invoice{id} ({state})\n\n\
         customer  {name} ({customer})\n\
         period    {label}: {start} to {end}, {zone}\n\
         currency  {currency}\n",
        state = invoice.state.as_str(),
        name = invoice.customer.name,
        customer = invoice.customer.id,
        label = period.label,
        start = local(period.start),
        end = local(period.end),
        zone = period.time_zone,
        currency = invoice.currency.code(),
    )];
    parts.push(lines(&invoice)?);
    let notes = notes(&invoice);
    if !notes.is_empty() {
        parts.push(String::new());
    }
    parts.extend(notes.iter().map(|note| format!("note: {note}")));
    Ok(parts.join("\n"))
}

/// What a reader must know beside the amounts.
fn notes(invoice: &Invoice) -> Vec<String> {
    let of = |count: u64| {
        let all = if invoice.requests == 1 { "request" } else { "requests" };
        format!("{count} of {} {all}", invoice.requests)
    };
    let mut notes = Vec::new();
    if invoice.unpriced_requests > 0 {
        let count = of(invoice.unpriced_requests);
        notes.push(format!("{count} held: no price yet, not in any line"));
    }
    if invoice.estimated_requests > 0 {
        let (count, quantity) = (of(invoice.estimated_requests), invoice.estimated_quantity);
        notes.push(format!(
            "{count} estimated: the provider did not report all of their usage ({} tokens)",
            grouped(&quantity.to_string()),
        ));
    }
    if invoice.simulated {
        let count = of(invoice.simulated_requests);
        notes.push(format!(
            "{count} simulated: served by the built-in provider, so this never becomes final"
        ));
    }
    notes
}

/// A project's or a model's name stands on its first line only.
fn lines(invoice: &Invoice) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("project", Align::Left),
        ("model", Align::Left),
        ("class", Align::Left),
        ("thousand tokens", Align::Right),
        ("price per thousand", Align::Right),
        ("amount", Align::Right),
    ]);
    let currency = invoice.currency;
    for lines in invoice.lines.chunk_by(|a, b| a.project == b.project) {
        let mut shown = None;
        for (place, line) in lines.iter().enumerate() {
            let project = if place == 0 { line.project.as_str() } else { "" };
            let model = if shown == Some(&line.model) { "" } else { line.model.as_str() };
            shown = Some(&line.model);
            let (quantity, price) = quantity_and_price(line);
            let class = class(line);
            let amount = grouped(&line.amount.to_string());
            grid.row([project.to_owned(), model.to_owned(), class, quantity, price, amount]);
        }
        let subtotal = grouped(&subtotal(lines, currency)?.to_string());
        grid.row(["", "", "", "", "subtotal", &subtotal]);
    }
    for tax in &invoice.tax {
        let rate = format!("{} {}%", tax.name, tax.percent.normalize());
        grid.row(["", "", "", "", &rate, &grouped(&tax.amount.to_string())]);
    }
    let total = grouped(&invoice.total.to_string());
    grid.row(["", "", "", "", &format!("total {}", currency.code()), &total]);
    Ok(grid.render(""))
}

/// The class; a band of the price that is not its first one is told beside it.
fn class(line: &InvoiceLine) -> String {
    match line.band {
        0 => line.meter.to_string(),
        band => format!("{} (band {band})", line.meter),
    }
}

/// Tokens are told in thousands; a unit's quantity and price say so.
fn quantity_and_price(line: &InvoiceLine) -> (String, String) {
    let number = |decimal: Decimal| grouped(&decimal.normalize().to_string());
    match (line.quantity_thousand, line.price_per_thousand, line.price_per_unit) {
        (Some(thousands), Some(price), _) => (grouped(&thousands_text(thousands)), number(price)),
        (_, _, Some(price)) => (
            format!("{} {}", grouped(&line.quantity.to_string()), line.meter),
            format!("{} each", number(price)),
        ),
        _ => (grouped(&line.quantity.to_string()), String::new()),
    }
}

/// Three places always: a token is a thousandth, and the column lines up.
fn thousands_text(thousands: Decimal) -> String {
    format!("{thousands:.3}")
}

/// What a reader would add up by hand: the rounded amounts of one project.
fn subtotal(lines: &[InvoiceLine], currency: Currency) -> Result<Decimal, CliError> {
    lines
        .iter()
        .try_fold(Money::zero(currency), |sum, line| sum.try_add(Money::new(line.amount, currency)))
        .map(|sum| sum.amount())
        .map_err(|error| CliError::Refused(error.to_string()))
}
