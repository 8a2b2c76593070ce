//! Bad input of whoever handles money: a refusal that names the field, the value and what is
//! accepted, and nothing done of it.

use permille_rating::price_book::{parse_price_book, price_version};
use permille_types::Price;
use serde_json::{Value, json};

use crate::support::Api;

const PLAN: &str = "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"CNY\"\n\
                    fee = \"12\"\n";
const NUMBER: &str = "INV-2026-000001";

/// `acme`, who pays in CNY and whose October is drafted with a fee of 12.00, beside `globex`, who
/// pays in USD. The draft's id too.
async fn books() -> (Api, String) {
    let api = Api::with_acme().await;
    api.add_customer("globex", "USD").await;
    api.post("/api/v1/plans", &json!({"toml": PLAN})).await.created();
    let from = json!({"plan": "team", "from": "2026-10-01T00:00:00Z"});
    api.post("/api/v1/customers/acme/plans", &from).await.ok();
    let month = json!({"customer": "acme", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    (api, draft["id"].as_str().unwrap().to_owned())
}

/// Everything that a refused call could have left.
async fn everything(api: &Api, invoice: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for noun in ["customers", "prices", "plans", "charges", "grants", "fx-rates", "invoices"] {
        rows.extend(api.items(&format!("/api/v1/{noun}")).await);
    }
    for path in ["credit-notes", "balances", "customers/globex/plans", "customers/globex/history"] {
        rows.extend(api.items(&format!("/api/v1/{path}")).await);
    }
    rows.extend(api.items(&format!("/api/v1/invoices/{invoice}/history")).await);
    rows.push(api.get("/api/v1/close/2026-10").await.ok());
    rows
}

/// Each call is refused with that status, its detail has every part, and nothing has changed.
async fn refuses(api: &Api, invoice: &str, calls: &[(String, Value, u16, &[&str])]) {
    let before = everything(api, invoice).await;
    for (path, body, status, parts) in calls {
        let reply = api.post(&format!("/api/v1/{path}"), body).await;
        let code = if *status == 409 { "conflict" } else { "invalid" };
        let detail = reply.problem(*status, code);
        for part in *parts {
            assert!(detail.contains(part), "{path} {body}: no `{part}` in: {detail}");
        }
    }
    assert_eq!(everything(api, invoice).await, before);
}

/// One entry for `new`, as the body of an import that changes things.
fn import(head: &str, prices: &str) -> Value {
    let text = format!(
        "[[price]]\nmodel = \"new\"\ncurrency = \"CNY\"\nsource = \"s\"\n\
         from = 2026-12-01T00:00:00Z\n{head}\n{prices}\n"
    );
    json!({"prices": parse_price_book(&text, "a test").unwrap(), "apply": true})
}

/// The import with the amount of its entry changed, under the version that it then has.
fn with_amount(amount: &str) -> Value {
    let mut body = import("", "input = \"1\"");
    body["prices"][0]["rates"]["per_thousand"]["input_uncached"] = amount.into();
    let price: Price = serde_json::from_value(body["prices"][0].clone()).unwrap();
    body["prices"][0]["version"] = price_version(&price).unwrap().as_str().into();
    body
}

#[tokio::test]
async fn prices_plans_and_rates_that_make_no_sense_are_refused_whole() {
    let (api, draft) = books().await;
    let mut overlapping = import("", "input = \"1\"");
    let other = import("", "input = \"2\"")["prices"][0].clone();
    overlapping["prices"].as_array_mut().unwrap().push(other);
    let mut unknown = import("", "input = \"1\"");
    unknown["prices"][0]["currency"] = "XYZ".into();
    let globex = import("customer = \"globex\"", "input = \"1\"");
    let mut seen = globex.clone();
    seen["apply"] = false.into();
    let charge = "[[charge]]\nname = \"c\"\nkind = \"unit\"\ncurrency = \"CNY\"\nunit = \"1\"\n\
                  from = 2026-12-01T00:00:00Z\n";
    let mixed = PLAN.replace("fee = \"12\"", "fee = \"12\"\n[[plan.charge]]\nname = \"c\"")
        + "kind = \"unit\"\ncurrency = \"USD\"\nunit = \"1\"\n";
    let rate = |base: &str, quote: &str, day: &str, rate: &str| {
        let rate = json!({"base": base, "quote": quote, "day": day, "rate": rate, "source": "s"});
        json!({"rates": [rate]})
    };

    let prices = || "prices/import".to_owned();
    refuses(
        &api,
        &draft,
        &[
            (prices(), with_amount("-0.012"), 422, &["`input_uncached`", "-0.012", "0 or more"]),
            (prices(), with_amount("12"), 422, &["`input_uncached`", "12 CNY per 1k", "above 10"]),
            (prices(), overlapping, 422, &["price of `new`", "hold at the same time"]),
            (prices(), unknown, 422, &["currency", "XYZ"]),
            (prices(), globex, 422, &["currency `CNY`", "USD, which globex pays", "new@"]),
            (prices(), seen, 422, &["currency `CNY`", "USD, which globex pays", "new@"]),
            (
                "charges".to_owned(),
                json!({"toml": format!("{charge}customer = \"globex\"\n")}),
                422,
                &["currency `CNY`", "USD, which globex pays"],
            ),
            (
                "charges".to_owned(),
                json!({"toml": charge.replace("unit = \"1\"", "unit = \"-1\"")}),
                422,
                &["`unit`", "-1", "negative"],
            ),
            (
                "plans".to_owned(),
                json!({"toml": mixed}),
                422,
                &["`c` is in USD", "accepted is CNY"],
            ),
            (
                "plans".to_owned(),
                json!({"toml": PLAN.replace("CNY", "XYZ")}),
                422,
                &["`currency`", "`XYZ`", "ISO 4217"],
            ),
            (
                "customers/globex/plans".to_owned(),
                json!({"plan": "team"}),
                422,
                &["plan `team`", "a plan in USD, which globex pays; this one is in CNY"],
            ),
            (
                "simulate".to_owned(),
                json!({"toml": PLAN, "customer": "globex", "period": "2026-10"}),
                422,
                &["plan `CNY`", "a plan in USD"],
            ),
            (
                "simulate".to_owned(),
                json!({"toml": PLAN, "period": "2999-01"}),
                422,
                &["period `2999-01`", "a month that has begun"],
            ),
            ("fx-rates".to_owned(), rate("USD", "USD", "2026-11-02", "1"), 422, &["quote `USD`"]),
            ("fx-rates".to_owned(), rate("USD", "XYZ", "2026-11-02", "7"), 422, &["quote", "XYZ"]),
            (
                "fx-rates".to_owned(),
                rate("USD", "CNY", "2999-01-01", "7"),
                422,
                &["day `2999-01-01`"],
            ),
            (
                "fx-rates".to_owned(),
                rate("USD", "CNY", "2026-11-02", "-7"),
                422,
                &["rate `-7`", "above"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn money_in_another_currency_is_refused_and_in_its_own_is_taken() {
    let (api, draft) = books().await;
    let grant = |customer: &str, amount: &str, currency: &str| json!({"customer": customer, "amount": amount, "currency": currency, "reason": "top-up"});
    let path = |step: &str| format!("invoices/{draft}/{step}");
    let total = |currency: &str| json!({"expected_total": "12.00", "currency": currency});
    let of = |amount: &str, currency: &str| json!({"amount": amount, "currency": currency});
    let credit = |amount: &str, currency: &str| json!({"amount": amount, "currency": currency, "reason": "goodwill"});
    let grants = || "grants".to_owned();

    refuses(
        &api,
        &draft,
        &[
            (grants(), grant("globex", "5", "CNY"), 422, &["currency `CNY`", "USD, which globex"]),
            (grants(), grant("globex", "5", "dollars"), 422, &["currency `dollars`", "ISO 4217"]),
            (grants(), grant("globex", "-5", "USD"), 422, &["amount `-5`", "above 0"]),
            (path("approve"), total("USD"), 422, &["currency `USD`", "CNY, the currency", &draft]),
            (path("approve"), json!({"currency": "CNY"}), 422, &["currency", "expected_total"]),
        ],
    )
    .await;
    api.post(&format!("/api/v1/{}", path("approve")), &total("CNY")).await.ok();
    api.post(&format!("/api/v1/{}", path("finalize")), &json!({})).await.ok();
    refuses(
        &api,
        &draft,
        &[
            (path("pay"), of("5", "USD"), 422, &["currency `USD`", "CNY, the currency", NUMBER]),
            (path("pay"), of("5", "XYZ"), 422, &["currency `XYZ`", "ISO 4217"]),
            (path("pay"), of("-5", "CNY"), 422, &["amount `-5`", "above 0, up to 12.00"]),
            (path("pay"), of("12.01", "CNY"), 422, &["amount `12.01`", "up to 12.00"]),
            (path("credit"), credit("5", "USD"), 422, &["currency `USD`", "CNY, the", NUMBER]),
            (path("credit"), credit("12.01", "CNY"), 422, &["amount `12.01`", "up to 12.00"]),
            (path("credit"), credit("-1", "CNY"), 422, &["amount `-1`", "above 0"]),
            (path("finalize"), json!({}), 409, &["is final", "accepted: an approved invoice"]),
            (
                "invoices/draft".to_owned(),
                json!({"customer": "acme", "period": "2026-10"}),
                409,
                &[NUMBER, "has billed 2026-10"],
            ),
            (
                "invoices/draft".to_owned(),
                json!({"customer": "acme", "period": "2026-12"}),
                422,
                &["period `2026-12`", "a month that has begun"],
            ),
        ],
    )
    .await;
    let paid = api.post(&format!("/api/v1/{}", path("pay")), &of("12", "cny")).await.ok();
    assert_eq!(paid["state"], "paid");
    let note = api.post(&format!("/api/v1/{}", path("credit")), &credit("2", "CNY")).await;
    assert_eq!(note.created()["gross"], "2.00");
    refuses(
        &api,
        &draft,
        &[(path("refund"), of("2", "USD"), 422, &["currency `USD`", "CNY, the currency"])],
    )
    .await;
    let back = api.post(&format!("/api/v1/{}", path("refund")), &of("2", "CNY")).await.ok();
    assert_eq!(back["standing"]["refunded"], "2.00");
    let granted = api.post("/api/v1/grants", &grant("globex", "5", "USD")).await.created();
    assert_eq!(granted["currency"], "USD");
}

#[tokio::test]
async fn a_month_that_is_closed_is_not_closed_again_and_one_to_come_is_not_closed() {
    let (api, draft) = books().await;
    for step in ["approve", "finalize"] {
        api.post(&format!("/api/v1/invoices/{draft}/{step}"), &json!({})).await.ok();
    }
    let (operator, finance) = (api.token("operator").await, api.token("finance").await);
    let sign = |period: &str| format!("close/{period}/sign");
    let early = api.post_as(&finance, &format!("/api/v1/{}", sign("2999-01")), &json!({})).await;
    assert!(early.problem(409, "conflict").contains("has not ended"), "{}", early.text());
    let path = format!("/api/v1/{}", sign("2026-10"));
    api.post_as(&operator, &path, &json!({})).await.ok();
    let twice = api.post_as(&operator, &path, &json!({})).await.problem(409, "conflict");
    let closed = api.post_as(&finance, &path, &json!({})).await.ok();

    let again = api.post_as(&finance, &path, &json!({})).await.problem(409, "conflict");

    assert!(twice.contains("signed by operator already"), "{twice}");
    assert!(again.contains("period `2026-10` is closed"), "{again}");
    assert_eq!(closed["state"], "closed");
    refuses(
        &api,
        &draft,
        &[
            ("close/2026-10".to_owned(), json!({}), 409, &["2026-10", "closed"]),
            ("close/2026-10/drafts".to_owned(), json!({}), 409, &["2026-10", "closed"]),
            ("close/2026-10/reopen".to_owned(), json!({"reason": " "}), 422, &["reason ``"]),
            (
                format!("invoices/{draft}/void"),
                json!({"reason": "a second thought"}),
                409,
                &["2026-10", "closed"],
            ),
        ],
    )
    .await;
}

/// Asked again it would fail again, and the store is well.
#[tokio::test]
async fn an_amount_that_no_decimal_holds_is_refused_and_is_no_failure_of_the_store() {
    let api = Api::with_acme().await;
    let fee = "fee = \"70000000000000000000000000000\"";
    let again = "[[plan.charge]]\nname = \"again\"\nkind = \"unit\"\ncurrency = \"CNY\"\n\
                 unit = \"1\"\nminimum = \"70000000000000000000000000000\"\n";
    let plan = PLAN.replace("fee = \"12\"", fee) + again;
    api.post("/api/v1/plans", &json!({"toml": plan})).await.created();
    let from = json!({"plan": "team", "from": "2026-10-01T00:00:00Z"});
    api.post("/api/v1/customers/acme/plans", &from).await.ok();

    let month = json!({"customer": "acme", "period": "2026-10"});
    for step in ["preview", "draft"] {
        let reply = api.post(&format!("/api/v1/invoices/{step}"), &month).await;
        let detail = reply.problem(409, "conflict");
        assert!(detail.contains("compute invoice of customer `acme`: "), "{detail}");
        assert!(detail.contains("28 digits"), "{detail}");
    }
}
