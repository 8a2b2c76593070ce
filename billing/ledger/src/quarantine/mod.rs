//! Quarantine: payloads that could not be booked, kept byte for byte.
//!
//! A payload in here has not been billed. It never stops the batch it came in, and the same
//! payload is kept once however often it arrives.

mod repo;

use chrono::{DateTime, Utc};
use permille_types::NodeId;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub(crate) use repo::insert;

use crate::{Ledger, LedgerError, Listing, Page, column, error::During as _, secret::public_id};

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

/// A payload that was not booked.
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
}

fn as_text<S: serde::Serializer>(payload: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&String::from_utf8_lossy(payload))
}

/// Most bytes that are kept of something that is no event: the largest batch of a gateway.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Ledger {
    /// Keeps what came over a way of usage, named as `from`, and is nothing that a gateway sends;
    /// whether it is new. Of more than 2 MiB the beginning is kept.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn set_aside(&self, from: &str, payload: &[u8]) -> Result<bool, LedgerError> {
        let now = self.now();
        let kept = payload.get(..KEPT_BYTES_MAX).unwrap_or(payload);
        let quarantined = Quarantined {
            id: public_id("qtn_", now)?,
            node: column::parsed("quarantine.node", from)?,
            sequence: 0,
            reason: QuarantineReason::Unreadable,
            detail: format!("no batch of a gateway, {} bytes", payload.len()),
            request_id: None,
            payload: kept.to_owned(),
            created_at: now,
        };
        let mut tx = self.store.write().await?;
        let new = repo::insert(&mut tx, &quarantined, &Sha256::digest(kept)).await?;
        tx.commit().await.during("commit quarantine")?;
        Ok(new)
    }

    /// Quarantined payloads in the order they came, to the millisecond: those of one batch come
    /// together, in no order among themselves.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn quarantined(&self, page: &Page) -> Result<Listing<Quarantined>, LedgerError> {
        let mut reader = self.store.read().await?;
        let rows = repo::list(&mut reader, page.after(), page.rows()).await?;
        Ok(Listing::cut(page, rows, |row| row.id.clone()))
    }
}
