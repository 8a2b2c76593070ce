//! Sessions: multi-turn conversations and what each turn cost.
//!
//! Every session has a roll-up, kept by intake and order-free; a request that belongs to no
//! conversation is a session of its own, so that sessions add up to requests. Turns are read from
//! the rows.

mod delta;
mod ended;
mod hidden;
mod outcome;
mod repo;
mod text;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use permille_types::{Currency, CustomerId, Price, SessionId, TokenCounts, TurnKind};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub(crate) use delta::SessionDelta;
pub use ended::EndedSession;
pub use hidden::HiddenCost;
pub(crate) use outcome::LastRequest;
pub use outcome::{InferredOutcome, OUTCOMES, Outcome, SESSION_IDLE, Told, ToldOutcome};
pub(crate) use repo::{cost, keep_last, last_turn, told};
pub(crate) use text::text_cost;

use crate::{
    Ledger, LedgerError, Listing, Page, column, price,
    store::Connection,
    summary,
    usage::{self, StoredUsage},
};

/// Rows that are read at a time where a session is summed up anew.
const ROWS_AT_ONCE: i64 = 1_000;
/// Most rows of a session that are read to show its turns: about 10 MiB.
pub const SESSION_ROWS_MAX: u32 = 10_000;

/// A multi-turn conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Session {
    /// Whose it is.
    pub customer: CustomerId,
    /// Its id, unique inside the customer.
    pub id: SessionId,
    /// The highest turn number.
    pub turns: u32,
    /// How many requests, regenerations and retries of the client included.
    pub requests: u64,
    /// How many of them have no price yet: their cost is not in `cost`.
    pub unpriced_requests: u64,
    /// How many of them the built-in simulated provider served.
    pub simulated_requests: u64,
    /// Tokens by class.
    pub tokens: TokenCounts,
    /// Exact sum of the priced requests' costs.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
    /// Currency of the cost.
    #[schemars(with = "permille_types::schema::CurrencyCode")]
    pub currency: Currency,
    /// What of the cost is hidden.
    pub hidden: HiddenCost,
    /// What somebody said of its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ToldOutcome>,
    /// What its requests let infer.
    pub inferred_outcome: InferredOutcome,
    /// When its first request was admitted.
    pub first_at: DateTime<Utc>,
    /// When its last request was admitted.
    pub last_at: DateTime<Utc>,
}

impl Session {
    /// Cost ÷ turns, rounded to 10⁻⁹; absent where there is no turn.
    #[must_use]
    pub fn cost_per_turn(&self) -> Option<Decimal> {
        summary::mean(self.cost, self.turns.into())
    }
}

/// One turn of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Turn {
    /// Its number, from 1.
    pub turn: u32,
    /// How it came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TurnKind>,
    /// How many requests it took.
    pub requests: u64,
    /// How many of them went on from an earlier place of the conversation in another way.
    pub branches: u64,
    /// How many of them have no price yet.
    pub unpriced_requests: u64,
    /// Tokens by class.
    pub tokens: TokenCounts,
    /// Exact sum of its priced requests' costs.
    #[serde(serialize_with = "decimal_string")]
    pub cost: Decimal,
    /// Cost of the session up to and including this turn.
    #[serde(serialize_with = "decimal_string")]
    pub cumulative_cost: Decimal,
    /// What of the turn's cost is hidden.
    pub hidden: HiddenCost,
    /// When its first request was admitted.
    pub first_at: DateTime<Utc>,
}

/// A session with its turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SessionDetail {
    /// The session.
    pub session: Session,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// Whether turns are missing, because the session has more than [`SESSION_ROWS_MAX`] rows.
    pub truncated: bool,
}

/// Whose session, and its id.
pub(crate) type SessionKey = (CustomerId, SessionId);

/// A row with the content of the version that priced it.
type PricedRow<'a> = (&'a StoredUsage, Option<&'a Price>);

/// What became of a session.
struct Standing {
    outcome: Option<ToldOutcome>,
    inferred_outcome: InferredOutcome,
}

pub(crate) fn decimal_string<S: Serializer>(value: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&value.normalize())
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
pub(crate) fn some_decimal_string<S: Serializer>(
    value: &Option<Decimal>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => decimal_string(value, s),
        None => s.serialize_none(),
    }
}

/// Adds each of `deltas` to the stored roll-up of its session.
pub(crate) async fn add(
    connection: &mut Connection,
    deltas: &BTreeMap<SessionKey, SessionDelta>,
) -> Result<(), LedgerError> {
    let mut stored = repo::rollups(connection, deltas.keys()).await?;
    let mut sums = Vec::with_capacity(deltas.len());
    for (key, delta) in deltas {
        let mut sum = match stored.remove(key) {
            Some(before) => before.merged(delta.clone())?,
            None => delta.clone(),
        };
        // A request is priced that was held before unnamed sessions had roll-ups.
        if sum.unpriced < 0 || sum.requests == 0 {
            sum = of_rows(connection, &key.0, &key.1, sum).await?;
        }
        sums.push((key, sum));
    }
    repo::set(connection, &sums).await
}

/// A session's roll-up anew from its rows, as they stand; `otherwise` where there are none. Of what
/// its cost hides it has the counts only.
async fn of_rows(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &SessionId,
    otherwise: SessionDelta,
) -> Result<SessionDelta, LedgerError> {
    let mut sum: Option<SessionDelta> = None;
    let mut last = None;
    loop {
        let rows = usage::of_session(connection, customer, id, last.as_ref(), ROWS_AT_ONCE).await?;
        for row in &rows {
            let delta = SessionDelta::of(row, None)?;
            sum = Some(match sum {
                Some(sum) => sum.merged(delta)?,
                None => delta,
            });
        }
        last = rows.into_iter().next_back();
        if last.is_none() {
            return Ok(sum.unwrap_or(otherwise));
        }
    }
}

impl Ledger {
    /// Sessions, the most recently used first, of one customer or of all.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn sessions(
        &self,
        customer: Option<&CustomerId>,
        page: &Page,
    ) -> Result<Listing<Session>, LedgerError> {
        self.long_sessions(customer, 0, page).await
    }

    /// The same, but only sessions of at least so many turns.
    ///
    /// # Errors
    /// As [`Ledger::sessions`].
    pub async fn long_sessions(
        &self,
        customer: Option<&CustomerId>,
        turns_min: u32,
        page: &Page,
    ) -> Result<Listing<Session>, LedgerError> {
        let before = match page.after_parts::<3>()? {
            None => None,
            Some([at, customer, id]) => {
                let at = at.parse().map_err(|_| {
                    LedgerError::invalid("cursor", page.after(), "the `next_cursor` of a page")
                })?;
                Some((at, customer, id))
            }
        };
        let now = self.now();
        let mut reader = self.store.read().await?;
        let rows =
            repo::list(&mut reader, (customer, turns_min), before, (page.rows(), now)).await?;
        Ok(Listing::cut(page, rows, |session| {
            format!("{}/{}/{}", column::micros(session.last_at), session.customer, session.id)
        }))
    }

    /// A session with its turns, named by a client or not.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] when it has no requests, else the store's failure.
    pub async fn session(
        &self,
        customer: &CustomerId,
        id: &SessionId,
    ) -> Result<SessionDetail, LedgerError> {
        let now = self.now();
        let mut view = self.store.view().await?;
        let catalogue = self.current(&mut view).await?;
        let rollup = repo::find(&mut view, customer, id, now).await?;
        if let Some(session) = &rollup {
            let end = session.last_at.checked_add_signed(TimeDelta::microseconds(1));
            usage::refuse_dropped(&mut view, Some(session.first_at), end).await?;
        }
        let limit = i64::from(SESSION_ROWS_MAX).saturating_add(1);
        let mut rows = usage::of_session(&mut view, customer, id, None, limit).await?;
        let versions = rows.iter().filter_map(|row| row.version());
        let derived = price::derived_since(&mut view, &catalogue, versions).await?;
        drop(view);
        let most = usize::try_from(SESSION_ROWS_MAX).unwrap_or(usize::MAX);
        let truncated = rows.len() > most;
        rows.truncate(most);
        let Some(first) = rows.first() else {
            return Err(LedgerError::no_session(customer, id));
        };
        let content = |version| catalogue.content(version).or_else(|| derived.get(version));
        let priced = |row| (row, StoredUsage::version(row).and_then(content));
        let priced: Vec<PricedRow<'_>> = rows.iter().map(priced).collect();
        let session = match rollup {
            Some(session) => session,
            None => summary(first, &priced, now)?,
        };
        Ok(SessionDetail { session, turns: turns(&priced)?, truncated })
    }
}

/// A session of before, which has rows only.
fn summary(
    first: &StoredUsage,
    rows: &[PricedRow<'_>],
    now: DateTime<Utc>,
) -> Result<Session, LedgerError> {
    let mut sum = SessionDelta::at(&first.event);
    for (row, price) in rows {
        sum = sum.merged(SessionDelta::of(row, *price)?)?;
    }
    let last = rows.iter().map(|(row, _)| &row.event).max_by_key(|event| event.at);
    let last = LastRequest {
        at: sum.last_at,
        kind: last.and_then(|event| event.turn_kind),
        ended: last.map(|event| event.ended),
    };
    let standing = Standing { outcome: None, inferred_outcome: last.outcome(now) };
    let (customer, id) = (&first.event.customer, &first.event.session);
    repo::session(customer, id, first.currency, sum, standing)
}

fn turns(rows: &[PricedRow<'_>]) -> Result<Vec<Turn>, LedgerError> {
    let mut by_turn: BTreeMap<u32, (Option<TurnKind>, u64, SessionDelta)> = BTreeMap::new();
    for (row, price) in rows {
        let delta = SessionDelta::of(row, *price)?;
        let turn = row.event.turn;
        // Rows come in the order of their admission: a turn is of the kind of its first request.
        let (kind, before, sum) = match by_turn.remove(&turn) {
            Some((kind, branches, before)) => (kind, branches, before.merged(delta)?),
            None => (row.event.turn_kind, 0, delta),
        };
        let is_branch = row.event.turn_kind == Some(TurnKind::Branch);
        by_turn.insert(turn, (kind, before.saturating_add(u64::from(is_branch)), sum));
    }
    let mut cumulative = Decimal::ZERO;
    by_turn
        .into_iter()
        .map(|(turn, (kind, branches, sum))| {
            cumulative = column::exact_add("cost of a session", cumulative, sum.cost)?;
            Ok(Turn {
                turn,
                kind,
                requests: column::number("requests", sum.requests)?,
                branches,
                unpriced_requests: column::number("unpriced requests", sum.unpriced)?,
                hidden: HiddenCost::new(&sum.counts, &sum.amounts),
                tokens: repo::tokens(sum.tokens)?,
                cost: sum.cost,
                cumulative_cost: cumulative,
                first_at: sum.first_at,
            })
        })
        .collect()
}
