//! All SQL of usage rows.

use permille_types::{CustomerId, ModelName, RequestId, SessionId, UsageEvent};

use super::{
    NewUsage, Place, Pricing, StoredUsage, UsageFilter, attempts, day, key,
    kind::{Kind, Kinds, is_served_as_asked},
    stored::Row,
    tokens,
};
use crate::{
    LedgerError, SummaryFilter, column,
    error::{During, changed, changed_all},
    rollup::Scope,
    sql::{self, Connection, Value},
};

fn bound(field: &'static str, value: Option<u64>) -> Result<Option<i64>, LedgerError> {
    value.map(|value| column::stored_count(field, value)).transpose()
}

/// Stores rows whose request ids are not taken, all of them, and their keys.
pub(crate) async fn insert(
    connection: &mut Connection,
    rows: &[NewUsage],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "insert usage";
    let kinds = rows.iter().map(|row| Kind::of(&row.event, &row.pricing));
    let kinds = kinds.collect::<Result<Vec<_>, LedgerError>>()?;
    let numbers = Kinds::of(connection, &kinds).await?;
    day::make(connection, rows.iter().map(|row| row.event.at)).await?;
    key::insert(connection, rows).await?;
    let mut insert = sql::many(INSERT);
    for (row, kind) in rows.iter().zip(&kinds) {
        insert.row(columns(row, numbers.number(kind)?)?);
    }
    let done = insert.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, rows.len(), done.rows_affected())
}

/// What [`INSERT`] binds.
fn columns(row: &NewUsage, kind: i64) -> Result<[Value<'_>; 21], LedgerError> {
    let NewUsage { event, pricing, leaf, .. } = row;
    let units = (!event.units.is_empty()).then(|| column::to_json("units", &event.units));
    let cost = match pricing {
        Pricing::Priced { cost, .. } => Some(column::decimal_text(*cost)),
        Pricing::Held => None,
    };
    let served = event.model_served.as_ref().filter(|_| !is_served_as_asked(event));
    Ok([
        column::micros(event.at).into(),
        kind.into(),
        i64::from(event.turn).into(),
        bound("input_total", event.input_total)?.into(),
        bound("output_total", event.output_total)?.into(),
        bound("resent_tokens", event.resent_tokens)?.into(),
        column::stored_count("latency_ms", event.latency_ms)?.into(),
        bound("first_token_ms", event.first_token_ms)?.into(),
        column::stored_count("leaf", *leaf)?.into(),
        event.estimate_error_permille.map(i64::from).into(),
        column::request(event.request_id).into(),
        event.customer.as_str().into(),
        event.project.as_str().into(),
        event.key.as_str().into(),
        event.session.as_str().into(),
        event.model_requested.as_str().into(),
        served.map(ModelName::as_str).into(),
        cost.into(),
        tokens::write(&event.tokens)?.into(),
        units.transpose()?.into(),
        attempts::write(event)?.into(),
    ])
}

const INSERT: &str = "insert into usage (
         at,
         kind,
         turn,
         input_total,
         output_total,
         resent_tokens,
         latency_ms,
         first_token_ms,
         leaf,
         estimate_error_permille,
         request_id,
         customer,
         project,
         api_key,
         session,
         model_requested,
         model_served,
         cost,
         tokens,
         units,
         attempts
     ) values (
         $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
         $12, $13, $14, $15, $16, $17, $18, $19, $20, $21
     )";

/// Prices held rows, each as the one of its month that it says.
pub(crate) async fn price(
    connection: &mut Connection,
    priced: &[(UsageEvent, Pricing, u64)],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "price held usage";
    let kinds = priced.iter().map(|(event, pricing, _)| Kind::of(event, pricing));
    let kinds = kinds.collect::<Result<Vec<_>, LedgerError>>()?;
    let numbers = Kinds::of(connection, &kinds).await?;
    for ((event, pricing, priced_as), kind) in priced.iter().zip(&kinds) {
        let Pricing::Priced { cost, .. } = pricing else { continue };
        let done = sql::query(
            "update usage
             set kind = $3,
                 cost = $4,
                 priced_as = $5
             where at = $1
               and request_id = $2
               and cost is null",
        )
        .bind(column::micros(event.at))
        .bind(column::request(event.request_id))
        .bind(numbers.number(kind)?)
        .bind(column::decimal_text(*cost))
        .bind(column::stored_count("priced_as", *priced_as)?)
        .execute(connection)
        .await
        .during(OPERATION)?;
        changed(OPERATION, 1, done.rows_affected())?;
    }
    Ok(())
}

/// Gives the record of a row that has none its place.
pub(crate) async fn place(
    connection: &mut Connection,
    event: &UsageEvent,
    leaf: u64,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "give a record its place";
    let done = sql::query(
        "update usage
         set leaf = $3
         where at = $1
           and request_id = $2
           and leaf is null",
    )
    .bind(column::micros(event.at))
    .bind(column::request(event.request_id))
    .bind(column::stored_count("leaf", leaf)?)
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
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
                 usage_kind.session_explicit,
                 usage.turn,
                 usage_kind.turn_kind,
                 usage.resent_tokens,
                 usage_kind.family,
                 usage_kind.endpoint,
                 usage.model_requested,
                 usage_kind.served_as_asked,
                 usage.model_served,
                 usage_kind.service_tier,
                 usage_kind.region,
                 usage_kind.upstream,
                 usage_kind.status,
                 usage_kind.streamed,
                 usage_kind.ended,
                 usage_kind.source,
                 usage.tokens,
                 usage.input_total,
                 usage.output_total,
                 usage.estimate_error_permille,
                 usage.units,
                 usage.attempts,
                 usage.latency_ms,
                 usage.first_token_ms,
                 usage_kind.flags,
                 usage_kind.price_version,
                 usage_kind.band,
                 usage.cost,
                 usage.leaf,
                 usage.priced_as,
                 customer.currency
             from usage
             join usage_kind on usage_kind.id = usage.kind
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
    "join usage_key
         on usage_key.at = usage.at
        and usage_key.request_id = usage.request_id
     where usage_key.request_id = $1
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
    before: Option<(i64, RequestId)>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    let text = match (&filter.request, &filter.session, &filter.customer) {
        (Some(_), _, _) => BY_REQUEST,
        (None, Some(_), _) => BY_SESSION,
        (None, None, Some(_)) => BY_CUSTOMER,
        (None, None, None) => BY_TIME,
    };
    let (before_at, before_request) =
        before.map_or((i64::MAX, Vec::new()), |(at, request)| (at, column::request(request)));
    sql::query_as::<Row>(text)
        .bind(filter.request.map(column::request))
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
    after: Option<(i64, RequestId)>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.cost is null
           and (usage.at, usage.request_id) > ($1, $2)
         order by
             usage.at,
             usage.request_id
         limit $3"
    ))
    .bind(after.map_or(i64::MIN, |(at, _)| at))
    .bind(after.map_or_else(Vec::new, |(_, request)| column::request(request)))
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
    after: Option<(i64, RequestId)>,
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
    .bind(after.map_or(i64::MIN, |(at, _)| at))
    .bind(after.map_or_else(Vec::new, |(_, request)| column::request(request)))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read recorded usage")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// Rows of a stretch of time in the order of admission, after a place in that order.
pub(crate) async fn of_stretch(
    connection: &mut Connection,
    (start, end): (i64, i64),
    after: Option<(i64, RequestId)>,
    rows: i64,
) -> Result<Vec<StoredUsage>, LedgerError> {
    let (at, request) = after.map_or((start, Vec::new()), |(at, id)| (at, column::request(id)));
    sql::query_as::<Row>(select!(
        "where usage.at < $1
           and (usage.at, usage.request_id) > ($2, $3)
         order by
             usage.at,
             usage.request_id
         limit $4"
    ))
    .bind(end)
    .bind(at)
    .bind(request)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read usage of a day")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// The row of one request.
pub(crate) async fn of_request(
    connection: &mut Connection,
    request: &RequestId,
) -> Result<Option<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "join usage_key
             on usage_key.at = usage.at
            and usage_key.request_id = usage.request_id
         where usage_key.request_id = $1"
    ))
    .bind(column::request(*request))
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
    .bind(after.map_or_else(Vec::new, |row| column::request(row.event.request_id)))
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("read usage of a session")?
    .into_iter()
    .map(StoredUsage::try_from)
    .collect()
}

/// The last request of a session that ended complete and has a price.
pub(crate) async fn last_complete(
    connection: &mut Connection,
    customer: &CustomerId,
    session: &SessionId,
) -> Result<Option<StoredUsage>, LedgerError> {
    sql::query_as::<Row>(select!(
        "where usage.customer = $1
           and usage.session = $2
           and usage.cost is not null
           and usage_kind.ended = 'complete'
         order by
             usage.at desc,
             usage.request_id desc
         limit 1"
    ))
    .bind(customer.as_str())
    .bind(session.as_str())
    .fetch_optional(connection)
    .await
    .during("find last reply of a session")?
    .map(StoredUsage::try_from)
    .transpose()
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
    if after.is_none() {
        day::refuse_dropped(connection, filter.since, filter.until).await?;
    }
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
