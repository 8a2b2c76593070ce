//! The `usage` object of OpenAI replies: cached input is part of the input, reasoning part of the
//! output.

use bytes::BytesMut;

use crate::{
    account::Tally,
    cache::PromptCache,
    control::UsageReport,
    sse::{number, text},
};

/// Writes the usage object. Models that never cache report the bare sums, as small providers do.
pub(crate) fn write(out: &mut BytesMut, tally: &Tally, report: UsageReport, detailed: bool) {
    let zero = Tally::default();
    let tally = if report == UsageReport::Zero { &zero } else { tally };
    let hidden = u64::from(report == UsageReport::WrongTotal);
    text(out, "{\"prompt_tokens\":");
    number(out, tally.prompt);
    text(out, ",\"completion_tokens\":");
    number(out, tally.completion);
    text(out, ",\"total_tokens\":");
    number(out, tally.prompt + tally.completion + hidden);
    if detailed {
        text(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
        number(out, tally.cache.read);
        text(out, ",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":");
        number(out, tally.reasoning);
        text(
            out,
            ",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\
             \"rejected_prediction_tokens\":0}",
        );
    }
    text(out, "}");
}

/// Whether usage of `model` comes with details.
pub(crate) fn is_detailed(model: &str) -> bool {
    PromptCache::serves(model)
}
