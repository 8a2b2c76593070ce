//! A Redis that does not answer.

use permille_test_redis::Redis;

use crate::{
    Fired, apart, chat, shortened_rules,
    support::{Folder, Server, eventually, prometheus::Prometheus},
};

#[tokio::test]
async fn alerts_on_a_redis_that_does_not_answer_fire_and_clear() {
    let redis = Redis::start().await;
    let shared = format!("[redis]\nurl = \"{}\"\n[usage_stream]\nenabled = true\n", redis.url());
    let (billing_folder, folder) = (Folder::new(), Folder::new());
    billing_folder.config(&shared);
    let billing = Server::start(&billing_folder, "billing", &[]).await;
    billing_folder.key("acme", "USD");
    // Redis is asked of what is limited.
    let limited = ["key", "create", "--customer", "acme", "--budget", "9 USD/month"];
    let key = billing_folder.json(&limited)["secret"].as_str().unwrap().to_owned();
    let simulator = folder.simulator().await;
    // What is served from a share is told to Redis when it is back.
    let more =
        format!("{shared}[limits]\naway = \"share\"\ngateways = 1\n{}", simulator.upstreams());
    apart(&folder, &billing_folder, billing.console(), &more);
    let rules = shortened_rules(&folder);
    let gateway = Server::start(&folder, "gateway", &[]).await;
    let targets = [gateway.metrics(), billing.metrics()];
    let prometheus = Prometheus::start(folder.path(), &targets, &rules).await;
    let expected = [
        "PermilleLimitsAway",
        "PermilleLimitsUntold",
        "PermilleSessionsAway",
        "PermilleUsageStreamAway",
    ];
    let mut fired = Fired::default();
    eventually("requests are served, and nothing of redis fires", async || {
        let served = chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await == 200;
        let scraped = prometheus.value("count(permille_limits_away) == 1").await.is_some();
        let silent = fired.is_silent(&prometheus, &expected).await.is_some();
        (served && scraped && silent).then_some(())
    })
    .await;

    redis.freeze();
    eventually("alerts fire", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        fired.have(&prometheus, &expected).await
    })
    .await;
    fired.check_texts();

    redis.thaw();
    eventually("alerts clear", async || {
        chat(&gateway, &key, "gpt-4o-mini", "tokens=4").await;
        fired.is_silent(&prometheus, &expected).await
    })
    .await;
}
