//! Limits: how much may be used together by whom, and what was spent so far.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{CustomerId, NodeId, WIRE_VERSION};

/// Whose usage is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Everything of a customer.
    Customer,
    /// A cost centre.
    Project,
    /// A virtual key.
    Key,
    /// A conversation.
    Session,
}

impl Level {
    /// The level's name in rows, metrics and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Project => "project",
            Self::Key => "key",
            Self::Session => "session",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Requests per minute: a full minute's worth may come at once, then one each 60/n seconds.
    RequestsPerMinute,
    /// Input and output tokens per minute.
    TokensPerMinute,
    /// Requests whose replies have not ended.
    OpenRequests,
    /// Cost of a day of the customer's time zone, in 10⁻⁹ of the currency unit.
    SpendPerDay,
    /// Cost of a month of the customer's time zone, in 10⁻⁹ of the currency unit.
    SpendPerMonth,
    /// Cost since the beginning, in 10⁻⁹ of the currency unit.
    Spend,
}

impl Measure {
    /// The measure's name in metrics and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::OpenRequests => "open_requests",
            Self::SpendPerDay => "spend_per_day",
            Self::SpendPerMonth => "spend_per_month",
            Self::Spend => "spend",
        }
    }

    /// Whether it is an amount of money.
    #[must_use]
    pub fn is_money(self) -> bool {
        matches!(self, Self::SpendPerDay | Self::SpendPerMonth | Self::Spend)
    }
}

/// One limit as the gateway enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Whose usage is counted together.
    pub level: Level,
    /// What is counted.
    pub measure: Measure,
    /// How much of it, in the unit of the measure.
    pub max: u64,
    /// From which part of it on answers warn, in percent of `max`.
    pub warn_percent: u8,
}

/// Whose spending of when is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendAccount {
    /// Whose.
    pub level: Level,
    /// The id of the customer, project, key or session.
    pub id: String,
    /// First instant of the period, the start of a local day; absent is since the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// First instant after the period; absent where `from` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Accounts of one customer whose spending is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendQuery {
    /// Whose accounts.
    pub customer: CustomerId,
    /// Which of them.
    pub accounts: Vec<SpendAccount>,
}

/// How far one node's journal is part of what was spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSequence {
    /// Whose journal.
    pub node: NodeId,
    /// Every event up to this one is committed.
    pub sequence: u64,
}

/// What was spent, as of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// The version of this body.
    pub version: u16,
    /// The spending of each account in the order of the question, in 10⁻⁹ of the currency unit.
    pub nano: Vec<i64>,
    /// Whose events are in it, and up to which.
    pub journals: Vec<NodeSequence>,
}

impl Spent {
    /// What this build writes.
    #[must_use]
    pub fn new(nano: Vec<i64>, journals: Vec<NodeSequence>) -> Self {
        Self { version: WIRE_VERSION, nano, journals }
    }

    /// Up to which event of `node` it counts; 0 where none is in it.
    #[must_use]
    pub fn sequence_of(&self, node: &NodeId) -> u64 {
        self.journals.iter().find(|known| known.node == *node).map_or(0, |known| known.sequence)
    }
}
