//! Invoices: previews, and drafts as stored documents.
//!
//! A preview and a draft are made by the same code from the same roll-ups (B11); the arithmetic is
//! that of `permille-rating`. Nothing here is final: numbers, approval and credit notes are not
//! part of a draft.

mod document;
mod repo;

use chrono::{DateTime, Utc};
use permille_rating::{
    invoice::{InvoiceDocument, InvoiceError, InvoiceHead, invoice_lines},
    period::Period,
};
use permille_types::{Currency, CustomerId, InvoiceId};
use rust_decimal::Decimal;
use serde::Serialize;

pub use document::{INVOICE_VERSION, Invoice, InvoiceCustomer, InvoicePeriod, InvoiceState};

use crate::{
    Customer, Ledger, LedgerError, Listing, Page,
    catalogue::Catalogue,
    column, customer,
    error::During,
    price,
    rollup::{self, Scope},
    secret::public_id,
    store::Connection,
};

/// A stored invoice as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvoiceSummary {
    /// Its id.
    pub id: InvoiceId,
    /// Who pays.
    pub customer: CustomerId,
    /// The billed month, such as `2026-11`.
    pub period: String,
    /// How far it is.
    pub state: InvoiceState,
    /// Currency of the total.
    pub currency: Currency,
    /// What is to be paid.
    pub total: Decimal,
    /// When it was first drafted.
    pub created_at: DateTime<Utc>,
    /// When it was last drafted.
    pub updated_at: DateTime<Utc>,
}

impl Ledger {
    /// What `customer` would be billed for the month `period` (`2026-11`, by their own calendar),
    /// as usage stands now. Stores nothing.
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
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let customer = found(&mut view, customer).await?;
        compute(&mut view, &catalogue, &customer, period, None).await
    }

    /// Drafts the invoice of a month and stores it. Drafting the same month again replaces what
    /// the draft says and keeps its id.
    ///
    /// # Errors
    /// As [`Ledger::preview_invoice`].
    pub async fn draft_invoice(
        &self,
        customer: &CustomerId,
        period: &str,
    ) -> Result<Invoice, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let catalogue = self.current(&mut tx).await?;
        let customer = found(&mut tx, customer).await?;
        let (id, new) = match repo::draft_id(&mut tx, &customer.id, period).await? {
            Some(id) => (id, false),
            None => (invoice_id(now)?, true),
        };
        let invoice = compute(&mut tx, &catalogue, &customer, period, Some(id)).await?;
        if new {
            repo::insert(&mut tx, &invoice, now).await?;
        } else {
            repo::replace(&mut tx, &invoice, now).await?;
        }
        tx.commit().await.during("commit draft")?;
        Ok(invoice)
    }

    /// The stored invoice of that id.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn invoice(&self, id: &InvoiceId) -> Result<Invoice, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::find(&mut reader, id).await?.ok_or_else(|| LedgerError::not_found("invoice", id))
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

async fn found(connection: &mut Connection, id: &CustomerId) -> Result<Customer, LedgerError> {
    customer::find(connection, id).await?.ok_or_else(|| LedgerError::not_found("customer", id))
}

fn invoice_id(at: DateTime<Utc>) -> Result<InvoiceId, LedgerError> {
    let id = public_id("inv_", at)?;
    id.parse().map_err(|_| LedgerError::invalid("id", &id, "an invoice id"))
}

/// The one way to an invoice: with an id it is a draft, without one a preview.
async fn compute(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &Customer,
    label: &str,
    id: Option<InvoiceId>,
) -> Result<Invoice, LedgerError> {
    let period = Period::month(label, customer.time_zone)
        .map_err(|_| LedgerError::invalid("period", label, "a month such as 2026-11"))?;
    let scope = Scope { customer: &customer.id, period };
    let quantities = rollup::quantities(connection, scope).await?;
    let requests = rollup::requests(connection, scope).await?;
    let refused = |cause: InvoiceError| LedgerError::Invoice {
        customer: customer.id.clone(),
        cause: Box::new(cause),
    };
    let versions = quantities.sums.iter().map(|sum| &sum.price_version);
    let derived = price::derived_since(connection, catalogue, versions).await?;
    let price = |version: &_| catalogue.content(version).or_else(|| derived.get(version));
    let lines = invoice_lines(quantities.sums, price, customer.currency).map_err(refused)?;
    let head = InvoiceHead {
        id,
        customer: customer.id.clone(),
        period,
        time_zone: customer.time_zone,
        currency: customer.currency,
    };
    let document = InvoiceDocument::new(head, lines).map_err(refused)?;
    let count = |value| column::number("request_hour", value);
    Ok(Invoice {
        version: INVOICE_VERSION,
        state: if document.id.is_some() { InvoiceState::Draft } else { InvoiceState::Preview },
        id: document.id,
        customer: InvoiceCustomer { id: customer.id.clone(), name: customer.name.clone() },
        period: InvoicePeriod {
            label: label.to_owned(),
            start: period.start,
            end: period.end,
            time_zone: customer.time_zone,
        },
        currency: document.currency,
        lines: document.lines,
        subtotal: document.subtotal,
        net: document.net,
        tax: document.tax,
        gross: document.gross,
        total: document.total,
        requests: count(requests.all)?,
        unpriced_requests: count(requests.unpriced)?,
        estimated_requests: count(requests.estimated)?,
        estimated_quantity: quantities.estimated,
        simulated_requests: count(requests.simulated)?,
        simulated: requests.simulated > 0,
    })
}
