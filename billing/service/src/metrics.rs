//! What billing exports: tokens and cost by customer, and how intake fares.
//!
//! Floats are fine here and only here: a metric shows a trend, an invoice says what is owed.

use std::collections::HashSet;

use parking_lot::Mutex;
use permille_ledger::{Accepted, Billed};
use prometheus::{
    CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    core::Collector,
};

/// Distinct values of one label; every further one is counted as `other`. Keeps what a scrape
/// costs bounded however many customers there are.
const LABEL_VALUES_MAX: usize = 500;
/// What a value beyond the bound is counted as.
const OTHER: &str = "other";
/// Seconds of one batch: from 1 ms to 5 s.
const BATCH_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// A label with a bounded set of values.
#[derive(Default)]
struct Capped(Mutex<HashSet<String>>);

impl Capped {
    fn value<'a>(&self, value: &'a str) -> &'a str {
        let mut known = self.0.lock();
        if known.contains(value) {
            return value;
        }
        if known.len() >= LABEL_VALUES_MAX {
            return OTHER;
        }
        known.insert(value.to_owned());
        value
    }
}

/// Billing's metrics.
pub(crate) struct Metrics {
    customers: Capped,
    projects: Capped,
    models: Capped,
    classes: Capped,
    events: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    unpriced: IntCounter,
    mismatched: IntCounter,
    pub(crate) batch_seconds: Histogram,
}

impl Metrics {
    /// Registers everything on `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let counter = |name: &str, help: &str| kept(registry, IntCounter::new(name, help)?);
        let batch = HistogramOpts::new(
            "permille_intake_batch_seconds",
            "Seconds from a batch of usage events to its commit.",
        )
        .buckets(BATCH_BUCKETS.to_vec());
        let cost =
            Opts::new("permille_cost_total", "Cost of rated usage, by customer and currency.");
        Ok(Self {
            customers: Capped::default(),
            projects: Capped::default(),
            models: Capped::default(),
            classes: Capped::default(),
            events: counters(
                "permille_intake_events_total",
                "Usage events taken in, by what became of them.",
                &["result"],
            )?,
            tokens: counters(
                "permille_tokens_total",
                "Rated tokens, by customer, project, model and class.",
                &["customer", "project", "model", "class"],
            )?,
            cost: kept(registry, CounterVec::new(cost, &["customer", "currency"])?)?,
            unpriced: counter(
                "permille_unpriced_requests_total",
                "Requests held because a model or class had no price.",
            )?,
            mismatched: counter(
                "permille_usage_mismatch_total",
                "Requests whose token classes do not add up to the provider's total.",
            )?,
            batch_seconds: kept(registry, Histogram::with_opts(batch)?)?,
        })
    }

    pub(crate) fn accepted(&self, accepted: &Accepted) {
        for (result, count) in [
            ("booked", accepted.booked),
            ("duplicate", accepted.duplicates),
            ("conflict", accepted.conflicts),
            ("quarantined", accepted.quarantined),
        ] {
            self.events.with_label_values(&[result]).inc_by(count);
        }
        self.unpriced.inc_by(accepted.unpriced);
        self.mismatched.inc_by(accepted.mismatched);
        self.billed(&accepted.billed);
    }

    pub(crate) fn billed(&self, billed: &Billed) {
        for cost in &billed.costs {
            let customer = self.customers.value(cost.customer.as_str());
            // A decimal with 28 digits does not fit a float; what is lost is far below a cent.
            let amount = cost.cost.to_string().parse().unwrap_or(0.0);
            self.cost.with_label_values(&[customer, cost.currency.code()]).inc_by(amount);
        }
        for billed in &billed.tokens {
            self.tokens
                .with_label_values(&[
                    self.customers.value(billed.customer.as_str()),
                    self.projects.value(billed.project.as_str()),
                    self.models.value(billed.model.as_str()),
                    self.classes.value(billed.class.as_str()),
                ])
                .inc_by(billed.tokens);
        }
    }
}

fn kept<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_never_has_more_values_than_its_bound() {
        let label = Capped::default();

        let values: HashSet<String> =
            (0..2_000).map(|n| label.value(&format!("c{n}")).to_owned()).collect();

        assert_eq!(values.len(), LABEL_VALUES_MAX + 1);
        assert_eq!(label.value("c7"), "c7");
        assert_eq!(label.value("c1999"), OTHER);
    }
}
