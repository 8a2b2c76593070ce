//! What a disk holds after a crash.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use super::MemFs;

/// What a crash does to writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are lost: power loss with a lazy disk.
    Everything,
    /// None is lost: the process was killed, the machine was not.
    Nothing,
    /// Any part of any of them is lost, chosen by `seed`: power loss with a busy disk.
    Torn {
        /// The same seed gives the same loss.
        seed: u64,
    },
}

/// One change, in the order of their happening.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Create {
        file: u64,
        path: PathBuf,
        bytes: usize,
    },
    Write {
        file: u64,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Sync {
        file: u64,
    },
    /// The kernel gave up on the file's unsynced writes.
    SyncFailed {
        file: u64,
    },
    Rename {
        file: u64,
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncDirectory,
}

#[derive(Debug, Clone, Default)]
struct FileState {
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Size(usize),
    Write { offset: usize, bytes: Arc<[u8]> },
}

#[derive(Debug, Clone)]
enum NameChange {
    Link { path: PathBuf, file: u64 },
    Move { file: u64, from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
}

/// Walks through the operations of a [`MemFs`] and crashes it behind any of them.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    operations: std::vec::IntoIter<Operation>,
    done: usize,
    files: HashMap<u64, FileState>,
    names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
}

impl Replay {
    pub(crate) fn new(base: &BTreeMap<PathBuf, Vec<u8>>, operations: Vec<Operation>) -> Self {
        let mut replay = Self { operations: operations.into_iter(), ..Self::default() };
        // The first files have the first numbers, as in the file system itself.
        for ((path, content), file) in base.iter().zip(0..) {
            replay.names.insert(path.clone(), file);
            let state = FileState { durable: content.clone(), pending: Vec::new() };
            replay.files.insert(file, state);
        }
        replay
    }

    /// How many operations are done.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done
    }

    /// Does the next operation; whether there was one.
    pub fn advance(&mut self) -> bool {
        let Some(operation) = self.operations.next() else { return false };
        self.done = self.done.saturating_add(1);
        match operation {
            Operation::Create { file, path, bytes } => {
                self.files.entry(file).or_default().pending.push(Pending::Size(bytes));
                self.pending_names.push(NameChange::Link { path, file });
            }
            Operation::Write { file, offset, bytes } => {
                let pending = Pending::Write { offset, bytes };
                self.files.entry(file).or_default().pending.push(pending);
            }
            Operation::Sync { file } => {
                let state = self.files.entry(file).or_default();
                for pending in std::mem::take(&mut state.pending) {
                    pending.apply(&mut state.durable);
                }
            }
            Operation::SyncFailed { file } => {
                self.files.entry(file).or_default().pending.clear();
            }
            Operation::Rename { file, from, to } => {
                self.pending_names.push(NameChange::Move { file, from, to });
            }
            Operation::Remove { path } => self.pending_names.push(NameChange::Unlink { path }),
            Operation::SyncDirectory => {
                for change in std::mem::take(&mut self.pending_names) {
                    change.apply(&mut self.names);
                }
            }
        }
        true
    }

    /// The disk as it may be after a crash here.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> MemFs {
        let mut dice = match loss {
            Loss::Torn { seed } => Dice(seed),
            Loss::Everything | Loss::Nothing => Dice(0),
        };
        let mut names = self.names.clone();
        for change in &self.pending_names {
            let kept = match loss {
                Loss::Everything => false,
                Loss::Nothing => true,
                Loss::Torn { .. } => dice.coin(),
            };
            if kept {
                change.clone().apply(&mut names);
            }
        }
        let mut base = BTreeMap::new();
        for (path, file) in names {
            let Some(state) = self.files.get(&file) else { continue };
            let mut content = state.durable.clone();
            for pending in &state.pending {
                match loss {
                    Loss::Everything => {}
                    Loss::Nothing => pending.clone().apply(&mut content),
                    Loss::Torn { .. } => pending.tear(&mut content, &mut dice),
                }
            }
            base.insert(path, content);
        }
        MemFs::with_files(base)
    }
}

impl Pending {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Size(bytes) => content.resize(bytes, 0),
            Self::Write { offset, bytes } => put(content, offset, &bytes),
        }
    }

    /// Keeps any part: from whole sectors down to single bytes.
    fn tear(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Size(bytes) => content.resize(dice.below(bytes.saturating_add(1)), 0),
            Self::Write { offset, bytes } => {
                let grain = [1, 16, 64, 512, 4096].into_iter().nth(dice.below(5)).unwrap_or(512);
                // Sectors are aligned in the file, not in the write.
                let head = grain - offset % grain;
                let (head, rest) = bytes.split_at_checked(head).unwrap_or((bytes, &[]));
                let mut at = *offset;
                for piece in std::iter::once(head).chain(rest.chunks(grain)) {
                    if dice.coin() {
                        put(content, at, piece);
                    }
                    at = at.saturating_add(piece.len());
                }
            }
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link { path, file } => {
                names.insert(path, file);
            }
            Self::Move { file, from, to } => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Unlink { path } => {
                names.remove(&path);
            }
        }
    }
}

/// Writes `bytes` at `offset`, growing the content as a file grows.
pub(crate) fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

/// Repeatable chance (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap_or(0) % bound.max(1)
    }
}
