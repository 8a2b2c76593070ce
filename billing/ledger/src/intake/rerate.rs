//! Held usage gets its price: once each, in transactions of a bounded size.

use chrono::{DateTime, Utc};

use super::{
    Billed,
    candidate::Candidate,
    deltas::{Booking, Deltas},
};
use crate::{
    Ledger, LedgerError,
    catalogue::Catalogue,
    column,
    error::During,
    price,
    record::Trees,
    store::Connection,
    usage::{self, Pricing, StoredUsage},
};

/// Rows that are priced in one transaction when a price arrives: other writers wait for it.
const RERATE_ROWS_MAX: i64 = 500;

/// What pricing held usage did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rerated {
    /// Requests that were held and now have a price.
    pub priced: u64,
    /// What they cost.
    pub billed: Vec<Billed>,
}

impl Ledger {
    /// Prices usage that is held for want of a price, where there is one now: exactly once each,
    /// by the book in force at the time of the request.
    ///
    /// # Errors
    /// The store's failure; what was priced before it stays priced.
    pub async fn rerate_held(&self) -> Result<Rerated, LedgerError> {
        let mut rerated = Rerated::default();
        let mut place = None;
        loop {
            let now = self.now();
            let mut tx = self.store.write().await?;
            let catalogue = self.current(&mut tx).await?;
            let held = usage::held(&mut tx, place, RERATE_ROWS_MAX).await?;
            let Some(last) = held.last() else { break };
            place = Some((column::micros(last.event.at), last.event.request_id));
            let mut done = Rerated::default();
            let mut groups = vec![held];
            while let Some(rows) = groups.pop() {
                tx.begin_part().await.during("begin pricing")?;
                match price_rows(&mut tx, &catalogue, &rows, now).await {
                    Ok((priced, billed)) => {
                        tx.keep_part().await.during("keep pricing")?;
                        if priced > 0 {
                            done.priced = done.priced.saturating_add(priced);
                            done.billed.push(billed);
                        }
                    }
                    Err(cause) if cause.is_overflow() => {
                        tx.undo_part().await.during("undo pricing")?;
                        // One by one; what alone does not fit stays held and is shown as such.
                        if rows.len() > 1 {
                            groups.extend(rows.into_iter().rev().map(|row| vec![row]));
                        }
                    }
                    Err(cause) => return Err(cause),
                }
            }
            if done.priced > 0 {
                tx.commit().await.during("commit priced usage")?;
                rerated.priced = rerated.priced.saturating_add(done.priced);
                rerated.billed.append(&mut done.billed);
            }
        }
        Ok(rerated)
    }
}

/// Prices those of `rows` that have a price now. How many, and what they cost.
async fn price_rows(
    connection: &mut Connection,
    catalogue: &Catalogue,
    rows: &[StoredUsage],
    now: DateTime<Utc>,
) -> Result<(u64, Billed), LedgerError> {
    let mut deltas = Deltas::default();
    // What cannot be rated stays held: it was booked, so it is not quarantined.
    let rated = rows.iter().map(|row| Candidate::rated(row.event.clone(), catalogue));
    let rated = rated.filter_map(Result::ok).filter(|found| found.pricing() != Pricing::Held);
    let rated: Vec<Candidate> = rated.collect();
    let mut trees = Trees::of(connection, rated.iter().map(Candidate::of_month).collect()).await?;
    let mut priced = Vec::new();
    for found in rated {
        let pricing = found.pricing();
        if let Some(derived) = &found.rated.derived {
            price::keep(connection, derived, now).await?;
        }
        let event = &found.event;
        let priced_as = trees.price(&event.customer, &found.month);
        deltas.add(&found, Booking::Repriced)?;
        priced.push((found.event, pricing, priced_as));
    }
    usage::price(connection, &priced).await?;
    trees.write(connection).await?;
    deltas.write(connection, "held usage priced", now).await?;
    Ok((u64::try_from(priced.len()).unwrap_or(u64::MAX), deltas.billed()))
}
