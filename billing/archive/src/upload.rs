//! A file on its way to its place: to be seen there when it is whole, and not before.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use object_store::WriteMultipart;

use crate::ArchiveError;

/// Bytes of one part of an upload. S3 takes 5 MiB at least and 10,000 parts: 80 GB a day.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// A file on its way.
pub(crate) struct Upload {
    location: String,
    target: Target,
}

enum Target {
    /// Beside its place, under another name until it is whole.
    Folder {
        file: File,
        unfinished: PathBuf,
        path: PathBuf,
    },
    Bucket(WriteMultipart),
}

impl Upload {
    /// Into a folder, which is made if need be. What a killed process left unfinished there is
    /// written over; what another one writes is not.
    pub(crate) fn to_folder(path: PathBuf, location: String) -> Result<Self, ArchiveError> {
        let unfinished = path.with_extension("parquet.part");
        let begin = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            own(&unfinished)
        };
        let file = begin().map_err(|cause| local("begin to write", &location, cause))?;
        Ok(Self { location, target: Target::Folder { file, unfinished, path } })
    }

    /// Into a bucket, in parts.
    pub(crate) fn to_bucket(
        upload: Box<dyn object_store::MultipartUpload>,
        location: String,
    ) -> Self {
        let parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        Self { location, target: Target::Bucket(parts) }
    }

    /// Adds bytes; waits while too many are on their way.
    pub(crate) async fn put(&mut self, bytes: Vec<u8>) -> Result<(), ArchiveError> {
        match &mut self.target {
            Target::Folder { file, .. } => {
                file.write_all(&bytes).map_err(|cause| local("write", &self.location, cause))
            }
            Target::Bucket(parts) => {
                let room = parts.wait_for_capacity(PARTS_AT_ONCE).await;
                room.map_err(|cause| remote("write", &self.location, cause))?;
                parts.put(bytes.into());
                Ok(())
            }
        }
    }

    /// Lets it be seen, whole and on the disk; its URL.
    pub(crate) async fn finish(self) -> Result<String, ArchiveError> {
        const OPERATION: &str = "finish writing";
        let Self { location, target } = self;
        match target {
            Target::Folder { file, unfinished, path } => {
                let finish = || {
                    file.sync_all()?;
                    fs::rename(&unfinished, &path)?;
                    path.parent().map_or(Ok(()), synced)
                };
                finish().map_err(|cause| local(OPERATION, &location, cause))?;
            }
            Target::Bucket(parts) => {
                let finished = parts.finish().await;
                finished.map_err(|cause| remote(OPERATION, &location, cause))?;
            }
        }
        Ok(location)
    }

    /// Gives it up.
    pub(crate) async fn abort(self) -> Result<(), ArchiveError> {
        const OPERATION: &str = "give up writing";
        let Self { location, target } = self;
        match target {
            Target::Folder { unfinished, .. } => {
                fs::remove_file(unfinished).map_err(|cause| local(OPERATION, &location, cause))
            }
            Target::Bucket(parts) => {
                parts.abort().await.map_err(|cause| remote(OPERATION, &location, cause))
            }
        }
    }
}

/// The entries of a folder on the disk, and its own entry.
fn synced(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// An empty file at `path` that is this process's alone, until it is closed.
fn own(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => io::Error::other("another process writes it now"),
            TryLockError::Error(cause) => cause,
        })?;
        // Whoever had it before may have given it its own name meanwhile.
        let (ours, there) = (file.metadata()?, fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

pub(crate) fn local(operation: &'static str, location: &str, cause: io::Error) -> ArchiveError {
    ArchiveError::File { operation, location: location.to_owned(), cause }
}

pub(crate) fn remote(
    operation: &'static str,
    location: &str,
    cause: object_store::Error,
) -> ArchiveError {
    ArchiveError::Object { operation, location: location.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_process_writes_is_left_alone_and_one_that_was_left_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part-0.parquet.part");
        let mut first = own(&path).unwrap();
        first.write_all(b"half").unwrap();

        let refused = own(&path).unwrap_err().to_string();
        assert_eq!(refused, "another process writes it now");
        assert_eq!(fs::read(&path).unwrap(), b"half");

        drop(first);
        own(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "what was left is written over");
    }
}
