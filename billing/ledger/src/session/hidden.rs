//! What of a cost is hidden, as people and scripts see it. Formulas: `docs/metering.md`.

use permille_rating::facts::{Amounts, Counts};
use permille_types::TokenCount;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use super::decimal_string;

/// Part ÷ whole, in thousandths.
const PERMILLE: u64 = 1_000;

/// What of the cost of a turn, a session or many sessions is hidden. Amounts are exact, in the
/// currency of the cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HiddenCost {
    /// Input tokens that had been sent or received before, an estimate; absent where no request's
    /// place in a conversation is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_tokens: Option<TokenCount>,
    /// In thousandths of the input of the requests whose place is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_share_permille: Option<u64>,
    /// What they cost.
    #[serde(serialize_with = "decimal_string")]
    pub resent_cost: Decimal,
    /// Input tokens that the provider read from its cache.
    pub cached_tokens: TokenCount,
    /// In thousandths of all input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_share_permille: Option<u64>,
    /// What they would have cost more as uncached input.
    #[serde(serialize_with = "decimal_string")]
    pub cache_saving: Decimal,
    /// What resent uncached tokens would have cost less, read from a cache.
    #[serde(serialize_with = "decimal_string")]
    pub cache_saving_missed: Decimal,
    /// Requests that repeat a turn.
    pub regenerations: u64,
    /// What they cost.
    #[serde(serialize_with = "decimal_string")]
    pub regenerated_cost: Decimal,
    /// Requests that did not end `complete`.
    pub failed_requests: u64,
    /// What they cost.
    #[serde(serialize_with = "decimal_string")]
    pub failed_request_cost: Decimal,
    /// Upstream calls after the first of their request.
    pub retries: u64,
    /// Upstream calls that failed.
    pub failed_attempts: u64,
    /// What these consumed at the provider, at the row's price; beside the cost, not in it.
    #[serde(serialize_with = "decimal_string")]
    pub failed_attempt_cost: Decimal,
    /// Mean milliseconds to the first byte of a reply, rounded down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms_mean: Option<u64>,
}

impl HiddenCost {
    pub(crate) fn new(counts: &Counts, amounts: &Amounts) -> Self {
        let known = counts.conversation_input_tokens;
        Self {
            resent_tokens: (known > 0).then_some(counts.resent_tokens),
            resent_share_permille: share_permille(counts.resent_tokens, known),
            resent_cost: amounts.resent_cost,
            cached_tokens: counts.cached_tokens,
            cached_share_permille: share_permille(counts.cached_tokens, counts.input_tokens),
            cache_saving: amounts.cache_saving,
            cache_saving_missed: amounts.cache_saving_missed,
            regenerations: counts.regenerations,
            regenerated_cost: amounts.regenerated_cost,
            failed_requests: counts.failed_requests,
            failed_request_cost: amounts.failed_request_cost,
            retries: counts.retries,
            failed_attempts: counts.failed_attempts,
            failed_attempt_cost: amounts.failed_attempt_cost,
            first_token_ms_mean: counts.first_token_ms.checked_div(counts.first_tokens),
        }
    }
}

/// `part ÷ whole` in thousandths, rounded down; absent where the whole is nothing.
pub(crate) fn share_permille(part: u64, whole: u64) -> Option<u64> {
    let thousandths = u128::from(part).checked_mul(PERMILLE.into())?;
    thousandths.checked_div(whole.into()).and_then(|share| share.try_into().ok())
}
