//! All SQL of deliveries.

use chrono::{DateTime, Utc};

use super::{Attempted, Delivery, DeliveryState};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
    webhook::EventKind,
};

/// Puts an event behind the others of an endpoint.
pub(in crate::webhook) async fn insert(
    connection: &mut Connection,
    endpoint: &str,
    event: &str,
    subject: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert webhook delivery";
    let done = sql::query(
        "insert into webhook_delivery (
             endpoint,
             ordinal,
             event,
             subject,
             state,
             attempts,
             due_at
         )
         select
             $1,
             coalesce(max(ordinal), 0) + 1,
             $2,
             $3,
             'pending',
             0,
             $4
         from webhook_delivery
         where endpoint = $1",
    )
    .bind(endpoint)
    .bind(event)
    .bind(subject)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

sql::row! {
    struct DueRow {
        ordinal: i64,
        event: String,
        payload: String,
        attempts: i64,
    }
}

pub(super) struct Due {
    pub(super) ordinal: i64,
    pub(super) event: String,
    pub(super) payload: String,
    pub(super) attempts: u32,
}

/// What is due for an endpoint: of each subject only the first that is pending.
pub(super) async fn due(
    connection: &mut Connection,
    endpoint: &str,
    now: DateTime<Utc>,
    max: usize,
) -> Result<Vec<Due>, LedgerError> {
    let rows = sql::query_as::<DueRow>(
        "select
             waiting.ordinal,
             waiting.event,
             webhook_event.payload,
             waiting.attempts
         from webhook_delivery as waiting
         join webhook_event on webhook_event.id = waiting.event
         where waiting.endpoint = $1
           and waiting.state = 'pending'
           and waiting.due_at <= $2
           and (waiting.leased_until is null or waiting.leased_until <= $2)
           and not exists (
               select 1
               from webhook_delivery as earlier
               where earlier.endpoint = waiting.endpoint
                 and earlier.subject = waiting.subject
                 and earlier.state = 'pending'
                 and earlier.ordinal < waiting.ordinal
           )
         order by waiting.due_at, waiting.ordinal
         limit $3",
    )
    .bind(endpoint)
    .bind(column::micros(now))
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .during("find deliveries to send")?;
    let read = |row: DueRow| {
        Ok(Due {
            ordinal: row.ordinal,
            event: row.event,
            payload: row.payload,
            attempts: column::number("webhook_delivery.attempts", row.attempts)?,
        })
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn lease(
    connection: &mut Connection,
    endpoint: &str,
    ordinal: i64,
    until: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "lease delivery";
    let done = sql::query(
        "update webhook_delivery
         set leased_until = $3
         where endpoint = $1
           and ordinal = $2",
    )
    .bind(endpoint)
    .bind(ordinal)
    .bind(column::micros(until))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Notes an attempt. One whose delivery was given up or settled meanwhile changes nothing.
pub(super) async fn settle(
    connection: &mut Connection,
    endpoint: &str,
    ordinal: i64,
    attempted: &Attempted,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note attempt of delivery";
    let (state, again_at, status, error) = match attempted {
        Attempted::Delivered { status } => (DeliveryState::Delivered, None, Some(*status), None),
        Attempted::Failed { status, error, again_at: Some(at), .. } => {
            (DeliveryState::Pending, Some(*at), *status, Some(error.as_str()))
        }
        Attempted::Failed { status, error, again_at: None, .. } => {
            (DeliveryState::Dead, None, *status, Some(error.as_str()))
        }
    };
    let now = column::micros(now);
    let done = sql::query(
        "update webhook_delivery
         set state = $3,
             attempts = attempts + 1,
             due_at = coalesce($4, due_at),
             leased_until = null,
             last_at = $5,
             last_status = $6,
             last_error = $7,
             settled_at = $8
         where endpoint = $1
           and ordinal = $2
           and state = 'pending'",
    )
    .bind(endpoint)
    .bind(ordinal)
    .bind(state.as_str())
    .bind(again_at.map(column::micros))
    .bind(now)
    .bind(status.map(i64::from))
    .bind(error)
    .bind((state != DeliveryState::Pending).then_some(now))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected()).map(drop)
}

/// Gives up what is pending for an endpoint.
pub(in crate::webhook) async fn give_up_all(
    connection: &mut Connection,
    endpoint: &str,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), LedgerError> {
    sql::query(
        "update webhook_delivery
         set state = 'dead',
             leased_until = null,
             last_error = $2,
             settled_at = $3
         where endpoint = $1
           and state = 'pending'",
    )
    .bind(endpoint)
    .bind(why)
    .bind(column::micros(now))
    .execute(connection)
    .await
    .during("give up deliveries")
    .map(drop)
}

/// Gives up what was due before `before` and was not sent since. How many that was.
pub(super) async fn give_up_late(
    connection: &mut Connection,
    before: DateTime<Utc>,
    why: &str,
    now: DateTime<Utc>,
) -> Result<u64, LedgerError> {
    let done = sql::query(
        "update webhook_delivery
         set state = 'dead',
             leased_until = null,
             last_error = $2,
             settled_at = $3
         where state = 'pending'
           and due_at < $1
           and (leased_until is null or leased_until <= $3)",
    )
    .bind(column::micros(before))
    .bind(why)
    .bind(column::micros(now))
    .execute(connection)
    .await
    .during("give up late deliveries")?;
    Ok(done.rows_affected())
}

/// Makes a delivery pending again. Whether there is one.
pub(super) async fn resend(
    connection: &mut Connection,
    endpoint: &str,
    event: &str,
    now: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "send delivery again";
    let done = sql::query(
        "update webhook_delivery
         set state = 'pending',
             attempts = 0,
             due_at = $3,
             leased_until = null,
             settled_at = null
         where endpoint = $1
           and event = $2",
    )
    .bind(endpoint)
    .bind(event)
    .bind(column::micros(now))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

sql::row! {
    struct DeliveryRow {
        ordinal: i64,
        event: String,
        kind: String,
        subject: String,
        at: i64,
        state: String,
        attempts: i64,
        due_at: i64,
        last_at: Option<i64>,
        last_status: Option<i64>,
        last_error: Option<String>,
        settled_at: Option<i64>,
    }
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = LedgerError;

    fn try_from(row: DeliveryRow) -> Result<Self, LedgerError> {
        let at = |column, micros: Option<i64>| {
            micros.map(|micros| column::instant(column, micros)).transpose()
        };
        let state: DeliveryState = column::word("webhook_delivery.state", &row.state)?;
        let pending = state == DeliveryState::Pending;
        Ok(Self {
            event: row.event,
            kind: column::word::<EventKind>("webhook_event.kind", &row.kind)?,
            subject: row.subject,
            at: column::instant("webhook_event.at", row.at)?,
            state,
            attempts: column::number("webhook_delivery.attempts", row.attempts)?,
            due_at: at("webhook_delivery.due_at", pending.then_some(row.due_at))?,
            last_at: at("webhook_delivery.last_at", row.last_at)?,
            last_status: row
                .last_status
                .map(|status| column::number("webhook_delivery.last_status", status))
                .transpose()?,
            last_error: row.last_error,
            settled_at: at("webhook_delivery.settled_at", row.settled_at)?,
            ordinal: row.ordinal,
        })
    }
}

/// The log of an endpoint before `before`, newest first.
pub(super) async fn deliveries(
    connection: &mut Connection,
    endpoint: &str,
    state: Option<DeliveryState>,
    before: i64,
    rows: i64,
) -> Result<Vec<Delivery>, LedgerError> {
    sql::query_as::<DeliveryRow>(
        "select
             webhook_delivery.ordinal,
             webhook_delivery.event,
             webhook_event.kind,
             webhook_delivery.subject,
             webhook_event.at,
             webhook_delivery.state,
             webhook_delivery.attempts,
             webhook_delivery.due_at,
             webhook_delivery.last_at,
             webhook_delivery.last_status,
             webhook_delivery.last_error,
             webhook_delivery.settled_at
         from webhook_delivery
         join webhook_event on webhook_event.id = webhook_delivery.event
         where webhook_delivery.endpoint = $1
           and ($2 is null or webhook_delivery.state = $2)
           and webhook_delivery.ordinal < $3
         order by webhook_delivery.ordinal desc
         limit $4",
    )
    .bind(endpoint)
    .bind(state.map(DeliveryState::as_str))
    .bind(before)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list deliveries")?
    .into_iter()
    .map(Delivery::try_from)
    .collect()
}

/// One entry of the log.
pub(in crate::webhook) async fn delivery(
    connection: &mut Connection,
    endpoint: &str,
    event: &str,
) -> Result<Option<Delivery>, LedgerError> {
    sql::query_as::<DeliveryRow>(
        "select
             webhook_delivery.ordinal,
             webhook_delivery.event,
             webhook_event.kind,
             webhook_delivery.subject,
             webhook_event.at,
             webhook_delivery.state,
             webhook_delivery.attempts,
             webhook_delivery.due_at,
             webhook_delivery.last_at,
             webhook_delivery.last_status,
             webhook_delivery.last_error,
             webhook_delivery.settled_at
         from webhook_delivery
         join webhook_event on webhook_event.id = webhook_delivery.event
         where webhook_delivery.endpoint = $1
           and webhook_delivery.event = $2",
    )
    .bind(endpoint)
    .bind(event)
    .fetch_optional(connection)
    .await
    .during("find delivery")?
    .map(Delivery::try_from)
    .transpose()
}

/// Deliveries of one state to endpoints that were not removed; no further than `most`.
pub(super) async fn count(
    connection: &mut Connection,
    state: DeliveryState,
    most: u32,
) -> Result<u64, LedgerError> {
    let counted = sql::query_scalar::<i64>(
        "select count(*)
         from (
             select 1
             from webhook_endpoint
             join webhook_delivery on webhook_delivery.endpoint = webhook_endpoint.id
             where webhook_endpoint.removed_at is null
               and webhook_delivery.state = $1
             limit $2
         ) as found",
    )
    .bind(state.as_str())
    .bind(i64::from(most))
    .fetch_one(connection)
    .await
    .during("count deliveries")?;
    column::number("count of deliveries", counted)
}

/// When the oldest event happened that is still to be told.
pub(super) async fn oldest_pending(
    connection: &mut Connection,
) -> Result<Option<DateTime<Utc>>, LedgerError> {
    sql::query_scalar::<i64>(
        "select webhook_event.at
         from webhook_delivery
         join webhook_event on webhook_event.id = webhook_delivery.event
         where webhook_delivery.state = 'pending'
         order by webhook_delivery.event
         limit 1",
    )
    .fetch_optional(connection)
    .await
    .during("find oldest delivery")?
    .map(|at| column::instant("webhook_event.at", at))
    .transpose()
}

/// Deletes what was settled before `before`, and events that nobody is told of any more. How many
/// deliveries that was.
pub(super) async fn forget(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> Result<u64, LedgerError> {
    let done = sql::query(
        "delete from webhook_delivery
         where state <> 'pending'
           and settled_at < $1",
    )
    .bind(column::micros(before))
    .execute(connection)
    .await
    .during("forget deliveries")?;
    sql::query(
        "delete from webhook_event
         where at < $1
           and not exists (
               select 1
               from webhook_delivery
               where webhook_delivery.event = webhook_event.id
           )",
    )
    .bind(column::micros(before))
    .execute(connection)
    .await
    .during("forget webhook events")?;
    Ok(done.rows_affected())
}
