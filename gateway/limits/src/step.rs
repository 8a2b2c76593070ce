//! What a step asks of a customer's books and what it answers. One step covers every limit that a
//! request meets, of all levels, and happens whole or not at all.

use std::sync::Arc;

use permille_types::{NodeId, SpendAccount};

/// How a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests per minute: what is used leaks away at the rate of the limit.
    Requests,
    /// Tokens per minute: the same, and what open requests may still use is held.
    Tokens,
    /// Open requests.
    Open,
    /// Money of a period, in 10⁻⁹ of the currency unit: spent and held.
    Money,
}

/// One limit that a request meets.
#[derive(Debug, Clone)]
pub struct Line {
    /// How it counts.
    pub kind: Kind,
    /// The counter in the customer's books. The limit is no part of its name, so that a changed
    /// limit keeps what was used.
    pub counter: Arc<str>,
    /// How much there may be.
    pub limit: u64,
    /// How much the request takes of it: the worst case, until it settles.
    pub take: u64,
    /// Where the ledger knows what was spent; only of money.
    pub account: Option<Arc<SpendAccount>>,
    /// Whether nothing can have been spent before this request: then the ledger is not asked.
    pub fresh: bool,
}

/// How far a counter is used, in the unit of its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Used for good.
    pub used: u64,
    /// Held by open requests.
    pub held: u64,
}

impl Use {
    /// Both together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.used.saturating_add(self.held)
    }
}

/// A limit that leaves no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Which line of the step, from 0.
    pub line: usize,
    /// How far its counter is used, without this step.
    pub is: Use,
    /// Milliseconds after which there is room if nobody else takes it; absent where time alone
    /// makes none.
    pub wait_ms: Option<u64>,
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It holds; how far each line's counter is used now.
    Granted(Vec<Use>),
    /// Nothing was taken.
    Blocked(Blocked),
    /// Nothing was taken: these lines' counters have to be loaded first.
    Unknown(Vec<usize>),
}

/// What became of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// It holds.
    Granted,
    /// Nothing was taken on top.
    Blocked(Blocked),
    /// The reservation is not there any more.
    Gone,
}

/// What a settled request adds to a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// [`Kind::Tokens`] or [`Kind::Money`].
    pub kind: Kind,
    /// Which counter.
    pub counter: Arc<str>,
    /// The limit, for the rate at which tokens leak away.
    pub limit: u64,
    /// How much.
    pub amount: u64,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It is in the books now.
    Now,
    /// It was before.
    Before,
}

/// What a counter of money starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Which counter.
    pub counter: Arc<str>,
    /// What was spent.
    pub spent: u64,
    /// Whose events are in it, and up to which: those are not added again.
    pub seen: Vec<(NodeId, u64)>,
}

/// A full minute of one request or token: levels are kept in thousandths of 1/60, so that they leak
/// by whole numbers each millisecond.
pub(crate) const SCALE: u64 = 60_000;
/// A counter that nobody used for so long is forgotten: money is loaded again from the ledger,
/// which has it all by then.
pub(crate) const IDLE_MS: u64 = 25 * 60 * 60 * 1_000;
/// For so long a settlement that is told again is recognised.
pub(crate) const SETTLED_MS: u64 = 60 * 60 * 1_000;
/// Overdue leases and idle counters that one step clears away: it stays below a millisecond.
pub(crate) const SWEEP_MAX: usize = 64;
