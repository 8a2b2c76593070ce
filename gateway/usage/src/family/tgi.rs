//! Hugging Face Text Generation Inference's native format: `/generate`, `/generate_stream`.
//!
//! Source: TGI's `router/src/lib.rs` and `router/src/server.rs`, version 3. Counts come in
//! `details`, which only some requests ask for. Without it a stream has one event per generated
//! token, and a whole reply has the counts in its headers (`x-prompt-tokens`,
//! `x-generated-tokens`).

use super::{Verdict, WireFamily, common_keys, read_top_level, wire::object};
use crate::{
    document::Document,
    event::Event,
    from_json::objects,
    lenient::{Count, Few, Object, Present},
    parts::{Convention, Parts},
    raw_text::{Raw, RawText},
    reading::Facts,
    text::DeliveredText,
};

/// The parser of one reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tgi {
    /// Events that brought a token: the output so far.
    tokens: u64,
}

objects! {
    /// One event of a stream, or a whole reply.
    struct Reply<'a> {
        token: Object<Token<'a>>,
        /// Set in a whole reply and in a stream's last event, which repeats the text of all others.
        generated_text: Raw<'a>,
        details: Object<Details>,
        error: Present,
    }

    struct Token<'a> {
        text: RawText<'a>,
        /// A mark of the model, such as the end of a turn: generated, but no text.
        special: Present,
    }

    struct Details {
        generated_tokens: Count,
        /// The prompt's length, in a stream.
        input_length: Count,
        /// The same, as older routers name it.
        prompt_tokens: Count,
        /// The prompt's tokens, where the request asked for them; else empty.
        prefill: Few<Present>,
        /// The answers of `best_of` that were generated and not chosen.
        best_of_sequences: Few<Object<Sequence>>,
    }

    struct Sequence {
        generated_tokens: Count,
    }
}

impl WireFamily for Tgi {
    /// Neither a cache nor reasoning is reported. `generated_tokens` is the chosen answer's; those
    /// of `best_of` that were not chosen come on top.
    const CONVENTION: Convention =
        Convention { input_includes_cache: true, output_includes_reasoning: true };
    const KEYS: &'static [&'static str] = &[
        "token",
        "generated_text",
        "error",
        "details.generated_tokens",
        "details.input_length",
        "details.prompt_tokens",
        "details.prefill",
        "details.best_of_sequences",
    ];

    fn event(&mut self, event: &Event<'_>, facts: &mut Facts) -> Verdict {
        let Some(data) = event.data else { return Verdict::Plain };
        let Some(reply) = object::<Reply<'_>>(data) else {
            return read_top_level(self, event, facts);
        };
        if let Some(token) = reply.token.get() {
            token_text(token, &mut facts.text);
        }
        self.note(reply, facts)
    }

    fn document(&mut self, document: &Document, _: &[u8], facts: &mut Facts) -> Verdict {
        common_keys(document, facts);
        // A prompt whose tokens are too many to be kept is counted by the header.
        facts.parts.bad |= document.is_too_large("details.best_of_sequences");
        let bad = &mut facts.parts.bad;
        let details = Details {
            generated_tokens: document.read("details.generated_tokens", bad),
            input_length: document.read("details.input_length", bad),
            prompt_tokens: document.read("details.prompt_tokens", bad),
            prefill: document.read("details.prefill", bad),
            best_of_sequences: document.read("details.best_of_sequences", bad),
        };
        let reply = Reply {
            token: document.read("token", bad),
            generated_text: document.read("generated_text", bad),
            details: Object::Value(details),
            error: document.read("error", bad),
        };
        let verdict = self.note(reply, facts);
        if document.is_too_large("generated_text") { facts.end() } else { verdict }
    }

    fn text(&mut self, json: &[u8], text: &mut DeliveredText) {
        let Some(reply) = object::<Reply<'_>>(json) else { return };
        match reply.token.get() {
            Some(token) => token_text(token, text),
            None => reply.generated_text.text().push_to(&mut text.visible),
        }
    }
}

impl Tgi {
    fn note(&mut self, reply: Reply<'_>, facts: &mut Facts) -> Verdict {
        if reply.token.is_present() {
            self.tokens = self.tokens.saturating_add(1);
            facts.parts.merge(&Parts { output: Some(self.tokens), ..Parts::default() });
        }
        facts.parts.merge(&usage_parts(reply.details));
        facts.close(reply.error.is_present(), reply.generated_text.is_given())
    }
}

fn token_text(token: &Token<'_>, text: &mut DeliveredText) {
    if !token.special.is_present() {
        token.text.push_to(&mut text.visible);
    }
}

fn usage_parts(details: Object<Details>) -> Parts {
    let mut bad = false;
    let details = details.read(&mut bad);
    let prefill = u64::try_from(details.prefill.iter().count()).ok().filter(|count| *count > 0);
    let told = details.input_length.or(details.prompt_tokens).read(&mut bad);
    let mut parts = Parts {
        input: told.or(prefill),
        output: details.generated_tokens.read(&mut bad),
        ..Parts::default()
    };
    for sequence in details.best_of_sequences.iter() {
        let output = sequence.get().and_then(|sequence| sequence.generated_tokens.read(&mut bad));
        parts.add(&Parts { output, ..Parts::default() });
    }
    Parts { bad, ..parts }
}
