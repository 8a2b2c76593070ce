//! What a page must never do: run what clients wrote, take forms of other sites, lead elsewhere.

use http::{Method, header};
use serde_json::json;

use super::browser::{Browser, OWN, cells, text_of};
use crate::{
    events::{Gateway, event},
    support::{Api, encoded},
};

const MARKUP: &str = "<script>alert(1)</script>\"'&<img src=x>";

#[tokio::test]
async fn what_clients_named_is_shown_and_never_markup() {
    let api = Api::with_acme().await;
    let key = api.add_key("acme").await;
    let mut used = event(1, "acme", key["id"].as_str().unwrap());
    used.session = MARKUP.parse().unwrap();
    used.model_requested = MARKUP.parse().unwrap();
    used.model_served = None;
    used.attempts[0].model = None;
    Gateway::of(&api, "n1").await.ship(1, &[used]).await;
    let browser = Browser::signed_in(&api, &api.admin).await;

    let list = browser.page("/sessions").await;
    let (_, link) = list.split_once("class=\"id\" href=\"").unwrap();
    let link = link.split('"').next().unwrap();
    let page = browser.page(link).await;
    let unknown = browser.get(&format!("/sessions/{}?customer=acme", encoded("<b>no"))).await;
    let filtered = browser.get(&format!("/sessions?customer={}", encoded(MARKUP))).await;

    assert_eq!(text_of(&page, "session"), MARKUP);
    assert_eq!(cells(&page, "model"), [MARKUP]);
    assert_eq!(cells(&page, "cost"), ["no price"]);
    assert_eq!((unknown.status, filtered.status), (404, 404));
    for text in [list, page, unknown.text(), filtered.text()] {
        assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
        assert!(!text.contains("<b>no"), "{text}");
    }
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let api = Api::with_acme().await;
    let mut victim = Browser::signed_in(&api, &api.admin).await;
    let form = format!("token={}", api.admin);
    for from in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("accept", "*/*"),
    ] {
        let signed_in = Browser::new(&api).submit("/signin", &[from], &form).await;
        let signed_out = victim.submit("/signout", &[from], "").await;

        for reply in [signed_in, signed_out] {
            assert_eq!(reply.status, 403, "{from:?}");
            assert!(reply.headers.get(header::SET_COOKIE).is_none(), "{from:?}");
        }
    }
    victim.page("/sessions").await;
}

#[tokio::test]
async fn signing_in_leads_to_no_other_host() {
    let api = Api::with_acme().await;
    for next in [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\tx",
        "/x\r\nset-cookie: a=b",
        "",
    ] {
        let mut browser = Browser::new(&api);
        let reply = browser.sign_in(&api.admin, next).await;
        assert_eq!((reply.status, reply.header("location")), (303, "/sessions"), "{next:?}");
        let shown = browser.page(&format!("/signin?next={}", encoded(next))).await;
        assert!(shown.contains(r#"name="next" value="/sessions""#), "{next:?}: {shown}");
    }
    let away = Browser::new(&api).get("//evil.example/?lang=zh").await;
    assert_eq!((away.status, away.header("location")), (303, "/"));
    let away = Browser::new(&api).get("//evil.example/").await;
    assert!(!away.text().contains("\"//evil.example"), "{}", away.text());
}

#[tokio::test]
async fn every_answer_keeps_a_browser_from_doing_more_than_show_it() {
    let api = Api::with_acme().await;
    let browser = Browser::signed_in(&api, &api.admin).await;
    for path in
        ["/", "/signin", "/sessions", "/sessions/none?customer=acme", "/nothing", "/console.css"]
    {
        for reply in [browser.get(path).await, Browser::new(&api).get(path).await] {
            let policy = reply.header(header::CONTENT_SECURITY_POLICY);
            assert!(
                policy.starts_with("default-src 'none'; style-src 'self';"),
                "{path}: {policy}"
            );
            for part in ["form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
            assert_eq!(reply.header(header::CACHE_CONTROL), "no-store", "{path}");
            assert_eq!(reply.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
            assert_eq!(reply.header(header::REFERRER_POLICY), "same-origin", "{path}");
            let text = reply.text();
            for script in ["<script", " style=", " onclick=", "javascript:"] {
                assert!(!text.contains(script), "{path}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn the_cookie_is_no_token_and_kept_from_scripts_and_other_sites() {
    let api = Api::with_acme().await;
    let mut browser = Browser::new(&api);
    let proxied = ("x-forwarded-proto", "https");
    let form = format!("token={}", api.admin);

    let over_https = browser.submit("/signin", &[OWN, proxied], &form).await;
    let again = browser.submit("/signin", &[OWN], &form).await;

    let cookie = over_https.header(header::SET_COOKIE).to_owned();
    let attributes = "; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure";
    assert!(cookie.ends_with(attributes), "{cookie}");
    assert!(!cookie.contains(&api.admin) && !cookie.contains("pmt_"), "{cookie}");
    assert_eq!(cookie.find(';').unwrap(), "permille_visit=".len() + 64, "{cookie}");
    assert!(!again.header(header::SET_COOKIE).contains("Secure"));
    let before = [("cookie", cookie.split(';').next().unwrap())];
    let old = api.send(Method::GET, "/sessions", &before, "").await;
    assert_eq!(old.status, 303, "signing in anew ends the visit before");
}

/// A browser that comes from another site keeps a strict cookie to itself.
#[tokio::test]
async fn a_link_from_another_site_is_asked_again_from_a_page_of_our_own() {
    let api = Api::with_acme().await;
    let (stranger, visitor) = (Browser::new(&api), Browser::signed_in(&api, &api.admin).await);
    let from = [("sec-fetch-site", "cross-site")];
    let path = "/sessions?customer=acme";

    let onward = stranger.get_with(path, &from).await;

    assert_eq!(onward.status, 200);
    let leads = r#"http-equiv="refresh" content="0; url=/sessions?customer=acme""#;
    assert!(onward.text().contains(leads), "{}", onward.text());
    assert_eq!(stranger.get_with(path, &[OWN]).await.status, 303);
    assert!(visitor.get_with(path, &from).await.text().contains("id=\"who\""));
}

#[tokio::test]
async fn what_is_not_there_is_a_page_and_under_the_api_a_problem() {
    let api = Api::with_acme().await;
    let browser = Browser::new(&api);

    for path in ["/nothing", "//", "/sessions/a/b", "/favicon.ico"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        let told = text_of(&reply.text(), "problem");
        assert_eq!(told, "404: there is nothing at this path", "{path}");
    }
    let visitor = Browser::signed_in(&api, &api.admin).await;
    assert_eq!(text_of(&visitor.get("/nothing").await.text(), "who"), "admin");
    for path in ["/api/v1/nothing", "/internal/v1/nothing"] {
        browser.get(path).await.problem(404, "not_found");
    }
    let wrong = api.send(Method::DELETE, "/sessions", &[], "").await;
    assert_eq!((wrong.status, wrong.header(header::ALLOW)), (405, "GET,HEAD"));
    assert!(wrong.text().starts_with("<!doctype html>"), "{}", wrong.text());
    let kind = [OWN, ("content-type", "application/json")];
    let body = json!({"token": api.admin}).to_string();
    let no_form = api.send(Method::POST, "/signin", &kind, body).await;
    assert_eq!(no_form.status, 415);
    assert!(no_form.text().starts_with("<!doctype html>"), "{}", no_form.text());
}

#[tokio::test]
async fn a_page_is_in_the_language_that_was_chosen_else_asked_for() {
    let api = Api::with_acme().await;
    let mut browser = Browser::new(&api);
    let chinese = [("accept-language", "zh-CN,zh;q=0.9")];

    let asked = browser.get_with("/signin", &chinese).await.text();
    let chosen = browser.get_with("/signin?lang=en&next=%2Fsessions", &chinese).await;
    let nowhere = browser.get("/nowhere?lang=zh").await;
    assert_eq!((nowhere.status, nowhere.header("location")), (303, "/nowhere"));
    let unknown = browser.get("/signin?lang=fr").await;

    assert!(asked.contains("<html lang=\"zh-CN\">") && asked.contains("登录"), "{asked}");
    assert_eq!((chosen.status, chosen.header("location")), (303, "/signin?next=%2Fsessions"));
    chosen.header(header::SET_COOKIE).split(';').next().unwrap().clone_into(&mut browser.cookies);
    let page = browser.get_with("/signin", &chinese).await.text();
    assert!(page.contains("<html lang=\"en\">") && page.contains("Sign in"), "{page}");
    assert!(page.contains("href=\"/signin?next=%2Fsessions&#38;lang=zh\""), "{page}");
    assert!(unknown.text().contains("<html lang=\"en\">"));
}
