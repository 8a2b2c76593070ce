//! What happens to a draft: it is approved, issued, or made void. Money is told in `payment.rs`.
//!
//! Every step is one transaction: state, number, document, taken usage and audit entry are
//! committed together or not at all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_types::{Currency, InvoiceId};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::{
    INVOICE_VERSION, Invoice, Stored, compute::month, found, interim, money, news, repo,
    state::Step, stored, subject,
};
use crate::{
    Instruction, Ledger, LedgerError,
    audit::{self, Author, Change},
    close, credit_note,
    error::During,
    grant, invoiced, prepaid,
    rollup::Scope,
    series::{self, Series},
    stated::refuse_other_currency,
    store::Connection,
    text,
};

/// Longest reason or reference, in bytes: a paragraph.
pub(super) const NOTE_BYTES_MAX: usize = 1_000;

/// The total that whoever approves a draft has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenTotal {
    /// The amount.
    pub amount: Decimal,
    /// Currency that it is meant in; the invoice's when absent.
    pub currency: Option<Currency>,
}

impl Ledger {
    /// Approves a draft: what it says now is what will be issued.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is no draft, is over a month
    /// that has not ended (unless it is an interim one), waits for an interim one of its month, or
    /// is over simulated usage; else the store's failure.
    pub async fn approve_invoice(
        &self,
        id: &InvoiceId,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.approve_invoice_over(id, None, instruction).await
    }

    /// The same of a draft that says `expected` in all: whoever approves has seen that total, and
    /// a draft that was renewed in between is refused.
    ///
    /// # Errors
    /// As [`Ledger::approve_invoice`]; [`LedgerError::Refused`] when the total is another one,
    /// [`LedgerError::Invalid`] when it is meant in another currency.
    pub async fn approve_invoice_over(
        &self,
        id: &InvoiceId,
        expected: Option<SeenTotal>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let seen = expected.map(|total| total.amount.normalize().to_string());
        self.step(id, Step::Approve { expected }, seen.as_deref(), instruction).await
    }

    /// Issues an approved invoice: gives it the next number, freezes its document and takes the
    /// usage of its lines.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is not approved or another
    /// invoice has billed its usage meanwhile; else the store's failure.
    pub async fn finalize_invoice(
        &self,
        id: &InvoiceId,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.step(id, Step::Finalize, None, instruction).await
    }

    /// Makes an invoice void that nobody has paid: it keeps its number and document, and its usage
    /// can be invoiced again.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is paid or void, or an interim
    /// one of a month whose own is issued; [`LedgerError::Invalid`] without a reason; else the
    /// store's failure.
    pub async fn void_invoice(
        &self,
        id: &InvoiceId,
        reason: &str,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.step(id, Step::Void, Some(text::line("reason", reason, NOTE_BYTES_MAX)?), instruction)
            .await
    }

    async fn step(
        &self,
        id: &InvoiceId,
        step: Step,
        note: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let stored = stored(&mut tx, id).await?;
        let request = note.unwrap_or_default();
        let subject = subject(&stored.id);
        if audit::repeated(&mut tx, subject, step.as_str(), request, instruction).await?.is_some() {
            return Ok(stored.invoice);
        }
        let done = take(&mut tx, &stored, (step, note), instruction.into(), now).await?;
        tx.commit().await.during("commit a step of an invoice")?;
        Ok(done)
    }
}

/// Takes a step in the transaction of the caller, who commits it.
pub(super) async fn take(
    tx: &mut Connection,
    stored: &Stored,
    (step, note): (Step, Option<&str>),
    author: Author<'_>,
    now: DateTime<Utc>,
) -> Result<Invoice, LedgerError> {
    let from = stored.invoice.state;
    let to = from.after(step, stored.shown_number())?;
    let mut detail = note.map(str::to_owned);
    let mut invoice = Invoice { state: to, ..stored.invoice.clone() };
    close::refuse_closed(tx, &invoice.period.label).await?;
    match step {
        Step::Approve { expected } => {
            refuse_unready(stored, now)?;
            interim::refuse_untold(tx, stored).await?;
            refuse_other_total(stored, expected)?;
            detail = Some(format!("total {} {}", invoice.total, invoice.currency.code()));
        }
        Step::Finalize => {
            interim::refuse_untold(tx, stored).await?;
            detail = Some(issue(tx, &mut invoice, now).await?);
            grant::take(tx, &stored.id, &invoice.credits).await?;
            money::post_issue(tx, &invoice, now).await?;
        }
        Step::Void if from.is_issued() => {
            refuse_moved(tx, stored).await?;
            interim::refuse_counted_on(tx, stored).await?;
            money::post_void(tx, &invoice, now).await?;
            grant::give_back(tx, &invoice.credits).await?;
        }
        // Money has a way of its own: it may come in parts.
        Step::Void | Step::Pay => {}
    }
    repo::advance(tx, &stored.id, from, to, now).await?;
    let change = Change {
        action: step.as_str(),
        from: Some(from.as_str()),
        to: Some(to.as_str()),
        detail: detail.as_deref(),
        request: note.unwrap_or_default(),
        result: None,
    };
    audit::insert(tx, subject(&stored.id), change, author, now).await?;
    let done = super::stored(tx, &stored.id).await?.invoice;
    news::tell_step(tx, step, &done, now).await?;
    if from.is_issued() || to.is_issued() {
        prepaid::look_soon(tx, &done.customer.id, now).await?;
    }
    Ok(done)
}

/// Refuses what must never be issued.
fn refuse_unready(stored: &Stored, now: DateTime<Utc>) -> Result<(), LedgerError> {
    let invoice = &stored.invoice;
    let refused = |reason: String| Err(LedgerError::refused("invoice", &stored.id, reason));
    if invoice.simulated {
        return refused(
            "is over usage of the built-in simulated provider; that is never billed".to_owned(),
        );
    }
    if invoice.interim {
        return refuse_stale(stored);
    }
    if now < invoice.period.end {
        let (label, end) = (&invoice.period.label, invoice.period.end);
        return refused(format!(
            "cannot be approved before its month {label} has ended, at {}",
            end.format("%Y-%m-%dT%H:%M:%SZ")
        ));
    }
    if !stored.is_after_its_month() {
        let label = &invoice.period.label;
        return refused(format!(
            "was drafted before its month {label} had ended or by an earlier version; draft it again"
        ));
    }
    Ok(())
}

/// Refuses an interim draft whose terms have changed since.
fn refuse_stale(stored: &Stored) -> Result<(), LedgerError> {
    if stored.updated_at >= stored.created_at && stored.invoice.version == INVOICE_VERSION {
        return Ok(());
    }
    let label = &stored.invoice.period.label;
    let reason = format!(
        "was drafted before terms of its month {label} changed or by an earlier version; draft it \
         again, or make it void"
    );
    Err(LedgerError::refused("invoice", &stored.id, reason))
}

/// Refuses to approve another total than the one that was seen.
fn refuse_other_total(stored: &Stored, expected: Option<SeenTotal>) -> Result<(), LedgerError> {
    let Some(SeenTotal { amount: expected, currency }) = expected else { return Ok(()) };
    refuse_other_currency(currency, stored.invoice.currency, || stored.in_words())?;
    let total = stored.invoice.total;
    if expected == total {
        return Ok(());
    }
    let code = stored.invoice.currency.code();
    let reason = format!(
        "says {total} {code} in all, not {expected}; accepted: the total of the draft as it is now"
    );
    Err(LedgerError::refused("invoice", &stored.id, reason))
}

/// Refuses to void what was credited or paid in part: that would be of nothing.
async fn refuse_moved(connection: &mut Connection, stored: &Stored) -> Result<(), LedgerError> {
    let refused = |what: &str| {
        let reason =
            format!("has {what} and cannot be made void; accepted: to credit what is left");
        Err(LedgerError::refused("invoice", stored.shown_number(), reason))
    };
    if !credit_note::notes_of(connection, &stored.id).await?.is_empty() {
        return refused("credit notes");
    }
    let is_paid = stored.invoice.standing.as_ref().is_some_and(|now| !now.paid.is_zero());
    if is_paid {
        return refused("payments");
    }
    Ok(())
}

/// Gives an approved invoice its number, takes its usage and freezes its document. Answers what
/// the audit trail says of it.
async fn issue(
    connection: &mut Connection,
    invoice: &mut Invoice,
    now: DateTime<Utc>,
) -> Result<String, LedgerError> {
    let Some(id) = invoice.id.clone() else {
        return Err(LedgerError::corrupt("invoice.document", "an invoice without an id"));
    };
    take_usage(connection, invoice, &id).await?;
    let number = series::next(connection, Series::Invoice, now).await?;
    invoice.number = Some(number.clone());
    invoice.issued_at = Some(now);
    if invoice.version == INVOICE_VERSION {
        invoice.seal = invoice.seal_of_content();
    }
    let document = repo::freeze(connection, &id, invoice, &number, now).await?;
    let digest = hex::encode(Sha256::digest(&document));
    Ok(format!("number {number}, document sha256 {digest}"))
}

/// Takes what the lines bill. Refuses what another invoice has billed since this one was drafted.
async fn take_usage(
    connection: &mut Connection,
    invoice: &Invoice,
    id: &InvoiceId,
) -> Result<(), LedgerError> {
    let customer = found(connection, &invoice.customer.id).await?;
    let label_of = |corrects: &Option<String>| {
        corrects.clone().unwrap_or_else(|| invoice.period.label.clone())
    };
    let refused = |what: &str, label: &str| {
        let reason = format!(
            "bills {what} in {label}, of which another invoice has billed some meanwhile; draft it \
             again"
        );
        Err(LedgerError::refused("invoice", id, reason))
    };
    for applied in &invoice.charges {
        let label = label_of(&applied.corrects);
        let part = (applied.part.map(|part| part.start), month(&label, &customer)?.start);
        let charge = &applied.charge;
        let before = invoiced::billed_of(connection, &customer.id, &label, charge, part).await?;
        if before != applied.billed_before.unwrap_or_default() {
            return refused(&format!("charge `{}`", applied.name), &label);
        }
    }
    let mut left: BTreeMap<(String, Option<i64>), BTreeMap<invoiced::LineKey, u64>> =
        BTreeMap::new();
    for (number, line) in (1_i64..).zip(&invoice.lines) {
        let label = label_of(&line.corrects);
        if line.meter.is_usage() {
            let whole = month(&label, &customer)?;
            let period = line.part.unwrap_or(whole);
            let place = (label.clone(), line.part.map(|part| part.start.timestamp_micros()));
            if !left.contains_key(&place) {
                let remaining = invoiced::remaining_of(
                    connection,
                    Scope { customer: &customer.id, period },
                    &label,
                    (line.part.map(|part| part.start), whole.start),
                )
                .await?;
                let sums = remaining.iter().map(|sum| (invoiced::key_of(sum), sum.quantity));
                left.insert(place.clone(), sums.collect());
            }
            let key = invoiced::key_of_line(line);
            let free = left.get(&place).and_then(|part| part.get(&key)).copied();
            if free.unwrap_or_default() < line.quantity {
                return refused(&format!("{} of `{}`", line.quantity, line.model), &label);
            }
        }
        invoiced::take(connection, id, &customer.id, &label, number, line).await?;
    }
    Ok(())
}
