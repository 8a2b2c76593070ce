//! Budgets over real processes: a restart forgets nothing.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::{Value, json};
use support::{Folder, eventually};

fn chat(tokens: u32, stream: bool) -> Value {
    json!({
        "model": "gpt-4o-mini", "max_tokens": tokens, "stream": stream,
        "messages": [{"role": "user", "content": format!("simulate:tokens={tokens} Which river?")}],
    })
}

/// The cost of rows in 10⁻⁹ of the currency unit.
fn spent(rows: &[Value]) -> u64 {
    let nano = |row: &Value| {
        let cost: rust_decimal::Decimal = row["cost"].as_str().unwrap().parse().unwrap();
        u64::try_from((cost * rust_decimal::Decimal::from(1_000_000_000)).round()).unwrap()
    };
    rows.iter().map(nano).sum()
}

fn key_with(folder: &Folder, customer: &str, args: &[&str]) -> (String, String) {
    folder.key(customer, "USD");
    let create = ["key", "create", "--customer", customer];
    let key = folder.json(&[&create[..], args].concat());
    let text = |field: &str| key[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spent_is_not_forgotten_by_kill_9() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let (id, key) = key_with(&folder, "acme", &["--budget", "0.0002 USD/month"]);

    let mut replies = 0;
    loop {
        let reply = server.chat(&key, chat(20, replies % 2 == 0)).await;
        if reply.status == 402 {
            break;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        replies += 1;
        // Again and again, at other moments of the hand-over.
        if replies % 3 == 0 {
            server.kill().await;
            server = folder.serve().await;
        }
    }

    let rows = eventually("every reply is booked", async || {
        let rows = folder.usage(&["--customer", "acme"]);
        (rows.len() == replies).then_some(rows)
    })
    .await;
    let cost = spent(&rows);
    assert!(cost <= 200_000, "{cost} was spent of 200,000");
    // One more in its worst case: the bytes of its body and 20 tokens.
    let worst = 20 * 600 + 150 * 160;
    assert!(cost + worst > 200_000, "only {cost} was spent");
    server.kill().await;
    let server = folder.serve().await;
    let refused = server.chat(&key, chat(20, false)).await;
    assert_eq!(refused.status, 402, "{}", refused.text());
    let told = refused.text();
    assert!(told.contains("0.0002 USD a month") && told.contains("resets at"), "{told}");
    folder.json(&["key", "limit", &id, "--budget", "0.0004 USD/month"]);
    assert_eq!(server.chat(&key, chat(20, false)).await.status, 200, "a raised budget");
}
