//! The installation's pepper: the secret under which key secrets are hashed.
//!
//! It lives in a file of its own beside the database, so that a copy of the database alone does
//! not let anyone test guesses. Losing it makes every key unusable: it is part of a backup.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use hmac::{Hmac, KeyInit, Mac};
use permille_types::KeyHash;
use secrecy::SecretString;
use sha2::Sha256;

use crate::{LedgerError, secret::random_bytes};

/// Length of the pepper: the block that HMAC-SHA-256 gains full strength from.
const PEPPER_BYTES: usize = 32;

/// 32 random bytes that never leave the data folder, but for the gateway's snapshot.
#[derive(Clone, PartialEq, Eq)]
pub struct Pepper([u8; PEPPER_BYTES]);

impl Pepper {
    /// A pepper of known bytes.
    #[must_use]
    pub fn new(bytes: [u8; PEPPER_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads the pepper at `path`; makes it, mode 0600, when there is none.
    ///
    /// The file holds 64 hexadecimal digits. A file that others may read is refused.
    ///
    /// # Errors
    /// [`LedgerError::Pepper`] when the file cannot be read or made, does not hold a pepper, or
    /// is open to others; [`LedgerError::Random`] when no random bytes are to be had.
    pub fn load_or_create(path: &Path) -> Result<Self, LedgerError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::read(path, &text),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(cause) => Err(failed("read", path, cause)),
        }
    }

    fn read(path: &Path, text: &str) -> Result<Self, LedgerError> {
        let mode = fs::metadata(path).map_err(|cause| failed("read", path, cause))?;
        if mode.permissions().mode() & 0o077 != 0 {
            let cause = io::Error::other("others may read it; run `chmod 600` on it");
            return Err(failed("read", path, cause));
        }
        let mut bytes = [0; PEPPER_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| failed("read", path, io::Error::other("not 64 hexadecimal digits")))?;
        Ok(Self(bytes))
    }

    fn create(path: &Path) -> Result<Self, LedgerError> {
        let pepper = Self(random_bytes()?);
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(hex::encode(pepper.0).as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            // Keys are made right after: the file's name must survive a power loss with them.
            match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => fs::File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|cause| failed("create", path, cause))?;
        Ok(pepper)
    }

    /// HMAC-SHA-256 of `secret`, the whole text with its prefix, under these 32 bytes.
    #[must_use]
    pub fn digest(&self, secret: &str) -> KeyHash {
        // HMAC fills a key up to its 64-byte block with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block.iter_mut().zip(self.0).for_each(|(place, byte)| *place = byte);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(secret.as_bytes());
        KeyHash::new(mac.finalize().into_bytes().into())
    }

    /// The 32 bytes as 64 hexadecimal digits, for the gateway's snapshot.
    #[must_use]
    pub fn to_hex(&self) -> SecretString {
        hex::encode(self.0).into()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

fn failed(operation: &'static str, path: &Path, cause: io::Error) -> LedgerError {
    LedgerError::Pepper { operation, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pepper_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");

        let made = Pepper::load_or_create(&path).unwrap();
        let read = Pepper::load_or_create(&path).unwrap();

        assert!(made == read);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{made:?}"), "Pepper(…)");
    }

    #[test]
    fn a_pepper_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        Pepper::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        assert!(matches!(Pepper::load_or_create(&path), Err(LedgerError::Pepper { .. })));
    }

    #[test]
    fn a_damaged_pepper_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        Pepper::load_or_create(&path).unwrap();
        fs::write(&path, "abc").unwrap();

        assert!(Pepper::load_or_create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc");
    }

    #[test]
    fn the_digest_is_the_published_hmac() {
        // Source: RFC 4231 has no 32-byte key; computed with Python's hmac module.
        let pepper = Pepper::new([7; 32]);

        let digest = pepper.digest("sk-pm_test");

        assert_eq!(hex::encode(digest.as_bytes()), EXPECTED);
    }

    const EXPECTED: &str = "db36d48368773277d9d52af678a268839c7b2d0c4c5a2c8def01fa1eae657573";
}
