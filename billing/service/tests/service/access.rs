//! Who may ask what: every role on every route, from one table.

use http::Method;
use permille_service::openapi;
use permille_types::UsageEvent;
use serde_json::{Value, json};

use crate::{
    events::{Gateway, body, event, payload},
    support::{Api, encoded},
};

const ROLES: [&str; 5] = ["admin", "finance", "operator", "customer", "gateway"];

const READERS: &str = "admin finance operator customer";
const KEEPERS: &str = "admin operator";
const BILLERS: &str = "admin finance customer";

/// Each method of each route, the roles that may use it, and the status of their answer.
const ROUTES: [(&str, &str, &str, u16); 92] = [
    ("GET", "/customers", READERS, 200),
    ("POST", "/customers", KEEPERS, 201),
    ("GET", "/customers/{id}", READERS, 200),
    ("POST", "/customers/{id}", "admin finance", 200),
    ("GET", "/customers/{id}/history", "admin finance", 200),
    ("GET", "/customers/{id}/plans", READERS, 200),
    ("POST", "/customers/{id}/plans", "admin finance", 200),
    ("GET", "/balances", "admin finance", 200),
    ("GET", "/projects", READERS, 200),
    ("POST", "/projects", KEEPERS, 201),
    ("GET", "/keys", "admin operator customer", 200),
    ("POST", "/keys", KEEPERS, 201),
    ("GET", "/keys/{id}", "admin operator customer", 200),
    ("POST", "/keys/{id}/revoke", KEEPERS, 200),
    ("GET", "/keys/{id}/limits", "admin operator customer", 200),
    ("POST", "/keys/{id}/limits", KEEPERS, 200),
    ("GET", "/customers/{id}/limits", READERS, 200),
    ("POST", "/customers/{id}/limits", KEEPERS, 200),
    ("GET", "/projects/{customer}/{id}/limits", READERS, 200),
    ("POST", "/projects/{customer}/{id}/limits", KEEPERS, 200),
    ("GET", "/tokens", "admin", 200),
    ("POST", "/tokens", "admin", 201),
    ("POST", "/tokens/{id}/revoke", "admin", 200),
    ("GET", "/prices", READERS, 200),
    ("POST", "/prices/import", "admin finance", 200),
    ("GET", "/prices/{version}", READERS, 200),
    // Of a charge and a plan that nobody has added.
    ("GET", "/charges", READERS, 200),
    ("POST", "/charges", "admin finance", 422),
    ("GET", "/charges/{version}", READERS, 404),
    ("POST", "/charges/{version}/end", "admin finance", 404),
    ("GET", "/plans", READERS, 200),
    ("POST", "/plans", "admin finance", 422),
    ("GET", "/plans/{name}", READERS, 404),
    ("GET", "/grants", BILLERS, 200),
    ("POST", "/grants", "admin finance", 201),
    // Of a text that is no plan.
    ("POST", "/simulate", "admin finance", 422),
    ("GET", "/usage", READERS, 200),
    ("POST", "/usage/drop", "admin", 200),
    ("GET", "/usage/quarantine", KEEPERS, 200),
    ("POST", "/usage/quarantine/{id}/book", KEEPERS, 404),
    // Without a note.
    ("POST", "/usage/quarantine/{id}/dismiss", KEEPERS, 422),
    ("GET", "/sessions", READERS, 200),
    ("GET", "/session-summary", READERS, 200),
    ("GET", "/sessions/{id}", READERS, 200),
    ("POST", "/sessions/{id}/outcome", "admin operator customer", 200),
    ("GET", "/invoices", BILLERS, 200),
    ("POST", "/invoices/preview", BILLERS, 200),
    ("POST", "/invoices/draft", "admin finance", 200),
    ("GET", "/invoices/{id}", BILLERS, 200),
    // Of a draft whose month has not ended; a void needs a reason.
    ("GET", "/invoices/{id}/document", BILLERS, 409),
    ("GET", "/invoices/{id}/records", BILLERS, 200),
    ("GET", "/invoices/{id}/export", BILLERS, 200),
    ("GET", "/credit-notes/{id}/export", BILLERS, 200),
    ("GET", "/invoices/{id}/history", "admin finance", 200),
    ("POST", "/invoices/{id}/approve", "admin finance", 409),
    ("POST", "/invoices/{id}/finalize", "admin finance", 409),
    ("POST", "/invoices/{id}/pay", "admin finance", 409),
    ("POST", "/invoices/{id}/refund", "admin finance", 409),
    ("POST", "/invoices/{id}/void", "admin finance", 422),
    ("POST", "/invoices/{id}/credit", "admin finance", 409),
    ("GET", "/credit-notes", BILLERS, 200),
    ("GET", "/credit-notes/{id}", BILLERS, 200),
    // Of a month that has not ended.
    ("GET", "/close/{period}", "admin finance operator", 200),
    ("POST", "/close/{period}", "admin finance", 409),
    ("POST", "/close/{period}/drafts", "admin finance", 409),
    ("POST", "/close/{period}/sign", "admin finance operator", 409),
    ("POST", "/close/{period}/reopen", "admin finance", 409),
    // Of no rate.
    ("GET", "/fx-rates", "admin finance", 200),
    ("POST", "/fx-rates", "admin finance", 422),
    ("GET", "/margin", "admin finance", 200),
    // Of no bill.
    ("GET", "/reconciliations", "admin finance", 200),
    ("POST", "/reconciliations", "admin finance", 422),
    ("GET", "/reconciliations/{id}", "admin finance", 404),
    ("GET", "/reconciliations/{id}/export", "admin finance", 404),
    ("POST", "/reconciliations/{id}/sign", "admin finance", 404),
    ("GET", "/openapi.json", "admin finance operator customer gateway", 200),
    ("GET", "/webhooks", KEEPERS, 200),
    // Not to a private address; of an endpoint that nobody has added.
    ("POST", "/webhooks", KEEPERS, 422),
    ("GET", "/webhooks/{id}", KEEPERS, 404),
    ("POST", "/webhooks/{id}/rotate", KEEPERS, 404),
    ("POST", "/webhooks/{id}/remove", KEEPERS, 404),
    ("POST", "/webhooks/{id}/test", KEEPERS, 404),
    ("GET", "/webhooks/{id}/deliveries", KEEPERS, 404),
    ("POST", "/webhooks/{id}/deliveries/{event}/resend", KEEPERS, 404),
    ("POST", "INTAKE_PATH", "gateway", 200),
    ("POST", "SPENT_PATH", "gateway", 200),
    ("GET", "SNAPSHOT_PATH", "gateway", 200),
    ("GET", "/audit", "admin finance", 200),
    // Of a draft, and of a dispute that nobody has opened.
    ("GET", "/disputes", BILLERS, 200),
    ("POST", "/disputes", BILLERS, 409),
    ("GET", "/disputes/{id}", BILLERS, 404),
    ("POST", "/disputes/{id}/resolve", "admin finance", 404),
];
/// The routes that need a query.
const ASKING: [(&str, &str, &str, u16); 2] =
    [("GET", "TURN_PATH", "gateway", 200), ("GET", "STORED_RESPONSE_PATH", "gateway", 200)];

fn table() -> impl Iterator<Item = (Method, &'static str, &'static str, u16)> {
    let rows = ROUTES.into_iter().chain(ASKING);
    rows.map(|(method, route, roles, status)| (method.parse().unwrap(), route, roles, status))
}

/// One of everything, so that every route has something to answer.
struct World {
    api: Api,
    key: Value,
    token: Value,
    invoice: Value,
    credit_note: Value,
    version: String,
    batch: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        let api = Api::with_acme().await;
        let key = api.add_key("acme").await;
        let event = event(1, "acme", key["id"].as_str().unwrap());
        Gateway::of(&api, "n1").await.ship(1, std::slice::from_ref(&event)).await;
        let spare = json!({"role": "finance", "name": "spare"});
        let token = api.post("/api/v1/tokens", &spare).await.created();
        let month = json!({"customer": "acme", "period": "2026-11"});
        let invoice = api.post("/api/v1/invoices/draft", &month).await.ok();
        let credit_note = credit_note(&api, key["id"].as_str().unwrap()).await;
        let prices = api.items("/api/v1/prices").await;
        let version = prices[0]["price"]["version"].as_str().unwrap().to_owned();
        let batch = body("n1", 1, &[payload(&event)]);
        Self { api, key, token, invoice, credit_note, version, batch }
    }

    /// The path of a route, and a body that it takes from the caller of that number.
    fn request(&self, method: &Method, route: &str, caller: usize) -> (String, Vec<u8>) {
        let id = match route.split('/').nth(1) {
            Some("keys") => &self.key["id"],
            Some("tokens") => &self.token["id"],
            Some("invoices") => &self.invoice["id"],
            Some("credit-notes") => &self.credit_note["id"],
            Some("sessions") => &json!("chat-1"),
            Some("projects") => &json!("default"),
            _ => &json!("acme"),
        };
        let path = match route {
            "INTAKE_PATH" => return (permille_types::INTAKE_PATH.to_owned(), self.batch.clone()),
            "SPENT_PATH" => permille_types::SPENT_PATH.to_owned(),
            "SNAPSHOT_PATH" => permille_types::SNAPSHOT_PATH.to_owned(),
            "TURN_PATH" => format!("{}?customer=acme&session=chat-1", permille_types::TURN_PATH),
            "STORED_RESPONSE_PATH" => {
                format!("{}?customer=acme&id=resp_1", permille_types::STORED_RESPONSE_PATH)
            }
            _ => format!("/api/v1{route}")
                .replace("/sessions/{id}", "/sessions/{id}?customer=acme")
                .replace("?customer=acme/outcome", "/outcome")
                .replace("/export", "/export?format=csv")
                .replace("/margin", "/margin?currency=CNY")
                .replace("/audit", "/audit?noun=fx&id=rates")
                .replace("{period}", "2026-11")
                .replace("{customer}", "acme")
                .replace("{id}", id.as_str().unwrap())
                .replace("{version}", &encoded(&self.version))
                .replace("{event}", "evt_unknown")
                .replace("{name}", "nothing"),
        };
        let body = match (method.as_str(), route) {
            ("POST", "/customers") => {
                json!({"id": format!("new-{caller}"), "name": "New", "currency": "USD"})
            }
            ("POST", "/projects") => {
                json!({"customer": "acme", "id": format!("new-{caller}"), "name": "New"})
            }
            ("POST", "/keys") => json!({"customer": "acme"}),
            ("POST", "SPENT_PATH") => json!({"customer": "acme", "accounts": []}),
            ("POST", limits) if limits.ends_with("/limits") => json!({}),
            ("POST", "/tokens") => json!({"role": "operator"}),
            ("POST", "/invoices/preview" | "/invoices/draft") => {
                json!({"customer": "acme", "period": "2026-11"})
            }
            ("POST", "/sessions/{id}/outcome") => {
                json!({"customer": "acme", "outcome": "accepted"})
            }
            ("POST", "/customers/{id}") => json!({"notes": "Thank you."}),
            ("POST", "/invoices/{id}/credit" | "/close/{period}/reopen") => {
                json!({"reason": "a test"})
            }
            ("POST", "/prices/import") => json!({"prices": []}),
            ("POST", "/disputes") => json!({"invoice": self.invoice["id"], "reason": "a test"}),
            ("POST", "/disputes/{id}/resolve") => json!({"accepted": false, "note": "a test"}),
            ("POST", "/charges" | "/plans") => json!({"toml": ""}),
            ("POST", "/reconciliations/{id}/sign") => json!({"note": "a test"}),
            ("POST", "/fx-rates") => json!({"rates": []}),
            ("POST", "/simulate") => json!({"toml": "", "period": "2026-11"}),
            ("POST", "/charges/{version}/end") => json!({"until": "2027-01-01T00:00:00Z"}),
            ("POST", "/customers/{id}/plans") => json!({"plan": "none"}),
            ("POST", "/usage/drop") => json!({"before": "2026-01-01"}),
            ("POST", "/webhooks") => {
                json!({"url": "https://127.0.0.1/", "events": ["limit.warning"]})
            }
            ("POST", "/grants") => json!({"customer": "acme", "amount": "1", "reason": "a test"}),
            _ => return (path, Vec::new()),
        };
        (path, body.to_string().into_bytes())
    }
}

/// A credit note over an invoice of October.
async fn credit_note(api: &Api, key: &str) -> Value {
    let used = UsageEvent { at: "2026-10-10T10:00:00Z".parse().unwrap(), ..event(2, "acme", key) };
    Gateway::of(api, "n1").await.ship(2, &[used]).await;
    let month = json!({"customer": "acme", "period": "2026-10"});
    let draft = api.post("/api/v1/invoices/draft", &month).await.ok();
    let path = |step: &str| format!("/api/v1/invoices/{}/{step}", draft["id"].as_str().unwrap());
    api.post(&path("approve"), &json!({})).await.ok();
    api.post(&path("finalize"), &json!({})).await.ok();
    api.post(&path("credit"), &json!({"reason": "a test"})).await.created()
}

#[tokio::test]
async fn each_role_may_what_the_table_says_and_nothing_else() {
    let world = World::new().await;
    for (caller, role) in ROLES.into_iter().enumerate() {
        let token = world.api.token(role).await;
        for (method, route, roles, status) in table() {
            let (path, body) = world.request(&method, route, caller);

            let reply = world.api.ask(method.clone(), &token, &path, body).await;

            if roles.split(' ').any(|allowed| allowed == role) {
                assert_eq!(reply.status, status, "{role}: {method} {path}: {}", reply.text());
            } else {
                assert_eq!(reply.status, 403, "{role}: {method} {path}: {}", reply.text());
                let detail = reply.problem(403, "forbidden");
                assert_eq!(detail, format!("a token of role {role} may not do this"));
            }
        }
    }
}

#[tokio::test]
async fn who_may_not_read_invoices_has_nobody_told_of_them() {
    let api = Api::with_acme().await;
    let operator = api.token("operator").await;
    let add = async |token: &str, events: &[&str]| {
        let body = json!({"url": "https://example.com/permille", "events": events});
        api.ask(Method::POST, token, "/api/v1/webhooks", body.to_string().into_bytes()).await
    };

    for events in [&[][..], &["invoice.drafted"], &["limit.warning", "invoice.paid"]] {
        let detail = add(&operator, events).await.problem(403, "forbidden");
        assert!(detail.contains("told of invoices") && detail.contains("`events`"), "{detail}");
    }
    let allowed = ["limit.warning", "period.closed", "usage.held", "webhook.test"];
    assert_eq!(add(&operator, &allowed).await.status, 201);
    let admin = api.token("admin").await;
    assert_eq!(add(&admin, &[]).await.status, 201);
}

#[tokio::test]
async fn without_a_token_nothing_is_answered() {
    let world = World::new().await;
    for (method, route, ..) in table() {
        let (path, body) = world.request(&method, route, 0);

        let reply = world.api.send(method.clone(), &path, &[], body).await;

        assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text());
        let detail = reply.problem(401, "unauthenticated");
        assert_eq!(detail, "send an API token: `Authorization: Bearer pmt_…`");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
}

/// What people ask is in the description, which is made of the routes themselves; what gateways ask
/// is read from the router's source. A new route without a row here is found.
#[test]
fn the_table_has_every_route() {
    let mut routed: Vec<(Method, String)> = Vec::new();
    for (path, methods) in openapi()["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            routed.push((method, path.strip_prefix("/api/v1").unwrap().to_owned()));
        }
    }
    let source = include_str!("../../src/routes/mod.rs");
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(")) {
        let Some((path, handler)) = line.split_once(", routing::") else { continue };
        let (method, _) = handler.split_once('(').unwrap();
        routed.push((method.to_uppercase().parse().unwrap(), path.to_owned()));
    }
    let mut listed: Vec<_> =
        table().map(|(method, route, ..)| (method, route.to_owned())).collect();
    let by_path = |row: &(Method, String)| format!("{} {}", row.1, row.0);
    routed.sort_by_key(by_path);
    listed.sort_by_key(by_path);

    assert_eq!(routed, listed);
}

/// The other test shows that the table is what the routes do.
#[test]
fn the_description_names_the_roles_of_the_table() {
    for (method, route, roles, _) in table().filter(|row| row.1.starts_with('/')) {
        let path = &openapi()["paths"][format!("/api/v1{route}")];
        let operation = &path[method.as_str().to_lowercase()];

        let named: Vec<&str> = operation["x-permille-roles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|role| role.as_str().unwrap())
            .collect();
        assert_eq!(named.join(" "), roles, "{method} {route}");
    }
}

#[tokio::test]
async fn only_a_whole_token_in_the_right_place_is_one() {
    let api = Api::with_acme().await;
    let good = api.token("finance").await;
    let key = api.add_key("acme").await;
    let key = key["secret"].as_str().unwrap();
    let (cut, longer) = (&good[..good.len() - 1], format!("{good}x"));
    let other = if good.ends_with('x') { 'y' } else { 'x' };
    for authorization in [
        "",
        "Bearer",
        "Bearer ",
        &good,
        &format!("Basic {good}"),
        &format!("Bearer={good}"),
        &format!("Bearer {cut}"),
        &format!("Bearer {cut}{other}"),
        &format!("Bearer {longer}"),
        &format!("Bearer {}", good.to_uppercase()),
        &format!("Bearer Bearer {good}"),
        &format!("Bearer {good} {good}"),
        &format!("Bearer {key}"),
        &format!("Bearer {}", key.replace("sk-pm_", "pmt_")),
        "Bearer pmt_",
        "Bearer ünïcode",
    ] {
        let headers = [("authorization", authorization)];

        let reply = api.send(Method::GET, "/api/v1/prices", &headers, "").await;

        assert_eq!(reply.status, 401, "`{authorization}`: {}", reply.text());
        reply.problem(401, "unauthenticated");
    }
    for authorization in [format!("bearer {good}"), format!("BEARER   {good} ")] {
        let headers = [("authorization", authorization.as_str())];
        let reply = api.send(Method::GET, "/api/v1/prices", &headers, "").await;
        assert_eq!(reply.status, 200, "`{authorization}`: {}", reply.text());
    }
    for elsewhere in [("x-api-key", good.as_str()), ("cookie", &format!("token={good}"))] {
        api.send(Method::GET, "/api/v1/prices", &[elsewhere], "")
            .await
            .problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_stays_listed() {
    let api = Api::start().await;
    let made = api.post("/api/v1/tokens", &json!({"role": "operator"})).await.created();
    let secret = made["secret"].as_str().unwrap();
    api.get_as(secret, "/api/v1/customers").await.ok();

    let path = format!("/api/v1/tokens/{}/revoke", made["id"].as_str().unwrap());
    let revoked = api.post(&path, &Value::Null).await.ok();
    let again = api.post(&path, &Value::Null).await.ok();

    let refusal = api.get_as(secret, "/api/v1/customers").await.problem(401, "unauthenticated");
    assert!(refusal.starts_with("this API token is unknown or revoked"), "{refusal}");
    assert_eq!(revoked["revoked_at"], crate::support::NOW);
    assert_eq!(again, revoked, "revoking again changes nothing");
    assert!(api.items("/api/v1/tokens").await.contains(&revoked));
}

#[tokio::test]
async fn who_may_not_write_is_told_so_before_the_body_is_read() {
    let api = Api::with_acme().await;
    let token = api.token("customer").await;
    let unread = [b"not json".to_vec(), b"{}".to_vec()];
    for (method, route, roles, _) in table() {
        if method == Method::GET || roles.contains("customer") || route.contains("revoke") {
            continue;
        }
        let path = match route {
            "INTAKE_PATH" => permille_types::INTAKE_PATH.to_owned(),
            "SPENT_PATH" => permille_types::SPENT_PATH.to_owned(),
            _ => format!("/api/v1{route}"),
        };
        for body in &unread {
            let reply = api.ask(Method::POST, &token, &path, body.clone()).await;

            assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        }
    }
}
