//! What the journal needs of a file system, small enough that a test can stand in for it and
//! lose, tear or refuse any byte that was not synced.

use std::{
    any::Any,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// Zeros are written in pieces of this size when a segment is prepared. The page cache keeps a
/// file in the pieces in which it was written, and every later small write walks all blocks of its
/// piece: large pieces make preparing cheaper and every record dearer.
const ZERO_BYTES: usize = 16 << 10;

/// One open segment file. All calls may come from any thread.
pub trait JournalFile: Send + Sync + 'static {
    /// Its size in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn size(&self) -> io::Result<u64>;

    /// Writes all of `bytes` at `offset`. Survives the death of the process, not power loss.
    ///
    /// # Errors
    /// Whatever the file system says; a part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// Whatever the file system says; too short a file is an error.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Returns when everything written before this call survives power loss.
    ///
    /// # Errors
    /// Whatever the file system says. After an error nothing is known about any earlier write,
    /// and calling again proves nothing: the kernel may have dropped the pages.
    fn sync_data(&self) -> io::Result<()>;
}

/// A folder of segment files.
pub trait JournalFs: Send + Sync + 'static {
    /// Creates the folder and its parents when missing.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// Locks `path` for this process until the answer is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// The names of the files in the folder, in no order.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a new file of `bytes` zeros, really written so that later writes allocate
    /// nothing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or whatever the file system says; a shorter file may
    /// be left behind.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn JournalFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>>;

    /// Gives a file another name in the same folder.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns when every creation, renaming and removal before this call survives power loss.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

struct RealFile(File);

impl JournalFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl JournalFs for RealFs {
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn JournalFile>> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let zeros = vec![0; ZERO_BYTES];
        let mut missing = usize::try_from(bytes).map_err(io::Error::other)?;
        while missing > 0 {
            let piece = zeros.get(..missing).unwrap_or(&zeros);
            file.write_all(piece)?;
            missing -= piece.len();
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn JournalFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}
