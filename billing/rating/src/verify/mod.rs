//! Counting again what an invoice bills: records and prices in, quantities and roots out.
//!
//! Whoever has the records of a customer's months and the prices that they name counts them here
//! without a ledger, a network or a clock. Each record is rated anew at its price, after a look at
//! whether that price may price it at all: customer, currency, time and model.

mod entry;
mod month;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use permille_types::{
    Currency, CustomerId, Flag, Price, PriceVersion, RequestId, Side, UsageEvent,
};

pub use entry::Entry;
pub use month::{CountedMonth, Counts};

use crate::{
    invoice::InvoiceError,
    period::{PeriodError, hour_start, month_label},
    price_book::names,
    proof::{RecordError, record_of},
    rate::{RateError, rate_at},
};

/// Why records do not count.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A line is no entry.
    #[error("read an entry of records")]
    Entry(#[source] serde_json::Error),
    /// What an entry holds is no record.
    #[error("read a record")]
    Record(#[source] RecordError),
    /// A record is another customer's.
    #[error("record of request {request} is of customer `{found}`, the invoice of `{customer}`")]
    OtherCustomer {
        /// Whose record.
        request: RequestId,
        /// Its customer.
        found: CustomerId,
        /// The invoice's.
        customer: CustomerId,
    },
    /// Two records claim one place, or one lies after the end.
    #[error("two records of {month} have the place {index}")]
    PlaceTaken {
        /// The month.
        month: String,
        /// The place.
        index: u64,
    },
    /// A request is there twice.
    #[error("request {request} is among the records twice")]
    RequestTwice {
        /// Which.
        request: RequestId,
    },
    /// A price is not among those given.
    #[error("request {request} names price `{version}`, which is not among the prices")]
    UnknownPrice {
        /// Whose record.
        request: RequestId,
        /// The version it names.
        version: PriceVersion,
    },
    /// A price is not one for this request.
    #[error("price `{version}` is not for request {request}: {reason}")]
    WrongPrice {
        /// Whose record.
        request: RequestId,
        /// The version it names.
        version: PriceVersion,
        /// What does not fit.
        reason: String,
    },
    /// The price named has no price for something that was used.
    #[error("price `{version}` of request {request} has no price for `{meter}`")]
    Unpriced {
        /// Whose record.
        request: RequestId,
        /// The version it names.
        version: PriceVersion,
        /// The class or unit.
        meter: String,
    },
    /// An exact cost has too many digits.
    #[error("rate a record")]
    Rate(#[source] RateError),
    /// It is of no month.
    #[error("find the month of a record")]
    Month(#[source] PeriodError),
    /// A sum exceeds its type.
    #[error("add up records")]
    Sum(#[source] InvoiceError),
}

/// A recount of one customer's records.
#[derive(Debug)]
pub struct Recount {
    customer: CustomerId,
    time_zone: Tz,
    currency: Currency,
    prices: HashMap<PriceVersion, Price>,
    months: BTreeMap<String, CountedMonth>,
    /// Where the parts of months begin.
    cuts: HashMap<String, Vec<DateTime<Utc>>>,
    /// Requests that were counted: nobody pays for one twice.
    requests: HashSet<RequestId>,
}

impl Recount {
    /// An empty one of `customer`, whose months are those of `time_zone`.
    #[must_use]
    pub fn new(
        customer: CustomerId,
        time_zone: Tz,
        currency: Currency,
        prices: Vec<Price>,
    ) -> Self {
        let prices = prices.into_iter().map(|price| (price.version.clone(), price)).collect();
        Self {
            customer,
            time_zone,
            currency,
            prices,
            months: BTreeMap::new(),
            cuts: HashMap::new(),
            requests: HashSet::new(),
        }
    }

    /// Counts the parts of the month `label` apart, which begin at `starts`, in order: what is of
    /// an hour is of the part in which the hour begins. For what is added from now on.
    pub fn cut(&mut self, label: &str, starts: Vec<DateTime<Utc>>) {
        self.cuts.insert(label.to_owned(), starts);
    }

    /// Counts one line of a file of records.
    ///
    /// # Errors
    /// [`VerifyError`] when it is no record of this customer, or its price is none for it.
    pub fn add(&mut self, line: &str) -> Result<(), VerifyError> {
        let entry: Entry = serde_json::from_str(line).map_err(VerifyError::Entry)?;
        let event = record_of(entry.record.get().as_bytes()).map_err(VerifyError::Record)?;
        if event.customer != self.customer {
            return Err(VerifyError::OtherCustomer {
                request: event.request_id,
                found: event.customer,
                customer: self.customer.clone(),
            });
        }
        if !self.requests.insert(event.request_id) {
            return Err(VerifyError::RequestTwice { request: event.request_id });
        }
        let lines = match self.price(&event, entry.price.as_ref())? {
            None => Vec::new(),
            Some(price) => rated_lines(&event, price, self.currency)?,
        };
        let label = month_label(event.at, self.time_zone).map_err(VerifyError::Month)?;
        let hour = hour_start(event.at, self.time_zone);
        let starts = self.cuts.get(&label).map(Vec::as_slice).unwrap_or_default();
        let begun = starts.iter().filter(|start| **start <= hour).count();
        let month = self.months.entry(label.clone()).or_default();
        month.count((&label, begun.saturating_sub(1)), &entry, &event, lines)
    }

    /// The month of that label, such as `2026-11`: empty when no record is of it.
    #[must_use]
    pub fn month(&self, label: &str) -> CountedMonth {
        self.months.get(label).cloned().unwrap_or_default()
    }

    /// Months that have records, oldest first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.months.keys().map(String::as_str)
    }

    /// The price of that version.
    #[must_use]
    pub fn price_of(&self, version: &PriceVersion) -> Option<&Price> {
        self.prices.get(version)
    }

    /// The price that an entry names, if it may price the event.
    fn price(
        &self,
        event: &UsageEvent,
        version: Option<&PriceVersion>,
    ) -> Result<Option<&Price>, VerifyError> {
        let Some(version) = version else { return Ok(None) };
        let request = event.request_id;
        let price = self
            .prices
            .get(version)
            .ok_or_else(|| VerifyError::UnknownPrice { request, version: version.clone() })?;
        match unfit(price, event, self.currency) {
            None => Ok(Some(price)),
            Some(reason) => {
                Err(VerifyError::WrongPrice { request, version: version.clone(), reason })
            }
        }
    }
}

/// What keeps `price` from pricing `event`.
fn unfit(price: &Price, event: &UsageEvent, currency: Currency) -> Option<String> {
    let names_it = |model| names(&price.model, model);
    let served = event.model_served.as_ref().is_some_and(|model| names_it(model.as_str()));
    if price.side != Side::Sale {
        Some("it is what the provider takes".to_owned())
    } else if price.currency != currency {
        Some(format!("it is in {}, the invoice in {}", price.currency.code(), currency.code()))
    } else if price.customer.as_ref().is_some_and(|customer| *customer != event.customer) {
        Some("it is another customer's".to_owned())
    } else if event.at < price.from {
        // Its end may have been set after the request, back to before it.
        Some(format!("it does not hold yet at {}", event.at.to_rfc3339()))
    } else if !served && !names_it(event.model_asked().as_str()) {
        Some(format!("it is of model `{}`, not `{}`", price.model, event.model()))
    } else if event.flags.contains(&Flag::NotBilled) {
        Some("by policy the request is not billed".to_owned())
    } else {
        None
    }
}

fn rated_lines(
    event: &UsageEvent,
    price: &Price,
    currency: Currency,
) -> Result<Vec<month::Line>, VerifyError> {
    let price_of = Some(std::borrow::Cow::Borrowed(price));
    let rated = rate_at(event, price_of, currency).map_err(VerifyError::Rate)?;
    if let Some(meter) = rated.unpriced.first() {
        return Err(VerifyError::Unpriced {
            request: event.request_id,
            version: price.version.clone(),
            meter: meter.to_string(),
        });
    }
    let band = rated.band;
    let line = |line: crate::rate::RatedLine| month::Line {
        meter: line.meter,
        price_version: price.version.clone(),
        band,
        quantity: line.quantity,
    };
    Ok(rated.lines.into_iter().map(line).collect())
}
