//! The official SDKs, unmodified but for base URL and key: what they saw is what is billed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::HashMap;

use serde_json::Value;
use support::{
    Folder,
    sdk::{assert_recognised, drive, rows},
};

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[tokio::test]
async fn the_openai_sdk_sees_what_is_billed() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");

    let cases = drive("openai_sdk.py", &server, "/v1", &key).await;

    let names: Vec<&str> = cases.iter().map(|case| case["case"].as_str().unwrap()).collect();
    for name in ["chat", "stream that does not ask", "tool result", "turn 3", "embeddings"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let rows = rows(&folder, &cases).await;
    for case in &cases {
        let row = &rows[case["request_id"].as_str().unwrap()];
        assert_eq!(row["ended"], "complete", "{case} {row}");
        assert_eq!(row["source"], "reported", "{case} {row}");
        if case["case"].as_str().unwrap().starts_with("stream that d") {
            // It did not ask for usage, so it must neither see it nor an empty frame.
            assert_eq!(
                (&case["usage"], &case["frames_without_choices"]),
                (&Value::Null, &0.into())
            );
            continue;
        }
        let usage = &case["usage"];
        assert_eq!(row["input_total"], usage["prompt_tokens"], "{case} {row}");
        assert_eq!(count(&row["output_total"]), count(&usage["completion_tokens"]), "{case} {row}");
        let cached = &usage["prompt_tokens_details"]["cached_tokens"];
        assert_eq!(count(&row["tokens"]["cache_read"]), count(cached), "{case} {row}");
        if !case["session"].is_null() {
            assert_eq!((&row["session"], &row["turn"]), (&case["session"], &case["turn"]));
        }
    }
    // Also what the SDK did not see equals the provider's own books, to the token.
    assert_books_agree(&simulator.books(), &rows);
    let session = folder.json(&["session", "show", "openai-talk", "--customer", "acme"]);
    assert_eq!(session["turns"].as_array().map(Vec::len), Some(3), "{session}");
}

#[tokio::test]
async fn the_anthropic_sdk_sees_what_is_billed() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");

    let cases = drive("anthropic_sdk.py", &server, "/anthropic", &key).await;

    let rows = rows(&folder, &cases).await;
    let mut cached = 0;
    for case in &cases {
        let (row, usage) = (&rows[case["request_id"].as_str().unwrap()], &case["usage"]);
        assert_eq!(row["ended"], "complete", "{case} {row}");
        assert_eq!(row["source"], "reported", "{case} {row}");
        let (read, written) = (
            count(&usage["cache_read_input_tokens"]),
            count(&usage["cache_creation_input_tokens"]),
        );
        assert_eq!(count(&row["tokens"]["input_uncached"]), count(&usage["input_tokens"]));
        assert_eq!(count(&row["tokens"]["cache_read"]), read, "{case} {row}");
        assert_eq!(count(&row["tokens"]["cache_write_1h"]), written, "{case} {row}");
        assert_eq!(count(&row["output_total"]), count(&usage["output_tokens"]), "{case} {row}");
        cached += read;
    }
    assert!(cached > 0, "no turn read the cache: {cases:?}");
    assert_books_agree(&simulator.books(), &rows);
}

/// Fifteen conversations at once, chats, streams and agents, of which three are the loop of
/// Anthropic's SDK itself; none of which names itself.
#[tokio::test]
async fn conversations_of_the_sdks_are_recognised_turn_by_turn() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");

    let cases = drive("conversations.py", &server, "", &key).await;

    let rows = rows(&folder, &cases).await;
    assert_eq!((cases.len(), assert_recognised(&cases, &rows)), (84, 15));
}

/// The loops of agent frameworks as their authors wrote them: 22 conversations at once.
#[tokio::test]
async fn conversations_of_agent_frameworks_are_recognised_turn_by_turn() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");

    let cases = drive("frameworks.py", &server, "", &key).await;

    let rows = rows(&folder, &cases).await;
    assert_eq!((cases.len(), assert_recognised(&cases, &rows)), (126, 22));
}

/// Every request in the provider's books is on exactly one row, with the provider's own counts.
fn assert_books_agree(books: &[Value], rows: &HashMap<String, Value>) {
    let mut compared = 0;
    for book in books.iter().filter(|book| book["status"] == 200) {
        let of_book = |row: &&Value| row["attempts"][0]["provider_id"] == book["id"];
        let found: Vec<&Value> = rows.values().filter(of_book).collect();
        if count(&book["completion_tokens"]) == 0 && found.is_empty() {
            continue; // Lists and token counts have no id and bill nothing.
        }
        let [row] = found.as_slice() else { panic!("{} rows for {book}", found.len()) };
        assert_eq!(row["input_total"], book["prompt_tokens"], "{row} {book}");
        assert_eq!(count(&row["output_total"]), count(&book["completion_tokens"]), "{row} {book}");
        compared += 1;
    }
    assert!(compared > 5, "only {compared} requests compared");
}
