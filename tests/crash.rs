//! kill -9 under load, again and again: every reply that a client received in full is on exactly
//! one row, nothing is doubled, and the totals are the provider's own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use support::{Folder, Web, eventually};
use tokio::sync::watch;

/// Kills in this test. The long campaign is a program of its own.
const ROUNDS: usize = 12;
/// Clients at once.
const CLIENTS: usize = 16;

/// What the clients received in full: our request id.
#[derive(Default)]
struct Received {
    ids: Mutex<Vec<String>>,
    count: AtomicUsize,
}

/// Asks again and again until `gateway` says that it is over.
async fn client(
    number: usize,
    key: String,
    mut gateway: watch::Receiver<Option<SocketAddr>>,
    received: Arc<Received>,
) {
    let web = Web::new();
    let bearer = format!("Bearer {key}");
    for request in 0.. {
        let Some(address) = *gateway.borrow_and_update() else { return };
        let session = format!("client-{number}");
        let headers = [("authorization", bearer.as_str()), ("permille-session", &session)];
        let pace = if request % 4 == 0 { ",chunk_ms=3" } else { "" };
        let (path, model) = if number.is_multiple_of(2) {
            ("/v1/chat/completions", "gpt-4o-mini")
        } else {
            ("/anthropic/v1/messages", "claude-sonnet-4-5")
        };
        let body = json!({
            "model": model, "max_tokens": 64, "stream": request % 3 != 0,
            "messages": [{"role": "user",
                "content": format!("simulate:tokens={}{pace} {number} {request}", 1 + request % 40)}],
        });
        let sent =
            web.send(http::Method::POST, address, path, &headers, body.to_string().into()).await;
        let whole = match sent {
            Ok(mut reply) if reply.status == 200 => {
                let id = reply.headers["permille-request-id"].to_str().unwrap().to_owned();
                let (bytes, ended) = reply.rest().await;
                let terminal = ["data: [DONE]\n\n", "\"message_stop\"}\n\n", "}"];
                let text = String::from_utf8_lossy(&bytes);
                (ended
                    && terminal
                        .iter()
                        .any(|end| text.trim_end_matches('\n').ends_with(end.trim_end())))
                .then_some(id)
            }
            Ok(_) => None,
            Err(_) => {
                // The gateway is down: wait for the next one.
                if gateway.changed().await.is_err() {
                    return;
                }
                None
            }
        };
        if let Some(id) = whole {
            received.ids.lock().unwrap().push(id);
            received.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_is_lost_or_doubled_by_kill_9() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let received = Arc::new(Received::default());
    let (publish, gateway) = watch::channel(Some(server.gateway()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            tokio::spawn(client(number, key.clone(), gateway.clone(), Arc::clone(&received)))
        })
        .collect();

    for round in 0..ROUNDS {
        // A different number of replies each time, so that the kill meets other moments.
        let enough = received.count.load(Ordering::Relaxed) + 10 + (round * 37) % 50;
        eventually("replies come", async || {
            (received.count.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        server.kill().await;
        server = folder.serve().await;
        publish.send(Some(server.gateway())).unwrap();
    }
    publish.send(None).unwrap();
    for client in clients {
        client.await.unwrap();
    }
    assert!(server.stop().await.success());

    let rows = folder.usage(&["--customer", "acme"]);
    assert_rows(&rows, &received.ids.lock().unwrap(), &simulator.books());
}

fn assert_rows(rows: &[Value], received: &[String], books: &[Value]) {
    let by_id: HashMap<&str, &Value> =
        rows.iter().map(|row| (row["request_id"].as_str().unwrap(), row)).collect();
    assert_eq!(by_id.len(), rows.len(), "a request is on two rows");
    for id in received {
        let row = by_id.get(id.as_str()).unwrap_or_else(|| panic!("no row for {id}"));
        assert_eq!(row["ended"], "complete", "{row}");
    }

    let provider: HashMap<&str, &Value> =
        books.iter().map(|book| (book["id"].as_str().unwrap(), book)).collect();
    let mut seen = HashSet::new();
    for row in rows.iter().filter(|row| row["ended"] == "complete") {
        let id = row["attempts"][0]["provider_id"].as_str().unwrap();
        assert!(seen.insert(id), "the provider's {id} is on two rows");
        let book = provider[id];
        assert_eq!(row["input_total"], book["prompt_tokens"], "{row} {book}");
        assert_eq!(row["output_total"], book["completion_tokens"], "{row} {book}");
    }
    // A call that a kill interrupted has no provider id on its row, but it has a row.
    let unknown = books.iter().filter(|book| !seen.contains(book["id"].as_str().unwrap())).count();
    let interrupted = rows.iter().filter(|row| row["ended"] != "complete").count();
    assert!(unknown <= interrupted, "{unknown} calls without a row for {interrupted} interrupted");
    assert!(received.len() > ROUNDS * 10, "only {} replies", received.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_open_at_a_kill_is_settled_as_orphaned() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let bearer = format!("Bearer {key}");
    let body = json!({"model": "gpt-4o-mini", "stream": true,
        "messages": [{"role": "user", "content": "simulate:tokens=20,stall_after=4 Go on."}]});

    let headers = [("authorization", bearer.as_str()), ("permille-session", "open")];
    let mut reply =
        server.web.stream(server.gateway(), "/v1/chat/completions", &headers, &body).await;
    reply.piece().await.unwrap();
    let id = reply.headers["permille-request-id"].to_str().unwrap().to_owned();
    server.kill().await;
    let server = folder.serve().await;

    let row = eventually("the orphan is settled", async || {
        folder.usage(&["--request", &id]).into_iter().next()
    })
    .await;
    assert_eq!(row["ended"], "orphaned", "{row}");
    assert_eq!((&row["session"], &row["turn"]), (&json!("open"), &json!(1)));
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_journal_tail_is_cut_and_said() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let key = folder.key("acme", "USD");
    for _ in 0..5 {
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]});
        assert_eq!(server.chat(&key, body).await.status, 200);
    }
    server.kill().await;

    tear_the_tail(&folder);
    let mut server = folder.serve().await;
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(server.chat(&key, body).await.status, 200);
    assert!(server.stop().await.success());

    assert_eq!(folder.usage(&["--customer", "acme"]).len(), 6);
    let log = server.errors();
    assert!(log.contains("journal had unfinished writes: cut off"), "not said: {log}");
}

/// Half a record behind the last one, as a write that the power cut would leave.
fn tear_the_tail(folder: &Folder) {
    use std::os::unix::fs::FileExt as _;
    let journal = folder.data().join("journal");
    let mut torn = 0;
    for entry in std::fs::read_dir(&journal).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending == "lock") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { continue };
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let garbage: Vec<u8> = (1..=90).collect();
        file.write_all_at(&garbage, last as u64 + 1).unwrap();
        torn += 1;
    }
    assert!(torn > 0, "no segment in {}", journal.display());
}
