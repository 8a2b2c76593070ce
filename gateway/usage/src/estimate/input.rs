//! The text of a request's body, in one pass, without building the document.

use std::{borrow::Cow, fmt};

use permille_types::{Endpoint, TokenCount};
use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    corrections::Scale,
    script::SCRIPTS,
    tally::{Estimate, Tally},
    vocabulary::Counter,
};
use crate::text::TextSample;

/// Tokens that frame each message, and those that open the answer.
///
/// Source: `OpenAI` cookbook, "How to count tokens with tiktoken".
const TOKENS_PER_MESSAGE: TokenCount = 3;
const TOKENS_OF_PRIMING: TokenCount = 3;
const TOKENS_PER_NAME: TokenCount = 1;

/// Tokens of an image whose size is not known: one of 1024 × 1024 in high detail.
///
/// Source: `OpenAI` vision guide (85 and 170 for each of four tiles).
const TOKENS_PER_IMAGE: TokenCount = 765;

/// What a request asks a model to read.
#[derive(Debug, Default)]
pub(crate) struct Request {
    model: Option<String>,
    text: TextSample,
    /// Where in `text` each piece ends: pieces are tokenized apart, as a model reads them.
    ends: Vec<usize>,
    messages: TokenCount,
    names: TokenCount,
    images: TokenCount,
    /// Input that came as token ids.
    ids: TokenCount,
    /// A part of the prompt is kept by the provider, or is neither text nor an image.
    elsewhere: bool,
}

impl Request {
    /// Reads `body` as far as it can be read.
    pub(crate) fn read(endpoint: Endpoint, body: &[u8]) -> Self {
        let mut request = Self::default();
        let place = match endpoint {
            Endpoint::Chat
            | Endpoint::Generation
            | Endpoint::Generate
            | Endpoint::GenerateStream
            | Endpoint::Embed => Place::Native,
            _ if endpoint.is_embedding() => Place::Body { chat: false },
            Endpoint::Completions => Place::Body { chat: false },
            _ => Place::Body { chat: true },
        };
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        // A body that breaks off was refused before any upstream saw it; what was read counts.
        Walk { request: &mut request, place }.deserialize(&mut deserializer).unwrap_or_default();
        request
    }

    /// The model that was asked for.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Input tokens, estimated.
    pub(crate) fn estimate(&self, counter: Counter, scales: &[Scale; SCRIPTS]) -> Estimate {
        let text = Estimate::text(self.tally(counter), self.text.bytes(), counter.is_own, scales);
        text.and(Estimate::framing(self.framing())).and(Estimate::exact(self.ids))
    }

    /// The text that is kept, counted.
    pub(crate) fn tally(&self, counter: Counter) -> Tally {
        let mut start = 0;
        let mut tally = Tally::default();
        for end in &self.ends {
            let piece = self.text.kept().get(start..*end).unwrap_or_default();
            tally = tally.and(counter.tally(piece));
            start = *end;
        }
        tally
    }

    /// Length of the text in bytes, kept or not.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.text.bytes()
    }

    /// Tokens that stand for no text: what frames messages, and images.
    pub(crate) fn framing(&self) -> TokenCount {
        let priming = if self.messages > 0 { TOKENS_OF_PRIMING } else { 0 };
        [
            self.messages.saturating_mul(TOKENS_PER_MESSAGE),
            self.names.saturating_mul(TOKENS_PER_NAME),
            self.images.saturating_mul(TOKENS_PER_IMAGE),
            priming,
        ]
        .into_iter()
        .fold(0, TokenCount::saturating_add)
    }

    /// Whether all that the model reads stands in the request, as text.
    pub(crate) fn is_text(&self) -> bool {
        self.images == 0 && self.ids == 0 && !self.elsewhere
    }

    fn push(&mut self, text: &str) {
        self.text.push(text);
        let end = self.text.kept().len();
        if self.ends.last() != Some(&end) {
            self.ends.push(end);
        }
    }
}

/// Where in the body a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Body {
        chat: bool,
    },
    /// The body of a native format, or an object in it that holds a part of the prompt: their
    /// names for it do not contradict each other.
    Native,
    Model,
    /// The list of messages, or one text instead of it.
    Messages,
    Message,
    /// Text, a list of parts, or one part.
    Content,
    /// Text, or texts, or token ids.
    Prompt,
    /// Tool calls: names and arguments.
    Calls,
    /// Images, each as text.
    Images,
}

/// Reads one value.
struct Walk<'r> {
    request: &'r mut Request,
    place: Place,
}

impl Walk<'_> {
    fn at(&mut self, place: Place) -> Walk<'_> {
        Walk { request: self.request, place }
    }

    /// Reads the value of `key`, or skips it.
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let place = match (self.place, key) {
            (Place::Body { .. } | Place::Native, "model" | "Model") => Place::Model,
            (Place::Body { chat: true } | Place::Native, "messages" | "Messages")
            | (Place::Body { chat: true }, "input" | "contents") => Place::Messages,
            // `DashScope` keeps its prompt in the one and its tools in the other.
            (Place::Native, "input" | "parameters") => Place::Native,
            (Place::Native | Place::Message, "images") => Place::Images,
            (Place::Body { chat: false }, "input" | "prompt" | "suffix")
            | (
                Place::Native,
                "inputs" | "prompt" | "suffix" | "input_prefix" | "input_suffix" | "context"
                | "text" | "Text" | "texts" | "contents" | "Input" | "InputList",
            ) => Place::Prompt,
            (Place::Body { chat: true }, "tools" | "functions" | "response_format")
            | (Place::Native, "tools" | "Tools" | "functions" | "format")
            | (Place::Content, "input" | "functionCall" | "functionResponse") => {
                return self.raw(map);
            }
            (Place::Body { chat: true }, "system" | "instructions" | "systemInstruction")
            | (Place::Native, "system")
            | (Place::Body { chat: false }, "content" | "requests")
            | (
                Place::Message,
                "content" | "Content" | "Contents" | "role" | "Role" | "refusal"
                | "reasoning_content" | "reasoning" | "parts" | "arguments" | "output",
            )
            | (
                Place::Content,
                "text" | "Text" | "thinking" | "content" | "name" | "title" | "parts",
            )
            | (Place::Calls, "name" | "Name" | "arguments" | "Arguments" | "input") => {
                Place::Content
            }
            (Place::Message, "name") => {
                self.request.names = self.request.names.saturating_add(1);
                Place::Content
            }
            (Place::Message, "tool_calls" | "ToolCalls" | "function_call")
            | (Place::Calls, "function" | "Function" | "custom") => Place::Calls,
            (
                Place::Content,
                "image_url" | "ImageUrl" | "image" | "source" | "inlineData" | "fileData",
            ) => {
                self.request.images = self.request.images.saturating_add(1);
                return map.next_value::<IgnoredAny>().map(|_| ());
            }
            (
                Place::Body { .. } | Place::Native,
                "previous_response_id" | "conversation" | "cachedContent",
            )
            | (
                Place::Content,
                "file" | "file_id" | "file_data" | "input_audio" | "audio" | "video" | "video_url",
            ) => {
                let is_there = map.next_value::<Option<IgnoredAny>>()?.is_some();
                self.request.elsewhere |= is_there;
                return Ok(());
            }
            _ => return map.next_value::<IgnoredAny>().map(|_| ()),
        };
        map.next_value_seed(self.at(place))
    }

    /// A value that the model reads as JSON.
    fn raw<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        let raw: &RawValue = map.next_value()?;
        self.request.push(raw.get());
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.place {
            Place::Model => self.request.model = Some(text.to_owned()),
            Place::Content | Place::Prompt | Place::Messages | Place::Native => {
                self.request.push(text);
            }
            Place::Images => self.request.images = self.request.images.saturating_add(1),
            Place::Body { .. } | Place::Message | Place::Calls => {}
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        if self.place == Place::Prompt {
            self.request.ids = self.request.ids.saturating_add(1);
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let place = if self.place == Place::Messages { Place::Message } else { self.place };
        while seq.next_element_seed(self.at(place))?.is_some() {
            if place == Place::Message {
                self.request.messages = self.request.messages.saturating_add(1);
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            self.member(&key, &mut map)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(endpoint: Endpoint, body: &str) -> TokenCount {
        let request = Request::read(endpoint, body.as_bytes());
        request.estimate(Counter::of("gpt-4o"), &<[Scale; SCRIPTS]>::default()).tokens
    }

    #[test]
    fn the_prompt_is_found_in_every_native_format() {
        let chat = tokens(
            Endpoint::ChatCompletions,
            r#"{"model":"m","messages":[{"role":"user","content":"How long is the Nile?"}]}"#,
        );
        for body in [
            r#"{"messages":[{"role":"user","content":"How long is the Nile?"}],"stream":true}"#,
            r#"{"Messages":[{"Role":"user","Content":"How long is the Nile?"}],"Model":"m"}"#,
            r#"{"Messages":[{"Role":"user","Contents":[{"Type":"text","Text":"How long is the Nile?"}]}]}"#,
            r#"{"input":{"messages":[{"role":"user","content":[{"text":"How long is the Nile?"}]}]}}"#,
        ] {
            assert_eq!(tokens(Endpoint::Chat, body), chat, "{body}");
        }
        let text = tokens(Endpoint::Completions, r#"{"prompt":"How long is the Nile?"}"#);
        for body in [
            r#"{"inputs":"How long is the Nile?","parameters":{"details":true}}"#,
            r#"{"prompt":"How long is the Nile?","n_predict":3}"#,
            r#"{"input":{"prompt":"How long is the Nile?"}}"#,
            r#"{"input":{"texts":["How long is the Nile?"]}}"#,
            r#"{"input":["How long is the Nile?"]}"#,
            r#"{"input":"How long is the Nile?"}"#,
            r#"{"InputList":["How long is the Nile?"]}"#,
        ] {
            assert_eq!(tokens(Endpoint::Embed, body), text, "{body}");
        }
        assert_eq!(tokens(Endpoint::Generate, r#"{"prompt":[1,2,3]}"#), 3);
    }

    #[test]
    fn a_prompt_of_which_a_part_is_not_in_the_request_is_no_text() {
        for (endpoint, body, is_text) in [
            (Endpoint::Responses, r#"{"input":"x","previous_response_id":null}"#, true),
            (Endpoint::Responses, r#"{"input":"x","previous_response_id":"r"}"#, false),
            (Endpoint::Responses, r#"{"input":[{"content":[{"file_id":"f"}]}]}"#, false),
            (Endpoint::ChatCompletions, r#"{"messages":[{"content":"x"}]}"#, true),
            (Endpoint::ChatCompletions, r#"{"messages":[{"content":[{"image_url":{}}]}]}"#, false),
            (Endpoint::Embeddings, r#"{"input":[1,2]}"#, false),
        ] {
            assert_eq!(Request::read(endpoint, body.as_bytes()).is_text(), is_text, "{body}");
        }
    }

    #[test]
    fn tools_and_images_of_native_formats_count() {
        let bare = tokens(Endpoint::Chat, r#"{"messages":[{"content":"x"}]}"#);
        let seen = r#"{"messages":[{"content":"x","images":["AAAA"]}]}"#;
        let tools =
            r#"{"input":{"messages":[{"content":"x"}]},"parameters":{"tools":[{"a":"b"}]}}"#;

        assert_eq!(tokens(Endpoint::Chat, seen), bare + TOKENS_PER_IMAGE);
        assert!(tokens(Endpoint::Generation, tools) > bare);
    }
}
