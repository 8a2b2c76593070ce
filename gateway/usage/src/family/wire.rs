//! Pieces of replies that several families have in common: what fields are called, and no more.
//! What a number includes stands with each family, in its convention.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    lenient::{Count, Few, Object, Present, Text},
    raw_text::RawText,
    text::{DeliveredText, TextSample},
};

/// The end of a stream in the shape of `OpenAI`, and of some others.
pub(super) const DONE: &[u8] = b"[DONE]";

/// `json` as an object of a family's shape; absent when it has another one.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    // Read as text, its strings are not checked for UTF-8 one by one. A piece that is not UTF-8 is
    // read as bytes: what is broken may be nothing that is read.
    let read = match simdutf8::basic::from_utf8(json) {
        Ok(text) => serde_json::from_str::<Object<T>>(text),
        Err(_) => serde_json::from_slice(json),
    };
    match read {
        Ok(Object::Value(value)) => Some(value),
        _ => None,
    }
}

/// The error in a reply of `OpenAI`'s shape, in any form.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Failure<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl Failure<'_> {
    /// Whether there is one.
    pub(super) fn is_present(self) -> bool {
        let present =
            |raw: &RawValue| serde_json::from_str(raw.get()).is_ok_and(Present::is_present);
        self.0.is_some_and(present)
    }

    /// Whether the key holds anything but `null`.
    pub(super) fn is_given(self) -> bool {
        self.0.is_some()
    }

    /// Notes where it is the content filter's.
    pub(super) fn note_stop(self, text: &mut DeliveredText) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            code: Text<'a>,
        }
        if let Some(named) = self.0.and_then(|raw| object::<Named<'_>>(raw.get().as_bytes())) {
            text.note_stop(named.code.as_str());
        }
    }
}

/// The tools that a message calls. Tencent writes the names of the fields in capitals.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct ToolCalls<'a>(#[serde(borrow)] Few<ToolCall<'a>>);

#[derive(Debug, Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default, alias = "Function")]
    function: Object<Function<'a>>,
}

/// A call of a function.
#[derive(Debug, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default, alias = "Name")]
    name: Text<'a>,
    /// JSON as a text, or as it is (Ollama).
    #[serde(borrow, default, alias = "Arguments")]
    arguments: Option<&'a RawValue>,
    /// Why it is called (Qianfan v1).
    #[serde(borrow, default)]
    thoughts: RawText<'a>,
}

impl ToolCalls<'_> {
    /// Appends what the model wrote to call them.
    pub(super) fn push_to(&self, sample: &mut TextSample) {
        self.0.iter().filter_map(|call| call.function.get()).for_each(|call| call.push_to(sample));
    }
}

impl Function<'_> {
    /// Appends what the model wrote to call it.
    pub(super) fn push_to(&self, sample: &mut TextSample) {
        sample.push(self.name.as_str());
        let arguments = self.arguments.map(RawValue::get).unwrap_or_default();
        match RawText::of(arguments) {
            Some(text) => text.push_to(sample),
            None => sample.push(arguments),
        }
        self.thoughts.push_to(sample);
    }
}

/// Cache writes by lifetime, as `OpenAI` splits them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CacheWrites {
    pub(super) ttl_30m_tokens: Count,
    pub(super) ttl_12h_tokens: Count,
}

/// Cache writes by lifetime, as Anthropic splits them, and `DashScope` after it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct CacheCreation {
    pub(super) ephemeral_5m_input_tokens: Count,
    pub(super) ephemeral_1h_input_tokens: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        id: Text<'a>,
    }

    /// M5: a provider that sends broken bytes in a text that nobody reads has reported its usage.
    #[test]
    fn bytes_that_are_not_utf8_cost_only_what_is_read_of_them() {
        let id = |json: &[u8]| object::<Named<'_>>(json).map(|named| named.id.as_str().to_owned());

        assert_eq!(id("{\"id\":\"\u{e9}\"}".as_bytes()).as_deref(), Some("\u{e9}"));
        assert_eq!(id(b"{\"more\":\"\xff\",\"id\":\"a\"}").as_deref(), Some("a"));
        assert_eq!(id(b"{\"id\":\"a\xff\"}"), None);
    }
}
