//! Usage: one row per settled request, priced or held, never changed but to be priced.

mod attempts;
mod day;
mod key;
mod kind;
mod repo;
mod row;
mod stored;
mod tokens;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, PriceVersion, RequestId, SessionId, UsageEvent};
use rust_decimal::Decimal;

pub use day::{UsageDay, UsageDrop};
pub(crate) use day::{count, count_held, dropped_in, first_at, forgotten, refuse_dropped};
pub(crate) use key::{payload_sha256, payloads};
pub(crate) use repo::{
    by_session, held, insert, last_complete, leafless, list as page_of, of_request, of_session,
    of_stretch, place, price, recorded,
};
pub use row::{AttemptRow, UsageRow};

use crate::{
    Ledger, LedgerError, Listing, Page, SummaryFilter, billed, column, session, store::Connection,
};

/// What a row costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pricing {
    /// Rated. The version is absent where nothing was consumed that needs a price.
    Priced { version: Option<PriceVersion>, band: u32, cost: Decimal },
    /// Some class or unit had no price: held until it has one (B4).
    Held,
}

/// A row that is to be stored.
pub(crate) struct NewUsage {
    pub(crate) event: UsageEvent,
    pub(crate) payload_sha256: Vec<u8>,
    pub(crate) pricing: Pricing,
    /// The place of its record.
    pub(crate) leaf: u64,
}

/// A stored row.
#[derive(Debug, Clone)]
pub(crate) struct StoredUsage {
    pub(crate) event: UsageEvent,
    pub(crate) pricing: Pricing,
    /// The place of its record; absent on a row of before, until the store is opened.
    pub(crate) leaf: Option<u64>,
    /// Which one it was of the held rows of its month that have a price; absent where never held.
    pub(crate) priced_as: Option<u64>,
    pub(crate) currency: Currency,
}

impl StoredUsage {
    /// The version that priced it.
    pub(crate) fn version(&self) -> Option<&PriceVersion> {
        match &self.pricing {
            Pricing::Priced { version, .. } => version.as_ref(),
            Pricing::Held => None,
        }
    }
}

/// A place in the order of sessions, and of requests in them.
pub(crate) struct Place {
    session: String,
    customer: String,
    at: i64,
    request: Vec<u8>,
}

impl Place {
    /// Before every row.
    fn first() -> Self {
        Self { session: String::new(), customer: String::new(), at: i64::MIN, request: Vec::new() }
    }

    /// That of a row.
    pub(crate) fn of(row: &StoredUsage) -> Self {
        Self {
            session: row.event.session.to_string(),
            customer: row.event.customer.to_string(),
            at: column::micros(row.event.at),
            request: column::request(row.event.request_id),
        }
    }
}

/// Which rows to list. An absent part does not restrict.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Whose requests.
    pub customer: Option<CustomerId>,
    /// Of which session.
    pub session: Option<SessionId>,
    /// This request only.
    pub request: Option<RequestId>,
    /// Admitted at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Admitted before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// Refuses to sum up more requests than `filter` says.
pub(crate) async fn refuse_more(
    connection: &mut Connection,
    filter: &SummaryFilter,
) -> Result<(), LedgerError> {
    let most = filter.requests_max;
    // Who asks without a bound has counted already.
    if most == u32::MAX || !repo::is_more_than(connection, filter, most).await? {
        return Ok(());
    }
    Err(LedgerError::invalid(
        "stretch of time",
        &format!("of more than {most} requests"),
        format!("since and until, or a customer, so that at most {most} are summed up"),
    ))
}

impl Ledger {
    /// Rows, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn usage(
        &self,
        filter: &UsageFilter,
        page: &Page,
    ) -> Result<Listing<UsageRow>, LedgerError> {
        let before = match page.after_parts::<2>()? {
            None => None,
            Some([at, request]) => {
                let refused =
                    || LedgerError::invalid("cursor", page.after(), "the `next_cursor` of a page");
                let at = at.parse().map_err(|_| refused())?;
                Some((at, request.parse().map_err(|_| refused())?))
            }
        };
        let mut view = self.store.view().await?;
        if filter.since.is_some() {
            day::refuse_dropped(&mut view, filter.since, filter.until).await?;
        }
        let stored = repo::list(&mut view, filter, before, page.rows()).await?;
        if let (Some(request), true, 0) = (filter.request, before.is_none(), stored.len())
            && let Some(at) = key::admitted(&mut view, &request).await?
            && let Some(day) = day::dropped_at(&mut view, at).await?
        {
            return Err(day::dropped(day));
        }
        let mut rows: Vec<UsageRow> = stored.iter().cloned().map(UsageRow::from).collect();
        billed::tell(&mut view, &self.billed, &stored, &mut rows).await?;
        Ok(Listing::cut(page, rows, |row| format!("{}/{}", column::micros(row.at), row.request_id)))
    }

    /// The highest turn that is stored of a session; 0 when there is none.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn last_turn(
        &self,
        customer: &CustomerId,
        session: &SessionId,
    ) -> Result<u32, LedgerError> {
        let mut reader = self.store.read().await?;
        session::last_turn(&mut reader, customer, session).await
    }
}
