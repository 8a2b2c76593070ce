//! What requests add to their session: sums that are the same in whichever order they come.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::{
    facts::{Amounts, Counts},
    price_book::rates_of_band,
};
use permille_types::{Flag, MoneyError, Price, TokenClass, UsageEvent};
use rust_decimal::Decimal;

use crate::{
    LedgerError, column,
    usage::{Pricing, StoredUsage},
};

/// What a batch, or some rows, add to a session. Negative where held requests were priced.
#[derive(Debug, Clone)]
pub(crate) struct SessionDelta {
    pub(crate) turns: u32,
    pub(crate) requests: i64,
    pub(crate) unpriced: i64,
    pub(crate) simulated: i64,
    pub(crate) tokens: BTreeMap<TokenClass, i64>,
    pub(crate) cost: Decimal,
    pub(crate) counts: Counts,
    pub(crate) amounts: Amounts,
    pub(crate) first_at: DateTime<Utc>,
    pub(crate) last_at: DateTime<Utc>,
}

impl SessionDelta {
    /// That of an event of which nothing is counted yet.
    pub(crate) fn at(event: &UsageEvent) -> Self {
        Self {
            turns: event.turn,
            requests: 0,
            unpriced: 0,
            simulated: 0,
            tokens: BTreeMap::new(),
            cost: Decimal::ZERO,
            counts: Counts::default(),
            amounts: Amounts::default(),
            first_at: event.at,
            last_at: event.at,
        }
    }

    /// That of a stored row. `price` is the content of the version that priced it.
    pub(crate) fn of(row: &StoredUsage, price: Option<&Price>) -> Result<Self, LedgerError> {
        let mut delta = Self::at(&row.event);
        delta.count(&row.event)?;
        match &row.pricing {
            Pricing::Priced { cost, band, .. } => {
                let rates = price.and_then(|price| rates_of_band(price, *band));
                let hidden = Amounts::of(&row.event, rates, *cost).map_err(too_large)?;
                delta.pay(*cost, &hidden)?;
            }
            Pricing::Held => delta.unpriced = 1,
        }
        Ok(delta)
    }

    /// Counts an event, whether it has a price or not.
    pub(crate) fn count(&mut self, event: &UsageEvent) -> Result<(), LedgerError> {
        self.requests = column::add_count("requests", self.requests, 1)?;
        let simulated = i64::from(event.flags.contains(&Flag::Simulated));
        self.simulated = column::add_count("simulated requests", self.simulated, simulated)?;
        for (class, count) in &event.tokens {
            let tokens = self.tokens.entry(class.clone()).or_default();
            let count = column::stored_count("tokens", *count)?;
            *tokens = column::add_count("tokens of a session", *tokens, count)?;
        }
        self.counts.add(&Counts::of(event));
        Ok(())
    }

    /// Adds what an event costs.
    pub(crate) fn pay(&mut self, cost: Decimal, hidden: &Amounts) -> Result<(), LedgerError> {
        self.cost = column::exact_add("cost of a session", self.cost, cost)?;
        self.amounts = self.amounts.try_add(hidden).map_err(too_large)?;
        Ok(())
    }

    /// Whether all of it is requests that cost nothing by their nature. They make no conversation.
    pub(crate) fn is_unmetered(&self) -> bool {
        let unmetered = i64::try_from(self.counts.unmetered_requests).unwrap_or(i64::MAX);
        unmetered > 0 && unmetered >= self.requests
    }

    /// Takes in when an event was, and its turn.
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
        self.counts.add(&other.counts);
        self.pay(other.cost, &other.amounts)?;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        Ok(self)
    }
}

fn too_large(cause: MoneyError) -> LedgerError {
    LedgerError::Amount { what: "hidden cost of a session", cause }
}
