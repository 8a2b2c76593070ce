//! What providers take for the calls of a request, by the entries of side `cost`.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::event;
use permille_rating::price_book::{PriceBook, parse_price_book};
use permille_rating::provider::{ProviderSum, provider_calls, provider_sum};
use permille_rating::rate::provider_cost;
use permille_types::{Attempt, Currency, Ended, Unit, UsageEvent};
use rust_decimal::Decimal;

/// What two providers take for one model, and one of them for another. Of side `sale` is nothing.
const COSTS: &str = r#"
[[price]]
source = "azure"
side = "cost"
model = "m"
provider = "azure"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.02"
output = "0.04"
searches = "0.5"
[[price.band]]
when = { input_total_over = 1000 }
input = "0.03"
output = "0.06"
searches = "0.5"

[[price]]
source = "openai"
side = "cost"
model = "m"
provider = "openai"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.01"
output = "0.03"
searches = "0.4"

[[price]]
source = "small"
side = "cost"
model = "small"
currency = "USD"
from = 2026-01-01T00:00:00Z
input = "0.001"

[[price]]
source = "calls"
side = "cost"
model = "per-call"
currency = "USD"
from = 2026-01-01T00:00:00Z
requests = "0.25"
"#;

fn book() -> PriceBook {
    PriceBook::new(parse_price_book(COSTS, "test").unwrap()).unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn call(upstream: &str, ended: Ended, tokens: &[(&str, u64)]) -> Attempt {
    Attempt {
        upstream: upstream.parse().unwrap(),
        model: None,
        status: None,
        provider_id: None,
        provider_request_id: None,
        ended,
        tokens: event("m", tokens).tokens,
    }
}

/// A request of 600 tokens in and 100 out with three searches, after `calls`.
fn request(calls: Vec<Attempt>) -> UsageEvent {
    let mut request = event("m", &[("input_uncached", 600), ("output_text", 100)]);
    request.units.insert(Unit::Searches, 3);
    UsageEvent { attempts: calls, ..request }
}

/// What its own call would have been.
fn answer(upstream: &str, ended: Ended) -> Attempt {
    call(upstream, ended, &[("input_uncached", 600), ("output_text", 100)])
}

fn sum(event: &UsageEvent) -> Option<(String, String)> {
    let sum = provider_sum(event, &book(), Currency::USD).unwrap()?;
    let cost = provider_cost(event, &book(), Currency::USD).unwrap();
    assert_eq!(cost, Some(sum.cost), "the cost is the sum's");
    let ProviderSum { cost, failed } = sum;
    Some((cost.to_string(), failed.to_string()))
}

/// A cost, and what failed calls have of it.
fn of_failed(cost: &str, failed: &str) -> (String, String) {
    (cost.to_owned(), failed.to_owned())
}

#[test]
fn the_provider_that_was_called_decides_the_price() {
    let of = |upstream: &str| sum(&request(vec![answer(upstream, Ended::Complete)]));

    // 600 in, 100 out, 3 searches: 0.012 + 0.004 + 1.5 of one, 0.006 + 0.003 + 1.2 of the other.
    assert_eq!(of("azure"), Some(of_failed("1.516", "0")));
    assert_eq!(of("openai"), Some(of_failed("1.209", "0")));
    assert_eq!(of("my-proxy"), None, "two providers, and no word which one");
    let elsewhere =
        provider_sum(&request(vec![answer("azure", Ended::Complete)]), &book(), Currency::CNY);
    assert_eq!(elsewhere.unwrap(), None, "no price in that currency");
}

#[test]
fn a_request_of_which_no_call_is_known_is_one_itself() {
    let alone = UsageEvent { upstream: Some("azure".parse().unwrap()), ..request(Vec::new()) };

    let calls = provider_calls(&alone);

    let [only] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(only.upstream, alone.upstream.as_ref());
    assert_eq!(only.model, alone.model());
    assert!(only.told && !only.failed);
    assert_eq!(sum(&alone), Some(of_failed("1.516", "0")));
    let silent = UsageEvent { tokens: [].into(), ..request(Vec::new()) };
    assert!(!provider_calls(&silent)[0].told);
}

#[test]
fn every_call_is_priced_by_itself_and_only_the_last_has_the_units() {
    let failed = call("openai", Ended::UpstreamError, &[("input_uncached", 1_500)]);
    let first = request(vec![failed, answer("azure", Ended::Complete)]);
    let same = request(vec![answer("openai", Ended::Complete), answer("azure", Ended::Complete)]);
    let silent =
        request(vec![call("openai", Ended::Deadline, &[]), answer("azure", Ended::Complete)]);

    // 1,500 of the first call at 0.01 beside the 1.516 of the answer, and its units once.
    assert_eq!(sum(&first), Some(of_failed("1.531", "0.015")));
    assert_eq!(
        sum(&same),
        Some(of_failed("1.525", "0.009")),
        "a call that another one followed has failed"
    );
    assert_eq!(sum(&silent), Some(of_failed("1.516", "0")));
    let told: Vec<_> =
        provider_calls(&silent).iter().map(|call| (call.told, call.failed)).collect();
    assert_eq!(told, [(false, true), (true, false)]);
}

#[test]
fn the_last_call_has_failed_where_the_provider_or_the_time_failed_it() {
    for (ended, failed) in [
        (Ended::Complete, false),
        (Ended::ClientGone, false),
        (Ended::Budget, false),
        (Ended::UpstreamError, true),
        (Ended::Deadline, true),
    ] {
        let broken = request(vec![answer("azure", ended)]);

        assert_eq!(provider_calls(&broken)[0].failed, failed, "{ended:?}");
        assert_eq!(
            sum(&broken),
            Some(of_failed("1.516", if failed { "1.516" } else { "0" })),
            "{ended:?}"
        );
    }
}

#[test]
fn each_call_takes_the_band_of_its_own_input() {
    // 1,000 in all were reported of the answer, 1,200 were read by the call that failed.
    let long = call("azure", Ended::UpstreamError, &[("input_uncached", 1_200)]);
    let mut request = request(vec![long, answer("azure", Ended::Complete)]);
    request.units.clear();
    request.input_total = Some(1_000);
    assert_eq!(sum(&request), Some(of_failed("0.052", "0.036")), "1,200 at 0.03, the answer 0.016");

    // What was reported of the answer counts for it, also where a call tells other tokens.
    request.input_total = Some(1_001);
    request.attempts[1] = call("azure", Ended::Complete, &[("input_uncached", 500)]);
    request.attempts.remove(0);
    assert_eq!(sum(&request), Some(of_failed("0.015", "0")), "500 at 0.03");
}

#[test]
fn a_call_is_priced_by_the_model_that_it_was_made_with() {
    let small = |tokens| Attempt {
        model: Some("small".parse().unwrap()),
        ..call("openai", Ended::UpstreamError, tokens)
    };
    let first =
        request(vec![small(&[("input_uncached", 1_000)]), answer("azure", Ended::Complete)]);
    // The reply names a snapshot that no entry knows: what was asked for prices.
    let snapshot = UsageEvent {
        model_served: Some("m-2026-11-01".parse().unwrap()),
        ..request(vec![answer("azure", Ended::Complete)])
    };
    let known = UsageEvent { model_served: Some("small".parse().unwrap()), ..snapshot.clone() };

    let models: Vec<_> = provider_calls(&first).iter().map(|call| call.model.as_str()).collect();
    assert_eq!(models, ["small", "m"]);
    assert_eq!(sum(&first), Some(of_failed("1.517", "0.001")));
    assert_eq!(provider_calls(&snapshot)[0].model.as_str(), "m-2026-11-01");
    assert_eq!(sum(&snapshot), Some(of_failed("1.516", "0")));
    // `small` has no price for output and searches.
    let charge = provider_calls(&known)[0].charge(&book(), Currency::USD).unwrap();
    let unpriced: Vec<_> =
        charge.unpriced.iter().map(|(meter, count)| format!("{meter} {count}")).collect();
    assert_eq!(unpriced, ["output_text 100", "searches 3"]);
    assert_eq!(charge.lines[0].cost, decimal("0.0006"));
    assert!(charge.version.unwrap().as_str().starts_with("small@"));
    assert_eq!(sum(&known), None, "never a part of what it costs");
}

#[test]
fn a_count_of_requests_needs_a_price_where_it_is_all_there_is() {
    let mut counted = event("m", &[("input_uncached", 1_000)]);
    counted.upstream = Some("openai".parse().unwrap());
    counted.units.insert(Unit::Requests, 1);
    assert_eq!(sum(&counted), Some(of_failed("0.01", "0")), "beside tokens it says nothing");

    counted.tokens.clear();
    assert_eq!(sum(&counted), None);
    counted.model_requested = "per-call".parse().unwrap();
    assert_eq!(sum(&counted), Some(of_failed("0.25", "0")));
    counted.units.clear();
    assert_eq!(sum(&counted), Some(of_failed("0", "0")), "nothing costs nothing");
    assert_eq!(provider_calls(&counted)[0].quantities(), []);
}

#[test]
fn the_currencies_of_costs_are_told_once_each_by_code() {
    let yuan = COSTS.replace("\"USD\"", "\"CNY\"");
    let sale = "[[price]]\nsource = \"sale\"\nmodel = \"m\"\ncurrency = \"EUR\"\n\
                from = 2026-01-01T00:00:00Z\ninput = \"1\"\n";
    let book = |text: &str| PriceBook::new(parse_price_book(text, "test").unwrap()).unwrap();

    let both = book(&format!("{COSTS}{yuan}{sale}"));
    assert_eq!(both.cost_currencies(), [Currency::CNY, Currency::USD]);
    assert_eq!(book(sale).cost_currencies(), []);
}
