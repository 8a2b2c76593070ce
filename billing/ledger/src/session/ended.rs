//! Sessions that have ended: each is handed out once, for metrics of whole sessions.

use chrono::{DateTime, TimeDelta, Utc};
use permille_rating::facts::Counts;
use permille_types::{Currency, CustomerId, SessionId};
use rust_decimal::Decimal;

use super::{InferredOutcome, Outcome, repo, text};
use crate::{Ledger, LedgerError, column, error::During};

/// Sessions that are taken for ended in one transaction: other writers wait for it.
const ENDED_AT_ONCE: i64 = 500;

/// A session that was silent for long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    /// Whose it is.
    pub customer: CustomerId,
    /// Its id.
    pub id: SessionId,
    /// The currency of the cost.
    pub currency: Currency,
    /// Its highest turn number.
    pub turns: u32,
    /// What it has cost since it last ended, exact: one that goes on after its end ends again.
    pub cost: Decimal,
    /// Whether all of its requests cost nothing by their nature, such as lists of models.
    pub unmetered: bool,
    /// What is counted of its requests, all of them.
    pub counts: Counts,
    /// What somebody said of it.
    pub outcome: Option<Outcome>,
    /// What its requests let infer.
    pub inferred_outcome: InferredOutcome,
    /// What its last complete reply cost without what was sent before. Absent where there is none,
    /// and unless its outcome is not told and inferred [`InferredOutcome::Ended`].
    pub text_cost: Option<Decimal>,
}

/// A session that is about to be taken for ended.
pub(super) struct Ending {
    pub(super) session: EndedSession,
    /// Its cost in all.
    pub(super) cost: Decimal,
    pub(super) last_at: DateTime<Utc>,
}

impl Ledger {
    /// Takes some of the sessions that have been silent for `idle` for ended, the oldest first,
    /// and hands them out: each once, until it goes on. None when there are no more.
    ///
    /// # Errors
    /// The store's failure; then none of them is taken.
    pub async fn end_sessions(&self, idle: TimeDelta) -> Result<Vec<EndedSession>, LedgerError> {
        let now = self.now();
        let before = column::micros(now.checked_sub_signed(idle).unwrap_or(now));
        let mut tx = self.store.write().await?;
        let catalogue = self.current(&mut tx).await?;
        let mut endings = repo::silent(&mut tx, before, ENDED_AT_ONCE).await?;
        for ending in &mut endings {
            repo::end(&mut tx, ending).await?;
            let of = &mut ending.session;
            if of.outcome.is_none() && of.inferred_outcome == InferredOutcome::Ended {
                of.text_cost =
                    text::last_text_cost(&mut tx, &catalogue, &of.customer, &of.id).await?;
            }
        }
        tx.commit().await.during("commit ended sessions")?;
        Ok(endings.into_iter().map(|ending| ending.session).collect())
    }
}
