//! What of a cost is hidden, against figures made by hand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod event;

use event::event;
use permille_rating::{
    facts::{Amounts, Counts, resent_by_class},
    price_book::{PriceBook, parse_price_book},
    rate::{Rated, rate},
};
use permille_types::{
    Attempt, Currency, Ended, Endpoint, Flag, TokenClass, TurnKind, Unit, UsageEvent,
};
use rust_decimal::Decimal;

const PRICES: &str = r#"
[[price]]
model = "m"
currency = "USD"
from = 2026-01-01T00:00:00Z
source = "a test"
input = "0.01"
cache_read = "0.001"
cache_write_5m = "0.0125"
output = "0.03"

[[price]]
model = "no-cache"
currency = "USD"
from = 2026-01-01T00:00:00Z
source = "a test"
input = "0.01"
output = "0.03"
"#;

fn rated(event: &UsageEvent) -> Rated {
    let book = PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap();
    rate(event, &book, Currency::USD).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// 1,500 tokens in, of which 1,300 were sent before.
fn turn() -> UsageEvent {
    let tokens = [
        ("cache_read", 1_000),
        ("cache_write_5m", 200),
        ("input_uncached", 300),
        ("output_text", 100),
    ];
    let turn_kind = Some(TurnKind::Continue);
    let resent_tokens = Some(1_300);
    UsageEvent { turn_kind, resent_tokens, input_total: Some(1_500), ..event("m", &tokens) }
}

#[test]
fn resent_tokens_are_the_beginning_of_a_prompt_and_cost_what_their_classes_cost() {
    let turn = turn();

    let parts = resent_by_class(&turn);
    let hidden = rated(&turn).hidden;

    let expected = [
        (TokenClass::CACHE_READ, 1_000),
        (TokenClass::CACHE_WRITE_5M, 200),
        (TokenClass::INPUT_UNCACHED, 100),
    ];
    assert_eq!(parts, expected);
    assert_eq!(hidden.resent_cost, decimal("0.0045"), "0.001 + 0.0025 + 0.001");
    assert_eq!(hidden.cache_saving, decimal("0.009"), "1,000 at 0.01 − 0.001");
    assert_eq!(hidden.cache_saving_missed, decimal("0.0009"), "100 at 0.01 − 0.001");
    assert_eq!(hidden.regenerated_cost, Decimal::ZERO);
}

#[test]
fn a_price_that_knows_no_cache_misses_no_saving() {
    let mut turn = event("no-cache", &[("input_uncached", 1_000), ("output_text", 100)]);
    turn.turn_kind = Some(TurnKind::Continue);
    (turn.input_total, turn.resent_tokens) = (Some(1_000), Some(5_000));

    let hidden = rated(&turn).hidden;

    assert_eq!(hidden.resent_cost, decimal("0.01"), "never more than the input");
    assert_eq!(hidden.cache_saving_missed, Decimal::ZERO);
    assert_eq!(Counts::of(&turn).resent_tokens, 1_000);
}

#[test]
fn a_turn_that_is_made_again_and_one_that_fails_are_hidden_as_a_whole() {
    let again = UsageEvent { turn_kind: Some(TurnKind::Regenerate), ..turn() };
    let failed = UsageEvent { ended: Ended::ClientGone, ..turn() };

    let (again, failed) = (rated(&again), rated(&failed));

    let cost = decimal("0.0095");
    assert_eq!(again.cost.unwrap().amount(), cost);
    assert_eq!((again.hidden.regenerated_cost, failed.hidden.failed_request_cost), (cost, cost));
    assert_eq!(again.hidden.failed_request_cost, Decimal::ZERO);
}

fn call(ended: Ended, tokens: &[(&str, u64)]) -> Attempt {
    Attempt {
        upstream: "u".parse().unwrap(),
        model: None,
        status: None,
        provider_id: None,
        provider_request_id: None,
        ended,
        tokens: event("m", tokens).tokens,
    }
}

#[test]
fn a_failed_call_is_beside_the_cost_and_the_call_that_answered_is_not_one() {
    let mut turn = turn();
    let own = Attempt { tokens: turn.tokens.clone(), ..call(Ended::Complete, &[]) };
    turn.attempts = vec![call(Ended::UpstreamError, &[("input_uncached", 100)]), own.clone()];
    let answered = rated(&turn);
    // The provider broke the answer off: the row bills what was delivered, once.
    turn.ended = Ended::UpstreamError;
    turn.attempts = vec![Attempt { ended: Ended::UpstreamError, ..own }];
    let broken = rated(&turn);

    assert_eq!(answered.cost, broken.cost);
    assert_eq!(answered.hidden.failed_attempt_cost, decimal("0.001"));
    assert_eq!(broken.hidden.failed_attempt_cost, Decimal::ZERO);
    assert_eq!(broken.hidden.failed_request_cost, broken.cost.unwrap().amount());
    let counts = Counts::of(&turn);
    assert_eq!((counts.retries, counts.failed_attempts, counts.failed_requests), (0, 1, 1));
}

#[test]
fn what_nobody_pays_hides_nothing_and_what_is_unpriced_is_not_known() {
    let mut free = turn();
    free.flags = vec![Flag::NotBilled];
    let unpriced = UsageEvent { model_requested: "unheard-of".parse().unwrap(), ..turn() };

    // Without a quantity of its own it is never held, so its price may come before or after it.
    let failed = call(Ended::UpstreamError, &[("input_uncached", 100)]);
    let nothing = UsageEvent { tokens: [].into(), attempts: vec![failed], ..turn() };

    assert_eq!(rated(&nothing).hidden, Amounts::default());
    assert_eq!(rated(&free).hidden, Amounts::default());
    assert_eq!(rated(&unpriced).hidden, Amounts::default());
    assert_eq!(Counts::of(&unpriced).resent_tokens, 1_300);
}

#[test]
fn sums_are_those_of_the_parts_and_read_back_as_they_were_written() {
    let (one, other) = (rated(&turn()).hidden, rated(&turn()).hidden);
    let mut counts = Counts::of(&turn());
    counts.add(&Counts::of(&turn()));

    let sum = one.try_add(&other).unwrap();

    assert_eq!(sum.resent_cost, decimal("0.009"));
    assert_eq!((counts.resent_tokens, counts.conversation_input_tokens), (2_600, 3_000));
    let written = serde_json::to_string(&(&counts, &sum)).unwrap();
    let read: (Counts, Amounts) = serde_json::from_str(&written).unwrap();
    assert_eq!(read, (counts, sum));
    assert_eq!(serde_json::to_string(&Amounts::default()).unwrap(), "{}");
}

#[test]
fn every_count_of_a_request_is_its_own() {
    let tokens = [
        ("cache_read", 1_000),
        ("cache_read_explicit", 30),
        ("input_uncached", 500),
        ("output_text", 100),
    ];
    let mut again = event("m", &tokens);
    again.turn_kind = Some(TurnKind::Regenerate);
    (again.input_total, again.resent_tokens) = (Some(1_530), Some(1_200));
    (again.ended, again.first_token_ms) = (Ended::Deadline, Some(250));
    again.attempts = vec![
        call(Ended::Complete, &[]),
        call(Ended::Complete, &[]),
        call(Ended::ClientGone, &tokens),
    ];
    // Of a request whose place in no conversation is known only what it is by itself.
    let alone = UsageEvent { turn_kind: None, attempts: Vec::new(), ..again.clone() };
    let alone = UsageEvent { ended: Ended::Complete, first_token_ms: None, ..alone };
    let list = UsageEvent { endpoint: Endpoint::Models, ..event("m", &[]) };

    let expected = Counts {
        conversation_input_tokens: 1_530,
        resent_tokens: 1_200,
        input_tokens: 1_530,
        cached_tokens: 1_030,
        unmetered_requests: 0,
        regenerations: 1,
        failed_requests: 1,
        retries: 2,
        failed_attempts: 2,
        first_token_ms: 250,
        first_tokens: 1,
    };
    assert_eq!(Counts::of(&again), expected);
    let expected = Counts { input_tokens: 1_530, cached_tokens: 1_030, ..Counts::default() };
    assert_eq!(Counts::of(&alone), expected);
    let expected = Counts { unmetered_requests: 1, ..Counts::default() };
    assert_eq!(Counts::of(&list), expected);
    assert_eq!(serde_json::to_string(&expected).unwrap(), r#"{"unmetered_requests":1}"#);
}

#[test]
fn a_read_costs_nothing_by_its_nature_unless_it_settles_what_was_made_in_the_background() {
    for (endpoint, tokens, unmetered) in [
        (Endpoint::ChatCompletions, &[][..], 0),
        (Endpoint::ChatCompletions, &[("output_text", 5)], 0),
        (Endpoint::Models, &[], 1),
        (Endpoint::CountTokens, &[], 1),
        (Endpoint::StoredResponse, &[], 1),
        (Endpoint::StoredResponse, &[("output_text", 5)], 0),
    ] {
        let read = UsageEvent { endpoint, ..event("m", tokens) };

        assert_eq!(Counts::of(&read).unmetered_requests, unmetered, "{endpoint:?} {tokens:?}");
    }
}

#[test]
fn a_failed_call_is_beside_the_cost_unless_it_is_the_last_and_its_reply_was_passed() {
    let own = Attempt { tokens: turn().tokens, ..call(Ended::UpstreamError, &[]) };
    let other = || call(Ended::UpstreamError, &[("input_uncached", 400)]);
    let answer = Attempt { ended: Ended::Complete, ..own.clone() };
    let beside = |attempts| rated(&UsageEvent { attempts, ..turn() }).hidden.failed_attempt_cost;

    // Of the row's own tokens 1,000 were cached, 200 written, 300 new, 100 put out: 0.0095.
    assert_eq!(beside(vec![own.clone()]), Decimal::ZERO);
    assert_eq!(beside(vec![own.clone(), answer.clone()]), decimal("0.0095"), "another followed");
    assert_eq!(beside(vec![other()]), decimal("0.004"), "its reply was not passed");
    assert_eq!(beside(vec![other(), own]), decimal("0.004"));
    assert_eq!(beside(vec![answer]), Decimal::ZERO);
}

#[test]
fn a_request_that_has_only_units_or_only_zeros_is_told_apart() {
    let failed = call(Ended::UpstreamError, &[("input_uncached", 100)]);
    let mut units = event("m", &[]);
    units.attempts = vec![failed.clone(), call(Ended::Complete, &[])];
    units.units.insert(Unit::Requests, 1);
    let zeros = UsageEvent { attempts: vec![failed], ..event("m", &[("input_uncached", 0)]) };
    let book = PRICES.replacen("output", "requests = \"1\"\noutput", 1);
    let book = PriceBook::new(parse_price_book(&book, "test").unwrap()).unwrap();

    let units = rate(&units, &book, Currency::USD).unwrap();

    assert_eq!(units.cost.unwrap().amount(), Decimal::ONE);
    assert_eq!(units.hidden.failed_attempt_cost, decimal("0.001"));
    assert_eq!(rated(&zeros).hidden, Amounts::default());
}
