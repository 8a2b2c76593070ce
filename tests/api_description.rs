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
use support::{Folder, Server, eventually, sdk::python};

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
async fn a_command_under_a_key_is_the_same_in_this_process_and_at_a_server() {
    let folder = Folder::new();
    folder.text(&["customer", "add", "Acme", "--id", "acme", "--currency", "USD"]);
    let [one, other] = ["1", "2"].map(|fee| {
        let path = folder.path().join(format!("plan-{fee}.toml"));
        std::fs::write(&path, PLAN.replace("30", fee)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let commands = [
        (vec!["plan", "add"], &*one, &*other),
        (vec!["customer", "set", "acme", "--notes"], "a", "b"),
        (vec!["customer", "limit", "acme", "--rpm"], "5", "6"),
    ];
    let answers = || {
        commands.each_ref().map(|(command, first, other)| {
            let key = format!("{}-{}", command[0], command[1]);
            let under = |value: &str| {
                let key = [value, "--json", "--idempotency-key", &key];
                folder.run(&[command.as_slice(), &key].concat())
            };
            let answer = under(first).succeeded().stdout;
            let refused = under(other).refused(1);
            assert!(refused.contains(&format!("idempotency key `{key}` was used to")), "{refused}");
            answer
        })
    };

    let (first, again) = (answers(), answers());
    let _server = folder.serve().await;
    let served = answers();

    assert_eq!((&again, &served), (&first, &first));
    assert_eq!(folder.lines(&["plan", "list"]).len(), 1);
}

/// A number of the environment, for a longer campaign.
fn number(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

/// Runs schemathesis as a role; it must find nothing. `paths` are settings for it.
async fn explore(folder: &Folder, server: &Server, role: &str, (paths, more): (&str, &[&str])) {
    let of = if role == "customer" { &["--customer", "default"][..] } else { &[] };
    let token = folder.json(&[&["token", "create", "--role", role], of].concat());
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, folder.text(&["openapi"])).unwrap();
    let settings = std::fs::read_to_string(scripts().join("schemathesis.toml")).unwrap();
    // What a role may not do is refused, whatever is asked for.
    let settings = match role {
        "admin" => settings,
        _ => settings.replace("\"2xx\", ", "\"2xx\", \"403\", "),
    };
    let file = folder.path().join("schemathesis.toml");
    std::fs::write(&file, settings + paths).unwrap();
    let authorization = format!("Authorization: Bearer {}", token["secret"].as_str().unwrap());
    let explored = tokio::process::Command::new(python())
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(&file)
        .arg("run")
        .arg(&document)
        .args(["--url", &format!("http://{}", server.console()), "--header", &authorization])
        .args(["--checks", "all", "--workers", "1", "--no-color", "--generation-database", "none"])
        .args(["--seed", &number("PERMILLE_API_SEED", "7")])
        .args(more)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&explored.stdout);
    let complaint = String::from_utf8_lossy(&explored.stderr);
    assert!(explored.status.success(), "{role}: {said}\n{complaint}");
    assert!(!server.errors().contains("the store failed"), "{}", server.errors());
}

/// A server with usage.
async fn used(folder: &Folder) -> Server {
    let server = folder.serve().await;
    let key = server.first_key().await;
    let message = json!([{"role": "user", "content": "Hello."}]);
    server.chat(&key, json!({"model": "gpt-4o-mini", "messages": message})).await;
    eventually("there is usage to ask for", async || (!folder.usage(&[]).is_empty()).then_some(()))
        .await;
    server
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let folder = Folder::new();
    let server = used(&folder).await;
    folder.text(&["invoice", "draft", "--customer", "default", "--period", "2026-01"]);

    let examples = number("PERMILLE_API_EXAMPLES", EXAMPLES);
    let phases = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", &examples];
    explore(&folder, &server, "admin", ("", &phases)).await;
}

const PLAN: &str = "[[plan]]\nname = \"team\"\nkind = \"subscription\"\ncurrency = \"USD\"\n\
                    fee = \"30\"\n[plan.allowance]\ntokens = 10\n";

/// Issues what there can be of each noun, and gives settings by which it is asked for.
fn books(folder: &Folder) -> String {
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, PLAN).unwrap();
    folder.text(&["plan", "add", plan.to_str().unwrap()]);
    let from = "2026-09-01T00:00:00Z";
    folder.text(&["customer", "set", "default", "--plan", "team", "--plan-from", from]);
    folder.text(&["grant", "add", "--customer", "default", "--amount", "5", "--reason", "a test"]);
    for period in ["2026-09", "2026-10"] {
        let args = ["invoice", "draft", "--customer", "default", "--period", period];
        let id = folder.json(&args)["id"].as_str().unwrap().to_owned();
        folder.text(&["invoice", "approve", &id]);
        folder.text(&["invoice", "finalize", &id]);
    }
    let (number, reason) = ("INV-2026-000002", ["--reason", "too dear"]);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let credit = ["invoice", "credit", number, "--amount", "5 USD"];
    let note = text(&folder.json(&[&credit[..], &reason].concat()), "id");
    let open = ["dispute", "open", number, "--line", "1"];
    let dispute = text(&folder.json(&[&open[..], &reason].concat()), "id");
    let webhook = text(&folder.json(&["webhook", "add", "https://example.com/hook"]), "id");
    let bill = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("billing/reconcile/tests/bills/openai-usage.csv");
    let reconcile = ["reconcile", "--provider", "openai", "--upstream", "simulated-openai"];
    folder.text(&[&reconcile[..], &[bill.to_str().unwrap()]].concat());
    let first = |args: &[&str], key: &str| text(&folder.lines(args)[0], key);
    let reconciliation = first(&["reconcile", "list"], "id");
    let key = first(&["key", "list"], "id");
    let price = text(&folder.lines(&["price", "list"])[0]["price"], "version");
    let session = first(&["usage", "list"], "session");
    [
        ("invoices", "id", number),
        ("credit-notes", "id", &note),
        ("disputes", "id", &dispute),
        ("webhooks", "id", &webhook),
        ("reconciliations", "id", &reconciliation),
        ("keys", "id", &key),
        ("customers", "id", "default"),
        ("close", "period", "2026-09"),
        ("plans", "name", "team"),
        ("prices", "version", &price),
        ("sessions", "id", &session),
    ]
    .map(|(noun, name, value)| {
        format!(
            "\n[[operations]]\ninclude-path-regex = \"^/api/v1/{noun}/\"\n\
             parameters = {{ \"path.{name}\" = \"{value}\" }}\n"
        )
    })
    .concat()
}

/// Of things that are there: an issued invoice with a note and a dispute, a plan, a webhook, a
/// reconciliation, a month that can be signed.
#[tokio::test]
async fn schemathesis_finds_nothing_in_books_with_everything_in_them_as_any_role() {
    let folder = Folder::new();
    let server = used(&folder).await;
    let paths = books(&folder);

    let examples = number("PERMILLE_API_EXAMPLES", "2");
    // Tokens stay: each role has one.
    let more = ["--exclude-path-regex", "/tokens/", "--phases", "fuzzing,stateful"];
    let more = [&more[..], &["--max-examples", &examples]].concat();
    for role in ["customer", "operator", "finance", "admin"] {
        explore(&folder, &server, role, (&paths, &more)).await;
    }
}
