//! What happens when a client leaves, and who pays for a reply that is none.

use permille_types::RequestId;
use serde::{Deserialize, Serialize};

/// `[metering]`: holds for every request that no `[[policy]]` says otherwise for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeteringSection {
    /// What happens to the upstream call when its client leaves (M7).
    pub client_gone: ClientGone,
    /// Seconds that one drain may take.
    pub drain_seconds_max: u32,
    /// Bytes that one drain may read.
    pub drain_bytes_max: u64,
    /// Drains at once; the next one is cancelled instead.
    pub drains_max: u32,
    /// Share of the replies that report usage which are counted here too, from 0 to 1: how much a
    /// provider's numbers drift from ours is exported, and ratios for estimates are learnt.
    pub audit_sample: Share,
    /// Who pays for a reply that broke off, by an error, a time limit or a shutdown.
    pub failed_reply: Payer,
    /// Who pays for a complete reply without any output.
    pub empty_reply: Payer,
    /// Who pays for a reply that the provider's content filter cut or withheld.
    pub content_filter: Payer,
    /// Who pays for a reply in which the model refused to answer.
    pub refusal: Payer,
    /// What happens to a stream whose budget leaves no room for the rest of it.
    pub budget_end: BudgetEnd,
}

impl Default for MeteringSection {
    /// Who pays follows what providers charge: each of these replies is billed to us.
    /// Source: Microsoft Q&A 1632971 (content filter), Novita pricing (200 and 499 are billed).
    fn default() -> Self {
        Self {
            client_gone: ClientGone::Drain,
            drain_seconds_max: 120,
            drain_bytes_max: 16 * 1024 * 1024,
            drains_max: 1_000,
            audit_sample: Share(0.01),
            failed_reply: Payer::Customer,
            empty_reply: Payer::Customer,
            content_filter: Payer::Customer,
            refusal: Payer::Customer,
            budget_end: BudgetEnd::Finish,
        }
    }
}

/// A share of requests, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(f64);

// It is never NaN.
impl Eq for Share {}

/// A number that is no share.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no share: accepted is a number from 0 (none) to 1 (all)")]
pub struct NoShare(f64);

impl TryFrom<f64> for Share {
    type Error = NoShare;

    fn try_from(share: f64) -> Result<Self, NoShare> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(NoShare(share)) }
    }
}

impl Share {
    /// Every one of them.
    pub const ALL: Self = Self(1.0);

    /// Whether `request` is in it. Its id decides, so that the answer is always the same.
    pub(crate) fn takes(self, request: RequestId) -> bool {
        // The last bits of an id are random.
        let [.., a, b, c, d] = *request.as_uuid().as_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) < self.0 * (f64::from(u32::MAX) + 1.0)
    }
}

/// What happens to the upstream call when its client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientGone {
    /// Read on to the end, within bounds, and bill what the provider reports.
    Drain,
    /// Cancel it, and bill what was delivered.
    Cancel,
}

/// What happens to a stream whose budget leaves no room for the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetEnd {
    /// It completes. What goes beyond the budget is an overage: nothing is served until it is
    /// covered.
    Finish,
    /// It ends with an error, without its terminal event, and is billed to that point.
    HardStop,
}

/// Who pays for tokens that a provider charges us for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// The customer, at the usual price.
    Customer,
    /// Nobody: the tokens stay on the row, the customer's cost is zero.
    Nobody,
}

/// `[[policy]]`: other settings of `[metering]` for the requests that match all its patterns. Of
/// several that match, the first that has a setting decides it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// Whose requests, exact or a glob; absent: everyone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// For which model as the client names it, exact or a glob; absent: for every model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// On which endpoint by its name on rows, exact or a glob; absent: on every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_gone: Option<ClientGone>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds_max: Option<u32>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_bytes_max: Option<u64>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_reply: Option<Payer>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_reply: Option<Payer>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_filter: Option<Payer>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Payer>,
    /// As in `[metering]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_end: Option<BudgetEnd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(share: f64) -> usize {
        let share = Share::try_from(share).unwrap();
        let ids = (0..1_000_u32).map(|n| {
            // Bits as they come from a good source: spread by a Weyl sequence.
            let random = n.wrapping_mul(0x9e37_79b9);
            format!("019a0000-0000-7000-8000-0000{random:08x}").parse::<RequestId>().unwrap()
        });
        ids.filter(|id| share.takes(*id)).count()
    }

    #[test]
    fn a_share_of_the_requests_is_taken() {
        assert_eq!((taken(0.0), taken(1.0)), (0, 1_000));
        assert!(taken(0.1).abs_diff(100) < 5, "{}", taken(0.1));
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for no_share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Share::try_from(no_share).is_err(), "{no_share}");
        }
        assert_eq!(
            Share::try_from(1.5).unwrap_err().to_string(),
            "1.5 is no share: accepted is a number from 0 (none) to 1 (all)"
        );
    }
}
