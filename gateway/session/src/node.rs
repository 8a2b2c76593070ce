//! One request's place in a conversation, and what later requests find of it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use permille_types::{SessionId, TokenCount, TurnKind};

use crate::message::Opening;

/// A turn: its number and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// From 1. A regenerated turn has the number of the turn that it repeats; a branch goes on
    /// counting from where it leaves.
    pub number: u32,
    /// How it came about.
    pub kind: TurnKind,
}

/// A request's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The conversation.
    pub session: SessionId,
    /// The turn.
    pub turn: Turn,
    /// Bytes of message content that this conversation has sent or received before; absent in its
    /// first request, and where the messages before are not sent again.
    pub resent_bytes: Option<u64>,
    /// Bytes of message content in all.
    pub bytes: u64,
}

/// What is remembered of a request.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) session: SessionId,
    pub(crate) turn: u32,
    pub(crate) at: Instant,
    /// Whether another request went on from its reply.
    pub(crate) continued: AtomicBool,
    /// How its reply opened, once that has ended.
    pub(crate) reply: OnceLock<Opening>,
    /// Tokens that its provider counted, of the input and of the reply's text, once that has ended.
    pub(crate) tokens: OnceLock<TokenCount>,
    /// How it came about.
    pub(crate) kind: TurnKind,
    /// What of it was sent before.
    pub(crate) resent: Resent,
    /// Whether it was given no reply: who sends it again wants its first one.
    pub(crate) failed: AtomicBool,
    /// The number that it has in a conversation that its client names.
    pub(crate) named: NamedTurn,
}

/// The number of a turn of a named conversation: the messages do not tell it.
#[derive(Debug, Default)]
pub(crate) struct NamedTurn {
    /// 0 where none was given, or it was taken back.
    number: AtomicU32,
    /// Whether a request that repeats this one has its number too.
    is_shared: AtomicBool,
}

/// What of a request its conversation had sent or received before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resent {
    /// Bytes of the known messages.
    pub(crate) bytes: Option<u64>,
    /// Tokens of the turn before, where all of it is sent again and its provider counted them.
    pub(crate) tokens: Option<TokenCount>,
}

/// How well a node fits as the turn before. The last is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// Its reply is another, and others went on from it.
    OtherReplyContinued,
    /// Its reply is another: changed by the client, or a stranger's.
    OtherReply,
    /// Others went on from it.
    Continued,
    /// Nobody went on from it.
    Open,
    /// Its reply is the one that the client sends again; others went on from it.
    SameReplyContinued,
    /// Its reply is the one that the client sends again.
    SameReply,
}

impl Fit {
    /// Whether the reply that the client sends is not the one that was given.
    pub(crate) fn is_other(self) -> bool {
        matches!(self, Self::OtherReply | Self::OtherReplyContinued)
    }

    /// Whether it is.
    pub(crate) fn is_same(self) -> bool {
        matches!(self, Self::SameReply | Self::SameReplyContinued)
    }
}

impl Node {
    pub(crate) fn fit(&self, reply: Opening) -> Fit {
        let continued = self.continued.load(Ordering::Acquire);
        match (self.reply.get(), continued) {
            (Some(known), false) if *known == reply => Fit::SameReply,
            (Some(known), true) if *known == reply => Fit::SameReplyContinued,
            (Some(_), false) => Fit::OtherReply,
            (Some(_), true) => Fit::OtherReplyContinued,
            (None, false) => Fit::Open,
            (None, true) => Fit::Continued,
        }
    }

    /// Whether it was given no reply.
    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether nobody went on from it.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.continued.load(Ordering::Acquire)
    }

    /// Takes the place of the request that goes on from it; false when another has it.
    pub(crate) fn take(&self) -> bool {
        !self.continued.swap(true, Ordering::AcqRel)
    }
}

impl NamedTurn {
    pub(crate) fn of(number: Option<u32>) -> Self {
        Self { number: AtomicU32::new(number.unwrap_or_default()), ..Self::default() }
    }

    pub(crate) fn give(&self, number: u32) {
        self.number.store(number, Ordering::SeqCst);
    }

    pub(crate) fn number(&self) -> Option<u32> {
        Some(self.number.load(Ordering::SeqCst)).filter(|number| *number > 0)
    }

    /// The number, for a request that repeats this one.
    pub(crate) fn share(&self) -> Option<u32> {
        self.is_shared.store(true, Ordering::SeqCst);
        self.number()
    }

    /// The request was not made. Whether nobody else has its number.
    pub(crate) fn take_back(&self) -> bool {
        self.number.store(0, Ordering::SeqCst);
        !self.is_shared.load(Ordering::SeqCst)
    }
}
