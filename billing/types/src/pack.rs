//! Writes the packed form of an event. What that is and how it is read: [`crate::packed`].
//!
//! Straight from the event, field by field: each request writes two, and through serde that took
//! twice the instructions. So the order of the fields stands here and where they are read; the
//! tests hold the two together.

use crate::{Attempt, TokenCounts, UsageEvent};

/// Room for a typical payload, in bytes.
const PAYLOAD_BYTES: usize = 512;

/// A payload as far as it is packed, in postcard's wire format.
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    /// A payload that begins with `mark`.
    pub(crate) fn new(mark: u8) -> Self {
        let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
        payload.push(mark);
        Self(payload)
    }

    /// The whole payload.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// What an event has behind its version, in the order of `Fields`.
    pub(crate) fn event(&mut self, event: &UsageEvent) {
        self.bytes(event.request_id.as_uuid().as_bytes());
        self.signed(event.at.timestamp());
        self.number(event.at.timestamp_subsec_nanos().into());
        self.text(event.customer.as_str());
        self.text(event.project.as_str());
        self.text(event.key.as_str());
        self.text(event.session.as_str());
        self.truth(event.session_explicit);
        self.number(event.turn.into());
        self.maybe_text(event.turn_kind.map(crate::TurnKind::as_str));
        self.text(event.family.as_str());
        self.text(event.endpoint.as_str());
        self.text(event.model_requested.as_str());
        self.maybe_text(event.model_served.as_ref().map(crate::ModelName::as_str));
        self.maybe_text(event.service_tier.as_deref());
        self.maybe_text(event.region.as_deref());
        self.maybe_text(event.upstream.as_ref().map(crate::UpstreamName::as_str));
        self.maybe_number(event.status.map(u64::from));
        self.truth(event.streamed);
        self.text(event.ended.as_str());
        self.text(event.source.as_str());
        self.tokens(&event.tokens);
        self.maybe_number(event.input_total);
        self.maybe_number(event.output_total);
        self.maybe_number(event.resent_tokens);
        self.maybe_number(event.estimate_error_permille.map(u64::from));
        self.length(event.units.len());
        for (unit, count) in &event.units {
            self.text(unit.as_str());
            self.number(*count);
        }
        self.length(event.attempts.len());
        for attempt in &event.attempts {
            self.attempt(attempt);
        }
        self.number(event.latency_ms);
        self.maybe_number(event.first_token_ms);
        self.length(event.flags.len());
        for flag in &event.flags {
            self.text(flag.as_str());
        }
    }

    /// In the order of `PackedAttempt`.
    fn attempt(&mut self, attempt: &Attempt) {
        self.text(attempt.upstream.as_str());
        self.maybe_text(attempt.model.as_ref().map(crate::ModelName::as_str));
        self.maybe_number(attempt.status.map(u64::from));
        self.maybe_text(attempt.provider_id.as_deref());
        self.maybe_text(attempt.provider_request_id.as_deref());
        self.text(attempt.ended.as_str());
        self.tokens(&attempt.tokens);
    }

    fn tokens(&mut self, tokens: &TokenCounts) {
        self.length(tokens.len());
        for (class, count) in tokens {
            self.text(class.as_str());
            self.number(*count);
        }
    }

    /// A number of any width: seven bits a byte, the lowest first, each but the last with its top
    /// bit set.
    pub(crate) fn number(&mut self, mut number: u64) {
        const MORE: u8 = 0x80;
        while number >= u64::from(MORE) {
            let [low, ..] = number.to_le_bytes();
            self.0.push(low | MORE);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.0.push(low);
    }

    /// A number that may be negative: those near zero are short, whatever their sign.
    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn truth(&mut self, truth: bool) {
        self.0.push(truth.into());
    }

    fn length(&mut self, length: usize) {
        self.number(u64::try_from(length).unwrap_or(u64::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe_number(&mut self, number: Option<u64>) {
        self.truth(number.is_some());
        if let Some(number) = number {
            self.number(number);
        }
    }

    fn maybe_text(&mut self, text: Option<&str>) {
        self.truth(text.is_some());
        if let Some(text) = text {
            self.text(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{events, packed::Fields};

    proptest! {
        #[test]
        fn an_event_is_packed_as_the_writer_of_the_format_packs_its_fields(
            event in events::event(),
        ) {
            let mut packed = Packer::new(0);
            packed.event(&event);
            let packed = packed.finish();

            let fields: Fields<'_> = postcard::from_bytes(&packed[1..]).unwrap();

            prop_assert_eq!(&packed[1..], postcard::to_extend(&fields, Vec::new()).unwrap());
        }
    }
}
