//! From a payload to something that can be booked: read, checked against the catalogue, rated.
//! Pure: the store is not asked here.

use chrono::{DateTime, Utc};
use permille_rating::{
    period::{day_of, hour_start, month_label},
    price_book::PriceBook,
    rate::{Rated, provider_cost, rate},
};
use permille_types::{Currency, Flag, Source, UsageEvent, UsageEventError};
use rust_decimal::Decimal;

use crate::{
    LedgerError, catalogue::Catalogue, column, error::Chain, quarantine::QuarantineReason,
    record::Month, usage::Pricing,
};

/// Largest quantity of one class or unit, and longest time in milliseconds, that is believed of
/// one request. A thousand times what the largest models take; sums of such stay far from 2^63.
const QUANTITY_MAX: u64 = 1_000_000_000_000;

/// A payload that can be booked.
pub(super) struct Candidate {
    pub(super) event: UsageEvent,
    pub(super) currency: Currency,
    /// Start of the customer's local hour.
    pub(super) hour: DateTime<Utc>,
    /// Start of the customer's local day.
    pub(super) day: DateTime<Utc>,
    /// The customer's local month, such as `2026-11`.
    pub(super) month: String,
    pub(super) rated: Rated,
    /// What its providers take, where that is known.
    pub(super) provider_cost: Option<Decimal>,
}

/// Why a payload cannot be booked.
pub(super) struct Refusal {
    pub(super) reason: QuarantineReason,
    pub(super) detail: String,
    pub(super) request_id: Option<String>,
}

impl Refusal {
    /// That of a payload which is no event.
    pub(super) fn unreadable(cause: &UsageEventError) -> Self {
        Self {
            reason: QuarantineReason::Unreadable,
            detail: Chain(cause).to_string(),
            request_id: None,
        }
    }

    /// That of an event whose amounts do not fit the books they would be added to, or that the
    /// store refuses.
    pub(super) fn unbookable(payload: &[u8], cause: &LedgerError) -> Self {
        let event = UsageEvent::from_payload(payload).ok();
        Self {
            reason: if cause.is_overflow() {
                QuarantineReason::OutOfRange
            } else {
                QuarantineReason::Refused
            },
            detail: Chain(cause).to_string(),
            request_id: event.map(|event| event.request_id.to_string()),
        }
    }
}

impl Candidate {
    /// Rates an event that came from a journal.
    pub(super) fn read(mut event: UsageEvent, catalogue: &Catalogue) -> Result<Self, Refusal> {
        // What is rated now must be what is read from the row later.
        event.at = column::stored_instant(event.at);
        for text in [&mut event.service_tier, &mut event.region].into_iter().flatten() {
            *text = column::stored_text(text);
        }
        // Whether a row is unpriced is the ledger's own finding, from its own book.
        event.flags.retain(|flag| *flag != Flag::Unpriced);
        Self::rated(event, catalogue)
    }

    /// Rates an event, a new one or one that was held.
    pub(super) fn rated(event: UsageEvent, catalogue: &Catalogue) -> Result<Self, Refusal> {
        let refuse = |reason, detail: String| Refusal {
            reason,
            detail,
            request_id: Some(event.request_id.to_string()),
        };
        if let Some(detail) = out_of_range(&event) {
            return Err(refuse(QuarantineReason::OutOfRange, detail));
        }
        let Some(customer) = catalogue.customer(&event.customer) else {
            let detail = format!("customer `{}`", event.customer);
            return Err(refuse(QuarantineReason::UnknownCustomer, detail));
        };
        if !catalogue.has_project(&event.customer, &event.project) {
            let detail = format!("project `{}` of `{}`", event.project, event.customer);
            return Err(refuse(QuarantineReason::UnknownProject, detail));
        }
        match catalogue.key_owner(&event.key) {
            Some((owner, project)) if *owner == event.customer && *project == event.project => {}
            Some((owner, project)) => {
                let detail = format!("key `{}` is of `{owner}`, `{project}`", event.key);
                return Err(refuse(QuarantineReason::UnknownKey, detail));
            }
            None => {
                return Err(refuse(QuarantineReason::UnknownKey, format!("key `{}`", event.key)));
            }
        }
        let rated = rate(&event, catalogue.book(), customer.currency)
            .map_err(|cause| refuse(QuarantineReason::Unratable, Chain(&cause).to_string()))?;
        let hour = hour_start(event.at, customer.time_zone);
        let month = month_label(event.at, customer.time_zone)
            .map_err(|cause| refuse(QuarantineReason::OutOfRange, Chain(&cause).to_string()))?;
        // Beyond the calendar there are no days, and no budgets.
        let day = day_of(event.at, customer.time_zone).map_or(hour, |day| day.start);
        let currency = customer.currency;
        let provider_cost = provider_cost_of(&event, catalogue.book(), currency);
        Ok(Self { event, currency, hour, day, month, rated, provider_cost })
    }

    /// How the row is priced.
    pub(super) fn pricing(&self) -> Pricing {
        match &self.rated.cost {
            Some(cost) => Pricing::Priced {
                version: self.rated.price_version.clone(),
                band: self.rated.band,
                cost: cost.amount(),
            },
            None => Pricing::Held,
        }
    }

    /// The month whose tree has its record.
    pub(super) fn of_month(&self) -> Month {
        (self.event.customer.clone(), self.month.clone())
    }

    pub(super) fn is_simulated(&self) -> bool {
        self.event.flags.contains(&Flag::Simulated)
    }

    /// Whether any of its counts was not reported by the provider.
    pub(super) fn is_estimated(&self) -> bool {
        matches!(self.event.source, Source::Estimated | Source::Partial)
    }
}

/// What the providers of `event` take. Nothing is known, and nothing costs time, where the book has
/// no entry of theirs; an amount that does not fit is in the summary's error, not in a metric.
fn provider_cost_of(event: &UsageEvent, book: &PriceBook, currency: Currency) -> Option<Decimal> {
    book.provider_price(event.model(), event.upstream.as_ref(), currency, event.at)?;
    provider_cost(event, book, currency).ok().flatten()
}

fn out_of_range(event: &UsageEvent) -> Option<String> {
    let attempts = event.attempts.iter().flat_map(|attempt| attempt.tokens.iter());
    let tokens = event.tokens.iter().chain(attempts);
    let mut counts = tokens
        .map(|(class, count)| (class.as_str(), *count))
        .chain(event.units.values().map(|count| ("units", *count)))
        .chain(event.input_total.map(|count| ("input_total", count)))
        .chain(event.output_total.map(|count| ("output_total", count)))
        .chain(event.resent_tokens.map(|count| ("resent_tokens", count)))
        .chain(event.first_token_ms.map(|count| ("first_token_ms", count)))
        .chain([("latency_ms", event.latency_ms)]);
    counts
        .find(|(_, count)| *count > QUANTITY_MAX)
        .map(|(what, count)| format!("{what} is {count}, at most {QUANTITY_MAX} is believed"))
}
