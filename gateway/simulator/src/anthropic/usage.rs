//! The `usage` object of Anthropic replies: what was read from and written to the cache is not
//! part of `input_tokens`; thinking is part of `output_tokens`.

use bytes::BytesMut;

use crate::{
    account::Tally,
    sse::{number, text},
};

/// Writes the whole object, with `output` in place of the output so far where given.
pub(crate) fn write(out: &mut BytesMut, tally: &Tally, output: Option<u64>) {
    let cache = tally.cache;
    text(out, "{");
    input(out, tally);
    text(out, ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":");
    number(out, cache.write_5m);
    text(out, ",\"ephemeral_1h_input_tokens\":");
    number(out, cache.write_1h);
    text(out, "},\"output_tokens\":");
    number(out, output.unwrap_or(tally.completion));
    if output.is_none() {
        thinking(out, tally);
    }
    text(out, ",\"service_tier\":\"standard\"}");
}

/// Writes the object of a `message_delta`: cumulative, without the split of cache writes.
pub(crate) fn write_delta(out: &mut BytesMut, tally: &Tally) {
    text(out, "{");
    input(out, tally);
    text(out, ",\"output_tokens\":");
    number(out, tally.completion);
    thinking(out, tally);
    text(out, "}");
}

fn input(out: &mut BytesMut, tally: &Tally) {
    let written = tally.cache.write_5m + tally.cache.write_1h;
    text(out, "\"input_tokens\":");
    number(out, tally.prompt - tally.cache.read - written);
    text(out, ",\"cache_creation_input_tokens\":");
    number(out, written);
    text(out, ",\"cache_read_input_tokens\":");
    number(out, tally.cache.read);
}

fn thinking(out: &mut BytesMut, tally: &Tally) {
    if tally.reasoning > 0 {
        text(out, ",\"output_tokens_details\":{\"thinking_tokens\":");
        number(out, tally.reasoning);
        text(out, "}");
    }
}
