//! A gateway that is full, and a Prometheus that has no target.

use crate::{
    Fired, chat, shortened_rules,
    support::{Folder, eventually, prometheus::Prometheus},
};

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

#[tokio::test]
async fn an_alert_on_a_prometheus_that_scrapes_nothing_fires_and_clears() {
    let folder = Folder::new();
    let rules = shortened_rules(&folder);
    let server = folder.serve().await;
    let prometheus = Prometheus::start(folder.path(), &[server.metrics()], &rules).await;
    let expected = ["PermilleNotScraped"];
    let mut fired = Fired::default();
    eventually("it scrapes one, and the alert is silent", async || {
        let scraped = prometheus.value("sum(up) == 1").await.is_some();
        let silent = fired.is_silent(&prometheus, &expected).await.is_some();
        (scraped && silent).then_some(())
    })
    .await;

    prometheus.scrape(&[]);
    eventually("the alert fires", async || fired.have(&prometheus, &expected).await).await;
    fired.check_texts();

    prometheus.scrape(&[server.metrics()]);
    eventually("the alert clears", async || fired.is_silent(&prometheus, &expected).await).await;
}
