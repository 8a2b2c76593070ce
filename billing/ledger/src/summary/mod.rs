//! What sessions cost over a stretch of time: the hidden cost of all of them in one place, from
//! the rows, exact. Formulas, units and what each needs: `docs/metering.md`, "The hidden cost".

mod tally;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, Flag, Money};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Ledger, LedgerError, price,
    session::{self, HiddenCost, decimal_string},
    usage::{self, StoredUsage},
};
use tally::Tally;
pub(crate) use tally::mean;

/// Rows that are read at a time.
const ROWS_AT_ONCE: i64 = 1_000;
/// Most requests of one summary: some seconds of reading, and 16 MB of costs to be ranked.
const SUMMARY_REQUESTS_MAX: u32 = 1_000_000;

/// Which requests are summed up. An absent part does not restrict.
#[derive(Debug, Clone)]
pub struct SummaryFilter {
    /// Whose requests.
    pub customer: Option<CustomerId>,
    /// Admitted at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Admitted before this instant.
    pub until: Option<DateTime<Utc>>,
    /// A fee for any number of sessions, to be compared with what they cost.
    pub flat_fee: Option<Money>,
    /// Whether requests of the built-in simulated provider are left out.
    pub real_only: bool,
    /// Of more requests nothing is summed up; `u32::MAX` is no bound.
    pub requests_max: u32,
}

/// Whether sums tell how the costs of sessions are spread. That takes 16 bytes for each session;
/// everything else takes the same memory however many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranks {
    Kept,
    /// Ranks of [`CurrencySummary::session_cost`] are 0 and tell nothing.
    LeftOut,
}

impl Default for SummaryFilter {
    /// All requests of all customers, up to a million.
    fn default() -> Self {
        let requests_max = SUMMARY_REQUESTS_MAX;
        Self {
            customer: None,
            since: None,
            until: None,
            flat_fee: None,
            real_only: false,
            requests_max,
        }
    }
}

/// What sessions cost. A session is as much of it as lies in the time that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Whose requests; absent where everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// From this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Up to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Amounts of different currencies are never added.
    pub currencies: Vec<CurrencySummary>,
    /// Customers, by id.
    pub customers: Vec<CustomerSummary>,
}

/// What the sessions of customers of one currency cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CurrencySummary {
    /// The currency of all amounts.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Sessions.
    pub sessions: u64,
    /// Sessions of nothing but requests that cost nothing by their nature, such as lists of models:
    /// `session_cost` and `break_even` leave them out.
    pub unmetered_sessions: u64,
    /// Requests.
    pub requests: u64,
    /// Requests without a price: their cost is in no amount.
    pub unpriced_requests: u64,
    /// Requests that the built-in simulated provider served.
    pub simulated_requests: u64,
    /// The exact sum of the requests' costs.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
    /// What of it is hidden.
    pub hidden: HiddenCost,
    /// `regenerated_cost` in thousandths of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regenerated_share_permille: Option<u64>,
    /// `failed_request_cost` in thousandths of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_share_permille: Option<u64>,
    /// What a session costs.
    pub session_cost: Distribution,
    /// What a request costs at each turn.
    pub turns: Vec<TurnCost>,
    /// Sessions by outcome, told and inferred.
    pub outcomes: Vec<OutcomeCost>,
    /// The cost of all sessions ÷ those that were told `accepted` or `resolved`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_decimal")]
    pub cost_per_accepted: Option<Decimal>,
    /// The cost of the sessions that were told `accepted` or `resolved` ÷ what their last complete
    /// requests cost without what was sent before.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_decimal")]
    pub list_price_multiplier: Option<Decimal>,
    /// The same over sessions whose outcome was not told and is inferred `ended`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_decimal")]
    pub list_price_multiplier_inferred: Option<Decimal>,
    /// From where on sessions cost more than a flat fee, at their own prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even: Option<BreakEven>,
}

/// How amounts are spread. Ranks are nearest ranks; the mean is rounded to 10⁻⁹.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Distribution {
    /// Sum ÷ number.
    #[serde(serialize_with = "decimal_string")]
    pub mean: Decimal,
    /// Half are not above.
    #[serde(serialize_with = "decimal_string")]
    pub p50: Decimal,
    /// Nine in ten are not above.
    #[serde(serialize_with = "decimal_string")]
    pub p90: Decimal,
    /// 99 in 100 are not above.
    #[serde(serialize_with = "decimal_string")]
    pub p99: Decimal,
    /// None is above.
    #[serde(serialize_with = "decimal_string")]
    pub max: Decimal,
}

/// What the requests of one turn cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TurnCost {
    /// The turn's number; the last one stands for all later ones too, as `33+`.
    pub turn: String,
    /// Its requests that have a price.
    pub requests: u64,
    /// Their exact cost.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
    /// Cost ÷ requests, rounded to 10⁻⁹: the marginal cost of the turn.
    #[serde(serialize_with = "decimal_string")]
    pub mean: Decimal,
}

/// Sessions of one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutcomeCost {
    /// The outcome.
    pub outcome: &'static str,
    /// `told` by somebody, or `inferred` where nobody did.
    pub source: &'static str,
    /// How many sessions.
    pub sessions: u64,
    /// Their exact cost.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
}

/// From where on sessions cost more than a flat fee, at their own prices. What providers take of
/// these is in margins: with them the fee loses money later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BreakEven {
    /// The fee.
    #[serde(serialize_with = "decimal_string")]
    pub flat_fee: Decimal,
    /// The smallest number of sessions of mean cost that cost more than the fee; absent where
    /// sessions cost nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
}

/// What a customer's sessions cost them and their provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CustomerSummary {
    /// Who.
    pub customer: CustomerId,
    /// The currency of all amounts.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// Sessions.
    pub sessions: u64,
    /// Requests.
    pub requests: u64,
    /// The exact sum of the requests' costs.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
    /// What is left of it; absent for readers who are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Margin>,
    /// From where on sessions such as theirs cost more than a flat fee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even: Option<BreakEven>,
}

/// What is left of a customer's cost when providers have taken theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Margin {
    /// What providers take for all calls, by the entries of side `cost`, as far as it is known.
    #[serde(serialize_with = "decimal_string")]
    pub provider_cost: Decimal,
    /// Requests of which that is not known, in this currency.
    pub unknown_requests: u64,
    /// The cost of the other requests − `provider_cost`; absent where it is known of none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_decimal")]
    pub amount: Option<Decimal>,
    /// In thousandths of their cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_permille: Option<i64>,
}

impl Summary {
    /// Leaves out what providers take: for readers who are not told.
    pub fn hide_margins(&mut self) {
        for customer in &mut self.customers {
            customer.margin = None;
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn some_decimal<S: serde::Serializer>(value: &Option<Decimal>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.collect_str(&value.normalize()),
        None => s.serialize_none(),
    }
}

impl Ledger {
    /// What sessions cost over a stretch of time. Reads every row of it, in the order of sessions.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for more than [`SummaryFilter::requests_max`] requests,
    /// [`LedgerError::Amount`] for sums that do not fit, else the store's failure.
    pub async fn summary(&self, filter: &SummaryFilter) -> Result<Summary, LedgerError> {
        self.sum_up(filter, Ranks::Kept).await
    }

    /// The same, with ranks or without.
    pub(crate) async fn sum_up(
        &self,
        filter: &SummaryFilter,
        ranks: Ranks,
    ) -> Result<Summary, LedgerError> {
        let now = self.now();
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        usage::refuse_more(&mut view, filter).await?;
        let told = session::told(&mut view, filter.customer.as_ref()).await?;
        let mut tally = Tally::new(now, told, ranks);
        let mut derived = HashMap::new();
        let mut after = None;
        loop {
            let rows = usage::by_session(&mut view, filter, after.take(), ROWS_AT_ONCE).await?;
            let versions = rows.iter().filter_map(StoredUsage::version);
            derived.extend(price::derived_since(&mut view, &catalogue, versions).await?);
            let is_counted = |row: &&StoredUsage| {
                !filter.real_only || !row.event.flags.contains(&Flag::Simulated)
            };
            for row in rows.iter().filter(is_counted) {
                let version = row.version();
                let price = version.and_then(|version| {
                    catalogue.content(version).or_else(|| derived.get(version))
                });
                tally.add(row, price, catalogue.book())?;
            }
            let Some(last) = rows.last() else { break };
            after = Some(usage::Place::of(last));
        }
        let (currencies, customers) = tally.close(filter.flat_fee)?;
        Ok(Summary {
            customer: filter.customer.clone(),
            since: filter.since,
            until: filter.until,
            currencies,
            customers,
        })
    }
}
