//! Requests in the order of sessions, added up: the parts of each line that a session has, and the
//! table of the most expensive sessions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use chrono::{DateTime, Utc};
use permille_rating::{allocate::allocate, rate, round::minor_places};
use permille_types::{SessionId, Source};
use rust_decimal::Decimal;

use super::{Breakdown, Request, named};
use crate::{Document, DocumentError};

/// Sessions that the table names; the others are one row.
const SESSIONS_NAMED_MAX: usize = 20;

/// What a session has of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Place of the line in the document.
    pub(crate) place: usize,
    pub(crate) session: SessionId,
    pub(crate) quantity: u64,
    pub(crate) requests: u64,
    /// Requests with counts that were estimated.
    pub(crate) estimated: u64,
    pub(crate) first_at: DateTime<Utc>,
    pub(crate) last_at: DateTime<Utc>,
    pub(crate) turn_first: u32,
    pub(crate) turn_last: u32,
}

/// The parts of the session that is being read.
#[derive(Debug, Default)]
pub(crate) struct PartsOfSession {
    session: Option<SessionId>,
    parts: BTreeMap<usize, Part>,
}

impl PartsOfSession {
    /// Takes the next request; gives the parts of the session before, if this is another one.
    pub(crate) fn next(&mut self, breakdown: &Breakdown, request: &Request) -> Vec<Part> {
        let done = if self.session.as_ref() == Some(&request.session) {
            Vec::new()
        } else {
            self.session = Some(request.session.clone());
            self.close()
        };
        let estimated = u64::from(matches!(request.source, Source::Estimated | Source::Partial));
        for (place, quantity) in breakdown.shares(request) {
            let part = self.parts.entry(place).or_insert_with(|| Part {
                place,
                session: request.session.clone(),
                quantity: 0,
                requests: 0,
                estimated: 0,
                first_at: request.at,
                last_at: request.at,
                turn_first: request.turn,
                turn_last: request.turn,
            });
            part.quantity = part.quantity.saturating_add(quantity);
            part.requests = part.requests.saturating_add(1);
            part.estimated = part.estimated.saturating_add(estimated);
            part.first_at = part.first_at.min(request.at);
            part.last_at = part.last_at.max(request.at);
            part.turn_first = part.turn_first.min(request.turn);
            part.turn_last = part.turn_last.max(request.turn);
        }
        done
    }

    /// The parts of the last session.
    pub(crate) fn close(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts).into_values().collect()
    }
}

/// What a session, or many together, have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionSum {
    pub(crate) sessions: u64,
    pub(crate) requests: u64,
    pub(crate) turns: u64,
    /// Input of the requests whose place in a conversation is known; that of the others, which
    /// have no `turn_kind`, is left out.
    pub(crate) input_tokens: u64,
    /// Those of them that were sent again.
    pub(crate) resent_tokens: u64,
    /// Its shares in the amounts of lines.
    billed: Decimal,
}

impl SessionSum {
    fn add(&mut self, other: &Self) {
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.requests = self.requests.saturating_add(other.requests);
        self.turns = self.turns.saturating_add(other.turns);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.resent_tokens = self.resent_tokens.saturating_add(other.resent_tokens);
        self.billed = self.billed.saturating_add(other.billed);
    }

    /// Resent tokens in thousandths of the input; absent where nothing is known of it.
    pub(crate) fn resent_permille(&self) -> Option<u64> {
        let thousandths = u128::from(self.resent_tokens).checked_mul(1_000)?;
        thousandths.checked_div(self.input_tokens.into())?.try_into().ok()
    }
}

/// A row of the table: a session, all the others, or what has no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    /// Absent on the row of all other sessions.
    pub(crate) session: Option<SessionId>,
    pub(crate) sum: SessionSum,
    /// Its share in the lines, by largest remainder.
    pub(crate) amount: Decimal,
}

/// The most expensive sessions, all others, and the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionTable {
    /// From the most expensive one down; then all others, when there are any.
    pub(crate) rows: Vec<SessionRow>,
    /// What of the lines is broken down into no session.
    pub(crate) apart: Decimal,
    pub(crate) all: SessionSum,
    /// The lines in all: what the amounts of `rows` and `apart` add up to.
    pub(crate) amount: Decimal,
}

/// Adds up sessions for the table, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct SessionTally {
    session: Option<SessionId>,
    sum: SessionSum,
    /// What it has of each line, by place.
    quantities: BTreeMap<usize, u64>,
    /// The exact cost of that.
    cost: Decimal,
    turn_last: u32,
    all: SessionSum,
    /// The most expensive ones so far, the least of them first to go: by what they are billed,
    /// then, where an allowance covers them, by what they cost.
    dearest: BTreeSet<(Decimal, Decimal, Reverse<SessionId>)>,
    named: BTreeMap<SessionId, SessionSum>,
}

impl SessionTally {
    pub(crate) fn next(
        &mut self,
        document: &Document,
        breakdown: &Breakdown,
        request: &Request,
    ) -> Result<(), DocumentError> {
        let shares: Vec<(usize, u64)> = breakdown.shares(request).collect();
        if shares.is_empty() {
            return Ok(());
        }
        if self.session.as_ref() != Some(&request.session) {
            self.close_session(document);
            self.session = Some(request.session.clone());
            self.sum.sessions = 1;
        }
        for (place, quantity) in shares {
            let of_line = self.quantities.entry(place).or_default();
            *of_line = of_line.saturating_add(quantity);
            let line = document.lines.get(place);
            let Some((line, usage)) = line.and_then(|line| Some((line, line.usage.as_ref()?)))
            else {
                continue;
            };
            let exact = rate::cost(&line.meter, usage.price, quantity);
            let exact = named(document, exact, |document, cause| DocumentError::Amount {
                document,
                cause,
            })?;
            self.cost = self.cost.saturating_add(exact);
        }
        self.sum.requests = self.sum.requests.saturating_add(1);
        if request.turn > self.turn_last {
            self.turn_last = request.turn;
            self.sum.turns = self.sum.turns.saturating_add(1);
        }
        // As the ledger counts both: the first request of a conversation sends nothing again.
        if let (Some(_), Some(input)) = (request.turn_kind, request.input_tokens) {
            let resent = request.resent_tokens.unwrap_or_default().min(input);
            self.sum.resent_tokens = self.sum.resent_tokens.saturating_add(resent);
            self.sum.input_tokens = self.sum.input_tokens.saturating_add(input);
        }
        Ok(())
    }

    fn close_session(&mut self, document: &Document) {
        let mut sum = std::mem::take(&mut self.sum);
        let (cost, quantities) =
            (std::mem::take(&mut self.cost), std::mem::take(&mut self.quantities));
        for (place, quantity) in quantities {
            let share = document.lines.get(place).and_then(|line| {
                let of = line.usage.as_ref()?.quantity;
                // Digits that a division leaves out are no money: see `allocate` below.
                line.amount.checked_mul(quantity.into())?.checked_div(of.into())
            });
            sum.billed = sum.billed.saturating_add(share.unwrap_or_default());
        }
        self.turn_last = 0;
        let Some(session) = self.session.take() else { return };
        self.all.add(&sum);
        self.dearest.insert((sum.billed, cost, Reverse(session.clone())));
        self.named.insert(session, sum);
        if self.dearest.len() > SESSIONS_NAMED_MAX
            && let Some((.., Reverse(cheapest))) = self.dearest.pop_first()
        {
            self.named.remove(&cheapest);
        }
    }

    /// The table, its amounts and what is apart adding up to the lines.
    pub(crate) fn table(
        mut self,
        document: &Document,
        breakdown: &Breakdown,
    ) -> Result<SessionTable, DocumentError> {
        self.close_session(document);
        let mut others = self.all.clone();
        let mut rows: Vec<SessionRow> = Vec::new();
        while let Some((.., Reverse(session))) = self.dearest.pop_last() {
            let Some(sum) = self.named.remove(&session) else { continue };
            others.sessions = others.sessions.saturating_sub(sum.sessions);
            others.requests = others.requests.saturating_sub(sum.requests);
            others.turns = others.turns.saturating_sub(sum.turns);
            others.input_tokens = others.input_tokens.saturating_sub(sum.input_tokens);
            others.resent_tokens = others.resent_tokens.saturating_sub(sum.resent_tokens);
            others.billed = others.billed.saturating_sub(sum.billed);
            rows.push(SessionRow { session: Some(session), sum, amount: Decimal::ZERO });
        }
        if others.sessions > 0 {
            rows.push(SessionRow { session: None, sum: others, amount: Decimal::ZERO });
        }
        let sum = |amounts: &mut dyn Iterator<Item = Decimal>| {
            amounts.fold(Decimal::ZERO, Decimal::saturating_add)
        };
        let lines = document.lines.iter().enumerate();
        let apart = lines.filter(|(place, _)| breakdown.is_whole(*place));
        let mut shares: Vec<Decimal> = rows.iter().map(|row| row.sum.billed).collect();
        shares.push(sum(&mut apart.map(|(_, line)| line.amount)));
        let whole = sum(&mut document.lines.iter().map(|line| line.amount));
        let places = minor_places(document.currency);
        let amounts = allocate(whole, &shares, places);
        let mut amounts = named(document, amounts, |document, cause| DocumentError::Allocate {
            document,
            cause,
        })?;
        for amount in &mut amounts {
            amount.rescale(places);
        }
        let apart = amounts.pop().unwrap_or_default();
        for (row, amount) in rows.iter_mut().zip(amounts) {
            row.amount = amount;
        }
        Ok(SessionTable { rows, apart, all: self.all, amount: whole })
    }
}
