//! Usage, sessions and invoices over HTTP: what was shipped is what is listed, to the token.

use serde_json::{Value, json};

use crate::{
    events::{Gateway, event, request_id},
    support::{Api, column, encoded},
};

/// `acme` with six requests: three turns of `chat-1`, two of `a/b` on the day after, one unnamed.
struct Used {
    api: Api,
    key: String,
}

impl Used {
    async fn new() -> Self {
        let api = Api::with_acme().await;
        let key = api.add_key("acme").await["id"].as_str().unwrap().to_owned();
        let mut events: Vec<_> = (1..=6).map(|number| event(number, "acme", &key)).collect();
        events[1].turn_kind = Some(permille_types::TurnKind::Continue);
        events[1].resent_tokens = Some(600);
        for event in &mut events[3..5] {
            event.session = "a/b".parse().unwrap();
            event.at = "2026-11-21T12:00:00Z".parse().unwrap();
            event.turn -= 3;
        }
        events[5].session = "019a-own".parse().unwrap();
        events[5].session_explicit = false;
        events[5].turn = 1;
        events[5].source = permille_types::Source::Estimated;
        events[5].estimate_error_permille = Some(84);
        Gateway::of(&api, "n1").await.ship(1, &events).await;
        Self { api, key }
    }

    async fn requests(&self, query: &str) -> Vec<String> {
        let rows = self.api.items(&format!("/api/v1/usage?{query}")).await;
        column(&rows, "request_id")
    }
}

fn ids<const N: usize>(numbers: [u32; N]) -> Vec<String> {
    numbers.into_iter().map(request_id).collect()
}

#[tokio::test]
async fn a_row_has_the_names_and_forms_of_the_interface() {
    let used = Used::new().await;

    let rows = used.api.items(&format!("/api/v1/usage?request={}", request_id(1))).await;

    let version = rows[0]["price_version"].as_str().unwrap();
    assert!(version.starts_with("ERNIE-Bot@2023-10-01."), "{version}");
    assert_eq!(
        rows,
        [json!({
            "request_id": request_id(1), "at": "2026-11-20T09:30:00Z",
            "customer": "acme", "project": "default", "key": used.key,
            "session": "chat-1", "session_explicit": true, "turn": 1,
            "family": "openai", "endpoint": "chat_completions",
            "model_requested": "ERNIE-Bot", "upstream": "main", "status": 200,
            "streamed": true, "ended": "complete", "source": "reported",
            "tokens": {"input_uncached": 1000, "output_text": 500},
            "input_total": 1000, "output_total": 500,
            "price_version": version, "band": 0, "cost": "0.018", "currency": "CNY",
            "attempts": [{
                "upstream": "main", "status": 200,
                "provider_id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUv", "ended": "complete",
                "tokens": {"input_uncached": 1000, "output_text": 500}
            }],
            "latency_ms": 1234, "first_token_ms": 321, "flags": []
        })]
    );
}

#[tokio::test]
async fn a_row_says_how_its_turn_came_about_and_what_of_it_was_sent_before() {
    let used = Used::new().await;

    let rows = used.api.items("/api/v1/usage?session=chat-1").await;

    assert_eq!(column(&rows, "request_id"), ids([3, 2, 1]));
    assert_eq!(rows[1]["turn_kind"], "continue");
    assert_eq!(rows[1]["resent_tokens"], 600);
    assert!(rows[2].get("turn_kind").is_none() && rows[2].get("resent_tokens").is_none());
}

#[tokio::test]
async fn an_estimated_row_says_how_far_off_it_may_be() {
    let used = Used::new().await;

    let rows = used.api.items(&format!("/api/v1/usage?request={}", request_id(6))).await;

    assert_eq!(rows[0]["source"], "estimated");
    assert_eq!(rows[0]["estimate_error_permille"], 84);
}

#[tokio::test]
async fn usage_is_listed_newest_first_and_filtered_by_half_open_time() {
    let used = Used::new().await;
    let noon = "2026-11-21T12:00:00Z";

    assert_eq!(used.requests("").await, ids([5, 4, 6, 3, 2, 1]));
    assert_eq!(used.requests("customer=acme").await.len(), 6);
    assert_eq!(used.requests("session=chat-1").await, ids([3, 2, 1]));
    assert_eq!(used.requests("session=a%2Fb").await, ids([5, 4]));
    assert_eq!(used.requests(&format!("request={}", request_id(6))).await, ids([6]));
    assert_eq!(used.requests(&format!("request={}", request_id(7))).await, ids([]));
    assert_eq!(used.requests(&format!("since={noon}")).await, ids([5, 4]));
    assert_eq!(used.requests(&format!("until={noon}")).await, ids([6, 3, 2, 1]));
    assert_eq!(used.requests("since=2026-11-21T20:00:00%2B08:00").await, ids([5, 4]));
    assert_eq!(used.requests(&format!("since={noon}&until={noon}")).await, ids([]));
}

#[tokio::test]
async fn rows_of_one_instant_and_sessions_page_without_loss() {
    let used = Used::new().await;
    for list in ["usage", "usage?customer=acme&session=chat-1", "sessions"] {
        let path = format!("/api/v1/{list}");
        let whole = used.api.items(&path).await;
        for limit in [1, 2, 4] {
            assert_eq!(used.api.pages(&path, limit).await, whole, "{list} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_session_shows_what_each_turn_cost() {
    let used = Used::new().await;

    let listed = used.api.items("/api/v1/sessions").await;
    let shown = used.api.get("/api/v1/sessions/chat-1?customer=acme").await.ok();
    let long = used.api.items("/api/v1/sessions?turns_min=2").await;
    assert_eq!(column(&long, "id"), ["a/b", "chat-1"]);

    assert_eq!(column(&listed, "id"), ["a/b", "chat-1", "019a-own"], "the latest first");
    let hidden = |resent: Value| {
        let mut hidden = json!({
            "resent_cost": "0", "cached_tokens": 0, "cached_share_permille": 0,
            "cache_saving": "0", "cache_saving_missed": "0", "regenerations": 0,
            "regenerated_cost": "0", "failed_requests": 0, "failed_request_cost": "0",
            "retries": 0, "failed_attempts": 0, "failed_attempt_cost": "0",
            "first_token_ms_mean": 321
        });
        hidden.as_object_mut().unwrap().extend(resent.as_object().unwrap().clone());
        hidden
    };
    // 600 of 1,000 tokens at 0.012 per thousand.
    let resent = json!({
        "resent_tokens": 600, "resent_share_permille": 600, "resent_cost": "0.0072"
    });
    assert_eq!(
        shown["session"],
        json!({
            "customer": "acme", "id": "chat-1", "turns": 3, "requests": 3,
            "unpriced_requests": 0, "simulated_requests": 0,
            "tokens": {"input_uncached": 3000, "output_text": 1500},
            "cost": "0.054", "currency": "CNY", "hidden": hidden(resent.clone()),
            "inferred_outcome": "ended",
            "first_at": "2026-11-20T09:30:00Z", "last_at": "2026-11-20T09:30:00Z"
        })
    );
    assert_eq!(shown["session"], listed[1]);
    assert_eq!(shown["truncated"], false);
    let turns = shown["turns"].as_array().unwrap();
    assert_eq!(column(turns, "cumulative_cost"), ["0.018", "0.036", "0.054"]);
    assert_eq!(
        turns[1],
        json!({
            "turn": 2, "kind": "continue", "requests": 1, "branches": 0,
            "unpriced_requests": 0,
            "tokens": {"input_uncached": 1000, "output_text": 500},
            "cost": "0.018", "cumulative_cost": "0.036", "hidden": hidden(resent),
            "first_at": "2026-11-20T09:30:00Z"
        })
    );
    assert_eq!(turns[0]["hidden"], hidden(json!({})), "nothing is known of the others");
}

#[tokio::test]
async fn a_session_is_found_by_any_id_and_needs_its_customer_only_among_several() {
    let used = Used::new().await;
    let path = format!("/api/v1/sessions/{}", encoded("a/b"));

    assert_eq!(used.api.get(&path).await.ok()["session"]["turns"], 2);
    let own = used.api.get("/api/v1/sessions/019a-own").await.ok();
    assert_eq!((&own["session"]["requests"], &own["truncated"]), (&json!(1), &json!(false)));

    used.api.add_customer("globex", "USD").await;
    let detail = used.api.get(&path).await.problem(422, "invalid");
    assert!(detail.starts_with("customer is missing"), "{detail}");
    used.api.get(&format!("{path}?customer=acme")).await.ok();
    used.api.get(&format!("{path}?customer=globex")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_preview_stores_nothing_and_a_draft_is_the_same_with_an_id() {
    let used = Used::new().await;
    let month = json!({"customer": "acme", "period": "2026-11"});

    let preview = used.api.post("/api/v1/invoices/preview", &month).await.ok();
    assert!(used.api.items("/api/v1/invoices").await.is_empty());
    let draft = used.api.post("/api/v1/invoices/draft", &month).await.ok();

    let mut expected = preview.clone();
    expected["id"] = draft["id"].clone();
    expected["state"] = "draft".into();
    assert_eq!(draft, expected);
    assert!(draft["id"].as_str().unwrap().starts_with("inv_"));
    let path = format!("/api/v1/invoices/{}", draft["id"].as_str().unwrap());
    assert_eq!(used.api.get(&path).await.ok(), draft);
    let again = used.api.post("/api/v1/invoices/draft", &month).await.ok();
    assert_eq!(again, draft, "drafting again keeps the id");
    let listed = used.api.items("/api/v1/invoices?customer=acme").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["total"], draft["total"]);
}

#[tokio::test]
async fn an_invoice_has_a_line_per_class_with_text_for_every_decimal() {
    let used = Used::new().await;
    let month = json!({"customer": "acme", "period": "2026-11"});

    let invoice = used.api.post("/api/v1/invoices/preview", &month).await.ok();

    let version = invoice["lines"][0]["price_version"].clone();
    let root = invoice["records"][0]["root"].clone();
    assert_eq!(root.as_str().unwrap().len(), 64, "{root}");
    let line = |class: &str, quantity: u64, thousand: &str, exact: &str, amount: &str| {
        json!({
            "project": "default", "model": "ERNIE-Bot", "class": class, "quantity": quantity,
            "quantity_thousand": thousand, "price_per_thousand": "0.012", "exact": exact,
            "amount": amount, "price_version": version, "band": 0
        })
    };
    assert_eq!(
        invoice,
        json!({
            "version": 3, "state": "preview", "customer": {"id": "acme", "name": "ACME"},
            "period": {
                "label": "2026-11", "start": "2026-11-01T00:00:00Z",
                "end": "2026-12-01T00:00:00Z", "time_zone": "UTC"
            },
            "currency": "CNY",
            "projects": [{"id": "default", "name": "default", "amount": "0.11"}],
            "lines": [
                line("input_uncached", 6000, "6", "0.072", "0.07"),
                line("output_text", 3000, "3", "0.036", "0.04"),
            ],
            "subtotal": "0.11", "net": "0.11", "tax": [], "gross": "0.11", "total": "0.11",
            "records": [{"period": "2026-11", "size": 6, "root": root}], "requests": 6, "unpriced_requests": 0, "estimated_requests": 1,
            "estimated_quantity": 1500, "simulated_requests": 0, "simulated": false
        })
    );
}

#[tokio::test]
async fn a_month_without_usage_is_an_invoice_of_nothing() {
    let used = Used::new().await;
    let month = json!({"customer": "acme", "period": "2026-10"});

    let invoice = used.api.post("/api/v1/invoices/draft", &month).await.ok();

    assert_eq!((&invoice["lines"], &invoice["requests"]), (&json!([]), &json!(0)));
    assert_eq!(invoice["total"], "0.00");
    let listed: Vec<Value> = used.api.items("/api/v1/invoices").await;
    assert_eq!(column(&listed, "period"), ["2026-10"]);
}
