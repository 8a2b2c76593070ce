//! Where a store is.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use super::READERS_MAX;
use crate::LedgerError;

/// Connections for reading that a process may have to a database. One can serve everyone, in turn;
/// with a hundred, a few processes take all that a server has.
const READERS: RangeInclusive<u32> = 1..=99;

/// Seconds that a statement may wait for its answer. A summary of a year may take minutes, and TCP
/// gives up what is not acknowledged after some 15 minutes too.
const ANSWER_SECONDS: u32 = 900;
/// Those that it may be told to wait.
const ANSWER_SECONDS_ACCEPTED: RangeInclusive<u32> = 1..=86_400;

/// Where a store is.
#[derive(Debug, Clone)]
pub enum StoreAddress {
    /// A file, made when there is none.
    Sqlite(PathBuf),
    /// A database of a server.
    Postgres(PostgresAddress),
}

impl From<PathBuf> for StoreAddress {
    fn from(path: PathBuf) -> Self {
        Self::Sqlite(path)
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

/// A database of a `PostgreSQL` server. Its texts name server and database, never the password.
#[derive(Clone)]
pub struct PostgresAddress {
    options: Box<PgConnectOptions>,
    readers_max: u32,
    answer_seconds: u32,
    shown: String,
}

impl PostgresAddress {
    /// The database that `url` names: `postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full`.
    ///
    /// Source: `PostgreSQL` documentation, "Connection URIs".
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when `url` does not parse or holds a password: URLs are shown and
    /// logged.
    pub fn new(url: &str, password: Option<&SecretString>) -> Result<Self, LedgerError> {
        const ACCEPTED: &str = "postgres://USER@HOST:PORT/DATABASE without a password";
        // What does not parse may hold a password all the same.
        let refused = |what: &str| LedgerError::invalid("store URL", what, ACCEPTED);
        let (before, parameters) = url.split_once('?').unwrap_or((url, ""));
        let user = before
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'))
            .map_or("", |(user, _)| user);
        let named = |parameter: &str| parameter.split('=').next() == Some("password");
        if user.contains(':') || parameters.split('&').any(named) {
            return Err(refused("(one with a password)"));
        }
        let mut options = PgConnectOptions::from_str(url).map_err(|cause| {
            LedgerError::invalid("store URL", url, format!("{ACCEPTED} ({cause})"))
        })?;
        if let Some(password) = password {
            options = options.password(password.expose_secret());
        }
        let server = options.get_socket().map_or_else(
            || format!("{}:{}", options.get_host(), options.get_port()),
            |socket| socket.display().to_string(),
        );
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let shown = format!("PostgreSQL database {database} at {server}");
        let (options, answer_seconds) = (Box::new(options), ANSWER_SECONDS);
        Ok(Self { options, readers_max: READERS_MAX, answer_seconds, shown })
    }

    /// The same database with so many connections of this process at most, 2 to 100: one writes,
    /// the others read. Without it there are five.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when there are fewer or more.
    pub fn with_connections(self, connections: u32) -> Result<Self, LedgerError> {
        let readers = connections.checked_sub(1).filter(|readers| READERS.contains(readers));
        let Some(readers_max) = readers else {
            return Err(LedgerError::invalid("connections", &connections, "2 to 100"));
        };
        Ok(Self { readers_max, ..self })
    }

    /// The same database, of which a statement waits so many seconds for its answer, 1 to 86,400,
    /// before its connection is given up. Without it 900.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when there are fewer or more.
    pub fn with_answer_seconds(self, answer_seconds: u32) -> Result<Self, LedgerError> {
        if !ANSWER_SECONDS_ACCEPTED.contains(&answer_seconds) {
            return Err(LedgerError::invalid("answer_seconds", &answer_seconds, "1 to 86400"));
        }
        Ok(Self { answer_seconds, ..self })
    }

    /// How long a statement waits for its answer.
    pub(super) fn answer_max(&self) -> Duration {
        Duration::from_secs(self.answer_seconds.into())
    }

    /// Connections in all.
    pub(super) fn connections(&self) -> u32 {
        self.readers_max.saturating_add(1)
    }

    /// Connections for reading.
    pub(super) fn readers_max(&self) -> u32 {
        self.readers_max
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::clone(&self.options)
    }
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresAddress({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_server_and_database_and_never_the_password() {
        let password = SecretString::from("hunter2");

        let address =
            PostgresAddress::new("postgres://bill@db.example:5433/ledger", Some(&password))
                .unwrap();

        assert_eq!(address.to_string(), "PostgreSQL database ledger at db.example:5433");
        let all = format!("{address} {address:?} {:?}", StoreAddress::Postgres(address.clone()));
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "postgres://bill:hunter2@db.example/ledger",
            "postgres://bill@db.example/ledger?password=hunter2",
            "postgres://db.example/ledger?sslmode=require&password=hunter2",
        ] {
            let error = PostgresAddress::new(url, None).unwrap_err().to_string();

            assert!(error.contains("without a password"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_process_has_one_connection_to_write_and_at_least_one_to_read() {
        let address = || PostgresAddress::new("postgres://bill@db/ledger", None).unwrap();

        assert_eq!(address().readers_max(), 4);
        assert_eq!(address().with_connections(2).unwrap().readers_max(), 1);
        for refused in [0, 1, 101] {
            let error = address().with_connections(refused).unwrap_err().to_string();
            assert!(error.contains(&refused.to_string()) && error.contains("2 to 100"), "{error}");
        }
    }

    #[test]
    fn a_statement_waits_for_its_answer_as_long_as_one_says() {
        let address = || PostgresAddress::new("postgres://bill@db/ledger", None).unwrap();

        assert_eq!(address().answer_max(), Duration::from_mins(15));
        let told = address().with_answer_seconds(60).unwrap();
        assert_eq!(told.answer_max(), Duration::from_mins(1));
        for refused in [0, 86_401] {
            let error = address().with_answer_seconds(refused).unwrap_err().to_string();
            assert!(
                error.contains(&refused.to_string()) && error.contains("1 to 86400"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_url_that_does_not_parse_says_why() {
        let error = PostgresAddress::new("postgres://db:port/ledger", None).unwrap_err();

        assert!(error.to_string().contains("invalid port"), "{error}");
    }
}
