//! Bad requests get a clear error in the caller's own format, and leave no row.

use http::{Method, Request, StatusCode};
use permille_proxy::config::Unpriced;
use permille_types::Family;
use serde_json::Value;

use crate::support::{KEY, REVOKED_KEY, World, chat, message, read_all, upstream};

struct Answer {
    status: StatusCode,
    error: Value,
    retry: String,
}

impl Answer {
    fn code(&self) -> &str {
        self.error["code"].as_str().unwrap()
    }
    fn message(&self) -> &str {
        self.error["message"].as_str().unwrap()
    }
}

async fn send(world: &World, method: Method, path: &str, key: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(world.url(path)).header("x-api-key", key);
    let response = world.send(request, body.to_owned()).await;
    assert!(response.headers().contains_key("permille-request-id"));
    let status = response.status();
    let retry = response
        .headers()
        .get("x-should-retry")
        .map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let bytes = read_all(response.into_body()).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    if path.starts_with("/anthropic") {
        assert_eq!(body["type"], "error", "{body}");
    }
    Answer { status, error: body["error"].clone(), retry }
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_request_names_what_is_wrong() {
    let world = World::with(|setup| setup.config.gateway.body_bytes_max = 4_096).await;
    let good = chat("tokens=1", false).to_string();
    let large = chat(&"x".repeat(5_000), false).to_string();
    let unknown = good.replace("gpt-4o-mini", "gpt-99");
    let not_text = good.replace("\"gpt-4o-mini\"", "7");
    let (post, get) = (Method::POST, Method::GET);

    for (method, path, key, body, status, code, names) in [
        (&post, CHAT, "", &*good, 401, "permille_missing_key", "sk-pm_"),
        (&post, CHAT, "sk-pm_nobody", &good, 401, "permille_unknown_key", "sk-pm_"),
        (&post, CHAT, "sk-other", &good, 401, "permille_unknown_key", "sk-pm_"),
        (&post, CHAT, REVOKED_KEY, &good, 401, "permille_revoked_key", "revoked"),
        (&post, CHAT, KEY, &unknown, 402, "permille_unpriced_model", "gpt-99"),
        (&post, CHAT, KEY, &large, 413, "permille_body_too_large", "4096"),
        (&post, CHAT, KEY, "{\"model\":", 400, "permille_invalid_request", "line 1"),
        (&post, CHAT, KEY, &not_text, 400, "permille_invalid_request", "model"),
        (
            &post,
            "/v1/audio/speech",
            KEY,
            &good,
            404,
            "permille_unsupported_path",
            "/v1/audio/speech",
        ),
        (&post, "/v1/files", KEY, &good, 404, "permille_unsupported_path", "/v1/files"),
        (&get, "/v1/models/..", KEY, "", 404, "permille_unsupported_path", "/v1/models/.."),
        (&get, "/v1/models/.%2E", KEY, "", 404, "permille_unsupported_path", "%2E"),
        (&get, "/v1/models/..%2ffiles", KEY, "", 404, "permille_unsupported_path", "files"),
        (&get, "/v1/models/x%5c..%5cfiles", KEY, "", 404, "permille_unsupported_path", "files"),
        (&get, CHAT, KEY, "", 405, "permille_unsupported_method", "POST"),
        (&post, "/anthropic/v1/messages", "", &good, 401, "permille_missing_key", "sk-pm_"),
        (&post, "/anthropic/v1/x", KEY, &good, 404, "permille_unsupported_path", "/anthropic/v1/x"),
    ] {
        let answer = send(&world, method.clone(), path, key, body).await;
        assert_eq!(answer.status.as_u16(), status, "{code}: {}", answer.error);
        assert_eq!(answer.code(), code);
        assert!(answer.message().contains(names), "{code}: {}", answer.message());
        assert_eq!(answer.retry, "false");
        assert!(!answer.message().contains(KEY));
    }
    assert_eq!(world.journal.stats().records_total, 0, "a refused request left a record");
}

/// Source: `OpenAI` API reference, "Error codes"; Anthropic API reference, "Errors".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_has_the_type_that_the_callers_sdk_knows() {
    let world = World::with(|setup| setup.config.gateway.body_bytes_max = 4_096).await;
    let unpriced = |body: Value| body.to_string().replace("gpt-4o-mini", "gpt-99");
    let (small, large) = (chat("tokens=1", false), chat(&"x".repeat(5_000), false));
    let [unpriced, small, large] = [unpriced(small.clone()), small.to_string(), large.to_string()];
    let auth = ("authentication_error", "authentication_error");
    let invalid = ("invalid_request_error", "invalid_request_error");

    for (key, path, body, status, (of_openai, of_anthropic)) in [
        ("", "", &*small, 401, auth),
        ("sk-pm_nobody", "", &small, 401, auth),
        (REVOKED_KEY, "", &small, 401, auth),
        (KEY, "", &unpriced, 402, ("insufficient_quota", "billing_error")),
        (KEY, "", &large, 413, ("invalid_request_error", "request_too_large")),
        (KEY, "", "{\"model\":", 400, invalid),
        (KEY, "/nowhere", &small, 404, ("invalid_request_error", "not_found_error")),
    ] {
        for (base, kind) in [(CHAT, of_openai), ("/anthropic/v1/messages", of_anthropic)] {
            let answer = send(&world, Method::POST, &format!("{base}{path}"), key, body).await;
            assert_eq!(answer.status.as_u16(), status, "{base}{path}: {}", answer.error);
            assert_eq!(answer.error["type"], kind, "{base}{path}: {}", answer.error);
        }
    }
}

/// A base URL with a slash too many, and whoever looks whether somebody is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_that_is_not_served_is_answered_as_if_it_were() {
    let world = World::start().await;
    let good = chat("tokens=1", false).to_string();
    for (method, path, key, status) in [
        (Method::POST, "//v1/chat/completions", KEY, 404),
        (Method::POST, "//anthropic/v1/messages", KEY, 404),
        (Method::GET, "/", "", 401),
        (Method::GET, "/", KEY, 405),
        (Method::POST, "/elsewhere", KEY, 404),
    ] {
        let answer = send(&world, method, path, key, &good).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.error);
        assert!(!answer.message().contains("//…"), "{}", answer.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_of_a_metered_field_is_refused() {
    let world = World::start().await;
    let body = r#"{"model":"gpt-4o-mini","stream":false,"stream":true,"messages":[]}"#;

    let answer = send(&world, Method::POST, CHAT, KEY, body).await;

    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("stream"), "{}", answer.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_no_upstream_serves_is_unknown() {
    let world = World::with(|setup| {
        let mut only = upstream("narrow", Family::OpenAi, "http://127.0.0.1:9/v1".to_owned());
        only.section.models = vec!["gpt-4o-*".to_owned()];
        setup.config.upstreams = vec![only];
    })
    .await;
    let body = chat("", false).to_string().replace("gpt-4o-mini", "o3");

    let answer = send(&world, Method::POST, CHAT, KEY, &body).await;

    assert_eq!((answer.status.as_u16(), answer.code()), (404, "permille_unknown_model"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_upstream_is_named_and_leaves_a_free_row() {
    let world = World::with(|setup| {
        // Port 9 of loopback: nothing listens there.
        setup.config.upstreams =
            vec![upstream("away", Family::Anthropic, "http://127.0.0.1:9".to_owned())];
    })
    .await;

    let body = message("", false).to_string();
    let answer = send(&world, Method::POST, "/anthropic/v1/messages", KEY, &body).await;

    assert_eq!((answer.status.as_u16(), answer.code()), (502, "permille_upstream_unreachable"));
    assert!(answer.message().contains("away"));
    assert_eq!(answer.retry, "true");
    let rows = world.rows(1).await;
    assert_eq!(rows[0].ended, permille_types::Ended::UpstreamError);
    assert!(rows[0].tokens.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpriced_model_is_served_where_the_policy_holds_it() {
    let world = World::with(|setup| setup.config.pricing.unpriced = Unpriced::Hold).await;
    let body = chat("tokens=3", false).to_string().replace("gpt-4o-mini", "brand-new-model");

    let request = Request::post(world.url(CHAT)).header("api-key", KEY);
    let response = world.send(request, body).await;

    assert_eq!(response.status(), 200);
    let row = world.row_of(response.headers()).await;
    assert_eq!(row.model_requested.as_str(), "brand-new-model");
    assert!(row.output_total.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_past_the_bound_is_refused_and_the_place_comes_back() {
    let world = World::with(|setup| {
        setup.config.gateway.in_flight_max = 1;
        setup.config.metering.drain_seconds_max = 1;
    })
    .await;
    let open = world.post(CHAT, &chat("tokens=9,stall_after=2", true)).await;

    let answer = send(&world, Method::POST, CHAT, KEY, &chat("", false).to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "permille_overloaded"));
    assert_eq!(answer.retry, "true");

    drop(open);
    world.rows(1).await;
    let again = world.post(CHAT, &chat("tokens=2", false)).await;
    assert_eq!(again.status(), 200);
}
