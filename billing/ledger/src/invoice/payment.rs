//! Money of issued invoices: it comes in one payment or in several, and goes back where credit
//! notes have left less to be paid than came.
//!
//! More than is due is never booked as paid. Money is no prepaid credit unless somebody grants it:
//! a payment never becomes credit by itself.

use permille_rating::round::{minor_places, round_money};
use permille_types::InvoiceId;
use rust_decimal::Decimal;

use super::{
    Invoice, InvoiceState, Standing, Stored,
    life::NOTE_BYTES_MAX,
    money::{self, Payment},
    news, repo,
    state::Step,
    stored, subject,
};
use crate::{
    Instruction, Ledger, LedgerError,
    audit::{self, Change},
    column,
    error::During,
    store::Connection,
    text,
};

impl Ledger {
    /// Notes that what is due of a final invoice is paid. `reference` is the payment's own.
    ///
    /// # Errors
    /// As [`Ledger::pay_invoice_in_part`].
    pub async fn pay_invoice(
        &self,
        id: &InvoiceId,
        reference: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.pay_invoice_in_part(id, None, reference, instruction).await
    }

    /// Notes that `amount` of a final invoice was paid, or all that is due; with the last of it the
    /// invoice is paid.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is not final;
    /// [`LedgerError::Invalid`] for an amount that is no money or above what is due, or a reference
    /// that is too long; else the store's failure.
    pub async fn pay_invoice_in_part(
        &self,
        id: &InvoiceId,
        amount: Option<Decimal>,
        reference: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.move_money(id, (Payment::In, amount), reference, instruction).await
    }

    /// Notes that `amount` was paid back to the customer, or all that credit notes have left to be
    /// paid back.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when nothing is to be paid back;
    /// [`LedgerError::Invalid`] for an amount that is no money or above that, or a reference that
    /// is too long; else the store's failure.
    pub async fn refund_invoice(
        &self,
        id: &InvoiceId,
        amount: Option<Decimal>,
        reference: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.move_money(id, (Payment::Back, amount), reference, instruction).await
    }

    async fn move_money(
        &self,
        id: &InvoiceId,
        (way, asked): (Payment, Option<Decimal>),
        reference: Option<&str>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let reference =
            reference.map(|text| text::line("reference", text, NOTE_BYTES_MAX)).transpose()?;
        let action = match way {
            Payment::In => Step::Pay.as_str(),
            Payment::Back => "refund",
        };
        let amount = asked.map(|amount| amount.normalize().to_string());
        let request = format!("{amount:?} {reference:?}");
        let now = self.now();
        let mut tx = self.store.write().await?;
        let stored = stored(&mut tx, id).await?;
        let of = subject(&stored.id);
        if audit::repeated(&mut tx, of, action, &request, instruction).await?.is_some() {
            return Ok(stored.invoice);
        }
        let Moving { amount, from, to, standing } = moving(&stored, way, asked)?;
        money::post_payment(&mut tx, &stored.invoice, (way, amount), now).await?;
        let add = |sum, amount| column::exact_add("payments of an invoice", sum, amount);
        let refunded = standing.refunded.unwrap_or_default();
        let moved = match way {
            Payment::In => (add(standing.paid, amount)?, refunded),
            Payment::Back => (standing.paid, add(refunded, amount)?),
        };
        repo::set_moved(&mut tx, &stored.id, moved).await?;
        repo::advance(&mut tx, &stored.id, from, to, now).await?;
        let done = super::stored(&mut tx, id).await?.invoice;
        let left = done.standing.as_ref().map(|standing| standing.due).unwrap_or_default();
        let code = done.currency.code();
        let told = reference.map(|text| format!(": {text}")).unwrap_or_default();
        let detail = format!("{amount} {code}, {left} {code} is due{told}");
        let change = Change {
            action,
            from: Some(from.as_str()),
            to: Some(to.as_str()),
            detail: Some(&detail),
            request: &request,
            result: None,
        };
        audit::insert(&mut tx, of, change, instruction, now).await?;
        if to != from && to == InvoiceState::Paid {
            news::tell_step(&mut tx, Step::Pay, &done, now).await?;
        }
        tx.commit().await.during("commit a payment of an invoice")?;
        Ok(done)
    }
}

/// What a movement of money does to an invoice.
struct Moving {
    amount: Decimal,
    from: InvoiceState,
    to: InvoiceState,
    /// As it was before.
    standing: Standing,
}

fn moving(stored: &Stored, way: Payment, asked: Option<Decimal>) -> Result<Moving, LedgerError> {
    let from = stored.invoice.state;
    let shown = stored.shown_number();
    if way == Payment::In {
        from.after(Step::Pay, shown)?;
    }
    let standing = stored.invoice.standing.clone().filter(|_| from.is_issued());
    let Some(standing) = standing else {
        let state = from.as_str();
        let reason = format!("is {state}: nothing of it is paid back; accepted: an issued invoice");
        return Err(LedgerError::refused("invoice", shown, reason));
    };
    let most = match way {
        Payment::In => standing.due,
        Payment::Back => column::negated(standing.due),
    };
    if way == Payment::Back && most <= Decimal::ZERO {
        let reason =
            "has nothing to be paid back; accepted: one of which more is paid than is left to pay";
        return Err(LedgerError::refused("invoice", shown, reason));
    }
    let amount = asked.unwrap_or(most);
    let places = minor_places(stored.invoice.currency);
    let is_money = amount.normalize().scale() <= places;
    if asked.is_some() && (amount <= Decimal::ZERO || amount > most || !is_money) {
        let what = match way {
            Payment::In => "which is due; what came above it can be granted as prepaid credit",
            Payment::Back => "which is to be paid back",
        };
        let accepted = format!("above 0, up to {most}, {what}; at most {places} decimal places");
        return Err(LedgerError::invalid("amount", &amount, accepted));
    }
    let is_all = way == Payment::In && amount == most;
    let to = if is_all { InvoiceState::Paid } else { from };
    let amount = round_money(amount, stored.invoice.currency);
    Ok(Moving { amount, from, to, standing })
}

/// After a credit: an invoice that was paid in part and owes nothing more is paid. The state that
/// it has then.
pub(crate) async fn settle_credited(
    connection: &mut Connection,
    id: &InvoiceId,
    at: chrono::DateTime<chrono::Utc>,
) -> Result<InvoiceState, LedgerError> {
    let Stored { id, invoice, .. } = stored(connection, id).await?;
    let (from, paid) = (invoice.state, InvoiceState::Paid);
    let settled =
        invoice.standing.is_some_and(|now| now.paid > Decimal::ZERO && now.due <= Decimal::ZERO);
    if from != InvoiceState::Final || !settled {
        return Ok(from);
    }
    repo::advance(connection, &id, from, paid, at).await?;
    let done = stored(connection, &id).await?.invoice;
    news::tell_step(connection, Step::Pay, &done, at).await?;
    Ok(paid)
}
