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

/// Digest of the first 256 bytes of a reply, less white space: the reply's text, and the names and
/// arguments of the tools that it calls, as they were delivered. Clients send it again in blocks,
/// trimmed, or with a part of it folded away; its beginning they keep.
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

/// The beginning of a message, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Start(Vec<u8>);

impl Start {
    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = OPENING_BYTES.saturating_sub(self.0.len());
        self.0.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()).take(room));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn opening(&self, key: &Key) -> Opening {
        let mut hasher = key.hasher();
        leaf(&mut hasher, &self.0);
        Opening(Digest::of(&hasher))
    }
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
}
