//! What the gateway must know to admit a request without asking billing: keys, their owners and
//! limits, and the prices. Billing publishes a new snapshot when any of it changes.

use std::fmt;

use chrono_tz::Tz;
use iso_currency::Currency;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::{CustomerId, KeyId, Limit, Price, ProjectId};

/// HMAC-SHA-256 of a key's secret under the installation's pepper. Never the secret (S2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Wraps a computed digest.
    #[must_use]
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut digest).map_err(serde::de::Error::custom)?;
        Ok(Self(digest))
    }
}

/// One virtual key: whose it is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPolicy {
    /// How the gateway finds the key.
    pub hash: KeyHash,
    /// The key's public id.
    pub key: KeyId,
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// The customer's billing currency: a price in another one does not apply.
    pub currency: Currency,
    /// Requests per minute as billing told them apart until 2026-11-27; now they are in `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    /// Every limit of a request with this key: of its customer, its project, the key itself
    /// and each of its sessions, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// What the customer has in prepaid credit, where their plan is prepaid. `limits` holds to it:
    /// this says how it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepaid: Option<PrepaidCredit>,
    /// By whose days and months limits of money count; absent is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Tz>,
    /// A revoked key stays known, so that its refusal can say why.
    pub revoked: bool,
}

/// How far a customer's prepaid credit goes, in 10⁻⁹ of the currency unit. It is counted as all
/// that the customer has ever spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepaidCredit {
    /// At this nothing is left.
    pub max: u64,
    /// From here on answers warn; absent where they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_from: Option<u64>,
}

/// Everything the gateway knows of billing, at one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    /// Secret under which key secrets are hashed, hexadecimal.
    #[serde(serialize_with = "exposed")]
    pub pepper: SecretString,
    /// All keys, revoked ones too.
    pub keys: Vec<KeyPolicy>,
    /// The price book.
    pub prices: Vec<Price>,
}

fn exposed<S: Serializer>(secret: &SecretString, s: S) -> Result<S::Ok, S::Error> {
    // The snapshot only travels between our own halves, authenticated, and to a 0600 file.
    s.serialize_str(secret.expose_secret())
}
