//! Who counts, and what is open: what the threads of a gateway share of the shared books.
//!
//! Who counts changes under the lock of what is open, so that whoever counts next knows of each
//! request that is. What is told to Redis, and when, is not its matter.

use std::{collections::HashMap, sync::Arc};

use permille_types::{CustomerId, RequestId};

use crate::{
    local::LocalBooks,
    step::Line,
    threads::{AtomicU8, Mutex, Ordering},
};

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Redis.
    Shared = 0,
    /// Nobody, or this gateway its own share: Redis is away.
    Away = 1,
    /// As while it is away, though Redis is told of it: others may not have told all yet.
    Returning = 2,
}

/// An open request, so that its reservation can be renewed or made again.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) customer: CustomerId,
    pub(crate) lines: Arc<[Line]>,
}

/// Who has granted a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Redis.
    Redis,
    /// This gateway, of its own share.
    OwnShare,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Standing {
    state: AtomicU8,
    /// This gateway's share of every limit while Redis is away; absent where nothing is served
    /// then.
    spare: Option<LocalBooks>,
    open: Mutex<HashMap<RequestId, Open>>,
}

impl Standing {
    /// Redis counts; while it does not, one of so many gateways serves its share.
    pub(crate) fn new(gateways: Option<u32>) -> Self {
        Self {
            state: AtomicU8::new(State::Shared as u8),
            spare: gateways.map(LocalBooks::new),
            open: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Shared,
            1 => State::Away,
            _ => State::Returning,
        }
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Whether this gateway serves a share of its own while Redis is away.
    pub(crate) fn serves(&self) -> bool {
        self.spare.is_some()
    }

    /// The books of this gateway's own share, while they count.
    pub(crate) fn own(&self) -> Option<&LocalBooks> {
        self.spare.as_ref().filter(|_| self.state() != State::Shared)
    }

    /// Redis is away. Who has counted until now: only one caller is told that Redis did.
    pub(crate) fn go_away(&self) -> State {
        let open = self.open.lock();
        let was = self.state();
        if let Some(spare) = self.spare.as_ref().filter(|_| was == State::Shared) {
            // What a load that came too late put there is of the last outage.
            spare.clear();
            for (id, open) in open.iter() {
                spare.hold(&open.customer, *id, &open.lines);
            }
        }
        // Last: whoever finds the share counting finds in it what was open.
        self.set(State::Away);
        was
    }

    /// Redis is told of everything from now on. What was open before this is still to be told.
    pub(crate) fn begin_return(&self) {
        let _open = self.open.lock();
        self.set(State::Returning);
    }

    /// Redis counts again; false where it was found away meanwhile.
    pub(crate) fn end_return(&self) -> bool {
        let _open = self.open.lock();
        if self.state() != State::Returning {
            return false;
        }
        if let Some(spare) = &self.spare {
            // What was served meanwhile is told; the next outage starts from the ledger.
            spare.clear();
        }
        self.set(State::Shared);
        true
    }

    /// A reservation was granted. Whether Redis is to be told of it now: who comes back tells it
    /// all that is open.
    pub(crate) fn opened(&self, id: RequestId, open: Open, by: By) -> bool {
        let mut all = self.open.lock();
        let state = self.state();
        // What it holds already it holds once.
        if let Some(own) = self.own() {
            own.hold(&open.customer, id, &open.lines);
        }
        all.insert(id, open);
        by == By::OwnShare && state != State::Away
    }

    /// More of a reservation was granted.
    pub(crate) fn extended(&self, id: RequestId, more: &[Line]) {
        if let Some(open) = self.open.lock().get_mut(&id) {
            open.lines = open.lines.iter().chain(more).cloned().collect();
        }
    }

    /// A request is not open any more. The books of this gateway's own share, while they count:
    /// they may hold it. Whoever has held it there under the lock has also said that they count.
    pub(crate) fn ended(&self, id: RequestId) -> Option<&LocalBooks> {
        let mut open = self.open.lock();
        open.remove(&id);
        self.own()
    }

    /// An open request.
    pub(crate) fn open(&self, id: RequestId) -> Option<Open> {
        self.open.lock().get(&id).cloned()
    }

    /// All that are open, by customer.
    pub(crate) fn all_open(&self) -> HashMap<CustomerId, Vec<RequestId>> {
        let mut all: HashMap<CustomerId, Vec<RequestId>> = HashMap::new();
        for (id, open) in self.open.lock().iter() {
            all.entry(open.customer.clone()).or_default().push(*id);
        }
        all
    }
}
