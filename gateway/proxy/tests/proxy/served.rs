//! What prices a row is what the reply says was served, not what was asked for.

use permille_rating::{
    price_book::{PriceBook, parse_price_book},
    rate::{Rated, rate},
};
use permille_types::{Currency, Family, TokenClass, Unit, UsageEvent};
use rust_decimal::Decimal;

use crate::support::{
    World, ask, chat, message, read_all,
    scripted::{Scripted, answer},
    world_of,
};

/// Ordinary, flex and priority prices, and dearer ones beyond 200,000 tokens of input.
const PRICES: &str = r#"
[[price]]
model = ["gpt-4o-mini", "claude-sonnet-4-5"]
currency = "USD"
per = "1m_tokens"
from = 2026-01-01T00:00:00Z
source = "a test"
input = "2"
cache_read = "0.2"
cache_write_5m = "2.5"
cache_write_1h = "4"
output = "10"
searches = "0.01"
[[price.band]]
when = { service_tier = "flex" }
input = "1"
cache_read = "0.1"
cache_write_5m = "1.25"
cache_write_1h = "2"
output = "5"
searches = "0.01"
[[price.band]]
when = { service_tier = "priority" }
input = "4"
cache_read = "0.4"
cache_write_5m = "5"
cache_write_1h = "8"
output = "20"
searches = "0.01"
[[price.band]]
when = { input_total_over = 200000 }
input = "3"
cache_read = "0.3"
cache_write_5m = "3.75"
cache_write_1h = "6"
output = "15"
searches = "0.01"
"#;

fn rated(row: &UsageEvent) -> Rated {
    let book = PriceBook::new(parse_price_book(PRICES, "test").unwrap()).unwrap();
    rate(row, &book, Currency::USD).unwrap()
}

fn cost(row: &UsageEvent) -> Decimal {
    rated(row).cost.unwrap().amount()
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// The row of a chat request to `upstream`'s script, which asks for the tier `priority`.
async fn row_of(reply: &str, tier_of_upstream: Option<&str>) -> UsageEvent {
    let scripted = Scripted::start([answer(200, "", reply)]).await;
    let mut upstream = scripted.upstream("main");
    upstream.section.service_tier = tier_of_upstream.map(str::to_owned);
    let world = world_of(vec![upstream], |_| {}).await;
    let mut body = chat("", false);
    body["service_tier"] = "priority".into();
    ask(&world, &body).await.row
}

fn reply(tier: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"id":"r","model":"gpt-4o-mini"{tier},"choices":[{{"message":{{"content":"x"}}}}],
        "usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2_the_tier_in_the_reply_prices_whatever_was_asked_for() {
    for (named, of_upstream, tier, amount) in [
        (r#","service_tier":"default""#, None, Some("default"), "0.012"),
        (r#","service_tier":"flex""#, None, Some("flex"), "0.006"),
        (r#","service_tier":"priority""#, None, Some("priority"), "0.024"),
        // The reply names none: the route's own tier, never the one that was asked for.
        ("", Some("flex"), Some("flex"), "0.006"),
        ("", None, None, "0.012"),
        (r#","service_tier":"default""#, Some("flex"), Some("default"), "0.012"),
    ] {
        let row = row_of(&reply(named, 1_000, 1_000), of_upstream).await;

        assert_eq!(row.service_tier.as_deref(), tier, "{named} {of_upstream:?}");
        assert_eq!(cost(&row), decimal(amount), "{named} {of_upstream:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h1_a_long_prompt_takes_its_band_from_the_token_after_the_threshold() {
    let at = row_of(&reply("", 200_000, 1_000), None).await;
    let over = row_of(&reply("", 200_001, 1_000), None).await;

    assert_eq!((rated(&at).band, cost(&at)), (0, decimal("0.41")));
    // The whole request, its output too.
    assert_eq!((rated(&over).band, cost(&over)), (3, decimal("0.615003")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cache_writes_are_priced_by_their_lifetime_also_inside_a_band() {
    let usage = |uncached: u64| {
        format!(
            r#"{{"id":"m","type":"message","model":"claude-sonnet-4-5","content":[],"usage":{{
            "input_tokens":{uncached},"cache_read_input_tokens":1000,
            "cache_creation_input_tokens":3000,"cache_creation":{{
            "ephemeral_5m_input_tokens":2000,"ephemeral_1h_input_tokens":1000}},
            "output_tokens":100}}}}"#
        )
    };
    // 4,000 tokens of cache count towards the threshold.
    for (uncached, band, amount) in [(196_000, 0, "0.4022"), (196_001, 3, "0.603303")] {
        let scripted = Scripted::start([answer(200, "", &usage(uncached))]).await;
        let mut upstream = scripted.upstream("main");
        upstream.section.family = Family::Anthropic;
        upstream.section.base_url = format!("http://{}", scripted.address);
        let world = world_of(vec![upstream], |_| {}).await;

        let row = message_row(&world).await;

        assert_eq!(row.tokens[&TokenClass::CACHE_WRITE_5M], 2_000);
        assert_eq!(row.tokens[&TokenClass::CACHE_WRITE_1H], 1_000);
        assert_eq!((rated(&row).band, cost(&row)), (band, decimal(amount)));
    }
}

async fn message_row(world: &World) -> UsageEvent {
    let mut body = message("", false);
    body["tools"] = serde_json::json!([{"type": "web_search_20250305", "name": "web_search"}]);
    let response = world.post("/anthropic/v1/messages", &body).await;
    let (head, body) = response.into_parts();
    read_all(body).await.unwrap();
    world.row_of(&head.headers).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_searches_are_counted_from_the_reply_not_from_the_tools_offered() {
    for (ran, searches, amount) in
        [("", None, "0.003"), (r#","server_tool_use":{"web_search_requests":2}"#, Some(2), "0.023")]
    {
        let usage = format!(r#"{{"input_tokens":1000,"output_tokens":100{ran}}}"#);
        let body = format!(
            r#"{{"id":"m","type":"message","model":"claude-sonnet-4-5","content":[],"usage":{usage}}}"#
        );
        let scripted = Scripted::start([answer(200, "", &body)]).await;
        let mut upstream = scripted.upstream("main");
        upstream.section.family = Family::Anthropic;
        upstream.section.base_url = format!("http://{}", scripted.address);
        let world = world_of(vec![upstream], |_| {}).await;

        let row = message_row(&world).await;

        assert_eq!(row.units.get(&Unit::Searches).copied(), searches);
        assert_eq!(cost(&row), decimal(amount));
    }
}
