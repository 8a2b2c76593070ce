//! What the tests ask of a real Redis.

use std::{collections::BTreeMap, time::Duration};

use permille_limits::SharedBooks;
use permille_test_redis::Redis;

/// Long enough for a busy machine; the bound itself is tested with a shorter one.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// The books in it, over a connection of their own.
pub(crate) fn books(redis: &Redis) -> SharedBooks {
    SharedBooks::open(&redis.url().into(), WAIT).unwrap()
}

async fn connection(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// When each gateway last answered the roll.
pub(crate) async fn roll(redis: &Redis) -> BTreeMap<String, u64> {
    let mut connection = connection(redis).await;
    let asked = redis::cmd("HGETALL").arg("permille:{gateways}:here").clone();
    asked.query_async(&mut connection).await.unwrap()
}

/// Makes a counter due to be loaded again.
pub(crate) async fn age(redis: &Redis, customer: &str, counter: &str) {
    let mut connection = connection(redis).await;
    let (key, field) = (format!("permille:{{{customer}}}:counters"), format!("{counter}|f"));
    redis::cmd("HSET").arg(key).arg(field).arg(0).exec_async(&mut connection).await.unwrap();
}

/// Forgets which settlements of a customer are struck out, as docs/limits.md says to do where an
/// older ledger is restored.
pub(crate) async fn forget_log(redis: &Redis, customer: &str) {
    let key = format!("permille:{{{customer}}}:log");
    let mut connection = connection(redis).await;
    redis::cmd("UNLINK").arg(key).exec_async(&mut connection).await.unwrap();
}
