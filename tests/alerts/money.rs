//! Money and metering: budgets, prices, bills, and a provider that lies.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    Fired, chat, shortened_rules,
    support::{Folder, Server, Simulator, eventually, prometheus::Prometheus},
};

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
