//! What a request is searched by: the digests of all its beginnings and of its last exchanges.

use smallvec::SmallVec;

use crate::{
    digest::{Chain, Digest, Key, ScopeKey},
    message::{Conversation, Message, Opening, Speaker},
    summary::lines,
};

/// Text that two strangers hardly share by chance, in bytes: a sentence. Below it, equal words
/// alone make nobody the same.
const DISTINCT_BYTES: u64 = 32;
/// An exchange that two strangers hardly share, in bytes: agents ask little and call the same
/// tools.
const DISTINCT_EXCHANGE_BYTES: u64 = 64;
/// A first message of so many bytes that comes again soon is the same person who wants another
/// reply, not a stranger.
const REPEATED_BYTES: u64 = 64;
/// Beginnings of a request that are looked for, the longest first: as many replies back may
/// somebody go to branch off.
const BEGINNINGS: usize = 256;
/// The last exchanges of a request under which it is found again when its beginning is gone.
const EXCHANGES: usize = 3;

/// The digests of one request.
#[derive(Debug)]
pub struct Search<'c> {
    /// The gateway's key.
    root: Key,
    /// The key of the scope.
    key: ScopeKey,
    messages: &'c [Message],
    /// Of each message of the model but one in front of all others, all messages before it, of
    /// which the digest is made when it is looked for: mostly the last is.
    prefixes: Vec<Chain>,
    /// The digest of all messages; absent where there are none.
    whole: Option<Digest>,
    /// After each message, the bytes so far.
    bytes: SmallVec<[u64; 4]>,
    /// The last exchanges, the latest first.
    exchanges: Vec<Exchange>,
    /// Summaries that the conversation may begin with, as exchanges of which nothing is sent again.
    summaries: Vec<Exchange>,
    asks_for_summary: bool,
    /// What is asked now, and its bytes.
    asked: (Digest, u64),
    /// Whether it offers tools.
    offers_tools: bool,
    /// Whether only requests of one named conversation are compared.
    is_named: bool,
    /// The stored response that it goes on with.
    pub(crate) response: Option<Digest>,
}

/// What was asked and replied near the end of a request.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What was asked, when it is enough to tell it from what others ask.
    pub(crate) asked: Option<Digest>,
    /// What was asked and replied, likewise.
    pub(crate) both: Option<Digest>,
    /// Where that is too little: together with the reply before it, likewise.
    pub(crate) after: Option<Digest>,
    pub(crate) reply: Opening,
    /// How the reply opens and how many bytes it has.
    said: Said,
    /// How many messages there are up to its end.
    pub(crate) end: usize,
}

/// A reply among the messages: how it opens, and its bytes.
type Said = (Opening, u64);

/// All messages up to a reply, which may be those of an earlier request.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) prefix: Digest,
    /// The reply behind them.
    pub(crate) reply: Opening,
    /// Whether they are enough to tell them from what others say.
    pub(crate) is_distinct: bool,
    /// Where the reply begins.
    pub(crate) at: usize,
    /// How many replies there are behind it.
    pub(crate) behind: usize,
}

/// What a reply is remembered by.
pub(crate) struct Answer {
    pub(crate) opening: Opening,
    /// What was asked and replied, when it is enough to tell it from what others do, and the same
    /// together with the reply before it where it is little.
    pub(crate) exchanges: SmallVec<[Digest; 2]>,
}

/// What is needed of a request once it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    root: Key,
    key: ScopeKey,
    asked: (Digest, u64),
    /// The reply before what is asked, where it was given in this conversation.
    before: Option<Said>,
    /// Whether the reply summarises its conversation.
    summarises: bool,
}

impl<'c> Search<'c> {
    /// Only requests of the same `key` and `scope` go on from each other: those of a customer and
    /// end user.
    #[must_use]
    pub fn of(key: &Key, scope: &[&str], conversation: &'c Conversation) -> Self {
        let root = key.clone();
        let key = key.within(scope);
        let Conversation { messages, offers_tools, previous_response, .. } = conversation;
        let asks_for_summary = conversation.asks_for_summary;
        let lines = if conversation.replies() <= 1 { &conversation.lines[..] } else { &[] };
        let summaries = lines.iter().map(|line| Exchange {
            asked: None,
            both: Some(key.link([*line])),
            after: None,
            reply: Opening::NONE,
            said: (Opening::NONE, 0),
            end: 0,
        });
        let summaries = summaries.collect();
        let replies = usize::try_from(conversation.replies()).unwrap_or_default();
        let mut prefixes = Vec::with_capacity(replies);
        let mut bytes = SmallVec::with_capacity(messages.len());
        let (mut chain, mut sum) = (key.chain(), 0_u64);
        for message in messages {
            if message.speaker == Speaker::Model && !bytes.is_empty() {
                prefixes.push(chain.clone());
            }
            chain.add(message.digest);
            sum = sum.saturating_add(message.bytes);
            bytes.push(sum);
        }
        let whole = (!messages.is_empty()).then(|| chain.digest());
        let asked = asked_before(&key, messages, messages.len());
        let response = previous_response.as_deref().map(|id| key.name(id));
        let exchanges = exchanges(&key, messages);
        let offers_tools = *offers_tools;
        Self {
            root,
            key,
            messages,
            prefixes,
            whole,
            bytes,
            exchanges,
            summaries,
            asks_for_summary,
            asked,
            offers_tools,
            is_named: false,
            response,
        }
    }

    /// The `scope` is that of one conversation, which its client names: nobody in it is a stranger.
    #[must_use]
    pub fn named(self) -> Self {
        Self { is_named: true, ..self }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Who speaks last.
    pub(crate) fn last(&self) -> Option<Speaker> {
        self.messages.last().map(|last| last.speaker)
    }

    /// The digest of all messages.
    pub(crate) fn whole(&self) -> Option<Digest> {
        self.whole
    }

    /// Bytes of all messages.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.last().copied().unwrap_or_default()
    }

    /// Bytes of the first `known` messages; absent where that is none.
    pub(crate) fn bytes_of(&self, known: usize) -> Option<u64> {
        self.bytes.get(known.checked_sub(1)?).copied()
    }

    /// Whether it may repeat a request whose beginning nobody knows. Nobody reads an agent's first
    /// reply and wants another: a second one has the same task.
    pub(crate) fn may_repeat(&self) -> bool {
        !self.offers_tools && self.asked.1 >= REPEATED_BYTES
    }

    /// Whether it may repeat a request that had no reply.
    pub(crate) fn may_retry(&self) -> bool {
        self.is_named || self.has_replies()
    }

    /// Whether nothing that was said before can tell anything of it.
    pub(crate) fn is_first(&self) -> bool {
        let begins = !self.has_replies() && self.summaries.is_empty();
        begins && self.response.is_none() && !self.may_repeat()
    }

    /// Whether there are replies among its messages.
    pub(crate) fn has_replies(&self) -> bool {
        self.messages.iter().any(|message| message.speaker == Speaker::Model)
    }

    /// What was asked and replied near its end, the latest first, then the summaries that it may
    /// begin with.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().chain(&self.summaries)
    }

    /// Its beginnings, the longest first.
    pub(crate) fn beginnings(&self) -> impl Iterator<Item = Beginning> {
        let replies = self.messages.iter().enumerate().rev();
        let replies = replies.filter(|(_, message)| message.speaker == Speaker::Model);
        // Messages that the model says without a break are one reply.
        let (mut behind, mut open) = (0_usize, self.messages.len());
        let replies = replies.zip(self.prefixes.iter().rev());
        replies.take(BEGINNINGS).filter_map(move |((at, reply), prefix)| {
            if at.saturating_add(1) < open && open < self.messages.len() {
                behind = behind.saturating_add(1);
            }
            open = at;
            let before = at.checked_sub(1)?;
            Some(Beginning {
                prefix: prefix.digest(),
                reply: reply.opening,
                is_distinct: *self.bytes.get(before)? >= DISTINCT_BYTES,
                at,
                behind,
            })
        })
    }

    /// How many messages are known from a request whose reply begins at `at`.
    pub(crate) fn known(&self, at: usize) -> usize {
        let rest = self.messages.get(at..).unwrap_or_default();
        let said = rest.iter().take_while(|message| message.speaker == Speaker::Model);
        at.saturating_add(said.count())
    }

    /// What it is found by again, where its first `known` messages were said in its conversation:
    /// all its messages, what was said there near its end, and what is asked.
    pub(crate) fn found_by(&self, known: usize) -> SmallVec<[Digest; 2]> {
        // What came before it in its first request was never said here: examples, a greeting.
        let said_here = |exchange: &&Exchange| known > 0 && exchange.end >= known;
        let exchanges = self.exchanges.iter().filter(said_here).filter_map(|said| said.both);
        self.whole().into_iter().chain(exchanges).chain(self.distinct_asked()).collect()
    }

    /// What is asked, when it is enough to tell it from what others ask.
    pub(crate) fn distinct_asked(&self) -> Option<Digest> {
        (self.asked.1 >= DISTINCT_BYTES).then_some(self.asked.0)
    }

    /// What is needed of it once it is answered, where its first `known` messages were said in its
    /// conversation.
    pub(crate) fn asker(&self, known: usize) -> Asker {
        let last = self.exchanges.first().filter(|last| known > 0 && last.end >= known);
        let before = last.map(|last| last.said);
        let summarises = known > 0 && self.asks_for_summary;
        let (root, key) = (self.root.clone(), self.key.clone());
        Asker { root, key, asked: self.asked, before, summarises }
    }

    /// A reply's opening as it leaves the process: that of another scope is another one.
    pub(crate) fn scoped(&self, opening: Opening) -> Digest {
        scoped(&self.key, opening)
    }
}

impl Asker {
    /// What a reply that delivered `text` is remembered by; absent where it said nothing.
    pub(crate) fn answer(&self, text: &str) -> Option<Answer> {
        if text.is_empty() {
            return None;
        }
        let opening = Opening::of(&self.root, text);
        let (asked, asked_bytes) = self.asked;
        let bytes = asked_bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        let is_distinct = bytes >= DISTINCT_EXCHANGE_BYTES;
        let both = is_distinct.then(|| exchange(&self.key, asked, opening));
        // The client may write it in fewer bytes, so what is little begins at twice as many.
        let before = self.before.filter(|(_, before)| {
            let all = bytes.saturating_add(*before);
            bytes < 2 * DISTINCT_EXCHANGE_BYTES && all >= DISTINCT_EXCHANGE_BYTES
        });
        let after = before.map(|(before, _)| exchange_after(&self.key, before, asked, opening));
        let lines = if self.summarises { lines(&self.root, text.as_bytes()) } else { Vec::new() };
        let summary = lines.into_iter().map(|line| self.key.link([line]));
        Some(Answer { opening, exchanges: both.into_iter().chain(after).chain(summary).collect() })
    }

    /// The digest of a stored response's id.
    pub(crate) fn response(&self, id: &str) -> Digest {
        self.key.name(id)
    }

    /// See [`Search::scoped`].
    pub(crate) fn scoped(&self, opening: Opening) -> Digest {
        scoped(&self.key, opening)
    }
}

fn scoped(key: &ScopeKey, opening: Opening) -> Digest {
    if opening == Opening::NONE { Digest::START } else { key.link([opening.digest()]) }
}

/// What was asked last before the message `end`, and its bytes: the messages back to a reply.
fn asked_before(key: &ScopeKey, messages: &[Message], end: usize) -> (Digest, u64) {
    let before = messages.get(..end).unwrap_or_default();
    let asked = before.iter().rev().take_while(|message| message.speaker != Speaker::Model);
    asked.fold((Digest::START, 0), |(digest, bytes), message| {
        (key.link([message.digest, digest]), bytes.saturating_add(message.bytes))
    })
}

/// The digest of what was asked and how the reply opened.
fn exchange(key: &ScopeKey, asked: Digest, reply: Opening) -> Digest {
    key.link([asked, reply.digest()])
}

/// The same together with the reply before it.
fn exchange_after(key: &ScopeKey, before: Opening, asked: Digest, reply: Opening) -> Digest {
    key.link([before.digest(), asked, reply.digest()])
}

/// The replies among `messages`, the last first, each with the place of its first message. Messages
/// that the model says without a break are one.
fn replies(messages: &[Message]) -> impl Iterator<Item = (usize, &[Message])> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let is_models = |message: &Message| message.speaker == Speaker::Model;
        let last = rest.iter().rposition(is_models)?;
        let up_to = rest.get(..=last)?;
        let before = up_to.iter().rposition(|message| !is_models(message));
        let at = before.map_or(0, |before| before.saturating_add(1));
        rest = rest.get(..at)?;
        Some((at, up_to.get(at..)?))
    })
}

/// How a reply opens, and its bytes.
fn said(reply: &[Message]) -> Said {
    let opening = reply.first().map_or(Opening::NONE, |first| first.opening);
    (opening, reply.iter().fold(0, |bytes, message| message.bytes.saturating_add(bytes)))
}

fn exchanges(key: &ScopeKey, messages: &[Message]) -> Vec<Exchange> {
    let mut replies = replies(messages).take(EXCHANGES + 1).peekable();
    let mut exchanges = Vec::new();
    while let (Some((at, reply)), true) = (replies.next(), exchanges.len() < EXCHANGES) {
        let before = replies.peek().map(|(_, before)| said(before));
        let (asked, asked_bytes) = asked_before(key, messages, at);
        let (opening, reply_bytes) = said(reply);
        let bytes = asked_bytes.saturating_add(reply_bytes);
        let is_distinct = |bytes| bytes >= DISTINCT_EXCHANGE_BYTES;
        let before = before.filter(|(_, before)| {
            !is_distinct(bytes) && is_distinct(bytes.saturating_add(*before))
        });
        exchanges.push(Exchange {
            asked: (asked_bytes >= DISTINCT_BYTES).then_some(asked),
            both: is_distinct(bytes).then(|| exchange(key, asked, opening)),
            after: before.map(|(before, _)| exchange_after(key, before, asked, opening)),
            reply: opening,
            said: (opening, reply_bytes),
            end: at.saturating_add(reply.len()),
        });
    }
    exchanges
}
