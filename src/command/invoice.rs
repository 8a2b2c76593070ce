//! `permille invoice …`: what a customer owes for a period, and the life of an invoice.

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use permille_ledger::{Invoice, TaxTerms};
use permille_rating::invoice::InvoiceLine;
use permille_types::{Currency, Money};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    Context,
    amount::{self, Amount},
    credit_note,
    evidence::{self, Evidence},
    export::{self, Export},
    history, moment, or_dash, view,
};
use crate::{
    api::{Api, Path},
    error::CliError,
    table::{Align, Grid, counted, grouped},
};

/// What to do with invoices.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What an invoice would say now; nothing is stored.
    Preview(Month),
    /// Make or renew the draft of a period.
    Draft {
        #[command(flatten)]
        month: Month,
        /// Purchase order on this invoice, over the customer's own.
        #[arg(long)]
        purchase_order: Option<String>,
        /// Notes on this invoice, over the customer's own.
        #[arg(long)]
        notes: Option<String>,
    },
    /// List invoices.
    List {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one invoice as it stands now.
    Show {
        /// Its id or number.
        id: String,
    },
    /// Print the document of an issued invoice, byte for byte.
    Document {
        /// Its id or number.
        id: String,
    },
    /// Write all that it takes to compute an issued invoice again: see `permille verify`.
    Evidence(Evidence),
    /// Write an invoice or a credit note as a file.
    Export(Export),
    /// Show what was done to an invoice: when, by whom, from which state to which.
    History {
        /// Its id or number.
        id: String,
    },
    /// Approve drafts: what they say now is what will be issued.
    Approve {
        /// Ids of the invoices.
        #[arg(required = true)]
        ids: Vec<String>,
        /// The total that was seen, such as "12.50 CNY": a draft that says another one by now is
        /// refused. Of one draft.
        #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
        total: Option<Amount>,
    },
    /// Issue approved invoices: each gets the next number and never changes again.
    Finalize {
        /// Ids of the invoices.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Note that a final invoice is paid, in whole or in part.
    Pay {
        /// Its id or number.
        id: String,
        /// How much came, such as "12.50 CNY" (another currency than the invoice's is refused); all
        /// that is due when absent.
        #[arg(long, allow_negative_numbers = true)]
        amount: Option<Amount>,
        /// What the payment is called at the bank: told again by it, it is booked once.
        #[arg(long)]
        reference: Option<String>,
        /// The day of the payment at the bank.
        #[arg(long, value_name = "DAY")]
        date: Option<NaiveDate>,
    },
    /// Note that money went back which credit notes have left too much.
    Refund {
        /// Its id or number.
        id: String,
        /// How much went back, such as "12.50 CNY"; all that is to be paid back when absent.
        #[arg(long, allow_negative_numbers = true)]
        amount: Option<Amount>,
        /// What the payment is called at the bank: told again by it, it is booked once.
        #[arg(long)]
        reference: Option<String>,
        /// The day of the payment at the bank.
        #[arg(long, value_name = "DAY")]
        date: Option<NaiveDate>,
    },
    /// Credit an issued invoice: what is left of it, an amount, or a line; the tax goes with it.
    Credit {
        /// Its id or number.
        id: String,
        /// How much, before tax, such as "12.50 CNY".
        #[arg(long, allow_negative_numbers = true)]
        amount: Option<Amount>,
        /// Of which line, the first is 1.
        #[arg(long)]
        line: Option<usize>,
        /// Why it is credited: it stands on the credit note.
        #[arg(long)]
        reason: String,
    },
    /// List credit notes.
    CreditNotes {
        /// Only those of this customer, by its id.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one credit note.
    CreditNote {
        /// Its id or number.
        id: String,
    },
    /// Make an invoice of no effect that nobody has paid; its usage can be invoiced again.
    Void {
        /// Its id or number.
        id: String,
        /// Why it is of no effect: it stays in the history.
        #[arg(long)]
        reason: String,
    },
}

/// Whom to bill, and for when.
#[derive(Debug, Args)]
pub(crate) struct Month {
    /// The customer, by its id.
    #[arg(long)]
    customer: String,
    /// A month in the customer's time zone, such as 2026-11.
    #[arg(long, value_name = "YYYY-MM")]
    period: String,
    /// Only what of the running month's usage is not billed yet, before the month ends.
    #[arg(long)]
    interim: bool,
}

/// What the API is asked for of a month.
#[derive(Debug, Serialize)]
struct MonthBody<'a> {
    customer: &'a str,
    period: &'a str,
    /// A service from before interim invoices refuses the word.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interim: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    purchase_order: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
}

/// An invoice in a list.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    number: Option<String>,
    customer: String,
    period: String,
    #[serde(default)]
    interim: bool,
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
        Command::Preview(month) => {
            let preview = api.post(&Path::of(&["invoices", "preview"]), &month.body()).await?;
            context.output.one(&preview, text)
        }
        Command::Draft { month, purchase_order, notes } => {
            let (purchase_order, notes) = (purchase_order.as_deref(), notes.as_deref());
            let body = MonthBody { purchase_order, notes, ..month.body() };
            let draft = api.post(&Path::of(&["invoices", "draft"]), &body).await?;
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
        Command::Document { id } => {
            let document = api.get(&Path::of(&["invoices", id, "document"])).await?;
            context.output.line(document.get())
        }
        Command::Evidence(wanted) => evidence::run(context, &api, wanted).await,
        Command::Export(export) => export::run(context, &api, export).await,
        Command::History { id } => {
            let entries = api.list(&Path::of(&["invoices", id, "history"])).await?;
            context.output.list(&entries, history::table)
        }
        Command::Approve { ids, total } => {
            if total.is_some() && ids.len() > 1 {
                let reason = "`--total` is the total of one draft; accepted: one id with it";
                return Err(CliError::Usage(reason.to_owned()));
            }
            let (number, currency) = amount::parts(total.as_ref());
            let seen = json!({"expected_total": number, "currency": currency});
            each(context, &api, ids, ("approve", &seen)).await
        }
        Command::Finalize { ids } => each(context, &api, ids, ("finalize", &json!({}))).await,
        Command::Pay { id, amount, reference, date } => {
            let body = moved(amount.as_ref(), reference.as_deref(), *date);
            let paid = api.post(&Path::of(&["invoices", id, "pay"]), &body).await?;
            context.output.one(&paid, text)
        }
        Command::Refund { id, amount, reference, date } => {
            let body = moved(amount.as_ref(), reference.as_deref(), *date);
            let back = api.post(&Path::of(&["invoices", id, "refund"]), &body).await?;
            context.output.one(&back, text)
        }
        Command::Credit { id, amount, line, reason } => {
            let (number, currency) = amount::parts(amount.as_ref());
            let body =
                json!({"amount": number, "currency": currency, "line": line, "reason": reason});
            let note = api.post(&Path::of(&["invoices", id, "credit"]), &body).await?;
            context.output.one(&note, credit_note::text)
        }
        Command::CreditNotes { customer } => {
            let path = Path::of(&["credit-notes"]).with("customer", customer.as_deref());
            let notes = api.list(&path).await?;
            context.output.list(&notes, credit_note::table)
        }
        Command::CreditNote { id } => {
            let note = api.get(&Path::of(&["credit-notes", id])).await?;
            context.output.one(&note, credit_note::text)
        }
        Command::Void { id, reason } => {
            let body = json!({"reason": reason});
            let void = api.post(&Path::of(&["invoices", id, "void"]), &body).await?;
            context.output.one(&void, text)
        }
    }
}

/// A movement of money, as the API takes it.
fn moved(
    amount: Option<&Amount>,
    reference: Option<&str>,
    date: Option<NaiveDate>,
) -> serde_json::Value {
    let (number, currency) = amount::parts(amount);
    json!({"amount": number, "currency": currency, "reference": reference, "date": date})
}

/// One step for each of several invoices, in the order given; the first refusal ends it.
async fn each(
    context: &Context,
    api: &Api,
    ids: &[String],
    (step, body): (&str, &serde_json::Value),
) -> Result<(), CliError> {
    for id in ids {
        let done = api.post(&Path::of(&["invoices", id, step]), body).await?;
        context.output.one(&done, text)?;
    }
    Ok(())
}

impl Month {
    fn body(&self) -> MonthBody<'_> {
        let Self { customer, period, interim } = self;
        MonthBody { customer, period, interim: *interim, purchase_order: None, notes: None }
    }
}

fn table(invoices: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("number", Align::Left),
        ("customer", Align::Left),
        ("period", Align::Left),
        ("state", Align::Left),
        ("total", Align::Right),
        ("", Align::Left),
        ("updated (UTC)", Align::Left),
    ]);
    for invoice in invoices {
        let invoice: Listed = view(invoice)?;
        let interim = if invoice.interim { " (interim)" } else { "" };
        grid.row([
            invoice.id,
            or_dash(invoice.number.as_ref()),
            invoice.customer,
            format!("{}{interim}", invoice.period),
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
    let id = invoice.id.as_ref().map(|id| format!(" {id}"));
    let number = invoice.number.as_ref().map(|number| format!(" {number}"));
    let id = number.or(id).unwrap_or_default();
    let period = &invoice.period;
    let local =
        |instant: DateTime<Utc>| instant.with_timezone(&period.time_zone).format("%Y-%m-%d %H:%M");
    let mut head = format!(
        "{title}{id} ({state})\n\n\
         customer  {name} ({customer})\n\
         period    {label}: {start} to {end}, {zone}\n\
         currency  {currency}\n",
        title = if invoice.interim { "Interim invoice" } else { "Invoice" },
        state = invoice.state.as_str(),
        name = invoice.customer.name,
        customer = invoice.customer.id,
        label = period.label,
        start = local(period.start),
        end = local(period.end),
        zone = period.time_zone,
        currency = invoice.currency.code(),
    );
    head.push_str(&particulars(&invoice));
    let mut parts = vec![head, lines(&invoice)?];
    if !invoice.charges.is_empty() {
        parts.push(format!("\n{}", charges(&invoice)));
    }
    if !invoice.records.is_empty() {
        parts.push(format!("\n{}", records(&invoice)));
    }
    let notes = notes(&invoice);
    if !notes.is_empty() {
        parts.push(String::new());
    }
    parts.extend(notes.iter().map(|note| format!("note: {note}")));
    Ok(parts.join("\n"))
}

/// What else stands in the head: tax id, address, order, taxes, what was paid.
fn particulars(invoice: &Invoice) -> String {
    let taxes = match &invoice.tax_terms {
        TaxTerms::None | TaxTerms::Standard { .. } => None,
        TaxTerms::ReverseCharge => Some("reverse charge: the customer accounts for it".to_owned()),
        TaxTerms::Exempt { reason } => Some(format!("exempt: {reason}")),
    };
    let standing = invoice.standing.as_ref().map(|standing| {
        let amount = |amount: Decimal| grouped(&amount.to_string());
        let (paid, credited) = (amount(standing.paid), amount(standing.credited));
        let refunded = standing.refunded.map(|back| format!("{} paid back, ", amount(back)));
        let refunded = refunded.unwrap_or_default();
        format!("{paid} paid, {credited} credited, {refunded}{} due", amount(standing.due))
    });
    let before: Vec<String> = invoice
        .billed_before
        .iter()
        .map(|before| format!("{} {}", before.number, grouped(&before.subtotal.to_string())))
        .collect();
    let before = (!before.is_empty())
        .then(|| format!("billed of this month by interim invoices: {}", before.join(", ")));
    [
        ("tax id", invoice.customer.tax_id.clone()),
        ("bill to", invoice.customer.billing_address.clone()),
        ("order", invoice.purchase_order.clone()),
        ("tax", taxes),
        ("notes", invoice.notes.clone()),
        ("standing", standing),
        ("before", before),
    ]
    .into_iter()
    .filter_map(|(title, text)| Some((title, text?)))
    .flat_map(|(title, text)| {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let titles = std::iter::once(title).chain(std::iter::repeat(""));
        titles.zip(lines).map(|(title, line)| format!("{title:<9} {line}\n")).collect::<Vec<_>>()
    })
    .collect()
}

/// What a reader must know beside the amounts.
fn notes(invoice: &Invoice) -> Vec<String> {
    let of = |count: u64| format!("{count} of {}", counted(invoice.requests, "request"));
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
    } else if invoice.simulated_requests > 0 {
        let count = of(invoice.simulated_requests);
        notes.push(format!("{count} simulated: on no line, because that is never billed"));
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
    if !invoice.tax.is_empty() {
        grid.row(["", "", "", "", "net", &grouped(&invoice.net.to_string())]);
    }
    for tax in &invoice.tax {
        let rate = format!("{} {}%", tax.name, tax.percent.normalize());
        grid.row(["", "", "", "", &rate, &grouped(&tax.amount.to_string())]);
    }
    for credit in &invoice.credits {
        let amount = grouped(&format!("-{}", credit.amount));
        grid.row(["", "", "", "", &format!("credit {}", credit.grant), &amount]);
    }
    let total = grouped(&invoice.total.to_string());
    grid.row(["", "", "", "", &format!("total {}", currency.code()), &total]);
    Ok(grid.render(""))
}

/// How the amounts of charges came about.
fn charges(invoice: &Invoice) -> String {
    let mut grid = Grid::new(&[
        ("charge", Align::Left),
        ("of", Align::Left),
        ("quantity", Align::Right),
        ("per", Align::Left),
        ("amount", Align::Right),
        ("billed before", Align::Right),
        ("billed", Align::Right),
    ]);
    let amount = |amount: Decimal| grouped(&amount.to_string());
    for charge in &invoice.charges {
        grid.row([
            charge.name.clone(),
            charge.corrects.clone().unwrap_or_else(|| invoice.period.label.clone()),
            grouped(&charge.quantity.normalize().to_string()),
            charge.per.map_or_else(String::new, |per| per.as_str().to_owned()),
            amount(charge.amount),
            or_dash(charge.billed_before.map(amount).as_ref()),
            amount(charge.billed),
        ]);
    }
    grid.render("")
}

/// The records behind the lines, and the root that proves them.
fn records(invoice: &Invoice) -> String {
    let mut grid = Grid::new(&[
        ("records of", Align::Left),
        ("requests", Align::Right),
        ("root", Align::Left),
    ]);
    for head in &invoice.records {
        grid.row([head.period.clone(), grouped(&head.size.to_string()), head.root.to_string()]);
    }
    grid.render("")
}

/// The class; a band of the price that is not its first one and the month of late usage are told
/// beside it.
fn class(line: &InvoiceLine) -> String {
    let class = match line.band {
        0 => line.meter.to_string(),
        band => format!("{} (band {band})", line.meter),
    };
    let class = match line.part {
        None => class,
        Some(part) => format!("{class}, from {}", part.start.format("%Y-%m-%d %H:%M UTC")),
    };
    match &line.corrects {
        None => class,
        Some(month) => format!("{class}, late of {month}"),
    }
}

/// Tokens are told in thousands; a unit's quantity and price say so.
fn quantity_and_price(line: &InvoiceLine) -> (String, String) {
    let number = |decimal: Decimal| grouped(&decimal.normalize().to_string());
    if !line.meter.is_usage() {
        return (String::new(), String::new());
    }
    if line.charge.is_some() {
        let quantity = line.quantity_thousand.map_or_else(
            || format!("{} {}", grouped(&line.quantity.to_string()), line.meter),
            |thousands| grouped(&thousands_text(thousands)),
        );
        return (quantity, "by charge".to_owned());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_from_before_interim_invoices_is_not_told_of_them() {
        let asked = |interim| {
            let month = Month { customer: "acme".into(), period: "2026-11".into(), interim };
            serde_json::to_string(&month.body()).unwrap()
        };

        assert_eq!(asked(false), r#"{"customer":"acme","period":"2026-11"}"#);
        assert_eq!(asked(true), r#"{"customer":"acme","period":"2026-11","interim":true}"#);
    }
}
