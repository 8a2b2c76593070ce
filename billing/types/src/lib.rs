//! The wire contract between gateway and billing: identifiers, token counts, usage events,
//! money, prices, policy snapshots and the intake.
//!
//! Pure data: no input or output, no clock but the [`Clock`] trait, no arithmetic beyond what a
//! value needs to stay valid. Counting lives in `permille-usage`, pricing in `permille-rating`.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::float_arithmetic)]

// Unit tests share the events of `tests/`, which name this crate as others do.
#[cfg(test)]
extern crate self as permille_types;

mod clock;
mod control;
mod day_window;
#[cfg(test)]
#[path = "../tests/events/mod.rs"]
mod events;
mod family;
mod id;
mod limit;
mod money;
mod pack;
mod packed;
mod policy;
mod price;
pub mod schema;
mod stream;
mod token_counts;
mod tokens;
mod usage;
mod wire;

pub use clock::{Clock, SystemClock};
pub use control::{Ack, Batch, ControlError, ControlPlane, Intake, Sequenced, StoredResponse};
pub use day_window::{DayWindow, DayWindowError};
pub use family::{Endpoint, Family};
pub use id::{
    CustomerId, DocumentNumber, IdError, InvoiceId, KeyId, ModelName, NodeId, PriceVersion,
    ProjectId, RequestId, SessionId, UpstreamName,
};
pub use iso_currency::Currency;
pub use limit::{Level, Limit, Measure, NodeSequence, SpendAccount, SpendQuery, Spent};
pub use money::{Money, MoneyError, NotMoney, PricePerThousand};
pub use packed::PackedError;
pub use policy::{KeyHash, KeyPolicy, PrepaidCredit, Snapshot};
pub use price::{Band, Condition, Derived, Price, Rates, Relative, Side};
pub use stream::{
    ANSWER_REPLY, ENTRY_ATTEMPT, ENTRY_BATCH, StreamOutcome, StreamReply, USAGE_GROUP,
    USAGE_STREAM, answer_key,
};
pub use token_counts::TokenCounts;
pub use tokens::{TokenClass, TokenCount, Unit, UnitCounts};
pub use usage::{
    Attempt, Ended, Flag, Intent, Progress, Source, TurnKind, USAGE_EVENT_VERSION, UsageEvent,
    UsageEventError,
};
pub use wire::{
    BATCH_MEDIA_TYPE, BATCH_VERSION, INTAKE_PATH, IntakeReply, SNAPSHOT_PATH, SPENT_PATH,
    STORED_RESPONSE_PATH, StoredReply, TURN_PATH, TurnReply, WIRE_VERSION, WireError,
};
