//! What a backup holds, by its own word.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::CliError;

/// The version of the manifest that this build writes and reads.
const VERSION: u16 = 1;
/// The manifest's file. It is written last: a folder without one is no whole backup.
pub(super) const NAME: &str = "backup.json";
/// The folder of what goes into a data folder.
pub(super) const DATA: &str = "data";
/// The store of a file, wherever that lies.
pub(super) const STORE: &str = "store.db";
/// The configuration.
pub(super) const CONFIG: &str = "permille.toml";
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Its own version.
    pub(crate) version: u16,
    /// What was settled at this instant is in it.
    pub(crate) began_at: DateTime<Utc>,
    /// When it was whole.
    pub(crate) made_at: DateTime<Utc>,
    /// The store, and whether a copy of it is here.
    pub(crate) store: String,
    /// Whether the store is here.
    pub(crate) has_store: bool,
    /// Every file.
    pub(crate) files: Vec<Kept>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// Its path in the backup.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: String,
}

impl Manifest {
    pub(super) fn new(began_at: DateTime<Utc>, store: String, has_store: bool) -> Self {
        let files = Vec::new();
        Self { version: VERSION, began_at, made_at: began_at, store, has_store, files }
    }

    /// Adds a file of the backup in `folder`.
    pub(super) fn keep(&mut self, folder: &Path, path: PathBuf) -> Result<(), CliError> {
        let (bytes, sha256) = digest(&folder.join(&path))?;
        self.files.push(Kept { path, bytes, sha256 });
        Ok(())
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|kept| kept.bytes).sum()
    }

    /// Writes it into the backup, which is whole then.
    pub(super) fn write(&self, folder: &Path) -> Result<(), CliError> {
        let path = folder.join(NAME);
        let write = || -> io::Result<()> {
            fs::write(&path, serde_json::to_vec_pretty(self)?)?;
            File::open(&path)?.sync_all()?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|cause| CliError::WriteFile { path: path.clone(), cause })
    }

    /// Reads that of a backup and compares each file with it.
    ///
    /// # Errors
    /// [`CliError::Refused`] when it is no backup, or a file is not as it was written.
    pub(super) fn read(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(CliError::Refused(format!(
                    "`{}` holds no `{NAME}`; accepted: the folder of a whole backup",
                    folder.display()
                )));
            }
            Err(cause) => return Err(CliError::ReadFile { path, cause }),
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|cause| {
            CliError::Refused(format!("`{}` does not read: {cause}", path.display()))
        })?;
        if manifest.version != VERSION {
            return Err(CliError::Refused(format!(
                "the backup in `{}` has version {}, accepted: {VERSION}",
                folder.display(),
                manifest.version
            )));
        }
        for kept in &manifest.files {
            let place = kept.path.components();
            let inside = |part| matches!(part, std::path::Component::Normal(_));
            let found = if place.clone().all(inside) {
                Some(digest(&folder.join(&kept.path))?)
            } else {
                None
            };
            if found != Some((kept.bytes, kept.sha256.clone())) {
                return Err(CliError::Refused(format!(
                    "`{}` in the backup is not as it was written; accepted: another backup",
                    kept.path.display()
                )));
            }
        }
        Ok(manifest)
    }
}

/// Size and digest of a file.
fn digest(path: &Path) -> Result<(u64, String), CliError> {
    let read = || -> io::Result<(u64, String)> {
        let mut file = File::open(path)?;
        let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok((bytes, hex::encode(digest.finalize())));
            }
            digest.update(piece.get(..count).unwrap_or_default());
            bytes = bytes.saturating_add(u64::try_from(count).unwrap_or_default());
        }
    };
    read().map_err(|cause| CliError::ReadFile { path: path.to_owned(), cause })
}
