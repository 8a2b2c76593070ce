//! The client metrics of the convention. Conversations are on spans only: sets of attributes stay
//! few, and the SDK counts those beyond 2,000 of a metric as one.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use permille_types::{TokenClass, UsageEvent};

use crate::convention::{
    EMBEDDINGS, SECOND_BOUNDS, TEXT, TOKEN_BOUNDS, UNKNOWN, cache_read, cache_write, error,
    first_chunk, input, output, sum_of,
};

pub(crate) struct Instruments {
    /// Of what generates a reply.
    duration: Histogram<f64>,
    /// Of what does not.
    other_duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    input: Direction,
    output: Direction,
    cache_read: Counter<u64>,
    cache_write: Counter<u64>,
    reasoning: Counter<u64>,
}

/// Tokens of one direction: how many of which modality, and how many an operation takes.
struct Direction {
    used: Counter<u64>,
    of_operations: Histogram<u64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(SECOND_BOUNDS.to_vec())
                .build()
        };
        let used = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_unit("{token}").with_description(description).build()
        };
        let of_operations = |name: &'static str, description: &'static str| {
            meter
                .u64_histogram(name)
                .with_unit("{token}")
                .with_description(description)
                .with_boundaries(TOKEN_BOUNDS.to_vec())
                .build()
        };
        Self {
            duration: seconds(
                "gen_ai.client.inference.duration",
                "Time from the arrival of a request to the end of its reply.",
            ),
            other_duration: seconds(
                "gen_ai.client.operation.duration",
                "The same of operations that generate no reply.",
            ),
            first_chunk: seconds(
                "gen_ai.client.inference.time_to_first_chunk",
                "Time from the arrival of a request to the first chunk of its streamed reply.",
            ),
            input: Direction {
                used: used(
                    "gen_ai.client.inference.usage.input_tokens",
                    "Input tokens, cached ones included.",
                ),
                of_operations: of_operations(
                    "gen_ai.client.inference.operation.input_tokens",
                    "Input tokens of one operation.",
                ),
            },
            output: Direction {
                used: used(
                    "gen_ai.client.inference.usage.output_tokens",
                    "Output tokens, reasoning included.",
                ),
                of_operations: of_operations(
                    "gen_ai.client.inference.operation.output_tokens",
                    "Output tokens of one operation.",
                ),
            },
            cache_read: used(
                "gen_ai.client.inference.usage.cache_read.input_tokens",
                "Input tokens served from the provider's cache.",
            ),
            cache_write: used(
                "gen_ai.client.inference.usage.cache_write.input_tokens",
                "Input tokens written to the provider's cache.",
            ),
            reasoning: used(
                "gen_ai.client.inference.usage.reasoning.output_tokens",
                "Output tokens of reasoning.",
            ),
        }
    }

    /// Counts an operation that has ended. `common` are its attributes.
    pub(crate) fn ended(&self, operation: &str, event: &UsageEvent, common: &[KeyValue]) {
        let error = error(event).map(|class| KeyValue::new("error.type", class));
        let mut with_error = common.to_vec();
        with_error.extend(error);
        let generates = operation != EMBEDDINGS;
        let duration = if generates { &self.duration } else { &self.other_duration };
        duration.record(Duration::from_millis(event.latency_ms).as_secs_f64(), &with_error);
        if let Some(time) = first_chunk(event) {
            self.first_chunk.record(time.as_secs_f64(), common);
        }
        // The convention wants 0 of an operation without usage, so that each one is counted.
        let of = |modality| with(common, modality);
        self.input.add(event.input_total, input(event), common, &with_error);
        self.cache_read.add(cache_read(event).unwrap_or_default(), &of(UNKNOWN));
        self.cache_write.add(cache_write(event).unwrap_or_default(), &of(UNKNOWN));
        if generates {
            self.output.add(event.output_total, output(event), common, &with_error);
            let reasoning = sum_of(event, &TokenClass::REASONING);
            self.reasoning.add(reasoning.unwrap_or_default(), &of(TEXT));
        }
    }
}

impl Direction {
    fn add(
        &self,
        total: Option<u64>,
        parts: Vec<(&'static str, u64)>,
        common: &[KeyValue],
        with_error: &[KeyValue],
    ) {
        for (modality, tokens) in parts {
            self.used.add(tokens, &with(common, modality));
        }
        self.of_operations.record(total.unwrap_or_default(), with_error);
    }
}

fn with(common: &[KeyValue], modality: &'static str) -> Vec<KeyValue> {
    let mut attributes = common.to_vec();
    attributes.push(KeyValue::new("gen_ai.token.modality", modality));
    attributes
}
