//! Our side of a provider's bill: what calls to its upstreams consumed and should cost, by day.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use permille_rating::{
    Meter,
    provider::{ProviderCall, provider_calls},
};
use permille_types::{Currency, Flag, MoneyError, Source, UpstreamName};
use rust_decimal::Decimal;

use crate::{
    Ledger, LedgerError, SummaryFilter, UsageFilter, column,
    usage::{self, StoredUsage},
};

/// Rows that are read at a time.
const ROWS_AT_ONCE: i64 = 1_000;
/// Most requests of one reconciliation: a minute or two of reading.
pub const PROVIDER_REQUESTS_MAX: u32 = 3_000_000;
/// The service tier of batch requests.
const BATCH_TIER: &str = "batch";

/// Which calls are our side.
#[derive(Debug, Clone)]
pub struct ProviderScope {
    /// Those to these upstreams.
    pub upstreams: Vec<UpstreamName>,
    /// Priced by entries of side `cost` in this currency; not at all where it is absent.
    pub currency: Option<Currency>,
    /// Whose days.
    pub time_zone: Tz,
    /// From this day.
    pub first: NaiveDate,
    /// To this one.
    pub last: NaiveDate,
}

/// What calls of one day, model, class and upstream come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderCell {
    /// The day of the requests' admission.
    pub day: NaiveDate,
    /// The model as its provider calls it.
    pub model: String,
    /// What was consumed.
    pub meter: Meter,
    /// Where.
    pub upstream: UpstreamName,
    /// How much.
    pub quantity: u64,
    /// What it should cost, exact, as far as it has a price.
    pub amount: Decimal,
    /// How much of it has none.
    pub unpriced: u64,
    /// How much calls consumed that failed, or that another one followed.
    pub failed: u64,
    /// How much of it was counted here.
    pub estimated: u64,
    /// How much was of the tier `batch`.
    pub batch: u64,
    /// Calls of that day, model and upstream that failed and told no usage.
    pub untold: u64,
}

/// Of what the calls are.
type CallKey = (NaiveDate, String, UpstreamName);

/// Sums of one meter.
#[derive(Debug, Default)]
struct Sum {
    quantity: u64,
    amount: Decimal,
    unpriced: u64,
    failed: u64,
    estimated: u64,
    batch: u64,
}

impl Ledger {
    /// Our side of a bill. Calls to the built-in simulated provider are nobody's.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for more than [`PROVIDER_REQUESTS_MAX`] requests,
    /// [`LedgerError::Amount`] for sums that do not fit, else the store's failure.
    pub async fn provider_side(
        &self,
        scope: &ProviderScope,
    ) -> Result<Vec<ProviderCell>, LedgerError> {
        let since = midnight(scope.time_zone, scope.first)?;
        let after_last = scope.last.checked_add_days(Days::new(1)).unwrap_or(scope.last);
        let until = midnight(scope.time_zone, after_last)?;
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let counted = SummaryFilter {
            since: Some(since),
            until: Some(until),
            requests_max: PROVIDER_REQUESTS_MAX,
            ..SummaryFilter::default()
        };
        usage::refuse_more(&mut view, &counted).await?;
        usage::refuse_dropped(&mut view, Some(since), Some(until)).await?;
        let filter =
            UsageFilter { since: Some(since), until: Some(until), ..UsageFilter::default() };
        let mut sums: BTreeMap<(CallKey, Meter), Sum> = BTreeMap::new();
        let mut untold: BTreeMap<CallKey, u64> = BTreeMap::new();
        let mut before = None;
        loop {
            let rows = usage::page_of(&mut view, &filter, before.take(), ROWS_AT_ONCE).await?;
            for row in &rows {
                if row.event.flags.contains(&Flag::Simulated) {
                    continue;
                }
                let day = row.event.at.with_timezone(&scope.time_zone).date_naive();
                for call in provider_calls(&row.event) {
                    let Some(upstream) = call.upstream.filter(|of| scope.upstreams.contains(of))
                    else {
                        continue;
                    };
                    let key = (day, call.model.to_string(), upstream.clone());
                    if call.failed && !call.told {
                        let count = untold.entry(key).or_default();
                        *count = count.saturating_add(1);
                        continue;
                    }
                    add(&mut sums, &key, row, &call, priced(&call, scope, catalogue.book())?)?;
                }
            }
            let Some(last) = rows.last() else { break };
            before = Some((column::micros(last.event.at), last.event.request_id));
        }
        let cells = sums.into_iter().map(|((key, meter), sum)| {
            let untold = untold.get(&key).copied().unwrap_or_default();
            let (day, model, upstream) = key;
            let Sum { quantity, amount, unpriced, failed, estimated, batch } = sum;
            ProviderCell {
                day,
                model,
                meter,
                upstream,
                quantity,
                amount,
                unpriced,
                failed,
                estimated,
                batch,
                untold,
            }
        });
        Ok(cells.collect())
    }
}

/// The first instant of a day.
fn midnight(zone: Tz, day: NaiveDate) -> Result<DateTime<Utc>, LedgerError> {
    let refused = || LedgerError::invalid("day", &day, "a day from 0001-01-01 to 9999-12-31");
    let clock = day.and_hms_opt(0, 0, 0).ok_or_else(refused)?;
    // Where a clock is put forward at midnight the day begins an hour later.
    let later = clock.checked_add_signed(chrono::TimeDelta::hours(1)).ok_or_else(refused)?;
    let found = zone.from_local_datetime(&clock).earliest();
    let found = found.or_else(|| zone.from_local_datetime(&later).earliest());
    found.map(|at| at.to_utc()).ok_or_else(refused)
}

/// What was consumed, and its cost where it has one.
type Priced = Vec<(Meter, u64, Option<Decimal>)>;

fn priced(
    call: &ProviderCall<'_>,
    scope: &ProviderScope,
    book: &permille_rating::price_book::PriceBook,
) -> Result<Priced, LedgerError> {
    let Some(currency) = scope.currency else {
        let quantities = call.quantities().into_iter();
        return Ok(quantities.map(|(meter, quantity)| (meter, quantity, None)).collect());
    };
    let charge = call.charge(book, currency).map_err(too_large)?;
    let lines = charge.lines.into_iter();
    let priced = lines.map(|line| (line.meter, line.quantity, Some(line.cost)));
    let unpriced = charge.unpriced.into_iter().map(|(meter, quantity)| (meter, quantity, None));
    Ok(priced.chain(unpriced).collect())
}

fn add(
    sums: &mut BTreeMap<(CallKey, Meter), Sum>,
    key: &CallKey,
    row: &StoredUsage,
    call: &ProviderCall<'_>,
    priced: Priced,
) -> Result<(), LedgerError> {
    let event = &row.event;
    let is_estimated = matches!(event.source, Source::Estimated | Source::Partial);
    let is_batch = event.service_tier.as_deref() == Some(BATCH_TIER);
    for (meter, quantity, cost) in priced {
        let sum = sums.entry((key.clone(), meter)).or_default();
        let part = |is: bool| if is { quantity } else { 0 };
        for (total, more) in [
            (&mut sum.quantity, quantity),
            (&mut sum.unpriced, part(cost.is_none())),
            (&mut sum.failed, part(call.failed)),
            (&mut sum.estimated, part(is_estimated)),
            (&mut sum.batch, part(is_batch)),
        ] {
            *total = total.saturating_add(more);
        }
        let cost = cost.unwrap_or_default();
        sum.amount = column::exact_add("provider costs", sum.amount, cost)?;
    }
    Ok(())
}

fn too_large(cause: MoneyError) -> LedgerError {
    LedgerError::Amount { what: "provider costs", cause }
}
