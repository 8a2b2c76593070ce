//! Alerts fire under an injected fault and clear when it has gone, as a real Prometheus sees them.
//! The rules are those of this repository with hours shortened to seconds.

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
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};
use support::{
    Folder, Server, eventually,
    prometheus::{Prometheus, check},
};

fn shortened_rules(folder: &Folder) -> PathBuf {
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    check(&["shorten", rules.to_str().unwrap()]);
    rules
}

/// One chat of a few tokens; `simulate` tells the provider how to behave.
async fn chat(server: &Server, key: &str, model: &str, simulate: &str) -> u16 {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("x-simulate", simulate)];
    let body = json!({
        "model": model, "max_tokens": 16,
        "messages": [{"role": "user", "content": format!("A word, {simulate}.")}],
    });
    server.web.post(server.gateway(), "/v1/chat/completions", &headers, &body).await.status
}

/// What has fired so far, by name.
#[derive(Default)]
struct Fired(BTreeMap<String, Value>);

impl Fired {
    async fn look(&mut self, prometheus: &Prometheus) -> BTreeSet<String> {
        let mut now = BTreeSet::new();
        for alert in prometheus.firing().await {
            let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
            if self.0.insert(name.clone(), alert).is_none() {
                println!("{name} fires");
            }
            now.insert(name);
        }
        now
    }

    /// Whether each of `expected` has fired.
    fn has(&self, expected: &[&str]) -> bool {
        expected.iter().all(|name| self.0.contains_key(*name))
    }

    /// Every text is whole: no label or value is missing in it.
    fn check_texts(&self) {
        for alert in self.0.values() {
            let told = alert["annotations"].to_string();
            assert!(!told.contains("no value") && !told.contains("error expanding"), "{told}");
        }
    }
}

#[tokio::test]
async fn alerts_on_billing_that_hangs_and_a_full_journal_fire_and_clear() {
    let (billing_folder, folder) = (Folder::new(), Folder::new());
    let billing = Server::start(&billing_folder, "billing", &[]).await;
    let token = billing_folder.json(&["token", "create", "--role", "gateway"]);
    let key = billing_folder.key("acme", "USD");
    std::fs::write(folder.path().join("token"), token["secret"].as_str().unwrap()).unwrap();
    let simulator = folder.simulator().await;
    folder.config(&format!(
        "[journal]\nsegment_bytes = 65536\nbytes_max = 262144\n\
         [billing]\nurl = \"http://{}\"\ntoken_file = \"token\"\n{}",
        billing.console(),
        simulator.upstreams(),
    ));
    let rules = shortened_rules(&folder);
    let gateway = Server::start(&folder, "gateway", &[]).await;
    let targets = [gateway.metrics(), billing.metrics()];
    let prometheus = Prometheus::start(folder.path(), &targets, &rules).await;
    eventually("both are scraped and usage is booked", async || {
        assert_eq!(chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await, 200);
        let booked = "sum(increase(permille_intake_events_total{result=\"booked\"}[6s])) > 0";
        prometheus.value(booked).await
    })
    .await;

    // It is there and does not answer.
    billing.signal("STOP");
    let expected = [
        "PermilleDown",
        "PermilleErrorBudgetBurnsFast",
        "PermilleJournalFillsUp",
        "PermilleNotAdmitting",
        "PermilleUsageNotBooked",
    ];
    let mut fired = Fired::default();
    eventually("alerts fire", async || {
        for _ in 0..5 {
            chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        }
        fired.look(&prometheus).await;
        fired.has(&expected).then_some(())
    })
    .await;
    fired.check_texts();

    billing.signal("CONT");
    eventually("alerts clear", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        let now = fired.look(&prometheus).await;
        expected.iter().all(|name| !now.contains(*name)).then_some(())
    })
    .await;
}
