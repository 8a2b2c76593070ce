//! Invoices: from preview over draft and approval to a final document, paid or void.
//!
//! A preview and a draft are made by the same code from the same roll-ups (B11); a final invoice
//! is the approved draft under a number. The arithmetic is that of `permille-rating`. The rules
//! are those of `docs/invoices.md`.

mod compute;
mod document;
mod interim;
mod life;
mod money;
mod news;
mod payment;
mod repo;
mod signed;
mod state;
mod usage;
mod verify;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, DocumentNumber, InvoiceId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

pub use document::{
    INVOICE_VERSION, InterimInvoice, Invoice, InvoiceCustomer, InvoiceIssuer, InvoicePeriod,
    InvoiceProject, InvoiceTexts, Standing,
};
pub use interim::{ThresholdSweep, ThresholdsSeen};
pub use life::SeenTotal;
pub use payment::NewPayment;
pub use state::InvoiceState;
pub(crate) use usage::billed_usage;
pub use verify::{Beside, NotVerifiable, Verification, earlier_needed, recount_of, verify_invoice};

use crate::{
    AuditEntry, Customer, Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Author, Call, Change, Subject},
    close, column, customer,
    error::During,
    secret::public_id,
    store::Connection,
};
pub(crate) use compute::month;
use compute::{Wanted, compute};
pub(crate) use interim::owes_rest;
pub(crate) use money::{discrepancies, post_credit};
pub(crate) use news::tell_credit;
pub(crate) use payment::settle_credited;
pub(crate) use repo::{make_stale, not_issued, not_issued_over};
pub(crate) use signed::amounts_of;
pub use signed::{SignedAmounts, SignedSum};

/// What the trail calls the making of a draft.
const DRAFT: &str = "draft";

/// What of its month an invoice bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvoiceKind {
    /// All that is owed for it and not billed yet.
    Month,
    /// Its usage so far that is not billed yet.
    Interim,
}

impl InvoiceKind {
    /// As the column `interim` has it.
    fn stored(self) -> i64 {
        i64::from(self == Self::Interim)
    }
}

/// A stored invoice as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InvoiceSummary {
    /// Its id.
    pub id: InvoiceId,
    /// Its number, once it was final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<DocumentNumber>,
    /// Who pays.
    pub customer: CustomerId,
    /// The billed month, such as `2026-11`.
    pub period: String,
    /// How far it is.
    pub state: InvoiceState,
    /// Currency of the total.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// What is to be paid.
    pub total: Decimal,
    /// Whether it is over the usage of its month so far; absent on the month's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interim: bool,
    /// When it was first drafted.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Ledger {
    /// What `customer` would be billed for the month `period` (`2026-11`, by their own calendar),
    /// as usage stands now. Stores nothing. Of an invoiced month it is what is late.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] for an unknown customer, [`LedgerError::Invalid`] for a text that
    /// is no month, [`LedgerError::Invoice`] when an amount has too many digits, else the store's
    /// failure.
    pub async fn preview_invoice(
        &self,
        customer: &CustomerId,
        period: &str,
    ) -> Result<Invoice, LedgerError> {
        self.preview(customer, Wanted::preview(period, InvoiceKind::Month)).await
    }

    async fn preview(
        &self,
        customer: &CustomerId,
        wanted: Wanted<'_>,
    ) -> Result<Invoice, LedgerError> {
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let customer = found(&mut view, customer).await?;
        let with = (&*catalogue, self.issuer.as_deref());
        compute(&mut view, with, &customer, wanted).await
    }

    /// Drafts the invoice of a month and stores it. Drafting the same month again replaces what
    /// the draft says and keeps its id; an approval of it is taken back.
    ///
    /// # Errors
    /// As [`Ledger::preview_invoice`]; [`LedgerError::Refused`] when the month is invoiced.
    pub async fn draft_invoice(
        &self,
        customer: &CustomerId,
        period: &str,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        self.draft_invoice_saying(customer, period, InvoiceTexts::default(), instruction).await
    }

    /// The same with texts of its own, which stay until others are given.
    ///
    /// # Errors
    /// As [`Ledger::draft_invoice`]; [`LedgerError::Invalid`] for a text that no invoice can show;
    /// [`LedgerError::Refused`] when the idempotency key was spent on another call.
    pub async fn draft_invoice_saying(
        &self,
        customer: &CustomerId,
        period: &str,
        texts: InvoiceTexts,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let texts = checked(&texts)?;
        let wanted = Wanted { label: period, kind: InvoiceKind::Month, id: None, texts };
        self.draft_asked(customer, wanted, instruction).await
    }

    /// Drafts what somebody asks for: under one idempotency key once.
    async fn draft_asked(
        &self,
        customer: &CustomerId,
        wanted: Wanted<'_>,
        instruction: &Instruction,
    ) -> Result<Invoice, LedgerError> {
        let request = audit::digest(&(wanted.label, wanted.kind, &wanted.texts));
        let of_customer = Subject { noun: "invoice of", id: customer.as_str() };
        let call = Call { subject: of_customer, action: DRAFT, request: &request };
        let mut tx = self.store.write().await?;
        if let Some(before) = call.before(&mut tx, instruction).await? {
            let id = column::parsed("audit.result", &before.result.unwrap_or_default())?;
            return Ok(stored(&mut tx, &id).await?.invoice);
        }
        let invoice = self.draft(&mut tx, customer, wanted, instruction).await?;
        let id = invoice.id.as_ref().map(InvoiceId::as_str);
        call.spend(&mut tx, id, instruction, self.now()).await?;
        tx.commit().await.during("commit draft")?;
        Ok(invoice)
    }

    /// Drafts a month for its close: for who owes something and whose invoice nobody has approved
    /// yet. A draft that says what it would say now stays as it is. An interim draft of the month
    /// is made void, for its close would wait for it.
    pub(crate) async fn draft_for_close(
        &self,
        customer: &CustomerId,
        period: &str,
        instruction: &Instruction,
    ) -> Result<(), LedgerError> {
        self.give_way(customer, period, instruction).await?;
        if self.is_drafted(customer, period).await? {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        let live = repo::live(&mut tx, customer, period, InvoiceKind::Month).await?;
        if live.as_ref().is_some_and(|live| live.invoice.state != InvoiceState::Draft) {
            return Ok(());
        }
        let wanted = Wanted::preview(period, InvoiceKind::Month);
        let invoice = self.draft(&mut tx, customer, wanted, instruction).await?;
        // Dropping the transaction undoes a draft over nothing, or over nothing that is billed.
        if live.is_none() && (invoice.lines.is_empty() || invoice.simulated) {
            return Ok(());
        }
        tx.commit().await.during("commit draft")
    }

    /// Whether a month has an invoice that its close leaves as it is: one that somebody approved,
    /// or a draft that can be approved and is, to the letter, what drafting it now would make.
    /// Nothing is written to find that out, and nobody waits.
    async fn is_drafted(&self, customer: &CustomerId, period: &str) -> Result<bool, LedgerError> {
        let mut view = self.store.view().await?;
        let live = repo::live(&mut view, customer, period, InvoiceKind::Month).await?;
        let Some(live) = live else { return Ok(false) };
        if live.invoice.state != InvoiceState::Draft {
            return Ok(true);
        }
        if !live.is_after_its_month() {
            return Ok(false);
        }
        let catalogue = self.current(&mut view).await?;
        let customer = found(&mut view, customer).await?;
        let Stored { id, texts, .. } = &live;
        let (id, texts) = (Some(id.clone()), texts.clone());
        let wanted = Wanted { label: period, kind: InvoiceKind::Month, id, texts };
        let with = (&*catalogue, self.issuer.as_deref());
        Ok(compute(&mut view, with, &customer, wanted).await? == live.invoice)
    }

    async fn draft(
        &self,
        tx: &mut Connection,
        customer: &CustomerId,
        wanted: Wanted<'_>,
        author: impl Into<Author<'_>>,
    ) -> Result<Invoice, LedgerError> {
        let now = self.now();
        let Wanted { label: period, kind, texts, .. } = wanted;
        let catalogue = self.current(tx).await?;
        let customer = found(tx, customer).await?;
        close::refuse_closed(tx, period).await?;
        refuse_future(period, month(period, &customer)?.start, now)?;
        if kind == InvoiceKind::Interim {
            interim::refuse_over(tx, &customer, period, now).await?;
        }
        let live = repo::live(tx, &customer.id, period, kind).await?;
        if let Some(live) = live.as_ref().filter(|live| live.invoice.state.is_issued()) {
            return Err(LedgerError::refused(
                "invoice",
                live.shown_number(),
                format!("has billed {period}; late usage is on the next invoice"),
            ));
        }
        let id = match &live {
            Some(live) => live.id.clone(),
            None => invoice_id(now)?,
        };
        let before = live.as_ref().map(|live| live.texts.clone()).unwrap_or_default();
        let texts = InvoiceTexts {
            purchase_order: texts.purchase_order.or(before.purchase_order),
            notes: texts.notes.or(before.notes),
        };
        let wanted = Wanted { label: period, kind, id: Some(id.clone()), texts: texts.clone() };
        let with = (&*catalogue, self.issuer.as_deref());
        let invoice = compute(tx, with, &customer, wanted).await?;
        interim::refuse_nothing(&invoice)?;
        match &live {
            None => repo::insert(tx, &invoice, &texts, now).await?,
            Some(live) => repo::replace(tx, &invoice, &texts, live.invoice.state, now).await?,
        }
        // Only what changes anything is worth an entry: drafts may be renewed every minute.
        if live.as_ref().is_none_or(|live| live.invoice != invoice) {
            let total = format!("total {} {}", invoice.total, invoice.currency.code());
            let change = Change {
                action: DRAFT,
                from: live.as_ref().map(|live| live.invoice.state.as_str()),
                to: Some(InvoiceState::Draft.as_str()),
                detail: Some(&total),
                request: "",
                result: None,
            };
            // Whoever asked for it spends their key on that, also where nothing changes.
            audit::insert(tx, subject(&id), change, author.into().unkeyed(), now).await?;
            news::tell_draft(tx, &invoice, now).await?;
        }
        Ok(invoice)
    }

    /// The stored invoice of that id or number, as it stands now.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn invoice(&self, id: &InvoiceId) -> Result<Invoice, LedgerError> {
        let mut reader = self.store.read().await?;
        Ok(stored(&mut reader, id).await?.invoice)
    }

    /// The document of an issued invoice, byte for byte as it was issued.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Refused`] when it was never issued, else the
    /// store's failure.
    pub async fn invoice_document(&self, id: &InvoiceId) -> Result<String, LedgerError> {
        let mut reader = self.store.read().await?;
        let stored = stored(&mut reader, id).await?;
        if stored.invoice.number.is_none() {
            let reason = "has no document yet; accepted: an invoice that was finalized";
            return Err(LedgerError::refused("invoice", id, reason));
        }
        Ok(stored.document)
    }

    /// Everything that was done to an invoice, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn invoice_history(&self, id: &InvoiceId) -> Result<Vec<AuditEntry>, LedgerError> {
        let mut view = self.store.view().await?;
        let stored = stored(&mut view, id).await?;
        audit::entries(&mut view, subject(&stored.id)).await
    }

    /// Stored invoices in the order they were first drafted, of one customer or of all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn invoices(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<InvoiceSummary>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |invoice| invoice.id.to_string()))
    }
}

/// Texts that an invoice can show.
fn checked(texts: &InvoiceTexts) -> Result<InvoiceTexts, LedgerError> {
    Ok(InvoiceTexts {
        purchase_order: customer::purchase_order(texts.purchase_order.as_deref())?,
        notes: customer::notes(texts.notes.as_deref())?,
    })
}

/// Refuses a month that has not begun: nobody can owe anything for it.
pub(crate) fn refuse_future(
    period: &str,
    begins: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    if now >= begins {
        return Ok(());
    }
    let begins = begins.format("%Y-%m-%dT%H:%M:%SZ");
    let accepted = format!("a month that has begun; this one begins at {begins}");
    Err(LedgerError::invalid("period", period, accepted))
}

/// An invoice as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: InvoiceId,
    /// With the state that it has now.
    pub(crate) invoice: Invoice,
    /// The text itself: of an issued invoice, what was issued.
    document: String,
    /// When it was first drafted.
    created_at: DateTime<Utc>,
    /// When it was drafted, or changed its state.
    updated_at: DateTime<Utc>,
    /// What it says instead of its customer's own texts.
    texts: InvoiceTexts,
}

impl Stored {
    /// What people call it.
    pub(crate) fn shown_number(&self) -> &str {
        self.invoice.number.as_ref().map_or(self.id.as_str(), DocumentNumber::as_str)
    }

    /// Whether it was drafted when its month had ended, and by this version.
    fn is_after_its_month(&self) -> bool {
        self.updated_at >= self.invoice.period.end && self.invoice.version == INVOICE_VERSION
    }

    /// What its currency is the currency of.
    pub(crate) fn in_words(&self) -> String {
        format!("the currency of invoice `{}`", self.shown_number())
    }
}

pub(crate) async fn stored(
    connection: &mut Connection,
    id: &InvoiceId,
) -> Result<Stored, LedgerError> {
    repo::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("invoice", id))
}

/// The invoice of that id or number as it stands now, and its text.
pub(crate) async fn with_document(
    connection: &mut Connection,
    id: &InvoiceId,
) -> Result<(Invoice, String), LedgerError> {
    let stored = stored(connection, id).await?;
    Ok((stored.invoice, stored.document))
}

async fn found(connection: &mut Connection, id: &CustomerId) -> Result<Customer, LedgerError> {
    customer::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("customer", id))
}

pub(crate) fn subject(id: &InvoiceId) -> Subject<'_> {
    Subject { noun: "invoice", id: id.as_str() }
}

fn invoice_id(at: DateTime<Utc>) -> Result<InvoiceId, LedgerError> {
    let id = public_id("inv_", at)?;
    id.parse().map_err(|_| LedgerError::invalid("id", &id, "an invoice id"))
}
