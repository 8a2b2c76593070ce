//! Many processes as one installation: what the provider books, the journals hold and the ledger
//! bills is the same to the token, also while gateways are replaced under load.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on fails"
)]

mod balance;
mod budget;
mod campaign;
mod failover;
mod faults;
mod full_disk;
mod left_behind;
mod outage;
mod overspend;
mod prepaid;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod topology;
mod traffic;
mod truth;
mod upgrade;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{
    Server, eventually,
    prometheus::{Prometheus, root},
};
use topology::Fleet;
use traffic::Traffic;
use truth::agree;

/// What "within seconds" means here, on a machine that does other things too.
const SECONDS: Duration = Duration::from_secs(10);

fn hello(model: &str) -> Value {
    json!({"model": model, "max_tokens": 8,
           "messages": [{"role": "user", "content": "simulate:tokens=3 Hello"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_books_what_the_provider_books_to_the_token() {
    let mut fleet = Fleet::start(2).await;
    let halves = [
        fleet.gateway(0).metrics(),
        fleet.gateway(1).metrics(),
        fleet.billing.as_ref().unwrap().metrics(),
    ];
    let rules = root().join("dashboards/rules");
    let prometheus = Prometheus::start(fleet.office.path(), &halves, &rules).await;
    let key = fleet.key();

    let traffic = Traffic::start(&fleet, &key, 12, 1);
    traffic.more(400).await;
    let seen = traffic.end().await;
    eventually("each gateway has served", async || {
        let served = "count(sum by (instance) (permille_requests_total) > 50)";
        (prometheus.value(served).await == Some(2.0)).then_some(())
    })
    .await;
    fleet.drain().await;
    let agreed = agree(&fleet, &seen).await;

    assert_eq!((agreed.interrupted, seen.broken.len()), (0, 0), "{seen:?}");
    assert_eq!(agreed.booked, agreed.rows);
    assert_eq!(agreed.booked, seen.whole.len() + seen.left.len());
    assert_eq!(agreed.journaled, agreed.rows, "no segment was full, so all is still there");
    eventually("Prometheus has the same sum", async || {
        let sum = prometheus.value("sum(permille_tokens_total)").await?;
        ((sum - agreed.tokens as f64).abs() < 0.5).then_some(())
    })
    .await;
}

/// Asks until the gateway answers with `status`.
async fn answers(gateway: &Server, key: &str, body: &Value, status: u16) {
    eventually(&format!("{status} at {}", gateway.gateway()), async || {
        (gateway.chat(key, body.clone()).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_prices_and_limits_reach_every_gateway_within_seconds() {
    let fleet = Fleet::start(3).await;
    let office = &fleet.office;
    let key = fleet.key();
    let everywhere = async |what: &str, key: &str, body: Value, status: u16| {
        let began = Instant::now();
        for gateway in 0..3 {
            answers(fleet.gateway(gateway), key, &body, status).await;
        }
        assert!(began.elapsed() < SECONDS, "{what}: {:?}", began.elapsed());
    };
    everywhere("a new key", &key, hello("gpt-4o-mini"), 200).await;

    everywhere("a model without a price", &key, hello("house-model"), 402).await;
    let prices = office.path().join("house.toml");
    std::fs::write(
        &prices,
        "[[price]]\nmodel = \"house-model\"\nprovider = \"openai\"\ncurrency = \"USD\"\n\
         from = 2024-01-01T00:00:00Z\nsource = \"ours\"\ninput = \"0.001\"\noutput = \"0.002\"\n",
    )
    .unwrap();
    office.text(&["price", "import", prices.to_str().unwrap(), "--apply"]);
    everywhere("a new price", &key, hello("house-model"), 200).await;

    let of_key = office.lines(&["key", "list", "--customer", topology::CUSTOMER]);
    let id = of_key[0]["id"].as_str().unwrap();
    office.json(&["key", "limit", id, "--rpm", "1"]);
    everywhere("a lower limit", &key, hello("gpt-4o-mini"), 429).await;
    office.json(&["key", "limit", id, "--rpm", "none"]);
    everywhere("no limit", &key, hello("gpt-4o-mini"), 200).await;

    office.json(&["key", "revoke", id]);
    everywhere("a revoked key", &key, hello("gpt-4o-mini"), 401).await;
}
