//! The packed form of an event: what the journal holds and the hand-over carries.
//!
//! It has about a third of the bytes of its JSON. All payloads that are not JSON (which opens with
//! `{`) begin like this, in this version and every later one:
//!
//! | part | what |
//! |---|---|
//! | 1 byte | [`MARK`] |
//! | `version` | the event's version, as a varint |
//! | [`Fields`] | what versions 1 to 5 have |
//!
//! An intent has the length of the request's body, as a varint, between mark and version.
//!
//! Fields are in postcard's wire format, in their order and without names: numbers are varints, a
//! text has its length in front, an absent field is one zero byte. A version that adds fields puts
//! them behind these, in a struct of their own, which is read where `version` says that it is
//! there. So every later build reads what is written today, with what it lacks absent; and this
//! build refuses by name what a later one wrote, as it does in JSON. No field is ever taken out or
//! moved. Endings, flags and the like stand as names, never as numbers that depend on their order.
//!
//! Here it is read; [`crate::pack`] writes it.
//!
//! Source: The postcard wire format specification, 1.0.

use chrono::DateTime;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer as _, value},
};

use crate::{
    Attempt, IdError, Intent, RequestId, TokenClass, TokenCount, TokenCounts, USAGE_EVENT_VERSION,
    UsageEvent, UsageEventError, pack::Packer, usage::OLDEST_VERSION,
};

/// The first byte of a packed payload.
const MARK: u8 = 1;

/// Why packed bytes are not an event.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// They are not the fields of one.
    #[error("read packed fields")]
    Fields(#[from] postcard::Error),
    /// More follows than the version has.
    #[error("{bytes} bytes follow the last field")]
    Longer {
        /// How many.
        bytes: usize,
    },
    /// An identifier is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A name stands for nothing.
    #[error("read the name of {what}")]
    Name {
        /// Of what kind.
        what: &'static str,
        /// What it stands for.
        #[source]
        cause: value::Error,
    },
    /// The time is none.
    #[error("{seconds} seconds since 1970 are no instant")]
    Instant {
        /// What was found.
        seconds: i64,
    },
}

/// A quantity under the name of its class or unit.
type Quantity<'a> = (&'a str, u64);

/// What an event of version 1 to 5 has behind its version, in the order of the bytes.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Fields<'a> {
    request_id: RequestId,
    seconds: i64,
    nanos: u32,
    customer: &'a str,
    project: &'a str,
    key: &'a str,
    session: &'a str,
    session_explicit: bool,
    turn: u32,
    turn_kind: Option<&'a str>,
    family: &'a str,
    endpoint: &'a str,
    model_requested: &'a str,
    model_served: Option<&'a str>,
    service_tier: Option<&'a str>,
    region: Option<&'a str>,
    upstream: Option<&'a str>,
    status: Option<u16>,
    streamed: bool,
    ended: &'a str,
    source: &'a str,
    #[serde(borrow)]
    tokens: Vec<Quantity<'a>>,
    input_total: Option<TokenCount>,
    output_total: Option<TokenCount>,
    resent_tokens: Option<TokenCount>,
    estimate_error_permille: Option<u32>,
    #[serde(borrow)]
    units: Vec<Quantity<'a>>,
    #[serde(borrow)]
    attempts: Vec<PackedAttempt<'a>>,
    latency_ms: u64,
    first_token_ms: Option<u64>,
    #[serde(borrow)]
    flags: Vec<&'a str>,
}

/// An attempt, in the order of the bytes.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
struct PackedAttempt<'a> {
    upstream: &'a str,
    model: Option<&'a str>,
    status: Option<u16>,
    provider_id: Option<&'a str>,
    provider_request_id: Option<&'a str>,
    ended: &'a str,
    #[serde(borrow)]
    tokens: Vec<Quantity<'a>>,
}

impl UsageEvent {
    /// The event as journal and hand-over carry it, see the module's text.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let mut payload = Packer::new(MARK);
        payload.number(self.version.into());
        payload.event(self);
        payload.finish()
    }

    /// Reads an event of any published version, packed or in JSON.
    ///
    /// # Errors
    /// [`UsageEventError`] when the bytes are no event or a newer build wrote them.
    pub fn from_payload(payload: &[u8]) -> Result<Self, UsageEventError> {
        match payload {
            [MARK, rest @ ..] => Self::unpack(rest),
            json => Self::from_json(json),
        }
    }

    fn unpack(rest: &[u8]) -> Result<Self, UsageEventError> {
        let packed = |cause: postcard::Error| UsageEventError::Packed(cause.into());
        let (version, rest) = postcard::take_from_bytes::<u16>(rest).map_err(packed)?;
        if !(OLDEST_VERSION..=USAGE_EVENT_VERSION).contains(&version) {
            return Err(UsageEventError::UnknownVersion { version });
        }
        let (fields, rest) = postcard::take_from_bytes::<Fields<'_>>(rest).map_err(packed)?;
        if !rest.is_empty() {
            return Err(UsageEventError::Packed(PackedError::Longer { bytes: rest.len() }));
        }
        fields.event(version).map_err(UsageEventError::Packed)
    }
}

impl Intent {
    /// The intent as the journal holds it: that of a request whose event would read `event` if
    /// the gateway died now, with a body of `request_bytes`.
    #[must_use]
    pub fn to_payload(event: &UsageEvent, request_bytes: u64) -> Vec<u8> {
        let mut payload = Packer::new(MARK);
        payload.number(request_bytes);
        payload.number(event.version.into());
        payload.event(event);
        payload.finish()
    }

    /// Reads an intent of any published version, packed or in JSON.
    ///
    /// # Errors
    /// [`UsageEventError`] when the bytes are no intent or a newer build wrote them.
    pub fn from_payload(payload: &[u8]) -> Result<Self, UsageEventError> {
        let [MARK, rest @ ..] = payload else {
            return serde_json::from_slice(payload).map_err(UsageEventError::Malformed);
        };
        let (request_bytes, rest) = postcard::take_from_bytes::<u64>(rest)
            .map_err(|cause| UsageEventError::Packed(cause.into()))?;
        Ok(Self { event: UsageEvent::unpack(rest)?, request_bytes })
    }
}

impl Fields<'_> {
    fn event(self, version: u16) -> Result<UsageEvent, PackedError> {
        let instant = || PackedError::Instant { seconds: self.seconds };
        let unit = |(name, count): &Quantity<'_>| Ok((named("unit", name)?, *count));
        Ok(UsageEvent {
            version,
            request_id: self.request_id,
            at: DateTime::from_timestamp(self.seconds, self.nanos).ok_or_else(instant)?,
            customer: self.customer.parse()?,
            project: self.project.parse()?,
            key: self.key.parse()?,
            session: self.session.parse()?,
            session_explicit: self.session_explicit,
            turn: self.turn,
            turn_kind: self.turn_kind.map(|name| named("kind of turn", name)).transpose()?,
            family: named("family", self.family)?,
            endpoint: named("endpoint", self.endpoint)?,
            model_requested: self.model_requested.parse()?,
            model_served: self.model_served.map(str::parse).transpose()?,
            service_tier: self.service_tier.map(str::to_owned),
            region: self.region.map(str::to_owned),
            upstream: self.upstream.map(str::parse).transpose()?,
            status: self.status,
            streamed: self.streamed,
            ended: named("ending", self.ended)?,
            source: named("source", self.source)?,
            tokens: counts(&self.tokens),
            input_total: self.input_total,
            output_total: self.output_total,
            resent_tokens: self.resent_tokens,
            estimate_error_permille: self.estimate_error_permille,
            units: self.units.iter().map(unit).collect::<Result<_, PackedError>>()?,
            attempts: self.attempts.iter().map(PackedAttempt::attempt).collect::<Result<_, _>>()?,
            latency_ms: self.latency_ms,
            first_token_ms: self.first_token_ms,
            flags: self.flags.iter().map(|name| named("flag", name)).collect::<Result<_, _>>()?,
        })
    }
}

impl PackedAttempt<'_> {
    fn attempt(&self) -> Result<Attempt, PackedError> {
        Ok(Attempt {
            upstream: self.upstream.parse()?,
            model: self.model.map(str::parse).transpose()?,
            status: self.status,
            provider_id: self.provider_id.map(str::to_owned),
            provider_request_id: self.provider_request_id.map(str::to_owned),
            ended: named("ending", self.ended)?,
            tokens: counts(&self.tokens),
        })
    }
}

fn counts(quantities: &[Quantity<'_>]) -> TokenCounts {
    quantities.iter().map(|(class, count)| (TokenClass::named(class), *count)).collect()
}

/// What `name` stands for, by the names that JSON has.
fn named<T: DeserializeOwned>(what: &'static str, name: &str) -> Result<T, PackedError> {
    T::deserialize(name.into_deserializer()).map_err(|cause| PackedError::Name { what, cause })
}
