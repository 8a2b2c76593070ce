//! Usage that billing cannot commit, commits late, or cannot book as it is.

use permille_test_redis::Redis;
use permille_types::USAGE_STREAM;
use redis::cmd;

use crate::{
    Fired, apart, shortened_rules,
    support::{
        Folder, Server, eventually,
        postgres::{DATABASE, Postgres},
        prometheus::Prometheus,
        redis::ask,
    },
};

/// The only session.
const SESSION: &str = "talk-1";

/// A gateway and a billing apart, with a stream in Redis between them and a ledger on PostgreSQL.
struct Halves {
    postgres: Postgres,
    redis: Redis,
    billing: Server,
    gateway: Server,
    key: String,
    prometheus: Prometheus,
    fired: Fired,
}

impl Halves {
    async fn ask(&self) {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("permille-session", SESSION)];
        let said = serde_json::json!({"role": "user", "content": "simulate:tokens=4 A word."});
        let body = serde_json::json!({"model": "gpt-4o-mini", "messages": [said]});
        let (to, path) = (self.gateway.gateway(), "/v1/chat/completions");
        let reply = self.gateway.web.post(to, path, &headers, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Awaits silence of these alerts, which are then made to fire.
    async fn are_silent(&mut self, expected: &[&str]) {
        eventually(&format!("{expected:?} are silent"), async || {
            self.fired.is_silent(&self.prometheus, expected).await
        })
        .await;
    }

    async fn fire(&mut self, expected: &[&str]) {
        eventually(&format!("{expected:?} fire"), async || {
            self.fired.have(&self.prometheus, expected).await
        })
        .await;
        self.fired.check_texts();
    }

    /// A session whose sums nobody can read is one whose next row cannot be committed.
    async fn what_cannot_be_committed(&mut self) {
        let expected = ["PermilleJournalLag", "PermilleUsageStreamLag"];
        self.are_silent(&expected).await;

        let spoil = format!("update session set tokens = 'x' || tokens where id = '{SESSION}'");
        self.postgres.run(DATABASE, &[&spoil]);
        self.ask().await;
        self.fire(&expected).await;

        let mend = format!("update session set tokens = substr(tokens, 2) where id = '{SESSION}'");
        self.postgres.run(DATABASE, &[&mend]);
        self.are_silent(&expected).await;
    }

    /// Somebody else writes to the database for longer than a second.
    async fn what_is_committed_late(&mut self) {
        let expected = ["PermilleIntakeSlow"];
        self.are_silent(&expected).await;

        eventually("commits that wait are seen", async || {
            let held = self.postgres.hold_writes();
            self.ask().await;
            eventually("usage has waited for more than a second", async || {
                let lag = self.gateway.metric("permille_journal_lag_seconds").await?;
                (lag > 1.0).then_some(())
            })
            .await;
            drop(held);
            self.fired.have(&self.prometheus, &expected).await
        })
        .await;
        self.fired.check_texts();

        eventually("commits are quick again", async || {
            self.ask().await;
            self.fired.is_silent(&self.prometheus, &expected).await
        })
        .await;
    }

    /// An entry that is no usage at all.
    async fn what_cannot_be_booked(&mut self) {
        let expected = ["PermilleUsageQuarantined"];
        self.are_silent(&expected).await;

        let mut sent = 0_u32;
        eventually("the alert fires", async || {
            let mut add = cmd("XADD");
            add.arg(USAGE_STREAM).arg("*").arg("what").arg("is this");
            ask::<String>(&self.redis, &add).await;
            sent += 1;
            self.fired.have(&self.prometheus, &expected).await
        })
        .await;
        self.fired.check_texts();

        self.are_silent(&expected).await;
        let kept = "permille_intake_events_total{result=\"quarantined\"}";
        assert_eq!(self.billing.metric(kept).await, Some(f64::from(sent)));
    }
}

#[tokio::test]
async fn alerts_on_usage_that_is_not_committed_late_or_no_usage_fire_and_clear() {
    let postgres = Postgres::start();
    let redis = Redis::start().await;
    let (office, folder) = (Folder::new(), Folder::new());
    let stream = format!("[redis]\nurl = \"{}\"\n[usage_stream]\nenabled = true\n", redis.url());
    let store = format!("[store]\nurl = \"{}\"\n", postgres.url(DATABASE));
    office.config(&format!("{store}{stream}reclaim_seconds = 1\n"));
    let billing = Server::start(&office, "billing", &[]).await;
    let key = office.key("acme", "USD");
    let simulator = folder.simulator().await;
    let more = format!("{stream}{}", simulator.upstreams());
    apart(&folder, &office, billing.console(), &more);
    let rules = shortened_rules(&folder);
    let gateway = Server::start(&folder, "gateway", &[]).await;
    let targets = [gateway.metrics(), billing.metrics()];
    let prometheus = Prometheus::start(folder.path(), &targets, &rules).await;
    let fired = Fired::default();
    let mut halves = Halves { postgres, redis, billing, gateway, key, prometheus, fired };
    halves.ask().await;
    eventually("usage is booked and seen", async || {
        let booked = "permille_intake_events_total{result=\"booked\"} > 0";
        halves.prometheus.value(booked).await
    })
    .await;

    halves.what_cannot_be_committed().await;
    halves.what_is_committed_late().await;
    halves.what_cannot_be_booked().await;
}
