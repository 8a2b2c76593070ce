//! Where requests find the one that they go on from.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{ops::compute::Op, policy::EvictionPolicy, sync::Cache};
use permille_types::{SessionId, TokenCount, TurnKind};

use crate::{
    digest::{Digest, Key, leaf},
    message::{Conversation, Message, Opening, Speaker},
    node::{Fit, Node, Place, Resent, Turn},
    read::read,
};

/// Requests remembered under one digest, the latest. Strangers who begin alike share a digest
/// until their replies differ; of more than so many, the oldest are taken for new.
const ALIKE_MAX: usize = 16;
/// Text that two strangers hardly share by chance, in bytes: a sentence. Below it, equal words
/// alone make nobody the same.
const DISTINCT_BYTES: u64 = 32;
/// An exchange that two strangers hardly share, in bytes: agents ask little and call the same
/// tools.
const DISTINCT_EXCHANGE_BYTES: u64 = 64;
/// A first message of so many bytes that comes again soon is the same person who wants another
/// reply, not a stranger.
const REPEATED_BYTES: u64 = 64;
/// What "soon" is: longer than a reply takes and shorter than a morning.
const SOON: Duration = Duration::from_mins(10);
/// Beginnings of a request that are looked for, the longest first: as many replies back may
/// somebody go to branch off.
const BEGINNINGS: usize = 256;
/// The last exchanges of a request under which it is found again when its beginning is gone.
const EXCHANGES: usize = 3;

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Places under digests, at some 200 bytes each. A request has up to five.
    pub places_max: u64,
    /// A conversation that was silent for longer is over.
    pub idle_max: Duration,
}

impl Default for Bounds {
    /// 500,000 places in some 100 MB: 100,000 turns. A day.
    fn default() -> Self {
        Self { places_max: 500_000, idle_max: Duration::from_hours(24) }
    }
}

/// The requests of open conversations.
pub struct Sessions {
    key: Key,
    nodes: Cache<Digest, Vec<Arc<Node>>>,
    idle_max: Duration,
}

/// A request that has its place. [`Sessions::replied`] tells what its reply was.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its place.
    pub place: Place,
    key: Key,
    node: Arc<Node>,
    /// What was asked last, and its bytes.
    asked: (Digest, u64),
}

/// What is told of a reply that has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replied<'a> {
    /// The beginning of what it delivered.
    pub text: &'a str,
    /// The id under which the provider has stored it.
    pub stored_as: Option<&'a str>,
    /// Tokens of the request's input and of the reply's text, as the provider counted them; absent
    /// where it did not, or where the client did not get all of the reply.
    pub tokens: Option<TokenCount>,
}

/// The digests of one request.
struct Trail {
    /// After each message, the digest of all messages so far.
    prefixes: Vec<Digest>,
    /// After each message, the bytes so far.
    bytes: Vec<u64>,
    /// The last exchanges, the latest first.
    exchanges: Vec<Exchange>,
    /// What is asked now, and its bytes.
    asked: (Digest, u64),
    /// Whether it offers tools.
    offers_tools: bool,
}

/// What was asked and replied near the end of a request.
struct Exchange {
    /// What was asked, when it is enough to tell it from what others ask.
    asked: Option<Digest>,
    /// What was asked and replied, likewise.
    both: Option<Digest>,
    reply: Opening,
    /// How many messages there are up to its end.
    end: usize,
}

/// The turn before, as far as it was found.
struct Found {
    node: Arc<Node>,
    fit: Fit,
    /// How many messages are known from it.
    known: usize,
    /// Whether all that it sent and received is sent again, or lies with the provider.
    whole: bool,
    /// Whether there is nothing new.
    repeats: bool,
}

impl Sessions {
    /// Nothing is remembered yet. Only gateways with the same key find each other's requests.
    #[must_use]
    pub fn new(key: Key, bounds: Bounds) -> Self {
        let nodes = Cache::builder()
            .max_capacity(bounds.places_max)
            .weigher(|_, alike: &Vec<_>| u32::try_from(alike.len()).unwrap_or(u32::MAX))
            // A new request must never give way to an old one that was often asked for.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(bounds.idle_max)
            .build();
        Self { key, nodes, idle_max: bounds.idle_max }
    }

    /// What `body`, of whichever family, says of its conversation. One that cannot be read says
    /// nothing.
    #[must_use]
    pub fn read(&self, body: &[u8]) -> Conversation {
        read(&self.key, body)
    }

    /// Finds the place of a request that arrives `now`, and remembers it. Only requests of the same
    /// `scope` go on from each other: those of a customer and end user. `fresh` is the name of the
    /// conversation should it be a new one.
    #[must_use]
    pub fn place(
        &self,
        scope: &[&str],
        conversation: &Conversation,
        fresh: SessionId,
        now: Instant,
    ) -> Placed {
        let messages = &conversation.messages;
        let key = self.key.within(scope);
        let trail = Trail::of(&key, conversation);
        let bytes = trail.bytes.last().copied().unwrap_or_default();
        let stored = conversation.previous_response.as_deref();
        let before = stored
            .and_then(|id| self.by_response(&key, id, now))
            .or_else(|| self.turn_before(messages, &trail, now));
        let known = before.as_ref().map_or(0, |found| found.known);
        let resent_bytes = known.checked_sub(1).and_then(|last| trail.bytes.get(last).copied());
        let whole = before.as_ref().filter(|found| found.whole);
        let mut resent = Resent {
            bytes: resent_bytes,
            tokens: whole.and_then(|found| found.node.tokens.get().copied()),
        };
        let (session, turn) = match before {
            None => (fresh, Turn { number: 1, kind: TurnKind::New }),
            Some(found) if found.repeats && found.node.failed.load(Ordering::Acquire) => {
                resent = found.node.resent;
                let turn = Turn { number: found.node.turn, kind: found.node.kind };
                (found.node.session.clone(), turn)
            }
            Some(found) if found.repeats => {
                let turn = Turn { number: found.node.turn, kind: TurnKind::Regenerate };
                (found.node.session.clone(), turn)
            }
            Some(found) => {
                let kind = match (found.node.take(), messages.last().map(|last| last.speaker)) {
                    (false, _) => TurnKind::Branch,
                    (true, Some(Speaker::Tool)) => TurnKind::ToolLoop,
                    (true, _) => TurnKind::Continue,
                };
                let number = found.node.turn.saturating_add(1);
                (found.node.session.clone(), Turn { number, kind })
            }
        };
        let node = Arc::new(Node {
            session: session.clone(),
            turn: turn.number,
            at: now,
            continued: AtomicBool::new(false),
            reply: OnceLock::new(),
            tokens: OnceLock::new(),
            kind: turn.kind,
            resent,
            failed: AtomicBool::new(false),
        });
        // What came before it in its first request was never said here: examples, a greeting.
        let said_here = |exchange: &&Exchange| known > 0 && exchange.end >= known;
        let exchanges = trail.exchanges.iter().filter(said_here).filter_map(|said| said.both);
        let asked = (trail.asked.1 >= DISTINCT_BYTES).then_some(trail.asked.0);
        let all = trail.prefixes.last().copied();
        for digest in all.into_iter().chain(exchanges).chain(asked) {
            self.remember(digest, &node, now);
        }
        let place = Place { session, turn, resent_bytes: resent.bytes, bytes };
        Placed { place, key, node, asked: trail.asked }
    }

    /// Takes note that a request was given no reply: sent again, it is not another turn made anew
    /// but the same one, tried again.
    pub fn failed(&self, placed: &Placed) {
        placed.node.failed.store(true, Ordering::Release);
    }

    /// Takes note of what the reply to a request delivered, so that the client who sends it again
    /// is told from strangers who began alike, and found again when only that is left; of the
    /// id under which the provider has stored it; and of the tokens that the next request resends.
    pub fn replied(&self, placed: &Placed, replied: Replied<'_>, now: Instant) {
        let Placed { node, key, asked: (asked, asked_bytes), .. } = placed;
        let Replied { text, stored_as, tokens } = replied;
        if let Some(tokens) = tokens {
            // A request has one reply; of two that are told, the first stands.
            node.tokens.get_or_init(|| tokens);
        }
        if let Some(id) = stored_as {
            self.remember(response(key, id), node, now);
        }
        if text.is_empty() {
            return;
        }
        let opening = Opening::of(&self.key, text);
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let is_first = node.reply.set(opening).is_ok();
        if is_first && asked_bytes.saturating_add(bytes) >= DISTINCT_EXCHANGE_BYTES {
            self.remember(exchange(key, *asked, opening), node, now);
        }
    }

    /// The turn that the request goes on from, or repeats.
    fn turn_before(&self, messages: &[Message], trail: &Trail, now: Instant) -> Option<Found> {
        let before = self.by_beginning(messages, trail, now);
        let goes_on = |found: &Found| matches!(found.fit, Fit::SameReply | Fit::Open);
        if before.as_ref().is_some_and(goes_on) {
            return before;
        }
        self.repeated(messages, trail, before.is_some(), now)
            .or(before)
            .or_else(|| self.by_exchange(trail, now))
    }

    /// By the stored response that the client names. Its messages are not sent again.
    fn by_response(&self, key: &Key, id: &str, now: Instant) -> Option<Found> {
        let (node, fit) = self.best(response(key, id), Opening::NONE, now)?;
        Some(Found { node, fit, known: 0, whole: true, repeats: false })
    }

    /// By all messages up to a reply: nothing but what is new differs.
    fn by_beginning(&self, messages: &[Message], trail: &Trail, now: Instant) -> Option<Found> {
        let replies = messages.iter().enumerate().rev();
        let replies = replies.filter(|(_, message)| message.speaker == Speaker::Model);
        replies.take(BEGINNINGS).find_map(|(at, reply)| {
            let before = at.checked_sub(1)?;
            let distinct = *trail.bytes.get(before)? >= DISTINCT_BYTES;
            let prefix = *trail.prefixes.get(before)?;
            let best = self.best(prefix, reply.opening, now);
            let found = best.filter(|(_, fit)| distinct || fit.is_same());
            let found = found.or_else(|| self.alone_at_work(messages, prefix, now));
            found.map(|(node, fit)| {
                let rest = messages.get(at..).unwrap_or_default();
                let reply = rest.iter().take_while(|message| message.speaker == Speaker::Model);
                let known = at.saturating_add(reply.count());
                Found { node, fit, known, whole: true, repeats: false }
            })
        })
    }

    /// The one request of late that began like this and waits for the results of tools, where such
    /// results come. Nothing else tells whose they are: a call of tools has no text to compare.
    fn alone_at_work(
        &self,
        messages: &[Message],
        prefix: Digest,
        now: Instant,
    ) -> Option<(Arc<Node>, Fit)> {
        messages.last().filter(|last| last.speaker == Speaker::Tool)?;
        let alike = self.nodes.get(&prefix)?;
        let late = |node: &&Arc<Node>| now.saturating_duration_since(node.at) <= SOON;
        let mut waiting = alike.iter().filter(late).filter(|node| node.is_waiting());
        let alone = waiting.next().filter(|_| waiting.next().is_none())?;
        Some((Arc::clone(alone), Fit::Open))
    }

    /// By all messages, the last one included: another reply to them is wanted. Where their
    /// beginning is not `known`, a reply among them may be the application's own.
    fn repeated(
        &self,
        messages: &[Message],
        trail: &Trail,
        known: bool,
        now: Instant,
    ) -> Option<Found> {
        let whole = trail.prefixes.last()?;
        let alike = self.nodes.get(whole)?;
        let node = alike.iter().rev().find(|node| self.is_open(node, now))?;
        // Whoever has gone on from the reply was content with it: the same words are another's. And
        // nobody reads an agent's first reply and wants another: a second one has the same task.
        let again = !trail.offers_tools
            && trail.asked.1 >= REPEATED_BYTES
            && now.saturating_duration_since(node.at) <= SOON
            && node.is_waiting();
        (known || again).then(|| Found {
            node: Arc::clone(node),
            fit: Fit::SameReply,
            known: messages.len(),
            whole: false,
            repeats: true,
        })
    }

    /// By an exchange near the end: the client has dropped or summarised what was before.
    fn by_exchange(&self, trail: &Trail, now: Instant) -> Option<Found> {
        trail.exchanges.iter().find_map(|exchange| {
            let asked = exchange.asked.and_then(|asked| self.best(asked, exchange.reply, now));
            let asked = asked.filter(|(_, fit)| !fit.is_other());
            // Whoever sent an exchange before goes on from it, whatever was replied then.
            let both = || self.best(exchange.both?, Opening::NONE, now);
            let (node, fit) = asked.or_else(both)?;
            Some(Found { node, fit, known: exchange.end, whole: false, repeats: false })
        })
    }

    /// The node under `digest` that fits best; of equals, the latest.
    fn best(&self, digest: Digest, reply: Opening, now: Instant) -> Option<(Arc<Node>, Fit)> {
        let alike = self.nodes.get(&digest)?;
        let open = alike.iter().filter(|node| self.is_open(node, now));
        let (fit, node) = open.map(|node| (node.fit(reply), node)).max_by_key(|(fit, _)| *fit)?;
        Some((Arc::clone(node), fit))
    }

    fn is_open(&self, node: &Node, now: Instant) -> bool {
        now.saturating_duration_since(node.at) <= self.idle_max
    }

    fn remember(&self, digest: Digest, node: &Arc<Node>, now: Instant) {
        self.nodes.entry(digest).and_compute_with(|known| {
            let mut alike = known.map(moka::Entry::into_value).unwrap_or_default();
            alike.retain(|node| self.is_open(node, now));
            if alike.len() >= ALIKE_MAX {
                alike.remove(0);
            }
            alike.push(Arc::clone(node));
            Op::Put(alike)
        });
    }
}

impl Placed {
    /// How many of a request's `input_total` tokens its conversation has sent or received before;
    /// absent in its first request, and where nothing tells. An estimate, but for a regenerated
    /// turn: all of that was sent before.
    ///
    /// Where all of the turn before is sent again, what the provider counted of it, input and
    /// reply; else the share that the known messages have in the bytes of all.
    #[must_use]
    pub fn resent_tokens(&self, input_total: TokenCount) -> Option<TokenCount> {
        let Place { turn, bytes, .. } = &self.place;
        match turn.kind {
            TurnKind::New => return None,
            TurnKind::Regenerate => return Some(input_total),
            TurnKind::Continue | TurnKind::ToolLoop | TurnKind::Branch => {}
        }
        let Resent { bytes: resent_bytes, tokens } = self.node.resent;
        tokens.map(|tokens| tokens.min(input_total)).or_else(|| {
            let share = u128::from(input_total).checked_mul(u128::from(resent_bytes?))?;
            u64::try_from(share.checked_div(u128::from(*bytes))?).ok()
        })
    }
}

impl Trail {
    fn of(key: &Key, conversation: &Conversation) -> Self {
        let Conversation { messages, offers_tools, .. } = conversation;
        let mut prefixes = Vec::with_capacity(messages.len());
        let mut bytes = Vec::with_capacity(messages.len());
        let (mut chain, mut sum) = (key.hasher(), 0_u64);
        for message in messages {
            chain.add(message.digest);
            sum = sum.saturating_add(message.bytes);
            prefixes.push(Digest::of(&chain));
            bytes.push(sum);
        }
        let asked = asked_before(key, messages, messages.len());
        let offers_tools = *offers_tools;
        Self { prefixes, bytes, exchanges: exchanges(key, messages), asked, offers_tools }
    }
}

/// What was asked last before the message `end`, and its bytes: the messages back to a reply.
fn asked_before(key: &Key, messages: &[Message], end: usize) -> (Digest, u64) {
    let before = messages.get(..end).unwrap_or_default();
    let asked = before.iter().rev().take_while(|message| message.speaker != Speaker::Model);
    asked.fold((Digest::START, 0), |(digest, bytes), message| {
        (key.link([message.digest, digest]), bytes.saturating_add(message.bytes))
    })
}

/// The digest of a stored response's id.
fn response(key: &Key, id: &str) -> Digest {
    let mut hasher = key.hasher();
    leaf(&mut hasher, id.as_bytes());
    Digest::of(&hasher)
}

/// The digest of what was asked and how the reply opened.
fn exchange(key: &Key, asked: Digest, reply: Opening) -> Digest {
    key.link([asked, reply.digest()])
}

fn exchanges(key: &Key, messages: &[Message]) -> Vec<Exchange> {
    let replies = messages.iter().enumerate().rev();
    let replies = replies.filter(|(_, message)| message.speaker == Speaker::Model);
    let found = |(at, reply): (usize, &Message)| {
        let (asked, bytes) = asked_before(key, messages, at);
        let both = exchange(key, asked, reply.opening);
        Exchange {
            asked: (bytes >= DISTINCT_BYTES).then_some(asked),
            both: (bytes.saturating_add(reply.bytes) >= DISTINCT_EXCHANGE_BYTES).then_some(both),
            reply: reply.opening,
            end: at.saturating_add(1),
        }
    };
    replies.take(EXCHANGES).map(found).collect()
}
