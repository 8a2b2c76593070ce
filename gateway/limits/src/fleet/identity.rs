//! Which Redis it is that answers, and whether one that had lost its data is to be told again what
//! the ledger does not have.

use crate::threads::Mutex;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Changes when Redis loses what it holds; absent until it first answered.
    epoch: Option<String>,
    has_lost: bool,
}

impl Identity {
    /// It has answered as the one of `epoch`. With `is_suspect` the first that answers is taken for
    /// one that has lost its data.
    pub(crate) fn answered(&self, epoch: &str, is_suspect: bool) {
        let mut known = self.known.lock();
        let is_other = known.epoch.as_deref().map_or(is_suspect, |known| known != epoch);
        if is_other {
            known.has_lost = true;
        }
        known.epoch = Some(epoch.to_owned());
    }

    /// Whether it lacks what it had.
    pub(crate) fn has_lost(&self) -> bool {
        self.known.lock().has_lost
    }

    /// The one of `epoch` is told again; another that has answered meanwhile is not.
    pub(crate) fn told_again(&self, epoch: &str) {
        let mut known = self.known.lock();
        if known.epoch.as_deref() == Some(epoch) {
            known.has_lost = false;
        }
    }
}
