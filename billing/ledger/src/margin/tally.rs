//! The sums of margins, row by row in the order of sessions.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use permille_rating::{
    fx::{FxRates, Worth},
    price_book::PriceBook,
    provider::{ProviderSum, provider_calls, provider_sum},
};
use permille_types::{Currency, Flag, MoneyError, UpstreamName, UsageEvent};
use rust_decimal::Decimal;

use super::{
    GroupKey, Groups, MarginAmount, MarginBy, MarginFilter, MarginGroup, MarginLeftOut,
    MarginReport, MarginSums, UsedRate, billed_of,
};
use crate::{
    LedgerError,
    billed::Billed,
    column,
    plan::{Fee, NO_PLAN, Plans},
    usage::StoredUsage,
};

/// The sums so far.
pub(super) struct Tally<'b> {
    book: &'b PriceBook,
    plans: &'b Plans,
    rates: FxRates,
    currency: Currency,
    by: MarginBy,
    days_max: u32,
    total: MarginSums,
    groups: Groups,
    /// By session: the lowest margins so far; others are only counted.
    groups_max: usize,
    unlisted: u64,
    /// The session whose rows are coming.
    open: Option<GroupKey>,
    left_out: BTreeMap<(&'static str, String), LeftOut>,
    /// What a day's conversion is; absent where there is no rate.
    worths: HashMap<(Currency, NaiveDate), Option<Worth>>,
}

struct LeftOut {
    first: NaiveDate,
    last: NaiveDate,
    requests: u64,
    billed: BTreeMap<&'static str, (Currency, Decimal)>,
    provider_cost: BTreeMap<&'static str, (Currency, Decimal)>,
}

/// What is known of a request's two sides.
struct Sides {
    billed: Option<(Currency, Decimal)>,
    provider: Option<(Currency, ProviderSum)>,
}

/// Both sides in the report's currency.
struct Converted {
    billed: Decimal,
    provider: ProviderSum,
}

/// Why a request is in no sum.
struct Reason(&'static str, String);

impl<'b> Tally<'b> {
    pub(super) fn new(
        asked: &MarginFilter,
        book: &'b PriceBook,
        plans: &'b Plans,
        rates: FxRates,
    ) -> Self {
        Self {
            book,
            plans,
            rates,
            currency: asked.currency,
            by: asked.by,
            days_max: asked.fx_days_max,
            total: MarginSums::default(),
            groups: HashMap::new(),
            groups_max: asked.groups_max,
            unlisted: 0,
            open: None,
            left_out: BTreeMap::new(),
            worths: HashMap::new(),
        }
    }

    /// Requests so far, in its sums or not.
    pub(super) fn requests(&self) -> u64 {
        self.total.requests.saturating_add(self.total.left_out_requests)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests() == 0
    }

    /// Adds a row and what it was billed.
    pub(super) fn add(&mut self, row: &StoredUsage, billed: Billed) -> Result<(), LedgerError> {
        let event = &row.event;
        let day = event.at.date_naive();
        let mut sides = Sides { billed: None, provider: None };
        let plan = self.plans.at(&event.customer, event.at);
        // What an allowance leaves of it is known when it is invoiced.
        let by_fee = billed.share.is_none() && plan.is_some_and(|plan| plan.fee.is_some());
        sides.billed = billed_of(row, billed)?
            .map(|amount| (row.currency, if by_fee { Decimal::ZERO } else { amount }));
        let found = self.provider_side(event, row.currency)?;
        let both = match found {
            Ok(provider) => {
                sides.provider = Some(provider);
                self.both(event, &sides, day)?
            }
            Err(reason) => Err(reason),
        };
        let is_billed = billed.share.is_some();
        let mut sums = MarginSums::default();
        match both {
            Ok(Converted { billed, provider }) => {
                sums.requests = 1;
                sums.unbilled_requests = u64::from(!is_billed);
                sums.simulated_requests = u64::from(event.flags.contains(&Flag::Simulated));
                sums.billed = billed;
                sums.provider_cost = provider.cost;
                sums.failed_attempt_cost = provider.failed;
            }
            Err(reason) => {
                sums.left_out_requests = 1;
                self.leave_out(reason, &sides, (day, 1))?;
            }
        }
        self.total.add(&sums)?;
        let key = match self.by {
            MarginBy::Customer => GroupKey::Customer(event.customer.clone()),
            MarginBy::Model => GroupKey::Model(event.model().clone()),
            MarginBy::Session => GroupKey::Session(event.customer.clone(), event.session.clone()),
            MarginBy::Plan => GroupKey::Plan(plan.map(|plan| plan.name.clone())),
        };
        if self.by == MarginBy::Session && self.open.as_ref() != Some(&key) {
            self.open = Some(key.clone());
            self.drop_highest()?;
        }
        self.groups.entry(key).or_default().add(&sums)
    }

    /// What providers took, in the customer's own currency, else in the report's, else in the only
    /// one that is known.
    fn provider_side(
        &self,
        event: &UsageEvent,
        own: Currency,
    ) -> Result<Result<(Currency, ProviderSum), Reason>, LedgerError> {
        for currency in [own, self.currency] {
            if let Some(sum) = provider_sum(event, self.book, currency).map_err(too_large)? {
                return Ok(Ok((currency, sum)));
            }
        }
        let mut found = Vec::new();
        for currency in self.book.cost_currencies() {
            if let Some(sum) = provider_sum(event, self.book, *currency).map_err(too_large)? {
                found.push((*currency, sum));
            }
        }
        Ok(match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(Reason("no_provider_price", self.without_price(event)?)),
            _ => Err(Reason("several_provider_prices", self.without_price(event)?)),
        })
    }

    /// The first call that no currency has a price for, as people find it: model and upstream.
    fn without_price(&self, event: &UsageEvent) -> Result<String, LedgerError> {
        let (mut model, mut upstream) = (event.model(), event.upstream.as_ref());
        for call in provider_calls(event) {
            let mut priced = false;
            for currency in self.book.cost_currencies() {
                let charge = call.charge(self.book, *currency).map_err(too_large)?;
                priced = priced || charge.unpriced.is_empty();
            }
            if !priced {
                (model, upstream) = (call.model, call.upstream);
                break;
            }
        }
        Ok(match upstream.map(UpstreamName::as_str) {
            Some(upstream) => format!("{model} at {upstream}"),
            None => model.to_string(),
        })
    }

    /// Both sides in one currency, or why not.
    fn both(
        &mut self,
        event: &UsageEvent,
        sides: &Sides,
        day: NaiveDate,
    ) -> Result<Result<Converted, Reason>, LedgerError> {
        let Some((own, billed)) = sides.billed else {
            return Ok(Err(Reason("no_price", event.model().to_string())));
        };
        let Some((theirs, provider)) = sides.provider else {
            return Ok(Err(Reason("no_provider_price", event.model().to_string())));
        };
        // Nothing needs no rate.
        let billed = match (billed.is_zero(), self.worth(own, day)) {
            (true, _) => Decimal::ZERO,
            (false, Some(worth)) => worth.convert(billed).map_err(too_large)?,
            (false, None) => return Ok(Err(self.no_rate(own))),
        };
        let provider = match (provider.cost.is_zero(), self.worth(theirs, day)) {
            (true, _) => provider,
            (false, Some(worth)) => ProviderSum {
                cost: worth.convert(provider.cost).map_err(too_large)?,
                failed: worth.convert(provider.failed).map_err(too_large)?,
            },
            (false, None) => return Ok(Err(self.no_rate(theirs))),
        };
        Ok(Ok(Converted { billed, provider }))
    }

    fn no_rate(&self, from: Currency) -> Reason {
        Reason("no_rate", format!("{}/{}", from.code(), self.currency.code()))
    }

    fn worth(&mut self, from: Currency, day: NaiveDate) -> Option<&Worth> {
        let (to, days_max) = (self.currency, self.days_max);
        let rates = &self.rates;
        let worth = self.worths.entry((from, day));
        worth.or_insert_with(|| rates.worth(from, to, day, days_max)).as_ref()
    }

    fn leave_out(
        &mut self,
        Reason(reason, what): Reason,
        sides: &Sides,
        (day, requests): (NaiveDate, u64),
    ) -> Result<(), LedgerError> {
        let left = self.left_out.entry((reason, what)).or_insert_with(|| LeftOut {
            first: day,
            last: day,
            requests: 0,
            billed: BTreeMap::new(),
            provider_cost: BTreeMap::new(),
        });
        left.first = left.first.min(day);
        left.last = left.last.max(day);
        left.requests = left.requests.saturating_add(requests);
        let amounts = [
            (&mut left.billed, sides.billed),
            (&mut left.provider_cost, sides.provider.map(|(currency, sum)| (currency, sum.cost))),
        ];
        for (sums, amount) in amounts {
            let Some((currency, amount)) = amount else { continue };
            let (_, sum) = sums.entry(currency.code()).or_insert((currency, Decimal::ZERO));
            *sum = column::exact_add("amounts left out", *sum, amount)?;
        }
        Ok(())
    }

    /// Sessions come one after another: of those that are complete only the lowest are held.
    fn drop_highest(&mut self) -> Result<(), LedgerError> {
        let held = self.groups_max.saturating_mul(2);
        if self.groups.len() < held {
            return Ok(());
        }
        let mut sorted = sorted(std::mem::take(&mut self.groups))?;
        let dropped = sorted.len().saturating_sub(self.groups_max);
        sorted.truncate(self.groups_max);
        self.unlisted = self.unlisted.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX));
        self.groups = sorted.into_iter().collect();
        Ok(())
    }

    /// Adds a fee to its plan, or names it among what is left out.
    fn add_fee(&mut self, fee: Fee) -> Result<(), LedgerError> {
        let day = fee.from.date_naive();
        let Some(worth) = self.worth(fee.currency, day) else {
            let billed = Some((fee.currency, fee.amount));
            let sides = Sides { billed, provider: None };
            return self.leave_out(self.no_rate(fee.currency), &sides, (day, 0));
        };
        let fees = worth.convert(fee.amount).map_err(too_large)?;
        let sums = MarginSums { fees, ..MarginSums::default() };
        self.total.add(&sums)?;
        self.groups.entry(GroupKey::Plan(Some(fee.plan))).or_default().add(&sums)
    }

    pub(super) fn close(
        mut self,
        asked: &MarginFilter,
        fees: Vec<Fee>,
    ) -> Result<MarginReport, LedgerError> {
        for fee in fees {
            self.add_fee(fee)?;
        }
        self.total.complete()?;
        let mut groups = sorted(self.groups)?;
        let dropped = groups.len().saturating_sub(self.groups_max);
        groups.truncate(self.groups_max);
        let unlisted = self.unlisted.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX));
        let mut rates: Vec<UsedRate> = self
            .worths
            .into_iter()
            .filter_map(|((from, day), worth)| worth.map(|worth| (from, day, worth)))
            .filter(|(.., worth)| !worth.of.is_empty())
            .map(|(from, day, Worth { rate, of })| UsedRate { from, day, rate, of })
            .collect();
        rates.sort_by_key(|rate| (rate.from.code(), rate.day));
        Ok(MarginReport {
            currency: asked.currency,
            customer: asked.customer.clone(),
            since: asked.since,
            until: asked.until,
            by: asked.by,
            fx_days_max: asked.fx_days_max,
            total: self.total,
            groups: groups.into_iter().map(|(key, sums)| group(key, sums)).collect(),
            groups_unlisted: unlisted,
            simulated_left_out: 0,
            left_out: self.left_out.into_iter().map(left_out).collect(),
            rates,
        })
    }
}

/// Groups with their margins, the lowest first, those of one margin by name.
fn sorted(groups: Groups) -> Result<Vec<(GroupKey, MarginSums)>, LedgerError> {
    let mut groups: Vec<(GroupKey, MarginSums)> = groups.into_iter().collect();
    for (_, sums) in &mut groups {
        sums.complete()?;
    }
    groups.sort_by(|a, b| a.1.margin.cmp(&b.1.margin).then_with(|| a.0.cmp(&b.0)));
    Ok(groups)
}

fn group(key: GroupKey, sums: MarginSums) -> MarginGroup {
    let none = MarginGroup { customer: None, model: None, session: None, plan: None, sums };
    match key {
        GroupKey::Customer(customer) => MarginGroup { customer: Some(customer), ..none },
        GroupKey::Model(model) => MarginGroup { model: Some(model), ..none },
        GroupKey::Session(customer, session) => {
            MarginGroup { customer: Some(customer), session: Some(session), ..none }
        }
        GroupKey::Plan(plan) => MarginGroup { plan: plan.or_else(|| NO_PLAN.parse().ok()), ..none },
    }
}

fn left_out(((reason, what), left): ((&'static str, String), LeftOut)) -> MarginLeftOut {
    let amounts = |sums: BTreeMap<_, (Currency, Decimal)>| {
        let sums = sums.into_values();
        sums.map(|(currency, amount)| MarginAmount { currency, amount }).collect()
    };
    MarginLeftOut {
        reason,
        what,
        first: left.first,
        last: left.last,
        requests: left.requests,
        billed: amounts(left.billed),
        provider_cost: amounts(left.provider_cost),
    }
}

impl MarginSums {
    fn add(&mut self, more: &Self) -> Result<(), LedgerError> {
        for (sum, more) in [
            (&mut self.requests, more.requests),
            (&mut self.unbilled_requests, more.unbilled_requests),
            (&mut self.simulated_requests, more.simulated_requests),
            (&mut self.left_out_requests, more.left_out_requests),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [
            (&mut self.billed, more.billed),
            (&mut self.fees, more.fees),
            (&mut self.provider_cost, more.provider_cost),
            (&mut self.failed_attempt_cost, more.failed_attempt_cost),
        ] {
            *sum = column::exact_add("margins", *sum, more)?;
        }
        Ok(())
    }

    /// What follows from the sums.
    fn complete(&mut self) -> Result<(), LedgerError> {
        let paid = column::exact_add("margin", self.billed, self.fees)?;
        self.margin = column::exact_sub("margin", paid, self.provider_cost)?;
        self.share_permille = self
            .margin
            .checked_mul(Decimal::ONE_THOUSAND)
            .and_then(|thousandths| thousandths.checked_div(paid))
            .and_then(|share| i64::try_from(share.trunc()).ok());
        Ok(())
    }
}

fn too_large(cause: MoneyError) -> LedgerError {
    LedgerError::Amount { what: "margins", cause }
}
