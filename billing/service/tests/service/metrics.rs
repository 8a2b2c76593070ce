//! What billing counts: read as Prometheus reads it, and equal to what was shipped.

use std::collections::BTreeMap;

use permille_ledger::{Billed, BilledCost, BilledTokens, PriceOrigin, Rerated};
use permille_rating::price_book::parse_price_book;
use permille_types::{Currency, CustomerId, Flag, TokenClass};
use prometheus::{Encoder, Registry, TextEncoder};

use crate::{
    events::{Gateway, event},
    support::Api,
};

/// The registry in Prometheus' text format.
fn exposition(registry: &Registry) -> String {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Reads the text format strictly: every line is a comment or a sample of a described metric.
pub(crate) fn samples(registry: &Registry) -> BTreeMap<String, String> {
    let text = exposition(registry);
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            assert!(described.contains(' '), "{line}");
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind).is_none(), "{line} twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|base| kinds.contains_key(*base));
            assert!(kinds.contains_key(base.unwrap_or(name)), "{line} has no type");
            assert!(name.starts_with("permille_"), "{line}");
            assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{line} twice");
        }
    }
    samples
}

/// The value of one series.
pub(crate) fn sample(registry: &Registry, series: &str) -> Option<String> {
    samples(registry).remove(series)
}

async fn key_of(api: &Api, customer: &str) -> String {
    api.add_key(customer).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_and_cost_are_those_of_the_rows() {
    let api = Api::with_acme().await;
    api.add_customer("globex", "USD").await;
    let (acme, globex) = (key_of(&api, "acme").await, key_of(&api, "globex").await);
    let mut events: Vec<_> = (1..=3).map(|number| event(number, "acme", &acme)).collect();
    let mut dollars = event(4, "globex", &globex);
    dollars.model_requested = "lab/gpt-test".parse().unwrap();
    events.push(dollars);

    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &events).await;
    gateway.ship(1, &events).await;

    let samples = samples(&api.registry);
    let tokens = |customer: &str, model: &str, class: &str| {
        let labels = [("class", class), ("customer", customer), ("model", model)];
        let labels = labels.map(|(name, value)| format!("{name}=\"{value}\"")).join(",");
        samples[&format!("permille_tokens_total{{{labels},project=\"default\"}}")].as_str()
    };
    assert_eq!(tokens("acme", "ERNIE-Bot", "input_uncached"), "3000");
    assert_eq!(tokens("acme", "ERNIE-Bot", "output_text"), "1500");
    assert_eq!(tokens("globex", "lab/gpt-test", "input_uncached"), "1000");
    let cost = |labels: &str| samples[&format!("permille_cost_total{{{labels}}}")].as_str();
    assert_eq!(cost("currency=\"CNY\",customer=\"acme\""), "0.054");
    assert_eq!(cost("currency=\"USD\",customer=\"globex\""), "0.0075");
    assert_eq!(samples["permille_intake_events_total{result=\"booked\"}"], "4");
    assert_eq!(samples["permille_intake_events_total{result=\"duplicate\"}"], "4");
    assert_eq!(samples["permille_intake_batch_seconds_count"], "2");
    assert_eq!(samples["permille_unpriced_requests_total"], "0");
}

#[tokio::test]
async fn unpriced_and_mismatched_usage_is_counted_apart_from_cost() {
    let api = Api::with_acme().await;
    let key = key_of(&api, "acme").await;
    let mut unknown = event(1, "acme", &key);
    unknown.model_requested = "new-model".parse().unwrap();
    let wrong = [2, 3].map(|number| {
        let mut wrong = event(number, "acme", &key);
        wrong.flags = vec![Flag::UsageMismatch];
        wrong
    });
    let gateway = Gateway::of(&api, "n1").await;

    gateway.ship(1, &[unknown]).await;
    gateway.ship(2, &wrong).await;

    assert_eq!(sample(&api.registry, "permille_unpriced_requests_total").unwrap(), "1");
    assert_eq!(sample(&api.registry, "permille_usage_mismatch_total").unwrap(), "2");
    let text = exposition(&api.registry);
    assert!(!text.contains("new-model"), "unrated tokens are no rated tokens");
    let row = api.items("/api/v1/usage").await.remove(2);
    assert_eq!((row.get("cost"), row["flags"][0].as_str()), (None, Some("unpriced")));
}

#[tokio::test]
async fn held_usage_is_counted_when_its_price_arrives() {
    let api = Api::with_acme().await;
    let key = key_of(&api, "acme").await;
    let mut held = event(1, "acme", &key);
    held.model_requested = "new-model".parse().unwrap();
    Gateway::of(&api, "n1").await.ship(1, &[held]).await;
    let toml = "[[price]]\nmodel = \"new-model\"\ncurrency = \"CNY\"\nsource = \"a test\"\n\
         from = 2026-01-01T00:00:00Z\ninput = \"1\"\noutput = \"2\"";

    let prices = parse_price_book(toml, "a test").unwrap();
    let ledger = api.billing.ledger();
    let import = ledger.import_prices(&prices, PriceOrigin::Operator).await.unwrap();
    api.billing.count_rerated(&import.rerated);

    let cost = "permille_cost_total{currency=\"CNY\",customer=\"acme\"}";
    assert_eq!(sample(&api.registry, cost).unwrap(), "2");
    assert!(exposition(&api.registry).contains("model=\"new-model\""));
}

/// A label has at most 500 values and `other`; no sum is lost to the cap.
#[tokio::test]
async fn label_values_are_bounded_and_their_sums_whole() {
    let api = Api::with_acme().await;
    let key = key_of(&api, "acme").await;
    let toml = "[[price]]\nmodel = \"m-*\"\ncurrency = \"CNY\"\nsource = \"a test\"\n\
         from = 2026-01-01T00:00:00Z\ninput = \"0.001\"\noutput = \"0.001\"";
    let prices = parse_price_book(toml, "a test").unwrap();
    api.billing.ledger().import_prices(&prices, PriceOrigin::Operator).await.unwrap();
    let events: Vec<_> = (1..=600)
        .map(|number| {
            let mut event = event(number, "acme", &key);
            event.model_requested = format!("m-{number}").parse().unwrap();
            event
        })
        .collect();

    Gateway::of(&api, "n1").await.ship(1, &events).await;

    let samples = samples(&api.registry);
    let tokens: Vec<_> =
        samples.iter().filter(|(name, _)| name.starts_with("permille_tokens_total{")).collect();
    let class = format!("class=\"{}\"", TokenClass::INPUT_UNCACHED);
    let input: Vec<_> = tokens.iter().filter(|(name, _)| name.contains(&class)).collect();
    assert_eq!(input.len(), 501);
    let sum: u64 = input.iter().map(|(_, value)| value.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 600 * 1_000);
    let other = input.iter().find(|(name, _)| name.contains("model=\"other\"")).unwrap();
    assert_eq!(other.1, "100000");
}

fn billed(customers: u32, models: u32) -> Rerated {
    let mut billed = Billed::default();
    for number in 0..customers {
        let customer: CustomerId = format!("c{number}").parse().unwrap();
        billed.costs.push(BilledCost {
            customer: customer.clone(),
            currency: Currency::CNY,
            cost: "0.018".parse().unwrap(),
        });
        billed.tokens.extend((0..models).map(|model| BilledTokens {
            customer: customer.clone(),
            project: "default".parse().unwrap(),
            model: format!("m-{model}").parse().unwrap(),
            class: TokenClass::OUTPUT_TEXT,
            tokens: 500,
        }));
    }
    Rerated { priced: 0, billed: vec![billed] }
}

#[tokio::test]
async fn customers_beyond_the_bound_are_counted_together() {
    let api = Api::start().await;

    api.billing.count_rerated(&billed(502, 1));

    let samples = samples(&api.registry);
    let costs = samples.keys().filter(|name| name.starts_with("permille_cost_total{"));
    assert_eq!(costs.count(), 501);
    let other = "permille_cost_total{currency=\"CNY\",customer=\"other\"}";
    assert_eq!(samples[other], "0.036");
}

/// A few hundred of each label are within their bounds, their product is not.
#[tokio::test]
async fn series_are_bounded_even_where_each_label_is() {
    let api = Api::start().await;

    api.billing.count_rerated(&billed(110, 110));

    let samples = samples(&api.registry);
    let tokens: Vec<_> =
        samples.iter().filter(|(name, _)| name.starts_with("permille_tokens_total{")).collect();
    assert_eq!(tokens.len(), 10_001);
    let sum: u64 = tokens.iter().map(|(_, value)| value.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 110 * 110 * 500);
}

#[tokio::test]
async fn no_label_tells_of_sessions_requests_keys_or_secrets() {
    let api = Api::with_acme().await;
    let made = api.add_key("acme").await;
    let key = made["id"].as_str().unwrap();
    let used = event(1, "acme", key);
    Gateway::of(&api, "n1").await.ship(1, std::slice::from_ref(&used)).await;

    let text = exposition(&api.registry);

    let secret = made["secret"].as_str().unwrap();
    let request = used.request_id.to_string();
    for never in [key, secret, &request, used.session.as_str(), &api.admin, "chatcmpl"] {
        assert!(!text.contains(never), "{never} in:\n{text}");
    }
}

#[tokio::test]
async fn metrics_of_one_name_are_not_registered_twice() {
    let api = Api::start().await;

    let again = permille_service::Billing::new(api.billing.ledger().clone(), &api.registry);

    assert!(matches!(again, Err(prometheus::Error::AlreadyReg)));
}
