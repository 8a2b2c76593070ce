//! What requests cost beyond what their answers are worth: input that was sent before, turns that
//! were made again, failures, what a cache saved and what it might have saved.
//!
//! Every amount is at the row's own price, exact, and a part of the row's cost, a saving against
//! it, or (of failed attempts) beside it. Facts add up: those of a session are the sum of those of
//! its requests, in any order. The formulas are in `docs/metering.md`, "The hidden cost".

use permille_types::{
    Attempt, Ended, MoneyError, PricePerThousand, Rates, TokenClass, TokenCount, TokenCounts,
    TurnKind, UsageEvent,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::exact;

/// Classes of text input in the order of a prompt: what was cached is its beginning, and the
/// resent part of a prompt is its beginning too.
const PROMPT_ORDER: [TokenClass; 8] = [
    TokenClass::CACHE_READ,
    TokenClass::CACHE_READ_EXPLICIT,
    TokenClass::CACHE_WRITE_5M,
    TokenClass::CACHE_WRITE_30M,
    TokenClass::CACHE_WRITE_1H,
    TokenClass::CACHE_WRITE_12H,
    TokenClass::CACHE_WRITE_OTHER,
    TokenClass::INPUT_UNCACHED,
];
/// Classes that were read from a cache.
const CACHED: [TokenClass; 2] = [TokenClass::CACHE_READ, TokenClass::CACHE_READ_EXPLICIT];

/// What is counted of requests, whether they have a price or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Input tokens of the requests whose place in a conversation is known.
    #[serde(skip_serializing_if = "is_zero")]
    pub conversation_input_tokens: u64,
    /// Input tokens that their sessions had sent or received before, an estimate.
    #[serde(skip_serializing_if = "is_zero")]
    pub resent_tokens: u64,
    /// Input tokens in all, where they are known.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_tokens: u64,
    /// Input tokens that were read from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Requests that cost nothing by their nature: lists of models, counts of tokens, reads of
    /// stored responses.
    #[serde(skip_serializing_if = "is_zero")]
    pub unmetered_requests: u64,
    /// Requests that repeat a turn.
    #[serde(skip_serializing_if = "is_zero")]
    pub regenerations: u64,
    /// Requests that did not end `complete`.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_requests: u64,
    /// Upstream calls after the first one.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
    /// Upstream calls that failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_attempts: u64,
    /// Milliseconds to the first byte, summed over `first_tokens` requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_token_ms: u64,
    /// Requests whose reply had a first byte.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_tokens: u64,
}

/// What it cost, in the currency of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// Part of the cost: the resent tokens.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub resent_cost: Decimal,
    /// What cached tokens would have cost more as uncached input.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub cache_saving: Decimal,
    /// What resent uncached tokens would have cost less, read from a cache. Nothing where the price
    /// knows no cache.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub cache_saving_missed: Decimal,
    /// Part of the cost: requests that repeat a turn.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub regenerated_cost: Decimal,
    /// Part of the cost: requests that did not end `complete`.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub failed_request_cost: Decimal,
    /// Beside the cost: what failed calls consumed at the provider and no customer pays.
    #[serde(skip_serializing_if = "Decimal::is_zero")]
    pub failed_attempt_cost: Decimal,
}

impl Counts {
    /// Those of one request.
    #[must_use]
    pub fn of(event: &UsageEvent) -> Self {
        let input = event.input_total.unwrap_or_default();
        let count = |is: bool| u64::from(is);
        let calls = u64::try_from(event.attempts.len()).unwrap_or(u64::MAX);
        let failed = failed_attempts(event).count();
        Self {
            conversation_input_tokens: event.turn_kind.map_or(0, |_| input),
            resent_tokens: resent(event),
            input_tokens: input,
            cached_tokens: cached(&event.tokens),
            unmetered_requests: count(!is_metered(event)),
            regenerations: count(event.turn_kind == Some(TurnKind::Regenerate)),
            failed_requests: count(event.ended != Ended::Complete),
            retries: calls.saturating_sub(1),
            failed_attempts: u64::try_from(failed).unwrap_or(u64::MAX),
            first_token_ms: event.first_token_ms.unwrap_or_default(),
            first_tokens: count(event.first_token_ms.is_some()),
        }
    }

    /// Adds others. Counts that do not fit stay at the most that does.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.conversation_input_tokens, other.conversation_input_tokens),
            (&mut self.resent_tokens, other.resent_tokens),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.unmetered_requests, other.unmetered_requests),
            (&mut self.regenerations, other.regenerations),
            (&mut self.failed_requests, other.failed_requests),
            (&mut self.retries, other.retries),
            (&mut self.failed_attempts, other.failed_attempts),
            (&mut self.first_token_ms, other.first_token_ms),
            (&mut self.first_tokens, other.first_tokens),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

fn has_quantity(event: &UsageEvent) -> bool {
    event.tokens.values().chain(event.units.values()).any(|quantity| *quantity > 0)
}

/// Whether a request may cost something. The settlement of a response that was made in the
/// background is a read that has tokens.
fn is_metered(event: &UsageEvent) -> bool {
    event.endpoint.is_metered() || !event.tokens.is_empty()
}

impl Amounts {
    /// Those of one request of this exact `cost`, at the rates that priced it. A request that costs
    /// nothing by policy has no rates, and no amounts. Nor has one without any quantity: it costs
    /// nothing whether its model has a price or not, so it is never held and never priced again,
    /// and what is hidden of it may not depend on a price either.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when an exact amount has more than 28 digits.
    pub fn of(
        event: &UsageEvent,
        rates: Option<&Rates>,
        cost: Decimal,
    ) -> Result<Self, MoneyError> {
        let failed = event.ended != Ended::Complete;
        let regenerated = event.turn_kind == Some(TurnKind::Regenerate);
        let mut amounts = Self {
            regenerated_cost: if regenerated { cost } else { Decimal::ZERO },
            failed_request_cost: if failed { cost } else { Decimal::ZERO },
            ..Self::default()
        };
        let Some(rates) = rates.filter(|_| has_quantity(event)) else { return Ok(amounts) };
        let price = |class: &TokenClass| rates.per_thousand.get(class);
        let (uncached, cached) =
            (price(&TokenClass::INPUT_UNCACHED), price(&TokenClass::CACHE_READ));
        for (class, tokens) in resent_by_class(event) {
            let Some(own) = price(&class) else { continue };
            amounts.resent_cost = exact::add(amounts.resent_cost, at(own, tokens)?)?;
            if class == TokenClass::INPUT_UNCACHED {
                amounts.cache_saving_missed = less(Some(own), cached, tokens)?;
            }
        }
        for class in CACHED {
            let tokens = event.tokens.get(&class).copied().unwrap_or_default();
            let saved = less(uncached, price(&class), tokens)?;
            amounts.cache_saving = exact::add(amounts.cache_saving, saved)?;
        }
        for attempt in failed_attempts(event).filter(|attempt| !is_the_rows(attempt, event)) {
            let spent = cost_of(&attempt.tokens, rates)?;
            amounts.failed_attempt_cost = exact::add(amounts.failed_attempt_cost, spent)?;
        }
        Ok(amounts)
    }

    /// The exact sum.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when one has more than 28 digits.
    pub fn try_add(&self, other: &Self) -> Result<Self, MoneyError> {
        Ok(Self {
            resent_cost: exact::add(self.resent_cost, other.resent_cost)?,
            cache_saving: exact::add(self.cache_saving, other.cache_saving)?,
            cache_saving_missed: exact::add(self.cache_saving_missed, other.cache_saving_missed)?,
            regenerated_cost: exact::add(self.regenerated_cost, other.regenerated_cost)?,
            failed_request_cost: exact::add(self.failed_request_cost, other.failed_request_cost)?,
            failed_attempt_cost: exact::add(self.failed_attempt_cost, other.failed_attempt_cost)?,
        })
    }
}

/// The resent tokens of a request by the class that they were counted in. The resent part is the
/// beginning of a prompt, and so are, in this order, what was read from a cache and what was
/// written to one.
#[must_use]
pub fn resent_by_class(event: &UsageEvent) -> Vec<(TokenClass, TokenCount)> {
    let mut left = resent(event);
    let mut parts = Vec::new();
    for class in PROMPT_ORDER {
        let tokens = event.tokens.get(&class).copied().unwrap_or_default().min(left);
        if tokens > 0 {
            left = left.saturating_sub(tokens);
            parts.push((class, tokens));
        }
    }
    parts
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Never more than the input has, and nothing where the place in a conversation is not known.
fn resent(event: &UsageEvent) -> TokenCount {
    let most = event.turn_kind.and(event.input_total).unwrap_or_default();
    event.resent_tokens.unwrap_or_default().min(most)
}

/// Calls that failed: those that another one followed, and the last where the provider or the time
/// failed it. A client that leaves is no failure of the call.
fn failed_attempts(event: &UsageEvent) -> impl Iterator<Item = &Attempt> {
    let last = event.attempts.len().saturating_sub(1);
    event.attempts.iter().enumerate().filter_map(move |(place, attempt)| {
        let failed = matches!(attempt.ended, Ended::UpstreamError | Ended::Deadline);
        (place < last || failed).then_some(attempt)
    })
}

/// Whether what `attempt` consumed is what the row bills: it was the last and its reply was passed.
fn is_the_rows(attempt: &Attempt, event: &UsageEvent) -> bool {
    let is_last = event.attempts.last().is_some_and(|last| std::ptr::eq(last, attempt));
    is_last && attempt.tokens == event.tokens
}

/// How many of `tokens` the provider read from its cache.
#[must_use]
pub fn cached(tokens: &TokenCounts) -> TokenCount {
    let counts = CACHED.iter().filter_map(|class| tokens.get(class));
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

/// What `tokens` cost at `price`.
fn at(price: &PricePerThousand, tokens: TokenCount) -> Result<Decimal, MoneyError> {
    exact::shift_right(exact::mul(price.amount(), Decimal::from(tokens))?, 3)
}

/// What `tokens` cost less at `low` than at `high`; zero where either price is missing.
fn less(
    high: Option<&PricePerThousand>,
    low: Option<&PricePerThousand>,
    tokens: TokenCount,
) -> Result<Decimal, MoneyError> {
    let (Some(high), Some(low)) = (high, low) else { return Ok(Decimal::ZERO) };
    let saved = exact::sub(at(high, tokens)?, at(low, tokens)?)?;
    Ok(saved.max(Decimal::ZERO))
}

/// What `tokens` cost, as far as their classes have a price.
fn cost_of(tokens: &TokenCounts, rates: &Rates) -> Result<Decimal, MoneyError> {
    let mut priced = tokens
        .iter()
        .filter_map(|(class, count)| rates.per_thousand.get(class).map(|price| at(price, *count)));
    priced.try_fold(Decimal::ZERO, |sum, cost| exact::add(sum, cost?))
}
