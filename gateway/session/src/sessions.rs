//! Where requests find the one that they go on from.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use permille_types::{SessionId, TokenCount, TurnKind};
use smallvec::SmallVec;

use crate::{
    digest::{Digest, Key},
    message::{Conversation, Opening, Speaker},
    node::{Fit, NamedTurn, Node, Place, Resent, Turn},
    places::Places,
    read::read,
    shared::Shared,
    trail::{Answer, Asker, Beginning, Exchange, Search},
};

/// Requests remembered under one digest, the latest. Strangers who begin alike share a digest
/// until their replies differ; of more than so many, the oldest are taken for new.
pub(crate) const ALIKE_MAX: usize = 16;
/// What "soon" is: longer than a reply takes and shorter than a morning.
pub(crate) const SOON: Duration = Duration::from_mins(10);

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
    places: Places,
}

/// A request that has its place. [`Sessions::replied`] tells what its reply was.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its place.
    pub place: Place,
    /// In a named conversation, the number of the request that it repeats; absent where it repeats
    /// none, or none whose number is known.
    pub again: Option<u32>,
    pub(crate) node: Arc<Node>,
    pub(crate) asker: Asker,
    /// What it is found by again.
    pub(crate) found_by: SmallVec<[Digest; 2]>,
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

/// The turn before, as far as it was found.
struct Found {
    node: Arc<Node>,
    fit: Fit,
    /// How many messages are known from it.
    known: usize,
    /// How many replies the client sends that came later.
    behind: usize,
    /// How many of these are of turns that nothing tells from what others say.
    untold: u32,
    /// Whether all that it sent and received is sent again, or lies with the provider.
    whole: bool,
    /// Whether there is nothing new.
    repeats: bool,
}

/// What was found of a request's conversation.
pub(crate) struct Origin {
    pub(crate) session: SessionId,
    pub(crate) turn: Turn,
    /// How many messages were said before.
    pub(crate) known: usize,
    pub(crate) resent: Resent,
    /// The number of the request that it repeats, in a named conversation.
    pub(crate) again: Option<u32>,
}

impl Conversation {
    /// What `body`, of whichever family, says of its conversation. One that cannot be read says
    /// nothing. Only what was read with the same `key` can be compared.
    #[must_use]
    pub fn read(key: &Key, body: &[u8]) -> Self {
        read(key, body)
    }
}

impl Sessions {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { places: Places::new(bounds) }
    }

    /// Finds the place of a request that arrives `now`, and remembers it. `fresh` is the name of
    /// the conversation should it be a new one; `shared` what all gateways together know, which
    /// goes before what this one does.
    #[must_use]
    pub fn place(
        &self,
        search: &Search<'_>,
        fresh: SessionId,
        shared: Option<Shared>,
        now: Instant,
    ) -> Placed {
        let found = self.turn_before(search, now);
        // Where the others know nothing of what this one remembers, they have lost it.
        let lost = |shared: &Shared| found.as_ref().is_some_and(|found| shared.lost(found.node.at));
        let shared = shared.filter(|shared| shared.is_found || !lost(shared));
        let origin = match (shared, found) {
            (Some(shared), found) => {
                if let Some(found) = found.filter(|found| !found.repeats) {
                    found.node.take();
                }
                shared.origin(search)
            }
            (None, Some(found)) => found.origin(search),
            (None, None) => Origin::fresh(fresh),
        };
        let Origin { session, turn, known, resent, again } = origin;
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
            named: NamedTurn::of(again),
        });
        let found_by = search.found_by(known);
        for digest in &found_by {
            self.remember(*digest, &node, now);
        }
        let place = Place { session, turn, resent_bytes: resent.bytes, bytes: search.bytes() };
        Placed { place, again, node, asker: search.asker(known), found_by }
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
        self.answered(
            placed,
            replied.stored_as,
            replied.tokens,
            placed.asker.answer(replied.text).as_ref(),
            now,
        );
    }

    pub(crate) fn answered(
        &self,
        placed: &Placed,
        stored_as: Option<&str>,
        tokens: Option<TokenCount>,
        answer: Option<&Answer>,
        now: Instant,
    ) {
        let Placed { node, asker, .. } = placed;
        if let Some(tokens) = tokens {
            // A request has one reply; of two that are told, the first stands.
            node.tokens.get_or_init(|| tokens);
        }
        if let Some(id) = stored_as {
            self.remember(asker.response(id), node, now);
        }
        let Some(Answer { opening, exchanges }) = answer else { return };
        if node.reply.set(*opening).is_ok() {
            for exchange in exchanges {
                self.remember(*exchange, node, now);
            }
        }
    }

    /// The turn that the request goes on from, or repeats.
    fn turn_before(&self, search: &Search<'_>, now: Instant) -> Option<Found> {
        if let Some(found) = search.response.and_then(|id| self.by_response(id, now)) {
            return Some(found);
        }
        let before = self.by_beginning(search, now);
        let goes_on = |found: &Found| matches!(found.fit, Fit::SameReply | Fit::Open);
        let is_whole = |found: &Found| found.behind == 0;
        if before.as_ref().is_some_and(|found| goes_on(found) && is_whole(found)) {
            return before;
        }
        if let Some(repeated) = self.repeated(search, before.is_some(), now) {
            return Some(repeated);
        }
        if before.as_ref().is_some_and(is_whole) {
            return before;
        }
        // A client that keeps how it began and drops what came then goes on from the end.
        let behind = before.as_ref().map_or(usize::MAX, |before| before.behind);
        self.by_exchange(search, now).filter(|near| near.behind < behind).or(before)
    }

    /// By the stored response that the client names. Its messages are not sent again.
    fn by_response(&self, id: Digest, now: Instant) -> Option<Found> {
        let (node, fit) = self.best(id, Opening::NONE, now)?;
        Some(Found { node, fit, known: 0, behind: 0, untold: 0, whole: true, repeats: false })
    }

    /// By all messages up to a reply: nothing but what is new differs.
    fn by_beginning(&self, search: &Search<'_>, now: Instant) -> Option<Found> {
        search.beginnings().find_map(|beginning| {
            let Beginning { prefix, reply, is_distinct, at, behind } = beginning;
            let best = self.best(prefix, reply, now);
            let found = best.filter(|(_, fit)| is_distinct || fit.is_same());
            let found = found.or_else(|| self.alone_at_work(search, prefix, now));
            let known = || search.known(at);
            found.map(|(node, fit)| Found {
                node,
                fit,
                known: known(),
                behind,
                untold: 0,
                whole: true,
                repeats: false,
            })
        })
    }

    /// The one request of late that began like this and waits for the results of tools, where such
    /// results come. Nothing else tells whose they are: a call of tools has no text to compare.
    fn alone_at_work(
        &self,
        search: &Search<'_>,
        prefix: Digest,
        now: Instant,
    ) -> Option<(Arc<Node>, Fit)> {
        search.last().filter(|last| *last == Speaker::Tool)?;
        let late = |node: &&Arc<Node>| now.saturating_duration_since(node.at) <= SOON;
        self.places.look(&prefix, now, |alike| {
            let mut waiting = alike.filter(late).filter(|node| node.is_waiting());
            let alone = waiting.next().filter(|_| waiting.next().is_none())?;
            Some((Arc::clone(alone), Fit::Open))
        })
    }

    /// By all messages, the last one included: another reply to them is wanted. Where their
    /// beginning is not `known`, a reply among them may be the application's own.
    fn repeated(&self, search: &Search<'_>, known: bool, now: Instant) -> Option<Found> {
        let node = self.places.look(&search.whole()?, now, |alike| alike.next_back().cloned())?;
        // Whoever has gone on from the reply was content with it: the same words are another's.
        let may_repeat = || search.may_repeat() || (node.is_failed() && search.may_retry());
        let again =
            may_repeat() && now.saturating_duration_since(node.at) <= SOON && node.is_waiting();
        (known || again).then(|| Found {
            node,
            fit: Fit::SameReply,
            known: search.len(),
            behind: 0,
            untold: 0,
            whole: false,
            repeats: true,
        })
    }

    /// By an exchange near the end: the client has dropped or summarised what was before.
    fn by_exchange(&self, search: &Search<'_>, now: Instant) -> Option<Found> {
        let mut untold = 0_u32;
        for (behind, exchange) in search.exchanges().enumerate() {
            let Exchange { asked, both, after, reply, end, .. } = *exchange;
            let asks = asked.and_then(|asked| self.best(asked, reply, now));
            let asks = asks.filter(|(_, fit)| !fit.is_other());
            // Whoever sent an exchange before goes on from it, whatever was replied then: the turn
            // behind it, of which there is one less to tell then.
            let sent = || {
                let (node, fit) = [both, after]
                    .into_iter()
                    .flatten()
                    .find_map(|digest| self.best(digest, reply, now))?;
                let later = u32::from(!fit.is_same());
                Some((node, fit, untold.saturating_sub(later)))
            };
            let found = asks.map(|(node, fit)| (node, fit, untold)).or_else(sent);
            if let Some((node, fit, untold)) = found {
                let (known, whole, repeats) = (end, false, false);
                return Some(Found { node, fit, known, behind, untold, whole, repeats });
            }
            let is_told = asked.is_some() || both.is_some() || after.is_some();
            untold = untold.saturating_add(u32::from(!is_told));
        }
        None
    }

    /// The node under `digest` that fits best; of equals, the latest.
    fn best(&self, digest: Digest, reply: Opening, now: Instant) -> Option<(Arc<Node>, Fit)> {
        self.places.look(&digest, now, |alike| {
            let fitting = alike.map(|node| (node.fit(reply), node));
            let (fit, node) = fitting.max_by_key(|(fit, _)| *fit)?;
            Some((Arc::clone(node), fit))
        })
    }

    fn remember(&self, digest: Digest, node: &Arc<Node>, now: Instant) {
        self.places.remember(digest, node, ALIKE_MAX, now);
    }
}

impl Found {
    /// Takes the next turn.
    fn origin(&self, search: &Search<'_>) -> Origin {
        let Self { node, known, untold, whole, repeats, .. } = self;
        let tokens = node.tokens.get().copied().filter(|_| *whole);
        let resent = Resent { bytes: search.bytes_of(*known), tokens };
        let (turn, resent) = if *repeats && node.is_failed() {
            (Turn { number: node.turn, kind: node.kind }, node.resent)
        } else if *repeats {
            (Turn { number: node.turn, kind: TurnKind::Regenerate }, resent)
        } else {
            // Who goes on from a later turn has not taken the place behind this one.
            let goes_on = *untold > 0 || node.take();
            let kind = match (goes_on, search.last()) {
                (false, _) => TurnKind::Branch,
                (true, Some(Speaker::Tool)) => TurnKind::ToolLoop,
                (true, _) => TurnKind::Continue,
            };
            let number = node.turn.saturating_add(1).saturating_add(*untold);
            (Turn { number, kind }, resent)
        };
        let again = if *repeats { node.named.share() } else { None };
        Origin { session: node.session.clone(), turn, known: *known, resent, again }
    }
}

impl Origin {
    fn fresh(session: SessionId) -> Self {
        let turn = Turn { number: 1, kind: TurnKind::New };
        Self { session, turn, known: 0, resent: Resent::default(), again: None }
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
