//! Interim invoices: a running month's usage, billed before the month ends.
//!
//! An interim invoice has the whole life of an invoice. It leaves out what is owed at the month's
//! end and what is late of earlier months; the month's own invoice bills the rest, by the same
//! account of what is billed as late usage (`invoiced`). Decision 0034.

mod repo;
mod thresholds;

use chrono::{DateTime, Utc};
use permille_types::CustomerId;
use rust_decimal::Decimal;

pub(super) use repo::issued;
pub use thresholds::{ThresholdSweep, ThresholdsSeen};

use super::{
    InvoiceKind, InvoiceState, InvoiceTexts, Stored, Wanted, checked, compute, life::take, month,
    repo::live, state::Step,
};
use crate::{
    Customer, Instruction, Invoice, Ledger, LedgerError, audit::Author, catalogue::Catalogue,
    error::During, store::Connection,
};

/// What the history of a draft says that a close made void.
const GIVES_WAY: &str = "its month has ended: the month's own invoice bills what it says";

impl Ledger {
    /// What an interim invoice over the month `period` would bill now: its usage so far that is on
    /// no issued invoice. Stores nothing.
    ///
    /// # Errors
    /// As [`Ledger::preview_invoice`].
    pub async fn preview_interim(
        &self,
        customer: &CustomerId,
        period: &str,
    ) -> Result<Invoice, LedgerError> {
        self.preview(customer, Wanted::preview(period, InvoiceKind::Interim)).await
    }

    /// Drafts an interim invoice over a month that has not ended. While one is not issued, drafting
    /// again replaces what it says and keeps its id.
    ///
    /// # Errors
    /// As [`Ledger::draft_invoice_saying`]; [`LedgerError::Refused`] when the month has ended or is
    /// invoiced, and when nothing is to be billed.
    pub async fn draft_interim(
        &self,
        customer: &CustomerId,
        period: &str,
        texts: InvoiceTexts,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let texts = checked(&texts)?;
        let wanted = Wanted { label: period, kind: InvoiceKind::Interim, id: None, texts };
        self.draft_asked(customer, wanted, instruction).await
    }

    /// Makes an interim draft void that nobody approved before its month ended: the month's own
    /// invoice bills what it says, and waits for it. What somebody approved stays.
    pub(super) async fn give_way(
        &self,
        customer: &CustomerId,
        period: &str,
        instruction: &Instruction,
    ) -> Result<(), LedgerError> {
        let draft =
            |open: Option<Stored>| open.filter(|open| open.invoice.state == InvoiceState::Draft);
        let mut reader = self.store.read().await?;
        let open = live(&mut reader, customer, period, InvoiceKind::Interim).await?;
        drop(reader);
        if draft(open).is_none() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        let open = live(&mut tx, customer, period, InvoiceKind::Interim).await?;
        let Some(open) = draft(open) else { return Ok(()) };
        let step = (Step::Void, Some(GIVES_WAY));
        let author = Author::from(instruction).unkeyed();
        take(&mut tx, &open, step, author, self.now()).await?;
        tx.commit().await.during("commit the end of an interim draft")
    }
}

/// Refuses to draft an interim invoice over a month that bills itself whole.
pub(super) async fn refuse_over(
    connection: &mut Connection,
    customer: &Customer,
    period: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    let end = month(period, customer)?.end;
    if now >= end {
        let end = end.format("%Y-%m-%dT%H:%M:%SZ");
        let reason = format!(
            "has ended at {end}; accepted: its own invoice, or an interim one over a running month"
        );
        return Err(LedgerError::refused("period", period, reason));
    }
    let own = live(connection, &customer.id, period, InvoiceKind::Month).await?;
    match own.filter(|own| own.invoice.state.is_issued()) {
        None => Ok(()),
        Some(own) => Err(LedgerError::refused(
            "invoice",
            own.shown_number(),
            format!("has billed {period}; late usage is on the next invoice"),
        )),
    }
}

/// Refuses an interim draft that could never be issued, or bills nothing: it would only stand in
/// the way of the month's own.
pub(super) fn refuse_nothing(invoice: &Invoice) -> Result<(), LedgerError> {
    if !invoice.interim || (invoice.subtotal > Decimal::ZERO && !invoice.simulated) {
        return Ok(());
    }
    let (period, subtotal) = (&invoice.period.label, invoice.subtotal);
    let reason = if invoice.simulated {
        "has usage of the built-in simulated provider alone; that is never billed".to_owned()
    } else {
        format!("has {subtotal} that is not billed; accepted: usage that costs something")
    };
    Err(LedgerError::refused("period", period, reason))
}

/// Refuses a step towards the issue of an invoice that other interim invoices of its month make
/// untrue: the month's own while one is not issued, and any that tells of others than there are.
pub(super) async fn refuse_untold(
    connection: &mut Connection,
    stored: &Stored,
) -> Result<(), LedgerError> {
    let invoice = &stored.invoice;
    let (customer, period) = (&invoice.customer.id, &invoice.period.label);
    if !invoice.interim
        && let Some(open) = live(connection, customer, period, InvoiceKind::Interim).await?
    {
        let (id, state) = (open.shown_number(), open.invoice.state.as_str());
        let reason = format!(
            "waits for interim invoice `{id}` over {period}, which is {state}; accepted: to issue \
             that one or to make it void, and to draft this one again"
        );
        return Err(LedgerError::refused("invoice", &stored.id, reason));
    }
    if issued(connection, customer, period, invoice.currency).await? != invoice.billed_before {
        let reason = format!(
            "was drafted before an interim invoice over {period} was issued or made void; draft it \
             again"
        );
        return Err(LedgerError::refused("invoice", &stored.id, reason));
    }
    Ok(())
}

/// Refuses to void an interim invoice that the month's own invoice counts on.
pub(super) async fn refuse_counted_on(
    connection: &mut Connection,
    stored: &Stored,
) -> Result<(), LedgerError> {
    let invoice = &stored.invoice;
    if !invoice.interim {
        return Ok(());
    }
    let (customer, period) = (&invoice.customer.id, &invoice.period.label);
    let own = live(connection, customer, period, InvoiceKind::Month).await?;
    match own.filter(|own| own.invoice.state.is_issued()) {
        None => Ok(()),
        Some(own) => {
            let reason = format!(
                "is counted on by invoice `{}`, which has billed the rest of {period}; accepted: \
                 to credit it, or to make that one void first",
                own.shown_number()
            );
            Err(LedgerError::refused("invoice", stored.shown_number(), reason))
        }
    }
}

/// Whether a month's own invoice would have a line now.
pub(crate) async fn owes_rest(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &Customer,
    period: &str,
) -> Result<bool, LedgerError> {
    let wanted = Wanted::preview(period, InvoiceKind::Month);
    let invoice = compute(connection, (catalogue, None), customer, wanted).await?;
    Ok(!invoice.lines.is_empty() && !invoice.simulated)
}
