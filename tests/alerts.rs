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
    net::SocketAddr,
    path::PathBuf,
};

use permille_test_redis::Redis;
use serde_json::{Value, json};
use support::{
    Folder, Server, Simulator, eventually,
    prometheus::{Prometheus, check},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
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

    /// Every text is whole: no label or value is missing in it.
    fn check_texts(&self) {
        for alert in self.0.values() {
            let told = alert["annotations"].to_string();
            assert!(!told.contains("no value") && !told.contains("error expanding"), "{told}");
        }
    }
}

const PRICES: &str = r#"
[[price]]
model = ["dear", "billed"]
currency = "USD"
from = 2025-01-01T00:00:00Z
source = "a test"
input = "4"
cache_read = "4"
output = "4"
[[price]]
model = ["dear", "billed"]
side = "cost"
currency = "USD"
from = 2025-01-01T00:00:00Z
source = "a test"
input = "10"
cache_read = "10"
output = "10"
"#;

/// A provider that reports what it is told to: a prompt and a reply of a hundred words each, which
/// are as many tokens of its model, and some around them.
async fn liar(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let request = String::from_utf8_lossy(&request);
            let (factor, hidden) = match request.split_once("report ").map(|(_, how)| &how[..3]) {
                Some("two") => (2, 0),
                Some("sum") => (1, 500),
                Some("nil") => (0, 0),
                _ => (1, 0),
            };
            let (prompt, completion) = (110 * factor, 100 * factor);
            let body = json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": LIAR,
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": "word ".repeat(100)}}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                          "total_tokens": prompt + completion + hidden},
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len(),
            );
            socket.write_all((head + &body).as_bytes()).await.ok();
        });
    }
}

/// The model that the liar is the only provider of, with a vocabulary that is built in.
const LIAR: &str = "gpt-4.1-mini";

async fn asked_of_the_liar(server: &Server, key: &str, report: &str) {
    let said = format!("{}report {report}", "word ".repeat(100));
    let body = json!({"model": LIAR, "messages": [{"role": "user", "content": said}]});
    let reply = server.chat(key, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// A bill of one line for the only call to the upstream `billed`, whose price is a cent a token.
fn bill(folder: &Folder, day: &str, cents: u64) -> Value {
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mapping = "name = \"a test\"\ncurrency = \"USD\"\n\
                   [columns]\nday = \"day\"\namount = \"cost\"\n\
                   model = \"model\"\ntext = \"item\"\n\
                   [[rule]]\nlike = \"{model} tokens\"\nclass = \"tokens\"\n";
    let mapping = write("mapping.toml", mapping.to_owned());
    let file = write(
        &format!("bill-{cents}.csv"),
        format!(
            "day,item,model,cost\n{day},billed tokens,billed,{}.{:02}\n",
            cents / 100,
            cents % 100,
        ),
    );
    let asked = ["reconcile", "--provider", "a-provider", "--upstream", "billed"];
    folder.json(&[&asked[..], &["--mapping", &mapping, &file]].concat())["summary"].clone()
}

/// A port on which nobody listens.
fn nobody() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What an injected fault makes fire, and its end clear.
const ON_MONEY_AND_METERING: [&str; 16] = [
    "PermilleBudgetNearlyUsed",
    "PermilleBudgetRefuses",
    "PermilleCostAnomaly",
    "PermilleCustomerBudgetBurns",
    "PermilleCustomerBudgetBurnsFast",
    "PermilleCustomerBudgetBurnsSlowly",
    "PermilleCustomerLosesMoney",
    "PermilleErrorBudgetBurns",
    "PermilleErrorBudgetBurnsSlowly",
    "PermilleProviderDrifts",
    "PermilleProviderOverReports",
    "PermilleReconciliationDrifts",
    "PermilleRetryBudgetSpent",
    "PermilleTelemetryLost",
    "PermilleUnpricedUsage",
    "PermilleUsageMismatch",
];

/// An unpriced model is held, every reply is audited, one upstream lies and one bills.
fn settings(folder: &Folder, simulator: &Simulator, lies: SocketAddr) -> String {
    let upstream = |name: &str, address: String, model: &str| {
        let credential = folder.path().join("books.credential");
        format!(
            "[[upstream]]\nname = \"{name}\"\nfamily = \"openai\"\n\
             base_url = \"http://{address}\"\napi_key_file = \"{}\"\n\
             models = [\"{model}\"]\n",
            credential.display(),
        )
    };
    let simulated = simulator.upstreams().replace("models = ", "priority = 1\nmodels = ");
    format!(
        "[pricing]\nunpriced = \"hold\"\n[metering]\naudit_sample = 1\n\
         [routing]\nretry_on = [\"503\"]\nretries_percent_max = 0\nretries_per_second = 0\n\
         calls_max = 2\nupstream_calls_max = 2\n\
         [otlp]\nendpoint = \"http://127.0.0.1:{}\"\ntimeout_ms = 1000\nmetrics_seconds = 3600\n\
         [[budget]]\ncustomer = \"acme\"\nmonthly = \"0.01 USD\"\n{PRICES}{simulated}{}{}",
        nobody(),
        upstream("liar", lies.to_string(), LIAR),
        upstream("billed", format!("{}/v1", simulator.address()), "billed"),
    )
}

#[tokio::test]
async fn alerts_on_money_and_metering_fire_clear_and_are_told_apart() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    let lies = TcpListener::bind("127.0.0.1:0").await.unwrap();
    folder.config(&settings(&folder, &simulator, lies.local_addr().unwrap()));
    tokio::spawn(liar(lies));
    let rules = shortened_rules(&folder);
    let server = folder.serve().await;
    let (acme, lavish) = (folder.key("acme", "USD"), folder.key("lavish", "USD"));
    let limited = |customer: &str, budget: &str| {
        folder.key(customer, "USD");
        let key = folder.json(&["key", "create", "--customer", customer, "--budget", budget]);
        let secret = key["secret"].as_str().unwrap().to_owned();
        (key["id"].as_str().unwrap().to_owned(), secret)
    };
    let (_, poor) = limited("poor", "0.000001 USD/month");
    let (id, warned) = limited("warned", "0.01 USD/month");
    folder.text(&["key", "limit", &id, "--warn-percent", "1"]);
    // A limit by month is a budget to alert on.
    folder.text(&["customer", "limit", "warned", "--budget", "0.5 USD/month"]);
    eventually("the gateway knows the keys", async || {
        let known = chat(&server, &poor, "gpt-4o", "tokens=8").await == 402;
        (known && chat(&server, &warned, "gpt-4o-mini", "tokens=8").await == 200).then_some(())
    })
    .await;
    assert_eq!(chat(&server, &acme, "billed", "tokens=4").await, 200);
    let row = eventually("it is booked", async || {
        folder.usage(&[]).into_iter().find(|row| row["model_requested"] == "billed")
    })
    .await;
    let tokens = ["input_total", "output_total"].map(|name| row[name].as_u64().unwrap());
    let (tokens, day) = (tokens.iter().sum::<u64>(), &row["at"].as_str().unwrap()[..10]);
    let prometheus = Prometheus::start(folder.path(), &[server.metrics()], &rules).await;
    eventually("the limit is exported", async || {
        prometheus.value("permille_monthly_budget{customer=\"warned\"} == 0.5").await
    })
    .await;

    // Drift is one against what was usual, and so is an anomaly.
    let usual = "avg_over_time(job_customer_currency:permille_cost:increase1h\
                 {customer=\"lavish\"}[14s] offset 10s)";
    eventually("there is a usual cost and count", async || {
        assert_eq!(chat(&server, &lavish, "gpt-4o-mini", "tokens=4").await, 200);
        asked_of_the_liar(&server, &acme, "truly").await;
        prometheus.value(usual).await
    })
    .await;

    assert_eq!(bill(&folder, day, 100 * tokens)["drift_permille"], "990");
    let mut fired = Fired::default();
    eventually("alerts fire", async || {
        chat(&server, &acme, "gpt-4o-mini", "tokens=8").await;
        chat(&server, &acme, "nobody-has-a-price-for-it", "tokens=8").await;
        chat(&server, &acme, "gpt-4o-mini", "status=503").await;
        chat(&server, &lavish, "dear", "tokens=8").await;
        chat(&server, &warned, "gpt-4o", "tokens=8").await;
        assert_eq!(chat(&server, &poor, "gpt-4o", "tokens=8").await, 402);
        asked_of_the_liar(&server, &acme, "sum").await;
        for _ in 0..6 {
            asked_of_the_liar(&server, &acme, "two").await;
        }
        fired.look(&prometheus).await;
        fired.has(&ON_MONEY_AND_METERING).then_some(())
    })
    .await;
    fired.check_texts();

    // Silence: nothing is asked, so nothing fires but the note that nothing is asked.
    assert_eq!(bill(&folder, day, tokens)["drift_permille"], "0");
    eventually("alerts clear", async || {
        let now = fired.look(&prometheus).await;
        let is_clear = ON_MONEY_AND_METERING.iter().all(|name| !now.contains(*name));
        (is_clear && fired.has(&["PermilleNoUsage"])).then_some(())
    })
    .await;
    assert!(!fired.has(&["PermilleMeteringBroken"]));

    // Replies without a token are another silence, and told apart from it.
    eventually("metering breaks", async || {
        asked_of_the_liar(&server, &acme, "nil").await;
        let now = fired.look(&prometheus).await;
        let is_it = now.contains("PermilleMeteringBroken") && !now.contains("PermilleNoUsage");
        is_it.then_some(())
    })
    .await;
    eventually("metering is well again", async || {
        asked_of_the_liar(&server, &acme, "truly").await;
        let now = fired.look(&prometheus).await;
        (!now.contains("PermilleMeteringBroken")).then_some(())
    })
    .await;
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

#[tokio::test]
async fn alerts_on_a_redis_that_does_not_answer_fire_and_clear() {
    let redis = Redis::start().await;
    let shared = format!("[redis]\nurl = \"{}\"\n[usage_stream]\nenabled = true\n", redis.url());
    let (billing_folder, folder) = (Folder::new(), Folder::new());
    billing_folder.config(&shared);
    let billing = Server::start(&billing_folder, "billing", &[]).await;
    let token = billing_folder.json(&["token", "create", "--role", "gateway"]);
    billing_folder.key("acme", "USD");
    // Redis is asked of what is limited.
    let limited = ["key", "create", "--customer", "acme", "--budget", "9 USD/month"];
    let key = billing_folder.json(&limited)["secret"].as_str().unwrap().to_owned();
    std::fs::write(folder.path().join("token"), token["secret"].as_str().unwrap()).unwrap();
    let simulator = folder.simulator().await;
    folder.config(&format!(
        "{shared}[billing]\nurl = \"http://{}\"\ntoken_file = \"token\"\n{}",
        billing.console(),
        simulator.upstreams(),
    ));
    let rules = shortened_rules(&folder);
    let gateway = Server::start(&folder, "gateway", &[]).await;
    let targets = [gateway.metrics(), billing.metrics()];
    let prometheus = Prometheus::start(folder.path(), &targets, &rules).await;
    let expected = ["PermilleLimitsAway", "PermilleSessionsAway", "PermilleUsageStreamAway"];
    let mut fired = Fired::default();
    eventually("requests are served, and nothing of redis fires", async || {
        let served = chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await == 200;
        let scraped = prometheus.value("count(permille_limits_away) == 1").await.is_some();
        let now = fired.look(&prometheus).await;
        (served && scraped && expected.iter().all(|name| !now.contains(*name))).then_some(())
    })
    .await;

    redis.freeze();
    eventually("alerts fire", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        fired.look(&prometheus).await;
        fired.has(&expected).then_some(())
    })
    .await;
    fired.check_texts();

    redis.thaw();
    eventually("alerts clear", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        let now = fired.look(&prometheus).await;
        expected.iter().all(|name| !now.contains(*name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_alert_on_a_gateway_that_is_full_fires_and_clears() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    let listen = "listen = \"127.0.0.1:0\"";
    folder.config_exactly(&format!(
        "[gateway]\n{listen}\nin_flight_max = 1\n[console]\n{listen}\n[metrics]\n{listen}\n{}",
        simulator.upstreams(),
    ));
    let rules = shortened_rules(&folder);
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let prometheus = Prometheus::start(folder.path(), &[server.metrics()], &rules).await;
    let one = async || chat(&server, &key, "gpt-4o-mini", "tokens=8").await;
    let mut fired = Fired::default();
    eventually("one at a time is served, and the alert is silent", async || {
        let now = fired.look(&prometheus).await;
        (one().await == 200 && !now.contains("PermilleOverloaded")).then_some(())
    })
    .await;

    eventually("the alert fires", async || {
        tokio::join!(one(), one(), one(), one());
        fired.look(&prometheus).await;
        fired.has(&["PermilleOverloaded"]).then_some(())
    })
    .await;
    fired.check_texts();

    eventually("the alert clears", async || {
        one().await;
        let now = fired.look(&prometheus).await;
        (!now.contains("PermilleOverloaded")).then_some(())
    })
    .await;
}
