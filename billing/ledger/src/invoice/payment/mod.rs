//! Money of issued invoices: it comes in one payment or in several, and goes back where credit
//! notes have left less to be paid than came.
//!
//! More than is due is never booked as paid. Money is no prepaid credit unless somebody grants it:
//! a payment never becomes credit by itself. A payment that names its reference at the bank is
//! booked once for it, whoever tells of it again.

mod repo;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use permille_rating::round::{minor_places, round_money};
use permille_types::{Currency, InvoiceId};
use rust_decimal::Decimal;

use super::{
    Invoice, InvoiceState, Standing, Stored,
    life::NOTE_BYTES_MAX,
    money::{self, Payment},
    news, repo as invoices,
    state::Step,
    stored, subject,
};
use crate::{
    Instruction, Ledger, LedgerError,
    audit::{self, Change},
    column,
    error::During,
    stated::refuse_other_currency,
    store::Connection,
    text,
};

/// Hours by which the calendar of one place is ahead of UTC at most (Kiribati): a later day has
/// begun nowhere.
const AHEAD_HOURS_MAX: i64 = 14;

/// Money that has come or gone back, as its owner tells of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewPayment<'a> {
    /// How much; all that is due, or is to be paid back, when absent.
    pub amount: Option<Decimal>,
    /// Currency that the amount is meant in; the invoice's when absent.
    pub currency: Option<Currency>,
    /// What it is called at the bank: the same one on the same invoice is the same payment.
    pub reference: Option<&'a str>,
    /// The day of the payment at the bank.
    pub date: Option<NaiveDate>,
}

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
        let payment = NewPayment { reference, ..NewPayment::default() };
        self.pay_invoice_in_part(id, &payment, instruction).await
    }

    /// Notes that some of a final invoice was paid, or all that is due; with the last of it the
    /// invoice is paid. A payment whose reference is booked already changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is not final;
    /// [`LedgerError::Invalid`] for an amount that is no money, above what is due or in another
    /// currency, a reference that is too long or that of another payment, or a day to come; else
    /// the store's failure.
    pub async fn pay_invoice_in_part(
        &self,
        id: &InvoiceId,
        payment: &NewPayment<'_>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.move_money(id, Payment::In, payment, instruction).await
    }

    /// Notes that some was paid back to the customer, or all that credit notes have left to be paid
    /// back.
    ///
    /// # Errors
    /// As [`Ledger::pay_invoice_in_part`], of what is to be paid back.
    pub async fn refund_invoice(
        &self,
        id: &InvoiceId,
        payment: &NewPayment<'_>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.move_money(id, Payment::Back, payment, instruction).await
    }

    async fn move_money(
        &self,
        id: &InvoiceId,
        way: Payment,
        payment: &NewPayment<'_>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let now = self.now();
        let payment = checked(payment, now)?;
        let NewPayment { amount: asked, currency, reference, date: day } = payment;
        let action = match way {
            Payment::In => Step::Pay.as_str(),
            Payment::Back => "refund",
        };
        let request = request(&payment);
        let mut tx = self.store.write().await?;
        let stored = stored(&mut tx, id).await?;
        refuse_other_currency(currency, stored.invoice.currency, || stored.in_words())?;
        let of = subject(&stored.id);
        if audit::repeated(&mut tx, of, action, &request, instruction).await?.is_some() {
            return Ok(stored.invoice);
        }
        if let Some(reference) = reference
            && let Some(booked) = repo::with_reference(&mut tx, &stored.id, way, reference).await?
        {
            booked.again(&payment, stored.invoice.currency)?;
            // A key is for one request, also where nothing was left to do.
            if instruction.key().is_some() {
                let state = Some(stored.invoice.state.as_str());
                let change = Change {
                    action,
                    from: state,
                    to: state,
                    detail: Some("booked before under this reference"),
                    request: &request,
                    result: None,
                };
                audit::insert(&mut tx, of, change, instruction, now).await?;
                tx.commit().await.during("note a payment that was told again")?;
            }
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
        invoices::set_moved(&mut tx, &stored.id, moved).await?;
        let booked = Booked { amount, is_rest: asked.is_none(), day };
        repo::insert(&mut tx, &stored.id, way, (&booked, reference), now).await?;
        invoices::advance(&mut tx, &stored.id, from, to, now).await?;
        let done = super::stored(&mut tx, id).await?.invoice;
        let left = done.standing.as_ref().map(|standing| standing.due).unwrap_or_default();
        let code = done.currency.code();
        let on = day.map(|day| format!(" on {day}")).unwrap_or_default();
        let told = reference.map(|text| format!(": {text}")).unwrap_or_default();
        let detail = format!("{amount} {code}{on}, {left} {code} is due{told}");
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

/// The payment with a reference that an invoice can show and a day that has come.
fn checked<'a>(
    payment: &NewPayment<'a>,
    now: DateTime<Utc>,
) -> Result<NewPayment<'a>, LedgerError> {
    let reference =
        payment.reference.map(|text| text::line("reference", text, NOTE_BYTES_MAX)).transpose()?;
    let latest = now
        .checked_add_signed(TimeDelta::hours(AHEAD_HOURS_MAX))
        .map_or(now.date_naive(), |at| at.date_naive());
    if let Some(day) = payment.date.filter(|day| *day > latest) {
        let accepted = format!("a day that has come; the latest is {latest}");
        return Err(LedgerError::invalid("date", &day, accepted));
    }
    Ok(NewPayment { reference, ..*payment })
}

/// What is asked for, so that the same call is known again under its key.
fn request(payment: &NewPayment<'_>) -> String {
    let amount = payment.amount.map(|amount| amount.normalize().to_string());
    let day = payment.date.map(|day| format!(" {day}")).unwrap_or_default();
    format!("{amount:?} {:?}{day}", payment.reference)
}

/// A payment that was booked.
struct Booked {
    amount: Decimal,
    /// Whether no amount was told: it was all that was due.
    is_rest: bool,
    day: Option<NaiveDate>,
}

impl Booked {
    /// Holds a payment with the reference of this one against it: it must be the same.
    fn again(&self, payment: &NewPayment<'_>, currency: Currency) -> Result<(), LedgerError> {
        let same_amount = payment.amount.map_or(self.is_rest, |amount| amount == self.amount);
        if same_amount && payment.date == self.day {
            return Ok(());
        }
        let on = self.day.map(|day| format!(" on {day}")).unwrap_or_default();
        let (amount, code) = (self.amount, currency.code());
        let accepted = format!(
            "a reference that no other payment of this invoice has; this one is booked, for \
             {amount} {code}{on}"
        );
        Err(LedgerError::invalid("reference", payment.reference.unwrap_or_default(), accepted))
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
    at: DateTime<Utc>,
) -> Result<InvoiceState, LedgerError> {
    let Stored { id, invoice, .. } = stored(connection, id).await?;
    let (from, paid) = (invoice.state, InvoiceState::Paid);
    let settled =
        invoice.standing.is_some_and(|now| now.paid > Decimal::ZERO && now.due <= Decimal::ZERO);
    if from != InvoiceState::Final || !settled {
        return Ok(from);
    }
    invoices::advance(connection, &id, from, paid, at).await?;
    let done = stored(connection, &id).await?.invoice;
    news::tell_step(connection, Step::Pay, &done, at).await?;
    Ok(paid)
}
