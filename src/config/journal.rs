//! `[journal]`.

use std::{path::PathBuf, time::Duration};

use permille_journal::{JournalConfig, JournalError, SyncMode};
use permille_types::{IdError, NodeId};
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[journal]`: the crash-safe hand-over of usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JournalSection {
    /// When records reach the disk: `settle`, `intent+settle`, `interval:500ms` or `none`.
    pub(crate) sync: SyncMode,
    /// Size of one segment file.
    pub(crate) segment_bytes: u64,
    /// All segments together; when they are full, new requests are refused.
    pub(crate) bytes_max: u64,
    /// Microseconds that a sync waits for more records while replies end close together.
    pub(crate) gather_us: u64,
    /// Milliseconds that the end of a reply may wait for the disk.
    pub(crate) hold_max_ms: u64,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            sync: SyncMode::default(),
            segment_bytes: 16 * 1024 * 1024,
            bytes_max: 4 * 1024 * 1024 * 1024,
            gather_us: 1_000,
            hold_max_ms: 250,
        }
    }
}

impl JournalSection {
    /// How `node` keeps its journal in `folder`.
    pub(crate) fn config(&self, folder: PathBuf, node: NodeId) -> JournalConfig {
        JournalConfig {
            segment_bytes: self.segment_bytes,
            bytes_max: self.bytes_max,
            gather: Duration::from_micros(self.gather_us),
            sync: self.sync,
            ..JournalConfig::new(folder, node)
        }
    }

    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { gather_us, hold_max_ms, .. } = *self;
        if hold_max_ms.saturating_mul(1_000) <= gather_us {
            let problem = format!(
                "is {hold_max_ms}, accepted: more than the {gather_us} microseconds of \
                 `journal.gather_us`, for which a sync waits"
            );
            return Err(ConfigError::value("journal.hold_max_ms", problem));
        }
        // Neither the folder nor whose it is decides what is accepted.
        let unnamed = |cause: IdError| ConfigError::value("journal", cause.to_string());
        match self.config(PathBuf::new(), "node".parse().map_err(unnamed)?).check() {
            Err(JournalError::Config { setting, given, accepted }) => Err(ConfigError::value(
                format!("journal.{setting}"),
                format!("is {given}, accepted: {accepted}"),
            )),
            _ => Ok(()),
        }
    }
}
