//! Usage on its way from a gateway to a billing that hangs, or that refuses it.

use crate::{
    Fired, apart, chat, shortened_rules,
    support::{Folder, Server, eventually, prometheus::Prometheus, relay::Relay},
};

#[tokio::test]
async fn alerts_on_billing_that_hangs_and_a_full_journal_fire_and_clear() {
    let (billing_folder, folder) = (Folder::new(), Folder::new());
    let billing = Server::start(&billing_folder, "billing", &[]).await;
    let key = billing_folder.key("acme", "USD");
    let simulator = folder.simulator().await;
    let journal = "[journal]\nsegment_bytes = 65536\nbytes_max = 262144\n";
    let more = format!("{journal}{}", simulator.upstreams());
    apart(&folder, &billing_folder, billing.console(), &more);
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
        "PermilleJournalLag",
        "PermilleNotAdmitting",
        "PermilleUsageNotBooked",
    ];
    let mut fired = Fired::default();
    eventually("alerts fire", async || {
        for _ in 0..5 {
            chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        }
        fired.have(&prometheus, &expected).await
    })
    .await;
    fired.check_texts();

    billing.signal("CONT");
    eventually("alerts clear", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        fired.is_silent(&prometheus, &expected).await
    })
    .await;
}

/// Requests that are open in the journal while nobody can take their usage: enough of them that
/// what is refused is halved more than three times before one is alone.
const WAIT: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_on_a_billing_that_refuses_fires_and_clears_and_nothing_is_lost() {
    let (ours, theirs, folder) = (Folder::new(), Folder::new(), Folder::new());
    let mut billing = Server::start(&ours, "billing", &[]).await;
    let other = Server::start(&theirs, "billing", &[]).await;
    let key = ours.key("acme", "USD");
    let simulator = folder.simulator().await;
    let line = Relay::start(billing.console()).await;
    apart(&folder, &ours, line.address(), &simulator.upstreams());
    let rules = shortened_rules(&folder);
    let mut gateway = Server::start(&folder, "gateway", &[]).await;
    let prometheus = Prometheus::start(folder.path(), &[gateway.metrics()], &rules).await;
    let expected = ["PermilleBatchesRefused"];
    let mut fired = Fired::default();
    eventually("the gateway is scraped", async || {
        prometheus.value("permille_journal_batches_refused_total == 0").await
    })
    .await;

    // It hangs with the first record, and the line then leads to where nobody knows the gateway.
    billing.signal("STOP");
    for _ in 0..WAIT {
        assert_eq!(chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await, 200);
    }
    line.lead_to(other.console());
    billing.kill().await;
    eventually("the alert fires", async || fired.have(&prometheus, &expected).await).await;
    fired.check_texts();

    let billing = Server::start(&ours, "billing", &[]).await;
    line.lead_to(billing.console());
    // Records that were refused alone are tried again a minute later, or at a start.
    gateway.stop().await;
    gateway = Server::start(&folder, "gateway", &[]).await;
    prometheus.scrape(&[gateway.metrics()]);
    eventually("everything is booked", async || (ours.usage(&[]).len() == WAIT).then_some(()))
        .await;
    eventually("the alert clears", async || fired.is_silent(&prometheus, &expected).await).await;
}
