//! What a request consumed: the event that travels from gateway to billing.
//!
//! One settled event per request, on every ending (M1). Published shapes are pinned by golden
//! files in `tests/golden/`; a change of shape is a new version. Version 2 adds the model of an
//! attempt and the flags of who pays; version 3 adds the region and the error bound of an estimate.
//! Version 4 adds the kind of turn and the resent tokens, version 5 the ending `budget`. What a
//! version adds is absent from those before.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    CustomerId, Endpoint, Family, KeyId, ModelName, PackedError, ProjectId, RequestId, SessionId,
    TokenCount, TokenCounts, UnitCounts, UpstreamName,
};

/// The version that this build writes.
pub const USAGE_EVENT_VERSION: u16 = 5;
/// The oldest version that this build reads.
pub(crate) const OLDEST_VERSION: u16 = 1;

/// Why bytes are not a usage event.
#[derive(Debug, thiserror::Error)]
pub enum UsageEventError {
    /// Not the JSON of an event.
    #[error("read usage event")]
    Malformed(#[source] serde_json::Error),
    /// Not the packed form of an event.
    #[error("read packed usage event")]
    Packed(#[source] PackedError),
    /// Written by a build whose events this one does not know.
    #[error("usage event has version {version}, this build reads up to {USAGE_EVENT_VERSION}")]
    UnknownVersion {
        /// The version found.
        version: u16,
    },
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The reply's terminal event or its whole body was released to the client.
    Complete,
    /// The client left first.
    ClientGone,
    /// The provider failed, cut the reply or answered with an error.
    UpstreamError,
    /// A time limit ran out.
    Deadline,
    /// A budget left no room for the rest, and the policy is to stop there.
    Budget,
    /// The gateway was stopping.
    Shutdown,
    /// The gateway died with the request open; settled at the next start.
    Orphaned,
}

impl Ended {
    /// The ending's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamError => "upstream_error",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
            Self::Shutdown => "shutdown",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Where the token counts come from (M3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The provider said so.
    Reported,
    /// Counted here, from the text.
    Estimated,
    /// The provider reported a part; the rest was counted here.
    Partial,
    /// Nothing is known, and nothing was counted.
    Missing,
}

impl Source {
    /// The source's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }
}

/// How a turn of a conversation came about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// The first request of its conversation.
    New,
    /// It goes on from the last reply with a new message.
    Continue,
    /// It goes on from the last reply with results of tools and no new message: an agent at work.
    ToolLoop,
    /// The same messages again: another reply is wanted in the place of the last.
    Regenerate,
    /// It goes on from an earlier reply, from which another request went on already.
    Branch,
}

impl TurnKind {
    /// The kind's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Continue => "continue",
            Self::ToolLoop => "tool_loop",
            Self::Regenerate => "regenerate",
            Self::Branch => "branch",
        }
    }
}

/// Something a reader of the row should know.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flag {
    /// The classes do not add up to the total that the provider reported.
    UsageMismatch,
    /// A model or class had no price when the request was rated.
    Unpriced,
    /// The tap could not read a part of the reply; the bytes passed unchanged.
    TapError,
    /// The upstream was read to its end after the client had gone.
    Drained,
    /// The upstream was cancelled when the client had gone.
    Cancelled,
    /// A drain ended at its bound of time, bytes or concurrency.
    DrainBound,
    /// The terminal frame went out before the journal had synced it.
    HoldExceeded,
    /// The work goes on in the background after the reply: usage is not known with it.
    Background,
    /// The provider's content filter cut or withheld the answer.
    ContentFilter,
    /// The model refused to answer.
    Refusal,
    /// The reply is complete and has no output.
    EmptyReply,
    /// The estimate is corrected by a ratio learnt from replies of this model that report.
    LearntRatio,
    /// By policy the customer pays nothing for it. The tokens are what the provider counted.
    NotBilled,
    /// Served by the built-in simulated provider; never on a final invoice.
    Simulated,
}

impl Flag {
    /// The flag's name in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsageMismatch => "usage_mismatch",
            Self::Unpriced => "unpriced",
            Self::TapError => "tap_error",
            Self::Drained => "drained",
            Self::Cancelled => "cancelled",
            Self::DrainBound => "drain_bound",
            Self::HoldExceeded => "hold_exceeded",
            Self::Background => "background",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::EmptyReply => "empty_reply",
            Self::LearntRatio => "learnt_ratio",
            Self::NotBilled => "not_billed",
            Self::Simulated => "simulated",
        }
    }
}

/// One call to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Which upstream was called.
    pub upstream: UpstreamName,
    /// The model that it was asked for; absent when that is the one the client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// HTTP status of its answer; absent when it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The id in the reply's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The id in the reply's headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// How the attempt ended.
    pub ended: Ended,
    /// What the provider counted for this attempt.
    pub tokens: TokenCounts,
}

/// What one request consumed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageEvent {
    /// Shape of this event: [`USAGE_EVENT_VERSION`].
    pub version: u16,
    /// Our id of the request.
    pub request_id: RequestId,
    /// When the request was admitted. Decides price and period.
    #[serde(serialize_with = "in_one_piece")]
    pub at: DateTime<Utc>,
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// The key that was used.
    pub key: KeyId,
    /// The conversation. A request without an explicit one is a session of its own.
    pub session: SessionId,
    /// Whether the client named the session.
    pub session_explicit: bool,
    /// Turn inside the session, from 1.
    pub turn: u32,
    /// How the turn came about; absent where the request's place in a conversation is not known,
    /// and before version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_kind: Option<TurnKind>,
    /// Wire family of the upstream: its convention is that of the counts.
    pub family: Family,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The model as the client asked for it.
    pub model_requested: ModelName,
    /// The model that the reply names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_served: Option<ModelName>,
    /// The service tier that the reply names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The region of the upstream of the attempt that answered, as the configuration names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The upstream of the attempt that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamName>,
    /// HTTP status sent to the client; absent when none was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the reply was a stream.
    pub streamed: bool,
    /// How the request ended.
    pub ended: Ended,
    /// Where the counts come from.
    pub source: Source,
    /// Tokens by disjoint class.
    pub tokens: TokenCounts,
    /// Sum of the input classes; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_total: Option<TokenCount>,
    /// Sum of the output classes; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_total: Option<TokenCount>,
    /// Tokens of the input that this session had sent or received before, an estimate; absent where
    /// no turn before is known, and before version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resent_tokens: Option<TokenCount>,
    /// How far off the tokens that were estimated may be, in thousandths of them; absent where none
    /// were, and before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_error_permille: Option<u32>,
    /// Quantities that are not tokens.
    #[serde(default, skip_serializing_if = "UnitCounts::is_empty")]
    pub units: UnitCounts,
    /// Every upstream call, in order.
    pub attempts: Vec<Attempt>,
    /// Milliseconds from admission to settlement.
    pub latency_ms: u64,
    /// Milliseconds from admission to the first byte of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// What else a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
}

/// The instant as it would be serialized anyway, but not character by character.
fn in_one_piece<S: Serializer>(at: &DateTime<Utc>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

impl UsageEvent {
    /// The event as one line of JSON: what proofs and exports hold, and what tells whether two
    /// events are the same. Journal and hand-over carry [`UsageEvent::to_payload`].
    ///
    /// # Errors
    /// [`UsageEventError::Malformed`] when a value cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, UsageEventError> {
        serde_json::to_vec(self).map_err(UsageEventError::Malformed)
    }

    /// Reads an event of any published version.
    ///
    /// # Errors
    /// [`UsageEventError`] when the bytes are no event or a newer build wrote them.
    pub fn from_json(bytes: &[u8]) -> Result<Self, UsageEventError> {
        /// The one field that every version shares.
        #[derive(Deserialize)]
        struct Versioned {
            version: u16,
        }
        match serde_json::from_slice::<Self>(bytes) {
            Ok(event) if (OLDEST_VERSION..=USAGE_EVENT_VERSION).contains(&event.version) => {
                Ok(event)
            }
            Ok(event) => Err(UsageEventError::UnknownVersion { version: event.version }),
            Err(cause) => match serde_json::from_slice::<Versioned>(bytes) {
                Ok(Versioned { version }) if version > USAGE_EVENT_VERSION => {
                    Err(UsageEventError::UnknownVersion { version })
                }
                _ => Err(UsageEventError::Malformed(cause)),
            },
        }
    }

    /// The model that prices this request: the served one where the reply names it, else the
    /// one that was asked for.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        self.model_served.as_ref().unwrap_or_else(|| self.model_asked())
    }

    /// The model that the last upstream was asked for: what an alias stands for, else what the
    /// client wrote.
    #[must_use]
    pub fn model_asked(&self) -> &ModelName {
        let last = self.attempts.last().and_then(|attempt| attempt.model.as_ref());
        last.unwrap_or(&self.model_requested)
    }

    /// Adds `flag` once.
    pub fn flag(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }
}

/// Written before the upstream call: from here on the request exists, whatever crashes.
///
/// Carries the event as it would read if the gateway died now, so that recovery needs nothing
/// else. Never a prompt: only its length (S1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The event of a request that ends here, `ended = orphaned`, `source = missing`.
    pub event: UsageEvent,
    /// Length of the request body in bytes.
    pub request_bytes: u64,
}

/// Written now and then while a stream runs: the counts known so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Which request.
    pub request_id: RequestId,
    /// Tokens known so far, reported or estimated.
    pub tokens: TokenCounts,
    /// Where they come from.
    pub source: Source,
    /// Sum of the input classes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_total: Option<TokenCount>,
    /// Sum of the output classes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_total: Option<TokenCount>,
    /// How far off the tokens that were estimated may be, in thousandths of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_error_permille: Option<u32>,
    /// The model that the reply names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_served: Option<ModelName>,
}
