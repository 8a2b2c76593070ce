//! What is done to a fleet in the midst of a round of a campaign.

use std::time::Duration;

use fastrand::Rng;
use permille_test_redis::Redis;
use permille_types::USAGE_STREAM;
use redis::{Value, cmd, streams::StreamRangeReply};

use crate::{
    support::{
        clock::SteppedClock,
        eventually,
        postgres::DATABASE,
        redis::ask,
        relay::{Line, Relay},
    },
    topology::Fleet,
    traffic::Traffic,
};

/// Longest that a fault lasts: nothing may be answered meanwhile.
pub const FAULT_MAX: Duration = Duration::from_millis(700);
/// Bytes of a segment, so few that they are filled, handed over and removed in every round.
pub const SEGMENT_BYTES: u64 = 32_768;
/// How far a clock is stepped.
pub const STEP_SECONDS: i64 = 30;
/// How often one batch is delivered again.
const AGAIN: usize = 2;

/// A fault. A number is that of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillGateway(usize),
    StopGateway(usize),
    RestartGateway(usize),
    /// Its files cannot grow: with EFBIG, as beyond `ulimit -f`, in the place of ENOSPC.
    FillDisk(usize),
    /// Its clock goes forward or back by half a minute, and returns.
    StepClock(usize),
    /// That of the first process of billing; the second one's goes on.
    StepBillingClock,
    KillBilling,
    StopBilling,
    KillSecondBilling,
    /// Both ends of the hand-over at once.
    KillBillingAndGateway(usize),
    /// Between the gateways and billing.
    Line(LineFault),
    /// Between everybody and Redis.
    RedisLine(LineFault),
    /// Between billing and PostgreSQL.
    StoreLine(LineFault),
    /// With all that it held.
    KillRedis,
    StopRedis,
    /// It takes nothing more, and lets go of what it has.
    FillRedis,
    /// Batches come again, several times and in another order.
    DeliverAgain,
    CrashPostgres,
    /// Every connection of every pool is closed at once.
    EmptyPools,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineFault {
    Cut,
    Silent,
    Slow,
}

/// Each of them once; what takes a number is done to that gateway.
pub const DECK: [fn(usize) -> Fault; 25] = [
    Fault::KillGateway,
    Fault::StopGateway,
    Fault::RestartGateway,
    Fault::FillDisk,
    Fault::StepClock,
    |_| Fault::StepBillingClock,
    |_| Fault::KillBilling,
    |_| Fault::StopBilling,
    |_| Fault::KillSecondBilling,
    Fault::KillBillingAndGateway,
    |_| Fault::Line(LineFault::Cut),
    |_| Fault::Line(LineFault::Silent),
    |_| Fault::Line(LineFault::Slow),
    |_| Fault::RedisLine(LineFault::Cut),
    |_| Fault::RedisLine(LineFault::Silent),
    |_| Fault::RedisLine(LineFault::Slow),
    |_| Fault::StoreLine(LineFault::Cut),
    |_| Fault::StoreLine(LineFault::Silent),
    |_| Fault::StoreLine(LineFault::Slow),
    |_| Fault::KillRedis,
    |_| Fault::StopRedis,
    |_| Fault::FillRedis,
    |_| Fault::DeliverAgain,
    |_| Fault::CrashPostgres,
    |_| Fault::EmptyPools,
];

impl Fault {
    /// Faults without an end: all of them in an order by chance, then all again in another.
    pub fn drawn(mut random: Rng, gateways: usize) -> impl Iterator<Item = Self> {
        std::iter::repeat_with(move || {
            let mut deck = DECK;
            random.shuffle(&mut deck);
            deck.map(|fault| fault(random.usize(..gateways)))
        })
        .flatten()
    }

    /// Whether a reply may break off by it.
    pub fn breaks_replies(self) -> bool {
        matches!(self, Self::KillGateway(_) | Self::KillBillingAndGateway(_))
    }

    /// Does it, lets it last, and undoes it.
    pub async fn happen(self, fleet: &mut Fleet, traffic: &Traffic, random: &mut Rng) {
        let replies = random.usize(5..60);
        let lasts = async || traffic.more_within(replies, FAULT_MAX).await;
        match self {
            Self::KillGateway(gateway) => {
                fleet.kill_gateway(gateway).await;
                lasts().await;
                fleet.start_gateway(gateway).await;
            }
            Self::StopGateway(gateway) => {
                fleet.gateway(gateway).signal("STOP");
                lasts().await;
                fleet.gateway(gateway).signal("CONT");
            }
            Self::RestartGateway(gateway) => {
                fleet.list(gateway, false);
                fleet.stop_gateway(gateway).await;
                fleet.start_gateway(gateway).await;
                fleet.list(gateway, true);
            }
            Self::FillDisk(gateway) => fill_disk(fleet, gateway).await,
            Self::StepClock(gateway) => {
                let off = async || Some(fleet.seconds_off(gateway).await);
                step(fleet.gateways[gateway].clock.as_ref(), off, traffic, random.bool()).await;
            }
            Self::StepBillingClock => {
                let off = async || fleet.billing_seconds_off();
                step(fleet.billing_clock.as_ref(), off, traffic, random.bool()).await;
            }
            Self::KillBilling => {
                fleet.kill_billing().await;
                lasts().await;
                fleet.start_billing().await;
            }
            Self::StopBilling => {
                fleet.readers().for_each(|reader| reader.signal("STOP"));
                lasts().await;
                fleet.readers().for_each(|reader| reader.signal("CONT"));
            }
            Self::KillSecondBilling => {
                fleet.kill_second_billing().await;
                lasts().await;
                fleet.start_second_billing().await;
            }
            Self::KillBillingAndGateway(gateway) => {
                fleet.kill_billing().await;
                fleet.kill_gateway(gateway).await;
                fleet.start_gateway(gateway).await;
                lasts().await;
                fleet.start_billing().await;
            }
            Self::Line(fault) => trouble(&fleet.line, fault, lasts()).await,
            Self::RedisLine(fault) => trouble(&fleet.redis_line, fault, lasts()).await,
            Self::StoreLine(fault) => trouble(&fleet.store_line, fault, lasts()).await,
            Self::KillRedis => {
                fleet.redis.kill();
                lasts().await;
                fleet.redis.start_again().await;
            }
            Self::StopRedis => {
                fleet.redis.freeze();
                lasts().await;
                fleet.redis.thaw();
            }
            Self::FillRedis => fill_redis(&fleet.redis, lasts()).await,
            Self::DeliverAgain => deliver_again(fleet, traffic, random).await,
            Self::CrashPostgres => {
                fleet.postgres.crash_and_start_again();
                lasts().await;
            }
            Self::EmptyPools => {
                let end = "select pg_terminate_backend(pid) from pg_stat_activity \
                           where datname = current_database() and pid <> pg_backend_pid()";
                fleet.postgres.run(DATABASE, &[end]);
                lasts().await;
            }
        }
    }
}

async fn trouble(line: &Relay, fault: LineFault, lasts: impl Future<Output = ()>) {
    line.set(match fault {
        LineFault::Cut => Line::Cut,
        LineFault::Silent => Line::Silent,
        LineFault::Slow => Line::Slow,
    });
    lasts.await;
    line.set(Line::Up);
}

/// No new segment can be made, until the gateway takes no request any more.
async fn fill_disk(fleet: &Fleet, gateway: usize) {
    let server = fleet.gateway(gateway);
    let admitting = "permille_journal_admitting";
    server.limit_files(Some(SEGMENT_BYTES - 1));
    eventually("the disk is full", async || (server.metric(admitting).await? == 0.0).then_some(()))
        .await;
    server.limit_files(None);
    eventually("there is room again", async || {
        (server.metric(admitting).await? > 0.0).then_some(())
    })
    .await;
}

/// Redis has less room than it fills, so that it refuses what could take more.
async fn fill_redis(redis: &Redis, lasts: impl Future<Output = ()>) {
    let room = async |bytes: u64| {
        let set = cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).to_owned();
        ask::<()>(redis, &set).await;
    };
    ask::<()>(redis, cmd("CONFIG").arg("RESETSTAT")).await;
    room(1).await;
    lasts.await;
    eventually("Redis has refused something", async || {
        let errors: String = ask(redis, cmd("INFO").arg("errorstats")).await;
        errors.contains("errorstat_OOM").then_some(())
    })
    .await;
    // As the server has it of itself: no limit.
    room(0).await;
}

/// A clock is another one for some replies. `off` is how far it is ahead, in seconds.
async fn step(
    clock: Option<&SteppedClock>,
    off: impl AsyncFn() -> Option<i64>,
    traffic: &Traffic,
    forward: bool,
) {
    let seconds = if forward { STEP_SECONDS } else { -STEP_SECONDS };
    let stepped = async |seconds: i64| {
        clock.unwrap().step(seconds);
        eventually("the clock is stepped", async || {
            let off = off().await? - seconds;
            (off.abs() < STEP_SECONDS / 2).then_some(())
        })
        .await;
    };
    stepped(seconds).await;
    traffic.more(20).await;
    stepped(0).await;
}

/// Keeps what is in the stream at some moments, and puts it there again, twice and shuffled.
async fn deliver_again(fleet: &Fleet, traffic: &Traffic, random: &mut Rng) {
    let mut kept = Vec::new();
    for _ in 0..3 {
        fleet.readers().for_each(|reader| reader.signal("STOP"));
        let entries = eventually("usage is in the stream", async || {
            let all = cmd("XRANGE").arg(USAGE_STREAM).arg("-").arg("+").to_owned();
            let found: StreamRangeReply = ask(&fleet.redis, &all).await;
            (!found.ids.is_empty()).then_some(found.ids)
        })
        .await;
        fleet.readers().for_each(|reader| reader.signal("CONT"));
        kept.extend(entries);
        traffic.more_within(10, FAULT_MAX).await;
    }
    let mut again: Vec<_> = (0..AGAIN).flat_map(|_| kept.iter()).collect();
    random.shuffle(&mut again);
    for entry in again {
        let mut add = cmd("XADD");
        add.arg(USAGE_STREAM).arg("*");
        // As it was: our scripts know the first field by its place.
        for name in [permille_types::ENTRY_ATTEMPT, permille_types::ENTRY_BATCH] {
            let Some(Value::BulkString(value)) = entry.map.get(name) else { panic!("{entry:?}") };
            add.arg(name).arg(value.as_slice());
        }
        ask::<String>(&fleet.redis, &add).await;
    }
}
