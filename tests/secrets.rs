//! Keys, provider credentials and prompts appear in no log, no metric and no file (S1, S2).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;

use serde_json::json;
use support::{Folder, Server, eventually};

const PROMPT: &str = "canary-prompt-5f2a9c";

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Files below `folder` whose bytes hold `secret`.
fn holders(folder: &Path, secret: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holders(&path, secret, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, secret)) {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test]
async fn no_secret_is_logged_stored_or_exported() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut command = folder.command(&["serve"]);
    command.env("PERMILLE_LOG", "trace");
    let mut server = Server::spawn(&folder, command).await;
    let key = folder.key("acme", "USD");

    for control in ["tokens=5", "status=500", "tokens=30,cut_after=3", "error200=1"] {
        let body = json!({"model": "gpt-4o-mini", "stream": control.contains("cut"),
            "messages": [{"role": "user", "content": format!("simulate:{control} {PROMPT}")}]});
        server.chat(&key, body).await;
    }
    server.chat(&format!("{key}x"), json!({"model": PROMPT})).await;
    server.chat(&key, json!({"model": "gpt-4o-mini", "messages": PROMPT, "n": "many"})).await;
    eventually("four rows", async || (folder.usage(&[]).len() == 4).then_some(())).await;
    let metrics = server.web.get(server.metrics(), "/metrics").await.text();
    let lists = folder.text(&["key", "list", "--customer", "acme", "--json"]);
    let log = server.errors();
    assert!(server.stop().await.success());

    assert!(log.len() > 10_000, "the log was not at its most talkative: {} bytes", log.len());
    for secret in [key.as_str(), PROMPT, "sk-simulated"] {
        for (place, text) in [("log", &log), ("metrics", &metrics), ("key list", &lists)] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
        let mut found = Vec::new();
        holders(&folder.data(), secret, &mut found);
        assert!(found.is_empty(), "{secret} is in {found:?}");
    }
}
