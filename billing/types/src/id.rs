//! Typed identifiers. Text identifiers are cheap to clone (`Arc<str>`), because every request
//! carries several of them.

use std::{fmt, str::FromStr, sync::Arc};

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::{NoContext, Timestamp, Uuid};

/// Longest accepted text identifier, in bytes: what fits an index row and a log line.
const ID_BYTES_MAX: usize = 256;

/// Text without control characters, as a schema says it.
const ON_ONE_LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{kind} is empty")]
    Empty {
        /// Which identifier.
        kind: &'static str,
    },
    /// The text is longer than 256 bytes.
    #[error("{kind} has {bytes} bytes, at most {ID_BYTES_MAX} are accepted")]
    TooLong {
        /// Which identifier.
        kind: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The text holds a control character.
    #[error("{kind} holds a control character")]
    ControlCharacter {
        /// Which identifier.
        kind: &'static str,
    },
    /// The text is not a UUID.
    #[error("`{text}` is not a request id (a UUID)")]
    NotUuid {
        /// What was given.
        text: String,
    },
}

fn checked<'a>(kind: &'static str, text: &'a str) -> Result<&'a str, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if text.len() > ID_BYTES_MAX {
        return Err(IdError::TooLong { kind, bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::ControlCharacter { kind });
    }
    Ok(text)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                checked($kind, text).map(|text| Self(text.into()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": ID_BYTES_MAX,
                    "pattern": ON_ONE_LINE,
                })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

text_id!(
    /// Who is billed.
    CustomerId, "customer id"
);
text_id!(
    /// A cost centre inside a customer.
    ProjectId, "project id"
);
text_id!(
    /// A virtual API key of a project: its public id, never the secret.
    KeyId, "key id"
);
text_id!(
    /// A multi-turn conversation, unique inside its customer.
    SessionId, "session id"
);
text_id!(
    /// A model as a client or a provider names it.
    ModelName, "model name"
);
text_id!(
    /// A provider endpoint with our credential, as the configuration names it.
    UpstreamName, "upstream name"
);
text_id!(
    /// One price over one interval; derived from its content, so it never changes meaning.
    PriceVersion, "price version"
);
text_id!(
    /// A gateway node: the owner of one journal.
    NodeId, "node id"
);
text_id!(
    /// An invoice, draft or final.
    InvoiceId, "invoice id"
);
text_id!(
    /// The number of a document that was issued: gapless in its series.
    DocumentNumber, "document number"
);

/// One request through the gateway. Ours (`UUIDv7`), never the provider's or the client's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new id for a request admitted at `at`.
    #[must_use]
    pub fn new(at: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(at.timestamp()).unwrap_or_default();
        Self(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, at.timestamp_subsec_nanos())))
    }

    /// The id of the event that settles this request later, and of the request that such an event
    /// settles: each is the other's. Nobody has to remember it, so that whoever settles writes the
    /// same id, and the second time changes nothing (B6). Another request has it by chance as
    /// rarely as it has this one.
    #[must_use]
    pub fn settlement(self) -> Self {
        // Time, version and variant stay: the last 62 bits are the random ones.
        const RANDOM: u128 = (1 << 62) - 1;
        Self(Uuid::from_u128(self.0.as_u128() ^ RANDOM))
    }

    /// The id whose 16 bytes these are; absent for another number of bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// The id as text, in `buffer`: without memory of its own.
    #[must_use]
    pub fn text_in<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<RequestId> for SessionId {
    /// The session of a request that belongs to none but its own.
    fn from(id: RequestId) -> Self {
        Self(Arc::from(id.text_in(&mut [0; 36])))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::from_str(text).map(Self).map_err(|_| IdError::NotUuid { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_refuses_control_characters_and_over_length() {
        assert!("a\nb".parse::<CustomerId>().is_err());
        assert!("".parse::<CustomerId>().is_err());
        assert!("x".repeat(257).parse::<SessionId>().is_err());

        assert_eq!("acme".parse::<CustomerId>().unwrap().as_str(), "acme");
    }

    #[test]
    fn a_settlement_and_its_request_are_each_others_at_the_same_time() {
        let request = RequestId::new(DateTime::from_timestamp(1_000, 0).unwrap());
        let settlement = request.settlement();

        assert_ne!(settlement, request);
        assert_eq!(settlement.settlement(), request);
        assert_eq!(settlement.as_uuid().get_version_num(), 7);
        assert_eq!(settlement.as_uuid().get_timestamp(), request.as_uuid().get_timestamp());
    }

    #[test]
    fn request_ids_sort_by_admission_time() {
        let early = RequestId::new(DateTime::from_timestamp(1_000, 0).unwrap());
        let late = RequestId::new(DateTime::from_timestamp(2_000, 0).unwrap());

        assert!(early < late);
        assert_eq!(early.to_string().parse::<RequestId>().unwrap(), early);
    }
}
