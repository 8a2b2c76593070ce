//! llama.cpp server's native format: `/completion` and `/infill`.
//!
//! Source: llama.cpp, `tools/server/README.md` ("POST /completion") and the final and partial
//! results in `server-task.cpp`. Every event repeats the counts. `tokens_cached` is what the slot
//! holds afterwards, prompt and answer: how much of the prompt was cached is `timings.cache_n`.

use super::{Verdict, WireFamily, common_keys, read_top_level, wire::object};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Count, Object, Present, Text},
    parts::{Convention, Parts},
    raw_text::RawText,
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct LlamaCpp;

objects! {
    /// One event of a stream, or a whole reply: the two share their shape.
    struct Reply<'a> {
        model: Text<'a>,
        content: RawText<'a>,
        stop: Present,
        tokens_evaluated: Count,
        tokens_predicted: Count,
        timings: Object<Timings>,
        error: Present,
    }

    struct Timings {
        cache_n: Count,
    }
}

impl WireFamily for LlamaCpp {
    /// `tokens_evaluated` is the whole prompt, cached tokens included. `tokens_predicted` is all
    /// that was generated.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] =
        &["model", "stop", "tokens_evaluated", "tokens_predicted", "timings", "error"];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data else { return Verdict::Plain };
        match object(data) {
            Some(reply) => note(reply, facts),
            None => read_top_level(self, event, facts),
        }
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        let bad = &mut facts.parts.bad;
        let reply = Reply {
            stop: document.read("stop", bad),
            tokens_evaluated: document.read("tokens_evaluated", bad),
            tokens_predicted: document.read("tokens_predicted", bad),
            timings: document.read("timings", bad),
            error: document.read("error", bad),
            ..Reply::default()
        };
        note(reply, facts)
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        if let Some(reply) = object::<Reply<'_>>(json) {
            reply.content.push_to(&mut text.visible);
        }
    }
}

fn note(reply: Reply<'_>, facts: &mut Facts) -> Verdict {
    facts.note_model(reply.model.as_str());
    reply.content.push_to(&mut facts.text.visible);
    let mut bad = false;
    let parts = Parts {
        input: reply.tokens_evaluated.read(&mut bad),
        output: reply.tokens_predicted.read(&mut bad),
        cache_read: reply.timings.read(&mut bad).cache_n.read(&mut bad),
        ..Parts::default()
    };
    facts.parts.merge(&Parts { bad, ..parts });
    facts.close(reply.error.is_present(), reply.stop.is_present())
}
