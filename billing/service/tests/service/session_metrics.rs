//! Metrics of turns and sessions: what was shipped, once, in bounded series.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use permille_ledger::{Billed, BilledRequest, InferredOutcome, Outcome, PriceOrigin, Rerated};
use permille_rating::{
    Meter,
    facts::{Amounts, Counts},
    price_book::parse_price_book,
    rate::RatedLine,
};
use permille_service::{Billing, Budget};
use permille_types::{Currency, Ended, Endpoint, Money, TurnKind, UsageEvent};
use prometheus::Registry;
use serde_json::json;

use crate::{
    events::{Gateway, event},
    metrics::samples,
    support::Api,
};

const IDLE: TimeDelta = TimeDelta::minutes(20);

/// A request of `acme` at turn 2 of which 600 of 1,000 tokens were sent before.
fn second(number: u32, key: &str) -> UsageEvent {
    let mut event = event(number, "acme", key);
    (event.turn, event.turn_kind) = (2, Some(TurnKind::Continue));
    event.resent_tokens = Some(600);
    event
}

async fn key(api: &Api) -> String {
    api.add_key("acme").await["id"].as_str().unwrap().to_owned()
}

/// The samples whose names begin with `name`, by the labels that follow.
fn of(registry: &Registry, name: &str) -> BTreeMap<String, String> {
    let samples = samples(registry).into_iter();
    samples
        .filter_map(|(series, value)| {
            let rest = series.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then(|| (rest.to_owned(), value))
        })
        .collect()
}

/// The same of those in which something was counted.
fn counted(registry: &Registry, name: &str) -> BTreeMap<String, String> {
    of(registry, name).into_iter().filter(|(_, value)| value != "0").collect()
}

/// The value of a series; an amount to a thousandth of a cent, because floats are not exact.
fn one(registry: &Registry, series: &str) -> String {
    let value = samples(registry).remove(series).unwrap_or_else(|| panic!("no {series}"));
    let amount: f64 = value.parse().unwrap();
    ((amount * 1e5).round() / 1e5).to_string()
}

#[tokio::test]
async fn what_a_request_costs_is_counted_by_turn_and_what_of_it_is_hidden_by_cause() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let again = UsageEvent { turn_kind: Some(TurnKind::Regenerate), ..second(2, &key) };
    let left = UsageEvent { ended: Ended::ClientGone, ..second(3, &key) };
    let gateway = Gateway::of(&api, "n1").await;
    let events = [second(1, &key), again, left];

    gateway.ship(1, &events).await;
    gateway.ship(1, &events).await;

    let value = |series: &str| one(&api.registry, series);
    let turn = "model=\"ERNIE-Bot\",turn=\"2-3\"";
    assert_eq!(value("permille_turn_cost_count{currency=\"CNY\",turn=\"2-3\"}"), "3");
    assert_eq!(value(&format!("permille_resent_tokens_total{{{turn}}}")), "1800");
    assert_eq!(value(&format!("permille_conversation_input_tokens_total{{{turn}}}")), "3000");
    let labels = format!("class=\"output_text\",{turn}");
    assert_eq!(value(&format!("permille_turn_tokens_total{{{labels}}}")), "1500");
    let labels = format!("class=\"output_text\",currency=\"CNY\",{turn}");
    assert_eq!(value(&format!("permille_turn_class_cost_total{{{labels}}}")), "0.018");
    assert_eq!(value("permille_regenerated_requests_total{model=\"ERNIE-Bot\"}"), "1");
    let ended = "currency=\"CNY\",ended=\"client_gone\",model=\"ERNIE-Bot\"";
    assert_eq!(value(&format!("permille_failed_request_cost_total{{{ended}}}")), "0.018");
    let causes = of(&api.registry, "permille_hidden_cost_total");
    let cause = |name: &str| {
        let amount = &causes[&format!("{{cause=\"{name}\",currency=\"CNY\",customer=\"acme\"}}")];
        format!("{:.4}", amount.parse::<f64>().unwrap())
    };
    // Three times 600 tokens at 0.012 per thousand.
    assert_eq!(cause("resent"), "0.0216");
    assert_eq!((cause("regenerated"), cause("failed_request")), ("0.0180".into(), "0.0180".into()));
}

#[tokio::test]
async fn a_session_that_has_ended_is_counted_once_and_again_when_it_goes_on() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &[event(1, "acme", &key), second(2, &key)]).await;

    for _ in 0..3 {
        api.billing.count_ended_sessions(IDLE).await.unwrap();
    }

    let cost = |part: &str, turns: &str| {
        one(
            &api.registry,
            &format!("permille_session_cost_{part}{{currency=\"CNY\",turns=\"{turns}\"}}"),
        )
    };
    assert_eq!((cost("count", "2-3"), cost("sum", "2-3")), ("1".into(), "0.036".into()));
    let resent = |part: &str| {
        one(&api.registry, &format!("permille_session_resent_ratio_{part}{{turns=\"2-3\"}}"))
    };
    assert_eq!((resent("count"), resent("sum")), ("1".into(), "0.6".into()));
    let ended =
        "permille_session_outcomes_total{currency=\"CNY\",outcome=\"ended\",source=\"inferred\"}";
    assert_eq!(one(&api.registry, ended), "1");

    let mut later = event(4, "acme", &key);
    later.at += TimeDelta::minutes(1);
    gateway.ship(3, &[later]).await;
    api.billing.count_ended_sessions(IDLE).await.unwrap();

    // Turn 4, with what it has cost since: what was counted before is not counted again.
    assert_eq!((cost("count", "4-7"), cost("sum", "4-7")), ("1".into(), "0.018".into()));
    assert_eq!(one(&api.registry, ended), "2");
}

#[tokio::test]
async fn every_outcome_is_there_before_the_first_session() {
    let api = Api::start().await;
    // What else would be read tells which names there are.
    let names = |refused: serde_json::Error| -> Vec<String> {
        refused.to_string().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    };
    let told = names(serde_json::from_str::<Outcome>("\"\"").unwrap_err());
    let mut inferred = names(serde_json::from_str::<InferredOutcome>("\"\"").unwrap_err());
    inferred.retain(|outcome| outcome != InferredOutcome::Open.as_str());

    let outcomes = of(&api.registry, "permille_session_outcomes_total");

    assert_eq!((told.len(), inferred.len(), outcomes.len()), (4, 4, 16));
    for (names, source) in [(told, "told"), (inferred, "inferred")] {
        for currency in ["CNY", "USD"] {
            for outcome in &names {
                let labels = format!(
                    "{{currency=\"{currency}\",outcome=\"{outcome}\",source=\"{source}\"}}"
                );
                assert_eq!(outcomes[&labels], "0");
            }
            let labels = format!("{{currency=\"{currency}\",source=\"{source}\"}}");
            for side in ["permille_result_cost_total", "permille_result_text_cost_total"] {
                assert_eq!(of(&api.registry, side)[&labels], "0");
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_not_over_before_it_was_silent_for_long_enough() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    Gateway::of(&api, "n1").await.ship(1, &[event(1, "acme", &key)]).await;

    api.billing.count_ended_sessions(TimeDelta::minutes(31)).await.unwrap();
    assert!(of(&api.registry, "permille_session_cost_count").is_empty());
    api.billing.count_ended_sessions(TimeDelta::minutes(30)).await.unwrap();
    assert_eq!(of(&api.registry, "permille_session_cost_count").len(), 1);
}

#[tokio::test]
async fn an_outcome_that_is_told_is_counted_once_and_not_inferred_too() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    Gateway::of(&api, "n1").await.ship(1, &[event(1, "acme", &key)]).await;
    let accepted = json!({"outcome": "accepted"});

    for _ in 0..2 {
        api.post("/api/v1/sessions/chat-1/outcome", &accepted).await.ok();
    }
    api.billing.count_ended_sessions(IDLE).await.unwrap();

    let outcomes = counted(&api.registry, "permille_session_outcomes_total");
    let told = "{currency=\"CNY\",outcome=\"accepted\",source=\"told\"}".to_owned();
    assert_eq!(outcomes, BTreeMap::from([(told, "1".to_owned())]));
    let costs = counted(&api.registry, "permille_session_outcome_cost_total");
    assert_eq!(costs.values().collect::<Vec<_>>(), ["0.018"]);
}

#[tokio::test]
async fn what_a_result_cost_is_counted_beside_what_its_text_costs_by_the_list() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let left = UsageEvent { ended: Ended::ClientGone, turn: 3, ..second(3, &key) };
    let events = [event(1, "acme", &key), second(2, &key), left];
    Gateway::of(&api, "n1").await.ship(1, &events).await;
    let sides = |source: &str| {
        let labels = format!("{{currency=\"CNY\",source=\"{source}\"}}");
        ["permille_result_cost_total", "permille_result_text_cost_total"]
            .map(|name| one(&api.registry, &format!("{name}{labels}")))
    };

    for outcome in ["rejected", "resolved", "resolved"] {
        api.post("/api/v1/sessions/chat-1/outcome", &json!({"outcome": outcome})).await.ok();
    }

    // Three requests of 0.018; the last complete one without the 600 tokens sent before, 0.0072.
    assert_eq!(sides("told"), ["0.054", "0.0108"]);
    let mut alone = event(4, "acme", &key);
    alone.session = "chat-2".parse().unwrap();
    Gateway::of(&api, "n2").await.ship(1, &[alone]).await;
    api.billing.count_ended_sessions(IDLE).await.unwrap();

    assert_eq!(sides("inferred"), ["0.018", "0.018"]);
    assert_eq!(sides("told"), ["0.054", "0.0108"]);
    let series = counted(&api.registry, "permille_result_cost_total");
    assert_eq!(series.len(), 2, "a session that is told is not inferred too: {series:?}");
}

#[tokio::test]
async fn a_count_of_tokens_thins_out_no_cost_of_a_turn_and_makes_no_margin_known() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let mut free = event(2, "acme", &key);
    free.endpoint = Endpoint::CountTokens;
    free.tokens.clear();
    free.attempts[0].tokens.clear();
    (free.input_total, free.output_total, free.turn_kind) = (None, None, None);
    Gateway::of(&api, "n1").await.ship(1, &[event(1, "acme", &key), free]).await;

    let count = "permille_turn_cost_count{currency=\"CNY\",turn=\"1\"}";
    assert_eq!(one(&api.registry, count), "1");
    assert!(of(&api.registry, "permille_provider_priced_cost_total").is_empty());
}

#[tokio::test]
async fn lists_of_models_are_no_sessions_that_have_ended() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let mut list = event(1, "acme", &key);
    list.endpoint = Endpoint::Models;
    list.tokens.clear();
    list.attempts.clear();
    Gateway::of(&api, "n1").await.ship(1, &[list]).await;

    api.billing.count_ended_sessions(IDLE).await.unwrap();

    assert!(of(&api.registry, "permille_session_cost_count").is_empty());
    assert!(counted(&api.registry, "permille_session_outcomes_total").is_empty());
}

#[tokio::test]
async fn a_margin_is_counted_where_the_providers_price_is_known() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &[event(1, "acme", &key)]).await;
    let cost = "[[price]]\nmodel = \"ERNIE-Bot\"\nside = \"cost\"\ncurrency = \"CNY\"\n\
         from = 2023-10-01T00:00:00Z\nsource = \"a contract\"\ninput = \"0.006\"\n\
         output = \"0.02\"";
    let prices = parse_price_book(cost, "a test").unwrap();
    api.billing.ledger().import_prices(&prices, PriceOrigin::Operator).await.unwrap();

    gateway.ship(2, &[event(2, "acme", &key)]).await;

    let labels = "{currency=\"CNY\",customer=\"acme\"}";
    assert_eq!(one(&api.registry, &format!("permille_cost_total{labels}")), "0.036");
    // 1,000 and 500 tokens at 0.012, and at 0.006 and 0.02: only the second request is known.
    let of_known = format!("permille_provider_priced_cost_total{labels}");
    assert_eq!(one(&api.registry, &of_known), "0.018");
    assert_eq!(one(&api.registry, &format!("permille_provider_cost_total{labels}")), "0.016");
}

#[tokio::test]
async fn customers_with_a_budget_are_counted_by_name_from_the_start() {
    let api = Api::with_acme().await;
    let budget = |customer: &str| Budget {
        customer: customer.parse().unwrap(),
        monthly: Money::new(500.into(), Currency::CNY),
    };
    api.billing.watch_budgets(&[budget("acme"), budget("not-yet")]).await;

    let requests = (0..1_000).map(billed).collect();
    let billed = Billed { requests, ..Billed::default() };
    api.billing.count_rerated(&Rerated { priced: 0, billed: vec![billed] });

    for customer in ["acme", "not-yet"] {
        let labels = format!("{{currency=\"CNY\",customer=\"{customer}\"}}");
        assert_eq!(one(&api.registry, &format!("permille_monthly_budget{labels}")), "500");
        assert_eq!(one(&api.registry, &format!("permille_cost_total{labels}")), "0");
    }
    assert_eq!(of(&api.registry, "permille_monthly_budget").len(), 2);
}

#[tokio::test]
async fn after_a_start_the_dearest_customers_are_counted_by_name_whoever_comes_first() {
    let api = Api::with_acme().await;
    let key = key(&api).await;
    Gateway::of(&api, "n1").await.ship(1, &[event(1, "acme", &key)]).await;
    let by_name = async |knows: bool| {
        let registry = Registry::new();
        let started = Billing::new(api.billing.ledger().clone(), &registry).unwrap();
        if knows {
            started.name_dearest().await.unwrap();
        }
        let acme = BilledRequest { customer: "acme".parse().unwrap(), ..billed(1) };
        let requests = (0..600).map(billed).chain([acme]).collect();
        let billed = Billed { requests, ..Billed::default() };
        started.count_rerated(&Rerated { priced: 0, billed: vec![billed] });
        ["permille_hidden_cost_total", "permille_provider_cost_total"].map(|name| {
            of(&registry, name).keys().filter(|labels| labels.contains("\"acme\"")).count()
        })
    };

    assert_eq!(by_name(false).await, [0, 0]);
    assert_eq!(by_name(true).await, [5, 1]);
}

/// Request `number` of as many customers, models and classes as there are numbers.
fn billed(number: u32) -> BilledRequest {
    let amount = "0.001".parse().unwrap();
    let line = |meter: String| RatedLine {
        meter: Meter::named(&meter),
        quantity: 1,
        price: amount,
        cost: amount,
    };
    BilledRequest {
        customer: format!("c{number}").parse().unwrap(),
        model: format!("m{}", number % 700).parse().unwrap(),
        turn: number % 40,
        ended: if number.is_multiple_of(2) { Ended::Complete } else { Ended::Deadline },
        currency: if number.is_multiple_of(3) { Currency::CNY } else { Currency::USD },
        cost: amount,
        lines: (0..12).map(|class| line(format!("class-{}", (number + class) % 300))).collect(),
        counts: Counts { resent_tokens: 1, ..Counts::default() },
        amounts: Amounts { resent_cost: amount, failed_request_cost: amount, ..Amounts::default() },
        provider_cost: Some(amount),
    }
}

#[tokio::test]
async fn ten_thousand_customers_and_any_models_stay_within_their_series() {
    let api = Api::start().await;
    let requests = (0..10_000).map(billed).collect();
    let billed = Billed { requests, ..Billed::default() };

    api.billing.count_rerated(&Rerated { priced: 0, billed: vec![billed] });

    let all = samples(&api.registry);
    assert!(all.len() < 25_000, "{} series", all.len());
    let sum = |name: &str| -> u64 {
        let values = of(&api.registry, name).into_values();
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("permille_resent_tokens_total"), 10_000, "no sum is lost to a cap");
    assert_eq!(sum("permille_turn_tokens_total"), 120_000);
}
