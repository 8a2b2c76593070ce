//! What a batch adds to roll-ups, sessions and receivables, summed up before it is written, so
//! that a batch costs one statement per sum and not one per event.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::{
    Meter,
    facts::{Amounts, Counts},
    rate::RatedLine,
};
use permille_types::{Currency, CustomerId, Ended, Level, ModelName, ProjectId, TokenClass};
use rust_decimal::Decimal;

use super::candidate::Candidate;
use crate::{
    LedgerError, column,
    posting::{self, Costs},
    rollup::{self, Quantity, QuantityKey, RequestCounts, RequestKey},
    session::{self, SessionDelta, SessionKey},
    spending::{self, ProviderDeltas, ProviderSide, SessionKeys, SpendingDeltas, SpendingKey},
    store::Connection,
};

/// Whether an event is booked for the first time or was held and now has a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Booking {
    First,
    Repriced,
}

/// What was billed, for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Billed {
    /// Exact cost by customer.
    pub costs: Vec<BilledCost>,
    /// Tokens by customer, project, model and class.
    pub tokens: Vec<BilledTokens>,
    /// Each request that has a price now.
    pub requests: Vec<BilledRequest>,
}

/// A request that has a price, and what of its cost is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledRequest {
    /// Who is billed.
    pub customer: CustomerId,
    /// The model.
    pub model: ModelName,
    /// Turn inside its session.
    pub turn: u32,
    /// How it ended.
    pub ended: Ended,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The exact cost.
    pub cost: Decimal,
    /// The cost by class and unit.
    pub lines: Vec<RatedLine>,
    /// What is counted of it.
    pub counts: Counts,
    /// What of the cost is hidden.
    pub amounts: Amounts,
    /// What the providers of all its calls take, in the same currency; absent where that is not
    /// known.
    pub provider_cost: Option<Decimal>,
}

/// A customer's cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledCost {
    /// Who is billed.
    pub customer: CustomerId,
    /// The currency.
    pub currency: Currency,
    /// The exact cost.
    pub cost: Decimal,
}

/// A customer's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledTokens {
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// The model.
    pub model: ModelName,
    /// The token class.
    pub class: TokenClass,
    /// How many.
    pub tokens: u64,
}

#[derive(Default)]
pub(super) struct Deltas {
    quantities: BTreeMap<QuantityKey, Quantity>,
    requests: BTreeMap<RequestKey, RequestCounts>,
    sessions: BTreeMap<SessionKey, SessionDelta>,
    costs: Costs,
    spending: SpendingDeltas,
    session_keys: SessionKeys,
    providers: ProviderDeltas,
    billed: Vec<BilledRequest>,
}

impl Deltas {
    pub(super) fn add(&mut self, found: &Candidate, booking: Booking) -> Result<(), LedgerError> {
        self.add_requests(found, booking)?;
        self.add_session(found, booking)?;
        let Some(cost) = &found.rated.cost else { return Ok(()) };
        for line in &found.rated.lines {
            self.add_quantity(found, line)?;
        }
        self.billed.extend(billed_request(found, cost.amount()));
        let key = (found.event.customer.clone(), found.currency, found.is_simulated());
        posting::add_cost(&mut self.costs, key, cost.amount())?;
        self.add_spending(found, cost.amount())
    }

    fn add_spending(&mut self, found: &Candidate, cost: Decimal) -> Result<(), LedgerError> {
        let event = &found.event;
        for (level, id) in [
            (Level::Customer, event.customer.as_str()),
            (Level::Project, event.project.as_str()),
            (Level::Key, event.key.as_str()),
        ] {
            let (customer, id) = (event.customer.clone(), id.to_owned());
            let key = SpendingKey { customer, level, id, day: found.day };
            spending::add(&mut self.spending, key, cost)?;
        }
        let session = (event.customer.clone(), event.session.clone());
        let keys = self.session_keys.entry(session).or_default();
        keys.insert((event.project.clone(), event.key.clone()));
        let Some(taken) = found.provider_cost else { return Ok(()) };
        for (side, amount) in [(ProviderSide::Taken, taken), (ProviderSide::Sold, cost)] {
            let key = (event.customer.clone(), found.day, found.currency.code(), side);
            spending::add(&mut self.providers, key, amount)?;
        }
        Ok(())
    }

    fn add_quantity(&mut self, found: &Candidate, line: &RatedLine) -> Result<(), LedgerError> {
        // A line has a price, so the event has a version.
        let Some(version) = &found.rated.price_version else { return Ok(()) };
        let key = QuantityKey {
            customer: found.event.customer.clone(),
            hour: found.hour,
            project: found.event.project.clone(),
            model: found.event.model().clone(),
            meter: line.meter.clone(),
            price_version: version.clone(),
            band: found.rated.band,
            simulated: found.is_simulated(),
        };
        let quantity = column::stored_count("quantity", line.quantity)?;
        let sum = self.quantities.entry(key).or_default();
        sum.all = column::add_count("quantity of an hour", sum.all, quantity)?;
        if found.is_estimated() {
            sum.estimated = column::add_count("quantity of an hour", sum.estimated, quantity)?;
        }
        Ok(())
    }

    fn add_requests(&mut self, found: &Candidate, booking: Booking) -> Result<(), LedgerError> {
        let key = RequestKey {
            customer: found.event.customer.clone(),
            hour: found.hour,
            project: found.event.project.clone(),
        };
        let sum = self.requests.entry(key).or_default();
        let count = |place: &mut i64, by: i64| {
            *place = column::add_count("requests of an hour", *place, by)?;
            Ok::<(), LedgerError>(())
        };
        count(&mut sum.unpriced, unpriced(found, booking))?;
        if booking == Booking::First {
            count(&mut sum.all, 1)?;
            count(&mut sum.estimated, i64::from(found.is_estimated()))?;
            count(&mut sum.simulated, i64::from(found.is_simulated()))?;
        }
        Ok(())
    }

    fn add_session(&mut self, found: &Candidate, booking: Booking) -> Result<(), LedgerError> {
        let event = &found.event;
        let sum = self
            .sessions
            .entry((event.customer.clone(), event.session.clone()))
            .or_insert_with(|| SessionDelta::at(event));
        sum.touch(event);
        sum.unpriced =
            column::add_count("unpriced requests", sum.unpriced, unpriced(found, booking))?;
        if booking == Booking::First {
            sum.count(event)?;
        }
        if let Some(cost) = &found.rated.cost {
            sum.pay(cost.amount(), &found.rated.hidden)?;
        }
        Ok(())
    }

    pub(super) async fn write(
        &self,
        connection: &mut Connection,
        subject: &str,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        rollup::add_quantities(connection, &self.quantities).await?;
        rollup::add_requests(connection, &self.requests).await?;
        session::add(connection, &self.sessions).await?;
        let spent = (&self.spending, &self.session_keys);
        spending::write(connection, spent, &self.providers, at).await?;
        posting::post(connection, &self.costs, subject, at).await
    }

    pub(super) fn billed(&self) -> Billed {
        let mut tokens: BTreeMap<(&CustomerId, &ProjectId, &ModelName, &TokenClass), u64> =
            BTreeMap::new();
        for (key, quantity) in &self.quantities {
            let Meter::Tokens(class) = &key.meter else { continue };
            let sum = tokens.entry((&key.customer, &key.project, &key.model, class)).or_default();
            *sum = sum.saturating_add(u64::try_from(quantity.all).unwrap_or_default());
        }
        let tokens =
            tokens.into_iter().map(|((customer, project, model, class), tokens)| BilledTokens {
                customer: customer.clone(),
                project: project.clone(),
                model: model.clone(),
                class: class.clone(),
                tokens,
            });
        let costs = self.costs.iter().map(|((customer, _, _), (currency, cost))| BilledCost {
            customer: customer.clone(),
            currency: *currency,
            cost: *cost,
        });
        let requests = self.billed.clone();
        Billed { costs: costs.collect(), tokens: tokens.collect(), requests }
    }
}

/// What metrics take of a request; nothing of one that no price was applied to.
fn billed_request(found: &Candidate, cost: Decimal) -> Option<BilledRequest> {
    let event = &found.event;
    found.rated.price_version.as_ref().map(|_| BilledRequest {
        customer: event.customer.clone(),
        model: event.model().clone(),
        turn: event.turn,
        ended: event.ended,
        currency: found.currency,
        cost,
        lines: found.rated.lines.clone(),
        counts: Counts::of(event),
        amounts: found.rated.hidden.clone(),
        provider_cost: found.provider_cost,
    })
}

/// What `found` changes in a count of unpriced requests.
fn unpriced(found: &Candidate, booking: Booking) -> i64 {
    match (booking, found.rated.cost.is_some()) {
        (Booking::First, false) => 1,
        (Booking::Repriced, true) => -1,
        _ => 0,
    }
}
