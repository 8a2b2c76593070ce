//! An invoice computed again from records and prices alone, and compared byte for byte (B10).
//!
//! No store is asked: whoever has the files has all that it takes.

use std::collections::BTreeMap;

use permille_rating::{
    invoice::{InvoiceDocument, InvoiceError, InvoiceHead, InvoiceLine, UsageSum, invoice_lines},
    period::Period,
    verify::{CountedMonth, Recount},
};
use permille_types::DocumentNumber;

use super::{Invoice, compute::projects_of};
use crate::{
    LedgerError, RecordHead,
    invoiced::{LineKey, key_of, key_of_line},
};

/// Why an invoice cannot be computed again from what was given.
#[derive(Debug, thiserror::Error)]
pub enum NotVerifiable {
    /// The text is no invoice of this version.
    #[error("read invoice")]
    Read(#[source] serde_json::Error),
    /// It was drafted before records were kept.
    #[error("the invoice names no records; accepted: one that was drafted since they are kept")]
    NoRecords,
    /// It bills by more than usage at its prices.
    #[error(
        "the invoice bills by {what}, which are not among the files; accepted: one over usage at \
         its prices alone"
    )]
    Terms {
        /// By what.
        what: &'static str,
    },
    /// Another invoice had billed some of the records, and is not there.
    #[error("invoice {number} had billed some of {month} and is needed beside this one")]
    EarlierMissing {
        /// Its number.
        number: DocumentNumber,
        /// The month of both.
        month: String,
    },
    /// The arithmetic has no result.
    #[error("compute the invoice again")]
    Compute(#[source] LedgerError),
    /// The lines have no result.
    #[error("compute the lines again")]
    Lines(#[source] InvoiceError),
}

/// What came of computing an invoice again.
#[derive(Debug)]
pub struct Verification {
    /// What differs, a sentence each: nothing when the invoice is right.
    pub differences: Vec<String>,
    /// The invoice as the records have it.
    pub recomputed: Invoice,
}

/// Numbers of the invoices that had billed some of this one's months before it.
#[must_use]
pub fn earlier_needed(invoice: &Invoice) -> Vec<DocumentNumber> {
    let mut numbers: Vec<_> =
        invoice.records.iter().flat_map(|head| head.billed_by.iter().cloned()).collect();
    numbers.sort();
    numbers.dedup();
    numbers
}

/// Computes the invoice `text` again from `recount`, and compares. `earlier` are documents of
/// invoices that had billed some of the same months.
///
/// # Errors
/// [`NotVerifiable`] when something is missing; what is wrong with the invoice is no error.
pub fn verify_invoice(
    text: &str,
    recount: &Recount,
    earlier: &[Invoice],
) -> Result<Verification, NotVerifiable> {
    let invoice: Invoice = serde_json::from_str(text).map_err(NotVerifiable::Read)?;
    if invoice.records.is_empty() {
        return Err(NotVerifiable::NoRecords);
    }
    if let Some(what) = terms(&invoice) {
        return Err(NotVerifiable::Terms { what });
    }
    let mut differences = Vec::new();
    let mut lines = Vec::new();
    let mut heads = Vec::new();
    for head in &invoice.records {
        let month = recount.month(&head.period);
        heads.push(compare_records(head, &month, &mut differences));
        let mut sums = month.sums(invoice.simulated);
        let billed = billed_before(head, earlier)?;
        if let Some(why) = take_away(&mut sums, billed) {
            differences.push(format!("records of {}: {why}", head.period));
        }
        let own = head.period == invoice.period.label;
        let corrects = (!own).then(|| head.period.clone());
        let found = invoice_lines(sums, |version| recount.price_of(version), invoice.currency)
            .map_err(NotVerifiable::Lines)?;
        lines.extend(
            found.into_iter().map(|line| InvoiceLine { corrects: corrects.clone(), ..line }),
        );
    }
    for label in recount.labels() {
        if invoice.records.iter().all(|head| head.period != label) {
            differences
                .push(format!("records of {label}: the invoice bills nothing of that month"));
        }
    }
    let recomputed = recomputed(&invoice, lines, heads, recount)?;
    compare(&invoice, &recomputed, &mut differences);
    let same = serde_json::to_string(&recomputed).is_ok_and(|again| again == text.trim_end());
    if !same && differences.is_empty() {
        differences.push("the text of the invoice is not that of its content".to_owned());
    }
    Ok(Verification { differences, recomputed })
}

/// What the invoice bills by beside prices.
fn terms(invoice: &Invoice) -> Option<&'static str> {
    let of_plan = |line: &InvoiceLine| line.part.is_some() || !line.meter.is_usage();
    if invoice.lines.iter().any(of_plan) {
        Some("the terms of a plan")
    } else if !invoice.charges.is_empty() || invoice.lines.iter().any(|line| line.charge.is_some())
    {
        Some("charges")
    } else if !invoice.credits.is_empty() || invoice.prepaid.is_some() {
        Some("prepaid credit")
    } else {
        None
    }
}

/// Compares the records of a month with what the invoice printed of them. What it should have.
fn compare_records(
    head: &RecordHead,
    month: &CountedMonth,
    differences: &mut Vec<String>,
) -> RecordHead {
    let size = month.counts().requests;
    let of = &head.period;
    if size != head.size {
        let printed = head.size;
        differences.push(format!("records of {of}: {size} are here, the invoice has {printed}"));
    }
    let Some(root) = month.root() else {
        differences.push(format!("records of {of}: one is missing between the others"));
        return head.clone();
    };
    if root != head.root {
        let printed = head.root;
        differences.push(format!("root of {of}: {root} from the records, {printed} printed"));
    }
    RecordHead { size, root, ..head.clone() }
}

/// What earlier invoices had billed of a month.
fn billed_before(
    head: &RecordHead,
    earlier: &[Invoice],
) -> Result<BTreeMap<LineKey, u64>, NotVerifiable> {
    let mut billed: BTreeMap<LineKey, u64> = BTreeMap::new();
    for number in &head.billed_by {
        let missing =
            || NotVerifiable::EarlierMissing { number: number.clone(), month: head.period.clone() };
        let other = earlier
            .iter()
            .find(|other| other.number.as_ref() == Some(number))
            .ok_or_else(missing)?;
        for line in &other.lines {
            let of_month = line.corrects.as_ref().unwrap_or(&other.period.label) == &head.period;
            if of_month && line.meter.is_usage() {
                let sum = billed.entry(key_of_line(line)).or_default();
                *sum = sum.saturating_add(line.quantity);
            }
        }
    }
    Ok(billed)
}

/// Takes what was billed from the sums. What does not fit.
fn take_away(sums: &mut [UsageSum], mut billed: BTreeMap<LineKey, u64>) -> Option<String> {
    let mut unfit = None;
    for sum in sums.iter_mut() {
        let before = billed.remove(&key_of(sum)).unwrap_or_default();
        if before > sum.quantity {
            let (model, used) = (&sum.model, sum.quantity);
            unfit = Some(format!("{before} of `{model}` were billed before, {used} were used"));
        }
        sum.quantity = sum.quantity.saturating_sub(before);
    }
    let never_used = billed.into_iter().find(|(_, quantity)| *quantity > 0);
    let never_used = never_used.map(|((_, model, ..), quantity)| {
        format!("{quantity} of `{model}` were billed before and never used")
    });
    unfit.or(never_used)
}

/// The invoice as it should be: all that follows from lines and counts is made anew.
fn recomputed(
    invoice: &Invoice,
    lines: Vec<InvoiceLine>,
    records: Vec<RecordHead>,
    recount: &Recount,
) -> Result<Invoice, NotVerifiable> {
    let head = InvoiceHead {
        id: invoice.id.clone(),
        customer: invoice.customer.id.clone(),
        period: Period { start: invoice.period.start, end: invoice.period.end },
        time_zone: invoice.period.time_zone,
        currency: invoice.currency,
        tax_terms: invoice.tax_terms.clone(),
    };
    let document = InvoiceDocument::new(head, lines).map_err(NotVerifiable::Lines)?;
    let named = |id: &permille_types::ProjectId| {
        let project = invoice.projects.iter().find(|project| project.id == *id);
        project.map_or_else(|| id.to_string(), |project| project.name.clone())
    };
    let projects =
        projects_of(&document.lines, document.currency, named).map_err(NotVerifiable::Compute)?;
    let own = recount.month(&invoice.period.label);
    let counts = own.counts();
    Ok(Invoice {
        projects,
        lines: document.lines,
        subtotal: document.subtotal,
        net: document.net,
        tax: document.tax,
        gross: document.gross,
        total: document.total,
        records,
        requests: counts.requests,
        unpriced_requests: counts.unpriced,
        estimated_requests: counts.estimated,
        estimated_quantity: own.estimated_quantity(invoice.simulated),
        simulated_requests: counts.simulated,
        ..invoice.clone()
    })
}

/// Says where two invoices differ.
fn compare(printed: &Invoice, again: &Invoice, differences: &mut Vec<String>) {
    let keyed = |invoice: &Invoice| -> BTreeMap<_, _> {
        let lines = invoice.lines.iter();
        lines.map(|line| ((line.corrects.clone(), key_of_line(line)), line.clone())).collect()
    };
    let (printed_lines, again_lines) = (keyed(printed), keyed(again));
    if printed_lines.len() != printed.lines.len() {
        differences.push("lines: two of them bill the same".to_owned());
    }
    for (key, line) in &printed_lines {
        let what = named(line);
        match again_lines.get(key) {
            None => differences.push(format!("{what}: no record is behind it")),
            Some(other) if other != line => differences.push(format!(
                "{what}: {} and {} printed, {} and {} from the records",
                line.quantity, line.amount, other.quantity, other.amount
            )),
            Some(_) => {}
        }
    }
    for (key, line) in &again_lines {
        if !printed_lines.contains_key(key) {
            differences.push(format!("{}: {} is not printed", named(line), line.quantity));
        }
    }
    let mut total = |name: &str, printed: String, again: String| {
        if printed != again {
            differences.push(format!("{name}: {printed} printed, {again} from the records"));
        }
    };
    total("subtotal", printed.subtotal.to_string(), again.subtotal.to_string());
    total("net", printed.net.to_string(), again.net.to_string());
    total("gross", printed.gross.to_string(), again.gross.to_string());
    total("total", printed.total.to_string(), again.total.to_string());
    let counts = |invoice: &Invoice| {
        [
            invoice.requests,
            invoice.unpriced_requests,
            invoice.estimated_requests,
            invoice.simulated_requests,
        ]
        .map(|count| count.to_string())
        .join(", ")
    };
    total("requests (all, unpriced, estimated, simulated)", counts(printed), counts(again));
}

fn named(line: &InvoiceLine) -> String {
    let (project, model, meter) = (&line.project, &line.model, &line.meter);
    let late = line.corrects.as_ref().map(|month| format!(" of {month}")).unwrap_or_default();
    format!("line `{project}` `{model}` {meter}{late}")
}
