//! Which calls have a span.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::config::Ratio;

/// The configured share of the traces, by trace id, so that all gateways take the same ones; and
/// none that its caller does not record.
///
/// `ParentBased`, which is usual, would let any client have all of its calls recorded.
#[derive(Debug, Clone)]
pub(crate) struct Sampled(Sampler);

impl Sampled {
    pub(crate) fn new(ratio: Ratio) -> Self {
        Self(Sampler::TraceIdRatioBased(ratio.into()))
    }
}

impl ShouldSample for Sampled {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        let unrecorded = parent.is_some_and(|parent| {
            let span = parent.span();
            let caller = span.span_context();
            caller.is_valid() && !caller.is_sampled()
        });
        if unrecorded {
            result.decision = SamplingDecision::Drop;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;

    fn decides(ratio: f64, caller: Option<TraceFlags>) -> usize {
        let sampler = Sampled::new(Ratio::try_from(ratio).unwrap());
        let taken = (1..=1_000_u128).filter(|n| {
            // Low bits of trace ids are random: spread by a Weyl sequence.
            let id = TraceId::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            let parent = caller.map(|flags| {
                let span = SpanId::from(7_u64);
                let context = SpanContext::new(id, span, flags, true, TraceState::default());
                Context::new().with_remote_span_context(context)
            });
            let result =
                sampler.should_sample(parent.as_ref(), id, "chat", &SpanKind::Client, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        });
        taken.count()
    }

    #[test]
    fn a_caller_that_is_not_recorded_has_no_span_and_one_that_is_has_its_share() {
        assert_eq!(decides(1.0, Some(TraceFlags::default())), 0);
        assert_eq!(decides(1.0, Some(TraceFlags::SAMPLED)), 1_000);
        assert_eq!(decides(1.0, None), 1_000);
        assert_eq!(decides(0.0, Some(TraceFlags::SAMPLED)), 0);
        for caller in [None, Some(TraceFlags::SAMPLED)] {
            let quarter = decides(0.25, caller);
            assert!((200..300).contains(&quarter), "{quarter}");
        }
    }
}
