//! The file system that a journal under test writes to.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Condvar, Mutex};

use super::disk::{Loss, Operation, Replay, put};
use crate::{JournalFile, JournalFs};

/// A file system in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemFs {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    gate: Condvar,
}

#[derive(Default)]
struct Inner {
    /// What was on disk when this file system began.
    base: BTreeMap<PathBuf, Vec<u8>>,
    names: BTreeMap<PathBuf, u64>,
    contents: HashMap<u64, Vec<u8>>,
    next_file: u64,
    log: Vec<Operation>,
    locks: BTreeSet<PathBuf>,
    writes: u64,
    syncs: u64,
    fail_write: Option<(u64, io::ErrorKind)>,
    is_full: bool,
    fail_sync: Option<(u64, io::ErrorKind)>,
    room: Option<usize>,
    ignores_syncs: bool,
    /// Syncs wait while this is above 0, and are counted meanwhile.
    gates: u32,
    waiting: u32,
}

/// Holds back every sync until it is dropped.
pub struct SyncGate {
    shared: Arc<Shared>,
}

impl SyncGate {
    /// Waits until a sync has begun and is held here.
    pub fn wait_for_sync(&self) {
        let mut inner = self.shared.inner.lock();
        while inner.waiting == 0 {
            self.shared.gate.wait(&mut inner);
        }
    }
}

impl Drop for SyncGate {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.lock();
        inner.gates = inner.gates.saturating_sub(1);
        self.shared.gate.notify_all();
    }
}

impl MemFs {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose disk holds `base`.
    pub(crate) fn with_files(base: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut inner = Inner::default();
        for ((path, content), file) in base.iter().zip(0..) {
            inner.names.insert(path.clone(), file);
            inner.contents.insert(file, content.clone());
            inner.next_file = file + 1;
        }
        inner.base = base;
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner), gate: Condvar::new() }) }
    }

    /// Every operation so far, to be walked through.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let inner = self.shared.inner.lock();
        Replay::new(&inner.base, inner.log.clone())
    }

    /// The disk as it may be after a crash now.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> Self {
        let mut replay = self.replay();
        while replay.advance() {}
        replay.crash(loss)
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.shared.inner.lock().log.len()
    }

    /// Writes so far, creations of files included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.shared.inner.lock().writes
    }

    /// Syncs so far, of files and of the folder.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.inner.lock().syncs
    }

    /// Fails the `nth` write from the beginning, counted from 1, once, halfway through.
    pub fn fail_write(&self, nth: u64, kind: io::ErrorKind) {
        self.shared.inner.lock().fail_write = Some((nth, kind));
    }

    /// Whether every write finds no room, halfway through, that to a file which is there included.
    pub fn set_full(&self, is_full: bool) {
        self.shared.inner.lock().is_full = is_full;
    }

    /// Fails the `nth` sync from the beginning, counted from 1, once. What it should have
    /// synced is never on disk, whatever is synced later.
    pub fn fail_sync(&self, nth: u64, kind: io::ErrorKind) {
        self.shared.inner.lock().fail_sync = Some((nth, kind));
    }

    /// Leaves room for files of so many bytes together; `None` for no limit.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.shared.inner.lock().room = bytes;
    }

    /// Answers every sync at once without syncing: what a broken journal, or disk, would do.
    pub fn ignore_syncs(&self) {
        self.shared.inner.lock().ignores_syncs = true;
    }

    /// Holds back every sync until the answer is dropped.
    #[must_use]
    pub fn hold_syncs(&self) -> SyncGate {
        self.shared.inner.lock().gates += 1;
        SyncGate { shared: Arc::clone(&self.shared) }
    }

    /// All files with their content.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let inner = self.shared.inner.lock();
        let content = |file| inner.contents.get(file).cloned().unwrap_or_default();
        inner.names.iter().map(|(path, file)| (path.clone(), content(file))).collect()
    }

    /// A copy in which a byte of a file is changed by `mask`, synced.
    #[must_use]
    pub fn with_flipped(&self, path: &Path, offset: usize, mask: u8) -> Self {
        let mut files = self.files();
        if let Some(byte) = files.get_mut(path).and_then(|content| content.get_mut(offset)) {
            *byte ^= mask;
        }
        Self::with_files(files)
    }

    /// A copy without a file.
    #[must_use]
    pub fn without(&self, path: &Path) -> Self {
        let mut files = self.files();
        files.remove(path);
        Self::with_files(files)
    }
}

struct MemFile {
    file: u64,
    shared: Arc<Shared>,
}

struct MemLock {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.shared.inner.lock().locks.remove(&self.path);
    }
}

impl Inner {
    /// Whether this write fails, and how.
    fn count_write(&mut self) -> Option<io::Error> {
        self.writes += 1;
        if self.is_full {
            return Some(io::ErrorKind::StorageFull.into());
        }
        self.fail_write.filter(|(nth, _)| *nth == self.writes).map(|(_, kind)| kind.into())
    }

    fn count_sync(&mut self) -> Option<io::Error> {
        self.syncs += 1;
        self.fail_sync.filter(|(nth, _)| *nth == self.syncs).map(|(_, kind)| kind.into())
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) {
        put(self.contents.entry(file).or_default(), offset, bytes);
        self.log.push(Operation::Write { file, offset, bytes: bytes.into() });
    }

    fn create(&mut self, path: &Path, bytes: usize) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.names.insert(path.to_owned(), file);
        self.contents.insert(file, vec![0; bytes]);
        self.log.push(Operation::Create { file, path: path.to_owned(), bytes });
        file
    }

    fn used(&self) -> usize {
        self.names.values().filter_map(|file| self.contents.get(file)).map(Vec::len).sum()
    }
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

impl JournalFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        let inner = self.shared.inner.lock();
        let size = inner.contents.get(&self.file).map_or(0, Vec::len);
        u64::try_from(size).map_err(io::Error::other)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = to_usize(offset)?;
        let mut inner = self.shared.inner.lock();
        if let Some(error) = inner.count_write() {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            inner.write(self.file, offset, half);
            return Err(error);
        }
        inner.write(self.file, offset, bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let offset = to_usize(offset)?;
        let inner = self.shared.inner.lock();
        let content = inner.contents.get(&self.file).map(Vec::as_slice).unwrap_or_default();
        let from = content.get(offset..).and_then(|rest| rest.get(..bytes.len()));
        let from = from.ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(from);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        let failed = inner.count_sync();
        // Only what was written before this moment is covered, however long it takes.
        if failed.is_some() {
            inner.log.push(Operation::SyncFailed { file: self.file });
        } else if !inner.ignores_syncs {
            inner.log.push(Operation::Sync { file: self.file });
        }
        while inner.gates > 0 {
            inner.waiting += 1;
            self.shared.gate.notify_all();
            self.shared.gate.wait(&mut inner);
            inner.waiting -= 1;
        }
        failed.map_or(Ok(()), Err)
    }
}

impl JournalFs for MemFs {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        if !self.shared.inner.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { path: path.to_owned(), shared: Arc::clone(&self.shared) }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inner = self.shared.inner.lock();
        let paths = inner.names.keys().filter(|path| path.parent() == Some(directory));
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(paths.filter_map(name).collect())
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn JournalFile>> {
        let bytes = to_usize(bytes)?;
        let mut inner = self.shared.inner.lock();
        if inner.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Some(error) = inner.count_write() {
            inner.create(path, bytes / 2);
            return Err(error);
        }
        let used = inner.used();
        if let Some(room) = inner.room
            && used.saturating_add(bytes) > room
        {
            inner.create(path, room.saturating_sub(used));
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = inner.create(path, bytes);
        Ok(Arc::new(MemFile { file, shared: Arc::clone(&self.shared) }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        let inner = self.shared.inner.lock();
        let file = *inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { file, shared: Arc::clone(&self.shared) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        let (from, to) = (from.to_owned(), to.to_owned());
        inner.log.push(Operation::Rename { file, from, to });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        inner.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        inner.log.push(Operation::Remove { path: path.to_owned() });
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        if let Some(error) = inner.count_sync() {
            return Err(error);
        }
        if !inner.ignores_syncs {
            inner.log.push(Operation::SyncDirectory);
        }
        Ok(())
    }
}
