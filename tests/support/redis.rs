//! What system tests ask of a real Redis.

use std::collections::BTreeMap;

use ::redis::{Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use permille_test_redis::Redis;

/// Asks it something, over a connection of its own.
///
/// # Panics
/// When it does not answer, or with something else.
pub async fn ask<T: FromRedisValue>(redis: &Redis, command: &Cmd) -> T {
    command.query_async(&mut connection(redis).await).await.unwrap()
}

/// A connection of its own.
pub async fn connection(redis: &Redis) -> MultiplexedConnection {
    let client = ::redis::Client::open(redis.url()).unwrap();
    // Who asks has a deadline of its own.
    let config = ::redis::AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Does to a customer's books what a minute does, while nothing is open: the leases of what is
/// held end, and counters are due to be loaded again. The next step sees to both.
pub async fn a_minute_passes(redis: &Redis, customer: &str) {
    let mut connection = connection(redis).await;
    let key = |part: &str| format!("permille:{{{customer}}}:{part}");
    let all = async |connection: &mut MultiplexedConnection, part: &str| {
        let asked = cmd("HGETALL").arg(key(part)).clone();
        asked.query_async::<BTreeMap<String, String>>(connection).await.unwrap()
    };
    let mut steps = ::redis::pipe();
    let reservations = all(&mut connection, "reservations").await;
    // A settled one is only remembered.
    for id in reservations.iter().filter(|(_, record)| *record != "S").map(|(id, _)| id) {
        steps.cmd("ZADD").arg(key("due")).arg("XX").arg(0).arg(id).ignore();
    }
    let counters = all(&mut connection, "counters").await;
    for field in counters.keys().filter(|field| field.ends_with("|f")) {
        steps.cmd("HSET").arg(key("counters")).arg(field).arg(0).ignore();
    }
    if !steps.is_empty() {
        steps.exec_async(&mut connection).await.unwrap();
    }
}

/// What is used and held of each of a customer's counters of money, at one instant.
pub async fn money(
    connection: &mut MultiplexedConnection,
    customer: &str,
) -> BTreeMap<String, (u64, u64)> {
    let asked = cmd("HGETALL").arg(format!("permille:{{{customer}}}:counters")).clone();
    let fields: BTreeMap<String, String> = asked.query_async(connection).await.unwrap();
    let number =
        |counter: &str, field: &str| fields.get(&format!("{counter}{field}"))?.parse().ok();
    let counters = fields.keys().filter_map(|field| field.strip_suffix("|u"));
    let counters = counters.filter(|counter| counter.starts_with("m/"));
    counters
        .filter_map(|name| Some((name.to_owned(), (number(name, "|u")?, number(name, "|h")?))))
        .collect()
}
