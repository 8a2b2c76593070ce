//! When a failed call is followed by another one, and that every call is on the row.

use std::time::{Duration, Instant};

use permille_proxy::config::{ClientGone, GatewayConfig, RetryOn, UpstreamConfig};
use permille_types::{Ended, Family, Source, TokenClass, UsageEvent};

use crate::support::{
    self, World, ask, calls_of, chat, eventually, read_all,
    scripted::{Scripted, Step, answer, nobody, reply, slow_reply, stream},
    upstream, world_of,
};

const CHAT: &str = "/v1/chat/completions";

/// Both upstreams, the first one always called first.
fn in_order(first: &Scripted, second: &Scripted) -> Vec<UpstreamConfig> {
    let mut upstreams = vec![first.upstream("first"), second.upstream("second")];
    upstreams[1].section.priority = 1;
    upstreams
}

/// Failures that never open a circuit, so that a test sees retries alone.
fn no_breaker(config: &mut GatewayConfig) {
    config.routing.breaker_failures = 0;
}

fn on(text: &str) -> RetryOn {
    RetryOn::try_from(text.to_owned()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_a_failed_call_stays_on_the_row_and_the_customer_pays_once() {
    let usage = r#"{"error":{"message":"busy"},"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
    let first = Scripted::start([answer(503, "x-request-id: req_1\r\n", usage)]).await;
    let second = Scripted::start([reply("r2")]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    let asked = ask(&world, &chat("", false)).await;

    assert_eq!(asked.status, 200);
    let row = asked.row;
    assert_eq!(
        calls_of(&row),
        [("first", Some(503), Ended::UpstreamError), ("second", Some(200), Ended::Complete)]
    );
    assert_eq!(row.attempts[0].provider_request_id.as_deref(), Some("req_1"));
    assert_eq!(row.attempts[0].tokens[&TokenClass::INPUT_UNCACHED], 7, "the provider's account");
    assert_eq!(row.attempts[0].tokens[&TokenClass::OUTPUT_TEXT], 2);
    assert_eq!(row.attempts[1].provider_id.as_deref(), Some("r2"));
    assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)), "the customer's");
    assert_eq!(row.upstream.unwrap().as_str(), "second");
    world.rows(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_cannot_be_reached_is_passed_over() {
    let second = Scripted::start([reply("r")]).await;
    let away = upstream("away", Family::OpenAi, format!("http://{}/v1", nobody().await));
    let mut upstreams = vec![away, second.upstream("second")];
    upstreams[1].section.priority = 1;
    let world = world_of(upstreams, |_| {}).await;

    let asked = ask(&world, &chat("", false)).await;

    assert_eq!(asked.status, 200);
    assert_eq!(
        calls_of(&asked.row),
        [("away", None, Ended::UpstreamError), ("second", Some(200), Ended::Complete)]
    );
    assert!(asked.row.attempts[0].tokens.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_generated_is_not_asked_for_again_unless_the_policy_says_so() {
    for (step, name, status, ended) in [
        (answer(500, "", "{}"), "500", 500, Ended::UpstreamError),
        (answer(504, "", "{}"), "504", 504, Ended::UpstreamError),
        (answer(408, "", "{}"), "408", 408, Ended::UpstreamError),
        (answer(409, "", "{}"), "409", 409, Ended::UpstreamError),
        (Step::Close, "reset", 502, Ended::UpstreamError),
        (Step::Hang, "timeout", 504, Ended::Deadline),
    ] {
        for retried in [false, true] {
            let first = Scripted::start([step.clone()]).await;
            let second = Scripted::start([reply("r")]).await;
            let mut upstreams = in_order(&first, &second);
            upstreams[0].section.idle_seconds_max = 1;
            let world = world_of(upstreams, |config| {
                if retried {
                    config.routing.retry_on.push(on(name));
                }
            })
            .await;

            let asked = ask(&world, &chat("", false)).await;

            assert_eq!(asked.status, if retried { 200 } else { status }, "{name}");
            assert_eq!((first.calls(), second.calls()), (1, usize::from(retried)), "{name}");
            assert_eq!(asked.row.attempts[0].ended, ended, "{name}");
            assert_eq!(asked.row.attempts.len(), 1 + second.calls());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_for_again_once_a_byte_has_gone_out() {
    let line = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile is"}}]}"#;
    let first = Scripted::start([stream(&[line], false)]).await;
    let second = Scripted::start([reply("r")]).await;
    let world = world_of(in_order(&first, &second), |config| {
        config.routing.retry_on.extend(["reset", "timeout", "500"].map(on));
    })
    .await;

    let asked = ask(&world, &chat("", true)).await;

    assert_eq!((asked.status, second.calls()), (200, 0));
    assert_eq!(calls_of(&asked.row), [("first", Some(200), Ended::UpstreamError)]);
    assert_eq!(asked.row.source, Source::Estimated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_answer_goes_to_the_client_as_it_is() {
    let first = Scripted::start([answer(503, "", "{}")]).await;
    let second =
        Scripted::start([answer(429, "retry-after: 90\r\n", "{\"error\":\"quota\"}")]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    let asked = ask(&world, &chat("", false)).await;

    assert_eq!((asked.status, asked.body.as_str()), (429, "{\"error\":\"quota\"}"));
    assert_eq!(asked.headers["retry-after"], "90");
    assert_eq!(asked.row.status, Some(429));
    assert_eq!(asked.row.attempts.len(), 2);
    assert!(asked.row.tokens.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_says_no_to_another_try_is_heeded() {
    let first = Scripted::start([answer(429, "x-should-retry: false\r\n", "{}")]).await;
    let second = Scripted::start([reply("r")]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    let asked = ask(&world, &chat("", false)).await;

    assert_eq!((asked.status, second.calls()), (429, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_retry_after_is_waited_for_and_a_long_one_is_not() {
    let again = |config: &mut GatewayConfig| {
        config.routing.upstream_calls_max = 2;
        config.routing.retry_wait_ms_max = 4_500;
    };
    for (header, status, calls) in [
        ("retry-after: 4\r\n", 200, 2),
        ("retry-after-ms: 30\r\n", 200, 2),
        ("retry-after: 5\r\n", 429, 1),
        ("", 200, 2),
    ] {
        let only = Scripted::start([answer(429, header, "{}"), reply("r")]).await;
        let world = world_of(vec![only.upstream("only")], again).await;
        let before = Instant::now();

        let asked = ask(&world, &chat("", false)).await;

        assert_eq!((asked.status, only.calls()), (status, calls), "{header}");
        assert_eq!(only.head(calls - 1), only.head(0), "another call has the same headers");
        let waited = before.elapsed() >= Duration::from_secs(4);
        assert_eq!(waited, header.contains(": 4\r"), "{header}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_asked_for_a_rest_gets_it_from_the_next_requests_too() {
    let first = Scripted::start([answer(429, "retry-after: 30\r\n", "{}")]).await;
    let second = Scripted::start([reply("r")]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    for calls in [2, 1, 1] {
        assert_eq!(ask(&world, &chat("", false)).await.row.attempts.len(), calls);
    }
    assert_eq!((first.calls(), second.calls()), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_makes_no_more_calls_than_the_policy_says() {
    let scripts: Vec<Scripted> = {
        let mut scripts = Vec::new();
        for _ in 0..4 {
            scripts.push(Scripted::start([answer(503, "retry-after-ms: 1\r\n", "{}")]).await);
        }
        scripts
    };
    let upstreams = || scripts.iter().zip(["a", "b", "c", "d"]).map(|(s, name)| s.upstream(name));
    let total = || scripts.iter().map(Scripted::calls).sum::<usize>();
    for (calls_max, upstream_calls_max, made) in [(1, 5, 1), (3, 1, 3), (9, 1, 4), (7, 2, 7)] {
        let before = total();
        let world = world_of(upstreams().collect(), |config| {
            no_breaker(config);
            config.routing.calls_max = calls_max;
            config.routing.upstream_calls_max = upstream_calls_max;
        })
        .await;

        let asked = ask(&world, &chat("", false)).await;

        assert_eq!((asked.status, asked.row.attempts.len()), (503, made));
        assert_eq!(total() - before, made, "a call that the row does not show");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_stay_within_their_budget_whatever_fails() {
    const REQUESTS: usize = 30;
    for percent in [20, 60] {
        let first = Scripted::start([answer(503, "retry-after-ms: 0\r\n", "{}")]).await;
        let second = Scripted::start([reply("r")]).await;
        let world = world_of(in_order(&first, &second), |config| {
            no_breaker(config);
            config.routing.retries_per_second = 0;
            config.routing.retries_percent_max = percent;
        })
        .await;
        let mut failed = 0;
        for _ in 0..REQUESTS {
            let asked = ask(&world, &chat("", false)).await;
            failed += usize::from(asked.status == 503);
            assert_eq!(asked.row.attempts.len(), if asked.status == 503 { 1 } else { 2 });
        }

        assert_eq!((first.calls(), second.calls()), (REQUESTS, REQUESTS - failed));
        let most = REQUESTS * usize::from(percent) / 100;
        assert!((1..=most).contains(&second.calls()), "{} of {most} retries", second.calls());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_keeps_failing_is_left_alone_and_tried_by_one() {
    let steps = [answer(500, "", "{}"), answer(500, "", "{}"), reply("r")];
    let only = Scripted::start(steps).await;
    let world = world_of(vec![only.upstream("only")], |config| {
        config.routing.breaker_failures = 2;
        config.routing.breaker_seconds = 5;
    })
    .await;

    for _ in 0..2 {
        assert_eq!(ask(&world, &chat("", false)).await.status, 500);
    }
    let refused = ask(&world, &chat("", false)).await;
    assert_eq!((refused.status, only.calls()), (503, 2));
    assert!(refused.body.contains("permille_upstreams_unwell"), "{}", refused.body);
    let rest: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&rest), "{rest}");
    assert!(refused.row.attempts.is_empty(), "nobody was called");
    assert!(refused.row.tokens.is_empty());

    let deadline = Instant::now() + Duration::from_mins(1);
    while ask(&world, &chat("", false)).await.status != 200 {
        assert!(Instant::now() < deadline, "the upstream is never tried again");
    }
    assert_eq!(only.calls(), 3, "one request tried it");
    assert_eq!(ask(&world, &chat("", false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_a_working_upstream_open_no_circuit() {
    let only =
        Scripted::start([answer(400, "", "{}"), answer(429, "", "{}"), answer(401, "", "{}")]);
    let only = only.await;
    let world = world_of(vec![only.upstream("only")], |config| {
        config.routing.breaker_failures = 1;
    })
    .await;

    for calls in 1..=6 {
        ask(&world, &chat("", false)).await;
        assert_eq!(only.calls(), calls);
    }
}

/// Sends a request and gives the task that waits for its head.
fn asking(world: &World, stream: bool) -> tokio::task::JoinHandle<()> {
    let request = http::Request::post(world.url(CHAT))
        .header("authorization", format!("Bearer {}", support::KEY))
        .body(http_body_util::Full::new(chat("", stream).to_string().into()))
        .unwrap();
    let client = support::client(false);
    tokio::spawn(async move { drop(client.request(request).await) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_during_the_wait_causes_no_further_call() {
    let only = Scripted::start([answer(429, "retry-after: 20\r\n", "{}"), reply("r")]).await;
    let world = world_of(vec![only.upstream("only")], |config| {
        config.routing.upstream_calls_max = 2;
        config.routing.retry_wait_ms_max = 60_000;
    })
    .await;

    let asking = asking(&world, false);
    eventually("the upstream was called", || (only.calls() == 1).then_some(())).await;
    asking.abort();

    let rows = world.rows(1).await;
    assert_eq!(rows[0].ended, Ended::ClientGone);
    assert_eq!(calls_of(&rows[0]), [("only", Some(429), Ended::UpstreamError)]);
    assert!(rows[0].tokens.is_empty(), "nothing was generated: {:?}", rows[0].tokens);
    assert_eq!(only.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_after_a_call_that_found_nobody_pays_nothing() {
    let away = upstream("away", Family::OpenAi, format!("http://{}/v1", nobody().await));
    let busy = Scripted::start([answer(429, "retry-after: 20\r\n", "{}"), reply("r")]).await;
    let mut upstreams = vec![away, busy.upstream("busy")];
    upstreams[1].section.priority = 1;
    let world = world_of(upstreams, |config| {
        config.metering.client_gone = ClientGone::Cancel;
        config.routing.retry_wait_ms_max = 60_000;
        config.routing.breaker_failures = 2;
    })
    .await;
    assert_eq!(ask(&world, &chat("", false)).await.status, 429);

    let asking = asking(&world, false);
    let opened = || world.counted("permille_upstream_circuits_opened_total", "away");
    eventually("the second request waits for the busy one", || (opened() > 0.0).then_some(()))
        .await;
    asking.abort();

    let rows = world.rows(2).await;
    assert_eq!((rows[1].ended, busy.calls()), (Ended::ClientGone, 1));
    assert_eq!(calls_of(&rows[1]), [("away", None, Ended::UpstreamError)]);
    assert!(rows[1].tokens.is_empty(), "nobody was sent the prompt: {:?}", rows[1].tokens);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_an_error_is_read_causes_no_further_call() {
    let head = b"HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\n".to_vec();
    let first = Scripted::start([Step::Stall(head)]).await;
    let second = Scripted::start([reply("never")]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    let asking = asking(&world, false);
    let retried = || world.counted("permille_retries_total", "first");
    eventually("the error's body is read", || (retried() > 0.0).then_some(())).await;
    asking.abort();

    let rows = world.rows(1).await;
    assert_eq!((rows[0].ended, second.calls()), (Ended::ClientGone, 0));
    assert_eq!(calls_of(&rows[0]), [("first", Some(503), Ended::UpstreamError)]);
    assert!(rows[0].tokens.is_empty(), "nothing was generated: {:?}", rows[0].tokens);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_during_the_second_call_pays_what_it_reports() {
    for policy in [ClientGone::Drain, ClientGone::Cancel] {
        let first = Scripted::start([answer(503, "", "{}")]).await;
        let second = Scripted::start([slow_reply("r", Duration::from_secs(2))]).await;
        let third = Scripted::start([reply("never")]).await;
        let mut upstreams = in_order(&first, &second);
        upstreams.push(third.upstream("third"));
        upstreams[2].section.priority = 2;
        let world = world_of(upstreams, |config| config.metering.client_gone = policy).await;

        let asking = asking(&world, false);
        eventually("the second was called", || (second.calls() == 1).then_some(())).await;
        asking.abort();

        let rows = world.rows(1).await;
        let row = &rows[0];
        assert_eq!(row.ended, Ended::ClientGone);
        assert_eq!(row.attempts.len(), 2);
        if policy == ClientGone::Drain {
            assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)));
            assert_eq!(row.source, Source::Reported);
        } else {
            assert_eq!(row.attempts[1].ended, Ended::ClientGone);
            assert!(row.input_total.unwrap() > 0, "the prompt was sent");
            assert_eq!(row.output_total, Some(0), "nothing was delivered");
        }
        assert_eq!(third.calls(), 0);
    }
}

/// The one row of a request to `only`, once it is called and a shutdown without grace has ended it.
async fn row_after_a_shutdown(
    only: &Scripted,
    change: impl FnOnce(&mut GatewayConfig),
) -> UsageEvent {
    let mut world = world_of(vec![only.upstream("only")], |config| {
        config.gateway.grace_seconds = 0;
        change(config);
    })
    .await;
    let asking = asking(&world, false);
    eventually("the upstream was called", || (only.calls() == 1).then_some(())).await;
    world.stop().await;
    asking.await.unwrap();

    let mut rows = world.rows(1).await;
    assert_eq!((rows.len(), rows[0].ended, only.calls()), (1, Ended::Shutdown, 1));
    rows.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_during_the_wait_leaves_one_row() {
    let only = Scripted::start([answer(429, "retry-after: 20\r\n", "{}"), reply("r")]).await;
    let row = row_after_a_shutdown(&only, |config| {
        config.routing.upstream_calls_max = 2;
        config.routing.retry_wait_ms_max = 60_000;
    })
    .await;

    assert_eq!(calls_of(&row), [("only", Some(429), Ended::UpstreamError)]);
    assert!(row.tokens.is_empty(), "nothing was generated: {:?}", row.tokens);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_shutdown_leaves_unanswered_costs_nothing() {
    let only = Scripted::start([Step::Hang]).await;
    let row = row_after_a_shutdown(&only, |_| {}).await;

    assert_eq!(row.source, Source::Missing);
    assert!(row.tokens.is_empty(), "nobody answered: {:?}", row.tokens);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_holds_for_all_calls_together() {
    let only = Scripted::start([answer(429, "retry-after: 20\r\n", "{}"), reply("r")]).await;
    let world = world_of(vec![only.upstream("only")], |config| {
        config.gateway.deadline_seconds = 1;
        config.routing.upstream_calls_max = 2;
        config.routing.retry_wait_ms_max = 60_000;
    })
    .await;

    let asked = ask(&world, &chat("", false)).await;

    assert_eq!(asked.status, 504);
    assert!(asked.body.contains("permille_deadline"), "{}", asked.body);
    assert_eq!((asked.row.ended, only.calls()), (Ended::Deadline, 1));
    world.rows(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_stream_reaches_the_client_whole() {
    let line = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Nile"}}]}"#;
    let usage = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
    let first = Scripted::start([answer(529, "", "{}")]).await;
    let second = Scripted::start([stream(&[line, usage, "[DONE]"], true)]).await;
    let world = world_of(in_order(&first, &second), |_| {}).await;

    let response = world.post(CHAT, &chat("", true)).await;
    let (head, body) = response.into_parts();
    let body = read_all(body).await.unwrap();

    assert_eq!(body, format!("data: {line}\n\ndata: [DONE]\n\n"));
    let row = world.row_of(&head.headers).await;
    assert_eq!((row.ended, row.attempts.len()), (Ended::Complete, 2));
    assert_eq!((row.input_total, row.output_total), (Some(9), Some(4)));
}
