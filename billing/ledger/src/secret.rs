//! Secrets of keys and tokens, and public ids.
//!
//! A secret is a prefix, 32 random bytes in base 62 and a check suffix: CRC-32C of all before it,
//! in base 62. The suffix lets a scanner or a client tell a mistyped key from a revoked one
//! without asking; it is no protection.

use std::fmt;

use chrono::{DateTime, Utc};
use permille_types::KeyHash;
use rand::{TryRng, rngs::SysRng};
use secrecy::{ExposeSecret, SecretString};

use crate::{LedgerError, pepper::Pepper};

/// Prefix of a virtual key.
pub const KEY_PREFIX: &str = "sk-pm_";
/// Prefix of an API token.
pub const TOKEN_PREFIX: &str = "pmt_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is the first power of 62 above 2^256.
const BODY_CHARS: usize = 43;
/// 62^6 is the first power of 62 above 2^32.
const CHECK_CHARS: usize = 6;
/// 62^8 milliseconds reach beyond the year 8800.
const TIME_CHARS: usize = 8;
/// 62^11 is the first power of 62 above 2^64.
const UNIQUE_CHARS: usize = 11;
/// How much of a secret's body is stored and shown, at either end.
const SHOWN_CHARS: usize = 4;

/// A secret that was just made: shown once, stored as a digest.
#[derive(Debug)]
pub(crate) struct Minted {
    /// The secret itself, to be handed to its user.
    pub(crate) secret: SecretString,
    /// What is stored of it.
    pub(crate) stored: StoredSecret,
}

/// What is kept of a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredSecret {
    /// HMAC-SHA-256 under the pepper.
    pub(crate) digest: KeyHash,
    /// Its prefix and first 4 characters.
    pub(crate) prefix: String,
    /// Its last 4 characters.
    pub(crate) last4: String,
}

impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSecret({}…{})", self.prefix, self.last4)
    }
}

pub(crate) fn mint(prefix: &str, pepper: &Pepper) -> Result<Minted, LedgerError> {
    let mut text = format!("{prefix}{}", base62(&random_bytes::<32>()?, BODY_CHARS));
    let check = base62(&crc32c::crc32c(text.as_bytes()).to_be_bytes(), CHECK_CHARS);
    text.push_str(&check);
    let shown = prefix.len().saturating_add(SHOWN_CHARS);
    let last4 = text.len().saturating_sub(SHOWN_CHARS);
    let stored = StoredSecret {
        digest: pepper.digest(&text),
        prefix: text.get(..shown).unwrap_or_default().to_owned(),
        last4: text.get(last4..).unwrap_or_default().to_owned(),
    };
    Ok(Minted { secret: SecretString::from(text), stored })
}

/// Whether `secret` has the form that this installation gives out: prefix, length, check suffix.
#[must_use]
pub fn is_well_formed(prefix: &str, secret: &SecretString) -> bool {
    let text = secret.expose_secret();
    let Some(body) = text.strip_prefix(prefix) else { return false };
    if body.len() != BODY_CHARS.saturating_add(CHECK_CHARS)
        || !body.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return false;
    }
    let (checked, check) = text.split_at(text.len().saturating_sub(CHECK_CHARS));
    base62(&crc32c::crc32c(checked.as_bytes()).to_be_bytes(), CHECK_CHARS) == check
}

/// A public id that sorts by the time it was made: prefix, milliseconds, 64 random bits.
pub(crate) fn public_id(prefix: &str, at: DateTime<Utc>) -> Result<String, LedgerError> {
    let time = base62(&at.timestamp_millis().to_be_bytes(), TIME_CHARS);
    Ok(format!("{prefix}{time}{}", base62(&random_bytes::<8>()?, UNIQUE_CHARS)))
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], LedgerError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|cause| LedgerError::Random { reason: cause.to_string() })?;
    Ok(bytes)
}

/// `bytes` as a big-endian number in base 62, zero-padded to `chars`.
fn base62(bytes: &[u8], chars: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(chars);
    for _ in 0..chars {
        let mut remainder = 0_u16;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        digits.push(ALPHABET.get(usize::from(remainder)).copied().unwrap_or(b'0'));
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper() -> Pepper {
        Pepper::new([1; 32])
    }

    #[test]
    fn a_minted_key_is_well_formed_and_every_changed_character_shows() {
        let minted = mint(KEY_PREFIX, &pepper()).unwrap();
        let text = minted.secret.expose_secret().to_owned();

        assert!(is_well_formed(KEY_PREFIX, &minted.secret));
        assert_eq!(text.len(), 6 + 43 + 6);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
            let changed = SecretString::from(String::from_utf8(bytes).unwrap());
            assert!(!is_well_formed(KEY_PREFIX, &changed), "place {place}");
        }
    }

    #[test]
    fn a_token_is_no_key() {
        let minted = mint(TOKEN_PREFIX, &pepper()).unwrap();

        assert!(!is_well_formed(KEY_PREFIX, &minted.secret));
        assert!(is_well_formed(TOKEN_PREFIX, &minted.secret));
    }

    #[test]
    fn what_is_stored_shows_four_characters_at_either_end_and_no_more() {
        let minted = mint(KEY_PREFIX, &pepper()).unwrap();
        let text = minted.secret.expose_secret();

        assert_eq!(minted.stored.prefix.len(), KEY_PREFIX.len() + 4);
        assert!(text.starts_with(&minted.stored.prefix));
        assert!(text.ends_with(&minted.stored.last4) && minted.stored.last4.len() == 4);
        assert!(!format!("{minted:?}").contains(text));
    }

    #[test]
    fn public_ids_sort_by_time() {
        let early = DateTime::from_timestamp_millis(1_700_000_000_000).unwrap();
        let late = DateTime::from_timestamp_millis(1_700_000_000_001).unwrap();

        assert!(public_id("inv_", early).unwrap() < public_id("inv_", late).unwrap());
    }

    #[test]
    fn base_62_counts_in_the_order_of_its_alphabet() {
        assert_eq!(base62(&[0], 2), "00");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[0xff; 32], 43).len(), 43);
    }
}
