//! The bytes of every answer, made once; only the id differs from one reply to the next.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{COMPLETION_TOKENS, PROMPT_TOKENS};

/// What stands where the id goes while a document is made.
const PLACE: &str = "<id>";

/// Every document of the provider.
#[derive(Debug)]
pub(super) struct Answers {
    whole: Document,
    /// One frame for each piece of text, then the one that says why it ended.
    frames: Vec<Document>,
    usage: Document,
}

/// A document around its id.
#[derive(Debug)]
struct Document {
    before: String,
    after: String,
}

impl Answers {
    /// Answers that stream in `chunks` pieces of text.
    pub(super) fn new(chunks: u16) -> Self {
        let text = |index| match index {
            0 => json!({ "role": "assistant", "content": "Tokens" }),
            _ => json!({ "content": format!(" word{index:04}") }),
        };
        let mut frames: Vec<Document> =
            (0..chunks).map(|index| frame(&choices(&text(index), &Value::Null))).collect();
        frames.push(frame(&choices(&json!({}), &json!("stop"))));
        Self { whole: Document::of(&whole().to_string()), frames, usage: frame(&usage_only()) }
    }

    /// A reply that is not streamed.
    pub(super) fn whole(&self, id: &str) -> Bytes {
        self.whole.with(id)
    }

    /// The frame number `index` of a stream; `None` past its end.
    pub(super) fn frame(&self, index: usize, id: &str) -> Option<Bytes> {
        Some(self.frames.get(index)?.with(id))
    }

    /// The frame that carries usage and nothing else.
    pub(super) fn usage(&self, id: &str) -> Bytes {
        self.usage.with(id)
    }

    /// The last frame of a stream.
    pub(super) fn done() -> Bytes {
        Bytes::from_static(b"data: [DONE]\n\n")
    }
}

impl Document {
    fn of(text: &str) -> Self {
        let (before, after) = text.split_once(PLACE).unwrap_or((text, ""));
        Self { before: before.to_owned(), after: after.to_owned() }
    }

    fn with(&self, id: &str) -> Bytes {
        Bytes::from([&self.before, id, &self.after].concat())
    }
}

fn frame(document: &Value) -> Document {
    Document::of(&format!("data: {document}\n\n"))
}

fn choices(delta: &Value, finish_reason: &Value) -> Value {
    let choice =
        json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
    json!({
        "id": PLACE,
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_bench",
        "choices": [choice],
    })
}

fn usage_only() -> Value {
    json!({
        "id": PLACE,
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "system_fingerprint": "fp_bench",
        "choices": [],
        "usage": usage(),
    })
}

fn whole() -> Value {
    let message = json!({
        "role": "assistant",
        "content": "Metering counts what each request consumed; billing puts a price on it.",
        "refusal": null,
    });
    json!({
        "id": PLACE,
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            { "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" },
        ],
        "usage": usage(),
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_whole_json_with_the_id_it_was_given() {
        let answers = Answers::new(3);
        let frames = (0..4).map(|index| answers.frame(index, "x-1").unwrap());

        for frame in frames.chain([answers.usage("x-1")]) {
            let text = std::str::from_utf8(&frame).unwrap();
            let json = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            let document: Value = serde_json::from_str(json).unwrap();
            assert_eq!(document["id"], "x-1");
        }
        let whole: Value = serde_json::from_slice(&answers.whole("x-2")).unwrap();
        assert_eq!(whole["id"], "x-2");
        assert_eq!(whole["usage"]["total_tokens"], 168);
        assert_eq!(answers.frame(4, "x-1"), None);
    }
}
