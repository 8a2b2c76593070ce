//! The description of the API: valid, complete with examples, and true. Schemathesis asks a real
//! server everything that the document says and much that it forbids, and finds nothing.

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
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{Folder, eventually, sdk::python};

/// Cases of one operation and phase: enough to find what was found when the document was new, few
/// enough for a minute of a core.
const EXAMPLES: &str = "4";

fn scripts() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api")
}

#[test]
fn the_description_is_valid_and_its_examples_fit() {
    let folder = Folder::new();
    let document = folder.text(&["openapi"]);

    let mut check = Command::new(python())
        .arg(scripts().join("describe.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();

    assert!(checked.status.success(), "the problems are on standard error");
    let counted: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(counted["operations"].as_u64().unwrap() > 60, "{counted}");
    assert!(counted["examples"].as_u64().unwrap() > 15, "{counted}");
    assert!(!folder.data().exists(), "a description needs no data folder");
}

#[tokio::test]
async fn a_server_serves_the_description_that_the_command_prints() {
    let folder = Folder::new();
    let printed: Value = serde_json::from_str(&folder.text(&["openapi"])).unwrap();
    let server = folder.serve().await;
    let token = folder.json(&["token", "create", "--role", "operator"]);
    let bearer = format!("Bearer {}", token["secret"].as_str().unwrap());

    let path = "/api/v1/openapi.json";
    let shown = server.web.get_with(server.console(), path, &[("authorization", &bearer)]).await;
    let refused = server.web.get(server.console(), path).await;

    assert_eq!((shown.status, refused.status), (200, 401));
    assert_eq!(serde_json::from_slice::<Value>(&shown.body).unwrap(), printed);
}

#[test]
fn a_command_that_is_run_again_under_its_key_makes_its_change_once() {
    let folder = Folder::new();
    let add = ["customer", "add", "Acme", "--id", "acme", "--currency", "CNY"];
    let grant = ["grant", "add", "--customer", "acme", "--amount", "5", "--reason", "a test"];
    let under =
        |args: &[&str], key: &str| folder.json(&[args, &["--idempotency-key", key]].concat());

    let customers = [under(&add, "add-acme"), under(&add, "add-acme")];
    let grants = [under(&grant, "g-1"), under(&grant, "g-1"), under(&grant, "g-2")];

    assert_eq!(customers[0], customers[1]);
    assert_eq!(grants[0], grants[1]);
    assert_ne!(grants[0]["id"], grants[2]["id"]);
    assert_eq!(folder.lines(&["grant", "list"]).len(), 2);
    let other = ["customer", "add", "Globex", "--currency", "CNY", "--idempotency-key", "add-acme"];
    let refused = folder.run(&other).refused(1);
    assert!(refused.contains("idempotency key `add-acme` was used to create"), "{refused}");
    folder.run(&["customer", "list", "--idempotency-key", "a b"]).refused(2);
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let folder = Folder::new();
    let server = folder.serve().await;
    let key = server.first_key().await;
    let message = json!([{"role": "user", "content": "Hello."}]);
    server.chat(&key, json!({"model": "gpt-4o-mini", "messages": message})).await;
    eventually("there is usage to ask for", async || (!folder.usage(&[]).is_empty()).then_some(()))
        .await;
    folder.text(&["invoice", "draft", "--customer", "default", "--period", "2026-01"]);
    let token = folder.json(&["token", "create", "--role", "admin"]);
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, folder.text(&["openapi"])).unwrap();

    let explored = tokio::process::Command::new(python())
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(scripts().join("schemathesis.toml"))
        .arg("run")
        .arg(&document)
        .args(["--url", &format!("http://{}", server.console())])
        .args(["--header", &format!("Authorization: Bearer {}", token["secret"].as_str().unwrap())])
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--seed", "7", "--workers", "1"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--no-color"])
        .args(["--generation-database", "none"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&explored.stdout);
    assert!(explored.status.success(), "{said}\n{}", String::from_utf8_lossy(&explored.stderr));
    assert!(!server.errors().contains("the store failed"), "{}", server.errors());
}
