//! The folder: names of segments, and the operations on whole files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use permille_types::NodeId;

use crate::{
    JournalError,
    format::{CORRUPT_SUFFIX, SEGMENT_SUFFIX},
    fs::JournalFs,
    segment::Prepared,
};

/// Why a segment could not be prepared.
pub(crate) enum PrepareError {
    /// The file could not be made; nothing of it is used and it may be tried again.
    Create(io::Error),
    /// It could not be synced: the disk can no longer be trusted.
    Sync(io::Error),
}

pub(crate) struct Store {
    pub(crate) fs: Arc<dyn JournalFs>,
    pub(crate) directory: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) segment_bytes: u64,
}

impl Store {
    /// The file of the segment that starts at `first`.
    pub(crate) fn path(&self, first: u64) -> PathBuf {
        self.directory.join(format!("{first:020}{SEGMENT_SUFFIX}"))
    }

    /// The first sequence number in a segment's file name.
    pub(crate) fn first_of(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
        (digits.len() == 20).then(|| digits.parse().ok()).flatten()
    }

    /// Makes a file of zeros for the segment that starts at `first`, synced and findable.
    pub(crate) fn prepare(&self, first: u64) -> Result<Prepared, PrepareError> {
        let path = self.path(first);
        let file = match self.fs.create(&path, self.segment_bytes) {
            Ok(file) => file,
            Err(cause) => {
                self.discard(&path);
                return Err(PrepareError::Create(cause));
            }
        };
        file.sync_data().map_err(PrepareError::Sync)?;
        self.sync_directory().map_err(PrepareError::Sync)?;
        Ok(Prepared { first, file, capacity: self.segment_bytes })
    }

    /// Removes what a failed creation left. When that fails too, the next attempt meets the
    /// leftover, fails and removes it.
    fn discard(&self, path: &Path) {
        if let Err(cause) = self.fs.remove(path)
            && cause.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %cause, "unfinished segment not removed");
        }
    }

    /// Removes the segment that starts at `first`, for good.
    pub(crate) fn remove(&self, first: u64) -> io::Result<()> {
        self.fs.remove(&self.path(first))?;
        self.sync_directory()
    }

    /// Sets a damaged segment aside; it is not read again.
    pub(crate) fn quarantine(&self, first: u64) -> io::Result<()> {
        let name = format!("{first:020}{CORRUPT_SUFFIX}");
        self.fs.rename(&self.path(first), &self.directory.join(name))?;
        self.sync_directory()
    }

    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        self.fs.sync_directory(&self.directory)
    }

    /// An error of opening the journal, about the segment that starts at `first`.
    pub(crate) fn open_error(
        &self,
        operation: &'static str,
        first: u64,
        cause: io::Error,
    ) -> JournalError {
        JournalError::Open { operation, path: self.path(first), cause: Arc::new(cause) }
    }
}

/// Whether an error says that there is no room, now.
pub(crate) fn is_no_space(cause: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
