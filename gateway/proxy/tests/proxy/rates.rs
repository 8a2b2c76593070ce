//! Rates and concurrency on the path of a request: those of a customer and a project, which their
//! keys share, and what is said of those that are nearly used.

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use permille_types::{Level, Limit, Measure};
use serde_json::Value;

use crate::support::{COUSIN_KEY, KEY, SIBLING_KEY, Setup, World, chat, read_all, read_events};

async fn limited(level: Level, measure: Measure, max: u64) -> World {
    let limit = Limit { level, measure, max, warn_percent: 80 };
    World::with(|setup: &mut Setup| setup.limits = vec![limit]).await
}

async fn post(world: &World, key: &str, body: &Value) -> Response<Incoming> {
    let request = Request::post(world.url("/v1/chat/completions")).header("x-api-key", key);
    world.send(request, body.to_string()).await
}

/// A chat whose answer may have so many tokens, read to its end: its status, head and error.
async fn asked(world: &World, key: &str) -> (StatusCode, HeaderMap, String) {
    let response = post(world, key, &short()).await;
    let (head, body) = response.into_parts();
    let body = read_all(body).await.unwrap_or_default();
    (head.status, head.headers, String::from_utf8_lossy(&body).into_owned())
}

fn short() -> Value {
    let mut body = chat("tokens=1", false);
    body["max_tokens"] = 10.into();
    body
}

/// Uses a rate of two requests, 600 tokens or one open request up by the first key.
async fn used_up(world: &World, measure: Measure) -> Option<Incoming> {
    match measure {
        Measure::RequestsPerMinute => {
            for key in [KEY, SIBLING_KEY] {
                assert_eq!(asked(world, key).await.0, StatusCode::OK);
            }
            None
        }
        Measure::TokensPerMinute => {
            // It says nothing of a limit, so that more is used than a minute has.
            let response = post(world, KEY, &chat("tokens=900", true)).await;
            let head = response.headers().clone();
            read_all(response.into_body()).await.unwrap();
            world.row_of(&head).await;
            None
        }
        _ => {
            let response = post(world, KEY, &chat("tokens=20000,chunk_ms=20", true)).await;
            let mut body = response.into_body();
            read_events(&mut body, 2).await;
            Some(body)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_of_a_customer_or_a_project_is_one_for_all_of_its_keys() {
    for (measure, max, told) in [
        (Measure::RequestsPerMinute, 2, "may make 2 requests per minute"),
        (Measure::TokensPerMinute, 600, "may use 600 tokens per minute"),
        (Measure::OpenRequests, 1, "may have 1 requests open at once"),
    ] {
        for (level, whose) in
            [(Level::Customer, "customer `acme`"), (Level::Project, "project `default`")]
        {
            let world = limited(level, measure, max).await;
            let open = used_up(&world, measure).await;

            let (status, headers, text) = asked(&world, SIBLING_KEY).await;
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{whose} {told}: {text}");
            assert!(text.contains(&format!("the {whose} {told}")), "{whose} {told}: {text}");
            assert!(text.contains("permille_rate_limited") && headers.contains_key("retry-after"));
            let (of_other_project, ..) = asked(&world, COUSIN_KEY).await;
            let expected = if level == Level::Customer {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::OK
            };
            assert_eq!(of_other_project, expected, "{whose} {told}");
            drop(open);
        }
    }
}

/// What an answer says of a limit that is nearly used.
fn warning(headers: &HeaderMap) -> &str {
    headers.get("permille-limit-warning").map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_per_minute_that_are_nearly_used_warn_in_a_header() {
    let world = limited(Level::Key, Measure::RequestsPerMinute, 5).await;
    let mut warnings = Vec::new();
    for _ in 0..5 {
        let (status, headers, text) = asked(&world, KEY).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        warnings.push(warning(&headers).to_owned());
    }

    assert_eq!(warnings[..3], ["", "", ""]);
    let whose = "requests_per_minute of key `key_testkey`";
    assert_eq!(warnings[3], format!("{whose}: 4 of 5 used or reserved, 80 percent"));
    assert_eq!(warnings[4], format!("{whose}: 5 of 5 used or reserved, 100 percent"));
    assert!(world.counted("permille_limit_near_total", "requests_per_minute") >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_per_minute_that_are_nearly_used_warn_in_a_header() {
    let worst = u64::try_from(short().to_string().len()).unwrap() + 10;
    let wide = limited(Level::Project, Measure::TokensPerMinute, worst * 2).await;
    let max = worst + worst / 10;
    let narrow = limited(Level::Project, Measure::TokensPerMinute, max).await;

    let (_, unwarned, _) = asked(&wide, KEY).await;
    let (_, warned, _) = asked(&narrow, KEY).await;

    assert_eq!(warning(&unwarned), "");
    let (percent, whose) = (worst * 100 / max, "tokens_per_minute of project `default`");
    let expected = format!("{whose}: {worst} of {max} used or reserved, {percent} percent");
    assert_eq!(warning(&warned), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_requests_that_are_nearly_as_many_as_may_be_warn_in_a_header() {
    let world = limited(Level::Customer, Measure::OpenRequests, 5).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let response = post(&world, KEY, &chat("tokens=20000,chunk_ms=20", true)).await;
        assert_eq!(warning(response.headers()), "");
        open.push(response);
    }

    let (_, headers, _) = asked(&world, SIBLING_KEY).await;
    let expected = "open_requests of customer `acme`: 4 of 5 used or reserved, 80 percent";
    assert_eq!(warning(&headers), expected);
    assert!(world.counted("permille_limit_near_total", "open_requests") >= 1.0);
    drop(open);
}
