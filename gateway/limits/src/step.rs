//! What a step asks of a customer's books and what it answers. One step covers every limit that a
//! request meets, of all levels, and happens whole or not at all.

use std::sync::Arc;

use permille_types::SpendAccount;

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
    /// It holds.
    Granted {
        /// How far each line's counter is used now.
        uses: Vec<Use>,
        /// Lines whose counters whoever asked is to load again; nobody else is told for a while.
        stale: Vec<usize>,
    },
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

/// What became of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// The counters are as new as the ledger's answer, or newer.
    Now,
    /// The ledger's answer is so old that what it lacks is not listed any more; nothing was loaded.
    Outdated,
    /// The ledger lacks too much for one step; nothing was loaded.
    Behind,
}

/// What a counter of money starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Which counter.
    pub counter: Arc<str>,
    /// What was spent.
    pub spent: u64,
}

/// A full minute of one request or token: levels are kept in thousandths of 1/60, so that they leak
/// by whole numbers each millisecond.
pub(crate) const SCALE: u64 = 60_000;
/// For so long a settled request is remembered, so that nothing is held for it again: two leases.
/// What it cost is in the log until the ledger has it.
pub(crate) const SETTLED_MS: u64 = 2 * 60 * 1_000;
/// Overdue leases and idle counters that one step clears away: it stays below a millisecond.
pub(crate) const SWEEP_MAX: usize = 64;
/// A counter in use is loaded again so often: what a gateway that was killed had handed to billing
/// and not told is in it then.
pub(crate) const REFRESH_MS: u64 = 60 * 1_000;
/// When somebody else is asked to load it, where whoever was asked did not.
pub(crate) const REFRESH_AGAIN_MS: u64 = 5 * 1_000;
/// A settlement is told within this time after the ledger has it, or is missing until the counter
/// is loaded again.
pub(crate) const LATE_MS: u64 = 10 * 1_000;
/// After so many settlements of a customer its counters are loaded again and the log is trimmed.
pub(crate) const LOG_MAX: u64 = 4_096;
/// Settlements of a customer that the ledger lacks, above which no counter is loaded: adding them
/// up takes some 20 ms inside Redis, and they get fewer as soon as billing is back.
pub(crate) const BEHIND_MAX: usize = 20_000;

/// A counter that nobody used for so long is forgotten: money after ten leases, for the ledger has
/// it; an overage of tokens leaks away for longer.
pub(crate) fn idle_ms(kind: Kind) -> u64 {
    const MINUTE: u64 = 60 * 1_000;
    match kind {
        Kind::Money => 10 * MINUTE,
        _ => 25 * 60 * MINUTE,
    }
}
