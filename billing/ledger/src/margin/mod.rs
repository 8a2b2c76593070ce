//! Margins: what requests were billed less what their providers took, in one currency. What credit
//! notes have taken back of the lines that billed them is no part of it.
//!
//! Amounts of other currencies are converted by the rate of the request's day (UTC). A request of
//! which either side is not known, or cannot be converted, is in no sum: it is named among those
//! that were left out, with what is known of it. Nothing is rounded but rates.
//!
//! Requests of the built-in simulated provider cost nobody anything: beside real ones they are in
//! no sum, as on invoices. Where there are no others, whoever tries it sees theirs.

mod tally;

use std::{collections::HashMap, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc};
use permille_rating::fx::{FX_DAYS_MAX_DEFAULT, FxRate};
use permille_types::{Currency, CustomerId, Flag, ModelName, SessionId};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Ledger, LedgerError, SummaryFilter,
    billed::{self, Billed},
    column, fx, plan,
    session::decimal_string,
    usage::{self, StoredUsage},
};
use tally::Tally;

/// Rows that are read at a time.
const ROWS_AT_ONCE: i64 = 1_000;
/// Most groups of one report.
pub const MARGIN_GROUPS_MAX: usize = 1_000;
/// Groups of a report when the caller does not say.
const GROUPS_DEFAULT: usize = 100;
/// Most days that a rate may be old.
const FX_DAYS_MAX: u32 = 31;

/// What margins are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarginBy {
    /// Each customer.
    #[default]
    Customer,
    /// Each model that answered.
    Model,
    /// Each session of a customer.
    Session,
    /// Each plan, by its name; `none` for usage under no plan. With the plans' fees.
    Plan,
}

impl FromStr for MarginBy {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        match text {
            "customer" => Ok(Self::Customer),
            "model" => Ok(Self::Model),
            "session" => Ok(Self::Session),
            "plan" => Ok(Self::Plan),
            _ => Err(LedgerError::invalid("by", text, "customer, model, session or plan")),
        }
    }
}

/// Which margins are asked for.
#[derive(Debug, Clone)]
pub struct MarginFilter {
    /// The currency of the report.
    pub currency: Currency,
    /// Whose; everybody's when absent.
    pub customer: Option<CustomerId>,
    /// Admitted at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Admitted before this instant.
    pub until: Option<DateTime<Utc>>,
    /// What they are told of.
    pub by: MarginBy,
    /// Most groups, those of the lowest margins.
    pub groups_max: usize,
    /// Days that a rate may be old.
    pub fx_days_max: u32,
    /// Of more requests nothing is summed up; `u32::MAX` is no bound.
    pub requests_max: u32,
}

impl MarginFilter {
    /// All requests, by customer.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self {
            currency,
            customer: None,
            since: None,
            until: None,
            by: MarginBy::default(),
            groups_max: GROUPS_DEFAULT,
            fx_days_max: FX_DAYS_MAX_DEFAULT,
            requests_max: SummaryFilter::default().requests_max,
        }
    }
}

/// Margins in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MarginReport {
    /// Of every amount but those that were left out.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Whose; absent where everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// From this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Up to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// What the groups are.
    pub by: MarginBy,
    /// Days that a rate may be old.
    pub fx_days_max: u32,
    /// The sum of all groups, also of those that are not listed.
    pub total: MarginSums,
    /// The lowest margins first.
    pub groups: Vec<MarginGroup>,
    /// Groups that are not listed.
    pub groups_unlisted: u64,
    /// Requests of the built-in simulated provider that are in no sum, because there are real ones.
    pub simulated_left_out: u64,
    /// Requests that are in no sum, and why.
    pub left_out: Vec<MarginLeftOut>,
    /// The rates that converted.
    pub rates: Vec<UsedRate>,
}

/// The margin of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MarginGroup {
    /// Whose; absent by model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// Which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Which plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<ModelName>,
    /// Its sums.
    pub sums: MarginSums,
}

/// Sums over requests of which both sides are known in the report's currency.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct MarginSums {
    /// Requests in these sums.
    pub requests: u64,
    /// Those of them whose lines are not all on issued invoices: at their own prices.
    pub unbilled_requests: u64,
    /// Those of them that the built-in simulated provider served.
    pub simulated_requests: u64,
    /// Requests that are in no sum.
    pub left_out_requests: u64,
    /// What they were billed, or cost at their own prices, less what of it is credited, before tax.
    /// By plan, what no invoice has billed yet of a plan with a fee counts as 0: the fee stands for
    /// it.
    #[serde(serialize_with = "decimal_string")]
    pub billed: Decimal,
    /// What the plans' fees come to over the time of the report, up to now, less what of them is
    /// credited; 0 but by plan.
    #[serde(serialize_with = "decimal_string")]
    pub fees: Decimal,
    /// What providers took for all of their calls.
    #[serde(serialize_with = "decimal_string")]
    pub provider_cost: Decimal,
    /// The part of it for calls that failed or that another one followed.
    #[serde(serialize_with = "decimal_string")]
    pub failed_attempt_cost: Decimal,
    /// `billed` and `fees` less `provider_cost`.
    #[serde(serialize_with = "decimal_string")]
    pub margin: Decimal,
    /// In thousandths of `billed` and `fees`; absent where they are nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_permille: Option<i64>,
}

/// Requests that are in no sum for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MarginLeftOut {
    /// `no_price`, `no_provider_price`, `several_provider_prices`, `no_rate`.
    pub reason: &'static str,
    /// The model (and upstream) without a price, or the pair of currencies without a rate.
    pub what: String,
    /// Day of the first of them (UTC).
    pub first: NaiveDate,
    /// Day of the last of them.
    pub last: NaiveDate,
    /// How many.
    pub requests: u64,
    /// What they were billed, by currency, unconverted.
    pub billed: Vec<MarginAmount>,
    /// What their providers took, by currency, as far as that is known.
    pub provider_cost: Vec<MarginAmount>,
}

/// An amount that was not converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MarginAmount {
    /// Its currency.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// The amount.
    #[serde(serialize_with = "decimal_string")]
    pub amount: Decimal,
}

/// A rate that converted something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsedRate {
    /// From this currency into that of the report.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub from: Currency,
    /// Amounts of this day (UTC).
    pub day: NaiveDate,
    /// The factor.
    #[serde(serialize_with = "decimal_string")]
    pub rate: Decimal,
    /// The stored rates that it was made of.
    pub of: Vec<FxRate>,
}

impl Ledger {
    /// Margins over a stretch of time. Reads every row of it.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for bounds that are not accepted or more requests than
    /// [`MarginFilter::requests_max`],
    /// [`LedgerError::Amount`] for sums that do not fit, else the store's failure.
    pub async fn margins(&self, asked: &MarginFilter) -> Result<MarginReport, LedgerError> {
        if !(1..=MARGIN_GROUPS_MAX).contains(&asked.groups_max) {
            let accepted = format!("1 to {MARGIN_GROUPS_MAX}");
            return Err(LedgerError::invalid("limit", &asked.groups_max, accepted));
        }
        if asked.fx_days_max > FX_DAYS_MAX {
            let accepted = format!("0 to {FX_DAYS_MAX}");
            return Err(LedgerError::invalid("fx_days", &asked.fx_days_max, accepted));
        }
        let filter = SummaryFilter {
            customer: asked.customer.clone(),
            since: asked.since,
            until: asked.until,
            requests_max: asked.requests_max,
            ..SummaryFilter::default()
        };
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        usage::refuse_more(&mut view, &filter).await?;
        let today = self.now().date_naive();
        let first = asked.since.map_or(NaiveDate::MIN, |since| since.date_naive());
        let rates = fx::between(&mut view, first, today, asked.fx_days_max).await?;
        let plans = match asked.by {
            MarginBy::Plan => plan::Plans::of(&mut view, asked.customer.as_ref()).await?,
            _ => plan::Plans::default(),
        };
        let now = self.now();
        let fees = plans.fees(asked.since, asked.until.map_or(now, |until| until.min(now)))?;
        let mut simulated = Tally::new(asked, catalogue.book(), &plans, rates.clone());
        let mut real = Tally::new(asked, catalogue.book(), &plans, rates);
        let mut after = None;
        loop {
            let stored = usage::by_session(&mut view, &filter, after.take(), ROWS_AT_ONCE).await?;
            let billed = billed::of_rows(&mut view, &self.billed, &stored).await?;
            for (stored, billed) in stored.iter().zip(billed) {
                let is_simulated = stored.event.flags.contains(&Flag::Simulated);
                let tally = if is_simulated { &mut simulated } else { &mut real };
                tally.add(stored, billed)?;
            }
            let Some(last) = stored.last() else { break };
            after = Some(usage::Place::of(last));
        }
        if real.is_empty() {
            return simulated.close(asked, fees);
        }
        Ok(MarginReport { simulated_left_out: simulated.requests(), ..real.close(asked, fees)? })
    }
}

/// What a row was billed, or costs, less what of it is credited: absent while it has no price.
fn billed_of(stored: &StoredUsage, billed: Billed) -> Result<Option<Decimal>, LedgerError> {
    let amount = match (billed.share, &stored.pricing) {
        (Some(share), _) => share,
        (None, usage::Pricing::Priced { cost, .. }) => *cost,
        (None, usage::Pricing::Held) => return Ok(None),
    };
    column::exact_sub("margins", amount, billed.credited).map(Some)
}

/// A session that has one id at one customer.
type Groups = HashMap<GroupKey, MarginSums>;

/// What a group is told by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum GroupKey {
    Customer(CustomerId),
    Model(ModelName),
    Session(CustomerId, SessionId),
    Plan(Option<ModelName>),
}
