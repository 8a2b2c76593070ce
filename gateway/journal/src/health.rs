//! What the journal says about itself: readiness and figures for metrics.

use std::time::Duration;

use crate::{FullReason, JournalError};

/// Whether the journal takes requests.
#[derive(Debug, Clone)]
pub enum Health {
    /// It does.
    Ok,
    /// It takes no new request, but settles admitted ones. Heals by itself.
    Full {
        /// Why.
        reason: FullReason,
    },
    /// It has stopped for good, by failure or because it was closed.
    Failed {
        /// Why.
        cause: JournalError,
    },
}

/// Figures of a journal. Totals count from its opening.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Sequence number of the last record appended, in the file or not yet.
    pub appended_sequence: u64,
    /// Highest sequence number that survives power loss.
    pub synced_sequence: u64,
    /// Highest sequence number that billing has committed; 0 before the first.
    pub acknowledged_sequence: u64,
    /// Settled records that billing has not committed.
    pub lag_records: u64,
    /// Their payload bytes.
    pub lag_bytes: u64,
    /// How long ago the oldest of them was appended; absent when there is none.
    pub oldest_unacknowledged: Option<Duration>,
    /// Admitted requests that are not settled.
    pub open_requests: usize,
    /// Segment files, prepared ones included.
    pub segments: usize,
    /// Bytes that the segment files take.
    pub segment_bytes: u64,
    /// Bytes that they may take; admission stops there.
    pub segment_bytes_max: u64,
    /// Records appended.
    pub records_total: u64,
    /// Their bytes, headers included.
    pub bytes_total: u64,
    /// Syncs of record data.
    pub syncs_total: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Admissions refused because the journal was full.
    pub refused_total: u64,
    /// Batches that billing refused.
    pub batches_refused_total: u64,
    /// Open intents that were written again so that their segment could be removed.
    pub carried_total: u64,
    /// Places where recovery found the chain broken.
    pub damage_total: u64,
    /// Damaged segments set aside in the folder.
    pub quarantined: usize,
}
