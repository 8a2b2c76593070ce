//! The data folder: what an installation keeps on disk, who may write it, and how a command finds
//! the server that holds it.
//!
//! | file | holds |
//! |---|---|
//! | `permille.db` | the ledger |
//! | `journal/` | usage that billing has not acknowledged |
//! | `pepper` | the secret under which keys are hashed (0600, part of a backup) |
//! | `node` | this node's id: the owner of `journal/` |
//! | `lock` | held by the one process that may write |
//! | `server.json` | addresses of the server that holds the lock |
//! | `cli.token` | an admin token for local commands (0600) |

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use permille_types::NodeId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The file of the node's id.
const NODE: &str = "node";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataFolderError {
    /// The folder or a file in it fails.
    #[error("data folder `{folder}`: {operation}", folder = folder.display())]
    File {
        /// The folder.
        folder: PathBuf,
        /// What was tried with which file.
        operation: String,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("data folder `{folder}`: `{name}` is damaged, restore it from a backup", folder = folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The file.
        name: &'static str,
    },
    /// Another process holds the folder.
    #[error(
        "data folder `{folder}`: another permille process holds it, stop that one or give \
         another folder with --data",
        folder = folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A gateway apart holds the folder.
    #[error(
        "data folder `{folder}`: a gateway holds it, and a gateway has no API: give the data \
         folder of billing",
        folder = folder.display()
    )]
    OfGateway {
        /// The folder.
        folder: PathBuf,
    },
}

/// A data folder that exists and can be written.
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
}

/// The right to write the folder, as long as it lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Where the server that holds the lock listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    /// Its process id.
    pub(crate) pid: u32,
    /// When it was ready.
    pub(crate) started: DateTime<Utc>,
    /// Data plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<SocketAddr>,
    /// API and pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<SocketAddr>,
    /// Metrics and health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<SocketAddr>,
    /// The built-in simulated provider, when it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) simulator: Option<SocketAddr>,
}

impl DataFolder {
    /// Opens the folder, creating it if it is not there.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when it cannot be created or written.
    pub(crate) fn open(path: &Path) -> Result<Self, DataFolderError> {
        let folder = Self { path: path.to_owned() };
        let create = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        create(path).map_err(|cause| folder.failed("create it", cause))?;
        create(&folder.journal()).map_err(|cause| folder.failed("create `journal`", cause))?;
        // Opening the lock for writing is the test that a file can be made here.
        folder.lock_file()?;
        Ok(folder)
    }

    /// The folder as it is: neither made nor tested for writing.
    pub(crate) fn existing(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal's segments lie.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The simulated provider's own books.
    pub(crate) fn simulator_books(&self) -> PathBuf {
        self.path.join("simulator").join("books.jsonl")
    }

    /// Takes the lock, unless another process has it.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when locking itself fails.
    pub(crate) fn try_lock(&self) -> Result<Option<FolderLock>, DataFolderError> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(self.failed("lock it", cause)),
        }
    }

    /// The file of the secret under which keys are hashed; the ledger makes and reads it.
    pub(crate) fn pepper(&self) -> PathBuf {
        self.path.join("pepper")
    }

    /// This node's id: made once, then kept.
    ///
    /// # Errors
    /// [`DataFolderError`] when it cannot be read or written.
    pub(crate) fn node(&self, _lock: &FolderLock) -> Result<NodeId, DataFolderError> {
        if let Some(node) = self.made_node()? {
            return Ok(node);
        }
        let text = format!("node-{}", hex::encode(rand::random::<[u8; 8]>()));
        self.write_private(NODE, &text)?;
        self.node_of(&text)
    }

    /// The id of the node whose folder it is, if one was ever made.
    ///
    /// # Errors
    /// [`DataFolderError`] when it cannot be read.
    pub(crate) fn made_node(&self) -> Result<Option<NodeId>, DataFolderError> {
        self.read(NODE)?.map(|text| self.node_of(&text)).transpose()
    }

    fn node_of(&self, text: &str) -> Result<NodeId, DataFolderError> {
        let damaged = |_| DataFolderError::Damaged { folder: self.path.clone(), name: NODE };
        text.trim().parse().map_err(damaged)
    }

    /// The admin token of local commands, if there is one yet.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when it is there and cannot be read.
    pub(crate) fn cli_token(&self) -> Result<Option<SecretString>, DataFolderError> {
        Ok(self.read("cli.token")?.map(|text| SecretString::from(text.trim().to_owned())))
    }

    /// Keeps the admin token of local commands.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when it cannot be written.
    pub(crate) fn store_cli_token(
        &self,
        _lock: &FolderLock,
        token: &SecretString,
    ) -> Result<(), DataFolderError> {
        self.write_private("cli.token", token.expose_secret())
    }

    /// The server that says it holds this folder. After a crash the record may outlive it.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when the record is there and cannot be read.
    pub(crate) fn server(&self) -> Result<Option<ServerRecord>, DataFolderError> {
        let text = self.read("server.json")?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Why a command cannot have the folder, whose lock another process holds.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when the server's record is there and cannot be read.
    pub(crate) fn held_by_another(&self) -> Result<DataFolderError, DataFolderError> {
        let folder = self.path.clone();
        let server = self.server()?;
        let apart = server.is_some_and(|it| it.gateway.is_some() && it.console.is_none());
        Ok(if apart {
            DataFolderError::OfGateway { folder }
        } else {
            DataFolderError::InUse { folder }
        })
    }

    /// Tells commands where this server listens.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when the record cannot be written.
    pub(crate) fn publish(
        &self,
        _lock: &FolderLock,
        record: &ServerRecord,
    ) -> Result<(), DataFolderError> {
        let text = serde_json::to_string(record)
            .map_err(|cause| self.failed("write `server.json`", cause.into()))?;
        self.write_private("server.json", &text)
    }

    /// Removes the record of a server that is stopping or has crashed.
    ///
    /// # Errors
    /// [`DataFolderError::File`] when it is there and cannot be removed.
    pub(crate) fn withdraw(&self, _lock: &FolderLock) -> Result<(), DataFolderError> {
        match fs::remove_file(self.path.join("server.json")) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove `server.json`", cause))
            }
            _ => Ok(()),
        }
    }

    fn lock_file(&self) -> Result<File, DataFolderError> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))
            .map_err(|cause| self.failed("open `lock` for writing", cause))
    }

    fn read(&self, name: &str) -> Result<Option<String>, DataFolderError> {
        match fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.failed(&format!("read `{name}`"), cause)),
        }
    }

    /// Writes a file whole or not at all: a crash must not leave half a pepper behind.
    fn write_private(&self, name: &str, text: &str) -> Result<(), DataFolderError> {
        let part = self.path.join(format!("{name}.part"));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file =
                options.create(true).write(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|cause| self.failed(&format!("write `{name}`"), cause))
    }

    fn failed(&self, operation: &str, cause: io::Error) -> DataFolderError {
        DataFolderError::File { folder: self.path.clone(), operation: operation.to_owned(), cause }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_node_id_is_made_once_and_every_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&dir.path().join("new/data")).unwrap();
        let lock = folder.try_lock().unwrap().unwrap();

        let node = folder.node(&lock).unwrap();

        assert_eq!(folder.node(&lock).unwrap(), node);
        let mode = |name: &str| {
            fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("node"), mode("lock"), mode(".")), (0o600, 0o600, 0o700));
    }

    #[test]
    fn a_second_holder_is_kept_out_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();

        let first = folder.try_lock().unwrap();
        assert!(folder.try_lock().unwrap().is_none());
        drop(first);

        assert!(folder.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_damaged_node_id_is_an_error_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let lock = folder.try_lock().unwrap().unwrap();
        fs::write(dir.path().join("node"), "").unwrap();

        assert!(matches!(folder.node(&lock), Err(DataFolderError::Damaged { .. })));
        assert_eq!(fs::read_to_string(dir.path().join("node")).unwrap(), "");
    }

    #[test]
    fn a_file_where_the_folder_should_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::write(&path, "").unwrap();

        let error = DataFolder::open(&path).unwrap_err();

        assert!(error.to_string().contains("taken"), "{error}");
    }

    #[test]
    fn the_server_record_reads_back_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let lock = folder.try_lock().unwrap().unwrap();
        let record = ServerRecord {
            pid: 7,
            started: DateTime::from_timestamp(1_000, 0).unwrap(),
            gateway: Some("127.0.0.1:1".parse().unwrap()),
            console: None,
            metrics: None,
            simulator: None,
        };

        folder.publish(&lock, &record).unwrap();
        assert_eq!(folder.server().unwrap(), Some(record));

        let told = folder.held_by_another().unwrap().to_string();
        assert!(told.contains("give the data folder of billing"), "{told}");

        folder.withdraw(&lock).unwrap();
        folder.withdraw(&lock).unwrap();
        assert!(matches!(folder.held_by_another(), Ok(DataFolderError::InUse { .. })));
        assert_eq!(folder.server().unwrap(), None);
    }
}
