//! What the page of a session says is what the API says.

use permille_ledger::PriceOrigin;
use permille_rating::price_book::parse_price_book;
use permille_types::{Ended, TokenClass, TurnKind, UsageEvent};
use serde_json::{Value, json};

use super::browser::{Browser, cells, text_of};
use crate::{
    events::{Gateway, event, request_id},
    support::Api,
};

/// A model whose provider has a cache.
const CACHED: &str = r#"
[[price]]
model = "cached"
currency = "CNY"
from = 2023-10-01T00:00:00Z
source = "a test"
input = "0.012"
output = "0.012"
cache_read = "0.003"
"#;

/// Turn `turn` as request `number`, a second after the one before, of so many tokens.
fn request(number: u32, turn: u32, kind: TurnKind, key: &str, resent: u64) -> UsageEvent {
    let mut used = event(number, "acme", key);
    used.version = permille_types::USAGE_EVENT_VERSION;
    used.at += chrono::TimeDelta::seconds(number.into());
    used.model_requested = "cached".parse().unwrap();
    used.turn = turn;
    used.turn_kind = Some(kind);
    used.resent_tokens = (resent > 0).then_some(resent);
    used
}

/// A conversation with a cache, a regeneration, a branch, and a reply that broke off.
async fn conversation() -> (Api, Value) {
    let api = Api::start().await;
    let customer =
        json!({"id": "acme", "name": "Acme", "currency": "CNY", "time_zone": "Asia/Shanghai"});
    api.post("/api/v1/customers", &customer).await.created();
    let prices = parse_price_book(CACHED, "a test").unwrap();
    api.billing.ledger().import_prices(&prices, PriceOrigin::Operator).await.unwrap();
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();
    let mut cached = request(2, 2, TurnKind::Continue, key, 900);
    cached.tokens.insert(TokenClass::INPUT_UNCACHED, 600);
    cached.tokens.insert(TokenClass::CACHE_READ, 400);
    let mut broken = request(4, 3, TurnKind::Branch, key, 800);
    broken.ended = Ended::UpstreamError;
    broken.attempts.insert(0, broken.attempts[0].clone());
    broken.attempts[0].ended = Ended::UpstreamError;
    broken.first_token_ms = None;
    let all = [
        request(1, 1, TurnKind::New, key, 0),
        cached,
        request(3, 3, TurnKind::Continue, key, 950),
        broken,
        request(5, 3, TurnKind::Regenerate, key, 950),
    ];
    Gateway::of(&api, "n1").await.ship(1, &all).await;
    let detail = api.get("/api/v1/sessions/chat-1").await.ok();
    (api, detail)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test]
async fn the_figures_at_the_head_are_those_of_the_api() {
    let (api, detail) = conversation().await;
    let session = &detail["session"];
    let browser = Browser::signed_in(&api, &api.admin).await;

    let page = browser.page("/sessions/chat-1").await;

    for field in ["turns", "requests"] {
        assert_eq!(text_of(&page, field), text(&session[field]), "{field}");
    }
    let hidden = &session["hidden"];
    let counts =
        ["resent_tokens", "regenerations", "retries", "failed_requests", "failed_attempts"];
    for field in counts {
        assert_eq!(text_of(&page, field), text(&hidden[field]), "{field}");
    }
    assert_eq!(text_of(&page, "cost"), format!("{} CNY", text(&session["cost"])));
    for field in ["resent_cost", "cache_saving", "cache_saving_missed"] {
        assert_eq!(text_of(&page, field), format!("{} CNY", text(&hidden[field])), "{field}");
    }
    assert_eq!((&hidden["cache_saving"], &hidden["retries"]), (&json!("0.0036"), &json!(1)));
    assert_eq!(hidden["resent_share_permille"], 720);
    assert_eq!(text_of(&page, "resent_share"), "72.0 %");
    assert_eq!(hidden["cached_share_permille"], 80);
    assert_eq!(text_of(&page, "cached_share"), "8.0 %");
    assert_eq!(session["cost"], "0.0864");
    assert_eq!(text_of(&page, "cost_per_turn"), "0.0288 CNY");
    assert_eq!(text_of(&page, "outcome"), "open (inferred)");
    assert_eq!(text_of(&page, "last_at"), "2026-11-20 17:30:05 +08:00");
    assert_eq!(text_of(&page, "zone"), "Asia/Shanghai");
    assert!(!page.contains("unpriced_requests"), "{page}");
}

#[tokio::test]
async fn each_request_of_a_turn_has_its_own_row_and_a_branch_is_one() {
    let (api, detail) = conversation().await;
    let rows = api.items("/api/v1/usage?session=chat-1").await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let page = browser.page("/sessions/chat-1?customer=acme").await;

    let kinds = ["new", "continue", "continue", "branch", "regenerate"];
    assert_eq!(cells(&page, "kind"), kinds);
    for (class, field) in
        [("input", "input_total"), ("output", "output_total"), ("duration", "latency_ms")]
    {
        let told: Vec<String> = rows.iter().rev().map(|row| text(&row[field])).collect();
        assert_eq!(cells(&page, class), told, "{class}");
    }
    let costs: Vec<String> = rows
        .iter()
        .rev()
        .map(|row| row["cost"].as_str().unwrap_or("no price").to_owned())
        .collect();
    assert_eq!(cells(&page, "cost"), costs);
    assert_eq!(cells(&page, "resent"), ["–", "900", "950", "800", "950"]);
    assert_eq!(cells(&page, "cached"), ["0", "400", "0", "0", "0"]);
    assert_eq!(cells(&page, "first-token"), ["321", "321", "321", "–", "321"]);
    let ends = ["complete", "complete", "complete", "upstream error", "complete"];
    assert_eq!(cells(&page, "ended"), ends);
    let of_turns = |field: &str| -> Vec<String> {
        detail["turns"].as_array().unwrap().iter().map(|turn| text(&turn[field])).collect()
    };
    assert_eq!(cells(&page, "turn-cost"), of_turns("cost"));
    assert_eq!(cells(&page, "cumulative"), of_turns("cumulative_cost"));
    assert_eq!(page.matches("<rect class=\"bar").count(), 3);
    assert_eq!(page.matches("<rect class=\"bar branched\"").count(), 1);
    let described = text_of(&page, "chart-description");
    assert!(described.starts_with("Bars, left scale: cost of each turn"), "{described}");
    assert!(described.ends_with("Of another colour: turns with a branch."), "{described}");
    for number in 1..=5 {
        let id = request_id(number);
        let record = format!("/api/v1/usage?customer=acme&amp;request={id}");
        assert!(page.contains(&format!("href=\"{record}\"")), "{record} in {page}");
        let found = browser.get(&record.replace("&amp;", "&")).await.items();
        assert_eq!(found[0]["request_id"], id);
    }
}

#[tokio::test]
async fn a_session_is_told_in_chinese_with_the_same_numbers() {
    let (api, detail) = conversation().await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let chinese = [("accept-language", "zh-CN")];
    let page = browser.get_with("/sessions/chat-1", &chinese).await.text();

    assert!(page.contains("<html lang=\"zh-CN\">") && page.contains("总费用"), "{page}");
    assert_eq!(cells(&page, "kind"), ["新会话", "继续", "继续", "分支", "重新生成"]);
    assert_eq!(text_of(&page, "cost"), format!("{} CNY", text(&detail["session"]["cost"])));
}

/// Turns of one session, a request each.
fn turns(numbers: std::ops::RangeInclusive<u32>, key: &str) -> Vec<UsageEvent> {
    let mut all: Vec<UsageEvent> =
        numbers.map(|number| request(number, number, TurnKind::Continue, key, 0)).collect();
    for used in &mut all {
        used.model_requested = "ERNIE-Bot".parse().unwrap();
    }
    all
}

#[tokio::test]
async fn of_a_long_session_the_newest_thousand_requests_are_listed_and_all_are_summed_up() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();
    let gateway = Gateway::of(&api, "n1").await;
    gateway.ship(1, &turns(1..=1_001, key)).await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let page = browser.page("/sessions/chat-1").await;

    assert!(text_of(&page, "cut").starts_with("Only the newest 1,000 requests"), "{page}");
    assert!(page.contains("/api/v1/usage?customer=acme&amp;session=chat-1"), "{page}");
    assert_eq!(cells(&page, "kind").len(), 1_000);
    assert!(!page.contains("id=\"turn-1\"") && page.contains("id=\"turn-1001\""));
    assert_eq!(text_of(&page, "cost"), "18.018 CNY");
    assert_eq!(cells(&page, "cumulative").last().unwrap(), "18.018");

    for from in (1_002..10_002).step_by(1_000) {
        gateway.ship(from.into(), &turns(from..=from + 999, key)).await;
    }
    let page = browser.page("/sessions/chat-1").await;

    assert!(text_of(&page, "cut").starts_with("More than 10,000 requests"), "{page}");
    assert_eq!(text_of(&page, "cost"), "180.018 CNY");
    assert_eq!((text_of(&page, "turns"), cells(&page, "kind").len()), ("10001".to_owned(), 0));
    assert!(!page.contains("<svg viewBox"), "a chart of a part of the turns: {page}");
}

#[tokio::test]
async fn what_has_no_price_is_said_beside_a_cost_that_lacks_it() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let key = key["id"].as_str().unwrap();
    let mut all = turns(1..=3, key);
    all[1].model_requested = "unheard-of".parse().unwrap();
    Gateway::of(&api, "n1").await.ship(1, &all).await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let (list, page) = (browser.page("/sessions").await, browser.page("/sessions/chat-1").await);

    assert_eq!(cells(&list, "notes"), ["Requests without a price: 1"]);
    let note = "<small>(Requests without a price: 1)</small>";
    assert_eq!(page.matches(note).count(), 1, "{page}");
    assert!(page.contains("Turn 2: 0 CNY (Requests without a price: 1);"), "{page}");
}
