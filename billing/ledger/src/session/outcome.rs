//! What became of a session: what somebody said of it, and beside it what its requests let infer.
//! The two are never mixed: an inference is no acceptance.

use chrono::{DateTime, TimeDelta, Utc};
use permille_types::{CustomerId, Ended, SessionId, TurnKind};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Session, repo, text};
use crate::{
    Instruction, Ledger, LedgerError, TokenId,
    audit::{Call, Subject},
    error::During,
};

/// A session that is silent for so long has ended. Half an hour: longer than people read an answer,
/// and what web analytics takes for the end of a visit.
pub const SESSION_IDLE: TimeDelta = TimeDelta::minutes(30);

/// What somebody said of a session's result.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The result was taken.
    Accepted,
    /// It was not.
    Rejected,
    /// The matter is settled: a result too.
    Resolved,
    /// Nobody wanted it any more.
    Abandoned,
}

/// The names of the outcomes.
pub const OUTCOMES: &str = "accepted, rejected, resolved, abandoned";

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::Resolved, Self::Abandoned];

    /// The outcome's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Resolved => "resolved",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether there is a result that somebody wanted.
    #[must_use]
    pub fn is_result(self) -> bool {
        matches!(self, Self::Accepted | Self::Resolved)
    }
}

/// An outcome, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ToldOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// When it was told.
    pub at: DateTime<Utc>,
    /// The token by which it was told.
    pub by: TokenId,
}

/// What the requests of a session let infer, by the first rule that holds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InferredOutcome {
    /// Its last request is not [`SESSION_IDLE`] ago: it may go on.
    Open,
    /// The client left its last request before the reply had ended, and did not come back.
    Abandoned,
    /// Its last request did not end `complete` for another reason.
    Failed,
    /// Its last request repeats a turn: the reply before was not taken.
    RejectedTurn,
    /// It is silent, after a reply that was read to its end.
    Ended,
}

impl InferredOutcome {
    /// Those of a session that has ended.
    pub const OF_ENDED: [Self; 4] =
        [Self::Abandoned, Self::Failed, Self::RejectedTurn, Self::Ended];

    /// The inference's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
            Self::RejectedTurn => "rejected_turn",
            Self::Ended => "ended",
        }
    }
}

/// The last request of a session, as far as an outcome is inferred from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRequest {
    pub(crate) at: DateTime<Utc>,
    pub(crate) kind: Option<TurnKind>,
    pub(crate) ended: Option<Ended>,
}

impl LastRequest {
    pub(crate) fn outcome(self, now: DateTime<Utc>) -> InferredOutcome {
        if now.signed_duration_since(self.at) < SESSION_IDLE {
            return InferredOutcome::Open;
        }
        self.when_ended()
    }

    /// The outcome of a session that is taken for ended.
    pub(crate) fn when_ended(self) -> InferredOutcome {
        if self.ended == Some(Ended::ClientGone) {
            InferredOutcome::Abandoned
        } else if self.ended.is_some_and(|ended| ended != Ended::Complete) {
            InferredOutcome::Failed
        } else if self.kind == Some(TurnKind::Regenerate) {
            InferredOutcome::RejectedTurn
        } else {
            InferredOutcome::Ended
        }
    }
}

/// What was told of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The session, as it is now.
    pub session: Session,
    /// Whether this changed anything: the same outcome again does not.
    pub changed: bool,
    /// What its last complete reply cost without what was sent before. Absent where there is none,
    /// where nothing changed and where the outcome is no result.
    pub text_cost: Option<Decimal>,
}

impl Ledger {
    /// Keeps what somebody says of a session. The same outcome again changes nothing, another one
    /// takes its place.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] when it has no requests; [`LedgerError::Refused`] when the
    /// idempotency key was spent on another call; else the store's failure.
    pub async fn tell_outcome(
        &self,
        customer: &CustomerId,
        id: &SessionId,
        outcome: Outcome,
        instruction: &Instruction,
    ) -> Result<Told, LedgerError> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        let unknown = || LedgerError::no_session(customer, id);
        let before = repo::find(&mut tx, customer, id, now).await?.ok_or_else(unknown)?;
        let subject = format!("{customer}/{id}");
        let subject = Subject { noun: "outcome of", id: &subject };
        let call = Call { subject, action: "tell", request: outcome.as_str() };
        let unchanged = |session| Told { session, changed: false, text_cost: None };
        if call.before(&mut tx, instruction).await?.is_some() {
            return Ok(unchanged(before));
        }
        call.spend(&mut tx, None, instruction, now).await?;
        if before.outcome.as_ref().is_some_and(|told| told.outcome == outcome) {
            tx.commit().await.during("commit a repeated outcome")?;
            return Ok(unchanged(before));
        }
        let text_cost = if outcome.is_result() {
            let catalogue = self.current(&mut tx).await?;
            text::last_text_cost(&mut tx, &catalogue, customer, id).await?
        } else {
            None
        };
        let told = ToldOutcome { outcome, at: now, by: instruction.by().token().clone() };
        repo::tell(&mut tx, customer, id, &told).await?;
        tx.commit().await.during("commit outcome")?;
        let session = Session { outcome: Some(told), ..before };
        Ok(Told { session, changed: true, text_cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn an_outcome_is_inferred_by_the_first_rule_that_holds() {
        use TurnKind::{Continue, Regenerate};

        let last = |kind, ended| LastRequest {
            at: at("2026-11-20T10:00:00Z"),
            kind: Some(kind),
            ended: Some(ended),
        };
        let (soon, late) = (at("2026-11-20T10:29:59Z"), at("2026-11-20T10:30:00Z"));
        for (request, now, expected) in [
            (last(Regenerate, Ended::ClientGone), soon, InferredOutcome::Open),
            (last(Regenerate, Ended::ClientGone), late, InferredOutcome::Abandoned),
            (last(Regenerate, Ended::UpstreamError), late, InferredOutcome::Failed),
            (last(Regenerate, Ended::Complete), late, InferredOutcome::RejectedTurn),
            (last(Continue, Ended::Complete), late, InferredOutcome::Ended),
        ] {
            assert_eq!(request.outcome(now), expected, "{request:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_json() {
        use InferredOutcome::{Abandoned, Ended, Failed, Open, RejectedTurn};
        use Outcome::{Accepted, Rejected, Resolved};

        let told = [Accepted, Rejected, Resolved, Outcome::Abandoned];
        assert_eq!(told.map(Outcome::as_str).join(", "), OUTCOMES);
        for outcome in told {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for outcome in [Open, Abandoned, Failed, RejectedTurn, Ended] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
