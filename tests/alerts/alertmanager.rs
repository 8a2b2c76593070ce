//! What fires is told by a real Alertmanager with the configuration of `deploy/`: to whom its
//! severity says, and not where a greater trouble explains it.

use serde_json::{Value, json};

use crate::{
    chat, shortened_rules,
    support::{
        Folder,
        alertmanager::Alertmanager,
        eventually,
        prometheus::{Prometheus, program, root, succeeded},
        receiver::Receiver,
    },
};

const CONFIG: &str = "deploy/alertmanager/alertmanager.yml";

/// The configuration as it is shipped, with our receiver, told of changes after seconds.
fn config(receiver: &Receiver) -> String {
    let shipped = std::fs::read_to_string(root().join(CONFIG)).unwrap();
    let (place, interval) = ("http://127.0.0.1:9095", "group_interval: 5m");
    assert!(shipped.contains(place) && shipped.contains(interval), "{shipped}");
    let here = format!("http://{}", receiver.address());
    shipped.replace(place, &here).replace(interval, "group_interval: 5s")
}

#[test]
fn each_severity_goes_to_its_receiver() {
    for (severity, receiver) in [("page", "pager"), ("ticket", "tickets"), ("info", "nobody")] {
        let mut amtool = program("amtool");
        amtool.args(["config", "routes", "test", "--config.file"]).arg(root().join(CONFIG));
        amtool.arg(format!("--verify.receivers={receiver}"));
        succeeded(amtool.args([&format!("severity={severity}"), "alertname=Any", "job=permille"]));
    }
}

/// An alert with its labels, of a gateway or of a whole installation.
fn alert(name: &str, job: &str, instance: Option<&str>) -> Value {
    let mut labels = json!({"alertname": name, "job": job, "severity": "ticket"});
    if let Some(instance) = instance {
        labels["instance"] = json!(instance);
    }
    json!({"labels": labels})
}

#[tokio::test]
async fn what_a_greater_trouble_explains_is_not_told() {
    let folder = Folder::new();
    let receiver = Receiver::start(&[]).await;
    let alertmanager = Alertmanager::start(folder.path(), &config(&receiver)).await;
    // Names, job, instance; whether it is told.
    let table = [
        ("PermilleDown", "permille", Some("gone:1"), true),
        ("PermilleNotAdmitting", "permille", Some("gone:1"), false),
        ("PermilleRetryBudgetSpent", "permille", Some("gone:1"), false),
        ("PermilleNotAdmitting", "permille", Some("full:1"), true),
        ("PermilleJournalLag", "permille", Some("full:1"), false),
        ("PermilleJournalFillsUp", "permille", Some("full:1"), false),
        ("PermilleLateReleases", "permille", Some("full:1"), true),
        ("PermilleDiskSlow", "permille", Some("full:1"), false),
        ("PermilleJournalLag", "permille", Some("late:1"), true),
        ("PermilleJournalFillsUp", "permille", Some("late:1"), true),
        ("PermilleDiskSlow", "permille", Some("late:1"), true),
        ("PermilleErrorBudgetBurnsFast", "permille", None, true),
        ("PermilleErrorBudgetBurns", "permille", None, false),
        ("PermilleErrorBudgetBurnsSlowly", "permille", None, false),
        ("PermilleErrorBudgetBurns", "permille-eu", None, true),
        ("PermilleErrorBudgetBurnsSlowly", "permille-eu", None, false),
        ("PermilleErrorBudgetBurnsSlowly", "permille-us", None, true),
        ("PermilleNotScraped", "permille", None, true),
    ];
    let alerts = table.map(|(name, job, instance, _)| alert(name, job, instance));
    alertmanager.tell(&json!(alerts)).await;

    // It hears of all first, and suppresses what another explains some moments later.
    let suppressed = table.iter().filter(|(.., is_told)| !is_told).count();
    let heard = eventually("it has heard of all and suppresses as many as it should", async || {
        let heard = alertmanager.alerts().await;
        let are = heard.iter().filter(|one| one["status"]["state"] == "suppressed").count();
        let unknown = heard.iter().any(|one| one["status"]["state"] == "unprocessed");
        (heard.len() == table.len() && are == suppressed && !unknown).then_some(heard)
    })
    .await;
    for ((.., is_told), alert) in table.iter().zip(&alerts) {
        let found = heard.iter().find(|one| one["labels"] == alert["labels"]).unwrap();
        let state = if *is_told { "active" } else { "suppressed" };
        assert_eq!(found["status"]["state"], state, "{found}");
        assert_eq!(found["status"]["inhibitedBy"].as_array().unwrap().is_empty(), *is_told);
    }
}

/// What a receiver was told of an alert: firing, or that it is over.
fn told(receiver: &Receiver, of: &str, status: &str) -> Option<Value> {
    let mut groups = receiver.received().into_iter().map(|group| group.payload());
    groups.find(|group| group["groupLabels"]["alertname"] == of && group["status"] == status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_provider_pages_once_and_the_page_ends_when_it_is_well() {
    let folder = Folder::new();
    let simulator = folder.simulator().await;
    folder.config(&simulator.upstreams());
    let rules = shortened_rules(&folder);
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");
    let limited = ["key", "create", "--customer", "acme", "--budget", "0.000001 USD/month"];
    let poor = folder.json(&limited)["secret"].as_str().unwrap().to_owned();
    let receiver = Receiver::start(&[]).await;
    let alertmanager = Alertmanager::start(folder.path(), &config(&receiver)).await;
    let (told_of, targets) = (Some(alertmanager.address()), [server.metrics()]);
    let prometheus = Prometheus::that_tells(told_of, folder.path(), &targets, &rules).await;
    let (fast, slow) = ("PermilleErrorBudgetBurnsFast", "PermilleErrorBudgetBurnsSlowly");
    eventually("requests are served and seen", async || {
        let known = chat(&server, &poor, "gpt-4o-mini", "tokens=4").await == 402;
        let is_served = chat(&server, &key, "gpt-4o-mini", "tokens=4").await == 200;
        let seen = "sum(rate(permille_requests_total{status=\"402\"}[3s])) > 0";
        (known && is_served && prometheus.value(seen).await.is_some()).then_some(())
    })
    .await;

    let fails = async || {
        chat(&server, &key, "gpt-4o-mini", "status=500").await;
        assert_eq!(chat(&server, &poor, "gpt-4o-mini", "tokens=4").await, 402);
    };
    eventually("the fast burn explains the slow one", async || {
        fails().await;
        let heard = alertmanager.alerts().await;
        let of = |name: &str| heard.iter().find(|alert| alert["labels"]["alertname"] == name);
        let explained = of(slow)?["status"]["inhibitedBy"].as_array().unwrap();
        explained.contains(&of(fast)?["fingerprint"]).then_some(())
    })
    .await;
    let page = eventually("the page is told", async || {
        fails().await;
        told(&receiver, fast, "firing")
    })
    .await;
    let ticket = eventually("the ticket is told", async || {
        fails().await;
        told(&receiver, "PermilleBudgetRefuses", "firing")
    })
    .await;
    assert_eq!((&page["receiver"], &ticket["receiver"]), (&json!("pager"), &json!("tickets")));
    let notes = &page["alerts"][0]["annotations"];
    let summary = notes["summary"].as_str().unwrap();
    assert!(summary.starts_with("permille: ") && summary.ends_with("% of requests fail"));
    assert_eq!(notes["runbook_url"], "docs/operations.md#permilleerrorbudgetburnsfast");
    assert_eq!(told(&receiver, slow, "firing"), None, "the fast burn says it");

    eventually("the page and the ticket end", async || {
        chat(&server, &key, "gpt-4o-mini", "tokens=4").await;
        told(&receiver, fast, "resolved")?;
        told(&receiver, "PermilleBudgetRefuses", "resolved")
    })
    .await;
}
