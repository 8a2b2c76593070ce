//! A disk that takes its time for each sync.

use crate::{
    Fired, apart, chat, shortened_rules,
    support::{Folder, Server, eventually, prometheus::Prometheus, slow_disk::SlowDisk},
};

#[tokio::test]
async fn alerts_on_a_disk_that_is_slow_fire_and_clear() {
    let (office, folder) = (Folder::new(), Folder::new());
    let billing = Server::start(&office, "billing", &[]).await;
    let key = office.key("acme", "USD");
    let simulator = folder.simulator().await;
    // With an intent on the disk before the call, a request waits for it too.
    let journal = "[journal]\nsync = \"intent+settle\"\nhold_max_ms = 2000\n";
    let more = format!("{journal}{}", simulator.upstreams());
    apart(&folder, &office, billing.console(), &more);
    let rules = shortened_rules(&folder);
    let disk = SlowDisk::new(&folder);
    let mut command = folder.command(&["gateway"]);
    disk.hold(&mut command);
    let gateway = Server::spawn(&folder, command).await;
    let prometheus = Prometheus::start(folder.path(), &[gateway.metrics()], &rules).await;
    let one = async || chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
    let expected = ["PermilleDiskSlow", "PermilleLateReleases", "PermilleOverheadHigh"];
    let mut fired = Fired::default();
    eventually("requests are served, and the alerts are silent", async || {
        let served = one().await == 200;
        let scraped = prometheus.value("permille_hold_seconds_count > 0").await.is_some();
        let silent = fired.is_silent(&prometheus, &expected).await.is_some();
        (served && scraped && silent).then_some(())
    })
    .await;

    // Slow, and so slow that ends of replies are not held back any longer.
    for (ms, expected) in [(600, &expected[..1]), (2_500, &expected[1..])] {
        disk.takes(ms);
        eventually(&format!("{expected:?} fire"), async || {
            tokio::join!(one(), one(), one(), one());
            fired.have(&prometheus, expected).await
        })
        .await;
    }
    fired.check_texts();

    disk.takes(0);
    eventually("the alerts clear", async || {
        one().await;
        fired.is_silent(&prometheus, &expected).await
    })
    .await;
}
