//! The worst that a request may use: what is reserved before it is sent.
//!
//! Input: a byte of the body is at most one token of every vocabulary that falls back to bytes, and
//! the JSON round a message is longer than the tokens that frame it. What a body only points at
//! (images by address, stored conversations) is not bounded by it: that is an overage, and carried.
//!
//! Price: the highest of any upstream, band and class that text may take. A band of a service tier
//! is one that the upstream or the request asks for.

use permille_types::{Condition, Price, Rates, TokenClass, Unit};
use rust_decimal::Decimal;

use crate::{context::Targeted, upstream::Upstream};

/// What a body says that asks for a service tier, in every format that has one.
const TIER: &[u8] = b"service_tier";
/// Nano-units of a currency unit.
const NANO: u32 = 1_000_000_000;

/// What a request may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Worst {
    /// Tokens, both ways.
    pub(super) tokens: u64,
    /// Those of the output.
    pub(super) output: u64,
    /// Cost, in 10⁻⁹ of the currency unit.
    pub(super) nano: u64,
    /// Cost of a thousand tokens of output.
    pub(super) nano_per_thousand: u64,
    /// Whether the client bounds the output itself, so that it never grows beyond.
    pub(super) is_bounded: bool,
}

/// A candidate of the request has no price, so nothing bounds what it costs.
#[derive(Debug)]
pub(super) struct Unpriced;

/// The worst case of `request`, whose answers have `expected` tokens where the client sets no
/// limit.
pub(super) fn worst(request: &Targeted, expected: u64) -> Result<Worst, Unpriced> {
    let classified = &request.classified;
    let head = &classified.routed;
    let Some(facts) = classified.facts.as_ref().filter(|_| head.endpoint.is_metered()) else {
        return Ok(Worst::default());
    };
    let input = u64::try_from(classified.body.len()).unwrap_or(u64::MAX);
    let choices = u64::from(facts.choices);
    let output = match facts.max_output {
        _ if head.endpoint.is_embedding() => 0,
        Some(limit) => limit.saturating_mul(choices).saturating_mul(facts.prompts.into()),
        // That is learnt of whole replies, those to several prompts too.
        None => expected.saturating_mul(choices),
    };
    let asks_for_tier = memchr::memmem::find(&classified.body, TIER).is_some();
    let mut dearest = Dearest::default();
    for candidate in &request.candidates {
        let model = candidate.model.as_ref().unwrap_or(&facts.model).as_str();
        let (upstream, customer) = (Some(&candidate.upstream.name), &head.key.customer);
        let price = head
            .known
            .prices
            .resolve_for_upstream(model, upstream, customer, head.key.currency, head.at)
            .ok_or(Unpriced)?;
        dearest.take(&price, |when| may_hold(when, &candidate.upstream, asks_for_tier, input));
    }
    let amounts = [
        dearest.input.saturating_mul(input.into()) / 1_000,
        dearest.output.saturating_mul(output.into()) / 1_000,
        dearest.request.saturating_add(dearest.image.saturating_mul(choices.into())),
    ];
    let nano = amounts.iter().fold(2_u128, |sum, amount| sum.saturating_add(*amount));
    Ok(Worst {
        tokens: input.saturating_add(output),
        output,
        // A rounding of each part is in it already; more than this no budget has.
        nano: u64::try_from(nano).unwrap_or(u64::MAX / 2),
        nano_per_thousand: u64::try_from(dearest.output).unwrap_or(u64::MAX / 2),
        is_bounded: facts.max_output.is_some(),
    })
}

/// Whether a band may be that of a request with so many tokens of input.
fn may_hold(when: &Condition, upstream: &Upstream, asks_for_tier: bool, input: u64) -> bool {
    let of_tier = when.service_tier.is_some() || when.batch == Some(true);
    when.input_total_over.is_none_or(|over| input > over)
        && (!of_tier || asks_for_tier || upstream.service_tier.is_some())
        && when.region.as_ref().is_none_or(|region| upstream.region.as_ref() == Some(region))
}

/// The highest prices, in nano-units: of a thousand tokens, of a request and of an image.
#[derive(Debug, Default)]
struct Dearest {
    input: u128,
    output: u128,
    request: u128,
    image: u128,
}

impl Dearest {
    fn take(&mut self, price: &Price, may_hold: impl Fn(&Condition) -> bool) {
        self.take_rates(&price.rates);
        for band in &price.bands {
            if may_hold(&band.when) {
                self.take_rates(&band.rates);
            }
        }
    }

    fn take_rates(&mut self, rates: &Rates) {
        for (class, price) in &rates.per_thousand {
            let nano = up(price.amount());
            if is_text_input(class) {
                self.input = self.input.max(nano);
            } else if *class == TokenClass::OUTPUT_TEXT || *class == TokenClass::REASONING {
                self.output = self.output.max(nano);
            }
        }
        let unit = |unit| rates.per_unit.get(&unit).map_or(0, |price| up(*price));
        self.request = self.request.max(unit(Unit::Requests));
        self.image = self.image.max(unit(Unit::Images));
    }
}

fn is_text_input(class: &TokenClass) -> bool {
    *class == TokenClass::INPUT_UNCACHED || class.as_str().starts_with("cache_")
}

/// An amount in nano-units, rounded up.
fn up(amount: Decimal) -> u128 {
    let nano = amount.checked_mul(Decimal::from(NANO)).map(|nano| nano.ceil());
    nano.and_then(|nano| u128::try_from(nano).ok()).unwrap_or_default()
}
