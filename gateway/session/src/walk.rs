//! One message of a request, in whichever family's format, as speaker and digest.
//!
//! What counts is what is said: the texts, names and arguments in their order. A text is the same
//! as a string, as a block or with white space around it; marks that clients set anew each turn
//! (what to cache, ids, signatures) and hidden reasoning are no part of it.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{
    digest::{Key, Texts},
    message::{Message, Opening, Speaker, Start},
    summary::HEAD_BYTES,
};

/// Keys whose values change from turn to turn, or are dropped by some clients.
const NOT_SAID: &[&[u8]] = &[
    b"annotations",
    b"cache_control",
    b"call_id",
    b"citations",
    b"encrypted_content",
    b"id",
    b"index",
    b"logprobs",
    b"reasoning",
    b"reasoning_content",
    b"reasoning_details",
    b"signature",
    b"status",
    b"summary",
    b"thinking",
    b"thoughtSignature",
    b"thought_signature",
    b"tool_call_id",
    b"tool_use_id",
];

/// A message that is being read. One serves for all messages of a request.
pub(crate) struct Draft {
    /// Of nothing.
    fresh: Texts,
    /// Absent where nothing is said yet.
    texts: Option<Texts>,
    start: Start,
    bytes: usize,
    role: Option<Speaker>,
    item: Option<Speaker>,
    holds_result: bool,
    expects: Expects,
    /// The beginning of what is said, its texts one under the other.
    pub(crate) head: Vec<u8>,
    /// Whether a reply was among the messages: of what the model says then no head is kept.
    pub(crate) after_reply: bool,
}

/// What is expected where a text mostly stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// A text, blocks or nothing, which is found with vector instructions: anything else is an
    /// error.
    Texts,
    /// Anything.
    Anything,
}

impl Draft {
    pub(crate) fn new(key: &Key, expects: Expects) -> Self {
        Self {
            expects,
            fresh: key.texts(),
            texts: None,
            start: Start::default(),
            bytes: 0,
            role: None,
            item: None,
            holds_result: false,
            head: Vec::new(),
            after_reply: false,
        }
    }

    /// The message; absent where nothing is said. The draft is empty then. The beginning of what
    /// the model says is added to `reply`.
    pub(crate) fn finish<'r>(
        &mut self,
        reply: impl FnOnce() -> Option<&'r mut Start>,
    ) -> Option<Message> {
        let (role, item) = (self.role.take(), self.item.take());
        let holds_result = std::mem::take(&mut self.holds_result);
        let bytes = std::mem::take(&mut self.bytes);
        let Some(texts) = self.texts.take() else {
            self.start.clear();
            return None;
        };
        let speaker = match role.or(item).unwrap_or(Speaker::User) {
            Speaker::User if holds_result => Speaker::Tool,
            other => other,
        };
        let digest = texts.digest(speaker.mark());
        if speaker == Speaker::Model
            && let Some(reply) = reply()
        {
            reply.append(&self.start);
        }
        self.start.clear();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(Message { speaker, digest, bytes, opening: Opening::NONE })
    }

    fn say(&mut self, bytes: &[u8]) {
        // Who speaks may be told behind what is said.
        if !self.after_reply || matches!(self.role, None | Some(Speaker::User)) {
            let room = HEAD_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            self.head.push(b'\n');
        }
        if self.may_be_reply() {
            self.start.push(bytes);
        }
        self.count(bytes);
    }

    /// Whether what is said may be compared with a reply: not where a person is known to speak.
    fn may_be_reply(&self) -> bool {
        matches!(self.role, None | Some(Speaker::Model))
    }

    /// Says something whose beginning is noted otherwise.
    fn count(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes = self.bytes.saturating_add(bytes.len());
            self.texts.get_or_insert_with(|| self.fresh.clone()).add(bytes);
        }
    }

    /// Says a number or the like inside an object of arguments.
    fn say_as_json(&mut self, bytes: &[u8], json: &str) {
        self.start.push(json.as_bytes());
        self.count(bytes);
    }

    /// A block's or item's type, which tells who speaks where no role does.
    fn note_type(&mut self, name: &[u8]) {
        if name == b"tool_result" || name.ends_with(b"_call_output") {
            self.holds_result = true;
            self.item = self.item.or(Some(Speaker::Tool));
        } else if name.ends_with(b"_call") || name == b"reasoning" {
            self.item = self.item.or(Some(Speaker::Model));
        }
    }
}

/// What a value is to its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Said,
    /// The same, where mostly a text, blocks or nothing stands.
    Text,
    Role,
    Type,
    /// The arguments of a tool that is called: a text of JSON, or an object.
    Arguments,
    /// Something inside such an object.
    Argument,
}

/// Reads a value into a draft.
pub(crate) struct Walk<'a> {
    draft: &'a mut Draft,
    meaning: Meaning,
    /// Objects around it: 0 is the message itself, 1 a block of it.
    depth: usize,
}

impl<'a> Walk<'a> {
    /// Reads a whole message.
    pub(crate) fn message(draft: &'a mut Draft) -> Self {
        Self { draft, meaning: Meaning::Said, depth: 0 }
    }

    fn meaning_of(&mut self, key: &[u8]) -> Option<Meaning> {
        if matches!(self.meaning, Meaning::Arguments | Meaning::Argument) {
            self.draft.start.push(key);
            return Some(Meaning::Argument);
        }
        match (key, self.depth) {
            (b"arguments" | b"args", _) | (b"input", 1..) => Some(Meaning::Arguments),
            (b"content" | b"Content", 0 | 1) | (b"text", 0..=2) | (b"output", 0) => {
                Some(Meaning::Text)
            }
            (b"role" | b"Role", 0) => Some(Meaning::Role),
            (b"type", 0 | 1) => Some(Meaning::Type),
            (b"functionResponse" | b"function_response", _) => {
                self.draft.holds_result = true;
                Some(Meaning::Said)
            }
            _ if NOT_SAID.contains(&key) => None,
            _ => Some(Meaning::Said),
        }
    }

    /// Whether a text, or blocks or nothing, is all that may stand here.
    fn expects_text(&self) -> bool {
        self.draft.expects == Expects::Texts
            && matches!(self.meaning, Meaning::Text | Meaning::Role | Meaning::Type)
    }
}

/// What is said, without the white space around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let is_seen = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_graphic);
    if is_seen(text.first()) && is_seen(text.last()) {
        return text;
    }
    // Half a character, which JSON can write, has no other white space around it.
    simdutf8::basic::from_utf8(text).map_or(text, |text| text.trim().as_bytes())
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.expects_text() {
            deserializer.deserialize_option(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<(), E> {
        match self.meaning {
            Meaning::Said | Meaning::Text | Meaning::Arguments => self.draft.say(trimmed(text)),
            Meaning::Argument => {
                self.draft.start.push_escaped(text);
                self.draft.count(trimmed(text));
            }
            Meaning::Role => self.draft.role = Some(speaker(text)),
            Meaning::Type => self.draft.note_type(text),
        }
        Ok(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    /// `serde_json` looks for the end of what is asked for as bytes with vector instructions, and
    /// of a text eight bytes at a time, which took a third of all instructions.
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.draft.say_as_json(&number.to_le_bytes(), &number.to_string());
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.draft.say_as_json(&number.to_le_bytes(), &number.to_string());
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.draft.say_as_json(&number.to_bits().to_le_bytes(), &number.to_string());
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, yes: bool) -> Result<(), E> {
        if self.meaning == Meaning::Argument {
            self.draft.start.push(if yes { b"true" } else { b"false" });
        }
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.meaning == Meaning::Argument {
            self.draft.start.push(b"null");
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { draft, meaning, depth } = self;
        let meaning = match meaning {
            Meaning::Arguments | Meaning::Argument => Meaning::Argument,
            _ => Meaning::Said,
        };
        while seq.next_element_seed(Walk { draft, meaning, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        // Where the arguments of a call begin: a reply tells its name first, some clients last.
        let mut arguments = None;
        while let Some((meaning, is_name)) = map.next_key_seed(KeyOf(&mut self))? {
            let Some(meaning) = meaning else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let end = self.draft.start.end();
            let inner = self.depth.saturating_add(1);
            map.next_value_seed(Walk { draft: &mut *self.draft, meaning, depth: inner })?;
            match (meaning, arguments) {
                (Meaning::Arguments, _) => arguments = Some(end),
                (Meaning::Said, Some(at)) if is_name => self.draft.start.move_back(at, end),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A key of an object: what its value is to the message, and whether it is a name.
struct KeyOf<'w, 'a>(&'w mut Walk<'a>);

impl<'de> DeserializeSeed<'de> for KeyOf<'_, '_> {
    type Value = (Option<Meaning>, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyOf<'_, '_> {
    type Value = (Option<Meaning>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok((self.0.meaning_of(key), key == b"name"))
    }
}

fn speaker(role: &[u8]) -> Speaker {
    match role {
        b"system" | b"developer" => Speaker::System,
        b"assistant" | b"model" | b"bot" => Speaker::Model,
        b"tool" | b"function" => Speaker::Tool,
        _ => Speaker::User,
    }
}
