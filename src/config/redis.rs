//! `[redis]`: where several gateways keep what they share.

use std::fmt;

use redis::IntoConnectionInfo as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::ConfigError;

/// Stands for a password wherever the configuration is printed.
const MASK: &str = "********";
const ACCEPTED: &str = "accepted: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] or unix:///PATH";

/// `[redis]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisSection {
    /// Where Redis listens. A password in it is masked wherever it is printed.
    pub(crate) url: RedisUrl,
}

impl RedisSection {
    /// # Errors
    /// [`ConfigError::Key`] when the URL cannot be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.url.check().map_err(|problem| ConfigError::value("redis.url", problem))
    }
}

/// The address of a Redis server, with the password that it may hold.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct RedisUrl(SecretString);

impl RedisUrl {
    pub(super) fn check(&self) -> Result<(), String> {
        let text = self.0.expose_secret();
        if text.starts_with("rediss://") {
            return Err(format!("asks for TLS, which is not built in, {ACCEPTED}"));
        }
        // The parser's own words may hold the password.
        text.into_connection_info().map_err(|_| format!("is not usable, {ACCEPTED}"))?;
        Ok(())
    }

    /// The whole address, for whoever connects.
    pub(crate) fn secret(&self) -> SecretString {
        self.0.clone()
    }

    /// The text without its password.
    fn masked(&self) -> String {
        let text = self.0.expose_secret();
        let Some((scheme, rest)) = text.split_once("://") else { return MASK.to_owned() };
        // Unix sockets take their password in the query, and have no login.
        if scheme.contains("unix") {
            let path = rest.split_once('?').map_or(rest, |(path, _)| path);
            return format!("{scheme}://{path}");
        }
        // A password may hold anything, `/` and `?` too: what is before the last `@` is a login.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let place = place.split_once('?').map_or(place, |(place, _)| place);
        match login {
            None => format!("{scheme}://{place}"),
            Some(login) => {
                let user = login.split_once(':').map_or("", |(user, _)| user);
                format!("{scheme}://{user}:{MASK}@{place}")
            }
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for RedisUrl {}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RedisUrl {
        RedisUrl(text.to_owned().into())
    }

    #[test]
    fn a_password_is_never_printed() {
        for (text, printed) in [
            ("redis://h:6379/2", "redis://h:6379/2"),
            ("redis://:hunter2@h/1", "redis://:********@h/1"),
            ("redis://u:hunter2@h", "redis://u:********@h"),
            ("redis://u:hunter2/x@h", "redis://u:********@h"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("unix:///run/redis.sock?pass=hunter2", "unix:///run/redis.sock"),
            ("hunter2", "********"),
        ] {
            let masked = url(text).masked();

            assert!(!masked.contains("hunter2"), "{masked}");
            assert_eq!(masked, printed);
            assert_eq!(format!("{:?}", url(text)), masked);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_quoting_it() {
        for text in ["hunter2", "http://hunter2@h", "rediss://:hunter2@h", "redis://h/hunter2"] {
            let problem = url(text).check().unwrap_err();

            assert!(problem.contains(ACCEPTED), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        for text in ["redis://h", "redis://u:p@h:1/3", "unix:///run/redis.sock"] {
            url(text).check().unwrap();
        }
    }
}
