//! Sessions: multi-turn conversations and what each turn cost.
//!
//! A session that a client named has a roll-up, kept by intake and order-free. Its turns are read
//! from the rows. A request without a named session is a session of its own and has rows only.

mod repo;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_types::{Currency, CustomerId, Flag, SessionId, TokenCounts, UsageEvent};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use crate::{
    Ledger, LedgerError, Listing, Page, column,
    store::Connection,
    usage::{self, Pricing, StoredUsage},
};

/// Most rows of a session that are read to show its turns: about 10 MiB.
pub const SESSION_ROWS_MAX: u32 = 10_000;

/// A multi-turn conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    pub currency: Currency,
    /// When its first request was admitted.
    pub first_at: DateTime<Utc>,
    /// When its last request was admitted.
    pub last_at: DateTime<Utc>,
}

/// One turn of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Its number, from 1.
    pub turn: u32,
    /// How many requests it took.
    pub requests: u64,
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
    /// When its first request was admitted.
    pub first_at: DateTime<Utc>,
}

/// A session with its turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionDetail {
    /// The session.
    pub session: Session,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// Whether turns are missing, because the session has more than [`SESSION_ROWS_MAX`] rows.
    pub truncated: bool,
}

fn decimal_string<S: Serializer>(value: &Decimal, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&value.normalize())
}

/// What a batch adds to a session. Negative where held requests were priced.
#[derive(Debug, Clone)]
pub(crate) struct SessionDelta {
    pub(crate) turns: u32,
    pub(crate) requests: i64,
    pub(crate) unpriced: i64,
    pub(crate) simulated: i64,
    pub(crate) tokens: BTreeMap<permille_types::TokenClass, i64>,
    pub(crate) cost: Decimal,
    pub(crate) first_at: DateTime<Utc>,
    pub(crate) last_at: DateTime<Utc>,
}

impl SessionDelta {
    pub(crate) fn at(event: &UsageEvent) -> Self {
        Self {
            turns: event.turn,
            requests: 0,
            unpriced: 0,
            simulated: 0,
            tokens: BTreeMap::new(),
            cost: Decimal::ZERO,
            first_at: event.at,
            last_at: event.at,
        }
    }

    pub(crate) fn touch(&mut self, event: &UsageEvent) {
        self.turns = self.turns.max(event.turn);
        self.first_at = self.first_at.min(event.at);
        self.last_at = self.last_at.max(event.at);
    }

    /// The sum of two deltas; the same whichever comes first.
    pub(crate) fn merged(mut self, other: Self) -> Result<Self, LedgerError> {
        self.turns = self.turns.max(other.turns);
        self.requests = column::add_count("requests", self.requests, other.requests)?;
        self.unpriced = column::add_count("unpriced requests", self.unpriced, other.unpriced)?;
        self.simulated = column::add_count("simulated requests", self.simulated, other.simulated)?;
        for (class, count) in other.tokens {
            let sum = self.tokens.entry(class).or_default();
            *sum = column::add_count("tokens of a session", *sum, count)?;
        }
        self.cost = column::exact_add("cost of a session", self.cost, other.cost)?;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        Ok(self)
    }
}

/// Adds `delta` to the stored roll-up of a session.
pub(crate) async fn add(
    connection: &mut Connection,
    customer: &CustomerId,
    id: &SessionId,
    delta: &SessionDelta,
) -> Result<(), LedgerError> {
    let sum = match repo::rollup(connection, customer, id).await? {
        Some(before) => before.merged(delta.clone())?,
        None => delta.clone(),
    };
    repo::set(connection, customer, id, &sum).await
}

impl Ledger {
    /// Sessions that clients named, the most recently used first, of one customer or of all.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a bad cursor, else the store's failure.
    pub async fn sessions(
        &self,
        customer: Option<&CustomerId>,
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
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, customer, before, page.rows()).await?;
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
        let mut view = self.store.view().await?;
        let rollup = repo::find(&mut view, customer, id).await?;
        let limit = i64::from(SESSION_ROWS_MAX).saturating_add(1);
        let mut rows = usage::of_session(&mut view, customer, id, limit).await?;
        drop(view);
        let most = usize::try_from(SESSION_ROWS_MAX).unwrap_or(usize::MAX);
        let truncated = rows.len() > most;
        rows.truncate(most);
        let Some(first) = rows.first() else {
            return Err(LedgerError::not_found("session", id));
        };
        let session = match rollup {
            Some(session) => session,
            None => summary(first, &rows)?,
        };
        Ok(SessionDetail { session, turns: turns(&rows)?, truncated })
    }
}

fn summary(first: &StoredUsage, rows: &[StoredUsage]) -> Result<Session, LedgerError> {
    let mut sum = SessionDelta::at(&first.event);
    for row in rows {
        sum = sum.merged(delta_of(row)?)?;
    }
    repo::session(&first.event.customer, &first.event.session, first.currency, sum)
}

fn delta_of(row: &StoredUsage) -> Result<SessionDelta, LedgerError> {
    let event = &row.event;
    let mut delta = SessionDelta::at(event);
    delta.requests = 1;
    delta.simulated = i64::from(event.flags.contains(&Flag::Simulated));
    for (class, count) in &event.tokens {
        delta.tokens.insert(class.clone(), column::stored_count("tokens", *count)?);
    }
    match &row.pricing {
        Pricing::Priced { cost, .. } => delta.cost = *cost,
        Pricing::Held => delta.unpriced = 1,
    }
    Ok(delta)
}

fn turns(rows: &[StoredUsage]) -> Result<Vec<Turn>, LedgerError> {
    let mut by_turn: BTreeMap<u32, SessionDelta> = BTreeMap::new();
    for row in rows {
        let delta = delta_of(row)?;
        let sum = match by_turn.remove(&row.event.turn) {
            Some(before) => before.merged(delta)?,
            None => delta,
        };
        by_turn.insert(row.event.turn, sum);
    }
    let mut cumulative = Decimal::ZERO;
    by_turn
        .into_iter()
        .map(|(turn, sum)| {
            cumulative = column::exact_add("cost of a session", cumulative, sum.cost)?;
            Ok(Turn {
                turn,
                requests: column::number("requests", sum.requests)?,
                unpriced_requests: column::number("unpriced requests", sum.unpriced)?,
                tokens: repo::tokens(sum.tokens)?,
                cost: sum.cost,
                cumulative_cost: cumulative,
                first_at: sum.first_at,
            })
        })
        .collect()
}
