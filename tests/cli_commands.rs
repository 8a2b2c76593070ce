//! Commands as people and scripts use them: answers, refusals, exit codes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::process::Command;

use serde_json::json;
use support::{Finished, Folder, eventually, sdk};

/// A charge of the tiers 1 to 5, 6 to 10, above. Source: Stripe, "Tiered pricing".
fn charge(kind: &str) -> String {
    format!(
        "[charge]\nkind = \"{kind}\"\ncurrency = \"USD\"\n\
         tiers = [{{ up_to = \"5\", unit = \"7\" }}, {{ up_to = \"10\", unit = \"6.5\" }}, \
         {{ unit = \"6\" }}]\n"
    )
}

/// The amounts of these quantities under a charge.
fn amounts(kind: &str, quantities: &[&str]) -> Vec<String> {
    let folder = Folder::new();
    let file = folder.path().join("charge.toml");
    std::fs::write(&file, charge(kind)).unwrap();
    let mut args = vec!["quote", "--charge", file.to_str().unwrap()];
    for quantity in quantities {
        args.extend(["--quantity", quantity]);
    }
    let quotes = folder.lines(&args);
    assert!(!folder.data().exists(), "a quote needs no data folder");
    quotes.iter().map(|quote| quote["amount"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_volume_charge_prices_all_of_it_by_the_tier_it_falls_in() {
    let amounts = amounts("volume", &["1", "5", "6", "20", "25"]);

    assert_eq!(amounts, ["7.00", "35.00", "39.00", "120.00", "150.00"]);
}

#[test]
fn a_graduated_charge_prices_each_part_by_its_own_tier() {
    let amounts = amounts("graduated", &["1", "5", "6", "20", "25"]);

    assert_eq!(amounts, ["7.00", "35.00", "41.50", "127.50", "157.50"]);
}

#[test]
fn a_quote_is_readable_line_by_line() {
    let folder = Folder::new();
    let file = folder.path().join("charge.toml");
    std::fs::write(&file, charge("graduated")).unwrap();

    let text = folder.text(&["quote", "--charge", file.to_str().unwrap(), "--quantity", "20"]);

    assert!(text.contains("quantity 20: 127.50 USD"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with(['1', '2', '3'])).count(), 3, "{text}");
}

#[test]
fn exit_codes_tell_a_refusal_from_wrong_usage() {
    let folder = Folder::new();
    let file = folder.path().join("charge.toml");
    std::fs::write(&file, charge("volume")).unwrap();
    let charge = file.to_str().unwrap();

    assert_eq!(folder.run(&["quote", "--charge", charge, "--quantity", "1"]).code, 0);
    assert_eq!(folder.run(&["quote", "--charge", "absent", "--quantity", "1"]).code, 1);
    assert_eq!(folder.run(&["quote", "--charge", charge, "--quantity", "-1"]).code, 1);
    assert_eq!(folder.run(&["quote", "--charge", charge, "--quantity", "many"]).code, 2);
    assert_eq!(folder.run(&["quote", "--charge", charge]).code, 2);
    assert_eq!(folder.run(&["qoute"]).code, 2);
}

#[test]
fn what_is_no_limit_is_refused_by_name_and_no_key_is_made() {
    let folder = Folder::new();
    folder.key("acme", "USD");
    let before = folder.lines(&["key", "list"]);

    for (limit, named) in [
        (["--budget", "50 CNY/month"], "USD, the customer's currency"),
        (["--budget", "50 USD"], "`50 CNY/month`"),
        (["--session-budget", "2 USD/day"], "`2 CNY/total`"),
        (["--tpm", "0"], "1 to 1000000000"),
        (["--warn-percent", "101"], "1 to 100"),
    ] {
        let args = [&["key", "create", "--customer", "acme"], &limit[..]].concat();
        let refusal = folder.run(&args).refused(1);
        let field = limit[0].trim_start_matches('-').replace('-', "_");
        assert!(refusal.contains(&field) && refusal.contains(named), "{refusal}");
    }

    assert_eq!(folder.lines(&["key", "list"]), before);
}

#[test]
fn limits_of_keys_projects_and_customers_are_set_shown_changed_and_taken_away() {
    let folder = Folder::new();
    folder.key("acme", "CNY");
    let create = ["key", "create", "--customer", "acme", "--rpm", "60", "--tpm", "9000"];
    let budgets = ["--budget", "50 CNY/month", "--budget", "5 CNY/day", "--concurrency", "4"];
    let created = folder.json(&[&create[..], &budgets].concat());
    let key = created["id"].as_str().unwrap();

    let shown = folder.json(&["key", "limit", key]);
    assert_eq!(shown["budget"], "5 CNY/day, 50 CNY/month");
    for (field, value) in [("rpm", 60), ("tpm", 9_000), ("concurrency", 4)] {
        assert_eq!(shown[field], value, "{shown}");
    }
    let changed = ["key", "update", key, "--rpm", "none", "--budget", "7.5 CNY/total"];
    let changed = folder.json(&changed);
    assert_eq!(changed["budget"], "7.5 CNY/total");
    assert_eq!(changed.get("rpm"), None);
    assert_eq!(changed["tpm"], 9_000);
    let text = folder.text(&["key", "list"]);
    assert!(text.contains("7.5 CNY/total") && text.contains("9000"), "{text}");

    let project = ["project", "limit", "default", "--customer", "acme"];
    folder.json(&[&project[..], &["--session-budget", "2 CNY/total"]].concat());
    assert_eq!(folder.json(&project)["session_budget"], "2 CNY/total");
    folder.json(&["customer", "limit", "acme", "--budget", "900 CNY/month"]);
    let text = folder.text(&["customer", "show", "acme"]);
    assert!(text.contains("900 CNY/month"), "{text}");
    folder.json(&["customer", "limit", "acme", "--budget", "none"]);
    assert!(!folder.text(&["customer", "show", "acme"]).contains("900 CNY"));
}

#[test]
fn a_refusal_is_one_sentence_that_names_the_thing() {
    let folder = Folder::new();
    folder.text(&["customer", "list"]);

    for (args, named) in [
        (&["customer", "show", "nobody"][..], "nobody"),
        (&["key", "create", "--customer", "nobody"], "nobody"),
        (&["customer", "add", "X", "--currency", "DOGE"], "DOGE"),
        (&["customer", "add", "X", "--time-zone", "Mars/Olympus"], "Mars/Olympus"),
        (&["price", "show", "none"], "none"),
        (&["invoice", "show", "none"], "none"),
    ] {
        let refusal = folder.run(args).refused(1);
        assert!(refusal.contains(named), "{args:?}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{args:?}: {refusal}");
        assert!(refusal.starts_with("permille: "), "{args:?}: {refusal}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    // A file where the folder should be: no user can write below it, not even root.
    std::fs::write(folder.data(), "in the way").unwrap();

    for args in [&["customer", "list"][..], &["serve"]] {
        let refusal = folder.run(args).refused(1);
        assert!(refusal.contains(folder.data().to_str().unwrap()), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

#[test]
fn a_key_is_shown_once_and_lists_never_hold_it() {
    let folder = Folder::new();
    let secret = folder.key("acme", "USD");

    assert!(secret.starts_with("sk-pm_"), "{secret}");
    assert!(!folder.text(&["key", "list"]).contains(&secret));
    assert!(!folder.text(&["key", "list", "--json"]).contains(&secret));

    let keys = folder.lines(&["key", "list", "--customer", "acme"]);
    let id = keys[0]["id"].as_str().unwrap();
    assert!(folder.json(&["key", "revoke", id])["revoked_at"].is_string());
}

#[test]
fn a_token_is_shown_once_listed_without_its_secret_and_revoked() {
    let folder = Folder::new();
    folder.key("acme", "USD");
    let created = folder.json(&["token", "create", "--role", "finance", "--name", "month close"]);
    let (id, secret) = (created["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
    let of_acme = ["token", "create", "--role", "customer", "--customer", "acme"];
    assert!(folder.text(&of_acme).starts_with("pmt_"));
    let with = |args: &[&str]| Finished::of(folder.command(args).env("PERMILLE_TOKEN", secret));
    assert_eq!(with(&["invoice", "list"]).code, 0);

    let listed = folder.text(&["token", "list"]);
    assert!(!listed.contains(secret) && listed.contains(&secret[secret.len() - 4..]), "{listed}");
    assert!(listed.contains("month close") && listed.contains("acme"), "{listed}");
    assert!(folder.json(&["token", "revoke", id])["revoked_at"].is_string());

    let refused = with(&["invoice", "list"]).refused(1);
    assert!(refused.contains("token"), "{refused}");
    let own = folder.lines(&["token", "list"]);
    let own = own.iter().find(|token| token["role"] == "admin").unwrap()["id"].clone();
    let refused = folder.run(&["token", "revoke", own.as_str().unwrap()]).refused(1);
    assert!(refused.contains("would lock its owner out"), "{refused}");
}

#[test]
fn customers_and_projects_come_back_as_they_were_added() {
    let folder = Folder::new();
    folder.json(&[
        "customer",
        "add",
        "上海文心科技",
        "--id",
        "wenxin",
        "--currency",
        "CNY",
        "--time-zone",
        "Asia/Shanghai",
    ]);
    folder.json(&["project", "add", "Search team", "--customer", "wenxin", "--id", "search"]);

    let customer = folder.json(&["customer", "show", "wenxin"]);
    assert_eq!(customer["name"], "上海文心科技");
    assert_eq!(customer["currency"], "CNY");
    assert_eq!(customer["time_zone"], "Asia/Shanghai");
    let projects = folder.lines(&["project", "list", "--customer", "wenxin"]);
    let ids: Vec<_> = projects.iter().map(|project| project["id"].clone()).collect();
    assert_eq!(ids, [json!("default"), json!("search")]);
    assert!(folder.text(&["customer", "list"]).contains("上海文心科技"));
}

#[test]
fn the_built_in_price_of_the_first_product_is_known() {
    let folder = Folder::new();

    let prices = folder.lines(&["price", "list", "--model", "ERNIE-Bot", "--currency", "CNY"]);

    let price = prices[0]["price"].clone();
    assert_eq!(price["rates"]["per_thousand"]["input_uncached"], "0.012");
    assert_eq!(price["rates"]["per_thousand"]["output_text"], "0.012");
    let shown = folder.text(&["price", "show", price["version"].as_str().unwrap()]);
    assert!(shown.contains("0.012"), "{shown}");
    assert!(shown.contains("2024-01-19"), "{shown}");
}

#[test]
fn a_reader_who_leaves_ends_a_command_quietly() {
    let folder = Folder::new();
    folder.text(&["price", "list"]);
    let mut command = folder.command(&["price", "list", "--json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    drop(reader);

    let finished = Finished::of(&mut command);

    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

/// In a wrong folder every list is empty.
#[test]
fn the_first_command_in_a_data_folder_says_that_it_is_the_first() {
    let folder = Folder::new();

    let first = Finished::of(&mut folder.command(&["usage", "list", "--json"]));
    let second = Finished::of(&mut folder.command(&["usage", "list", "--json"]));

    let data = folder.data();
    assert_eq!((first.code, first.stdout.as_str()), (0, ""), "{}", first.stderr);
    for said in [data.to_str().unwrap(), "was empty", "--data"] {
        assert!(first.stderr.contains(said), "{}", first.stderr);
    }
    assert_eq!((second.code, second.stderr.as_str()), (0, ""));
}

#[test]
fn two_commands_at_once_wait_for_each_other() {
    let folder = Folder::new();
    let started: Vec<_> = ["a", "b", "c", "d"]
        .map(|id| folder.command(&["customer", "add", id, "--id", id]).spawn().unwrap())
        .into();

    for mut child in started {
        assert!(child.wait().unwrap().success());
    }

    assert_eq!(folder.lines(&["customer", "list"]).len(), 4);
}

#[test]
fn a_price_list_is_shown_before_it_is_applied() {
    let folder = Folder::new();
    let list = folder.path().join("list.csv");
    std::fs::write(&list, "model,currency,per,input,output\nhouse,CNY,1m_tokens,12,36\n").unwrap();
    let list = list.to_str().unwrap();
    let import = ["price", "import", list, "--format", "csv", "--from", "2026-11-01T00:00:00Z"];
    let prices = || folder.lines(&["price", "list", "--model", "house"]);

    let text = folder.text(&import);
    assert!(text.contains("added") && text.contains("input_uncached 0.012"), "{text}");
    assert!(text.contains("1 added") && text.contains("--apply"), "{text}");
    assert!(prices().is_empty());

    let applied = folder.lines(&[import.as_slice(), &["--apply"]].concat());
    assert_eq!(applied[0]["applied"], true);
    assert_eq!(prices()[0]["price"]["source"], "list.csv");
}

/// Runs a statement in the books beside the server.
fn in_the_books(folder: &Folder, sql: &str) {
    const RUN: &str = "import sqlite3, sys
books = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
books.execute(sys.argv[2])";
    let books = folder.data().join("permille.db");
    let mut python = Command::new(sdk::python());
    assert!(python.args(["-c", RUN]).arg(books).arg(sql).status().unwrap().success());
}

#[tokio::test]
async fn usage_in_quarantine_is_listed_booked_once_it_can_be_and_dismissed() {
    let folder = Folder::new();
    let server = folder.serve().await;
    let key = server.first_key().await;
    // As a fault of ours would: no second conversation of a customer can be written.
    in_the_books(&folder, "create unique index one on session (customer)");
    let quarantine = ["usage", "quarantine", "list", "--state", "open"];
    for (refused, session) in ["first", "second", "third"].into_iter().enumerate() {
        let asked = json!({"model": "gpt-4o-mini", "metadata": {"session_id": session},
                           "messages": [{"role": "user", "content": session}]});
        assert_eq!(server.chat(&key, asked).await.status, 200);
        // One after the other: where all of a batch is refused it is the store that is wrong.
        eventually("what the store refuses is in quarantine", async || {
            let is_booked = !folder.usage(&[]).is_empty();
            (is_booked && folder.lines(&quarantine).len() == refused).then_some(())
        })
        .await;
    }
    let kept = folder.lines(&quarantine);
    let ids: Vec<&str> = kept.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let shown = folder.text(&quarantine);
    for words in [ids[0], ids[1], "refused", "open", kept[0]["request_id"].as_str().unwrap()] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let book = ["usage", "quarantine", "book", ids[0]];
    let still = folder.run(&book).refused(1);
    assert!(still.contains("cannot be booked now either: refused"), "{still}");

    in_the_books(&folder, "drop index one");
    assert!(folder.text(&book).contains("booked"));
    let dismiss = ["usage", "quarantine", "dismiss", ids[1], "--note", "a test of ours"];
    assert!(folder.text(&dismiss).contains("a test of ours"));

    assert_eq!(folder.usage(&[]).len(), 2);
    let booked = "permille_intake_events_total{result=\"booked\"}";
    assert_eq!(server.metric(booked).await, Some(2.0));
    assert!(folder.run(&book).refused(1).contains("is booked already"));
    assert!(folder.text(&quarantine).contains("nothing is in quarantine"));
    let trail = folder.text(&["audit", "quarantine", ids[1]]);
    assert!(trail.contains("dismiss") && trail.contains("a test of ours"), "{trail}");
}
