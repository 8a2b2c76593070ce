//! Bugs that users of other gateways have hit, by their row in `docs/metering.md`. Rows whose test
//! says more than the bug stand in the file of their subject.

use http::Request;
use permille_proxy::config::ClientGone;
use permille_types::{Ended, Source, TokenClass};

use crate::support::{
    KEY, World, ask, chat, read_events,
    scripted::{Scripted, answer, chat_reply, stream},
    world_of,
};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_an_explicit_zero_is_reported_and_stays() {
    let zero = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let text = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"The Nile is long."}}]}"#;
    let upstream = Scripted::start([stream(&[text, zero, "[DONE]"], true)]).await;
    let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

    let row = ask(&world, &chat("", true)).await.row;

    assert_eq!((row.source, row.ended), (Source::Reported, Ended::Complete));
    assert_eq!((row.input_total, row.output_total), (Some(0), Some(0)));
    assert_eq!(row.tokens[&TokenClass::OUTPUT_TEXT], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a14_a19_leaving_after_the_last_content_and_before_the_usage_is_never_free() {
    const ROUNDS: usize = 25;
    for policy in [ClientGone::Drain, ClientGone::Cancel] {
        let world = World::with(|setup| setup.config.metering.client_gone = policy).await;
        for _ in 0..ROUNDS {
            // Silent after the last content: the usage is never seen before the client leaves.
            let ask = chat("tokens=6,chunk_ms=1", true);
            let (head, mut body) = world.post(CHAT, &ask).await.into_parts();
            let read = read_events(&mut body, 7).await;
            assert!(!String::from_utf8_lossy(&read).contains("[DONE]"));
            drop(body);

            let row = world.row_of(&head.headers).await;
            assert!(row.input_total.unwrap() > 0, "{row:?}");
            assert!(row.output_total.unwrap() >= 5, "{row:?}");
        }
        world.rows(ROUNDS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_request_fields_that_nobody_knows_change_nothing_in_the_metering() {
    let world = World::start().await;
    let mut odd = chat("tokens=12", true);
    odd["stream_options"] = serde_json::json!({"chunk_size": 3, "include_obfuscation": null});
    odd["x_vendor"] = serde_json::json!({"model": 7, "stream": "no", "usage": [null]});
    odd["n"] = 1.into();

    let plain = ask(&world, &chat("tokens=12", true)).await.row;
    let odd = ask(&world, &odd).await.row;

    assert_eq!((odd.source, odd.streamed), (Source::Reported, true));
    assert_eq!((odd.input_total, odd.output_total), (plain.input_total, Some(12)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_g2_replies_of_one_id_or_none_are_rows_of_their_own() {
    let replies = [
        answer(200, "", &chat_reply("chatcmpl-1", "")),
        answer(200, "", &chat_reply("chatcmpl-1", "")),
        answer(200, "", &chat_reply("", "").replacen("\"\"", "null", 1)),
        answer(200, "", &chat_reply("", "").replacen("\"\"", "null", 1)),
    ];
    let upstream = Scripted::start(replies).await;
    let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

    let mut seen = Vec::new();
    for _ in 0..4 {
        let row = ask(&world, &chat("", false)).await.row;
        assert_eq!(row.output_total, Some(4));
        seen.push((row.request_id, row.attempts[0].provider_id.clone()));
    }

    let ids: Vec<_> = seen.iter().map(|(_, id)| id.as_deref()).collect();
    assert_eq!(ids, [Some("chatcmpl-1"), Some("chatcmpl-1"), None, None]);
    seen.sort();
    seen.dedup_by_key(|(request, _)| *request);
    assert_eq!(seen.len(), 4);
    world.rows(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_a_client_that_repeats_its_request_id_loses_no_row() {
    let world = World::start().await;

    for _ in 0..3 {
        let request = Request::post(world.url(CHAT))
            .header("authorization", format!("Bearer {KEY}"))
            .header("x-request-id", "mine-1")
            .header("permille-request-id", "mine-1");
        let response = world.send(request, chat("tokens=2", false).to_string()).await;
        assert_ne!(response.headers()["permille-request-id"], "mine-1");
    }

    world.rows(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_reply_that_ends_twice_is_settled_once() {
    let text =
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Nile"},"finish_reason":"stop"}]}"#;
    let usage = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
    let upstream = Scripted::start([stream(&[text, usage, "[DONE]", usage, "[DONE]"], true)]).await;
    let world = world_of(vec![upstream.upstream("main")], |_| {}).await;

    let row = ask(&world, &chat("", true)).await.row;

    assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(4)));
    assert_eq!(world.rows(1).await.len(), 1);
    assert_eq!(world.journal.stats().open_requests, 0);
}
