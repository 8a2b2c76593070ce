//! What is kept of a request's messages.

use crate::digest::{Digest, Key};

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
const OPENING_BYTES: usize = 128;

/// Digest of the first 128 bytes of a reply, less white space and the punctuation of JSON: the
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

/// What sets an opening apart from a message of the same text.
const OPENING_MARK: u8 = b'o';
/// Bytes of a message that are kept until it ends: what is compared with the spaces and punctuation
/// that are not, and a tool's name that stands behind its arguments.
const START_BYTES: usize = 4 * OPENING_BYTES;

/// Bytes that are compared, whichever way a client writes a reply.
static COMPARED: [bool; 256] = {
    let mut compared = [true; 256];
    let mut left_out = b"\t\n\x0c\r {}[]\":,\\".as_slice();
    while let [byte, rest @ ..] = left_out {
        #[expect(clippy::indexing_slicing, reason = "a byte is an index")]
        {
            compared[*byte as usize] = false;
        }
        left_out = rest;
    }
    compared
};

/// The beginning of a message, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Start(Vec<u8>);

impl Start {
    /// Adds a text, or a text of JSON.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let room = START_BYTES.saturating_sub(self.0.len());
        self.0.extend_from_slice(text.get(..text.len().min(room)).unwrap_or_default());
    }

    /// Adds a text of an object as it stands in a text of JSON.
    pub(crate) fn push_escaped(&mut self, text: &[u8]) {
        for byte in text.iter().take(START_BYTES) {
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
        let (mut compared, mut end) = ([0; OPENING_BYTES], 0_usize);
        // Each byte is written, and stays where it is compared: no branch to be guessed wrong.
        for byte in &self.0 {
            let Some(place) = compared.get_mut(end) else { break };
            *place = *byte;
            let stays = COMPARED.get(usize::from(*byte)).copied().unwrap_or_default();
            end = end.saturating_add(usize::from(stays));
        }
        let mut texts = key.texts();
        texts.add(compared.get(..end).unwrap_or_default());
        Opening(texts.digest(OPENING_MARK))
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
    /// Whether the model may call tools, as agents have it.
    pub offers_tools: bool,
    /// Whether a summary is asked for.
    pub(crate) asks_for_summary: bool,
    /// Lines of the first messages, up to the first reply, which may be those of a summary.
    pub(crate) lines: Vec<Digest>,
}

impl Conversation {
    /// Replies of the model among the messages. Messages that it says without a break are one.
    #[must_use]
    pub fn replies(&self) -> u32 {
        let models = self.messages.iter().map(|message| message.speaker == Speaker::Model);
        let before = std::iter::once(false).chain(models.clone());
        let begun = before.zip(models).filter(|(before, now)| !before && *now);
        u32::try_from(begun.count()).unwrap_or(u32::MAX)
    }
}
