//! Exchange rates by day, for margins and reconciliation. They price no request (decision 0004).

mod repo;

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use permille_rating::fx::{FxRate, FxRates};
use permille_types::Currency;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Change, Subject},
    column,
    error::During,
    store::Connection,
    text,
};

/// Most rates of one call: a year of what the European Central Bank publishes is twice as many.
pub const FX_RATES_AT_ONCE_MAX: usize = 5_000;
/// Longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 200;
/// Most significant digits that a published rate has. Arithmetic with floats leaves 16 or 17.
const DIGITS_MAX: usize = 12;
/// A rate is compared with one before it that is at most so many days old.
const JUMP_DAYS: u64 = 31;
/// A change by more percent within that time is a slip more often than a market.
const JUMP_PERCENT_MAX: u64 = 20;
/// Replaced rates that the audit trail has with their values, before it only counts.
const REPLACED_MAX: usize = 20;
/// What the audit trail calls all rates.
const RATES: Subject<'static> = Subject { noun: "fx", id: "rates" };

/// What may be done beside adding rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FxChange {
    /// Put a rate in the place of another one of its pair and day.
    pub replace: bool,
    /// Take rates that changed by more than a fifth within a month, too.
    pub accept_jumps: bool,
}

/// What came of rates that were set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FxImport {
    /// New ones.
    pub added: u64,
    /// That were there already.
    pub unchanged: u64,
    /// That were put in the place of others.
    pub replaced: u64,
}

/// Which rates are listed. An absent part does not restrict.
#[derive(Debug, Clone, Copy, Default)]
pub struct FxFilter {
    /// Of one unit of this currency.
    pub base: Option<Currency>,
    /// In this one.
    pub quote: Option<Currency>,
    /// Of this day or later.
    pub since: Option<NaiveDate>,
    /// Of this day or before.
    pub until: Option<NaiveDate>,
}

impl Ledger {
    /// Keeps rates, all of them or none. What is there already stays as it is, so the same call
    /// again changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a rate that makes no sense, [`LedgerError::Refused`] for one
    /// that would replace another or jumps and may not, else the store's failure.
    pub async fn set_fx_rates(
        &self,
        rates: &[FxRate],
        how: FxChange,
        instruction: &Instruction,
    ) -> Result<FxImport, LedgerError> {
        const ACTION: &str = "set rates";
        let now = self.now();
        let today = now.date_naive();
        if rates.is_empty() || rates.len() > FX_RATES_AT_ONCE_MAX {
            let accepted = format!("1 to {FX_RATES_AT_ONCE_MAX} rates");
            return Err(LedgerError::invalid("rates", &rates.len(), accepted));
        }
        for rate in rates {
            check(rate, today)?;
        }
        let mut tx = self.store.write().await?;
        let request = digest(rates, how);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let before = audit::repeated(&mut tx, RATES, ACTION, &request, instruction).await?;
        if let Some(before) = before {
            // Earlier builds kept no answer.
            let unchanged = FxImport { unchanged: count(rates.len()), ..FxImport::default() };
            let kept = before.result.map(|answer| column::json("audit.result", &answer));
            return kept.unwrap_or(Ok(unchanged));
        }
        let mut sorted: Vec<&FxRate> = rates.iter().collect();
        sorted.sort_by_key(|rate| (rate.base.code(), rate.quote.code(), rate.day));
        let mut import = FxImport::default();
        let mut replaced = Vec::new();
        let mut before: BTreeMap<(&str, &str), FxRate> = BTreeMap::new();
        for rate in sorted {
            let pair = (rate.base.code(), rate.quote.code());
            if !before.contains_key(&pair)
                && let Some(last) = repo::last_before(&mut tx, rate).await?
            {
                before.insert(pair, last);
            }
            match repo::find(&mut tx, rate).await? {
                Some(known) if known.rate == rate.rate => {
                    import.unchanged = import.unchanged.saturating_add(1);
                }
                known => {
                    refuse_jump(before.get(&pair), rate, how)?;
                    if let Some(known) = known {
                        refuse_replacement(&known, rate, how)?;
                        repo::replace(&mut tx, rate, now).await?;
                        import.replaced = import.replaced.saturating_add(1);
                        replaced.push(format!(
                            "{}/{} of {} was {}, is {}",
                            pair.0, pair.1, rate.day, known.rate, rate.rate
                        ));
                    } else {
                        repo::insert(&mut tx, rate, now).await?;
                        import.added = import.added.saturating_add(1);
                    }
                }
            }
            before.insert(pair, rate.clone());
        }
        // A key is for one request, also where nothing was left to do.
        if import.added == 0 && import.replaced == 0 && instruction.key().is_none() {
            return Ok(import);
        }
        let more = replaced.len().saturating_sub(REPLACED_MAX);
        replaced.truncate(REPLACED_MAX);
        let mut detail = format!("{} added, {} replaced", import.added, import.replaced);
        for what in &replaced {
            detail = format!("{detail}; {what}");
        }
        if more > 0 {
            detail = format!("{detail}; and {more} more");
        }
        let answer = column::to_json("answer to exchange rates", &import)?;
        let change = Change {
            action: ACTION,
            from: None,
            to: None,
            detail: Some(&detail),
            request: &request,
            result: Some(&answer),
        };
        audit::insert(&mut tx, RATES, change, instruction, now).await?;
        tx.commit().await.during("commit exchange rates")?;
        Ok(import)
    }

    /// Rates, by pair and day.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn fx_rates(
        &self,
        filter: &FxFilter,
        page: &Page,
    ) -> Result<Listing<FxRate>, LedgerError> {
        let after = page.after_parts::<3>()?.unwrap_or_default();
        let mut reader = self.store.read().await?;
        let rates = repo::list(&mut reader, filter, after, page.rows()).await?;
        Ok(Listing::cut(page, rates, |rate| {
            format!("{}/{}/{}", rate.base.code(), rate.quote.code(), rate.day)
        }))
    }
}

/// The rates that may hold on days from `first` to `last`, which are at most `days_max` days old.
pub(crate) async fn between(
    connection: &mut Connection,
    first: NaiveDate,
    last: NaiveDate,
    days_max: u32,
) -> Result<FxRates, LedgerError> {
    let first = first.checked_sub_days(Days::new(days_max.into())).unwrap_or(first);
    repo::between(connection, first, last).await.map(FxRates::new)
}

fn check(rate: &FxRate, today: NaiveDate) -> Result<(), LedgerError> {
    if rate.base == rate.quote {
        return Err(LedgerError::invalid("quote", rate.quote.code(), "another currency than base"));
    }
    let digits = rate.rate.normalize().mantissa().unsigned_abs().to_string().len();
    if rate.rate <= Decimal::ZERO || digits > DIGITS_MAX {
        let accepted = format!("above 0 with at most {DIGITS_MAX} digits");
        return Err(LedgerError::invalid("rate", &rate.rate, accepted));
    }
    // Somewhere it is tomorrow already.
    if today.succ_opt().is_some_and(|tomorrow| rate.day > tomorrow) {
        return Err(LedgerError::invalid("day", &rate.day, format!("no day after {today}")));
    }
    text::line("source", &rate.source, SOURCE_BYTES_MAX).map(drop)
}

fn refuse_replacement(known: &FxRate, rate: &FxRate, how: FxChange) -> Result<(), LedgerError> {
    if how.replace {
        return Ok(());
    }
    let id = format!("{}/{} of {}", rate.base.code(), rate.quote.code(), rate.day);
    let reason =
        format!("is {} ({}) already; accepted: that, or replace", known.rate, known.source);
    Err(LedgerError::refused("exchange rate", &id, reason))
}

fn refuse_jump(before: Option<&FxRate>, rate: &FxRate, how: FxChange) -> Result<(), LedgerError> {
    let recent = |before: &&FxRate| {
        let last = before.day.checked_add_days(Days::new(JUMP_DAYS));
        before.day < rate.day && last.is_some_and(|last| rate.day <= last)
    };
    let Some(before) = before.filter(recent).filter(|_| !how.accept_jumps) else { return Ok(()) };
    let hundred = Decimal::ONE_HUNDRED;
    let most = Decimal::from(JUMP_PERCENT_MAX);
    let within = |up: Decimal, down: Decimal| {
        let percent = up.checked_mul(hundred).and_then(|up| up.checked_div(down));
        percent.and_then(|percent| percent.checked_sub(hundred)).is_some_and(|more| more <= most)
    };
    if within(rate.rate, before.rate) && within(before.rate, rate.rate) {
        return Ok(());
    }
    let id = format!("{}/{} of {}", rate.base.code(), rate.quote.code(), rate.day);
    let reason = format!(
        "is {}, but {} on {}: a slip of the unit or of the pair? accepted: a change of at most \
         {JUMP_PERCENT_MAX} % in {JUMP_DAYS} days, or accept_jumps",
        rate.rate, before.rate, before.day
    );
    Err(LedgerError::refused("exchange rate", &id, reason))
}

fn digest(rates: &[FxRate], how: FxChange) -> String {
    let mut hasher = Sha256::new();
    for FxRate { base, quote, day, rate, source } in rates {
        let line = format!("{}/{} {day} {rate} {source}\n", base.code(), quote.code());
        hasher.update(line.as_bytes());
    }
    format!("{:?} {}", how, hex::encode(hasher.finalize()))
}
