//! What opening a journal found and did.

/// What recovery found when a journal was opened. An ordinary start has no damage and no torn
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Segments with records.
    pub segments: usize,
    /// Records that verified.
    pub records: u64,
    /// Settled records that will be shipped, orphans and salvaged ones included.
    pub settled: u64,
    /// Requests that were open when the process died, now settled as orphaned.
    pub orphans: u64,
    /// Bytes of unfinished writes that were cut off. Power loss leaves such; nothing that was
    /// acknowledged as durable lay there, unless [`RecoveryReport::damage`] says so.
    pub torn_bytes: u64,
    /// What is damaged. Anything here deserves a look.
    pub damage: Vec<Damage>,
    /// Damaged segments in the folder, set aside now or earlier. They are kept as evidence and
    /// never read again: remove them by hand.
    pub quarantined: usize,
}

/// A place where the chain of records is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First sequence number of the segment concerned: the damaged one, or the one after a
    /// missing one.
    pub segment: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// The last sequence number before the damage.
    pub after: u64,
    /// Whether something that was surely on disk once is gone. Without it, the damage may be
    /// the trace of a power cut in records that had not been synced.
    pub was_synced: bool,
    /// Settled records written again from a segment set aside.
    pub salvaged: u64,
}

/// How the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// A segment holds bytes that do not verify. It was set aside as `*.segment.corrupt`, and
    /// every record in it that verifies was taken over.
    Segment,
    /// A segment does not continue the one before it: a file in between is missing or was lost.
    Missing,
}
