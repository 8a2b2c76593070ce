//! A balance that is spent to its end while gateways, billing and Redis are killed and stopped.

use tokio::time::timeout;

use crate::{
    balance::{Answer, Clients, GATEWAYS, LIMITS, all, cost_of_a_reply, spent, worst},
    faults::FAULT_MAX,
    support::{
        DEADLINE, eventually,
        redis::{a_minute_passes, connection, money},
    },
    topology::Fleet,
};

/// Clients that ask once while something is killed or stopped.
const CLIENTS: usize = 60;
/// Sessions that they speak in.
const SESSIONS: usize = 7;
/// Replies that the balance has room for: more than are served before the last fault.
const REPLIES: u64 = 420;

/// What is done to the fleet and undone.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Gateway,
    Billing,
    /// With all that it counted.
    Redis,
    RedisStands,
}

impl Fleet {
    async fn suffer(&mut self, fault: Fault, served: impl AsyncFn()) {
        match fault {
            Fault::Gateway => {
                self.kill_gateway(0).await;
                served().await;
                self.start_gateway(0).await;
            }
            Fault::Billing => {
                self.kill_billing().await;
                served().await;
                self.start_billing().await;
            }
            Fault::Redis => {
                self.redis.kill();
                self.redis.start_again().await;
                served().await;
            }
            Fault::RedisStands => {
                self.redis.freeze();
                served().await;
                self.redis.thaw();
            }
        }
    }

    /// What requests that are not settled may still cost, in 10⁻⁹.
    async fn held(&self, customer: &str) -> u64 {
        let counters = money(&mut connection(&self.redis).await, customer).await;
        counters.values().map(|(_, held)| *held).max().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_spent_than_a_balance_whatever_is_killed_meanwhile() {
    let mut fleet = Fleet::limiting(GATEWAYS, LIMITS, "").await;
    let cost = cost_of_a_reply(&fleet).await;
    let balance = REPLIES * cost;
    let mut clients = Clients::of(&fleet, "struck", balance, &[]).await;

    let faults = [Fault::Gateway, Fault::Redis, Fault::Billing, Fault::RedisStands, Fault::Redis];
    for fault in faults {
        let before = clients.served();
        let storm = clients.storm(CLIENTS, SESSIONS, false);
        eventually("some are served", async || (clients.served() > before + 5).then_some(())).await;
        let meanwhile = async || {
            let half = async || (clients.served() > before + CLIENTS / 2).then_some(());
            timeout(FAULT_MAX, eventually("half are served", half)).await.ok();
        };
        fleet.suffer(fault, meanwhile).await;
        all(storm).await;
        fleet.handed_over().await;
        clients.find(&fleet);
        // What was reserved by whoever is gone comes back.
        a_minute_passes(&fleet.redis, "struck").await;
        // Redis is away until each gateway has told it what it knows: a client that asks once in
        // that half second is refused.
        for gateway in 0..GATEWAYS {
            let served = timeout(DEADLINE, clients.ask_on(gateway, "back")).await;
            served.expect("a gateway whose Redis is back serves");
        }
    }
    assert!(clients.served() > CLIENTS, "{} served", clients.served());
    all(clients.storm(CLIENTS, SESSIONS, true)).await;
    while clients.ask(0, "last").await == Answer::Served {}

    let rows = fleet.even("struck", &["m/all/c:"]).await;
    let sum = spent(&rows);
    println!("{} replies, {sum} of {balance}", rows.len());
    assert!(sum <= balance && sum + worst(false) > balance, "{sum} of {balance}");

    a_gateway_that_stands_still_for_longer_than_its_leases(&mut fleet, cost).await;
}

async fn a_gateway_that_stands_still_for_longer_than_its_leases(fleet: &mut Fleet, cost: u64) {
    let balance = 60 * cost;
    let mut clients = Clients::of(fleet, "still", balance, &[]).await;
    let storm = clients.storm(30, SESSIONS, false);
    eventually("something is open", async || (fleet.held("still").await > 0).then_some(())).await;
    fleet.gateway(1).signal("STOP");
    // What the others have open is settled; what stands still stays.
    let held = fleet.held("still").await;
    a_minute_passes(&fleet.redis, "still").await;
    let others: Vec<_> = [0, 2].into_iter().map(|number| fleet.gateway(number).gateway()).collect();
    clients.gateways = others.iter().cycle().take(GATEWAYS).copied().collect();
    all(clients.storm(100, SESSIONS, true)).await;
    fleet.gateway(1).signal("CONT");
    all(storm).await;

    fleet.handed_over().await;
    let sum = spent(&fleet.even("still", &["m/all/c:"]).await);
    println!("{sum} of {balance}, {held} was held");
    assert!(sum <= balance + held, "{sum} of {balance}, {held} was held");
}
