//! A customer whose budget the traffic of a campaign meets in every round. It is never overspent
//! by more than `docs/limits.md` says, and never at all while every gateway counts in Redis.

use serde_json::Value;

use crate::{
    balance::{spent, total},
    support::{
        eventually,
        redis::{a_minute_passes, connection, money},
    },
    topology::Fleet,
};

/// Whose budget it is.
const CUSTOMER: &str = "thrifty";
/// The counter of it.
const COUNTER: &str = "m/all/c:";

/// See the module's text.
pub struct Budget {
    pub key: String,
    /// Of both, all rounds together.
    limit: u64,
    spent: u64,
    /// Whether every gateway counted in Redis when the round began.
    together: bool,
    /// How often a gateway had said by then that it does not.
    said: usize,
    /// What was spent beyond the limit in a round, at most.
    pub beyond: u64,
    /// Rounds through which every gateway counted in Redis.
    pub rounds_together: usize,
}

impl Budget {
    /// What is left of it when a round begins, in 10⁻⁹ of a dollar: half of it, the share of one of
    /// two gateways, has room for a request, and some twenty replies spend it.
    pub const ROOM: u64 = 5_000_000;

    /// Makes the customer and a key of it.
    pub fn new(fleet: &Fleet) -> Self {
        Self {
            key: fleet.office.key(CUSTOMER, "USD"),
            limit: 0,
            spent: 0,
            together: false,
            said: 0,
            beyond: 0,
            rounds_together: 0,
        }
    }

    /// From now on there is room for [`Self::ROOM`]. Everything is booked.
    pub async fn begin(&mut self, fleet: &Fleet) {
        self.limit = self.spent + Self::ROOM;
        let total = total(self.limit);
        fleet.office.json(&["customer", "limit", CUSTOMER, "--budget", &total]);
        self.together = count_together(fleet).await;
        self.said = times_away(fleet);
    }

    /// Compares what the round has spent, by its rows, with the limit, and so what is counted.
    ///
    /// While Redis is away, gateways share what the ledger leaves: what is spent and not booked
    /// when the first of them looks is spent again. That is no more than the round began with.
    pub async fn end(&mut self, fleet: &Fleet, rows: &[Value]) {
        self.spent += spent(rows.iter().filter(|row| row["customer"] == CUSTOMER));
        let together = self.together && times_away(fleet) == self.said;
        self.rounds_together += usize::from(together);
        let most = self.limit + if together { 0 } else { Self::ROOM };
        let state = format!("{most} at most, limit {}, together: {together}", self.limit);
        assert!(self.spent <= most, "{} is booked: {state}", self.spent);
        self.beyond = self.beyond.max(self.spent.saturating_sub(self.limit));
        for (counter, (used, held)) in money(&mut connection(&fleet.redis).await, CUSTOMER).await {
            assert!(counter.starts_with(COUNTER), "{counter} has no limit");
            assert!(used + held <= most, "{used} used and {held} held: {state}");
        }
    }

    /// Lets the leases of whoever was killed end, once every gateway counts in Redis again. The
    /// next request sees to it.
    pub async fn comes_to_rest(&self, fleet: &Fleet) {
        eventually("every gateway counts in Redis", async || {
            count_together(fleet).await.then_some(())
        })
        .await;
        a_minute_passes(&fleet.redis, CUSTOMER).await;
    }

    /// Nothing is held, and what is counted is what the ledger has.
    pub async fn is_even(&self, fleet: &Fleet) {
        let rows = fleet.even(CUSTOMER, &[COUNTER]).await;
        assert_eq!(spent(&rows), self.spent);
    }
}

async fn count_together(fleet: &Fleet) -> bool {
    for server in fleet.gateways.iter().filter_map(|gateway| gateway.server.as_ref()) {
        if server.metric("permille_limits_away").await != Some(0.0) {
            return false;
        }
    }
    true
}

fn times_away(fleet: &Fleet) -> usize {
    let servers = fleet.gateways.iter().filter_map(|gateway| gateway.server.as_ref());
    servers.map(|server| server.errors().matches("limits: redis is away").count()).sum()
}
