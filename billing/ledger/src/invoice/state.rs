//! How far an invoice is, and what may be done to it then.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SeenTotal;
use crate::LedgerError;

/// How far an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    /// Computed, not stored.
    Preview,
    /// Stored; drafting the month again replaces it.
    Draft,
    /// Somebody has looked at it and found it right: it is issued as it is.
    Approved,
    /// Issued under a number; its document never changes again.
    Final,
    /// Issued and paid.
    Paid,
    /// Of no effect; its usage can be invoiced again.
    Void,
}

impl InvoiceState {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Final => "final",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }

    /// Whether it was issued and stands.
    #[must_use]
    pub fn is_issued(self) -> bool {
        matches!(self, Self::Final | Self::Paid)
    }

    /// The state of invoice `id` after `step`.
    pub(super) fn after(self, step: Step, id: &str) -> Result<Self, LedgerError> {
        match (self, step) {
            (Self::Draft, Step::Approve { .. }) => Ok(Self::Approved),
            (Self::Approved, Step::Finalize) => Ok(Self::Final),
            (Self::Final, Step::Pay) => Ok(Self::Paid),
            (Self::Draft | Self::Approved | Self::Final, Step::Void) => Ok(Self::Void),
            _ => {
                let (from, step, accepted) = (self.as_str(), step.as_str(), step.accepted());
                let reason = format!("is {from}: {step} is not possible; accepted: {accepted}");
                Err(LedgerError::refused("invoice", id, reason))
            }
        }
    }
}

/// What is done to a stored invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Over this total, where whoever approves says what they have seen.
    Approve {
        expected: Option<SeenTotal>,
    },
    Finalize,
    Pay,
    Void,
}

impl Step {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Finalize => "finalize",
            Self::Pay => "pay",
            Self::Void => "void",
        }
    }

    fn accepted(self) -> &'static str {
        match self {
            Self::Approve { .. } => "a draft",
            Self::Finalize => "an approved invoice",
            Self::Pay => "a final invoice",
            Self::Void => "a draft, an approved or a final invoice; credit what is paid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_ways_are_the_ones_listed() {
        use InvoiceState::{Approved, Draft, Final, Paid, Preview, Void};
        let steps = [Step::Approve { expected: None }, Step::Finalize, Step::Pay, Step::Void];
        for (state, after) in [
            (Preview, [None, None, None, None]),
            (Draft, [Some(Approved), None, None, Some(Void)]),
            (Approved, [None, Some(Final), None, Some(Void)]),
            (Final, [None, None, Some(Paid), Some(Void)]),
            (Paid, [None; 4]),
            (Void, [None; 4]),
        ] {
            for (step, after) in steps.into_iter().zip(after) {
                assert_eq!(state.after(step, "inv_1").ok(), after, "{state:?} {step:?}");
            }
        }
        let refusal = Paid.after(Step::Void, "inv_1").unwrap_err().to_string();
        assert!(refusal.contains("inv_1") && refusal.contains("paid"), "{refusal}");
        assert!(refusal.contains("accepted: a draft"), "{refusal}");
    }
}
