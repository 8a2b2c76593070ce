//! The whole program on a real `PostgreSQL`: the same bills as on a file, several servers on one
//! database, and an outage of it that costs nothing.

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
use support::{
    Folder, Server, eventually,
    postgres::{DATABASE, Postgres},
};

fn on(postgres: &Postgres, database: &str) -> String {
    format!("[store]\nurl = \"{}\"\n", postgres.url(database))
}

fn question(turns: &[Value]) -> Value {
    json!({"model": "gpt-4o-mini", "max_tokens": 64, "messages": turns})
}

fn hello() -> Value {
    question(&[json!({"role": "user", "content": "simulate:tokens=10 hello"})])
}

/// Three conversations of four turns, each of which sends all of those before it.
async fn converse(server: &Server, key: &str) {
    for talk in 0..3 {
        let mut turns = Vec::new();
        for turn in 0..4 {
            let text = format!("simulate:tokens={} question {talk}.{turn}", 20 + 7 * talk + turn);
            turns.push(json!({"role": "user", "content": text}));
            let reply = server.chat(key, question(&turns)).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            turns.push(reply.json()["choices"][0]["message"].clone());
        }
    }
}

/// `rows` of usage, when they have arrived.
async fn settled(folder: &Folder, rows: usize) -> Vec<Value> {
    eventually("usage arrives", async || {
        let usage = folder.usage(&[]);
        (usage.len() >= rows).then_some(usage)
    })
    .await
}

/// A draft of the month, without the ids and instants that each installation makes anew.
fn draft(folder: &Folder, period: &str) -> Value {
    let args = ["invoice", "draft", "--customer", "acme", "--period", period];
    let mut draft = folder.json(&args);
    for key in ["id", "created_at", "updated_at", "drafted_at"] {
        draft.as_object_mut().unwrap().remove(key);
    }
    draft
}

#[tokio::test]
async fn the_same_conversations_give_the_same_invoice_on_either_engine() {
    let postgres = Postgres::start();
    let mut found = Vec::new();
    for store in [String::new(), on(&postgres, DATABASE)] {
        let folder = Folder::new();
        let simulator = folder.simulator().await;
        folder.config(&format!("{store}{}", simulator.upstreams()));
        let mut server = folder.serve().await;
        let key = folder.key("acme", "USD");

        converse(&server, &key).await;
        let mut usage = settled(&folder, 12).await;
        server.kill().await;
        let mut server = folder.serve().await;

        assert_eq!(folder.usage(&[]).len(), 12, "a restart loses and doubles nothing");
        let period = usage[0]["at"].as_str().unwrap()[..7].to_owned();
        let mut running = draft(&folder, &period);
        assert!(server.stop().await.success());
        // Without a server, commands open the store themselves.
        assert_eq!(draft(&folder, &period), running);
        // The two made other requests, with ids and times of their own.
        let roots = running.as_object_mut().unwrap().remove("records").unwrap();
        assert_eq!(roots[0]["size"], 12, "{roots}");
        usage.reverse();
        let rows: Vec<_> = usage
            .iter()
            .map(|row| json!([row["turn"], row["tokens"], row["cost"], row["source"]]))
            .collect();
        found.push((rows, running));
    }

    assert!(found[0].1["lines"].as_array().is_some_and(|lines| lines.len() >= 2), "{found:?}");
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn servers_on_one_database_know_each_others_keys_and_bill_together() {
    let postgres = Postgres::start();
    let (first, second) = (Folder::new(), Folder::new());
    let simulator = first.simulator().await;
    for folder in [&first, &second] {
        folder.config(&format!("{}{}", on(&postgres, DATABASE), simulator.upstreams()));
    }
    let here = first.serve().await;
    std::fs::create_dir(second.data()).unwrap();
    std::fs::copy(first.data().join("pepper"), second.data().join("pepper")).unwrap();
    let there = second.serve().await;

    let key = first.json(&["customer", "add", "acme", "--id", "acme", "--currency", "USD"]);
    assert_eq!(key["id"], "acme");
    let key = first.json(&["key", "create", "--customer", "acme"]);
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    assert_eq!(here.chat(secret, hello()).await.status, 200);
    eventually("the other server knows the key", async || {
        (there.chat(secret, hello()).await.status == 200).then_some(())
    })
    .await;
    let usage = settled(&second, 2).await;
    assert_eq!(first.usage(&[]).len(), usage.len());

    first.text(&["key", "revoke", id]);
    assert_eq!(here.chat(secret, hello()).await.status, 401);
    eventually("the other server refuses the key", async || {
        (there.chat(secret, hello()).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_database_stops_no_request_and_loses_none() {
    let postgres = Postgres::start();
    postgres.run(DATABASE, &["create database ledger"]);
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&format!("{}{}", on(&postgres, "ledger"), simulator.upstreams()));
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    assert_eq!(server.chat(&key, hello()).await.status, 200);
    settled(&folder, 1).await;

    postgres.run(
        DATABASE,
        &[
            "alter database ledger allow_connections false",
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'ledger'",
        ],
    );
    for _ in 0..5 {
        assert_eq!(server.chat(&key, hello()).await.status, 200);
    }
    let refused = folder.run(&["usage", "list"]).refused(1);
    assert!(refused.contains("the store failed"), "{refused}");
    postgres.run(DATABASE, &["alter database ledger allow_connections true"]);

    assert_eq!(settled(&folder, 6).await.len(), 6);
}
