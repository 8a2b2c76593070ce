//! The commands of a consumer of the stream.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use bytes::Bytes;
use permille_types::{
    NodeId, StreamOutcome, StreamReply, USAGE_GROUP, USAGE_STREAM, WIRE_VERSION, answer_key,
};
use redis::{
    AsyncCommands as _, ErrorKind, RedisError, Script, Value,
    aio::ConnectionManager,
    from_redis_value,
    streams::{
        StreamAutoClaimOptions, StreamAutoClaimReply, StreamId, StreamReadOptions, StreamReadReply,
    },
};

static DONE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("done.lua")));
static MEASURE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("measure.lua")));

/// How long an answer is kept: as long as a gateway that cannot reach Redis would wait for it. What
/// it misses it asks again.
const ANSWER_SECONDS: u32 = 600;

/// An entry of the stream in our hands.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) fields: HashMap<String, Bytes>,
}

impl TryFrom<StreamId> for Entry {
    type Error = RedisError;

    fn try_from(entry: StreamId) -> Result<Self, RedisError> {
        let read = |(name, value): (String, Value)| Ok((name, bytes(value)?));
        let fields = entry.map.into_iter().map(read).collect::<Result<_, RedisError>>()?;
        Ok(Self { id: entry.id, fields })
    }
}

fn bytes(value: Value) -> Result<Bytes, RedisError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        other => Ok(from_redis_value::<Vec<u8>>(other)?.into()),
    }
}

/// Makes the group, where it is not there: from the first entry on, so that none is left out.
pub(super) async fn join(connection: &mut ConnectionManager) -> Result<(), RedisError> {
    let made: Result<(), RedisError> =
        connection.xgroup_create_mkstream(USAGE_STREAM, USAGE_GROUP, "0").await;
    match made {
        Err(cause) if cause.code() == Some("BUSYGROUP") => Ok(()),
        made => made,
    }
}

/// An entry that this consumer was given before and has not acknowledged.
pub(super) async fn own(
    connection: &mut ConnectionManager,
    consumer: &NodeId,
) -> Result<Option<Entry>, RedisError> {
    loop {
        let options = StreamReadOptions::default().group(USAGE_GROUP, consumer.as_str()).count(1);
        let read: Option<StreamReadReply> =
            connection.xread_options(&[USAGE_STREAM], &["0"], &options).await?;
        match first(read) {
            // It was taken out of the stream since.
            Some(gone) if gone.map.is_empty() => remove(connection, &gone.id).await?,
            entry => return entry.map(Entry::try_from).transpose(),
        }
    }
}

/// An entry that some consumer has had for longer than `idle`.
pub(super) async fn claim(
    connection: &mut ConnectionManager,
    consumer: &NodeId,
    idle: Duration,
) -> Result<Option<Entry>, RedisError> {
    let idle_ms = usize::try_from(idle.as_millis()).unwrap_or(usize::MAX);
    let mut from = "0-0".to_owned();
    loop {
        let claimed: StreamAutoClaimReply = connection
            .xautoclaim_options(
                USAGE_STREAM,
                USAGE_GROUP,
                consumer.as_str(),
                idle_ms,
                &from,
                StreamAutoClaimOptions::default().count(1),
            )
            .await?;
        if let Some(entry) = claimed.claimed.into_iter().next() {
            return Entry::try_from(entry).map(Some);
        }
        // One call looks at some entries only.
        if claimed.next_stream_id == "0-0" {
            return Ok(None);
        }
        from = claimed.next_stream_id;
    }
}

/// A new entry, within `most`.
pub(super) async fn read(
    connection: &mut ConnectionManager,
    consumer: &NodeId,
    most: Duration,
) -> Result<Option<Entry>, RedisError> {
    let block = usize::try_from(most.as_millis()).unwrap_or(1);
    let options =
        StreamReadOptions::default().group(USAGE_GROUP, consumer.as_str()).count(1).block(block);
    let read: Option<StreamReadReply> =
        connection.xread_options(&[USAGE_STREAM], &[">"], &options).await?;
    first(read).map(Entry::try_from).transpose()
}

fn first(read: Option<StreamReadReply>) -> Option<StreamId> {
    read?.keys.into_iter().next()?.ids.into_iter().next()
}

/// Answers an attempt and takes its entry away.
pub(super) async fn done(
    connection: &mut ConnectionManager,
    entry: &str,
    attempt: &str,
    outcome: StreamOutcome,
) -> Result<(), RedisError> {
    let reply = StreamReply { version: WIRE_VERSION, outcome };
    let reply = serde_json::to_vec(&reply)
        .map_err(|cause| (ErrorKind::Client, "write the answer", cause.to_string()))?;
    DONE.key(USAGE_STREAM)
        .key(answer_key(attempt))
        .arg(USAGE_GROUP)
        .arg(entry)
        .arg(attempt)
        .arg(reply)
        .arg(ANSWER_SECONDS)
        .invoke_async(connection)
        .await
}

/// Takes an entry away without an answer.
pub(super) async fn remove(
    connection: &mut ConnectionManager,
    entry: &str,
) -> Result<(), RedisError> {
    redis::pipe()
        .atomic()
        .xack(USAGE_STREAM, USAGE_GROUP, &[entry])
        .ignore()
        .xdel(USAGE_STREAM, &[entry])
        .ignore()
        .query_async(connection)
        .await
}

/// How many entries there are, and the age of the oldest in milliseconds.
pub(super) async fn measure(connection: &mut ConnectionManager) -> Result<(i64, i64), RedisError> {
    MEASURE.key(USAGE_STREAM).invoke_async(connection).await
}
