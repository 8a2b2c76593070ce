//! How a batch travels into the stream, and what became of it back.

use std::{sync::LazyLock, time::Duration};

use permille_types::{USAGE_STREAM, answer_key};
use redis::{
    AsyncCommands as _, ErrorKind, RedisError, Script, Value,
    aio::ConnectionManager,
    from_redis_value,
    streams::{StreamReadOptions, StreamReadReply},
};

static ADD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("add.lua")));
static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("look.lua")));

/// What became of an addition.
pub(super) enum Added {
    /// The entry's id.
    Entry(String),
    /// How many entries there are.
    Full(u64),
}

/// What became of an attempt.
pub(super) enum Look {
    /// Billing's reply.
    Answered(Vec<u8>),
    /// The entry is in the stream.
    Waits,
    /// Neither is there.
    Lost,
}

pub(super) async fn add(
    connection: &mut ConnectionManager,
    most: u32,
    before: Option<(&str, &str)>,
    attempt: &str,
    batch: &[u8],
) -> Result<Added, RedisError> {
    let (attempt_before, entry_before) = before.unwrap_or_default();
    let added: Value = ADD
        .key(USAGE_STREAM)
        .key(answer_key(attempt_before))
        .arg(most)
        .arg(attempt_before)
        .arg(entry_before)
        .arg(attempt)
        .arg(batch)
        .invoke_async(connection)
        .await?;
    Ok(match added {
        Value::Int(entries) => Added::Full(u64::try_from(entries).unwrap_or_default()),
        entry => Added::Entry(from_redis_value(entry)?),
    })
}

/// Waits until there is an answer, and no longer than `most`.
pub(super) async fn wait(
    connection: &mut ConnectionManager,
    answer: &str,
    most: Duration,
) -> Result<(), RedisError> {
    let block = usize::try_from(most.as_millis()).unwrap_or(1);
    let options = StreamReadOptions::default().block(block).count(1);
    let read: Option<StreamReadReply> =
        connection.xread_options(&[answer], &["0"], &options).await?;
    drop(read);
    Ok(())
}

pub(super) async fn look(
    connection: &mut ConnectionManager,
    answer: &str,
    attempt: &str,
    entry: &str,
) -> Result<Look, RedisError> {
    let mut call = LOOK.key(USAGE_STREAM);
    call.key(answer).arg(attempt).arg(entry);
    let (what, reply): (String, Vec<u8>) = call.invoke_async(connection).await?;
    match what.as_str() {
        "answered" => Ok(Look::Answered(reply)),
        "waits" => Ok(Look::Waits),
        "lost" => Ok(Look::Lost),
        _ => {
            Err((ErrorKind::UnexpectedReturnType, "an answer that the script does not give").into())
        }
    }
}
