//! All SQL of sessions.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, SessionId, TokenClass, TokenCounts};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;

use super::{
    EndedSession, HiddenCost, LastRequest, Outcome, Session, SessionDelta, SessionKey, Standing,
    ToldOutcome, ended::Ending,
};
use crate::{
    LedgerError, column,
    error::{During, changed, changed_all},
    sql::{self, Connection},
};

sql::row! {
    struct Row {
        turns: i64,
        requests: i64,
        unpriced: i64,
        simulated: i64,
        tokens: String,
        cost: String,
        counts: Option<String>,
        amounts: Option<String>,
        first_at: i64,
        last_at: i64,
    }
}

impl TryFrom<Row> for SessionDelta {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        Ok(Self {
            turns: column::number("session.turns", row.turns)?,
            requests: row.requests,
            unpriced: row.unpriced,
            simulated: row.simulated,
            tokens: column::json("session.tokens", &row.tokens)?,
            cost: column::decimal("session.cost", &row.cost)?,
            counts: optional("session.counts", row.counts.as_deref())?,
            amounts: optional("session.amounts", row.amounts.as_deref())?,
            first_at: column::instant("session.first_at", row.first_at)?,
            last_at: column::instant("session.last_at", row.last_at)?,
        })
    }
}

/// What sessions of before do not have is nothing.
fn optional<T: DeserializeOwned + Default>(
    column: &'static str,
    text: Option<&str>,
) -> Result<T, LedgerError> {
    text.map_or_else(|| Ok(T::default()), |text| column::json(column, text))
}

sql::row! {
    struct NamedRow {
        customer: String,
        id: String,
        currency: String,
        outcome: Option<String>,
        outcome_at: Option<i64>,
        outcome_by: Option<String>,
        last_kind: Option<String>,
        last_ended: Option<String>,
        #[flatten]
        rollup: Row,
    }
}

impl NamedRow {
    fn last(&self) -> Result<LastRequest, LedgerError> {
        Ok(LastRequest {
            at: column::instant("session.last_at", self.rollup.last_at)?,
            kind: word("usage.turn_kind", self.last_kind.as_deref())?,
            ended: word("usage.ended", self.last_ended.as_deref())?,
        })
    }

    /// The session as it stands at `now`.
    fn at(self, now: DateTime<Utc>) -> Result<Session, LedgerError> {
        let last = self.last()?;
        let outcome = word::<Outcome>("session.outcome", self.outcome.as_deref())?;
        let outcome = outcome.map(|outcome| {
            let by = self.outcome_by.as_deref().unwrap_or_default();
            Ok::<_, LedgerError>(ToldOutcome {
                outcome,
                at: column::instant("session.outcome_at", self.outcome_at.unwrap_or_default())?,
                by: column::parsed("session.outcome_by", by)?,
            })
        });
        let standing =
            Standing { outcome: outcome.transpose()?, inferred_outcome: last.outcome(now) };
        session(
            &column::parsed("session.customer", &self.customer)?,
            &column::parsed("session.id", &self.id)?,
            column::parsed("customer.currency", &self.currency)?,
            self.rollup.try_into()?,
            standing,
        )
    }
}

fn word<T: DeserializeOwned>(
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, LedgerError> {
    text.map(|text| column::word(column, text)).transpose()
}

/// A session of the sums of its requests.
pub(super) fn session(
    customer: &CustomerId,
    id: &SessionId,
    currency: Currency,
    sum: SessionDelta,
    standing: Standing,
) -> Result<Session, LedgerError> {
    Ok(Session {
        customer: customer.clone(),
        id: id.clone(),
        turns: sum.turns,
        requests: column::number("session.requests", sum.requests)?,
        unpriced_requests: column::number("session.unpriced", sum.unpriced)?,
        simulated_requests: column::number("session.simulated", sum.simulated)?,
        hidden: HiddenCost::new(&sum.counts, &sum.amounts),
        tokens: tokens(sum.tokens)?,
        cost: sum.cost,
        currency,
        outcome: standing.outcome,
        inferred_outcome: standing.inferred_outcome,
        first_at: sum.first_at,
        last_at: sum.last_at,
    })
}

pub(super) fn tokens(sums: BTreeMap<TokenClass, i64>) -> Result<TokenCounts, LedgerError> {
    sums.into_iter()
        .map(|(class, count)| Ok((class, column::number("session.tokens", count)?)))
        .collect()
}

sql::row! {
    struct KeyedRow {
        customer: String,
        id: String,
        #[flatten]
        rollup: Row,
    }
}

/// The roll-ups of those of `sessions` that have one.
pub(super) async fn rollups<'a>(
    connection: &mut Connection,
    sessions: impl Iterator<Item = &'a SessionKey>,
) -> Result<BTreeMap<SessionKey, SessionDelta>, LedgerError> {
    let mut stored = sql::many(
        "with asked (customer, id) as (values ($1, $2))
         select
             session.customer,
             session.id,
             session.turns,
             session.requests,
             session.unpriced,
             session.simulated,
             session.tokens,
             session.cost,
             session.counts,
             session.amounts,
             session.first_at,
             session.last_at
         from asked
         cross join session
         where session.customer = asked.customer
           and session.id = asked.id",
    );
    for (customer, id) in sessions {
        stored.row([customer.as_str().into(), id.as_str().into()]);
    }
    stored
        .fetch_all::<KeyedRow>(connection)
        .await
        .during("read session roll-ups")?
        .into_iter()
        .map(|KeyedRow { customer, id, rollup }| {
            let customer = column::parsed("session.customer", &customer)?;
            Ok(((customer, column::parsed("session.id", &id)?), rollup.try_into()?))
        })
        .collect()
}

/// Writes the sums of sessions.
pub(super) async fn set(
    connection: &mut Connection,
    sums: &[(&SessionKey, SessionDelta)],
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write session roll-ups";
    let mut set = sql::many(
        "insert into session (
             customer,
             id,
             turns,
             requests,
             unpriced,
             simulated,
             tokens,
             cost,
             counts,
             amounts,
             first_at,
             last_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict (customer, id) do update
         set turns = excluded.turns,
             requests = excluded.requests,
             unpriced = excluded.unpriced,
             simulated = excluded.simulated,
             tokens = excluded.tokens,
             cost = excluded.cost,
             counts = excluded.counts,
             amounts = excluded.amounts,
             first_at = excluded.first_at,
             last_at = excluded.last_at,
             -- Kept is how the last request ended, and now another is the last.
             last_kind = case when excluded.last_at = session.last_at then session.last_kind end,
             last_ended = case when excluded.last_at = session.last_at then session.last_ended end,
             -- What comes or is priced late is counted when the session is found silent again.
             ended_at = case when excluded.cost = session.cost then session.ended_at end",
    );
    for ((customer, id), sum) in sums {
        set.row([
            customer.as_str().into(),
            id.as_str().into(),
            i64::from(sum.turns).into(),
            sum.requests.into(),
            sum.unpriced.into(),
            sum.simulated.into(),
            column::to_json("tokens of a session", &sum.tokens)?.into(),
            column::decimal_text(sum.cost).into(),
            column::to_json("counts of a session", &sum.counts)?.into(),
            column::to_json("amounts of a session", &sum.amounts)?.into(),
            column::micros(sum.first_at).into(),
            column::micros(sum.last_at).into(),
        ]);
    }
    let done = set.execute(connection).await.during(OPERATION)?;
    changed_all(OPERATION, sums.len(), done.rows_affected())
}

/// A column of the last request of a session; nothing where its row was dropped.
macro_rules! last_of {
    ($column:literal) => {
        concat!(
            "(
                 select ",
            $column,
            "
                 from usage
                 join usage_kind on usage_kind.id = usage.kind
                 where usage.session = session.id
                   and usage.customer = session.customer
                   and usage.at = session.last_at
                 order by usage.request_id desc
                 limit 1
             )"
        )
    };
}

/// Columns of a session with its owner's currency; what follows finds the sessions.
macro_rules! select {
    ($found_by:literal) => {
        concat!(
            "select
                 session.customer,
                 session.id,
                 customer.currency,
                 session.turns,
                 session.requests,
                 session.unpriced,
                 session.simulated,
                 session.tokens,
                 session.cost,
                 session.counts,
                 session.amounts,
                 session.first_at,
                 session.last_at,
                 session.outcome,
                 session.outcome_at,
                 session.outcome_by,
                 session.ended_cost,
                 coalesce(",
            last_of!("usage_kind.turn_kind"),
            ", session.last_kind) as last_kind,
                 coalesce(",
            last_of!("usage_kind.ended"),
            ", session.last_ended) as last_ended
             from session
             join customer on customer.id = session.customer
             ",
            $found_by
        )
    };
}

/// Keeps how the last request of sessions came about and ended, where it was from one instant to
/// another: its row is about to go. How many sessions there were, as many as may be at once.
pub(crate) async fn keep_last(
    connection: &mut Connection,
    (from, before): (i64, i64),
    rows: i64,
) -> Result<i64, LedgerError> {
    let done = sql::query(concat!(
        "update session
             set last_kind = ",
        last_of!("usage_kind.turn_kind"),
        ",
                 last_ended = ",
        last_of!("usage_kind.ended"),
        "
             where (customer, id) in (
                 select
                     customer,
                     id
                 from session
                 where last_at >= $1
                   and last_at < $2
                   and last_ended is null
                 limit $3
             )
               and last_at >= $1
               and last_at < $2"
    ))
    .bind(from)
    .bind(before)
    .bind(rows)
    .execute(connection)
    .await
    .during("keep last requests of sessions")?;
    Ok(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX))
}

/// The highest turn of a session; 0 when it has no requests.
pub(crate) async fn last_turn(
    connection: &mut Connection,
    customer: &CustomerId,
    session: &SessionId,
) -> Result<u32, LedgerError> {
    let turns = sql::query_scalar::<i64>(
        "select turns
         from session
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(session.as_str())
    .fetch_optional(connection)
    .await
    .during("find last turn")?;
    column::number("session.turns", turns.unwrap_or_default())
}

pub(super) async fn find(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &SessionId,
    now: DateTime<Utc>,
) -> Result<Option<Session>, LedgerError> {
    sql::query_as::<NamedRow>(select!(
        "where session.customer = $1
           and session.id = $2"
    ))
    .bind(customer.as_str())
    .bind(id.as_str())
    .fetch_optional(connection)
    .await
    .during("find session")?
    .map(|row| row.at(now))
    .transpose()
}

/// Keeps what was told of a session, in the place of what was told before.
pub(super) async fn tell(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &SessionId,
    told: &ToldOutcome,
) -> Result<(), LedgerError> {
    const OPERATION: &str = "write outcome of a session";
    let done = sql::query(
        "update session
         set outcome = $3,
             outcome_at = $4,
             outcome_by = $5
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(id.as_str())
    .bind(told.outcome.as_str())
    .bind(column::micros(told.at))
    .bind(told.by.as_str())
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

sql::row! {
    struct SilentRow {
        ended_cost: Option<String>,
        #[flatten]
        session: NamedRow,
    }
}

impl TryFrom<SilentRow> for Ending {
    type Error = LedgerError;

    fn try_from(row: SilentRow) -> Result<Self, LedgerError> {
        let SilentRow { ended_cost, session } = row;
        let counted = ended_cost
            .as_deref()
            .map_or(Ok(Decimal::ZERO), |cost| column::decimal("session.ended_cost", cost))?;
        let last = session.last()?;
        let outcome = word::<Outcome>("session.outcome", session.outcome.as_deref())?;
        let sum = SessionDelta::try_from(session.rollup)?;
        let mut since = counted;
        since.set_sign_negative(true);
        Ok(Self {
            session: EndedSession {
                customer: column::parsed("session.customer", &session.customer)?,
                id: column::parsed("session.id", &session.id)?,
                currency: column::parsed("customer.currency", &session.currency)?,
                turns: sum.turns,
                cost: column::exact_add("cost of a session", sum.cost, since)?,
                unmetered: sum.is_unmetered(),
                counts: sum.counts,
                outcome,
                inferred_outcome: last.when_ended(),
                text_cost: None,
            },
            cost: sum.cost,
            last_at: sum.last_at,
        })
    }
}

/// Sessions whose last request was at `before` or earlier and that were not taken for ended since,
/// the oldest first.
pub(super) async fn silent(
    connection: &mut Connection,
    before: i64,
    rows: i64,
) -> Result<Vec<Ending>, LedgerError> {
    sql::query_as::<SilentRow>(select!(
        "where session.last_at <= $1
           and (session.ended_at is null or session.ended_at < session.last_at)
         order by session.last_at
         limit $2"
    ))
    .bind(before)
    .bind(rows)
    .fetch_all(connection)
    .await
    .during("find silent sessions")?
    .into_iter()
    .map(Ending::try_from)
    .collect()
}

/// Takes a session for ended.
pub(super) async fn end(connection: &mut Connection, ending: &Ending) -> Result<(), LedgerError> {
    const OPERATION: &str = "end session";
    let done = sql::query(
        "update session
         set ended_at = $3,
             ended_cost = $4
         where customer = $1
           and id = $2",
    )
    .bind(ending.session.customer.as_str())
    .bind(ending.session.id.as_str())
    .bind(column::micros(ending.last_at))
    .bind(column::decimal_text(ending.cost))
    .execute(connection)
    .await
    .during(OPERATION)?;
    changed(OPERATION, 1, done.rows_affected())
}

/// What was told of sessions, of one customer or of all.
pub(crate) async fn told(
    connection: &mut Connection,
    customer: Option<&CustomerId>,
) -> Result<HashMap<(CustomerId, SessionId), Outcome>, LedgerError> {
    let rows = sql::query_as::<(String, String, String)>(
        "select
             customer,
             id,
             outcome
         from session
         where outcome is not null
           and ($1 is null or customer = $1)",
    )
    .bind(customer.map(CustomerId::as_str))
    .fetch_all(connection)
    .await
    .during("read outcomes of sessions")?;
    rows.into_iter()
        .map(|(customer, id, outcome)| {
            let customer = column::parsed("session.customer", &customer)?;
            let id = column::parsed("session.id", &id)?;
            Ok(((customer, id), column::word("session.outcome", &outcome)?))
        })
        .collect()
}

const ALL: &str = select!(
    "where $1 is null
       and (session.last_at, session.customer, session.id) < ($2, $3, $4)
       and session.turns >= $6
     order by
         session.last_at desc,
         session.customer desc,
         session.id desc
     limit $5"
);
const BY_CUSTOMER: &str = select!(
    "where session.customer = $1
       and (session.last_at, session.customer, session.id) < ($2, $3, $4)
       and session.turns >= $6
     order by
         session.last_at desc,
         session.customer desc,
         session.id desc
     limit $5"
);

/// Sessions of at least so many turns before a place in the list, the most recently used first.
pub(super) async fn list(
    connection: &mut Connection,
    (customer, turns_min): (Option<&CustomerId>, u32),
    before: Option<(i64, &str, &str)>,
    (rows, now): (i64, DateTime<Utc>),
) -> Result<Vec<Session>, LedgerError> {
    let (last_at, before_customer, before_id) = before.unwrap_or((i64::MAX, "", ""));
    sql::query_as::<NamedRow>(if customer.is_some() { BY_CUSTOMER } else { ALL })
        .bind(customer.map(CustomerId::as_str))
        .bind(last_at)
        .bind(before_customer)
        .bind(before_id)
        .bind(rows)
        .bind(i64::from(turns_min))
        .fetch_all(connection)
        .await
        .during("list sessions")?
        .into_iter()
        .map(|row| row.at(now))
        .collect()
}

/// What a session has cost; nothing when it is not there.
pub(crate) async fn cost(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &str,
) -> Result<Decimal, LedgerError> {
    let cost = sql::query_scalar::<String>(
        "select cost
         from session
         where customer = $1
           and id = $2",
    )
    .bind(customer.as_str())
    .bind(id)
    .fetch_optional(connection)
    .await
    .during("read cost of a session")?;
    cost.map_or(Ok(Decimal::ZERO), |cost| column::decimal("session.cost", &cost))
}
