//! Limits on the path of a request: what is refused and how, and that every ending gives back.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use permille_proxy::config::BudgetEnd;
use permille_test_redis::Redis;
use permille_types::{Ended, Flag, Level, Limit, Measure};
use serde_json::Value;

use crate::support::{
    Asked, KEY, LIMITED_KEY, Setup, World, ask, chat, cost_nano, eventually, message, read_all,
    read_events,
};

const CHAT: &str = "/v1/chat/completions";

fn limit(level: Level, measure: Measure, max: u64) -> Limit {
    Limit { level, measure, max, warn_percent: 80 }
}

async fn limited(limits: Vec<Limit>) -> World {
    World::with(|setup: &mut Setup| setup.limits = limits).await
}

/// A refusal as the client gets it.
struct Refused {
    status: StatusCode,
    retry_after: Option<u64>,
    should_retry: String,
    error: Value,
}

async fn refused(world: &World, path: &str, key: &str, body: &Value) -> Refused {
    let request = Request::post(world.url(path)).header("x-api-key", key);
    let response = world.send(request, body.to_string()).await;
    let (head, body) = response.into_parts();
    let text = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let body: Value = serde_json::from_slice(&read_all(body).await.unwrap()).unwrap();
    Refused {
        status: head.status,
        retry_after: text("retry-after").map(|seconds| seconds.parse().unwrap()),
        should_retry: text("x-should-retry").unwrap_or_default(),
        error: body["error"].clone(),
    }
}

/// A chat whose answer may have so many tokens.
fn short_chat(control: &str, stream: bool) -> Value {
    let mut body = chat(control, stream);
    body["max_tokens"] = 10.into();
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_refuses_in_the_callers_format_and_sends_nothing() {
    let world = limited(vec![limit(Level::Key, Measure::Spend, 40_000)]).await;
    let body = short_chat("tokens=10", false);

    let mut spent = 0;
    let mut served = 0;
    while spent < 40_000 {
        let Some(Asked { status, row, .. }) = asked(&world, &body).await else { break };
        assert_eq!(status, 200);
        spent += cost_nano(&row);
        served += 1;
    }

    assert!(served >= 1 && spent <= 40_000, "{served} requests for {spent}");
    let openai = refused(&world, CHAT, KEY, &body).await;
    assert_eq!(openai.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(openai.error["code"], "permille_budget_exceeded");
    assert_eq!(openai.error["type"], "insufficient_quota");
    assert_eq!((openai.should_retry.as_str(), openai.retry_after), ("false", None));
    let told = openai.error["message"].as_str().unwrap();
    for part in ["key `key_testkey`", "0.00004 USD in all", "is spent", "does not reset"] {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
    let mut anthropic = message("tokens=10", false);
    anthropic["max_tokens"] = 10.into();
    let anthropic = refused(&world, "/anthropic/v1/messages", KEY, &anthropic).await;
    assert_eq!(anthropic.error["type"], "billing_error");
    world.rows(served).await;
    assert_eq!(world.books(served).await.len(), served);
    assert!(world.counted("permille_limit_refused_total", "spend") >= 2.0);
}

/// What a served request came to; nothing of a refused one.
async fn asked(world: &World, body: &Value) -> Option<Asked> {
    let response = world.post(CHAT, body).await;
    if response.status() == 402 {
        return None;
    }
    let (head, reply) = response.into_parts();
    let body = String::from_utf8(read_all(reply).await.unwrap().into()).unwrap();
    let row = world.row_of(&head.headers).await;
    Some(Asked { status: head.status.as_u16(), headers: head.headers, body, row })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ending_gives_back_what_it_held() {
    let world = limited(vec![
        limit(Level::Key, Measure::OpenRequests, 1),
        limit(Level::Customer, Measure::SpendPerMonth, 1_000_000_000),
    ])
    .await;

    for (control, stream) in [
        ("tokens=5", false),
        ("tokens=5", true),
        ("status=500", false),
        ("status=429", true),
        ("cut_after=2", true),
        ("drop", false),
    ] {
        let response = world.post(CHAT, &short_chat(control, stream)).await;
        assert_ne!(response.status(), 402, "{control}");
        drop(read_all(response.into_body()).await);
        free_again(&world, control).await;
    }
    let response = world.post(CHAT, &chat("tokens=2000,chunk_ms=20", true)).await;
    let mut body = response.into_body();
    read_events(&mut body, 2).await;
    let second = refused(&world, CHAT, KEY, &short_chat("tokens=1", false)).await;
    assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(second.retry_after, Some(1));
    assert!(second.error["message"].as_str().unwrap().contains("1 requests open at once"));
    drop(body);
    free_again(&world, "a client that left").await;
}

/// Waits until a request of the key is let in.
async fn free_again(world: &World, after: &str) {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    loop {
        let response = world.post(CHAT, &short_chat("tokens=1", false)).await;
        let status = response.status();
        let body = read_all(response.into_body()).await.unwrap_or_default();
        if status == 200 {
            return;
        }
        assert_eq!(status, 429, "{after}: {}", String::from_utf8_lossy(&body));
        assert!(std::time::Instant::now() < deadline, "{after}: nothing was given back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_per_minute_count_streams_too_and_carry_what_went_beyond() {
    let world = limited(vec![limit(Level::Key, Measure::TokensPerMinute, 600)]).await;

    // It says nothing of a limit, so that more is used than a minute has.
    let body = chat("tokens=900", true);
    let response = world.post(CHAT, &body).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    read_all(response.into_body()).await.unwrap();
    let used = world.row_of(&headers).await.output_total.unwrap();
    assert!(used >= 900, "{used}");

    let refused = refused(&world, CHAT, KEY, &short_chat("tokens=1", false)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.error["code"], "permille_rate_limited");
    assert!((20..=120).contains(&refused.retry_after.unwrap()), "{:?}", refused.retry_after);
    assert_eq!(refused.should_retry, "true");
    let told = refused.error["message"].as_str().unwrap();
    assert!(told.contains("600 tokens per minute"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_nearly_used_warns_in_a_header() {
    let world = limited(vec![limit(Level::Project, Measure::SpendPerDay, 60_000)]).await;

    let first = ask(&world, &short_chat("tokens=10", false)).await;
    assert!(first.headers.get("permille-limit-warning").is_none(), "{:?}", first.headers);
    let mut warned = None;
    while warned.is_none() {
        let Some(next) = asked(&world, &short_chat("tokens=10", false)).await else { break };
        warned = next.headers.get("permille-limit-warning").cloned();
    }

    let warned = warned.expect("refused without a warning before");
    let warned = warned.to_str().unwrap();
    for part in ["spend_per_day of project `default`", "of 0.00006 USD", "percent, resets 20"] {
        assert!(warned.contains(part), "no `{part}` in: {warned}");
    }
    assert!(world.counted("permille_limit_near_total", "spend_per_day") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_has_its_own_budget_and_a_refused_request_no_turn() {
    let world = limited(vec![limit(Level::Session, Measure::Spend, 40_000)]).await;
    let post = async |session: &str| {
        let request = Request::post(world.url(CHAT))
            .header("authorization", format!("Bearer {KEY}"))
            .header("permille-session", session);
        let response = world.send(request, short_chat("tokens=10", false).to_string()).await;
        let (head, body) = response.into_parts();
        drop(read_all(body).await);
        head
    };

    let mut turns = Vec::new();
    let mut refusals = 0;
    while refusals < 3 {
        let head = post("spender").await;
        match head.status.as_u16() {
            200 => turns.push(head.headers["permille-turn"].to_str().unwrap().to_owned()),
            402 => refusals += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(post("other").await.status, 200, "another session");

    let expected: Vec<String> = (1..=turns.len()).map(|turn| turn.to_string()).collect();
    assert_eq!(turns, expected);
    let rows = world.rows(turns.len() + 1).await;
    let last =
        rows.iter().filter(|row| row.session.as_str() == "spender").map(|row| row.turn).max();
    assert_eq!(last, Some(u32::try_from(turns.len()).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_per_minute_of_a_key_are_refused_as_before() {
    let world = World::start().await;
    let body = short_chat("tokens=1", false);
    let request = Request::post(world.url(CHAT)).header("x-api-key", LIMITED_KEY);
    assert_eq!(world.send(request, body.to_string()).await.status(), 200);

    let refused = refused(&world, CHAT, LIMITED_KEY, &body).await;

    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let told = refused.error["message"].as_str().unwrap();
    assert!(told.contains("key `key_limitedkey` may make 1 requests per minute"), "{told}");
    assert!((1..=60).contains(&refused.retry_after.unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reply_reserves_more_while_it_runs_and_its_overage_blocks_the_next() {
    // 2,000 tokens cost 1,200,000; the first 1,024 are reserved.
    let world = limited(vec![limit(Level::Key, Measure::Spend, 1_000_000)]).await;

    let response = world.post(CHAT, &chat("tokens=2000", true)).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    read_all(response.into_body()).await.unwrap();
    let row = world.row_of(&headers).await;
    assert_eq!(row.ended, Ended::Complete);
    let cost = cost_nano(&row);
    assert!(cost > 1_000_000, "{cost}");

    let refused = refused(&world, CHAT, KEY, &short_chat("tokens=1", false)).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    eventually("the overage is counted", || {
        (world.counted_plain("permille_limit_overages_total") >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replies_of_a_key_were_long_decides_what_is_reserved_without_a_bound() {
    // Less than the 1,024 tokens that are reserved while nothing is known.
    let world = limited(vec![limit(Level::Key, Measure::Spend, 1_024 * 600)]).await;
    let unbounded = chat("tokens=10", false);
    let first = refused(&world, CHAT, KEY, &unbounded).await;
    assert_eq!(first.status, StatusCode::PAYMENT_REQUIRED);

    for _ in 0..20 {
        assert!(asked(&world, &short_chat("tokens=10", false)).await.is_some());
    }

    assert!(asked(&world, &unbounded).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_stop_ends_a_stream_with_an_error_and_bills_it_to_that_point() {
    // Room for the 1,024 tokens that are reserved first, and for no more.
    let max = 1_024 * 600 + 60_000;
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![limit(Level::Key, Measure::Spend, max)];
        setup.config.metering.budget_end = BudgetEnd::HardStop;
    })
    .await;

    let response = world.post(CHAT, &chat("tokens=20000,chunk_ms=1", true)).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    // The body ends well: the error in it says that the reply is not whole.
    let body = read_all(response.into_body()).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    let events: Vec<&str> = text.trim_end().split("\n\n").collect();
    let (last, before) = events.split_last().unwrap();
    let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "permille_budget_exceeded", "{error}");
    let told = error["error"]["message"].as_str().unwrap();
    assert!(told.contains("key `key_testkey`") && told.contains("billed to this point"), "{told}");
    assert!(!text.contains("[DONE]"));
    for event in before {
        let chunk = event.strip_prefix("data: ").unwrap();
        assert!(serde_json::from_str::<Value>(chunk).is_ok(), "half an event: {chunk}");
    }

    let row = world.row_of(&headers).await;
    assert_eq!(row.ended, Ended::Budget);
    assert_eq!(row.attempts[0].ended, Ended::Budget);
    let (output, cost) = (row.output_total.unwrap(), cost_nano(&row));
    assert!((256..2_500).contains(&output), "{output} tokens of 20,000");
    assert!(output + 16 >= u64::try_from(before.len()).unwrap() / 2, "{output} of what was sent");
    assert!(cost > 0 && u64::try_from(cost).unwrap() <= max + max / 2, "{cost} of {max}");
    // The provider was not read to the end.
    assert!(before.len() < 20_000, "{} events", before.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_stop_ends_what_is_read_on_after_its_client_has_left() {
    let max = 1_024 * 600 + 60_000;
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![limit(Level::Key, Measure::Spend, max)];
        setup.config.metering.budget_end = BudgetEnd::HardStop;
    })
    .await;

    let response = world.post(CHAT, &chat("tokens=8000,chunk_ms=1", true)).await;
    let headers = response.headers().clone();
    let mut body = response.into_body();
    read_events(&mut body, 2).await;
    drop(body);
    let row = world.row_of(&headers).await;

    assert_eq!((row.ended, row.attempts[0].ended), (Ended::Budget, Ended::Budget));
    assert!(row.flags.contains(&Flag::Drained), "{:?}", row.flags);
    let (output, cost) = (row.output_total.unwrap(), cost_nano(&row));
    assert!((256..2_500).contains(&output), "{output} tokens of 8,000");
    assert!(cost > 0 && u64::try_from(cost).unwrap() <= max + max / 2, "{cost} of {max}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_reserves_the_answers_of_all_its_prompts() {
    const COMPLETIONS: &str = "/v1/completions";
    let world = limited(vec![limit(Level::Key, Measure::Spend, 1_000_000)]).await;
    let body = |prompts: usize| {
        let prompts = vec!["Which river?"; prompts];
        serde_json::json!({"model": "gpt-4o-mini", "max_tokens": 1_000, "prompt": prompts})
    };

    let ten = refused(&world, COMPLETIONS, KEY, &body(10)).await;
    let one = world.post(COMPLETIONS, &body(1)).await;

    assert_eq!(ten.status, StatusCode::PAYMENT_REQUIRED, "{}", ten.error);
    assert_eq!(one.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_stop_holds_after_a_late_answer_of_redis() {
    let redis = Redis::start().await;
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![limit(Level::Key, Measure::Spend, 1_024 * 600 + 60_000)];
        setup.config.metering.budget_end = BudgetEnd::HardStop;
        setup.config.limits.redis_url = Some(redis.url().into());
    })
    .await;

    let response = world.post(CHAT, &chat("tokens=20000,chunk_ms=1", true)).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let mut body = response.into_body();
    redis.freeze();
    eventually("redis is away", || {
        let families = world.registry.gather();
        let away = families.iter().find(|family| family.name() == "permille_limits_away")?;
        (away.get_metric()[0].get_gauge().get_value() == 1.0).then_some(())
    })
    .await;
    // It outgrows what is reserved: nobody says whether there is more.
    let mut read = 0;
    while read < 400_000 {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    redis.thaw();
    read_all(body).await.unwrap();
    let row = world.row_of(&headers).await;

    assert_eq!(row.ended, Ended::Budget, "{} tokens", row.output_total.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hard_stop_lets_finish_what_its_client_has_bounded() {
    let world = World::with(|setup: &mut Setup| {
        setup.limits = vec![limit(Level::Key, Measure::Spend, 1_000_000)];
        setup.config.metering.budget_end = BudgetEnd::HardStop;
    })
    .await;
    let mut body = chat("tokens=1000", true);
    body["max_tokens"] = 1_200.into();

    let response = world.post(CHAT, &body).await;
    let headers = response.headers().clone();
    let text = read_all(response.into_body()).await.unwrap();

    assert!(text.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(world.row_of(&headers).await.ended, Ended::Complete);
}
