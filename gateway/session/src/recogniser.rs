//! Recognises conversations: by what this gateway remembers, and by what all gateways share.

use std::time::Instant;

use permille_types::{RequestId, SessionId};
use tokio_util::sync::CancellationToken;

use crate::{
    sessions::{Bounds, Placed, Replied, Sessions},
    shared::{Counter, Heads, Health, Note, Shared, SharedError, Sharing, Told},
    trail::Search,
};

/// The conversations of one gateway, or of several.
///
/// What Redis is told is also remembered here: while it is away, and where it has lost its data, a
/// conversation goes on that had its last turn at this gateway.
pub struct Recogniser {
    sessions: Sessions,
    heads: Option<Heads>,
}

/// What all gateways together know of the next turn of a named conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// Its number.
    Is(u32),
    /// Nobody remembers the last one.
    Unknown,
}

impl Recogniser {
    /// One gateway by itself.
    #[must_use]
    pub fn alone(bounds: Bounds) -> Self {
        Self { sessions: Sessions::new(bounds), heads: None }
    }

    /// One of several gateways. [`Self::connect`] connects it.
    ///
    /// # Errors
    /// [`SharedError::Url`] when the URL cannot be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn sharing(bounds: Bounds, sharing: &Sharing) -> Result<Self, SharedError> {
        let heads = Some(Heads::open(sharing, bounds.idle_max)?);
        Ok(Self { sessions: Sessions::new(bounds), heads })
    }

    /// How sharing fares; absent where nothing is shared.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.heads.as_ref().map(Heads::health)
    }

    /// Finds the place of the request `id`, and of a named conversation the next turn, in one round
    /// trip at most. `fresh` is the name of the conversation should it be a new one. A request
    /// without messages has no place. The turn is absent where other gateways could not be asked.
    pub async fn place(
        &self,
        id: RequestId,
        search: &Search<'_>,
        fresh: SessionId,
        counter: Option<&Counter>,
    ) -> (Option<Placed>, Option<NextTurn>) {
        let must_ask = counter.is_some() || may_go_on(search);
        let asked = match &self.heads {
            Some(heads) if must_ask => heads.place(id, search, &fresh, counter).await,
            _ => None,
        };
        let (shared, turn) = match asked {
            Some((shared, turn)) => (shared, Some(turn.map_or(NextTurn::Unknown, NextTurn::Is))),
            None => (None, None),
        };
        let placed = self.place_here(id, search, fresh, shared, must_ask);
        (placed, turn.filter(|_| counter.is_some()))
    }

    /// As [`Self::place`], of the request `id` whose client does not name its conversation; absent
    /// where other gateways must be asked.
    pub fn place_at_once(&self, id: RequestId, search: &Search<'_>) -> Option<Option<Placed>> {
        let must_ask = self.heads.is_some() && may_go_on(search);
        (!must_ask).then(|| self.place_here(id, search, id.into(), None, false))
    }

    /// Places a request among those that this gateway knows, and what was `shared` of others. They
    /// are told where they were not asked.
    fn place_here(
        &self,
        id: RequestId,
        search: &Search<'_>,
        fresh: SessionId,
        shared: Option<Shared>,
        is_asked: bool,
    ) -> Option<Placed> {
        if search.len() == 0 {
            return None;
        }
        let placed = self.sessions.place(search, fresh, shared, Instant::now());
        if let Some(heads) = self.heads.as_ref().filter(|_| !is_asked) {
            heads.tell(Note::Turn { id, told: Box::new(Told::of(&placed)) });
        }
        Some(placed)
    }

    /// The next turn of a named conversation whose last one is `base`; absent where other gateways
    /// could not be asked. Where billing did not say so, that is not `sure`, and is asked for again
    /// soon. It is that of the request `id`.
    pub async fn count(
        &self,
        id: RequestId,
        counter: &Counter,
        base: u32,
        sure: bool,
    ) -> Option<u32> {
        self.heads.as_ref()?.count(id, counter, base, sure).await
    }

    /// Takes note of the turn that a request of a named conversation was given: sent again, it has
    /// the same.
    pub fn given(&self, placed: &Placed, turn: u32) {
        placed.node.named.give(turn);
    }

    /// Takes note that a turn of a named conversation was given without the other gateways.
    pub fn raise(&self, counter: Counter, turn: u32) {
        if let Some(heads) = &self.heads {
            heads.tell(Note::Raise { counter, turn });
        }
    }

    /// Takes note that a turn of a named conversation, that of the request `id`, was not made: the
    /// next request has it. Whether that is so: false where a request that repeats it has it.
    pub fn back(
        &self,
        id: RequestId,
        placed: Option<&Placed>,
        counter: Counter,
        turn: u32,
    ) -> bool {
        let is_free = placed.is_none_or(|placed| placed.node.named.take_back());
        // A number that a repeat has stays with it, whether Redis knows of that repeat or not.
        if let Some(heads) = self.heads.as_ref().filter(|_| is_free) {
            heads.tell(Note::Back { id, counter, turn });
        }
        is_free
    }

    /// Takes note that a request was given no reply: sent again, it is not another turn made anew
    /// but the same one, tried again.
    pub fn failed(&self, id: RequestId, placed: &Placed) {
        self.sessions.failed(placed);
        if let Some(heads) = &self.heads {
            let told = Told::of(placed).failed(placed.node.resent);
            heads.tell(Note::Turn { id, told: Box::new(told) });
        }
    }

    /// See [`Sessions::replied`].
    pub fn replied(&self, id: RequestId, placed: &Placed, replied: Replied<'_>) {
        let Replied { text, stored_as, tokens } = replied;
        let answer = placed.asker.answer(text);
        if let Some(heads) = &self.heads {
            let told = Told::of(placed).replied(placed, stored_as, tokens, answer.as_ref());
            heads.tell(Note::Turn { id, told: Box::new(told) });
        }
        self.sessions.answered(placed, stored_as, tokens, answer.as_ref(), Instant::now());
    }

    /// Connects to what is shared, where it is there; else [`Self::tend`] does once it is.
    pub async fn connect(&self) {
        if let Some(heads) = &self.heads {
            heads.connect().await;
        }
    }

    /// Looks after what is shared until `stop`; on return everything is told, within a bound.
    pub async fn tend(&self, stop: CancellationToken) {
        if let Some(heads) = &self.heads {
            heads.tend(stop).await;
        }
    }
}

/// Whether a request may go on from one that another gateway has had.
fn may_go_on(search: &Search<'_>) -> bool {
    search.len() > 0 && !search.is_first()
}
