//! What billing exports: tokens and cost by customer, and how intake fares.
//!
//! Floats are fine here and only here: a metric shows a trend, an invoice says what is owed.

use std::collections::HashSet;

use parking_lot::Mutex;
use permille_ledger::{
    Accepted, Billed, BilledRequest, BilledTokens, EndedSession, ReconciliationSummary, Told,
};
use permille_types::{CustomerId, Money};
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, core::Collector,
};

use crate::{
    session_metrics::SessionMetrics, usage_stream::UsageStreamMetrics, webhooks::WebhookMetrics,
};

/// What a customer is expected to spend. Alerts rest on it; nothing is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub customer: CustomerId,
    /// Of 30 days, in the customer's currency.
    pub monthly: Money,
}

/// The budgets that are exported.
#[derive(Default)]
struct Watched {
    /// Customers whose budget the configuration gives: their limits say nothing here.
    configured: HashSet<CustomerId>,
    /// Those whose limits give it, with its currency.
    limited: Vec<(CustomerId, &'static str)>,
}

/// Distinct values of one label; every further one is counted as `other`.
const LABEL_VALUES_MAX: usize = 500;
/// Distinct combinations of the labels of tokens; every further one is counted as `other` in each
/// label. About 1 MiB of a scrape, however many customers use however many models.
const TOKEN_SERIES_MAX: usize = 10_000;
/// Between the parts of a combination: ids hold no control characters.
pub(crate) const UNIT_SEPARATOR: &str = "\u{1f}";
/// What a value beyond the bound is counted as.
pub(crate) const OTHER: &str = "other";
/// What becomes of an event that is taken in.
const RESULTS: [&str; 4] = ["booked", "duplicate", "conflict", "quarantined"];
/// Seconds of one batch: from 1 ms to 5 s.
const BATCH_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// A bounded set of values that are counted by name.
pub(crate) struct Capped {
    known: Mutex<HashSet<String>>,
    max: usize,
}

impl Capped {
    pub(crate) fn new(max: usize) -> Self {
        Self { known: Mutex::default(), max }
    }

    /// Whether `value` is among those that are counted by name.
    pub(crate) fn admits(&self, value: &str) -> bool {
        let mut known = self.known.lock();
        if known.contains(value) {
            return true;
        }
        let room = known.len() < self.max;
        if room {
            known.insert(value.to_owned());
        }
        room
    }

    /// The label's value for `value`.
    pub(crate) fn value<'a>(&self, value: &'a str) -> &'a str {
        if self.admits(value) { value } else { OTHER }
    }
}

/// Billing's metrics.
pub struct Metrics {
    customers: Capped,
    projects: Capped,
    models: Capped,
    classes: Capped,
    token_series: Capped,
    events: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    provider_priced_cost: CounterVec,
    provider_cost: CounterVec,
    monthly_budget: GaugeVec,
    reconciliation_drift: Gauge,
    reconciled_providers: IntGauge,
    watched: Mutex<Watched>,
    unpriced: IntCounter,
    mismatched: IntCounter,
    pub(crate) batch_seconds: Histogram,
    sessions: SessionMetrics,
    pub(crate) webhooks: WebhookMetrics,
    pub(crate) stream: UsageStreamMetrics,
}

impl Metrics {
    /// Registers everything on `registry`.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a metric of that name is there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let counter = |name: &str, help: &str| kept(registry, IntCounter::new(name, help)?);
        let batch = HistogramOpts::new(
            "permille_intake_batch_seconds",
            "Seconds from a batch of usage events to its commit.",
        )
        .buckets(BATCH_BUCKETS.to_vec());
        let amounts = |name: &str, help: &str| {
            kept(registry, CounterVec::new(Opts::new(name, help), &["customer", "currency"])?)
        };
        let budget = Opts::new(
            "permille_monthly_budget",
            "What a customer is expected to spend in a month: by [[budget]], else by its limit.",
        );
        let events = counters(
            "permille_intake_events_total",
            "Usage events taken in, by what became of them.",
            &["result"],
        )?;
        for result in RESULTS {
            // An increase is seen only in a series that was there before it.
            events.with_label_values(&[result]);
        }
        Ok(Self {
            customers: Capped::new(LABEL_VALUES_MAX),
            projects: Capped::new(LABEL_VALUES_MAX),
            models: Capped::new(LABEL_VALUES_MAX),
            classes: Capped::new(LABEL_VALUES_MAX),
            token_series: Capped::new(TOKEN_SERIES_MAX),
            events,
            tokens: counters(
                "permille_tokens_total",
                "Rated tokens, by customer, project, model and class.",
                &["customer", "project", "model", "class"],
            )?,
            cost: amounts("permille_cost_total", "Cost of rated usage, by customer and currency.")?,
            provider_priced_cost: amounts(
                "permille_provider_priced_cost_total",
                "Cost of the requests of which it is known what their provider takes.",
            )?,
            provider_cost: amounts(
                "permille_provider_cost_total",
                "What providers take for them, by the entries of side cost in the same currency.",
            )?,
            monthly_budget: kept(registry, GaugeVec::new(budget, &["customer", "currency"])?)?,
            reconciliation_drift: kept(
                registry,
                Gauge::new(
                    "permille_reconciliation_drift_ratio",
                    "Part of a provider's bill that does not agree with our side: the largest of \
                     the providers' last reconciliations.",
                )?,
            )?,
            reconciled_providers: kept(
                registry,
                IntGauge::new(
                    "permille_reconciliation_providers",
                    "Providers with a bill that was reconciled.",
                )?,
            )?,
            watched: Mutex::default(),
            unpriced: counter(
                "permille_unpriced_requests_total",
                "Requests held because a model or class had no price.",
            )?,
            mismatched: counter(
                "permille_usage_mismatch_total",
                "Requests whose token classes do not add up to the provider's total.",
            )?,
            batch_seconds: kept(registry, Histogram::with_opts(batch)?)?,
            sessions: SessionMetrics::register(registry)?,
            webhooks: WebhookMetrics::register(registry)?,
            stream: UsageStreamMetrics::register(registry)?,
        })
    }

    /// Exports what customers are expected to spend, and their cost from the start: an increase is
    /// seen only in a series that was there before it. They are counted by name, whoever comes.
    pub fn watch(&self, budgets: &[Budget]) {
        for Budget { customer, monthly } in budgets {
            self.expect(self.customers.value(customer.as_str()), *monthly);
            self.watched.lock().configured.insert(customer.clone());
        }
    }

    /// Counts these customers by name, whoever comes.
    pub(crate) fn name(&self, customers: &[CustomerId]) {
        for customer in customers {
            self.customers.value(customer.as_str());
            self.sessions.name(customer);
        }
    }

    /// Exports what the last reconciliation of each provider came to.
    pub fn reconciled(&self, last: &[ReconciliationSummary]) {
        let drifts = last.iter().filter_map(|of| of.drift_permille.as_ref());
        let largest = drifts.map(float).fold(0.0, f64::max);
        self.reconciliation_drift.set(largest / 1_000.0);
        self.reconciled_providers.set(i64::try_from(last.len()).unwrap_or(i64::MAX));
    }

    /// The same of the customers whose own limits give a monthly budget, in the place of those
    /// before. A budget of the configuration comes first.
    pub(crate) fn watch_limits(&self, budgets: Vec<(CustomerId, Money)>) {
        let mut watched = self.watched.lock();
        for (customer, currency) in std::mem::take(&mut watched.limited) {
            // It was exported, and is exported by nobody else.
            drop(self.monthly_budget.remove_label_values(&[customer.as_str(), currency]));
        }
        for (customer, monthly) in budgets {
            // Budgets of customers who are counted as one say nothing.
            if watched.configured.contains(&customer) || !self.customers.admits(customer.as_str()) {
                continue;
            }
            self.expect(customer.as_str(), monthly);
            watched.limited.push((customer, monthly.currency().code()));
        }
    }

    fn expect(&self, customer: &str, monthly: Money) {
        let labels = [customer, monthly.currency().code()];
        self.monthly_budget.with_label_values(&labels).set(float(&monthly.amount()));
        self.cost.with_label_values(&labels);
    }

    /// Counts a session that has ended.
    pub fn ended(&self, session: &EndedSession) {
        self.sessions.ended(session);
    }

    /// Counts what somebody said of a session.
    pub(crate) fn told(&self, told: &Told) {
        self.sessions.told(told);
    }

    /// Counts a batch that was taken in.
    pub fn accepted(&self, accepted: &Accepted) {
        let Accepted { booked, duplicates, conflicts, quarantined, .. } = accepted;
        for (result, count) in RESULTS.iter().zip([booked, duplicates, conflicts, quarantined]) {
            self.events.with_label_values(&[result]).inc_by(*count);
        }
        self.unpriced.inc_by(accepted.unpriced);
        self.mismatched.inc_by(accepted.mismatched);
        self.billed(&accepted.billed);
    }

    /// Counts what came outside of any batch and could not be read.
    pub(crate) fn quarantined(&self) {
        let [.., quarantined] = RESULTS;
        self.events.with_label_values(&[quarantined]).inc();
    }

    pub(crate) fn billed(&self, billed: &Billed) {
        for cost in &billed.costs {
            let customer = self.customers.value(cost.customer.as_str());
            let labels = [customer, cost.currency.code()];
            self.cost.with_label_values(&labels).inc_by(float(&cost.cost));
        }
        for billed in &billed.tokens {
            self.tokens.with_label_values(&self.token_labels(billed)).inc_by(billed.tokens);
        }
        for request in &billed.requests {
            self.sessions.billed(request);
            self.margin(request);
        }
    }

    /// What is left of a request where it is known what its provider takes.
    fn margin(&self, request: &BilledRequest) {
        let Some(provider_cost) = &request.provider_cost else { return };
        if request.counts.unmetered_requests > 0 {
            // What costs nothing by its nature tells nothing of its provider's price.
            return;
        }
        let labels = [self.customers.value(request.customer.as_str()), request.currency.code()];
        self.provider_priced_cost.with_label_values(&labels).inc_by(float(&request.cost));
        self.provider_cost.with_label_values(&labels).inc_by(float(provider_cost));
    }

    /// Customer, project, model and class as they are counted.
    fn token_labels<'a>(&self, billed: &'a BilledTokens) -> [&'a str; 4] {
        let labels = [
            self.customers.value(billed.customer.as_str()),
            self.projects.value(billed.project.as_str()),
            self.models.value(billed.model.as_str()),
            self.classes.value(billed.class.as_str()),
        ];
        if self.token_series.admits(&labels.join(UNIT_SEPARATOR)) { labels } else { [OTHER; 4] }
    }
}

/// An amount as metrics have it. A decimal with 28 digits does not fit a float; what is lost is far
/// below a cent.
pub(crate) fn float(amount: &impl ToString) -> f64 {
    amount.to_string().parse().unwrap_or(0.0)
}

pub(crate) fn kept<C: Collector + Clone + 'static>(
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
        let label = Capped::new(LABEL_VALUES_MAX);

        let values: HashSet<String> =
            (0..2_000).map(|n| label.value(&format!("c{n}")).to_owned()).collect();

        assert_eq!(values.len(), LABEL_VALUES_MAX + 1);
        assert_eq!(label.value("c7"), "c7");
        assert_eq!(label.value("c1999"), OTHER);
    }

    #[test]
    fn a_customers_limit_is_its_budget_until_it_goes_and_the_configuration_comes_first() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let money = |text: &str| text.parse::<Money>().unwrap();
        let id = |text: &str| text.parse::<CustomerId>().unwrap();
        metrics.watch(&[Budget { customer: id("acme"), monthly: money("500 CNY") }]);
        let exported = || {
            let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            let lines = text.lines().filter(|line| line.starts_with("permille_monthly_budget{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let line = |customer: &str, currency: &str, value: &str| {
            format!(
                "permille_monthly_budget{{currency=\"{currency}\",customer=\"{customer}\"}} {value}"
            )
        };

        let limits = vec![(id("acme"), money("9 CNY")), (id("globex"), money("20 USD"))];
        metrics.watch_limits(limits);
        assert_eq!(exported(), [line("acme", "CNY", "500"), line("globex", "USD", "20")]);
        metrics.watch_limits(vec![(id("globex"), money("30 USD"))]);
        assert_eq!(exported(), [line("acme", "CNY", "500"), line("globex", "USD", "30")]);
        metrics.watch_limits(Vec::new());
        assert_eq!(exported(), [line("acme", "CNY", "500")]);
    }
}
