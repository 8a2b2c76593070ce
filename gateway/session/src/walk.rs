//! One message of a request, in whichever family's format, as speaker and digest.
//!
//! What counts is what is said: the texts, names and arguments in their order. A text is the same
//! as a string, as a block or with white space around it; marks that clients set anew each turn
//! (what to cache, ids, signatures) and hidden reasoning are no part of it.

use std::fmt::Display;

use permille_json::{Invalid, Json, Kind, Scalar};

use crate::{
    digest::{Key, Texts},
    message::{Message, Opening, Speaker, Start},
    outline::Outline,
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
    reads: Reads,
    /// Of nothing.
    fresh: Texts,
    texts: Texts,
    bytes: usize,
    role: Option<Speaker>,
    item: Option<Speaker>,
    holds_result: bool,
    /// The beginning of what may be a reply.
    pub(crate) start: Start,
    /// The beginning of what is said, its texts one under the other.
    pub(crate) head: Vec<u8>,
}

/// What a message is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Who speaks, the digest of what is said, and its head.
    Whole,
    /// The same less its head: most messages stand behind the first reply, of which few have a
    /// beginning that is looked at, and are read again for it.
    Digest,
    /// How it begins.
    Beginning,
}

impl Draft {
    pub(crate) fn new(key: &Key, reads: Reads) -> Self {
        Self {
            reads,
            fresh: key.texts(),
            texts: key.texts(),
            bytes: 0,
            role: None,
            item: None,
            holds_result: false,
            start: Start::default(),
            head: Vec::new(),
        }
    }

    /// Of the messages that come, no heads are wanted.
    pub(crate) fn read_digests(&mut self) {
        self.reads = Reads::Digest;
    }

    /// Reads `message`, as it stands in a body, for its beginning.
    pub(crate) fn read_again(&mut self, message: &[u8]) -> Result<(), Invalid> {
        self.start.clear();
        self.head.clear();
        self.walk(&mut Json::new(message))?;
        self.finish();
        Ok(())
    }

    /// Reads the message that comes next: how it is written around its text, where a text is all
    /// that it says.
    pub(crate) fn walk<'b>(&mut self, json: &mut Json<'b>) -> Result<Option<Outline<'b>>, Invalid> {
        let from = json.rest();
        let mut walk = Walk { json, draft: self, said: Said::Nothing };
        walk.value(Meaning::Said, 0)?;
        Ok(walk.outline(from))
    }

    /// Reads a message that is written as `outline` and says `text`.
    pub(crate) fn fill(&mut self, outline: &Outline<'_>, text: &[u8]) {
        let Outline { role, item, holds_result, .. } = *outline;
        (self.role, self.item, self.holds_result) = (role, item, holds_result);
        self.say(trimmed(text));
    }

    /// The message; absent where nothing is said. All but its beginning is forgotten then.
    pub(crate) fn finish(&mut self) -> Option<Message> {
        let (role, item) = (self.role.take(), self.item.take());
        let holds_result = std::mem::take(&mut self.holds_result);
        let bytes = std::mem::take(&mut self.bytes);
        if self.texts.is_empty() {
            return None;
        }
        let speaker = match role.or(item).unwrap_or(Speaker::User) {
            Speaker::User if holds_result => Speaker::Tool,
            other => other,
        };
        let digest = self.texts.take_digest(speaker.mark(), &self.fresh);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(Message { speaker, digest, bytes, opening: Opening::NONE })
    }

    fn say(&mut self, bytes: &[u8]) {
        if self.reads != Reads::Digest {
            let room = HEAD_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            self.head.push(b'\n');
        }
        // Where a person is known to speak it is no reply.
        if matches!(self.role, None | Some(Speaker::Model)) {
            self.begin(bytes);
        }
        self.count(bytes);
    }

    /// Adds to how it begins.
    fn begin(&mut self, bytes: &[u8]) {
        if self.reads == Reads::Beginning {
            self.start.push(bytes);
        }
    }

    /// Says something whose beginning is noted otherwise.
    fn count(&mut self, bytes: &[u8]) {
        if self.reads != Reads::Beginning && !bytes.is_empty() {
            self.bytes = self.bytes.saturating_add(bytes.len());
            self.texts.add(bytes);
        }
    }

    /// Says a number or the like inside an object of arguments.
    fn say_as_json(&mut self, bytes: [u8; 8], json: impl Display) {
        if self.reads == Reads::Beginning {
            self.begin(json.to_string().as_bytes());
        }
        self.count(&bytes);
    }

    /// What the value of `key` is, in an object of that `meaning` with `depth` objects around it.
    fn meaning(&mut self, key: &[u8], meaning: Meaning, depth: usize) -> Meaning {
        if matches!(meaning, Meaning::Arguments | Meaning::Argument) {
            self.begin(key);
            return Meaning::Argument;
        }
        match (key, depth) {
            (b"content" | b"text", _) => Meaning::Said,
            (b"role" | b"Role", 0) => Meaning::Role,
            (b"type", 0 | 1) => Meaning::Type,
            (b"arguments" | b"args", _) | (b"input", 1..) => Meaning::Arguments,
            (b"name", _) => Meaning::Name,
            (b"functionResponse" | b"function_response", _) => {
                self.holds_result = true;
                Meaning::Said
            }
            _ if NOT_SAID.contains(&key) => Meaning::NotSaid,
            _ => Meaning::Said,
        }
    }

    fn text(&mut self, text: &[u8], meaning: Meaning) {
        match meaning {
            Meaning::Role => self.role = Some(speaker(text)),
            Meaning::Type => self.note_type(text),
            Meaning::Argument => {
                if self.reads == Reads::Beginning {
                    self.start.push_escaped(text);
                }
                self.count(trimmed(text));
            }
            _ => self.say(trimmed(text)),
        }
    }

    fn scalar(&mut self, scalar: &Scalar, meaning: Meaning) {
        let is_argument = meaning == Meaning::Argument;
        match scalar {
            Scalar::Null if is_argument => self.begin(b"null"),
            Scalar::Bool(true) if is_argument => self.begin(b"true"),
            Scalar::Bool(false) if is_argument => self.begin(b"false"),
            Scalar::Null | Scalar::Bool(_) => {}
            Scalar::Number(number) => {
                if let Some(number) = number.as_u64() {
                    self.say_as_json(number.to_le_bytes(), number);
                } else if let Some(number) = number.as_i64() {
                    self.say_as_json(number.to_le_bytes(), number);
                } else if let Some(number) = number.as_f64() {
                    self.say_as_json(number.to_bits().to_le_bytes(), number);
                }
            }
        }
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
    /// The name of something that is said.
    Name,
    Role,
    Type,
    /// The arguments of a tool that is called: a text of JSON, or an object.
    Arguments,
    /// Something inside such an object.
    Argument,
    /// No part of what is said.
    NotSaid,
}

/// Reads values into a draft.
struct Walk<'w, 'b> {
    json: &'w mut Json<'b>,
    draft: &'w mut Draft,
    said: Said<'b>,
}

/// What a message says, as it stands in the body.
enum Said<'b> {
    Nothing,
    /// One text: what is left of the body from there, and behind it.
    Text {
        from: &'b [u8],
        behind: &'b [u8],
    },
    More,
}

impl<'b> Walk<'_, 'b> {
    /// How the message that was read, which began where `from` was left of the body, is written
    /// around its text; absent where that is not all that it says.
    fn outline(&self, from: &'b [u8]) -> Option<Outline<'b>> {
        let Said::Text { from: text, behind } = self.said else { return None };
        let before = from.get(..from.len().checked_sub(text.len())?)?;
        let behind = behind.get(..behind.len().checked_sub(self.json.rest().len())?)?;
        let Draft { role, item, holds_result, .. } = *self.draft;
        Some(Outline { before, behind, role, item, holds_result })
    }

    /// `depth` objects are around the value: none around the message itself, one around a block.
    fn value(&mut self, meaning: Meaning, depth: usize) -> Result<(), Invalid> {
        match self.json.kind()? {
            Kind::Text => {
                let from = self.json.rest();
                let is_short = matches!(meaning, Meaning::Role | Meaning::Type | Meaning::Name);
                let text = if is_short { self.json.short_text()? } else { self.json.text()? };
                self.draft.text(text, meaning);
                if !matches!(meaning, Meaning::Role | Meaning::Type) {
                    self.said = match self.said {
                        // An argument has no head.
                        Said::Nothing if meaning != Meaning::Argument => {
                            Said::Text { from, behind: self.json.rest() }
                        }
                        Said::Nothing | Said::Text { .. } | Said::More => Said::More,
                    };
                }
            }
            Kind::Object => return self.object(meaning, depth),
            Kind::List => {
                let inner = match meaning {
                    Meaning::Arguments | Meaning::Argument => Meaning::Argument,
                    _ => Meaning::Said,
                };
                let mut first = self.json.enter()?;
                while self.json.element(&mut first)? {
                    self.value(inner, depth)?;
                }
            }
            Kind::Scalar => {
                let scalar = self.json.scalar()?;
                self.draft.scalar(&scalar, meaning);
                if matches!(scalar, Scalar::Number(_)) {
                    self.said = Said::More;
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, meaning: Meaning, depth: usize) -> Result<(), Invalid> {
        let inner = depth.saturating_add(1);
        // Where the arguments of a call begin: a reply tells its name first, some clients last.
        let mut arguments = None;
        let mut first = self.json.enter()?;
        while let Some(key) = self.json.key(&mut first)? {
            let meaning = self.draft.meaning(key, meaning, depth);
            if meaning == Meaning::NotSaid {
                self.json.skip()?;
                continue;
            }
            let end = self.draft.start.end();
            self.value(meaning, inner)?;
            match (meaning, arguments) {
                (Meaning::Arguments, _) => arguments = Some(end),
                (Meaning::Name, Some(at)) => self.draft.start.move_back(at, end),
                _ => {}
            }
        }
        Ok(())
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

fn speaker(role: &[u8]) -> Speaker {
    match role {
        b"system" | b"developer" => Speaker::System,
        b"assistant" | b"model" | b"bot" => Speaker::Model,
        b"tool" | b"function" => Speaker::Tool,
        _ => Speaker::User,
    }
}
