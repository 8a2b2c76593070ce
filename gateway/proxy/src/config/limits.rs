//! Where limits are counted.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// `[limits]`: how limits are enforced where several gateways share them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// What happens to requests that meet a limit while Redis is away.
    pub away: Away,
    /// How many gateways share the limits: while Redis is away each serves one of so many shares.
    /// To be given with [`Away::Share`]; absent, there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<u32>,
    /// Milliseconds that one request may wait for Redis.
    pub wait_ms: u32,
}

impl Default for LimitsSection {
    /// A step takes a millisecond; what takes a quarter of a second is not going to come.
    fn default() -> Self {
        Self { away: Away::Refuse, gateways: None, wait_ms: 250 }
    }
}

/// What happens while the shared books are away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Away {
    /// Requests that meet a limit are refused.
    Refuse,
    /// Each gateway serves its share of what the ledger says is left.
    Share,
}

/// The section and where the shared books are.
#[derive(Debug, Clone, Default)]
pub struct LimitsConfig {
    /// `[limits]`.
    pub section: LimitsSection,
    /// `redis.url`; absent, limits are counted in this process.
    pub redis_url: Option<SecretString>,
}
