//! Alerts fire under an injected fault and clear when it has gone, as a real Prometheus sees them;
//! what fires is told, by severity, by a real Alertmanager. The rules are those of this repository
//! with hours shortened to seconds and a few thresholds lowered: `dashboards/check/shorten.py`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails"
)]

mod alertmanager;
mod commit;
mod disk;
mod gateway;
mod handover;
mod money;
mod redis;
#[path = "../support/mod.rs"]
mod support;
mod webhooks;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};
use support::{
    Folder, Server,
    prometheus::{Prometheus, check},
};

fn shortened_rules(folder: &Folder) -> PathBuf {
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    check(&["shorten", rules.to_str().unwrap()]);
    rules
}

/// One chat of a few tokens, of many with the dear model; `simulate` tells the provider how to
/// behave.
async fn chat(server: &Server, key: &str, model: &str, simulate: &str) -> u16 {
    let words = if model == "dear" { " word".repeat(3_000) } else { String::new() };
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("x-simulate", simulate)];
    let body = json!({
        "model": model, "max_tokens": 16,
        "messages": [{"role": "user", "content": format!("A word, {simulate}.{words}")}],
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

    /// Looks, and says whether none of `expected` fires.
    async fn is_silent(&mut self, prometheus: &Prometheus, expected: &[&str]) -> Option<()> {
        let now = self.look(prometheus).await;
        expected.iter().all(|name| !now.contains(*name)).then_some(())
    }

    /// Looks, and says whether each of `expected` has fired.
    async fn have(&mut self, prometheus: &Prometheus, expected: &[&str]) -> Option<()> {
        self.look(prometheus).await;
        self.has(expected).then_some(())
    }

    /// Every text is whole: no label or value is missing in it.
    fn check_texts(&self) {
        for alert in self.0.values() {
            let told = alert["annotations"].to_string();
            assert!(!told.contains("no value") && !told.contains("error expanding"), "{told}");
        }
    }
}

/// Makes a folder that of a gateway apart, which billing is at this address for.
fn apart(folder: &Folder, billing: &Folder, at: std::net::SocketAddr, more: &str) {
    let token = billing.json(&["token", "create", "--role", "gateway"]);
    std::fs::write(folder.path().join("token"), token["secret"].as_str().unwrap()).unwrap();
    folder.config(&format!("[billing]\nurl = \"http://{at}\"\ntoken_file = \"token\"\n{more}"));
}
