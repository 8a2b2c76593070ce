//! The client metrics of the convention. Conversations are on spans only: sets of attributes stay
//! few, and the SDK counts those beyond 2,000 of a metric as one.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use permille_types::UsageEvent;

use crate::convention::{SECOND_BOUNDS, TOKEN_BOUNDS, error, first_chunk};

pub(crate) struct Histograms {
    tokens: Histogram<u64>,
    duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
}

impl Histograms {
    pub(crate) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(SECOND_BOUNDS.to_vec())
                .build()
        };
        Self {
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(TOKEN_BOUNDS.to_vec())
                .build(),
            duration: seconds("gen_ai.client.operation.duration", "GenAI operation duration."),
            first_chunk: seconds(
                "gen_ai.client.operation.time_to_first_chunk",
                "Time to receive the first chunk, measured from the arrival of the request.",
            ),
        }
    }

    /// Counts an operation that has ended. `common` are its attributes.
    pub(crate) fn ended(&self, event: &UsageEvent, common: &[KeyValue]) {
        let with = |more: KeyValue| {
            let mut attributes = common.to_vec();
            attributes.push(more);
            attributes
        };
        let seconds = Duration::from_millis(event.latency_ms).as_secs_f64();
        match error(event) {
            Some(class) => {
                self.duration.record(seconds, &with(KeyValue::new("error.type", class)));
            }
            None => self.duration.record(seconds, common),
        }
        if let Some(time) = first_chunk(event) {
            self.first_chunk.record(time.as_secs_f64(), common);
        }
        for (direction, tokens) in [("input", event.input_total), ("output", event.output_total)] {
            if let Some(tokens) = tokens {
                let attributes = with(KeyValue::new("gen_ai.token.type", direction));
                self.tokens.record(tokens, &attributes);
            }
        }
    }
}
