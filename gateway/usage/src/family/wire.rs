//! Pieces of replies that several families have in common: what fields are called, and no more.
//! What a number includes stands with each family, in its convention.

use permille_json::{Invalid, Json};

use crate::{
    from_json::{self, FromJson, objects},
    lenient::{Count, Few, Object, Present, Text},
    raw_text::{Raw, RawText},
    text::{DeliveredText, TextSample},
};

/// The end of a stream in the shape of `OpenAI`, and of some others.
pub(super) const DONE: &[u8] = b"[DONE]";

/// `json` as an object of a family's shape; absent when it has another one.
pub(super) fn object<'a, T: FromJson<'a>>(json: &'a [u8]) -> Option<T> {
    match from_json::read(json) {
        Ok(Object::Value(value)) => Some(value),
        _ => None,
    }
}

/// The error in a reply of `OpenAI`'s shape, in any form.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failure<'a>(Raw<'a>);

objects! {
    struct Named<'a> {
        code: Text<'a>,
    }
}

impl<'a> FromJson<'a> for Failure<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        self.0.fill(json)
    }
}

impl Failure<'_> {
    /// Whether there is one.
    pub(super) fn is_present(self) -> bool {
        self.0.read().is_some_and(Present::is_present)
    }

    /// Whether the key holds anything but `null`.
    pub(super) fn is_given(self) -> bool {
        self.0.is_given()
    }

    /// Notes where it is the content filter's.
    pub(super) fn note_stop(self, text: &mut DeliveredText) {
        if let Some(named) = self.0.read::<Named<'_>>() {
            text.note_stop(named.code.as_str());
        }
    }
}

/// The tools that a message calls. Tencent writes the names of the fields in capitals.
#[derive(Debug, Default)]
pub(super) struct ToolCalls<'a>(Few<ToolCall<'a>>);

objects! {
    struct ToolCall<'a> {
        function: Object<Function<'a>> = "function" | "Function",
        custom: Object<Custom<'a>>,
    }

    /// A call of a tool that takes a text.
    struct Custom<'a> {
        name: Text<'a>,
        input: RawText<'a>,
    }

    /// A part of what a message says.
    struct Part<'a> {
        text: RawText<'a>,
        /// A text, or parts of one.
        thinking: Raw<'a>,
    }

    /// A call of a function.
    pub(super) struct Function<'a> {
        name: Text<'a> = "name" | "Name",
        /// JSON as a text, or as it is (Ollama).
        arguments: Raw<'a> = "arguments" | "Arguments",
        /// Why it is called (Qianfan v1).
        thoughts: RawText<'a>,
    }
}

impl<'a> FromJson<'a> for ToolCalls<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        self.0.fill(json)
    }
}

impl ToolCalls<'_> {
    /// Appends what the model wrote to call them.
    pub(super) fn push_to(&self, sample: &mut TextSample) {
        for call in self.0.iter() {
            if let Some(function) = call.function.get() {
                function.push_to(sample);
            }
            if let Some(custom) = call.custom.get() {
                sample.push(custom.name.as_str());
                custom.input.push_to(sample);
            }
        }
    }
}

/// What a message says: a text, or parts of texts and of what was thought before them (Mistral).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said<'a>(Raw<'a>);

impl<'a> FromJson<'a> for Said<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        self.0.fill(json)
    }
}

impl Said<'_> {
    /// Appends it.
    pub(super) fn push_to(self, text: &mut DeliveredText) {
        if let Some(said) = RawText::of(self.0.as_str()) {
            return said.push_to(&mut text.visible);
        }
        for part in self.0.read::<Few<Part<'_>>>().unwrap_or_default().iter() {
            part.text.push_to(&mut text.visible);
            if let Some(thought) = RawText::of(part.thinking.as_str()) {
                thought.push_to(&mut text.reasoning);
                continue;
            }
            let parts = part.thinking.read::<Few<Part<'_>>>().unwrap_or_default();
            parts.iter().for_each(|part| part.text.push_to(&mut text.reasoning));
        }
    }
}

impl Function<'_> {
    /// Appends what the model wrote to call it.
    pub(super) fn push_to(&self, sample: &mut TextSample) {
        sample.push(self.name.as_str());
        let arguments = self.arguments.as_str();
        match RawText::of(arguments) {
            Some(text) => text.push_to(sample),
            None => sample.push(arguments),
        }
        self.thoughts.push_to(sample);
    }
}

objects! {
    /// Cache writes by lifetime, as `OpenAI` splits them.
    pub(super) struct CacheWrites {
        pub(super) ttl_30m_tokens: Count,
        pub(super) ttl_12h_tokens: Count,
    }

    /// Cache writes by lifetime, as Anthropic splits them, and `DashScope` after it.
    #[derive(Clone, Copy)]
    pub(super) struct CacheCreation {
        pub(super) ephemeral_5m_input_tokens: Count,
        pub(super) ephemeral_1h_input_tokens: Count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    objects! {
        struct Identified<'a> {
            id: Text<'a>,
        }
    }

    /// M5: a provider that sends broken bytes in a text that nobody reads has reported its usage.
    #[test]
    fn bytes_that_are_not_utf8_cost_only_what_is_read_of_them() {
        let id =
            |json: &[u8]| object::<Identified<'_>>(json).map(|read| read.id.as_str().to_owned());

        assert_eq!(id("{\"id\":\"\u{e9}\"}".as_bytes()).as_deref(), Some("\u{e9}"));
        assert_eq!(id(b"{\"more\":\"\xff\",\"id\":\"a\"}").as_deref(), Some("a"));
        assert_eq!(id(b"{\"id\":\"a\xff\"}"), None);
    }
}
