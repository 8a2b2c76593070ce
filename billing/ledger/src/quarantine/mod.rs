//! Quarantine: payloads that could not be booked, kept byte for byte.
//!
//! A payload in here has not been billed. It never stops the batch it came in, and the same
//! payload is kept once however often it arrives. A person settles it: what can be booked by now is
//! booked (in `intake`), and what is no usage is dismissed.

mod repo;

use chrono::{DateTime, Utc};
use permille_types::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use repo::{dismissed, insert};

use crate::{
    Instruction, Ledger, LedgerError, Listing, Page,
    audit::{self, Change, Subject},
    column,
    error::During as _,
    secret::public_id,
    store::Connection,
    text,
};

/// Longest note, in bytes: a paragraph.
const NOTE_BYTES_MAX: usize = 1_000;
const DISMISS: &str = "dismiss";

/// Why a payload was not booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineReason {
    /// It is no usage event that this build reads.
    Unreadable,
    /// Its request id is booked with another content (B6).
    Conflict,
    /// It names a customer that does not exist.
    UnknownCustomer,
    /// It names a project that the customer does not have.
    UnknownProject,
    /// It names a key that does not exist or belongs to another project.
    UnknownKey,
    /// A quantity is larger than any request can have, or an amount does not fit the books.
    OutOfRange,
    /// Its cost has too many digits.
    Unratable,
    /// The store refuses it, and would again.
    Refused,
}

impl QuarantineReason {
    const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::Conflict,
        Self::UnknownCustomer,
        Self::UnknownProject,
        Self::UnknownKey,
        Self::OutOfRange,
        Self::Unratable,
        Self::Refused,
    ];

    /// The reason's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Conflict => "conflict",
            Self::UnknownCustomer => "unknown_customer",
            Self::UnknownProject => "unknown_project",
            Self::UnknownKey => "unknown_key",
            Self::OutOfRange => "out_of_range",
            Self::Unratable => "unratable",
            Self::Refused => "refused",
        }
    }
}

/// What became of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineState {
    /// Nobody has settled it.
    Open,
    /// Its request is on a row.
    Booked,
    /// It is no usage, or is not to be billed.
    Dismissed,
}

impl QuarantineState {
    const ALL: [Self; 3] = [Self::Open, Self::Booked, Self::Dismissed];

    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Booked => "booked",
            Self::Dismissed => "dismissed",
        }
    }
}

/// A payload that was not booked when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Quarantined {
    /// Its id here.
    pub id: String,
    /// Whose journal it came from.
    pub node: NodeId,
    /// Its place in that journal, when it first came.
    pub sequence: u64,
    /// Why it was not booked.
    pub reason: QuarantineReason,
    /// More of why, for people.
    pub detail: String,
    /// The request it speaks of, where that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The payload as text; what is no UTF-8 is replaced.
    #[serde(serialize_with = "as_text")]
    pub payload: Vec<u8>,
    /// When it first came.
    pub created_at: DateTime<Utc>,
    /// What became of it.
    pub state: QuarantineState,
    /// Why it was dismissed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was booked or dismissed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
}

impl Quarantined {
    /// One that comes now.
    pub(crate) fn new(
        id: String,
        (node, sequence): (NodeId, u64),
        (reason, detail): (QuarantineReason, String),
        payload: Vec<u8>,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            node,
            sequence,
            reason,
            detail,
            request_id: None,
            payload,
            created_at,
            state: QuarantineState::Open,
            note: None,
            settled_at: None,
        }
    }
}

fn as_text<S: serde::Serializer>(payload: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&String::from_utf8_lossy(payload))
}

/// Most bytes that are kept of something that is no event, so that a page of them can be answered.
const KEPT_BYTES_MAX: usize = 65_536;

impl Ledger {
    /// Keeps what came over a way of usage, named as `from`, and is nothing that a gateway sends;
    /// whether it is new. Of more than 64 KiB the beginning is kept.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn set_aside(&self, from: &str, payload: &[u8]) -> Result<bool, LedgerError> {
        let now = self.now();
        let kept = payload.get(..KEPT_BYTES_MAX).unwrap_or(payload);
        let detail = format!("no batch of a gateway, {} bytes", payload.len());
        let quarantined = Quarantined::new(
            public_id("qtn_", now)?,
            (column::parsed("quarantine.node", from)?, 0),
            (QuarantineReason::Unreadable, detail),
            kept.to_owned(),
            now,
        );
        let mut tx = self.store.write().await?;
        let new = repo::insert(&mut tx, &quarantined, &Sha256::digest(kept)).await?;
        tx.commit().await.during("commit quarantine")?;
        Ok(new)
    }

    /// Quarantined payloads in the order they came, to the millisecond: those of one batch come
    /// together, in no order among themselves. Those in `state`, or all.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn quarantined(
        &self,
        state: Option<QuarantineState>,
        page: &Page,
    ) -> Result<Listing<Quarantined>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, state, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |row| row.id.clone()))
    }

    /// Notes that a payload is no usage, or is not to be billed. It stays where it is.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is settled already;
    /// [`LedgerError::Invalid`] without a note; else the store's failure.
    pub async fn dismiss_quarantined(
        &self,
        id: &str,
        note: &str,
        instruction: &Instruction,
    ) -> Result<Quarantined, LedgerError> {
        let note = text::line("note", note, NOTE_BYTES_MAX)?;
        let mut tx = self.store.write().await?;
        let kept = find(&mut tx, id).await?;
        let repeated = audit::repeated(&mut tx, subject(id), DISMISS, note, instruction).await?;
        if repeated.is_some() {
            return Ok(kept);
        }
        let settled = Settled { action: DISMISS, request: note, note: Some(note) };
        let dismissed = settle(&mut tx, kept, settled, instruction, self.now()).await?;
        tx.commit().await.during("commit dismissal")?;
        Ok(dismissed)
    }
}

/// How a payload is settled.
pub(crate) struct Settled<'a> {
    /// The action as the audit trail has it.
    pub(crate) action: &'static str,
    /// What was asked for.
    pub(crate) request: &'a str,
    /// Why it is dismissed; absent: it is booked.
    pub(crate) note: Option<&'a str>,
}

/// Settles an open payload and notes by whom.
pub(crate) async fn settle(
    connection: &mut Connection,
    kept: Quarantined,
    Settled { action, request, note }: Settled<'_>,
    instruction: &Instruction,
    now: DateTime<Utc>,
) -> Result<Quarantined, LedgerError> {
    let state = if note.is_some() { QuarantineState::Dismissed } else { QuarantineState::Booked };
    let before = kept.state;
    let settled =
        Quarantined { state, note: note.map(str::to_owned), settled_at: Some(now), ..kept };
    if !repo::settle(connection, &settled).await? {
        let reason = format!("is {} already; accepted: an open one", before.as_str());
        return Err(LedgerError::refused("quarantined payload", &settled.id, reason));
    }
    let request_of = settled.request_id.as_ref().map(|request| format!("request {request}"));
    let change = Change {
        action,
        from: Some(before.as_str()),
        to: Some(state.as_str()),
        detail: note.or(request_of.as_deref()),
        request,
        result: None,
    };
    audit::insert(connection, subject(&settled.id), change, instruction, now).await?;
    Ok(settled)
}

/// The payload of that id.
pub(crate) async fn find(
    connection: &mut Connection,
    id: &str,
) -> Result<Quarantined, LedgerError> {
    repo::find(connection, id)
        .await?
        .ok_or_else(|| LedgerError::not_found("quarantined payload", id))
}

/// Where the trail notes what became of a payload.
pub(crate) fn subject(id: &str) -> Subject<'_> {
    Subject { noun: "quarantine", id }
}
