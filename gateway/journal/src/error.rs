//! What can go wrong with a journal, by name.

use std::{fmt, io, path::PathBuf, sync::Arc};

use permille_types::UsageEventError;
use uuid::Uuid;

/// Why the journal takes no new request. Settling admitted requests still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FullReason {
    /// The segments reached `bytes_max`. Heals when billing acknowledges.
    BytesMax,
    /// The disk has no room for another segment. Heals when space is back.
    Disk,
    /// Admissions outran the preparation of segments. Heals within moments.
    Preparing,
}

impl fmt::Display for FullReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BytesMax => "unacknowledged usage has reached `bytes_max`",
            Self::Disk => "the disk has no room for another segment",
            Self::Preparing => "the next segment is not prepared yet",
        })
    }
}

/// Why the journal did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// A setting is out of bounds.
    #[error("journal setting {setting} is {given}, accepted: {accepted}")]
    Config {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        given: u64,
        /// What is accepted.
        accepted: String,
    },
    /// Another process has this journal open.
    #[error("journal `{}` is in use by another process", directory.display())]
    Locked {
        /// The folder.
        directory: PathBuf,
    },
    /// The file system failed while the journal was opened.
    #[error("{operation} `{}`", path.display())]
    Open {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The folder holds another node's journal.
    #[error("segment `{}` belongs to node `{found}`, this is node `{expected}`", path.display())]
    WrongNode {
        /// The segment.
        path: PathBuf,
        /// Who wrote it.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// A newer build wrote this. Way back: start that build again.
    #[error("`{}` at byte {offset}: {what} {found} was written by a newer build", path.display())]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is unknown.
        what: &'static str,
        /// Its value.
        found: u16,
    },
    /// An open intent cannot be read, so its request cannot be settled. Way back: start the
    /// build that wrote it.
    #[error("intent of request {request} cannot be read")]
    UnreadableIntent {
        /// Which request.
        request: Uuid,
        /// The cause.
        #[source]
        cause: Arc<UsageEventError>,
    },
    /// No room for what was asked.
    #[error("journal is full: {reason}")]
    Full {
        /// Why.
        reason: FullReason,
    },
    /// A write or sync failed; the journal has stopped for good. Way back: repair the disk and
    /// start again, recovery settles what was open.
    #[error("journal has stopped: {operation} failed")]
    Failed {
        /// What failed.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The journal was closed.
    #[error("journal is closed")]
    Closed,
    /// The request was admitted before.
    #[error("request {request} is already admitted")]
    AlreadyAdmitted {
        /// Which request.
        request: Uuid,
    },
    /// The request was settled before; its first settled record stands.
    #[error("request {request} is already settled")]
    AlreadySettled {
        /// Which request.
        request: Uuid,
    },
    /// Progress of a request that is not open.
    #[error("request {request} is not open")]
    NotOpen {
        /// Which request.
        request: Uuid,
    },
    /// The record exceeds what one segment or the format holds.
    #[error("record of {bytes} bytes, at most {bytes_max} are accepted")]
    TooLarge {
        /// Its payload.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The value cannot be written.
    #[error("encode {what}")]
    Encode {
        /// What.
        what: &'static str,
        /// The cause.
        #[source]
        cause: Arc<UsageEventError>,
    },
    /// An acknowledgement beyond what was handed out; nothing was removed.
    #[error("acknowledgement of sequence {acknowledged}, handed out were {handed_out} and below")]
    AckBeyondHandedOut {
        /// What was acknowledged.
        acknowledged: u64,
        /// The highest sequence handed out.
        handed_out: u64,
    },
    /// A record that was written well cannot be read back. Way back: start again, recovery
    /// quarantines the segment and salvages what verifies.
    #[error("segment {segment} at byte {offset} does not read back as it was written")]
    Corrupt {
        /// The segment, by its first sequence.
        segment: u64,
        /// Where in it.
        offset: u64,
    },
    /// A background thread could not be started.
    #[error("start journal thread")]
    Thread {
        /// The cause.
        #[source]
        cause: Arc<io::Error>,
    },
}
