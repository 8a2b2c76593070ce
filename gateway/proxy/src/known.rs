//! What the gateway knows of keys and prices: the newest snapshot, indexed, kept on disk.
//!
//! The snapshot is fetched in the background. The last one is written to the data folder, so
//! that a gateway starts and serves while billing is away.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use hmac::{Hmac, KeyInit, Mac};
use permille_rating::price_book::PriceBook;
use permille_session::Key;
use permille_types::{ControlError, ControlPlane, CustomerId, KeyHash, KeyId, KeyPolicy, Snapshot};
use secrecy::ExposeSecret;
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Wait after a failed fetch, doubled up to the bound.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait after a failed fetch: a revoked key must stop within seconds.
const RETRY_MAX: Duration = Duration::from_secs(3);

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The pepper is not hexadecimal.
    #[error("the snapshot's pepper is not hexadecimal")]
    Pepper,
    /// The prices do not form a price book.
    #[error("build the price book of snapshot {version}")]
    Prices {
        /// The snapshot's version.
        version: u64,
        /// What is wrong.
        #[source]
        cause: permille_rating::price_book::PriceBookError,
    },
}

/// Why no newer snapshot is in force.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("ask for a snapshot")]
    Control(#[from] ControlError),
    #[error("put snapshot {version} in force")]
    Refused {
        version: u64,
        #[source]
        cause: KnownError,
    },
}

/// One snapshot, indexed for the data path.
pub(crate) struct Known {
    version: u64,
    pepper: Hmac<Sha256>,
    conversations: Key,
    /// By digests under the pepper, which no stranger chooses: they need no `SipHash`.
    keys: HashMap<KeyHash, Arc<KeyPolicy>, RandomState>,
    by_id: HashMap<KeyId, Arc<KeyPolicy>>,
    /// Customers of whom anything has a limit of money.
    limited: HashSet<CustomerId, RandomState>,
    pub(crate) prices: Arc<PriceBook>,
}

impl Known {
    fn new(snapshot: &Snapshot, before: Option<&Self>) -> Result<Self, KnownError> {
        let pepper =
            hex::decode(snapshot.pepper.expose_secret()).map_err(|_| KnownError::Pepper)?;
        let conversations = Key::derived(&pepper);
        let pepper = Hmac::<Sha256>::new_from_slice(&pepper).map_err(|_| KnownError::Pepper)?;
        let version = snapshot.version;
        // Keys change often and prices seldom; compiling their patterns takes milliseconds.
        let unchanged = before.filter(|before| before.prices.prices() == snapshot.prices);
        let prices = match unchanged {
            Some(before) => Arc::clone(&before.prices),
            None => PriceBook::new(snapshot.prices.clone())
                .map(Arc::new)
                .map_err(|cause| KnownError::Prices { version, cause })?,
        };
        let keys: HashMap<_, _, RandomState> =
            snapshot.keys.iter().map(|key| (key.hash, Arc::new(key.clone()))).collect();
        let by_id = keys.values().map(|key| (key.key.clone(), Arc::clone(key))).collect();
        let limited = snapshot.keys.iter();
        let limited = limited.filter(|key| key.limits.iter().any(|limit| limit.measure.is_money()));
        let limited = limited.map(|key| key.customer.clone()).collect();
        Ok(Self { version, pepper, conversations, keys, by_id, limited, prices })
    }

    /// The key under which messages are digested: the same for all gateways of one billing, and
    /// never where the digests are.
    pub(crate) fn conversations(&self) -> &Key {
        &self.conversations
    }

    /// What holds for a key now.
    pub(crate) fn policy(&self, hash: &KeyHash) -> Option<&Arc<KeyPolicy>> {
        self.keys.get(hash)
    }

    /// The key of that public id.
    pub(crate) fn key_of(&self, id: &KeyId) -> Option<&Arc<KeyPolicy>> {
        self.by_id.get(id)
    }

    /// Whether anything limits what a customer spends: itself, a project, a key or its sessions.
    pub(crate) fn limits_money_of(&self, customer: &CustomerId) -> bool {
        self.limited.contains(customer)
    }

    /// The key with this secret.
    pub(crate) fn key(&self, secret: &str) -> Option<&Arc<KeyPolicy>> {
        let mut mac = self.pepper.clone();
        mac.update(secret.as_bytes());
        // The lookup is by digest under a secret pepper, so its timing tells nothing of a key.
        self.keys.get(&KeyHash::new(mac.finalize().into_bytes().into()))
    }
}

/// The newest snapshot, shared by all requests.
#[derive(Clone)]
pub(crate) struct Knowledge {
    current: Arc<ArcSwapOption<Known>>,
    version: watch::Sender<u64>,
    file: Arc<Path>,
}

impl Knowledge {
    /// Starts from the snapshot kept in `folder`, when there is one.
    pub(crate) fn open(folder: &Path) -> Self {
        let file: PathBuf = folder.join("snapshot.json");
        let knowledge =
            Self { current: Arc::default(), version: watch::Sender::new(0), file: file.into() };
        match std::fs::read(&knowledge.file) {
            Ok(bytes) => match serde_json::from_slice::<Snapshot>(&bytes) {
                Ok(snapshot) => {
                    if let Err(cause) = knowledge.adopt(&snapshot) {
                        tracing::error!(error = %chain(&cause), "the kept snapshot is refused");
                    }
                }
                Err(cause) => tracing::warn!(%cause, "the kept snapshot cannot be read"),
            },
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => tracing::warn!(%cause, "the kept snapshot cannot be read"),
        }
        knowledge
    }

    pub(crate) fn current(&self) -> Option<Arc<Known>> {
        self.current.load_full()
    }

    /// Tells the version in force; 0 while there is none.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Puts a snapshot in force. Where it cannot be used, the one before stays.
    fn adopt(&self, snapshot: &Snapshot) -> Result<(), FetchError> {
        let version = snapshot.version;
        let known = Known::new(snapshot, self.current().as_deref())
            .map_err(|cause| FetchError::Refused { version, cause })?;
        tracing::info!(version, keys = known.keys.len(), "snapshot in force");
        self.current.store(Some(Arc::new(known)));
        self.version.send_replace(version);
        Ok(())
    }

    async fn fetch(
        &self,
        control: &dyn ControlPlane,
        newest: &watch::Sender<Option<Arc<Snapshot>>>,
    ) -> Result<(), FetchError> {
        let known = self.current().map(|known| known.version);
        if let Some(snapshot) = control.snapshot(known).await? {
            // One that is refused is not kept: a restart begins with what is on disk.
            self.adopt(&snapshot)?;
            newest.send_replace(Some(Arc::new(snapshot)));
        }
        Ok(())
    }

    /// Writes each newest snapshot beside the journal, readable by its owner only. Apart from the
    /// fetching, so that a slow disk never delays a new key.
    async fn keep(file: Arc<Path>, mut newest: watch::Receiver<Option<Arc<Snapshot>>>) {
        while newest.changed().await.is_ok() {
            let Some(snapshot) = newest.borrow_and_update().clone() else { continue };
            let file = Arc::clone(&file);
            let written = tokio::task::spawn_blocking(move || write_private(&file, &snapshot))
                .await
                .map_err(std::io::Error::other)
                .flatten();
            if let Err(cause) = written {
                tracing::warn!(%cause, "the snapshot cannot be kept on disk");
            }
        }
    }

    /// Fetches the first snapshot and then every newer one, until `stop`.
    pub(crate) async fn follow(self, control: Arc<dyn ControlPlane>, stop: CancellationToken) {
        let mut wait = RETRY_MIN;
        let (newest, kept) = watch::channel(None);
        // Ends when `newest` is dropped.
        drop(tokio::spawn(Self::keep(Arc::clone(&self.file), kept)));
        while !stop.is_cancelled() {
            let fetched = tokio::select! {
                fetched = self.fetch(control.as_ref(), &newest) => fetched,
                () = stop.cancelled() => return,
            };
            let Err(cause) = fetched else {
                wait = RETRY_MIN;
                continue;
            };
            let error = chain(&cause);
            match cause {
                FetchError::Control(_) => tracing::warn!(error, "fetch snapshot"),
                FetchError::Refused { .. } => tracing::error!(error, "snapshot refused"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            wait = wait.saturating_mul(2).min(RETRY_MAX);
        }
    }
}

fn write_private(file: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let bytes = serde_json::to_vec(snapshot)?;
    let fresh = file.with_extension("json.new");
    let mut open = std::fs::OpenOptions::new();
    let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    out.write_all(&bytes)?;
    out.sync_all()?;
    std::fs::rename(&fresh, file)
}

/// An error with its causes, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
