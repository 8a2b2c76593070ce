//! The sums of a summary, row by row in the order of sessions.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use permille_rating::{price_book::PriceBook, rate::provider_cost};
use permille_types::{Currency, CustomerId, Money, MoneyError, Price, SessionId};
use rust_decimal::{Decimal, RoundingStrategy};

use super::{
    BreakEven, CurrencySummary, CustomerSummary, Distribution, Margin, OutcomeCost, Ranks, TurnCost,
};
use crate::{
    LedgerError, column,
    session::{HiddenCost, InferredOutcome, LastRequest, Outcome, SessionDelta, text_cost},
    usage::{Pricing, StoredUsage},
};

/// The last turn that is summed up by itself; later ones are summed up together.
const TURNS_MAX: u32 = 32;
/// Places of a mean: those of a posting.
const MEAN_PLACES: u32 = 9;
/// Places of a multiplier.
const MULTIPLIER_PLACES: u32 = 3;

/// What was told of sessions.
pub(crate) type ToldOutcomes = HashMap<(CustomerId, SessionId), Outcome>;

/// The sums so far.
pub(super) struct Tally {
    now: DateTime<Utc>,
    told: ToldOutcomes,
    ranks: Ranks,
    currencies: BTreeMap<&'static str, CurrencyTally>,
    customers: BTreeMap<CustomerId, CustomerTally>,
    /// The session whose rows are coming.
    open: Option<SessionTally>,
}

/// One session so far.
struct SessionTally {
    customer: CustomerId,
    id: SessionId,
    currency: Currency,
    sum: SessionDelta,
    last: LastRequest,
    /// What its last complete request cost without what was sent before.
    text_cost: Option<Decimal>,
}

#[derive(Default)]
struct CurrencyTally {
    currency: Option<Currency>,
    sum: Option<SessionDelta>,
    /// Those of the metered ones, where they are ranked.
    costs: Vec<Decimal>,
    metered: u64,
    unmetered: u64,
    turns: BTreeMap<u32, (u64, Decimal)>,
    outcomes: BTreeMap<(&'static str, &'static str), (u64, Decimal)>,
    accepted: u64,
    /// Of sessions with a result: their cost, and that of their last replies.
    told_result: (Decimal, Decimal),
    inferred_result: (Decimal, Decimal),
}

struct CustomerTally {
    currency: Currency,
    sessions: u64,
    /// Those that are conversations.
    metered: u64,
    requests: u64,
    cost: Decimal,
    provider_cost: Decimal,
    unknown: u64,
    /// Whether it is known of a request that may cost something.
    any_known: bool,
    /// The cost of the requests whose provider cost is known.
    known_cost: Decimal,
}

impl Tally {
    pub(super) fn new(now: DateTime<Utc>, told: ToldOutcomes, ranks: Ranks) -> Self {
        let (currencies, customers) = (BTreeMap::new(), BTreeMap::new());
        Self { now, told, ranks, currencies, customers, open: None }
    }

    /// Adds a row; rows of a session come together, in the order of their admission.
    pub(super) fn add(
        &mut self,
        row: &StoredUsage,
        price: Option<&Price>,
        book: &PriceBook,
    ) -> Result<(), LedgerError> {
        let delta = SessionDelta::of(row, price)?;
        let unmetered = delta.is_unmetered();
        if !unmetered {
            self.add_turn(row)?;
        }
        self.add_customer(row, unmetered, book)?;
        let event = &row.event;
        let text_cost = text_cost(row, &delta)?;
        let last = LastRequest { at: event.at, kind: event.turn_kind, ended: Some(event.ended) };
        let same =
            |open: &SessionTally| open.id == event.session && open.customer == event.customer;
        if let Some(open) = self.open.take_if(|open| same(open)) {
            self.open = Some(SessionTally {
                sum: open.sum.merged(delta)?,
                last,
                text_cost: text_cost.or(open.text_cost),
                ..open
            });
            return Ok(());
        }
        self.close_session()?;
        self.open = Some(SessionTally {
            customer: event.customer.clone(),
            id: event.session.clone(),
            currency: row.currency,
            sum: delta,
            last,
            text_cost,
        });
        Ok(())
    }

    /// Of requests that may cost something alone: others would thin out the mean.
    fn add_turn(&mut self, row: &StoredUsage) -> Result<(), LedgerError> {
        let Pricing::Priced { cost, .. } = &row.pricing else { return Ok(()) };
        let turns = &mut self.currencies.entry(row.currency.code()).or_default().turns;
        let turn = row.event.turn.min(TURNS_MAX.saturating_add(1));
        let (requests, sum) = turns.entry(turn).or_default();
        *requests = requests.saturating_add(1);
        *sum = column::exact_add("cost of a turn", *sum, *cost)?;
        Ok(())
    }

    fn add_customer(
        &mut self,
        row: &StoredUsage,
        unmetered: bool,
        book: &PriceBook,
    ) -> Result<(), LedgerError> {
        let of = self.customers.entry(row.event.customer.clone()).or_insert(CustomerTally {
            currency: row.currency,
            sessions: 0,
            metered: 0,
            requests: 0,
            cost: Decimal::ZERO,
            provider_cost: Decimal::ZERO,
            unknown: 0,
            any_known: false,
            known_cost: Decimal::ZERO,
        });
        of.requests = of.requests.saturating_add(1);
        let Pricing::Priced { cost, .. } = &row.pricing else {
            of.unknown = of.unknown.saturating_add(1);
            return Ok(());
        };
        of.cost = column::exact_add("cost of a customer", of.cost, *cost)?;
        match provider_cost(&row.event, book, row.currency).map_err(too_large)? {
            Some(provider) => {
                // What costs nothing by its nature tells nothing of its provider's price.
                of.any_known |= !unmetered;
                let what = "provider cost of a customer";
                of.provider_cost = column::exact_add(what, of.provider_cost, provider)?;
                of.known_cost = column::exact_add("cost of a customer", of.known_cost, *cost)?;
            }
            None => of.unknown = of.unknown.saturating_add(1),
        }
        Ok(())
    }

    fn close_session(&mut self) -> Result<(), LedgerError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let unmetered = open.sum.is_unmetered();
        if let Some(customer) = self.customers.get_mut(&open.customer) {
            customer.sessions = customer.sessions.saturating_add(1);
            customer.metered = customer.metered.saturating_add(u64::from(!unmetered));
        }
        let told = self.told.get(&(open.customer.clone(), open.id.clone())).copied();
        let inferred = open.last.outcome(self.now);
        let cost = open.sum.cost;
        let of = self.currencies.entry(open.currency.code()).or_default();
        of.currency = Some(open.currency);
        if unmetered {
            of.unmetered = of.unmetered.saturating_add(1);
        } else {
            of.metered = of.metered.saturating_add(1);
            of.costs.extend((self.ranks == Ranks::Kept).then_some(cost));
        }
        let outcome = told.map_or((inferred.as_str(), "inferred"), |told| (told.as_str(), "told"));
        // Of what makes no conversation nothing is inferred; what somebody told of it counts.
        if told.is_some() || !unmetered {
            let (sessions, sum) = of.outcomes.entry(outcome).or_default();
            *sessions = sessions.saturating_add(1);
            *sum = column::exact_add("cost of sessions", *sum, cost)?;
        }
        if told.is_some_and(Outcome::is_result) {
            of.accepted = of.accepted.saturating_add(1);
        }
        let is_result = told.map_or(inferred == InferredOutcome::Ended, Outcome::is_result);
        if let Some(text) = open.text_cost.filter(|_| is_result) {
            let result = if told.is_some() { &mut of.told_result } else { &mut of.inferred_result };
            result.0 = column::exact_add("cost of sessions", result.0, cost)?;
            result.1 = column::exact_add("cost of replies", result.1, text)?;
        }
        of.sum = Some(match of.sum.take() {
            Some(sum) => sum.merged(open.sum)?,
            None => open.sum,
        });
        Ok(())
    }

    pub(super) fn close(
        mut self,
        flat_fee: Option<Money>,
    ) -> Result<(Vec<CurrencySummary>, Vec<CustomerSummary>), LedgerError> {
        self.close_session()?;
        let currencies = self.currencies.into_values();
        let currencies = currencies.filter_map(|tally| tally.close(flat_fee).transpose());
        let customers = self.customers.into_iter().map(|(id, tally)| tally.close(id, flat_fee));
        Ok((
            currencies.collect::<Result<_, LedgerError>>()?,
            customers.collect::<Result<_, LedgerError>>()?,
        ))
    }
}

impl CurrencyTally {
    /// Absent where there is no session.
    fn close(self, flat_fee: Option<Money>) -> Result<Option<CurrencySummary>, LedgerError> {
        let (Some(currency), Some(sum)) = (self.currency, self.sum) else { return Ok(None) };
        let metered = self.metered;
        let fee = flat_fee.filter(|fee| fee.currency() == currency);
        let break_even = fee.map(|fee| break_even(fee.amount(), sum.cost, metered));
        let turns = self.turns.into_iter().map(|(turn, (requests, cost))| TurnCost {
            turn: if turn > TURNS_MAX { format!("{turn}+") } else { turn.to_string() },
            requests,
            cost,
            mean: mean(cost, requests.into()).unwrap_or_default(),
        });
        let outcomes = self.outcomes.into_iter();
        let multiplier = |(cost, text)| quotient(cost, text, MULTIPLIER_PLACES);
        Ok(Some(CurrencySummary {
            currency,
            sessions: metered.saturating_add(self.unmetered),
            unmetered_sessions: self.unmetered,
            requests: column::number("requests", sum.requests)?,
            unpriced_requests: column::number("unpriced requests", sum.unpriced)?,
            simulated_requests: column::number("simulated requests", sum.simulated)?,
            cost: sum.cost,
            regenerated_share_permille: cost_share(sum.amounts.regenerated_cost, sum.cost),
            failed_share_permille: cost_share(sum.amounts.failed_request_cost, sum.cost),
            hidden: HiddenCost::new(&sum.counts, &sum.amounts),
            session_cost: distribution(self.costs, sum.cost, metered),
            turns: turns.collect(),
            outcomes: outcomes
                .map(|((outcome, source), (sessions, cost))| OutcomeCost {
                    outcome,
                    source,
                    sessions,
                    cost,
                })
                .collect(),
            cost_per_accepted: mean(sum.cost, self.accepted.into()),
            list_price_multiplier: multiplier(self.told_result),
            list_price_multiplier_inferred: multiplier(self.inferred_result),
            break_even: break_even.transpose()?,
        }))
    }
}

impl CustomerTally {
    fn close(
        self,
        customer: CustomerId,
        flat_fee: Option<Money>,
    ) -> Result<CustomerSummary, LedgerError> {
        let fee = flat_fee.filter(|fee| fee.currency() == self.currency);
        let break_even = fee.map(|fee| break_even(fee.amount(), self.cost, self.metered));
        let margin = column::exact_sub("difference of costs", self.known_cost, self.provider_cost)?;
        let permille = margin
            .checked_mul(Decimal::ONE_THOUSAND)
            .and_then(|thousandths| thousandths.checked_div(self.known_cost))
            .and_then(|share| i64::try_from(share.trunc()).ok());
        Ok(CustomerSummary {
            customer,
            currency: self.currency,
            sessions: self.sessions,
            requests: self.requests,
            cost: self.cost,
            margin: Some(Margin {
                provider_cost: self.provider_cost,
                unknown_requests: self.unknown,
                amount: self.any_known.then_some(margin),
                share_permille: permille.filter(|_| self.any_known),
            }),
            break_even: break_even.transpose()?,
        })
    }
}

/// The smallest number of sessions of mean cost that cost more than `fee`: n × cost > fee × all.
fn break_even(fee: Decimal, cost: Decimal, sessions: u64) -> Result<BreakEven, LedgerError> {
    let overflow = |operation| {
        let (left, right) = (fee, sessions.into());
        too_large(MoneyError::Overflow { operation, left, right })
    };
    let all = fee.checked_mul(sessions.into()).ok_or_else(|| overflow("product"))?;
    let most = all
        .checked_rem(cost)
        .and_then(|rest| all.checked_sub(rest))
        .and_then(|whole| whole.checked_div(cost))
        .and_then(|times| u64::try_from(times).ok());
    Ok(BreakEven { flat_fee: fee, sessions: most.and_then(|most| most.checked_add(1)) })
}

fn distribution(mut costs: Vec<Decimal>, sum: Decimal, sessions: u64) -> Distribution {
    costs.sort_unstable();
    let rank = |percent: usize| {
        let rank = costs.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        costs.get(rank).copied().unwrap_or_default()
    };
    Distribution {
        mean: mean(sum, sessions.into()).unwrap_or_default(),
        p50: rank(50),
        p90: rank(90),
        p99: rank(99),
        max: rank(100),
    }
}

/// `sum ÷ count`, rounded to 10⁻⁹; absent where nothing is counted.
pub(crate) fn mean(sum: Decimal, count: Decimal) -> Option<Decimal> {
    quotient(sum, count, MEAN_PLACES)
}

/// `part ÷ whole` with so many places; absent where the whole is nothing.
fn quotient(part: Decimal, whole: Decimal, places: u32) -> Option<Decimal> {
    let exact = part.checked_div(whole)?;
    Some(exact.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero).normalize())
}

/// `part ÷ whole` in thousandths, rounded down; absent where the whole is nothing.
fn cost_share(part: Decimal, whole: Decimal) -> Option<u64> {
    let share = part.checked_mul(Decimal::ONE_THOUSAND)?.checked_div(whole)?;
    u64::try_from(share.trunc()).ok()
}

fn too_large(cause: MoneyError) -> LedgerError {
    LedgerError::Amount { what: "cost of sessions", cause }
}
