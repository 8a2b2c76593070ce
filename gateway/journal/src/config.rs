//! What an operator chooses: where the journal lies, how far it may grow, when it syncs.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use permille_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::{JournalError, format};

/// Default size of a segment file: 16 MiB, about 20,000 records, zeroed ahead in some 10 ms.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Largest accepted segment: recovery reads one segment into memory at a time.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Default growth bound: 4 GiB, more than an hour of 1,000 requests a second.
const BYTES_MAX: u64 = 4 << 30;
/// Default room kept for the settled record of each open request. A typical one has 1 KiB.
const RESERVE_BYTES: u64 = 4 << 10;
/// Fewest segments inside the growth bound: one written, one ahead, one shipped, one spare.
const SEGMENTS_MIN: u64 = 4;
/// Longest accepted interval: more would lose a minute of settled usage on power loss.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// Default wait for more records to share a sync: a reply that a model takes a second for ends a
/// thousandth later, and that only under load.
const GATHER: Duration = Duration::from_millis(1);
/// Longest accepted wait: well inside the time for which the end of a reply may be held.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// How long [`SyncMode::None`] leaves records unsynced before they are handed over.
const NONE_INTERVAL: Duration = Duration::from_secs(5);

/// When a record counts as durable, and so what power loss can take. No mode loses to `kill -9`
/// what counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// `settle`: a settled record is synced before its future resolves. Power loss takes no
    /// reply that a client received in full.
    #[default]
    Settle,
    /// `intent+settle`: intents are synced too, before the upstream is called. Power loss takes
    /// no admitted request.
    IntentAndSettle,
    /// `interval:500ms`: synced that often. Power loss takes the settled records of one
    /// interval.
    Interval(Duration),
    /// `none`: futures resolve at once. Power loss takes what the kernel had not written, up to
    /// 5 s. A sync still precedes the hand-over, because a sequence number that billing has seen
    /// must never be given out again.
    None,
}

impl SyncMode {
    /// How long written records may wait for a sync that nobody asked for.
    pub(crate) fn interval(self) -> Option<Duration> {
        match self {
            Self::Settle | Self::IntentAndSettle => None,
            Self::Interval(interval) => Some(interval),
            Self::None => Some(NONE_INTERVAL),
        }
    }
}

/// Why a text is not a sync mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown sync mode `{text}`, accepted: settle, intent+settle, interval:<1ms to 60s>, none")]
pub struct SyncModeError {
    /// What was given.
    pub text: String,
}

impl FromStr for SyncMode {
    type Err = SyncModeError;
    fn from_str(text: &str) -> Result<Self, SyncModeError> {
        let refused = || SyncModeError { text: text.to_owned() };
        match text {
            "settle" => Ok(Self::Settle),
            "intent+settle" => Ok(Self::IntentAndSettle),
            "none" => Ok(Self::None),
            other => {
                let interval = other.strip_prefix("interval:").and_then(duration);
                let accepted = Duration::from_millis(1)..=INTERVAL_MAX;
                interval.filter(|i| accepted.contains(i)).map(Self::Interval).ok_or_else(refused)
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settle => f.write_str("settle"),
            Self::IntentAndSettle => f.write_str("intent+settle"),
            Self::Interval(interval) => write!(f, "interval:{}ms", interval.as_millis()),
            Self::None => f.write_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for SyncMode {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for SyncMode {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// How one node keeps its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The folder that holds the segments and nothing else. Created when missing.
    pub directory: PathBuf,
    /// Whose journal this is. A folder written by another node is refused.
    pub node: NodeId,
    /// Size of one segment file, in bytes.
    pub segment_bytes: u64,
    /// Most bytes that all segment files together may take; then admission stops.
    pub bytes_max: u64,
    /// Room kept for the settled record of each open request, in bytes.
    pub reserve_bytes: u64,
    /// When records count as durable.
    pub sync: SyncMode,
    /// How long a sync waits for more records, while those that ask for one come close together.
    pub gather: Duration,
}

impl JournalConfig {
    /// The defaults for `node` in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, node: NodeId) -> Self {
        Self {
            directory: directory.into(),
            node,
            segment_bytes: SEGMENT_BYTES,
            bytes_max: BYTES_MAX,
            reserve_bytes: RESERVE_BYTES,
            sync: SyncMode::default(),
            gather: GATHER,
        }
    }

    /// Refuses sizes that cannot work together.
    ///
    /// # Errors
    /// [`JournalError::Config`] naming the first setting that is out of bounds.
    pub fn check(&self) -> Result<(), JournalError> {
        let refuse = |setting, given, accepted: String| {
            Err(JournalError::Config { setting, given, accepted })
        };
        if self.gather > GATHER_MAX {
            let given = u64::try_from(self.gather.as_micros()).unwrap_or(u64::MAX);
            return refuse("gather_us", given, format!("0 to {}", GATHER_MAX.as_micros()));
        }
        let overhead = format::SEGMENT_HEADER_BYTES + format::RECORD_HEADER_BYTES;
        if self.reserve_bytes < 512 {
            return refuse("reserve_bytes", self.reserve_bytes, "at least 512".into());
        }
        let least = (self.reserve_bytes.saturating_mul(4)).saturating_add(overhead);
        if self.segment_bytes < least || self.segment_bytes > SEGMENT_BYTES_MAX {
            let accepted = format!("{least} to {SEGMENT_BYTES_MAX}");
            return refuse("segment_bytes", self.segment_bytes, accepted);
        }
        let least = self.segment_bytes.saturating_mul(SEGMENTS_MIN);
        if self.bytes_max < least {
            return refuse("bytes_max", self.bytes_max, format!("at least {least}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_mode_reads_back_as_it_is_written() {
        for text in ["settle", "intent+settle", "interval:500ms", "none"] {
            assert_eq!(text.parse::<SyncMode>().unwrap().to_string(), text);
        }
        assert_eq!(
            "interval:2s".parse::<SyncMode>().unwrap(),
            SyncMode::Interval(Duration::from_secs(2))
        );
        assert_eq!(serde_json::from_str::<SyncMode>("\"settle\"").unwrap(), SyncMode::Settle);
    }

    #[test]
    fn a_sync_mode_outside_its_bounds_is_refused_by_name() {
        for text in ["", "Settle", "interval:", "interval:0ms", "interval:61s", "interval:5m"] {
            let error = text.parse::<SyncMode>().unwrap_err();
            assert!(error.to_string().contains("accepted: settle"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_that_cannot_work_together_are_refused() {
        let good = JournalConfig::new("journal", "node-1".parse().unwrap());
        assert!(good.check().is_ok());

        let small = JournalConfig { segment_bytes: 4096, ..good.clone() };
        assert!(small.check().unwrap_err().to_string().contains("segment_bytes"));
        let slow = JournalConfig { gather: Duration::from_secs(1), ..good.clone() };
        assert!(slow.check().unwrap_err().to_string().contains("gather_us"));
        let tight = JournalConfig { bytes_max: good.segment_bytes, ..good };
        assert!(tight.check().unwrap_err().to_string().contains("bytes_max"));
    }
}
