//! What an invoice bills, request by request, for whoever writes it out.
//!
//! Rows are read in pages and not in one view of the store: a reader may take minutes, and no
//! connection waits for them. What comes in between shows in the quantities.

use permille_rating::{invoice::UsageSum, period::Period};
use permille_types::{Flag, InvoiceId, PriceVersion, UsageEvent};

use crate::{
    Invoice, Ledger, LedgerError, SummaryFilter, invoice,
    rollup::{self, Scope, Simulated},
    usage::{self, Place, Pricing},
};

/// Rows that are in memory at once.
const ROWS_AT_ONCE: i64 = 1_000;

/// A request that has a price.
#[derive(Debug, Clone)]
pub struct PricedEvent {
    /// What it consumed.
    pub event: UsageEvent,
    /// The price that rated it.
    pub price_version: PriceVersion,
    /// The band of that price.
    pub band: u32,
}

/// An invoice with what is behind its lines.
pub struct InvoicedUsage {
    /// The invoice as it stands now.
    pub invoice: Invoice,
    /// Its text, as it was issued; absent while it is not.
    pub document: Option<String>,
    /// All quantities of its month that have a price: more than it bills, when some came late.
    pub sums: Vec<UsageSum>,
    after: Option<Place>,
}

impl Ledger {
    /// The invoice of that id or number, and the quantities of its month as they stand now.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], else the store's failure.
    pub async fn invoiced_usage(&self, id: &InvoiceId) -> Result<InvoicedUsage, LedgerError> {
        let mut view = self.store.view().await?;
        let (invoice, document) = invoice::with_document(&mut view, id).await?;
        let simulated = if invoice.simulated { Simulated::Counted } else { Simulated::LeftOut };
        let period = Period { start: invoice.period.start, end: invoice.period.end };
        let scope = Scope { customer: &invoice.customer.id, period };
        let sums = rollup::quantities(&mut view, scope, simulated).await?.sums;
        let document = invoice.number.is_some().then_some(document);
        Ok(InvoicedUsage { invoice, document, sums, after: None })
    }

    /// The next requests of the invoice's month that have a price, in the order of sessions and of
    /// admission in them; none when there are no more.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn next_invoiced(
        &self,
        of: &mut InvoicedUsage,
    ) -> Result<Vec<PricedEvent>, LedgerError> {
        let filter = SummaryFilter {
            customer: Some(of.invoice.customer.id.clone()),
            since: Some(of.invoice.period.start),
            until: Some(of.invoice.period.end),
            ..SummaryFilter::default()
        };
        loop {
            let mut reader = self.store.read().await?;
            let rows =
                usage::by_session(&mut reader, &filter, of.after.take(), ROWS_AT_ONCE).await?;
            drop(reader);
            let Some(last) = rows.last() else { return Ok(Vec::new()) };
            of.after = Some(Place::of(last));
            let wanted = |event: &UsageEvent| {
                of.invoice.simulated || !event.flags.contains(&Flag::Simulated)
            };
            let events: Vec<PricedEvent> = rows
                .into_iter()
                .filter(|row| wanted(&row.event))
                .filter_map(|row| match row.pricing {
                    Pricing::Priced { version: Some(price_version), band, .. } => {
                        Some(PricedEvent { event: row.event, price_version, band })
                    }
                    _ => None,
                })
                .collect();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}
