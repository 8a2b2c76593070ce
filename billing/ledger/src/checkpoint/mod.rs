//! How far each gateway node's journal is committed.
//!
//! Stored in the transaction of the rows it stands for (D2). It tells operators and a starting
//! gateway where intake is; it never decides what is a duplicate, because events may arrive again
//! in any order.

mod repo;

use chrono::{DateTime, Utc};
use permille_types::NodeId;
use serde::Serialize;

pub(crate) use repo::{advance, all};

use crate::{Ledger, LedgerError};

/// A node and how far its journal is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// Whose journal.
    pub node: NodeId,
    /// The highest committed sequence number.
    pub sequence: u64,
    /// When a batch of it was last committed.
    pub updated_at: DateTime<Utc>,
}

impl Ledger {
    /// All nodes that ever sent a batch, by id.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn checkpoints(&self) -> Result<Vec<Checkpoint>, LedgerError> {
        let mut reader = self.store.read().await?;
        repo::all(&mut reader).await
    }
}
