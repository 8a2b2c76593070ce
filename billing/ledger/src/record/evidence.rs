//! The records behind an invoice, as it printed their roots: what it can be recomputed from.

use permille_rating::verify::Entry;
use permille_types::InvoiceId;
use serde_json::value::RawValue;

use super::{RecordHead, text};
use crate::{
    Ledger, LedgerError, Listing, Page, column, customer, invoice,
    rollup::Scope,
    usage::{self, Pricing, StoredUsage},
};

/// One line of a file of records.
pub type RecordEntry = Entry;

impl Ledger {
    /// The records behind a stored invoice, month by month, in the order of admission: those that
    /// there were when it was drafted, with the prices that they had then.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Refused`] when it was drafted before records were
    /// kept, [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn invoice_records(
        &self,
        id: &InvoiceId,
        page: &Page,
    ) -> Result<Listing<RecordEntry>, LedgerError> {
        let after = match page.after_parts::<3>()? {
            None => None,
            Some([month, at, request]) => {
                let refused =
                    || LedgerError::invalid("cursor", page.after(), "the `next_cursor` of a page");
                let at = at.parse::<i64>().map_err(|_| refused())?;
                Some((month, at, request.parse().map_err(|_| refused())?))
            }
        };
        let mut view = self.store.view().await?;
        let invoice = invoice::stored(&mut view, id).await?.invoice;
        if invoice.records.is_empty() {
            let reason = "was drafted before records were kept; accepted: one drafted since";
            return Err(LedgerError::refused("invoice", id, reason));
        }
        let customer = customer::find(&mut view, &invoice.customer.id)
            .await?
            .ok_or_else(|| LedgerError::not_found("customer", &invoice.customer.id))?;
        let mut found = Vec::new();
        let mut wanted = page.rows();
        let from = after.map(|(month, ..)| month);
        let months =
            invoice.records.iter().skip_while(|head| from.is_some_and(|m| head.period != m));
        for head in months {
            let place = match after {
                Some((month, at, request)) if month == head.period => Some((at, request)),
                _ => None,
            };
            let period = invoice::month(&head.period, &customer)?;
            usage::refuse_dropped(&mut view, Some(period.start), Some(period.end)).await?;
            let scope = Scope { customer: &customer.id, period };
            let rows = usage::recorded(&mut view, scope, head.size, place, wanted).await?;
            wanted = wanted.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            for row in rows {
                let at = column::micros(row.event.at);
                let cursor = format!("{}/{at}/{}", head.period, row.event.request_id);
                found.push((cursor, entry(&row, head)?));
            }
            if wanted == 0 {
                break;
            }
        }
        let Listing { items, next_cursor } =
            Listing::cut(page, found, |(cursor, _)| cursor.clone());
        Ok(Listing { items: items.into_iter().map(|(_, entry)| entry).collect(), next_cursor })
    }
}

/// What a row was when an invoice printed that.
pub(crate) fn entry(row: &StoredUsage, printed: &RecordHead) -> Result<Entry, LedgerError> {
    let damaged = |what| LedgerError::corrupt(what, &row.event.request_id);
    let index = row.leaf.ok_or_else(|| damaged("usage.leaf"))?;
    let record = String::from_utf8(text(&row.event)?).map_err(|_| damaged("usage.request_id"))?;
    let record = RawValue::from_string(record).map_err(|_| damaged("usage.request_id"))?;
    let held = match row.pricing {
        Pricing::Held => true,
        Pricing::Priced { .. } => row.priced_as.is_some_and(|order| order > printed.priced_later),
    };
    let price = row.version().filter(|_| !held).cloned();
    Ok(Entry { index, price, held, record })
}
