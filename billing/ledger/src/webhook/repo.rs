//! All SQL of webhooks.

use chrono::{DateTime, Utc};
use permille_types::CustomerId;

use super::{
    Seeds, Webhook,
    event::{Event, Listening},
};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_one},
    sql::{self, Connection},
};

/// Endpoints that are looked at in one round of sending; the others come in the next ones.
const DUE_ENDPOINTS_MAX: i64 = 256;

sql::row! {
    struct Row {
        id: String,
        customer: Option<String>,
        url: String,
        events: String,
        description: Option<String>,
        seed: String,
        previous_seed: Option<String>,
        previous_until: Option<i64>,
        failures: i64,
        paused_until: Option<i64>,
        created_at: i64,
        removed_at: Option<i64>,
    }
}

impl TryFrom<Row> for (Webhook, Seeds) {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let at = |column, micros: Option<i64>| {
            micros.map(|micros| column::instant(column, micros)).transpose()
        };
        let customer = row.customer.as_deref();
        let webhook = Webhook {
            id: row.id,
            customer: customer
                .map(|id| column::parsed("webhook_endpoint.customer", id))
                .transpose()?,
            url: row.url,
            events: column::json("webhook_endpoint.events", &row.events)?,
            description: row.description,
            previous_secret_until: at("webhook_endpoint.previous_until", row.previous_until)?,
            failures: column::number("webhook_endpoint.failures", row.failures)?,
            paused_until: at("webhook_endpoint.paused_until", row.paused_until)?,
            created_at: column::instant("webhook_endpoint.created_at", row.created_at)?,
            removed_at: at("webhook_endpoint.removed_at", row.removed_at)?,
        };
        Ok((webhook, Seeds { current: row.seed, previous: row.previous_seed }))
    }
}

pub(super) async fn insert(
    connection: &mut Connection,
    webhook: &Webhook,
    events: &str,
    seeds: &Seeds,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert webhook";
    let done = sql::query(
        "insert into webhook_endpoint (
             id,
             customer,
             url,
             events,
             description,
             seed,
             failures,
             created_at
         ) values ($1, $2, $3, $4, $5, $6, 0, $7)",
    )
    .bind(&webhook.id)
    .bind(webhook.customer.as_ref().map(CustomerId::as_str))
    .bind(&webhook.url)
    .bind(events)
    .bind(&webhook.description)
    .bind(&seeds.current)
    .bind(column::micros(webhook.created_at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<(Webhook, Seeds)>, LedgerError> {
    sql::query_as::<Row>(
        "select
             id,
             customer,
             url,
             events,
             description,
             seed,
             previous_seed,
             previous_until,
             failures,
             paused_until,
             created_at,
             removed_at
         from webhook_endpoint
         where id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
    .during("find webhook")?
    .map(TryFrom::try_from)
    .transpose()
}

/// Endpoints that were not removed, after `after`.
pub(super) async fn list(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
    after: &str,
    rows: i64,
) -> Result<Vec<Webhook>, LedgerError> {
    let found = sql::query_as::<Row>(
        "select
             id,
             customer,
             url,
             events,
             description,
             seed,
             previous_seed,
             previous_until,
             failures,
             paused_until,
             created_at,
             removed_at
         from webhook_endpoint
         where removed_at is null
           and ($1 is null or customer = $1)
           and id > $2
         order by id
         limit $3",
    )
    .bind(customer.map(CustomerId::as_str))
    .bind(after)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("list webhooks")?;
    let read = |row| <(Webhook, Seeds)>::try_from(row).map(|(webhook, _)| webhook);
    found.into_iter().map(read).collect()
}

/// How many endpoints a customer has, or the house.
pub(super) async fn count(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
) -> Result<usize, LedgerError> {
    let count = sql::query_scalar::<i64>(
        "select count(*)
         from webhook_endpoint
         where removed_at is null
           and coalesce(customer, '') = $1",
    )
    .bind(customer.map_or("", CustomerId::as_str))
    .fetch_one(connection)
    .await
    .during("count webhooks")?;
    column::number("count of webhooks", count)
}

pub(super) async fn rotate(
    connection: &mut Connection,
    id: &str,
    seeds: &Seeds,
    previous_until: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "rotate webhook secret";
    let done = sql::query(
        "update webhook_endpoint
         set seed = $2,
             previous_seed = $3,
             previous_until = $4
         where id = $1",
    )
    .bind(id)
    .bind(&seeds.current)
    .bind(&seeds.previous)
    .bind(column::micros(previous_until))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

pub(super) async fn remove(
    connection: &mut Connection,
    id: &str,
    at: DateTime<Utc>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "remove webhook";
    let done = sql::query(
        "update webhook_endpoint
         set removed_at = $2
         where id = $1",
    )
    .bind(id)
    .bind(column::micros(at))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Those who may be told of changes of `customer`: the house, and the customer's own.
pub(super) async fn listening(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
) -> Result<Vec<Listening>, LedgerError> {
    let rows = sql::query_as::<(String, String)>(
        "select
             id,
             events
         from webhook_endpoint
         where removed_at is null
           and (customer is null or customer = $1)
         order by id",
    )
    .bind(customer.map(CustomerId::as_str))
    .fetch_all(connection)
    .await
    .during("find whom to tell")?;
    rows.into_iter().map(listener).collect()
}

/// Everybody who may be told of anything.
pub(super) async fn all_listening(
    connection: &mut Connection,
) -> Result<Vec<Listening>, LedgerError> {
    let rows = sql::query_as::<(String, String)>(
        "select
             id,
             events
         from webhook_endpoint
         where removed_at is null
         order by id",
    )
    .fetch_all(connection)
    .await
    .during("find whom to tell")?;
    rows.into_iter().map(listener).collect()
}

fn listener((id, events): (String, String)) -> Result<Listening, LedgerError> {
    Ok(Listening { id, events: column::json("webhook_endpoint.events", &events)? })
}

/// Writes an event, unless what is told once was told. Whether it was written.
pub(super) async fn insert_event<T>(
    connection: &mut Connection,
    id: &str,
    event: &Event<'_, T>,
    payload: &str,
    at: DateTime<Utc>,
) -> Result<bool, LedgerError> {
    const OPERATION: &str = "insert webhook event";
    let done = sql::query(
        "insert into webhook_event (
             id,
             kind,
             subject,
             once_key,
             at,
             payload
         ) values ($1, $2, $3, $4, $5, $6)
         on conflict (once_key) do nothing",
    )
    .bind(id)
    .bind(event.kind.as_str())
    .bind(&event.subject)
    .bind(&event.once)
    .bind(column::micros(at))
    .bind(payload)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed_one(OPERATION, done.rows_affected())
}

sql::row! {
    struct DueEndpointRow {
        id: String,
        url: String,
        seed: String,
        previous_seed: Option<String>,
        previous_until: Option<i64>,
        failures: i64,
    }
}

/// An endpoint for which something is due.
pub(super) struct DueEndpoint {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) failures: u32,
    seeds: Seeds,
    previous_until: i64,
}

impl DueEndpoint {
    /// What its secrets are made of at `now`, the current one first.
    pub(super) fn seeds(&self, now: DateTime<Utc>) -> Vec<&str> {
        let previous = self.seeds.previous.as_deref();
        let previous = previous.filter(|_| column::micros(now) < self.previous_until);
        std::iter::once(self.seeds.current.as_str()).chain(previous).collect()
    }
}

/// Endpoints that are not paused and for which something is due.
pub(super) async fn due_endpoints(
    connection: &mut Connection,
    now: DateTime<Utc>,
) -> Result<Vec<DueEndpoint>, LedgerError> {
    let rows = sql::query_as::<DueEndpointRow>(
        "select
             id,
             url,
             seed,
             previous_seed,
             previous_until,
             failures
         from webhook_endpoint
         where removed_at is null
           and (paused_until is null or paused_until <= $1)
           and exists (
               select 1
               from webhook_delivery
               where webhook_delivery.endpoint = webhook_endpoint.id
                 and webhook_delivery.state = 'pending'
                 and webhook_delivery.due_at <= $1
                 and (
                     webhook_delivery.leased_until is null
                     or webhook_delivery.leased_until <= $1
                 )
           )
         order by id
         limit $2",
    )
    .bind(column::micros(now))
    .bind(DUE_ENDPOINTS_MAX)
    .fetch_all(connection)
    .await
    .during("find endpoints to send to")?;
    let read = |row: DueEndpointRow| {
        Ok(DueEndpoint {
            failures: column::number("webhook_endpoint.failures", row.failures)?,
            id: row.id,
            url: row.url,
            seeds: Seeds { current: row.seed, previous: row.previous_seed },
            previous_until: row.previous_until.unwrap_or(i64::MIN),
        })
    };
    rows.into_iter().map(read).collect()
}

/// An endpoint has answered as it should.
pub(super) async fn succeed(
    connection: &mut Connection,
    endpoint: &str,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note success of endpoint";
    let done = sql::query(
        "update webhook_endpoint
         set failures = 0,
             paused_until = null
         where id = $1",
    )
    .bind(endpoint)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// An endpoint has failed once more.
pub(super) async fn fail(
    connection: &mut Connection,
    endpoint: &str,
    pause_until: Option<DateTime<Utc>>,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "note failure of endpoint";
    let done = sql::query(
        "update webhook_endpoint
         set failures = failures + 1,
             paused_until = $2
         where id = $1",
    )
    .bind(endpoint)
    .bind(pause_until.map(column::micros))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}
