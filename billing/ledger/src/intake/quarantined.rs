//! What is in quarantine is booked after all, once it can be.

use chrono::{DateTime, Utc};
use permille_types::{Ack, NodeId, Sequenced};

use super::{Accepted, Books, Read, candidate::Refusal, is_permanent};
use crate::{
    Instruction, Ledger, LedgerError, Quarantined, audit,
    error::During,
    quarantine::{self, Settled},
    store::Connection,
};

const BOOK: &str = "book";

impl Ledger {
    /// Books a payload of the quarantine as if it came now, by the price in force at the time of
    /// its request. What is booked already, with the same content, adds nothing; the payload is
    /// settled by it too.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Refused`] when it is settled already, or cannot be
    /// booked now either, which says why and leaves it as it is; else the store's failure.
    pub async fn book_quarantined(
        &self,
        id: &str,
        instruction: &Instruction,
    ) -> Result<(Quarantined, Accepted), LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let kept = quarantine::find(&mut tx, id).await?;
        let ack = Ack { sequence: kept.sequence, quarantined: 0 };
        let subject = quarantine::subject(id);
        if audit::repeated(&mut tx, subject, BOOK, "", instruction).await?.is_some() {
            return Ok((kept, Books::open(&mut tx, ack, &[]).await?.closed()));
        }
        let catalogue = self.current(&mut tx).await?;
        let event = Sequenced { sequence: kept.sequence, payload: kept.payload.clone().into() };
        let node = kept.node.clone();
        let settled = Settled { action: BOOK, request: "", note: None };
        // First, so that what is settled already is refused as such.
        let booked = quarantine::settle(&mut tx, kept, settled, instruction, now).await?;
        let read = Read::all(std::slice::from_ref(&event), &catalogue)?;
        let mut books = Books::open(&mut tx, ack, &read).await?;
        // Somebody has decided otherwise.
        books.dismissed.clear();
        let refusal = match books.book_all(&mut tx, &node, read, now).await {
            Ok(None) => {
                tx.commit().await.during("commit a quarantined payload")?;
                return Ok((booked, books.closed()));
            }
            Ok(Some(refusal)) => refusal,
            Err(cause) if is_permanent(&cause) => Refusal::unbookable(&event.payload, &cause),
            Err(cause) => return Err(cause),
        };
        let why = format!("{}, {}", refusal.reason.as_str(), refusal.detail);
        let reason = format!(
            "cannot be booked now either: {why}; accepted: to mend that first, or to dismiss it"
        );
        Err(LedgerError::refused("quarantined payload", id, reason))
    }
}

impl Books {
    /// Books all of what was read, or says of the first that cannot be why not.
    async fn book_all(
        &mut self,
        connection: &mut Connection,
        node: &NodeId,
        read: Vec<Read<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Refusal>, LedgerError> {
        for read in read {
            if let Some(refusal) = self.try_book(connection, read, now).await? {
                return Ok(Some(refusal));
            }
        }
        self.write(connection, node, now).await?;
        Ok(None)
    }
}
