//! Replies in OpenAI's shape that are not streamed.

use bytes::BytesMut;

use crate::{
    account::Tally,
    ask::{Ask, Endpoint},
    control::UsageReport,
    openai::{finish_reason, usage},
    sse::{number, quoted, text},
    whole::Answer,
};

/// The reply as JSON.
pub(crate) fn write(
    ask: &Ask,
    endpoint: Endpoint,
    id: &str,
    created: u64,
    answers: &[Answer],
    tally: &Tally,
) -> BytesMut {
    let chat = endpoint == Endpoint::ChatCompletions;
    let mut out = BytesMut::new();
    text(&mut out, "{\"id\":");
    quoted(&mut out, id);
    text(&mut out, ",\"object\":");
    text(&mut out, if chat { "\"chat.completion\"" } else { "\"text_completion\"" });
    text(&mut out, ",\"created\":");
    number(&mut out, created);
    text(&mut out, ",\"model\":");
    quoted(&mut out, &ask.model);
    text(&mut out, ",\"choices\":[");
    for (index, answer) in (0_u64..).zip(answers) {
        text(&mut out, if index > 0 { "," } else { "" });
        text(&mut out, "{\"index\":");
        number(&mut out, index);
        if chat {
            message(&mut out, id, index, answer);
        } else {
            text(&mut out, ",\"text\":");
            quoted(&mut out, &answer.text);
        }
        text(&mut out, ",\"logprobs\":null,\"finish_reason\":");
        quoted(&mut out, finish_reason(answer.finish));
        text(&mut out, "}");
    }
    text(&mut out, "]");
    if ask.controls.usage != UsageReport::None {
        text(&mut out, ",\"usage\":");
        usage::write(&mut out, tally, ask.controls.usage, usage::is_detailed(&ask.model));
    }
    if chat {
        text(&mut out, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\"");
    }
    text(&mut out, "}");
    out
}

fn message(out: &mut BytesMut, id: &str, index: u64, answer: &Answer) {
    text(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    if let Some((name, arguments)) = &answer.tool {
        text(out, "null,\"refusal\":null,\"annotations\":[],\"tool_calls\":[{\"id\":\"");
        text(out, &id.replacen("chatcmpl-", "call_", 1));
        number(out, index);
        text(out, "\",\"type\":\"function\",\"function\":{\"name\":");
        quoted(out, name);
        text(out, ",\"arguments\":");
        quoted(out, arguments);
        text(out, "}}]}");
    } else {
        quoted(out, &answer.text);
        text(out, ",\"refusal\":null,\"annotations\":[]}");
    }
}
