//! What each request was billed: its share of the lines of issued invoices (B0), and of what credit
//! notes have taken back of them.
//!
//! A line's amount is divided among the requests that its quantity is of, in 10⁻⁹ of the currency
//! unit, by largest remainder, the earlier request first where remainders are equal: the shares of
//! all requests add up to the line. Requests of one quantity have one share, so a month is held as
//! its different quantities, not as its requests. Nothing is stored: what invoices have billed of a
//! month changes only when one is issued, voided or credited, and the shares follow from it.
//!
//! A request has no share while anything that it is summed with is not billed: before its month is
//! invoiced, and while late usage waits for the next invoice. What is credited is divided at any
//! time, among all requests that the line is summed up from, also those that came late.

mod share;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use permille_rating::{
    Meter,
    invoice::UsageSum,
    period::{Period, period_of},
    round::{from_nano, to_nano},
};
use permille_types::{CustomerId, Flag, PriceVersion};
use rust_decimal::Decimal;

use crate::{
    Customer, LedgerError, UsageFilter, UsageRow, column, customer,
    invoice::month,
    invoiced::{self, LineKey, key_of},
    plan,
    rollup::Simulated,
    store::Connection,
    usage::{Pricing, StoredUsage, dropped_in, page_of},
};
use share::{Share, Taken};

/// Months whose shares are held: those that people look at.
const MONTHS_MAX: usize = 64;
/// Rows that are read at a time, while shares are made.
const ROWS: i64 = 10_000;

/// The shares of months that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<(CustomerId, String), Arc<Month>>>);

impl Cache {
    fn find(&self, customer: &CustomerId, label: &str) -> Option<Arc<Month>> {
        let months = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        months.get(&(customer.clone(), label.to_owned())).cloned()
    }

    fn keep(&self, customer: &CustomerId, label: &str, month: Arc<Month>) {
        let mut months = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if months.len() >= MONTHS_MAX {
            months.clear();
        }
        months.insert((customer.clone(), label.to_owned()), month);
    }
}

/// What lines of a part of a month are by.
type PartKey = (DateTime<Utc>, LineKey);

/// What was used and billed of a month: its shares follow from this alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Basis {
    parts: Vec<Period>,
    used: BTreeMap<PartKey, u64>,
    billed: BTreeMap<PartKey, Taken>,
    /// In nano-units.
    credited: BTreeMap<PartKey, i64>,
}

/// The shares of a month.
#[derive(Debug)]
struct Month {
    basis: Basis,
    billed: BTreeMap<PartKey, Share>,
    credited: BTreeMap<PartKey, Share>,
}

/// What a row was billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Billed {
    /// Its share of issued lines; absent while anything that it is summed with is not billed.
    pub(crate) share: Option<Decimal>,
    /// Its share of what credit notes have taken back, before tax.
    pub(crate) credited: Decimal,
}

/// A customer, and months of theirs.
struct Known {
    customer: Customer,
    /// Whose own invoice is issued.
    issued: Vec<String>,
    /// Of which something was credited.
    credited: Vec<String>,
}

/// Tells each of `rows`, which are `stored`, what it was billed.
pub(crate) async fn tell(
    connection: &mut Connection,
    cache: &Cache,
    stored: &[StoredUsage],
    rows: &mut [UsageRow],
) -> Result<(), LedgerError> {
    let billed = of_rows(connection, cache, stored).await?;
    for (billed, row) in billed.into_iter().zip(rows) {
        row.billed_cost = billed.share.map(column::decimal_text);
    }
    Ok(())
}

/// What each of `rows` was billed, in their order.
pub(crate) async fn of_rows(
    connection: &mut Connection,
    cache: &Cache,
    rows: &[StoredUsage],
) -> Result<Vec<Billed>, LedgerError> {
    let mut known: HashMap<CustomerId, Option<Known>> = HashMap::new();
    let mut months: HashMap<(CustomerId, String), Option<Arc<Month>>> = HashMap::new();
    let mut found = vec![Billed::default(); rows.len()];
    for (row, billed) in rows.iter().zip(&mut found) {
        let id = &row.event.customer;
        if !known.contains_key(id) {
            known.insert(id.clone(), known_of(connection, id).await?);
        }
        let Some(Some(Known { customer, issued, credited })) = known.get(id) else { continue };
        let Some(label) = label_of(row.event.at, customer) else { continue };
        let (is_issued, is_credited) = (issued.contains(&label), credited.contains(&label));
        if !is_issued && !is_credited {
            continue;
        }
        let place = (id.clone(), label);
        if !months.contains_key(&place) {
            // Shares are of all rows of a month.
            let period = month(&place.1, customer)?;
            let month = match dropped_in(connection, period.start, period.end).await? {
                Some(_) => None,
                None => Some(month_of(connection, cache, customer, &place.1).await?),
            };
            months.insert(place.clone(), month);
        }
        let Some(Some(month)) = months.get(&place) else { continue };
        billed.share = month.billed_of(row).filter(|_| is_issued);
        billed.credited = month.credited_of(row)?;
    }
    Ok(found)
}

async fn known_of(
    connection: &mut Connection,
    id: &CustomerId,
) -> Result<Option<Known>, LedgerError> {
    let Some(customer) = customer::find(connection, id).await? else { return Ok(None) };
    let issued = invoiced::months(connection, id).await?;
    let credited = invoiced::credited_months(connection, id).await?;
    Ok(Some(Known { customer, issued, credited }))
}

/// The month of a customer that holds an instant, such as `2026-11`.
fn label_of(at: DateTime<Utc>, customer: &Customer) -> Option<String> {
    let period = period_of(at, customer.time_zone).ok()?;
    Some(period.start.with_timezone(&customer.time_zone).format("%Y-%m").to_string())
}

async fn month_of(
    connection: &mut Connection,
    cache: &Cache,
    customer: &Customer,
    label: &str,
) -> Result<Arc<Month>, LedgerError> {
    let basis = basis(connection, customer, label).await?;
    if let Some(found) = cache.find(&customer.id, label).filter(|month| month.basis == basis) {
        return Ok(found);
    }
    let billed = basis.billed.iter().map(|(key, taken)| (key, *taken));
    let billed = billed.filter(|(key, taken)| basis.used.get(*key) == Some(&taken.quantity));
    let credited = basis.credited.iter().filter_map(|(key, amount_nano)| {
        let quantity = *basis.used.get(key)?;
        Some((key, Taken { quantity, amount_nano: *amount_nano }))
    });
    let shares_of = |(key, taken): (&PartKey, Taken)| (key.clone(), Share::new(taken));
    let mut billed: BTreeMap<PartKey, Share> = billed.map(shares_of).collect();
    let mut credited: BTreeMap<PartKey, Share> = credited.map(shares_of).collect();
    let period = month(label, customer)?;
    each(connection, customer, period, |stored| {
        for (key, quantity) in quantities(stored, &basis.parts) {
            for share in [&mut billed, &mut credited].into_iter().filter_map(|of| of.get_mut(&key))
            {
                share.count(quantity);
            }
        }
    })
    .await?;
    billed.values_mut().chain(credited.values_mut()).for_each(Share::settle);
    if billed.values().chain(credited.values()).any(Share::has_ties) {
        // They go to earlier requests; rows come newest first.
        each(connection, customer, period, |stored| {
            let place = (stored.event.at, stored.event.request_id);
            for (key, quantity) in quantities(stored, &basis.parts) {
                for share in
                    [&mut billed, &mut credited].into_iter().filter_map(|of| of.get_mut(&key))
                {
                    share.pass(quantity, place);
                }
            }
        })
        .await?;
    }
    let made = Arc::new(Month { basis, billed, credited });
    cache.keep(&customer.id, label, Arc::clone(&made));
    Ok(made)
}

/// What was used in a month, what invoices that stand have billed of it, and what of that is
/// credited.
async fn basis(
    connection: &mut Connection,
    customer: &Customer,
    label: &str,
) -> Result<Basis, LedgerError> {
    let planned = plan::parts(connection, customer, month(label, customer)?).await?;
    let periods: Vec<Period> = planned.into_iter().map(|(period, _)| period).collect();
    let id = &customer.id;
    let found = invoiced::parts(connection, id, label, &periods, Simulated::LeftOut).await?;
    let mut basis = Basis { parts: periods, ..Basis::default() };
    for part in &found {
        let start = part.part.period.start;
        let used = |sum: &UsageSum| ((start, key_of(sum)), sum.quantity);
        basis.used.extend(part.part.all.iter().map(used));
    }
    let first = basis.parts.first().map(|part| part.start).unwrap_or_default();
    for taken in invoiced::taken(connection, id, label).await? {
        if !taken.key.2.is_usage() {
            continue;
        }
        let sum = basis.billed.entry((taken.begins(first), taken.key)).or_default();
        let nano = to_nano(taken.billed.amount)?;
        sum.quantity = sum.quantity.saturating_add(taken.quantity);
        sum.amount_nano = column::add_count("billed amount", sum.amount_nano, nano)?;
    }
    for (taken, amount) in invoiced::credited(connection, id, label).await? {
        let sum = basis.credited.entry((taken.begins(first), taken.key)).or_default();
        *sum = column::add_count("credited amount", *sum, to_nano(amount)?)?;
    }
    Ok(basis)
}

/// Every row of a customer's month, newest first.
async fn each(
    connection: &mut Connection,
    customer: &Customer,
    period: Period,
    mut visit: impl FnMut(&StoredUsage),
) -> Result<(), LedgerError> {
    let filter = UsageFilter {
        customer: Some(customer.id.clone()),
        since: Some(period.start),
        until: Some(period.end),
        ..UsageFilter::default()
    };
    let mut before = None;
    loop {
        let rows = page_of(connection, &filter, before, ROWS).await?;
        rows.iter().for_each(&mut visit);
        let Some(last) = rows.last() else { return Ok(()) };
        before = Some((column::micros(last.event.at), last.event.request_id));
    }
}

/// What a row adds to the sums of its month, by what they are summed by.
fn quantities<'a>(
    stored: &'a StoredUsage,
    parts: &'a [Period],
) -> impl Iterator<Item = (PartKey, u64)> + 'a {
    let event = &stored.event;
    let priced: Option<(&PriceVersion, u32)> = match &stored.pricing {
        Pricing::Priced { version: Some(version), band, .. } => Some((version, *band)),
        _ => None,
    };
    let part = parts.iter().find(|part| part.contains(event.at)).map(|part| part.start);
    let priced = priced.zip(part).filter(|_| !event.flags.contains(&Flag::Simulated));
    let tokens = event.tokens.iter().map(|(class, count)| (Meter::Tokens(class.clone()), *count));
    let units = event.units.iter().map(|(unit, count)| (Meter::Units(*unit), *count));
    tokens.chain(units).filter(|(_, count)| *count > 0).filter_map(move |(meter, count)| {
        let ((version, band), part) = priced?;
        let model = event.model().clone();
        let key = (event.project.clone(), model, meter, version.clone(), band);
        Some(((part, key), count))
    })
}

impl Month {
    /// What a row was billed; nothing while anything that it is summed with is not billed.
    fn billed_of(&self, stored: &StoredUsage) -> Option<Decimal> {
        let mut sum_nano = None;
        for (key, quantity) in quantities(stored, &self.basis.parts) {
            // A unit without a price beside others is in no sum.
            if !self.basis.used.contains_key(&key) {
                continue;
            }
            let place = (stored.event.at, stored.event.request_id);
            let nano = self.billed.get(&key)?.of(quantity, place)?;
            sum_nano = Some(sum_nano.unwrap_or(0_i64).checked_add(nano)?);
        }
        sum_nano.map(from_nano)
    }

    /// What of a row is credited.
    fn credited_of(&self, stored: &StoredUsage) -> Result<Decimal, LedgerError> {
        let place = (stored.event.at, stored.event.request_id);
        quantities(stored, &self.basis.parts)
            .filter_map(|(key, quantity)| self.credited.get(&key)?.of(quantity, place))
            .try_fold(0_i64, |sum, nano| column::add_count("credited amount", sum, nano))
            .map(from_nano)
    }
}
