//! What is in quarantine is booked after all, once it can be.

use permille_types::{Ack, Sequenced};

use super::{Accepted, Books, Read, candidate::Refusal, is_permanent};
use crate::{
    Instruction, Ledger, LedgerError, Quarantined, audit,
    error::During,
    quarantine::{self, Settled},
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
        let still = |Refusal { reason, detail, .. }: Refusal| {
            let why = format!("{}, {detail}", reason.as_str());
            let reason =
                format!("cannot be booked now either: {why}; accepted: to mend that first");
            LedgerError::refused("quarantined payload", id, reason)
        };
        let read = Read::all(std::slice::from_ref(&event), &catalogue)?;
        let mut books = Books::open(&mut tx, ack, &read).await?;
        for read in read {
            if let Some(refusal) = books.try_book(&mut tx, read, now).await? {
                return Err(still(refusal));
            }
        }
        match books.write(&mut tx, &node, now).await {
            Err(cause) if is_permanent(&cause) => {
                Err(still(Refusal::unbookable(&event.payload, &cause)))
            }
            done => {
                done?;
                tx.commit().await.during("commit a quarantined payload")?;
                Ok((booked, books.closed()))
            }
        }
    }
}
