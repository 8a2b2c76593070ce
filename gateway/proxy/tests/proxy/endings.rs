//! Every way a reply can end leaves exactly one row, with the provider's own counts (M1, M7, M8).

use http_body_util::BodyExt as _;
use permille_proxy::config::ClientGone;
use permille_simulator::BookEntry;
use permille_types::{Ended, Flag, Source, TokenClass, UsageEvent};
use serde_json::Value;

use crate::support::{self, World, chat, message, read_all, read_events};

/// The row's totals are the provider's own.
fn assert_agrees(row: &UsageEvent, book: &BookEntry) {
    assert_eq!(row.source, Source::Reported, "{row:#?}");
    assert_eq!(row.input_total, Some(book.prompt_tokens), "{row:#?}\n{book:#?}");
    assert_eq!(row.output_total, Some(book.completion_tokens), "{row:#?}\n{book:#?}");
    let read = row.tokens.get(&TokenClass::CACHE_READ).copied().unwrap_or(0);
    assert_eq!(read, book.cached_tokens);
    let sum: u64 = row.tokens.values().sum();
    assert_eq!(sum, book.prompt_tokens + book.completion_tokens, "classes are disjoint");
    assert_eq!(row.attempts.len(), 1);
}

async fn ask(world: &World, path: &str, body: &Value) -> (http::StatusCode, UsageEvent) {
    let response = world.post(path, body).await;
    let (head, body) = response.into_parts();
    read_all(body).await;
    (head.status, world.row_of(&head.headers).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_reply_is_billed_as_the_provider_counted_it() {
    let world = World::start().await;

    let asked = [
        ("/v1/chat/completions", chat("tokens=12", false)),
        ("/v1/chat/completions", chat("tokens=12", true)),
        ("/anthropic/v1/messages", message("tokens=12", false)),
        ("/anthropic/v1/messages", message("tokens=12", true)),
    ];
    for (done, (path, body)) in asked.into_iter().enumerate() {
        let (status, row) = ask(&world, path, &body).await;
        assert_eq!(status, 200);
        assert_eq!(row.ended, Ended::Complete);
        let books = world.books(done + 1).await;
        let book = books.iter().find(|book| Some(&book.id) == row.attempts[0].provider_id.as_ref());
        assert_agrees(&row, book.unwrap());
    }
}

/// Aborts a stream after each number of events, and hands row and book to `check`.
async fn abort_everywhere(
    policy: ClientGone,
    path: &str,
    body: &Value,
    check: impl Fn(usize, &[u8], &UsageEvent, &BookEntry),
) {
    const TOKENS: usize = 10;
    let world = World::with(|setup| setup.config.metering.client_gone = policy).await;
    for events in 0..TOKENS {
        let response = world.post(path, body).await;
        let (head, mut body) = response.into_parts();
        let delivered = read_events(&mut body, events).await;
        drop(body);

        let row = world.row_of(&head.headers).await;
        let books = world.books(events + 1).await;
        check(events, &delivered, &row, books.last().unwrap());
    }
    world.rows(TOKENS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_at_any_event_is_drained_and_billed_in_full() {
    // Paced, so that the provider is still at work when the client leaves.
    for (path, body) in [
        ("/v1/chat/completions", chat("tokens=20,chunk_ms=10", true)),
        ("/anthropic/v1/messages", message("tokens=20,chunk_ms=10", true)),
    ] {
        abort_everywhere(ClientGone::Drain, path, &body, |events, _, row, book| {
            assert_eq!(row.ended, Ended::ClientGone, "after {events} events");
            assert_eq!(row.flags, [Flag::Simulated, Flag::Drained]);
            assert_agrees(row, book);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_abort_bills_at_least_what_was_delivered() {
    for (path, body) in [
        ("/v1/chat/completions", chat("tokens=400,chunk_ms=5", true)),
        ("/anthropic/v1/messages", message("tokens=200,chunk_ms=5", true)),
    ] {
        abort_everywhere(ClientGone::Cancel, path, &body, |events, delivered, row, book| {
            assert_eq!(row.ended, Ended::ClientGone);
            assert!(row.flags.contains(&Flag::Cancelled), "{:?}", row.flags);
            assert_ne!(row.source, Source::Reported);
            assert!(row.input_total.unwrap() > 0, "the prompt was sent and is billed");
            let pieces = String::from_utf8_lossy(delivered)
                .matches(if path.starts_with("/v1") { "\"content\":\"" } else { "\"text\":\"" })
                .count() as u64;
            let output = row.output_total.unwrap();
            // The first event of each family carries an empty text.
            assert!(output + 1 >= pieces, "after {events} events: {output} of {pieces}");
            assert!(output <= book.completion_tokens + 2, "{output} {book:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_reply_is_drained_too() {
    let world = World::start().await;
    let url = world.url("/v1/chat/completions");
    let request = http::Request::post(url)
        .header("authorization", format!("Bearer {}", support::KEY))
        .body(http_body_util::Full::new(
            chat("tokens=9,slow_head_ms=300", false).to_string().into(),
        ))
        .unwrap();

    let client = support::client(false);
    let asking = tokio::spawn(async move { client.request(request).await.map(drop) });
    support::eventually("the request is open", || {
        (world.journal.stats().open_requests == 1).then_some(())
    })
    .await;
    asking.abort();

    let rows = world.rows(1).await;
    let books = world.books(1).await;
    assert_eq!(rows[0].ended, Ended::ClientGone);
    assert_agrees(&rows[0], &books[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_cut_upstream_breaks_off_here_too_and_is_billed_so_far() {
    let world = World::start().await;

    let response = world.post("/v1/chat/completions", &chat("tokens=50,cut_after=20", true)).await;
    let (head, mut body) = response.into_parts();
    let (mut sent, mut broke_off) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => sent.extend(frame.into_data().unwrap_or_default()),
            Err(_) => broke_off = true,
        }
    }

    assert!(broke_off, "a truncated stream ended as if it were whole");
    let row = world.row_of(&head.headers).await;
    assert_eq!(row.ended, Ended::UpstreamError);
    assert_eq!(row.source, Source::Estimated);
    let books = world.books(1).await;
    let (output, generated) = (row.output_total.unwrap(), books[0].completion_tokens);
    // What the reset overtook on its way is not read by anybody. The first event has no text.
    let pieces = sent.windows(2).filter(|pair| pair == b"\n\n").count().saturating_sub(1);
    let told = format!("{output} for {generated} generated, {pieces} delivered");
    assert!(output <= generated + 2 && output + 2 >= pieces as u64, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_inside_a_stream_is_an_upstream_error() {
    let world = World::start().await;

    for (path, body) in [
        ("/v1/chat/completions", chat("tokens=50,error_after=5", true)),
        ("/anthropic/v1/messages", message("tokens=50,error_after=5", true)),
    ] {
        let (status, row) = ask(&world, path, &body).await;
        assert_eq!(status, 200);
        assert_eq!(row.ended, Ended::UpstreamError);
        assert!(row.output_total.unwrap() < 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_error_passes_through_and_costs_nothing() {
    let world = World::start().await;

    for status in ["429", "500", "400", "529"] {
        let body = chat(&format!("status={status}"), true);
        let through = world.post("/v1/chat/completions", &body).await;
        let headers = through.headers().clone();
        assert_eq!(through.status().as_str(), status);
        let text = read_all(through.into_body()).await.unwrap();
        let error: Value = serde_json::from_slice(&text).unwrap();
        assert!(error["error"]["message"].is_string(), "{error}");

        let row = world.row_of(&headers).await;
        assert_eq!(row.ended, Ended::UpstreamError);
        assert_eq!(row.source, Source::Missing);
        assert!(row.tokens.is_empty(), "an error body was counted: {row:#?}");
        assert_eq!(row.status, Some(status.parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_with_status_200_is_not_counted_as_output() {
    let world = World::start().await;

    let (status, row) = ask(&world, "/v1/chat/completions", &chat("error200=1", true)).await;

    assert_eq!(status, 200);
    assert_eq!(row.ended, Ended::UpstreamError);
    assert_eq!(row.source, Source::Missing);
    assert!(row.tokens.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_without_usage_is_estimated_near_the_truth() {
    let world = World::start().await;

    let (_, row) = ask(&world, "/v1/chat/completions", &chat("tokens=120,usage=none", true)).await;
    let books = world.books(1).await;

    assert_eq!(row.source, Source::Estimated);
    assert_eq!(row.ended, Ended::Complete);
    let close = |estimate: u64, truth: u64| estimate.abs_diff(truth) * 10 <= truth;
    assert!(close(row.output_total.unwrap(), books[0].completion_tokens), "{row:?} {books:?}");
    assert!(close(row.input_total.unwrap(), books[0].prompt_tokens), "{row:?} {books:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_upstream_ends_at_the_bound() {
    let world = World::with(|setup| setup.config.gateway.deadline_seconds = 4).await;

    let response = world.post("/v1/chat/completions", &chat("tokens=50,stall_after=5", true)).await;
    let (head, body) = response.into_parts();

    assert!(read_all(body).await.is_none());
    let row = world.row_of(&head.headers).await;
    assert_eq!(row.ended, Ended::Deadline);
    assert!(row.output_total.unwrap() >= 4, "{row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_the_grace_allows_and_settles_the_rest() {
    let mut world = World::with(|setup| setup.config.gateway.grace_seconds = 5).await;
    let quick = world.post("/v1/chat/completions", &chat("tokens=20,chunk_ms=20", true)).await;
    let stuck = world.post("/v1/chat/completions", &chat("tokens=20,stall_after=5", true)).await;
    let (quick_head, quick_body) = quick.into_parts();
    let (stuck_head, stuck_body) = stuck.into_parts();

    let reading = tokio::spawn(read_all(quick_body));
    let hanging = tokio::spawn(read_all(stuck_body));
    world.stop().await;

    assert!(reading.await.unwrap().unwrap().ends_with(b"data: [DONE]\n\n"));
    assert!(hanging.await.unwrap().is_none());
    assert_eq!(world.row_of(&quick_head.headers).await.ended, Ended::Complete);
    assert_eq!(world.row_of(&stuck_head.headers).await.ended, Ended::Shutdown);
}
