//! Replies in Anthropic's shape that are not streamed.

use bytes::BytesMut;

use crate::{
    account::Tally,
    anthropic::{SIGNATURE, stop_reason, usage},
    ask::Ask,
    control::UsageReport,
    generation::Finish,
    sse::{quoted, text},
    whole::Answer,
};

/// The reply as JSON.
pub(crate) fn write(ask: &Ask, id: &str, answers: &[Answer], tally: &Tally) -> BytesMut {
    let mut out = BytesMut::new();
    text(&mut out, "{\"id\":");
    quoted(&mut out, id);
    text(&mut out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    quoted(&mut out, &ask.model);
    text(&mut out, ",\"content\":[");
    for answer in answers {
        content(&mut out, id, answer);
    }
    let finish = answers.first().map_or(Finish::Stop, |answer| answer.finish);
    text(&mut out, "],\"stop_reason\":");
    quoted(&mut out, stop_reason(finish));
    text(&mut out, ",\"stop_sequence\":null");
    if ask.controls.usage != UsageReport::None {
        let zero = Tally::default();
        let told = if ask.controls.usage == UsageReport::Zero { &zero } else { tally };
        text(&mut out, ",\"usage\":");
        usage::write(&mut out, told, None);
    }
    text(&mut out, "}");
    out
}

fn content(out: &mut BytesMut, id: &str, answer: &Answer) {
    if !answer.reasoning.is_empty() {
        text(out, "{\"type\":\"thinking\",\"thinking\":");
        quoted(out, &answer.reasoning);
        text(out, ",\"signature\":");
        quoted(out, SIGNATURE);
        text(out, "}");
    }
    if !answer.text.is_empty() {
        text(out, if answer.reasoning.is_empty() { "" } else { "," });
        text(out, "{\"type\":\"text\",\"text\":");
        quoted(out, &answer.text);
        text(out, "}");
    }
    if let Some((name, arguments)) = &answer.tool {
        text(out, "{\"type\":\"tool_use\",\"id\":");
        quoted(out, &id.replacen("msg_", "toolu_", 1));
        text(out, ",\"name\":");
        quoted(out, name);
        text(out, ",\"input\":");
        // Arguments that the limit cut are no JSON; the provider then sends none.
        let whole = serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok();
        text(out, if whole { arguments } else { "{}" });
        text(out, "}");
    }
}
