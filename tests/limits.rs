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

use permille_types::{Clock, SystemClock};
use serde_json::{Value, json};
use support::{Folder, eventually, prepaid};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepaid_credit_is_spent_and_not_beyond_and_more_of_it_is_served_within_seconds() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let key = prepaid::customer(&folder, "acme");
    let refused = eventually("nothing is left from the first", async || {
        let reply = server.chat(&key, prepaid::dear()).await;
        (reply.status == 402).then_some(reply)
    })
    .await;
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(prepaid::left(&refused).to_string(), "0");

    prepaid::grant(&folder, "acme", "1", &[]);
    eventually("credit is served", async || {
        (server.chat(&key, prepaid::cheap()).await.status == 200).then_some(())
    })
    .await;
    let (replies, refused) = prepaid::spend(&server, &key).await;
    let warned = replies.iter().filter_map(|reply| reply.header("permille-limit-warning"));
    let warned: Vec<&str> = warned.collect();

    let told = refused.json();
    assert_eq!(told["error"]["code"], "permille_budget_exceeded", "{told}");
    let left = prepaid::left(&refused);
    assert!((1..=5).contains(&warned.len()) && replies.len() > 10, "{warned:?}");
    assert!(warned[0].starts_with("prepaid_credit of customer `acme`: 0."), "{warned:?}");
    let rows = eventually("every reply is booked", async || {
        let rows = folder.usage(&["--customer", "acme"]);
        (rows.iter().filter(|row| row["model_requested"] == "gpt-4").count() == replies.len())
            .then_some(rows)
    })
    .await;
    let nano = spent(&rows);
    assert!(nano <= 1_000_000_000 && nano + prepaid::dear_worst() > 1_000_000_000, "{nano}");
    assert_eq!(to_nano(left), 1_000_000_000 - nano);

    // What an invoice draws was spent before: only the cent that it rounds to is another.
    let label = rows[0]["at"].as_str().unwrap()[..7].to_owned();
    let month = ["--customer", "acme", "--period", &label, "--interim"];
    let draft = folder.json(&[&["invoice", "draft"], &month[..]].concat());
    let id = draft["id"].as_str().unwrap();
    folder.text(&["invoice", "approve", id]);
    let issued = folder.json(&["invoice", "finalize", id]);
    assert_eq!(issued["total"], "0.00", "{issued}");
    let (none, refused) = prepaid::spend(&server, &key).await;
    assert_eq!(none.len(), 0);
    let after = prepaid::left(&refused);
    assert!((after - left).abs() <= rust_decimal::Decimal::new(1, 2), "{left}, then {after}");

    prepaid::grant(&folder, "acme", "0.20", &[]);
    server.kill().await;
    let server = folder.serve().await;
    eventually("more of it is served", async || {
        (server.chat(&key, prepaid::cheap()).await.status == 200).then_some(())
    })
    .await;
    let (more, refused) = prepaid::spend(&server, &key).await;
    assert!((2..=4).contains(&more.len()), "{} replies, {}", more.len(), refused.text());
}

fn to_nano(dollars: rust_decimal::Decimal) -> u64 {
    u64::try_from(dollars * rust_decimal::Decimal::from(1_000_000_000)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_that_ends_is_served_no_more_and_credit_that_begins_is() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let server = folder.serve().await;
    let key = prepaid::customer(&folder, "acme");
    let now = SystemClock.now();
    let at = |seconds| (now + chrono::TimeDelta::seconds(seconds)).to_rfc3339();
    // The second begins a while after the first has ended: nobody does anything then.
    prepaid::grant(&folder, "acme", "1", &["--expires", &at(20)]);
    prepaid::grant(&folder, "acme", "1", &["--from", &at(35)]);

    let mut seen = Vec::new();
    for status in [200, 402, 200] {
        eventually("credit begins or ends", async || {
            let reply = server.chat(&key, prepaid::cheap()).await;
            (reply.status == status).then_some(())
        })
        .await;
        seen.push((SystemClock.now() - now).num_seconds());
    }

    assert!(seen[0] < 20 && (20..35).contains(&seen[1]) && seen[2] >= 35, "{seen:?}");
}
