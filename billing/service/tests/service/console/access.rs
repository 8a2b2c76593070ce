//! Who gets a page: a browser that has signed in with a token that holds, and what is its own.

use http::Method;
use serde_json::json;

use super::browser::{Browser, OWN, cells, text_of};
use crate::{
    events::{Gateway, event},
    support::Api,
};

/// `acme` and `globex`, each with a session `chat-1`.
async fn two_customers() -> Api {
    let api = Api::start().await;
    for (number, customer) in (1..).zip(["acme", "globex"]) {
        api.add_customer(customer, "CNY").await;
        let key = api.add_key(customer).await;
        let used = event(number, customer, key["id"].as_str().unwrap());
        Gateway::of(&api, "n1").await.ship(number.into(), &[used]).await;
    }
    api
}

#[tokio::test]
async fn a_page_wants_a_visit_and_opens_after_signing_in() {
    let api = two_customers().await;
    let mut browser = Browser::new(&api);
    let page = "/sessions/chat-1?customer=acme";

    let asked = browser.get(page).await;

    assert_eq!(asked.status, 303);
    let form = asked.header("location").to_owned();
    assert_eq!(form, "/signin?next=%2Fsessions%2Fchat-1%3Fcustomer%3Dacme");
    let shown = browser.page(&form).await;
    assert!(shown.contains(r#"name="next" value="/sessions/chat-1?customer=acme""#), "{shown}");
    let signed_in = browser.sign_in(&format!("  {}\n", api.admin), page).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, page));
    assert_eq!(text_of(&browser.page(page).await, "session"), "chat-1");
    assert_eq!(text_of(&browser.page("/sessions").await, "who"), "admin");
    let front = browser.get("/").await;
    assert_eq!((front.status, front.header("location")), (303, "/sessions"));
}

#[tokio::test]
async fn a_wrong_token_is_told_on_the_page_and_opens_nothing() {
    let api = two_customers().await;
    let gateway = api.token("gateway").await;
    let almost = api.admin.replace(&api.admin[10..14], "AAAA");
    for (token, status, says) in [
        (almost.as_str(), 401, "This token is unknown or revoked."),
        ("", 401, "This token is unknown or revoked."),
        (&gateway, 403, "A token of this role has no pages here."),
    ] {
        let mut browser = Browser::new(&api);

        let reply = browser.sign_in(token, "/sessions").await;

        assert_eq!(reply.status, status);
        assert_eq!(text_of(&reply.text(), "refusal"), says);
        assert!(token.is_empty() || !reply.text().contains(token), "the page shows the token");
        assert!(reply.headers.get("set-cookie").is_none());
        assert_eq!(browser.get("/sessions").await.status, 303);
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_visits_and_no_others() {
    let api = two_customers().await;
    let made = api.post("/api/v1/tokens", &json!({"role": "finance"})).await.created();
    let browser = Browser::signed_in(&api, made["secret"].as_str().unwrap()).await;
    let other = Browser::signed_in(&api, &api.admin).await;
    browser.page("/sessions").await;

    let id = made["id"].as_str().unwrap();
    api.post(&format!("/api/v1/tokens/{id}/revoke"), &json!({})).await.ok();

    assert_eq!(browser.get("/sessions").await.status, 303);
    assert_eq!(browser.get("/api/v1/sessions").await.status, 401);
    other.page("/sessions").await;
}

#[tokio::test]
async fn a_visit_ends_when_it_is_signed_out_of_and_after_twelve_hours() {
    let api = two_customers().await;
    let mut browser = Browser::signed_in(&api, &api.admin).await;
    let kept = browser.cookies.clone();
    let late = Browser::signed_in(&api, &api.admin).await;

    let reply = browser.submit("/signout", &[OWN], "").await;

    assert_eq!((reply.status, reply.header("location")), (303, "/signin"));
    assert!(reply.header("set-cookie").contains("Max-Age=0"));
    browser.cookies = kept;
    assert_eq!(browser.get("/sessions").await.status, 303, "the cookie still opens pages");
    late.page("/sessions").await;
    api.set_clock("2026-11-20T22:00:00Z");
    assert_eq!(late.get("/sessions").await.status, 303);
}

#[tokio::test]
async fn a_customers_token_sees_its_own_sessions_and_no_others() {
    let api = two_customers().await;
    let own = Browser::signed_in(&api, &api.token("customer").await).await;
    let all = Browser::signed_in(&api, &api.admin).await;

    let (own_list, whole_list) = (own.page("/sessions").await, all.page("/sessions").await);

    assert!(whole_list.contains("globex") && whole_list.contains("acme"));
    assert!(own_list.contains("acme") && !own_list.contains("globex"), "{own_list}");
    assert_eq!(text_of(&own_list, "who"), "customer, acme");
    assert!(whole_list.contains("id=\"customer\"") && !own_list.contains("id=\"customer\""));
    own.page("/sessions/chat-1").await;
    for path in ["/sessions/chat-1?customer=", "/sessions?customer="] {
        let other = own.get(&format!("{path}globex")).await;
        let nobody = own.get(&format!("{path}nobody")).await;
        assert_eq!(other.status, 404, "{path}");
        assert_eq!(text_of(&other.text(), "problem"), "404: customer `globex` is unknown");
        assert_eq!(other.text().replace("globex", "nobody"), nobody.text());
    }
}

#[tokio::test]
async fn a_session_id_of_several_customers_wants_one() {
    let api = two_customers().await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let reply = browser.get("/sessions/chat-1").await;

    assert_eq!(reply.status, 422);
    let told = text_of(&reply.text(), "problem");
    assert!(told.starts_with("422: customer is missing"), "{told}");
    assert_eq!(text_of(&reply.text(), "who"), "admin");
}

#[tokio::test]
async fn the_list_is_filtered_and_turned_page_by_page() {
    let api = two_customers().await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let filtered = browser.page("/sessions?customer=globex&turns_min=").await;
    let first = browser.page("/sessions?limit=1").await;
    let (_, rest) = first.split_once("id=\"next\"").unwrap();
    let next = rest.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let second = browser.page(&next.replace("&#38;", "&")).await;

    assert!(filtered.contains("/sessions/chat-1?customer=globex"), "{filtered}");
    assert!(!filtered.contains("customer=acme"), "{filtered}");
    let one = |page: &str, of: &str| page.contains(&format!("<td>{of}</td>"));
    assert!(one(&first, "globex") && !one(&first, "acme"), "{first}");
    assert!(one(&second, "acme") && !one(&second, "globex"), "{second}");
    assert!(second.contains("id=\"first\"") && !second.contains("id=\"next\""), "{second}");
    assert_eq!(text_of(&browser.page("/sessions?turns_min=9").await, "none"), "No sessions.");
    let refused = browser.get("/sessions?turns_min=many").await;
    let told = text_of(&refused.text(), "problem");
    assert_eq!(told, "422: turns_min `many` is not accepted; accepted: a number of turns");
    assert!(cells(&first, "n").contains(&"0.018".to_owned()), "{first}");
}

#[tokio::test]
async fn a_visit_reads_the_api_and_changes_nothing_there() {
    let api = two_customers().await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let read = browser.get("/api/v1/sessions/chat-1?customer=acme").await;
    let cookie = [("cookie", browser.cookies.as_str())];
    let path = "/api/v1/customers";
    let changed = api.send(Method::POST, path, &cookie, r#"{"id":"x","name":"x"}"#).await;

    assert_eq!(read.ok()["session"]["id"], "chat-1");
    assert_eq!(read.header("cache-control"), "no-store");
    assert!(read.header("content-security-policy").starts_with("default-src 'none';"));
    changed.problem(401, "unauthenticated");
}
