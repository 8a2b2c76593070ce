//! A gateway reads its configuration again while it serves.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::json;
use support::{Folder, Server, Simulator, eventually};

const CHAT: &str = "/v1/chat/completions";

fn said(model: &str, text: &str) -> serde_json::Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": text}]})
}

/// Has it read its configuration, and waits until its log has said so once more.
async fn reloaded(server: &Server, says: &str) {
    let times = || server.errors().matches(says).count();
    let before = times();
    server.signal("HUP");
    eventually("the configuration is read again", async || (times() > before).then_some(())).await;
}

const IN_FORCE: &str = "the configuration is in force anew";
const AS_IT_WAS: &str = "the configuration stays as it was";

#[tokio::test]
async fn upstreams_and_aliases_change_and_no_reply_breaks_off() {
    let folder = Folder::new();
    let (first, second) =
        (folder.simulator().await, { Simulator::start(&folder.path().join("second.jsonl")).await });
    folder.config(&first.upstreams());
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let (web, gateway) = (&server.web, server.gateway());
    let long = said("gpt-4o-mini", "simulate:tokens=60,chunk_ms=20 A long one.");
    let mut open = web.stream(gateway, CHAT, &headers, &long).await;
    assert_eq!(open.status, 200);
    open.piece().await.unwrap();

    let alias = "[[alias]]\nname = \"house\"\nmodel = \"gpt-4o-mini\"\n";
    let policy = "[[policy]]\nmodel = \"gpt-4o-mini\"\nfailed_reply = \"nobody\"\n";
    folder.config(&format!("{alias}{policy}{}", second.upstreams()));
    reloaded(&server, IN_FORCE).await;

    // On connections that were open before, and by a name that is new.
    for model in ["gpt-4o-mini", "house"] {
        let reply = web.post(gateway, CHAT, &headers, &said(model, "simulate:tokens=3 Hi")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let (bytes, ended) = open.rest().await;
    assert!(ended && String::from_utf8_lossy(&bytes).trim_end().ends_with("data: [DONE]"));
    eventually("each provider has what it was sent", async || {
        (first.books().len() == 1 && second.books().len() == 2).then_some(())
    })
    .await;
    let rows = eventually("usage arrives", async || {
        let rows = folder.usage(&["--customer", "acme"]);
        (rows.len() == 3).then_some(rows)
    })
    .await;
    let tokens = |rows: &[serde_json::Value], name: &str| {
        rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>()
    };
    let books = [first.books(), second.books()].concat();
    assert_eq!(tokens(&rows, "output_total"), tokens(&books, "completion_tokens"));
    assert!(rows.iter().all(|row| row["ended"] == "complete"), "{rows:?}");

    let cut = said("gpt-4o-mini", "simulate:cut_after=3 Hi");
    let mut cut = web.stream(gateway, CHAT, &headers, &cut).await;
    cut.rest().await;
    eventually("what failed is paid by nobody", async || {
        let rows = folder.usage(&["--customer", "acme"]);
        let failed = rows.iter().find(|row| row["ended"] == "upstream_error")?;
        let flags = failed["flags"].as_array().unwrap();
        flags.contains(&json!("not_billed")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_change_or_cannot_be_used_leaves_everything_as_it_was() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    let good = simulator.upstreams();
    folder.config(&good);
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let alias = "[[alias]]\nname = \"house\"\nmodel = \"gpt-4o-mini\"\n";

    for (config, names) in [
        (format!("{alias}[limits]\nwait_ms = 77\n{good}"), "limits: changes with a restart only"),
        (format!("{alias}[journal]\nhold_max_ms = 99\n{good}"), "journal: changes with a restart"),
        (format!("{alias}{}", good.replace("http://", "ftp://")), "base_url"),
        (format!("{alias}[routin]\n{good}"), "routin"),
        (alias.to_owned(), "models are simulated"),
    ] {
        folder.config(&config);
        reloaded(&server, AS_IT_WAS).await;
        let last = server.errors().lines().last().unwrap().to_owned();
        assert!(last.contains(names), "{names}: {last}");
        let reply = server.chat(&key, said("gpt-4o-mini", "simulate:tokens=3 Hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let reply = server.chat(&key, said("house", "simulate:tokens=3 Hello")).await;
        assert_eq!(reply.status, 402, "{}", reply.text());
    }

    folder.config(&format!("{alias}{good}"));
    reloaded(&server, IN_FORCE).await;
    let reply = server.chat(&key, said("house", "simulate:tokens=3 Hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn billing_alone_says_that_it_is_to_be_restarted() {
    let folder = Folder::new();
    folder.config("");
    let billing = Server::start(&folder, "billing", &[]).await;

    reloaded(&billing, AS_IT_WAS).await;

    assert!(billing.errors().contains("restart it"), "{}", billing.errors());
}
