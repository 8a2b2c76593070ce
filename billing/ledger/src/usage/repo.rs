//! All SQL of usage rows.

use std::collections::HashMap;

use permille_types::{
    CustomerId, ModelName, PriceVersion, RequestId, SessionId, TurnKind, UpstreamName,
};

use super::{NewUsage, Place, Pricing, StoredUsage, UsageFilter, attempts, stored::Row};
use crate::{
    LedgerError, SummaryFilter, column,
    error::{During, changed, changed_all},
    rollup::Scope,
    sql::{self, Connection, Value},
};

fn bound(field: &'static str, value: Option<u64>) -> Result<Option<i64>, LedgerError> {
    value.map(|value| column::stored_count(field, value)).transpose()
}

/// Stores rows whose request ids are not taken, all of them.
pub(crate) async fn insert(
    connection: &mut Connection,
    rows: &[NewUsage],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert usage";
    let mut insert = sql::many(INSERT);
    for row in rows {
        insert.row(columns(row)?);
    }
    let done = insert.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, rows.len(), done.rows_affected())
}

/// What [`INSERT`] binds.
fn columns(row: &NewUsage) -> Result<[Value<'_>; 36], LedgerError> {
    let NewUsage { event, payload_sha256, pricing, leaf } = row;
    let units = (!event.units.is_empty()).then(|| column::to_json("units", &event.units));
    let flags = (!event.flags.is_empty()).then(|| column::to_json("flags", &event.flags));
    let (version, band, cost) = match pricing {
        Pricing::Priced { version, band, cost } => {
            let band = version.is_some().then_some(i64::from(*band));
            (version.as_ref().map(ToString::to_string), band, Some(column::decimal_text(*cost)))
        }
        Pricing::Held => (None, None, None),
    };
    let unpriced = i64::from(cost.is_none());
    Ok([
        event.request_id.to_string().into(),
        payload_sha256.as_slice().into(),
        column::micros(event.at).into(),
        event.customer.as_str().into(),
        event.project.as_str().into(),
        event.key.as_str().into(),
        event.session.as_str().into(),
        i64::from(event.session_explicit).into(),
        i64::from(event.turn).into(),
        event.family.as_str().into(),
        event.endpoint.as_str().into(),
        event.model_requested.as_str().into(),
        event.model_served.as_ref().map(ModelName::as_str).into(),
        event.service_tier.as_deref().into(),
        event.upstream.as_ref().map(UpstreamName::as_str).into(),
        event.status.map(i64::from).into(),
        i64::from(event.streamed).into(),
        event.ended.as_str().into(),
        event.source.as_str().into(),
        column::to_json("tokens", &event.tokens)?.into(),
        bound("input_total", event.input_total)?.into(),
        bound("output_total", event.output_total)?.into(),
        event.estimate_error_permille.map(i64::from).into(),
        units.transpose()?.into(),
        attempts::write(&event.attempts, &event.tokens)?.into(),
        column::stored_count("latency_ms", event.latency_ms)?.into(),
        bound("first_token_ms", event.first_token_ms)?.into(),
        flags.transpose()?.into(),
        version.into(),
        band.into(),
        cost.into(),
        unpriced.into(),
        event.region.as_deref().into(),
        event.turn_kind.map(TurnKind::as_str).into(),
        bound("resent_tokens", event.resent_tokens)?.into(),
        column::stored_count("leaf", *leaf)?.into(),
    ])
}

const INSERT: &str = "insert into usage (
         request_id,
         payload_sha256,
         at,
         customer,
         project,
         api_key,
         session,
         session_explicit,
         turn,
         family,
         endpoint,
         model_requested,
         model_served,
         service_tier,
         upstream,
         status,
         streamed,
         ended,
         source,
         tokens,
         input_total,
         output_total,
         estimate_error_permille,
         units,
         attempts,
         latency_ms,
         first_token_ms,
         flags,
         price_version,
         band,
         cost,
         unpriced,
         region,
         turn_kind,
         resent_tokens,
         leaf
     ) values (
         $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
         $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
         $21, $22, $23, $24, $25, $26, $27, $28, $29, $30,
         $31, $32, $33, $34, $35, $36
     )";

/// The hashes of what was stored under those of `requests` that are taken.
pub(crate) async fn payloads(
    connection: &mut Connection,
    requests: impl Iterator<Item = RequestId>,
) -> Result<HashMap<RequestId, Vec<u8>>, LedgerError> {
    let mut taken = sql::many(
        "with asked (request_id) as (values ($1))
         select
             usage.request_id,
             usage.payload_sha256
         from asked
         cross join usage
         where usage.request_id = asked.request_id",
    );
    for request in requests {
        taken.row([request.to_string().into()]);
    }
    taken
        .fetch_all::<(String, Vec<u8>)>(connection)
        .await
        .during("find usage by requests")?
        .into_iter()
        .map(|(request, hash)| Ok((column::parsed("usage.request_id", &request)?, hash)))
        .collect()
}

/// The hash of what was stored under a request id.
pub(crate) async fn payload_sha256(
    connection: &mut Connection,
    request: &RequestId,
) -> Result<Option<Vec<u8>>, LedgerError> {
    sql::query_scalar::<Vec<u8>>(
        "select payload_sha256
         from usage
         where request_id = $1",
    )
    .bind(request.to_string())
    .fetch_optional(connection)
    .await
    .during("find usage by request")
}

/// Prices a held row, as the `priced_as`th of its month.
pub(crate) async fn price(
    connection: &mut Connection,
    request: &RequestId,
    pricing: &Pricing,
    priced_as: u64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "price held usage";
    let Pricing::Priced { version, band, cost } = pricing else { return Ok(()) };
    let done = sql::query(
        "update usage
         set price_version = $2,
             band = $3,
             cost = $4,
             priced_as = $5,
             unpriced = 0
         where request_id = $1
           and unpriced = 1",
    )
    .bind(request.to_string())
    .bind(version.as_ref().map(PriceVersion::as_str))
    .bind(version.as_ref().map(|_| i64::from(*band)))
    .bind(column::decimal_text(*cost))
    .bind(column::stored_count("priced_as", priced_as)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// Gives the record of a row that has none its place.
pub(crate) async fn place(
    connection: &mut Connection,
    request: &RequestId,
    leaf: u64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "give a record its place";
    let done = sql::query(
        "update usage
         set leaf = $2
         where request_id = $1
           and leaf is null",
    )
    .bind(request.to_string())
    .bind(column::stored_count("leaf", leaf)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// The highest turn of a session; 0 when it has no rows.
pub(crate) async fn turn_max(
    connection: &mut Connection,
    customer: &CustomerId,
    session: &SessionId,
) -> Result<i64, LedgerError> {
    sql::query_scalar::<i64>(
        "select coalesce(max(turn), 0)
         from usage
         where customer = $1
           and session = $2",
    )
    .bind(customer.as_str())
    .bind(session.as_str())
    .fetch_one(connection)
    .await
    .during("find last turn")
}

/// Columns of a row; what follows finds the rows.
macro_rules! select {
    ($($found_by:literal),+ $(,)?) => {
        concat!(
            "select
                 usage.request_id,
                 usage.at,
                 usage.customer,
                 usage.project,
                 usage.api_key,
                 usage.session,
                 usage.session_explicit,
                 usage.turn,
                 usage.turn_kind,
                 usage.resent_tokens,
                 usage.family,
                 usage.endpoint,
                 usage.model_requested,
                 usage.model_served,
                 usage.service_tier,
                 usage.region,
                 usage.upstream,
                 usage.status,
                 usage.streamed,
                 usage.ended,
                 usage.source,
                 usage.tokens,
                 usage.input_total,
                 usage.output_total,
                 usage.estimate_error_permille,
                 usage.units,
                 usage.attempts,
                 usage.latency_ms,
                 usage.first_token_ms,
                 usage.flags,
                 usage.price_version,
                 usage.band,
                 usage.cost,
                 usage.leaf,
                 usage.priced_as,
                 customer.currency
             from usage
             join customer on customer.id = usage.customer
             ",
            $($found_by),+
        )
    };
}

/// One text per index. All of them bind the same values and leave none of them out.
macro_rules! newest_first {
    ($found_by:literal) => {
        select!(
            $found_by,
            "  and usage.at >= $4
               and usage.at < $5
               and (usage.at, usage.request_id) < ($6, $7)
             order by
                 usage.at desc,
                 usage.request_id desc
             limit $8"
        )
    };
}

const BY_REQUEST: &str = newest_first!(
    "where usage.request_id = $1
       and ($2 is null or usage.session = $2)
       and ($3 is null or usage.customer = $3)
    "
);
const BY_SESSION: &str = newest_first!(
    "where $1 is null
       and usage.session = $2
       and ($3 is null or usage.customer = $3)
    "
);
const BY_CUSTOMER: &str = newest_first!(
    "where $1 is null
       and $2 is null
       and usage.customer = $3
    "
);
const BY_TIME: &str = newest_first!(
    "where $1 is null
       and $2 is null
       and $3 is null
    "
);

/// Rows that `filter` lets pass, before a place in the list, newest first.
pub(crate) async fn list(
    connection: &mut Connection,
    filter: &UsageFilter,
    before: Option<(i64, String)>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    let text = match (&filter.request, &filter.session, &filter.customer) {
        (Some(_), _, _) => BY_REQUEST,
        (None, Some(_), _) => BY_SESSION,
        (None, None, Some(_)) => BY_CUSTOMER,
        (None, None, None) => BY_TIME,
    };
    let (before_at, before_request) = before.unwrap_or((i64::MAX, String::new()));
    sql::query_as::<Row>(text)
        .bind(filter.request.map(|request| request.to_string()))
        .bind(filter.session.as_ref().map(SessionId::as_str))
        .bind(filter.customer.as_ref().map(CustomerId::as_str))
        .bind(filter.since.map_or(i64::MIN, column::micros))
        .bind(filter.until.map_or(i64::MAX, column::micros))
        .bind(before_at)
        .bind(before_request)
        .bind(rows)
        .fetch_all(connection)
        .await
        .during("list usage")?
        .into_iter()
        .map(StoredUsage::try_from)
        .collect()
}

/// Rows without a price, oldest first, after a place in that order.
pub(crate) async fn held(
    connection: &mut Connection,
    after: (i64, &str),
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.unpriced = 1
           and (usage.at, usage.request_id) > ($1, $2)
         order by
             usage.at,
             usage.request_id
         limit $3"
    ))
    .bind(after.0)
    .bind(after.1)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read held usage")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// Rows whose record has no place, oldest first.
pub(crate) async fn leafless(
    connection: &mut Connection,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.leaf is null
         order by
             usage.at,
             usage.request_id
         limit $1"
    ))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read usage without a place")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// Rows of a customer's period whose records have a place before `size`, in the order of
/// admission, after a place in that order.
pub(crate) async fn recorded(
    connection: &mut Connection,
    scope: Scope<'_>,
    size: u64,
    after: (i64, &str),
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.customer = $1
           and usage.at >= $2
           and usage.at < $3
           and usage.leaf < $4
           and (usage.at, usage.request_id) > ($5, $6)
         order by
             usage.at,
             usage.request_id
         limit $7"
    ))
    .bind(scope.customer.as_str())
    .bind(column::micros(scope.period.start))
    .bind(column::micros(scope.period.end))
    .bind(column::stored_count("size", size)?)
    .bind(after.0)
    .bind(after.1)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read recorded usage")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// The row of one request.
pub(crate) async fn of_request(
    connection: &mut Connection,
    request: &RequestId,
) -> Result<Option<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!("where usage.request_id = $1"))
        .bind(request.to_string())
        .fetch_optional(connection)
        .await
        .during("read usage of a request")?
        .map(StoredUsage::try_from)
        .transpose()
}

/// Rows of a session in the order of its turns, after one of them.
pub(crate) async fn of_session(
    connection: &mut Connection,
    customer: &CustomerId,
    session: &SessionId,
    after: Option<&StoredUsage>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.customer = $1
           and usage.session = $2
           and (usage.turn, usage.at, usage.request_id) > ($3, $4, $5)
         order by
             usage.turn,
             usage.at,
             usage.request_id
         limit $6"
    ))
    .bind(customer.as_str())
    .bind(session.as_str())
    .bind(after.map_or(i64::MIN, |row| i64::from(row.event.turn)))
    .bind(after.map_or(i64::MIN, |row| column::micros(row.event.at)))
    .bind(after.map_or_else(String::new, |row| row.event.request_id.to_string()))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read usage of a session")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// Whether there are more than `most` requests of a summary.
pub(crate) async fn is_more_than(
    connection: &mut Connection,
    filter: &SummaryFilter,
    most: u32,
) -> Result<bool, LedgerError> {
    let counted = sql::query_scalar::<i64>(
        "select count(*)
         from (
             select 1
             from usage
             where ($1 is null or usage.customer = $1)
               and usage.at >= $2
               and usage.at < $3
             limit $4
         ) as found",
    )
    .bind(filter.customer.as_ref().map(CustomerId::as_str))
    .bind(filter.since.map_or(i64::MIN, column::micros))
    .bind(filter.until.map_or(i64::MAX, column::micros))
    .bind(i64::from(most).saturating_add(1))
    .fetch_one(connection)
    .await
    .during("count usage")?;
    Ok(counted > i64::from(most))
}

/// Rows that `filter` lets pass, in the order of sessions and of admission in them, after a place.
pub(crate) async fn by_session(
    connection: &mut Connection,
    filter: &SummaryFilter,
    after: Option<Place>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    let after = after.unwrap_or_else(Place::first);
    sql::query_as::<Row>(select!(
        "where ($1 is null or usage.customer = $1)
           and usage.at >= $2
           and usage.at < $3
           and (usage.session, usage.customer, usage.at, usage.request_id) > ($4, $5, $6, $7)
         order by
             usage.session,
             usage.customer,
             usage.at,
             usage.request_id
         limit $8"
    ))
    .bind(filter.customer.as_ref().map(CustomerId::as_str))
    .bind(filter.since.map_or(i64::MIN, column::micros))
    .bind(filter.until.map_or(i64::MAX, column::micros))
    .bind(after.session)
    .bind(after.customer)
    .bind(after.at)
    .bind(after.request)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read usage by session")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}
