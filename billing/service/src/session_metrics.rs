//! What sessions cost, live: by turn, by cause, and as whole sessions when they have ended.
//!
//! No label is a session, a request or a user; models, customers and combinations are capped. The
//! formulas are those of `docs/metering.md`, "The hidden cost".

use permille_ledger::{BilledRequest, EndedSession, InferredOutcome, Outcome, Told};
use permille_types::{Currency, CustomerId};
use prometheus::{
    CounterVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
};
use rust_decimal::Decimal;

use crate::metrics::{Capped, OTHER, UNIT_SEPARATOR, float, kept};

/// Models by name in the metrics of sessions; every further one is counted as `other`. With turns
/// and currencies beside them some 5,000 series.
const MODELS_MAX: usize = 100;
/// Customers by name; with five causes and two currencies 5,000 series.
const CUSTOMERS_MAX: usize = 500;
/// Combinations of model, turn and class.
const SERIES_MAX: usize = 5_000;
/// Currencies of which what becomes of sessions is exported from the start.
const CURRENCIES: [Currency; 2] = [Currency::CNY, Currency::USD];
/// Where an outcome is from.
const TOLD: &str = "told";
const INFERRED: &str = "inferred";
/// Money of a request or a session: four buckets a decade, because with one the quantiles mislead.
const MONEY_BUCKETS: [f64; 29] = [
    0.00001, 0.000_018, 0.000_032, 0.000_056, 0.0001, 0.00018, 0.00032, 0.00056, 0.001, 0.0018,
    0.0032, 0.0056, 0.01, 0.018, 0.032, 0.056, 0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0,
    18.0, 32.0, 56.0, 100.0,
];
/// Turns of a session.
const TURN_BUCKETS: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 100.0];
/// Shares from 0 to 1.
const RATIO_BUCKETS: [f64; 12] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0];

/// The metrics of turns and sessions.
pub(crate) struct SessionMetrics {
    models: Capped,
    customers: Capped,
    classes: Capped,
    token_series: Capped,
    cost_series: Capped,
    turn_cost: HistogramVec,
    class_cost: CounterVec,
    tokens: IntCounterVec,
    conversation_input: IntCounterVec,
    resent_tokens: IntCounterVec,
    resent_cost: CounterVec,
    regenerated: IntCounterVec,
    regenerated_cost: CounterVec,
    cache_saving: CounterVec,
    cache_saving_missed: CounterVec,
    failed_request_cost: CounterVec,
    failed_attempts: IntCounterVec,
    failed_attempt_cost: CounterVec,
    hidden_cost: CounterVec,
    whole: WholeSessions,
}

/// The metrics of sessions as a whole.
struct WholeSessions {
    cost: HistogramVec,
    turns: Histogram,
    resent: HistogramVec,
    outcomes: IntCounterVec,
    outcome_cost: CounterVec,
    result_cost: CounterVec,
    result_text_cost: CounterVec,
}

impl SessionMetrics {
    /// Registers everything on `registry`.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counts = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let amounts = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, CounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            kept(registry, HistogramVec::new(options, labels)?)
        };
        Ok(Self {
            models: Capped::new(MODELS_MAX),
            customers: Capped::new(CUSTOMERS_MAX),
            classes: Capped::new(MODELS_MAX),
            token_series: Capped::new(SERIES_MAX),
            cost_series: Capped::new(SERIES_MAX),
            turn_cost: histogram(
                "permille_turn_cost",
                "Cost of a request that may cost something, by currency and turn.",
                &["currency", "turn"],
                &MONEY_BUCKETS,
            )?,
            class_cost: amounts(
                "permille_turn_class_cost_total",
                "Cost by model, turn and token class or unit.",
                &["model", "turn", "class", "currency"],
            )?,
            tokens: counts(
                "permille_turn_tokens_total",
                "Rated tokens by model, turn and class.",
                &["model", "turn", "class"],
            )?,
            conversation_input: counts(
                "permille_conversation_input_tokens_total",
                "Input tokens of requests whose place in a conversation is known.",
                &["model", "turn"],
            )?,
            resent_tokens: counts(
                "permille_resent_tokens_total",
                "Input tokens that their session had sent or received before, an estimate.",
                &["model", "turn"],
            )?,
            resent_cost: amounts(
                "permille_resent_cost_total",
                "Cost of resent tokens.",
                &["model", "turn", "currency"],
            )?,
            regenerated: counts(
                "permille_regenerated_requests_total",
                "Requests that repeat a turn.",
                &["model"],
            )?,
            regenerated_cost: amounts(
                "permille_regenerated_cost_total",
                "Cost of requests that repeat a turn.",
                &["model", "currency"],
            )?,
            cache_saving: amounts(
                "permille_cache_saving_total",
                "What cached input would have cost more as uncached input.",
                &["model", "currency"],
            )?,
            cache_saving_missed: amounts(
                "permille_cache_saving_missed_total",
                "What resent uncached input would have cost less, read from a cache.",
                &["model", "currency"],
            )?,
            failed_request_cost: amounts(
                "permille_failed_request_cost_total",
                "Cost of requests that did not end complete, by ending.",
                &["model", "ended", "currency"],
            )?,
            failed_attempts: counts(
                "permille_failed_attempts_total",
                "Upstream calls that failed.",
                &["model"],
            )?,
            failed_attempt_cost: amounts(
                "permille_failed_attempt_cost_total",
                "What failed calls consumed at the provider, at the row's price; not billed.",
                &["model", "currency"],
            )?,
            hidden_cost: amounts(
                "permille_hidden_cost_total",
                "Hidden cost by customer and cause. Causes overlap and are never added up.",
                &["customer", "currency", "cause"],
            )?,
            whole: WholeSessions::register(registry)?,
        })
    }

    /// Counts a customer by name.
    pub(crate) fn name(&self, customer: &CustomerId) {
        self.customers.value(customer.as_str());
    }

    /// Counts a request that has a price.
    pub(crate) fn billed(&self, request: &BilledRequest) {
        let model = self.models.value(request.model.as_str());
        let (turn, currency) = (bucket(request.turn), request.currency.code());
        let (counts, amounts) = (&request.counts, &request.amounts);
        // What costs nothing by its nature would thin out the mean of its turn.
        if counts.unmetered_requests == 0 {
            self.turn_cost.with_label_values(&[currency, turn]).observe(float(&request.cost));
        }
        self.by_class(request, model, turn);
        let by_turn = [model, turn];
        self.conversation_input
            .with_label_values(&by_turn)
            .inc_by(counts.conversation_input_tokens);
        self.resent_tokens.with_label_values(&by_turn).inc_by(counts.resent_tokens);
        self.regenerated.with_label_values(&[model]).inc_by(counts.regenerations);
        self.failed_attempts.with_label_values(&[model]).inc_by(counts.failed_attempts);
        let resent = float(&amounts.resent_cost);
        self.resent_cost.with_label_values(&[model, turn, currency]).inc_by(resent);
        let by_model = [model, currency];
        for (metric, amount) in [
            (&self.regenerated_cost, amounts.regenerated_cost),
            (&self.cache_saving, amounts.cache_saving),
            (&self.cache_saving_missed, amounts.cache_saving_missed),
            (&self.failed_attempt_cost, amounts.failed_attempt_cost),
        ] {
            metric.with_label_values(&by_model).inc_by(float(&amount));
        }
        if !amounts.failed_request_cost.is_zero() {
            self.failed_request_cost
                .with_label_values(&[model, request.ended.as_str(), currency])
                .inc_by(float(&amounts.failed_request_cost));
        }
        let customer = self.customers.value(request.customer.as_str());
        for (cause, amount) in [
            ("resent", amounts.resent_cost),
            ("regenerated", amounts.regenerated_cost),
            ("failed_request", amounts.failed_request_cost),
            ("failed_attempt", amounts.failed_attempt_cost),
            ("cache_missed", amounts.cache_saving_missed),
        ] {
            self.hidden_cost.with_label_values(&[customer, currency, cause]).inc_by(float(&amount));
        }
    }

    fn by_class(&self, request: &BilledRequest, model: &str, turn: &str) {
        let currency = request.currency.code();
        for line in &request.lines {
            let class = self.classes.value(line.meter.as_str());
            let key = [model, turn, class, currency].join(UNIT_SEPARATOR);
            // Amounts of two currencies are never added, not even beyond the cap.
            let labels = if self.cost_series.admits(&key) {
                [model, turn, class, currency]
            } else {
                [OTHER, OTHER, OTHER, currency]
            };
            self.class_cost.with_label_values(&labels).inc_by(float(&line.cost));
            if line.meter.is_tokens() {
                let key = [model, turn, class].join(UNIT_SEPARATOR);
                let admitted = self.token_series.admits(&key);
                let labels = if admitted { [model, turn, class] } else { [OTHER; 3] };
                self.tokens.with_label_values(&labels).inc_by(line.quantity);
            }
        }
    }

    /// Counts a session that has ended.
    pub(crate) fn ended(&self, session: &EndedSession) {
        if session.unmetered {
            return;
        }
        let (turns, currency) = (bucket(session.turns), session.currency.code());
        self.whole.cost.with_label_values(&[currency, turns]).observe(float(&session.cost));
        self.whole.turns.observe(f64::from(session.turns));
        let counts = &session.counts;
        let (resent, input) = (counts.resent_tokens, counts.conversation_input_tokens);
        if input > 0 {
            let ratio = thousandths(resent, input) / 1_000.0;
            self.whole.resent.with_label_values(&[turns]).observe(ratio);
        }
        if session.outcome.is_none() {
            let outcome = session.inferred_outcome.as_str();
            self.outcome(outcome, INFERRED, currency, float(&session.cost));
            self.result(INFERRED, currency, session.cost, session.text_cost);
        }
    }

    /// Counts what somebody said of a session.
    pub(crate) fn told(&self, Told { session, text_cost, .. }: &Told) {
        if let Some(told) = &session.outcome {
            let (outcome, currency) = (told.outcome.as_str(), session.currency.code());
            self.outcome(outcome, TOLD, currency, float(&session.cost));
            self.result(TOLD, currency, session.cost, *text_cost);
        }
    }

    /// Counts both sides of the list-price multiplier of a session that has a result.
    fn result(&self, source: &str, currency: &str, cost: Decimal, text_cost: Option<Decimal>) {
        let Some(text_cost) = text_cost else { return };
        let labels = [source, currency];
        self.whole.result_cost.with_label_values(&labels).inc_by(float(&cost));
        self.whole.result_text_cost.with_label_values(&labels).inc_by(float(&text_cost));
    }

    fn outcome(&self, outcome: &str, source: &str, currency: &str, cost: f64) {
        let labels = [outcome, source, currency];
        self.whole.outcomes.with_label_values(&labels).inc();
        self.whole.outcome_cost.with_label_values(&labels).inc_by(cost);
    }
}

impl WholeSessions {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            kept(registry, HistogramVec::new(options, labels)?)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            kept(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let amounts = |name: &str, help: &str| {
            kept(registry, CounterVec::new(Opts::new(name, help), &["source", "currency"])?)
        };
        let cost =
            Opts::new("permille_session_outcome_cost_total", "Cost of sessions, by outcome.");
        let turns =
            HistogramOpts::new("permille_session_turns", "Turns of a session when it has ended.");
        let turns = Histogram::with_opts(turns.buckets(TURN_BUCKETS.to_vec()))?;
        let whole = Self {
            cost: histogram(
                "permille_session_cost",
                "Cost of a session since it last ended, by currency and number of turns.",
                &["currency", "turns"],
                &MONEY_BUCKETS,
            )?,
            turns: kept(registry, turns)?,
            resent: histogram(
                "permille_session_resent_ratio",
                "Share of a session's input that it had sent or received before.",
                &["turns"],
                &RATIO_BUCKETS,
            )?,
            outcomes: counters(
                "permille_session_outcomes_total",
                "Sessions by outcome: told, or inferred when they ended and nobody had told.",
                &["outcome", "source", "currency"],
            )?,
            outcome_cost: kept(
                registry,
                CounterVec::new(cost, &["outcome", "source", "currency"])?,
            )?,
            result_cost: amounts(
                "permille_result_cost_total",
                "Cost of sessions with a result: accepted or resolved, or inferred ended.",
            )?,
            result_text_cost: amounts(
                "permille_result_text_cost_total",
                "What the last complete replies of those sessions cost without what was resent.",
            )?,
        };
        whole.export();
        Ok(whole)
    }

    /// Exports what becomes of sessions from the start: an increase is seen only in a series that
    /// was there before it.
    fn export(&self) {
        let told = Outcome::ALL.map(|outcome| (outcome.as_str(), TOLD));
        let inferred = InferredOutcome::OF_ENDED.map(|outcome| (outcome.as_str(), INFERRED));
        for currency in CURRENCIES.map(|currency| currency.code()) {
            for (outcome, source) in told.into_iter().chain(inferred) {
                self.outcomes.with_label_values(&[outcome, source, currency]);
                self.outcome_cost.with_label_values(&[outcome, source, currency]);
            }
            for source in [TOLD, INFERRED] {
                self.result_cost.with_label_values(&[source, currency]);
                self.result_text_cost.with_label_values(&[source, currency]);
            }
        }
    }
}

/// The label of a turn, or of a number of turns.
fn bucket(turn: u32) -> &'static str {
    match turn {
        0 | 1 => "1",
        2..=3 => "2-3",
        4..=7 => "4-7",
        8..=15 => "8-15",
        16..=31 => "16-31",
        _ => "32+",
    }
}

/// `part ÷ whole` in thousandths.
fn thousandths(part: u64, whole: u64) -> f64 {
    let share = u128::from(part) * 1_000 / u128::from(whole).max(1);
    u32::try_from(share).map_or(1_000.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_turns_meet_without_a_gap() {
        let names = [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, u32::MAX].map(bucket);

        let expected =
            ["1", "2-3", "2-3", "4-7", "4-7", "8-15", "8-15", "16-31", "16-31", "32+", "32+"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_share_is_read_to_a_thousandth() {
        assert_eq!(thousandths(1, 3).to_string(), "333");
        assert_eq!(thousandths(u64::MAX, u64::MAX).to_string(), "1000");
    }
}
