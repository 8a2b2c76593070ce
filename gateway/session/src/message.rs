//! What is kept of a request's messages.

use crate::digest::{Digest, Key, leaf};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaker {
    /// The operator of the application: instructions, which many clients write anew every turn.
    System,
    /// The person, or whatever asks.
    User,
    /// The model.
    Model,
    /// A tool that the model had called: its result, whoever's role the format gives it.
    Tool,
}

/// One message, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub speaker: Speaker,
    /// Digest of speaker and content.
    pub(crate) digest: Digest,
    /// Bytes of its content.
    pub bytes: u64,
    /// What it is compared by with the reply that was given.
    pub(crate) opening: Opening,
}

/// Bytes of a reply that are compared.
const OPENING_BYTES: usize = 256;

/// Digest of the first 256 bytes of a reply, less white space and the punctuation of JSON: the
/// reply's text, and the names and arguments of the tools that it calls, as they were delivered.
/// Clients send it again in blocks, trimmed, with arguments as an object instead of a text, or with
/// a part of it folded away; its beginning they keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening(Digest);

impl Opening {
    /// Of nothing.
    pub(crate) const NONE: Self = Self(Digest::START);

    /// The opening of a reply that delivered `text`.
    pub(crate) fn of(key: &Key, text: &str) -> Self {
        let mut start = Start::default();
        start.push(text.as_bytes());
        start.opening(key)
    }

    pub(crate) fn digest(self) -> Digest {
        self.0
    }
}

/// Bytes of a message that are kept until it ends: what is compared, and a tool's name that stands
/// behind its arguments.
const START_BYTES: usize = 2 * OPENING_BYTES;

/// The beginning of a message, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Start(Vec<u8>);

impl Start {
    /// Adds a text, or a text of JSON.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = START_BYTES.saturating_sub(self.0.len());
        self.0.extend(text.iter().filter(|byte| is_compared(**byte)).take(room));
    }

    /// Adds a text of an object as it stands in a text of JSON.
    pub(crate) fn push_escaped(&mut self, text: &str) {
        let written = text.as_bytes().get(..text.len().min(START_BYTES)).unwrap_or_default();
        for byte in written {
            match byte {
                b'\n' => self.push(b"n"),
                b'\t' => self.push(b"t"),
                b'\r' => self.push(b"r"),
                byte => self.push(&[*byte]),
            }
        }
    }

    /// Adds another beginning.
    pub(crate) fn append(&mut self, other: &Self) {
        self.push(&other.0);
    }

    /// How much has come.
    pub(crate) fn end(&self) -> usize {
        self.0.len()
    }

    /// Puts what has come since `end` in front of what had come since `at`.
    pub(crate) fn move_back(&mut self, at: usize, end: usize) {
        let moved = self.0.len().saturating_sub(end);
        if let Some(behind) = self.0.get_mut(at..) {
            behind.rotate_right(moved.min(behind.len()));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn opening(&self, key: &Key) -> Opening {
        let compared = self.0.get(..self.0.len().min(OPENING_BYTES)).unwrap_or_default();
        let mut hasher = key.hasher();
        leaf(&mut hasher, compared);
        Opening(Digest::of(&hasher))
    }
}

/// Whether a byte is a part of what is compared, whichever way a client writes it.
fn is_compared(byte: u8) -> bool {
    !(byte.is_ascii_whitespace()
        || matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | b':' | b',' | b'\\'))
}

impl Speaker {
    /// What sets messages of the same text by different speakers apart.
    pub(crate) fn mark(self) -> u8 {
        match self {
            Self::System => b's',
            Self::User => b'u',
            Self::Model => b'm',
            Self::Tool => b't',
        }
    }
}

/// What a request says of its conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The messages in order, without those of the system.
    pub messages: Vec<Message>,
    /// The conversation's name, where the body has one.
    pub named: Option<String>,
    /// The stored response that it goes on with.
    pub previous_response: Option<String>,
    /// Who asks, as the application knows them. Two end users never share a conversation.
    pub end_user: Option<String>,
    /// Whether the model may call tools, as agents have it.
    pub offers_tools: bool,
}
