//! What keeps an installation: backups of a busy one and the way back, migrations, the doctor, and
//! a price on the command line.

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
    collections::BTreeMap,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use support::{Finished, Folder, Web, eventually};

/// Clients at once.
const CLIENTS: usize = 8;

/// What clients received in full, by request id, and whether they are to go on.
#[derive(Default)]
struct Load {
    received: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Load {
    fn ids(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

async fn client(key: String, address: SocketAddr, load: Arc<Load>) {
    let web = Web::new();
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    for number in 0.. {
        if load.over.load(Ordering::Relaxed) {
            return;
        }
        let body = json!({
            "model": "gpt-4o-mini", "stream": number % 2 == 0,
            "messages": [{"role": "user", "content": format!("simulate:tokens={}", 1 + number % 9)}],
        });
        let reply = web.stream(address, "/v1/chat/completions", &headers, &body).await;
        let id = reply.headers["permille-request-id"].to_str().unwrap().to_owned();
        if reply.whole().await.status == 200 {
            load.received.lock().unwrap().push(id);
        }
    }
}

fn rows(folder: &Folder) -> BTreeMap<String, Value> {
    let rows = folder.usage(&[]);
    let count = rows.len();
    let by_id: BTreeMap<String, Value> =
        rows.into_iter().map(|row| (row["request_id"].as_str().unwrap().to_owned(), row)).collect();
    assert_eq!(by_id.len(), count, "no row twice");
    by_id
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_busy_server_has_every_reply_that_ended_before_it_began() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let mut server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(key.clone(), server.gateway(), Arc::clone(&load))))
        .collect();
    let busy = async |more: usize| {
        let wanted = load.ids().len() + more;
        eventually("replies", async || (load.ids().len() >= wanted).then_some(())).await;
    };
    busy(100).await;

    let before = load.ids();
    let backup = folder.path().join("backup");
    let to = backup.to_str().unwrap().to_owned();
    let mut command = folder.command(&["backup", "--to", &to, "--json"]);
    let made = tokio::task::spawn_blocking(move || Finished::of(&mut command)).await.unwrap();
    let made: Value = serde_json::from_str(&made.succeeded().stdout).unwrap();
    busy(50).await;
    server.kill().await;
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        // One whose call was cut off has failed.
        drop(client.await);
    }

    assert_eq!(made["has_store"], true);
    let leftover = std::fs::read_dir(folder.data()).unwrap();
    let names = leftover.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.starts_with(".backup")).count() == 0);
    let other = Folder::new();
    // The folder of its store is made by the restore.
    let store = "[store]\nurl = \"sqlite:books/permille.db\"\n";
    other.config(&format!("{store}{}", simulator.upstreams()));
    other.json(&["restore", "--from", &to]);
    assert_eq!((mode(&other.data()), mode(&other.data().join("pepper"))), (0o700, 0o600));
    let server = other.serve().await;
    let restored = eventually("all that ended before the backup", async || {
        let rows = rows(&other);
        before.iter().all(|id| rows.contains_key(id)).then_some(rows)
    })
    .await;
    let token = std::fs::read_to_string(other.data().join("cli.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let path = "/api/v1/usage/quarantine";
    let headers = [("authorization", bearer.as_str())];
    let quarantine = Web::new().get_with(server.console(), path, &headers).await;
    assert_eq!(quarantine.json()["items"], json!([]), "{}", quarantine.text());

    // The same rows as in the books of the first one, but for what was open.
    let mut server = folder.serve().await;
    let original = eventually("the first one has settled all", async || {
        let rows = rows(&folder);
        load.ids().iter().all(|id| rows.contains_key(id)).then_some(rows)
    })
    .await;
    server.stop().await;
    let ended = |row: &&Value| row["ended"] != "orphaned";
    for row in restored.values().filter(ended) {
        assert_eq!(original[row["request_id"].as_str().unwrap()], *row);
    }
    assert!(restored.len() < original.len(), "the load went on after the backup");

    // What is there is not written over, and what was changed is not put back.
    let refusal = other.run(&["restore", "--from", &to]).refused(1);
    assert!(refusal.contains("not empty"), "{refusal}");
    let refusal = folder.run(&["backup", "--to", &to]).refused(1);
    assert!(refusal.contains("not empty"), "{refusal}");
    let inside = folder.data().join("backups/1");
    let refusal = folder.run(&["backup", "--to", inside.to_str().unwrap()]).refused(1);
    assert!(refusal.contains("lies in the data folder"), "{refusal}");
    assert!(!inside.exists());
    // The log of a store that is gone would be played back over the one that comes.
    let left = Folder::new();
    let books = left.path().join("books.db");
    left.config(&format!("[store]\nurl = \"sqlite:{}\"\n", books.display()));
    std::fs::write(left.path().join("books.db-wal"), "of before").unwrap();
    let refusal = left.run(&["restore", "--from", &to]).refused(1);
    assert!(refusal.contains("books.db-wal"), "{refusal}");
    std::fs::write(backup.join("data/pepper"), "another").unwrap();
    let refusal = Folder::new().run(&["restore", "--from", &to]).refused(1);
    assert!(refusal.contains("data/pepper"), "{refusal}");
    let refusal = folder.run(&["restore", "--from", folder.path().to_str().unwrap()]).refused(1);
    assert!(refusal.contains("backup.json"), "{refusal}");
}

#[test]
fn a_migration_says_from_where_to_where_and_a_check_changes_nothing() {
    let folder = Folder::new();

    let check = folder.json(&["migrate", "--check"]);
    assert_eq!((&check["from"], &check["to"]), (&Value::Null, &Value::Null));
    assert!(check["pending"].as_array().unwrap().len() > 30);
    assert!(!folder.data().exists());

    let done = folder.json(&["migrate"]);
    assert_eq!((&done["from"], &done["pending"]), (&Value::Null, &json!([])));
    assert_eq!((&done["to"], &done["applied"]), (&check["known"], &check["pending"]));
    let again = folder.json(&["migrate"]);
    assert_eq!((&again["from"], &again["applied"]), (&check["known"], &json!([])));
    assert!(folder.text(&["migrate", "--check"]).contains("up to date"));
}

/// State and text of each check, by name.
fn examined(finished: &Finished) -> BTreeMap<String, (String, String)> {
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(report["ok"], finished.code == 0);
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| {
            let text = |field: &str| check[field].as_str().unwrap().to_owned();
            assert!(text("state") == "ok" || check["to_do"].is_string(), "{check}");
            (text("check"), (text("state"), text("found")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_amiss_and_says_what_to_do() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    folder.json(&["migrate"]);
    let doctor = || folder.run(&["doctor", "--json"]);

    let well = doctor();
    let checks = examined(&well);
    assert_eq!(well.code, 0, "{}", well.stdout);
    for check in ["configuration", "data folder", "store", "disk", "upstream simulated-openai"] {
        assert!(checks.contains_key(check), "{check}: {checks:?}");
    }
    assert!(checks["store"].1.contains("at migration"));

    // Nobody listens there, everybody reads here, and no Redis answers.
    let address = simulator.address();
    drop(simulator);
    let pepper = folder.data().join("pepper");
    std::fs::set_permissions(&pepper, std::fs::Permissions::from_mode(0o644)).unwrap();
    let upstream = std::fs::read_to_string(folder.config_file()).unwrap();
    folder.config_exactly(&format!("{upstream}[redis]\nurl = \"redis://:hunter2@{address}\"\n"));
    let ill = doctor();
    assert_eq!(ill.code, 1);
    let checks = examined(&ill);
    assert_eq!(checks["upstream simulated-openai"].0, "error");
    assert_eq!(checks["redis"].0, "error");
    let (state, found) = &checks["data folder"];
    assert!(state == "warning" && found.contains("pepper"), "{found}");
    assert!(!ill.stdout.contains("hunter2") && !ill.stderr.contains("hunter2"));
    let text = folder.run(&["doctor"]).stdout;
    assert!(text.contains("ERROR") && text.contains("chmod 600"), "{text}");

    folder.config("[gatway]\n");
    let checks = examined(&doctor());
    assert_eq!(checks["configuration"].0, "error");
}

#[test]
fn a_price_on_the_command_line_is_shown_before_it_is_applied() {
    let folder = Folder::new();
    let add = [
        "price",
        "add",
        "--model",
        "house",
        "--currency",
        "CNY",
        "--from",
        "2026-11-01T00:00:00Z",
        "--rate",
        "input=0.012",
        "--rate",
        "output=0.036",
        "--source",
        "a letter of 2026-10-30",
    ];
    let prices = || folder.lines(&["price", "list", "--model", "house"]);

    let text = folder.text(&add);
    assert!(text.contains("input_uncached 0.012") && text.contains("--apply"), "{text}");
    assert!(prices().is_empty());

    let applied = folder.lines(&[&add[..], &["--apply"]].concat());
    assert_eq!(applied[0]["applied"], true);
    assert_eq!(prices()[0]["price"]["source"], "a letter of 2026-10-30");
    assert_eq!(prices()[0]["price"]["rates"]["per_thousand"]["output_text"], "0.036");
    let twice = folder.run(&[&add[..], &["--rate", "model=1"]].concat()).refused(2);
    assert!(twice.contains("`model`"), "{twice}");
    assert_eq!(folder.run(&["price", "add", "--model", "house"]).code, 2);
}
