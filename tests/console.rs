//! The console in a real browser: signing in, the list, a session, Chinese, signing out; and that
//! its numbers are those of the API.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use support::{Folder, Server, eventually, sdk::python};
use tokio::io::AsyncWriteExt as _;

/// A session that a client has named so.
const MARKUP: &str = "<b>bold</b><img src=x>&amp;\"'";

struct Client<'s> {
    server: &'s Server,
    key: String,
}

impl Client<'_> {
    /// Asks with these messages, and gives them with the reply.
    async fn ask(&self, session: &str, messages: &[Value]) -> Vec<Value> {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("permille-session", session)];
        let body = json!({"model": "gpt-4o-mini", "messages": messages});
        let path = "/v1/chat/completions";
        let reply = self.server.web.post(self.server.gateway(), path, &headers, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json()["choices"][0]["message"].clone();
        let answer = json!({"role": "assistant", "content": answer["content"]});
        [messages, &[answer]].concat()
    }
}

fn asked(before: &[Value], text: &str) -> Vec<Value> {
    [before, &[json!({"role": "user", "content": text})]].concat()
}

/// A conversation that goes on, is asked again and branches.
async fn converse(client: &Client<'_>, session: &str) {
    let first = client.ask(session, &asked(&[], "What does a token cost?")).await;
    let second = asked(&first, "And a thousand of them?");
    client.ask(session, &second).await;
    client.ask(session, &second).await;
    client.ask(session, &asked(&first, "Rather tell me of a million.")).await;
}

async fn api(server: &Server, token: &str, path: &str) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let reply = server.web.get_with(server.console(), path, &headers).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

#[tokio::test]
async fn a_real_browser_shows_the_numbers_of_the_api_and_each_its_own() {
    let folder = Folder::new();
    let server = folder.serve().await;
    let acme = Client { server: &server, key: folder.key("acme", "USD") };
    let globex = Client { server: &server, key: folder.key("globex", "USD") };
    globex.ask("theirs", &asked(&[], "Hello.")).await;
    converse(&acme, "chat/1").await;
    acme.ask(MARKUP, &asked(&[], "Hello.")).await;
    eventually("all is settled", async || (folder.usage(&[]).len() == 6).then_some(())).await;
    let token = |args: &[&str]| {
        let made = folder.json(&[&["token", "create", "--role"], args].concat());
        made["secret"].as_str().unwrap().to_owned()
    };
    let (admin, own) = (token(&["admin"]), token(&["customer", "--customer", "acme"]));
    let path = "/sessions/chat%2F1?customer=acme";
    let world = json!({
        "base": format!("http://{}", server.console()),
        "path": path,
        "path_encoded": "%2Fsessions%2Fchat%252F1%3Fcustomer%3Dacme",
        "customer": "acme",
        "other": "globex",
        "markup": MARKUP,
        "sessions": api(&server, &admin, "/api/v1/sessions").await["items"],
        "detail": api(&server, &admin, &format!("/api/v1{path}")).await,
        "rows": api(&server, &admin, "/api/v1/usage?customer=acme&session=chat%2F1").await["items"],
        "admin": admin,
        "own": own,
    });

    let mut walk = tokio::process::Command::new(python())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/walk.py"))
        // Where to draw the pages, for who wants to look at them.
        .args(std::env::var("PERMILLE_CONSOLE_PICTURES"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = walk.stdin.take().unwrap();
    input.write_all(world.to_string().as_bytes()).await.unwrap();
    drop(input);
    let walked = walk.wait_with_output().await.unwrap();

    let complaint = String::from_utf8_lossy(&walked.stderr);
    assert!(walked.status.success(), "{complaint}");
    let steps: Vec<String> = serde_json::from_slice(&walked.stdout).unwrap();
    assert_eq!(steps.len(), 12, "{steps:?}");
    let logged = server.errors();
    assert!(!logged.contains("pmt_") && !logged.contains(MARKUP), "{logged}");
}
