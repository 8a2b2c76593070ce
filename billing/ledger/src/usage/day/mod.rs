//! Days of usage, in UTC: on `PostgreSQL` each is a partition of its own. Here they are made ahead,
//! and dropped once nothing needs their rows any more; their keys stay for longer (B6).

mod repo;

pub(crate) use repo::{count, first_at, held as count_held};

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Ledger, LedgerError, archive, close, column, customer, dispute,
    error::During,
    invoice,
    invoiced::remaining,
    rollup::{Scope, Simulated},
    session,
    sql::Connection,
};

/// A day has so many microseconds.
const DAY_MICROS: i64 = 86_400_000_000;
/// Days that are made ahead, today among them: a day before its first row, whatever its node's
/// clock says, and a job that fails for a day is no matter.
const DAYS_AHEAD: i64 = 3;
/// Rows, sessions or keys that are changed in one transaction: others wait for it.
const AT_ONCE_MAX: i64 = 10_000;
/// Days that one call drops: a year and a month that nobody dropped anything in.
const DAYS_AT_ONCE_MAX: usize = 400;
/// How far local days are from those of UTC at most, in microseconds.
///
/// Source: The zones of the IANA time zone database lie between -12:00 and +14:00.
const ZONE_MICROS_MAX: i64 = 14 * 3_600_000_000;

/// What becomes of a day of usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageDay {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// How many requests it has, or had; absent where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Why it is kept; absent where it was dropped, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// What dropping old usage did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageDrop {
    /// The days that were looked at, oldest first. More may be left where 400 are not kept.
    pub days: Vec<UsageDay>,
}

/// The first microsecond of the UTC day of `at`.
fn day_of(at: DateTime<Utc>) -> i64 {
    let micros = column::micros(at);
    micros.saturating_sub(micros.rem_euclid(DAY_MICROS))
}

fn next(day: i64) -> i64 {
    day.saturating_add(DAY_MICROS)
}

fn date(day: i64) -> Result<NaiveDate, LedgerError> {
    Ok(column::instant("usage_drop.day", day)?.date_naive())
}

/// Sees to it that rows of these instants can be stored. The days round today are made ahead; this
/// makes those of rows that are early, or late for a day that had none or was dropped.
pub(super) async fn make(
    connection: &mut Connection,
    instants: impl Iterator<Item = DateTime<Utc>>,
) -> Result<u64, LedgerError> {
    let days: BTreeSet<i64> = instants.map(day_of).collect();
    if connection.is_postgres() { repo::make(connection, days).await } else { Ok(0) }
}

/// The newest day between two instants whose rows were dropped.
pub(crate) async fn dropped_in(
    connection: &mut Connection,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Option<NaiveDate>, LedgerError> {
    let (after, before) = (column::micros(start).saturating_sub(DAY_MICROS), column::micros(end));
    repo::dropped_between(connection, after, before).await?.map(date).transpose()
}

/// The day of an instant, if its rows were dropped.
pub(super) async fn dropped_at(
    connection: &mut Connection,
    at: DateTime<Utc>,
) -> Result<Option<NaiveDate>, LedgerError> {
    let day = day_of(at);
    repo::dropped_between(connection, day.saturating_sub(1), next(day)).await?.map(date).transpose()
}

/// Refuses to answer from rows between two instants where some were dropped: the answer would be
/// of fewer requests than there were.
pub(crate) async fn refuse_dropped(
    connection: &mut Connection,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
) -> Result<(), LedgerError> {
    let start = start.unwrap_or(DateTime::<Utc>::MIN_UTC);
    let end = end.unwrap_or(DateTime::<Utc>::MAX_UTC);
    match dropped_in(connection, start, end).await? {
        None => Ok(()),
        Some(day) => Err(dropped(day)),
    }
}

/// Says that rows are asked for which were dropped.
pub(super) fn dropped(day: NaiveDate) -> LedgerError {
    let first = day.succ_opt().unwrap_or(day);
    let reason = format!("was dropped; accepted: what was admitted since {first}T00:00:00Z");
    LedgerError::refused("usage of the day", &day, reason)
}

/// Of the days of these instants those whose keys are gone: whether a request of them is booked
/// already cannot be told.
pub(crate) async fn forgotten(
    connection: &mut Connection,
    instants: impl Iterator<Item = DateTime<Utc>>,
) -> Result<HashSet<NaiveDate>, LedgerError> {
    let days: BTreeSet<i64> = instants.map(day_of).collect();
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Ok(HashSet::new());
    };
    let gone = repo::forgotten(connection, *first, *last).await?;
    gone.into_iter().map(date).collect()
}

/// The months, such as `2026-11`, that a day belongs to anywhere.
fn months_of(day: i64) -> BTreeSet<String> {
    let first = day.saturating_sub(ZONE_MICROS_MAX);
    let last = next(day).saturating_add(ZONE_MICROS_MAX).saturating_sub(1);
    let mut months = BTreeSet::new();
    for at in [first, last] {
        // Beyond the calendar there are no months.
        if let Ok(at) = column::instant("usage.at", at) {
            months.insert(at.format("%Y-%m").to_string());
        }
    }
    months
}

/// Why the rows of a day may not be dropped; nothing where they may. Whatever else must be true
/// before they go is asked here and nowhere else; it is asked again when they go.
async fn why_kept(connection: &mut Connection, day: i64) -> Result<Option<String>, LedgerError> {
    for month in months_of(day) {
        if !close::is_closed(connection, &month).await? {
            return Ok(Some(format!("the month {month} is not closed")));
        }
        let mut open = invoice::not_issued(connection, &month).await?;
        open.extend(invoice::not_issued_over(connection, &month).await?);
        if let Some(first) = open.first() {
            return Ok(Some(format!("an invoice over the month {month} is not issued: {first}")));
        }
        if let Some(first) = dispute::open_of_period(connection, &month).await?.first() {
            return Ok(Some(format!("a dispute over the month {month} is open: {first}")));
        }
    }
    let held = repo::held(connection, day, next(day)).await?;
    Ok((held > 0).then(|| format!("{held} requests are held for want of a price")))
}

/// Where days are archived, whether this one is not, as it stands now.
async fn why_unarchived(
    connection: &mut Connection,
    day: i64,
) -> Result<Option<String>, LedgerError> {
    let lacks_a_file = archive::is_begun(connection).await?
        && !archive::is_archived(connection, date(day)?).await?;
    Ok(lacks_a_file.then(|| "it is not archived, as other days are".to_owned()))
}

/// Whose usage of the day's months is on no issued invoice: what came late is on the next one, and
/// that must be one that can be recomputed (B10). This may take long, so others do not wait for it.
async fn why_unbilled(
    connection: &mut Connection,
    day: i64,
) -> Result<Option<String>, LedgerError> {
    let months = months_of(day);
    for id in repo::customers(connection, day, next(day)).await? {
        let Some(customer) = customer::find(connection, &id).await? else { continue };
        for month in &months {
            let scope = Scope { customer: &id, period: invoice::month(month, &customer)? };
            let left = remaining(connection, scope, month, Simulated::LeftOut).await?;
            if !left.sums.is_empty() {
                let kept = format!("usage of {id} in {month} is on no issued invoice");
                return Ok(Some(kept));
            }
        }
    }
    Ok(None)
}

impl Ledger {
    /// Makes the partitions of today and the days that follow, where the store has such. How many
    /// were missing.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn make_days(&self) -> Result<u64, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let ahead =
            (0..DAYS_AHEAD).filter_map(|days| now.checked_add_signed(TimeDelta::days(days)));
        let made = make(&mut tx, ahead).await?;
        tx.commit().await.during("commit days of usage")?;
        Ok(made)
    }

    /// Drops the rows of usage of days (UTC) before `before`, oldest first, where nothing needs
    /// them: the months that a day belongs to anywhere are closed, their invoices are issued and
    /// nowhere in dispute, no request of it waits for a price, and where days are archived it is
    /// too. Roll-ups, sessions, invoices, roots of records and keys stay. `by` nobody is the job;
    /// with `only_look` nothing is changed.
    ///
    /// # Errors
    /// The store's failure; days that were dropped before it stay dropped.
    pub async fn drop_usage(
        &self,
        before: NaiveDate,
        by: Option<&Actor>,
        only_look: bool,
    ) -> Result<UsageDrop, LedgerError> {
        let by = by.map_or("retention", |by| by.token().as_str());
        let before = before.and_time(chrono::NaiveTime::MIN).and_utc();
        let mut found = UsageDrop::default();
        let mut from = i64::MIN;
        // However many are kept, as of a customer whom nobody bills, later ones have their turn.
        let mut dropped = 0_usize;
        while dropped < DAYS_AT_ONCE_MAX {
            let mut view = self.store.view().await?;
            let first = repo::first_at(&mut view, from, column::micros(before)).await?;
            let Some(first) = first else { break };
            let day = day_of(column::instant("usage.at", first)?);
            let mut kept = match why_kept(&mut view, day).await? {
                None => why_unbilled(&mut view, day).await?,
                kept => kept,
            };
            if kept.is_none() {
                kept = why_unarchived(&mut view, day).await?;
            }
            let requests = match kept {
                None => Some(repo::count(&mut view, day, next(day)).await?),
                Some(_) => None,
            };
            drop(view);
            if let Some(requests) = requests.filter(|_| !only_look) {
                kept = self.drop_day(day, requests, by).await?;
            }
            if kept.is_none() {
                dropped = dropped.saturating_add(1);
            }
            let requests = requests.map(|requests| column::number("requests of a day", requests));
            found.days.push(UsageDay { day: date(day)?, requests: requests.transpose()?, kept });
            from = next(day);
        }
        Ok(found)
    }

    /// Drops a day. Why it is kept all the same, if something changed since it was looked at.
    async fn drop_day(
        &self,
        day: i64,
        requests: i64,
        by: &str,
    ) -> Result<Option<String>, LedgerError> {
        // What sessions say of their last request must not go with its row.
        // There are at most as many sessions as requests.
        for _ in 0..=requests.checked_div(AT_ONCE_MAX).unwrap_or_default() {
            let mut tx = self.store.write().await?;
            let kept = session::keep_last(&mut tx, (day, next(day)), AT_ONCE_MAX).await?;
            tx.commit().await.during("commit last requests of sessions")?;
            if kept < AT_ONCE_MAX {
                break;
            }
        }
        let now = self.now();
        let mut tx = self.store.write().await?;
        // In one transaction, however many rows it has: a day leaves whole or not at all.
        let mut kept = why_kept(&mut tx, day).await?;
        if kept.is_none() {
            kept = why_unarchived(&mut tx, day).await?;
        }
        if kept.is_none() && repo::count(&mut tx, day, next(day)).await? != requests {
            kept = Some("requests of it came while it was looked at".to_owned());
        }
        if kept.is_some() {
            return Ok(kept);
        }
        repo::note(&mut tx, day, requests, by, now).await?;
        if tx.is_postgres() {
            repo::drop_partition(&mut tx, day).await?;
        } else {
            repo::delete(&mut tx, day, next(day)).await?;
        }
        tx.commit().await.during("commit the drop of a day of usage")?;
        Ok(None)
    }

    /// Deletes the keys of dropped days (UTC) before `before`, in transactions of a bounded size.
    /// From the first of them on, what comes of such a day is set aside and not booked: it may
    /// have been booked before. How many keys were deleted.
    ///
    /// # Errors
    /// The store's failure; what was deleted before it stays deleted, and the next call goes on.
    pub async fn forget_keys(&self, before: NaiveDate) -> Result<u64, LedgerError> {
        let before = column::micros(before.and_time(chrono::NaiveTime::MIN).and_utc());
        let mut deleted = 0_u64;
        loop {
            let mut view = self.store.view().await?;
            let next_one = repo::remembered(&mut view, before).await?;
            drop(view);
            let Some((day, requests)) = next_one else { return Ok(deleted) };
            // By stretches of the day and not by a number of keys: what was deleted is still
            // looked at until the database has cleaned up.
            let stretches = requests.checked_div(AT_ONCE_MAX).unwrap_or_default();
            let stretch = DAY_MICROS.checked_div(stretches.max(1)).unwrap_or(DAY_MICROS).max(1);
            let mut from = day;
            while from < next(day) {
                let until = from.saturating_add(stretch).min(next(day));
                let mut tx = self.store.write().await?;
                repo::forget(&mut tx, day, "going").await?;
                let gone = repo::delete_keys(&mut tx, from, until).await?;
                tx.commit().await.during("commit the end of keys of usage")?;
                deleted = deleted.saturating_add(gone);
                from = until;
            }
            let mut tx = self.store.write().await?;
            repo::forget(&mut tx, day, "gone").await?;
            tx.commit().await.during("commit the end of keys of usage")?;
        }
    }
}
