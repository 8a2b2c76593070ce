//! Credit notes: what an issued invoice bills too much, taken back under a number of its own.
//!
//! A credit note is final when it is made. It never changes its invoice; it lowers what is due of
//! it. How much of which line and tax it takes is the arithmetic of `permille-rating`.

mod document;
mod repo;

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::{AppliedCredit, Credit, CreditError, CreditScope, Creditable, Credited, credit},
    round::round_money,
};
use permille_types::{Currency, CustomerId, DocumentNumber, InvoiceId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

pub use document::{CREDIT_NOTE_VERSION, CreditNote, CreditNoteLine, CreditedInvoice};
pub(crate) use repo::{CreditOfPeriod, amounts, notes_of, of_period};

use crate::{
    Instruction, Invoice, Ledger, LedgerError, Listing, Page,
    audit::{self, Change},
    column, grant, invoice, prepaid,
    secret::public_id,
    series::{self, Series},
    stated::refuse_other_currency,
    store::Connection,
    text,
};

/// Longest reason, in bytes: a paragraph.
const REASON_BYTES_MAX: usize = 1_000;

/// What is to be credited of an invoice, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredit {
    /// How much of what, before tax.
    pub scope: CreditScope,
    /// Currency that the amount is meant in; the invoice's when absent.
    pub currency: Option<Currency>,
    /// Why, as the credit note says it.
    pub reason: String,
}

/// A credit note as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CreditNoteSummary {
    /// Its id.
    pub id: InvoiceId,
    /// Its number.
    pub number: DocumentNumber,
    /// Number of the invoice.
    pub invoice: DocumentNumber,
    /// Whose.
    pub customer: CustomerId,
    /// Currency of the amount.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// What it takes back, with tax.
    pub gross: Decimal,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Ledger {
    /// Credits an issued invoice, in whole or in part; the tax goes with it.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it was never issued, is void or has
    /// nothing left; [`LedgerError::Invalid`] names the part that is not accepted, such as an
    /// amount above what is left or in another currency; else the store's failure.
    pub async fn credit_invoice(
        &self,
        id: &InvoiceId,
        new: &NewCredit,
        instruction: &Instruction,
    ) -> Result<CreditNote, LedgerError> {
        const ACTION: &str = "credit";
        let reason = text::line("reason", &new.reason, REASON_BYTES_MAX)?;
        let now = self.now();
        let mut tx = self.store.write().await?;
        let of = invoice::stored(&mut tx, id).await?;
        refuse_other_currency(new.currency, of.invoice.currency, || of.in_words())?;
        let request = format!("{:?} {reason}", new.scope);
        let subject = invoice::subject(&of.id);
        if let Some(repeated) =
            audit::repeated(&mut tx, subject, ACTION, &request, instruction).await?
        {
            let id = repeated.result.unwrap_or_default();
            return found(&mut tx, &id).await.map(|(note, _)| note);
        }
        let Some(number) = of.invoice.number.clone().filter(|_| of.invoice.state.is_issued())
        else {
            let state = of.invoice.state.as_str();
            let reason =
                format!("is {state}: credit is not possible; accepted: a final or paid invoice");
            return Err(LedgerError::refused("invoice", of.shown_number(), reason));
        };
        let before = notes_of(&mut tx, &of.id).await?;
        let credit = part_of(&of.invoice, &credited(&before)?, new.scope, of.shown_number())?;
        let credits = given_back(&of.invoice, &before, credit.prepaid)?;
        let invoice = CreditedInvoice { id: of.id.clone(), number };
        let note = CreditNote {
            id: public_id("crn_", now)?
                .parse()
                .map_err(|_| LedgerError::corrupt("credit_note.id", "a new id"))?,
            number: series::next(&mut tx, Series::CreditNote, now).await?,
            issuer: self.issuer.as_deref().cloned(),
            ..CreditNote::new(&of.invoice, invoice, (credit, credits), reason, now)
        };
        repo::insert(&mut tx, &note).await?;
        invoice::post_credit(&mut tx, &note).await?;
        grant::give_back(&mut tx, &note.credits).await?;
        let state = of.invoice.state;
        // Told in this order: what was credited, then that nothing more is due.
        invoice::tell_credit(&mut tx, &of.invoice, &note).await?;
        let after = invoice::settle_credited(&mut tx, &of.id, now).await?;
        let gross =
            format!("{} over {} {}: {reason}", note.number, note.gross, note.currency.code());
        let change = Change {
            action: ACTION,
            from: Some(state.as_str()),
            to: Some(after.as_str()),
            detail: Some(&gross),
            request: &request,
            result: Some(note.id.as_str()),
        };
        audit::insert(&mut tx, subject, change, instruction, now).await?;
        prepaid::look_soon(&mut tx, &of.invoice.customer.id, now).await?;
        self.commit(tx).await?;
        Ok(note)
    }

    /// The credit note of that id or number.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn credit_note(&self, id: &str) -> Result<CreditNote, LedgerError> {
        let mut reader = self.store.read().await?;
        found(&mut reader, id).await.map(|(note, _)| note)
    }

    /// Its document, byte for byte as it was made.
    ///
    /// # Errors
    /// As [`Ledger::credit_note`].
    pub async fn credit_note_document(&self, id: &str) -> Result<String, LedgerError> {
        let mut reader = self.store.read().await?;
        found(&mut reader, id).await.map(|(_, document)| document)
    }

    /// Credit notes in the order they were made, of one customer or of all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn credit_notes(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<CreditNoteSummary>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |note| note.id.to_string()))
    }
}

async fn found(connection: &mut Connection, id: &str) -> Result<(CreditNote, String), LedgerError> {
    repo::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("credit note", id))
}

/// What the note credits, with refusals in the ledger's words.
fn part_of(
    invoice: &Invoice,
    before: &Credited,
    scope: CreditScope,
    shown: &str,
) -> Result<Credit, LedgerError> {
    let lines: Vec<Decimal> = invoice.lines.iter().map(|line| line.amount).collect();
    credit(creditable(invoice, &lines), before, scope).map_err(|cause| match cause {
        CreditError::NoLine { number, lines } => {
            LedgerError::invalid("line", &number, format!("1 to {lines}"))
        }
        CreditError::Above { asked, left } => {
            let accepted = format!("up to {left}, which is left before tax");
            LedgerError::invalid("amount", &asked, accepted)
        }
        CreditError::NoAmount { asked, places } => {
            let accepted = format!("above 0 with at most {places} decimal places");
            LedgerError::invalid("amount", &asked, accepted)
        }
        CreditError::NothingLeft => {
            LedgerError::refused("invoice", shown, "has nothing left to credit there")
        }
        cause @ (CreditError::Amount(_) | CreditError::Divide(_)) => {
            LedgerError::Credit { invoice: shown.to_owned(), cause: Box::new(cause) }
        }
    })
}

/// An invoice as credits see it.
pub(crate) fn creditable<'a>(invoice: &'a Invoice, lines: &'a [Decimal]) -> Creditable<'a> {
    Creditable {
        lines,
        taxes: &invoice.tax,
        net: invoice.net,
        total: invoice.total,
        currency: invoice.currency,
    }
}

/// What `notes` have credited of each line and each tax, in money and to prepaid credit.
pub(crate) fn credited(notes: &[CreditNote]) -> Result<Credited, LedgerError> {
    let mut credited = Credited::default();
    let add = |sum, amount| column::exact_add("credits of an invoice", sum, amount);
    for note in notes {
        for line in &note.lines {
            let place = line.line.saturating_sub(1);
            add_at(&mut credited.lines, place, line.amount)?;
        }
        for (place, tax) in note.tax.iter().enumerate() {
            add_at(&mut credited.taxes, place, tax.amount)?;
        }
        credited.prepaid = add(credited.prepaid, note.prepaid.unwrap_or_default())?;
        credited.total = add(credited.total, note.in_money())?;
    }
    Ok(credited)
}

/// Adds to the amount at `place`, which may be the first one there.
fn add_at(amounts: &mut Vec<Decimal>, place: usize, amount: Decimal) -> Result<(), LedgerError> {
    if amounts.len() <= place {
        amounts.resize(place.saturating_add(1), Decimal::ZERO);
    }
    if let Some(sum) = amounts.get_mut(place) {
        *sum = column::exact_add("credits of an invoice", *sum, amount)?;
    }
    Ok(())
}

/// Which grants get `amount` back: what was drawn last goes back first, never more than was drawn.
pub(crate) fn given_back(
    invoice: &Invoice,
    before: &[CreditNote],
    amount: Decimal,
) -> Result<Vec<AppliedCredit>, LedgerError> {
    let mut left = amount;
    let mut back = Vec::new();
    for drawn in invoice.credits.iter().rev() {
        let given = before.iter().flat_map(|note| &note.credits);
        let given = given.filter(|credit| credit.grant == drawn.grant);
        let open = given.map(|credit| credit.amount).try_fold(drawn.amount, |open, given| {
            column::exact_sub("what a grant may get back", open, given)
        })?;
        let part = left.min(open);
        if part > Decimal::ZERO {
            left = column::exact_sub("what goes back to grants", left, part)?;
            let amount = round_money(part, invoice.currency);
            back.push(AppliedCredit { grant: drawn.grant.clone(), amount });
        }
    }
    Ok(back)
}
