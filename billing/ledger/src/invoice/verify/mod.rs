//! An invoice computed again from records, prices and the terms that it carries, and compared byte
//! for byte (B10).
//!
//! No store is asked: whoever has the files has all that it takes. Quantities come from the
//! records, prices from the price file; plans, charges, grants and taxes are those that were
//! written on the invoice when it was drafted, so nothing that has changed since changes what is
//! verified.

mod compare;
mod months;
mod notes;

use permille_rating::{
    invoice::{
        CreditError, InvoiceDocument, InvoiceError, InvoiceHead, MonthBill, MonthTerms, Prepaid,
        TermsError,
    },
    period::Period,
    verify::Recount,
};
use permille_types::{DocumentNumber, Price};

use super::{
    INVOICE_VERSION, InterimInvoice, Invoice, InvoiceKind, InvoicePeriod, compute::projects_of,
};
use crate::{CreditNote, LedgerError};
use months::Again;

/// Why an invoice cannot be computed again from what was given.
#[derive(Debug, thiserror::Error)]
pub enum NotVerifiable {
    /// The text is no invoice of this version.
    #[error("read invoice")]
    Read(#[source] serde_json::Error),
    /// It was drafted before records were kept.
    #[error("the invoice names no records; accepted: one that was drafted since they are kept")]
    NoRecords,
    /// It bills by more than usage at its prices and does not carry its terms.
    #[error(
        "the invoice bills by {what}, and was drafted before terms were written on invoices; \
         accepted: one over usage at its prices alone, or one of version {INVOICE_VERSION}"
    )]
    NoTerms {
        /// By what.
        what: &'static str,
    },
    /// The terms that it carries contradict themselves.
    #[error("read the terms of the invoice")]
    Terms(#[source] TermsError),
    /// Another invoice had billed some of the records, and is not there.
    #[error(
        "invoice {number} had billed some of {month} and is needed beside this one: give it with \
         `--earlier FILE`"
    )]
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
    /// A credit note has no result.
    #[error("compute a credit note again")]
    Credit(#[source] CreditError),
}

/// What there is beside the invoice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// Invoices that had billed some of the same months.
    pub earlier: &'a [Invoice],
    /// Its credit notes, all of them, or none to look at the invoice alone.
    pub notes: &'a [CreditNote],
}

/// What came of computing an invoice again.
#[derive(Debug)]
pub struct Verification {
    /// What differs, a sentence each: nothing when the invoice is right.
    pub differences: Vec<String>,
    /// What a reader should know of an invoice that is right, a sentence each.
    pub remarks: Vec<String>,
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

/// A recount for the records of `invoice`, which counts the parts of its months apart.
#[must_use]
pub fn recount_of(invoice: &Invoice, prices: Vec<Price>) -> Recount {
    let (customer, zone) = (invoice.customer.id.clone(), invoice.period.time_zone);
    let mut recount = Recount::new(customer, zone, invoice.currency, prices);
    for MonthTerms { period, parts, .. } in invoice.terms.iter().flat_map(|terms| &terms.months) {
        recount.cut(period, parts.iter().map(|part| part.period.start).collect());
    }
    recount
}

/// Computes the invoice `text` again from `recount`, which is [`recount_of`] with all records
/// added, and compares.
///
/// # Errors
/// [`NotVerifiable`] when something is missing; what is wrong with the invoice is no error.
pub fn verify_invoice(
    text: &str,
    recount: &Recount,
    beside: &Beside<'_>,
) -> Result<Verification, NotVerifiable> {
    let invoice: Invoice = serde_json::from_str(text).map_err(NotVerifiable::Read)?;
    if invoice.records.is_empty() {
        return Err(NotVerifiable::NoRecords);
    }
    if let Some(what) = terms_of_before(&invoice) {
        return Err(NotVerifiable::NoTerms { what });
    }
    let mut differences = Vec::new();
    let again = months::bill_again(&invoice, recount, beside.earlier, &mut differences)?;
    for label in recount.labels() {
        if invoice.records.iter().all(|head| head.period != label) {
            differences
                .push(format!("records of {label}: the invoice bills nothing of that month"));
        }
    }
    let recomputed = recomputed(&invoice, again, recount)?;
    compare::compare(&invoice, &recomputed, &mut differences);
    let same = serde_json::to_string(&recomputed).is_ok_and(|again| again == text.trim_end());
    if !same && differences.is_empty() {
        differences.push("the text of the invoice is not that of its content".to_owned());
    }
    let mut remarks = remarks(&invoice, beside);
    remarks.extend(notes::check(&invoice, beside.notes, &mut differences)?);
    Ok(Verification { differences, remarks, recomputed })
}

/// What an invoice of before bills by that it does not carry.
fn terms_of_before(invoice: &Invoice) -> Option<&'static str> {
    if invoice.version >= INVOICE_VERSION {
        return None;
    }
    let of_plan = |line: &permille_rating::invoice::InvoiceLine| {
        line.part.is_some() || !line.meter.is_usage()
    };
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

/// The invoice as it should be: all that follows from records, prices and terms is made anew.
fn recomputed(
    invoice: &Invoice,
    again: Again,
    recount: &Recount,
) -> Result<Invoice, NotVerifiable> {
    let Again { lines, charges, records, billed_before, credit, period } = again;
    let head = InvoiceHead {
        id: invoice.id.clone(),
        customer: invoice.customer.id.clone(),
        period,
        time_zone: invoice.period.time_zone,
        currency: invoice.currency,
        tax_terms: invoice.tax_terms.clone(),
    };
    let grants = invoice.terms.as_ref().map(|terms| terms.grants.as_slice()).unwrap_or_default();
    let prepaid = Prepaid { terms: credit, grants };
    let document = InvoiceDocument::with_credit(head, MonthBill { lines, charges }, prepaid)
        .map_err(NotVerifiable::Lines)?;
    let named = |id: &permille_types::ProjectId| {
        let project = invoice.projects.iter().find(|project| project.id == *id);
        project.map_or_else(|| id.to_string(), |project| project.name.clone())
    };
    let projects =
        projects_of(&document.lines, document.currency, named).map_err(NotVerifiable::Compute)?;
    let own = recount.month(&invoice.period.label);
    let counts = own.counts();
    let Period { start, end } = period;
    let again = Invoice {
        period: InvoicePeriod { start, end, ..invoice.period.clone() },
        projects,
        lines: document.lines,
        charges: document.charges,
        credits: document.credits,
        prepaid: document.prepaid,
        subtotal: document.subtotal,
        net: document.net,
        tax: document.tax,
        gross: document.gross,
        total: document.total,
        billed_before,
        records,
        requests: counts.requests,
        unpriced_requests: counts.unpriced,
        estimated_requests: counts.estimated,
        estimated_quantity: own.estimated_quantity(invoice.simulated),
        simulated_requests: counts.simulated,
        ..invoice.clone()
    };
    let sealed = again.number.is_some() && again.version >= INVOICE_VERSION;
    Ok(Invoice { seal: if sealed { again.seal_of_content() } else { None }, ..again })
}

/// What a reader should know beside that it is right.
fn remarks(invoice: &Invoice, beside: &Beside<'_>) -> Vec<String> {
    let mut remarks = Vec::new();
    let before: Vec<String> = invoice
        .billed_before
        .iter()
        .map(|interim| format!("{} {}", interim.number, interim.subtotal))
        .collect();
    if !before.is_empty() {
        let (month, code) = (&invoice.period.label, invoice.currency.code());
        let before = before.join(", ");
        remarks
            .push(format!("interim invoices had billed some of {month} before: {before} {code}"));
    }
    for head in &invoice.records {
        let late = |line: &&permille_rating::invoice::InvoiceLine| {
            line.corrects.as_ref() == Some(&head.period)
        };
        let lines = invoice.lines.iter().filter(late).count();
        if lines > 0 {
            let by: Vec<&str> = head.billed_by.iter().map(DocumentNumber::as_str).collect();
            let after = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
            let month = &head.period;
            remarks.push(format!(
                "{lines} lines bill late usage of {month}, of which {after} had billed before"
            ));
        }
    }
    let needed = earlier_needed(invoice);
    for other in beside.earlier {
        let Some(number) = other.number.as_ref().filter(|number| !needed.contains(number)) else {
            continue;
        };
        let months = months::billed_by(other);
        let shared: Vec<&str> = invoice
            .records
            .iter()
            .map(|head| head.period.as_str())
            .filter(|month| months.contains(month))
            .collect();
        remarks.push(if shared.is_empty() {
            format!("{number} is beside it and has billed nothing of its months")
        } else {
            format!(
                "{number} is beside it, bills of {} too and is not in its `billed_by`: it was void \
                 when this one was drafted, or issued after that",
                shared.join(", ")
            )
        });
    }
    remarks
}
