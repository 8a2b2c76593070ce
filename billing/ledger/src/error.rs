//! What can go wrong in the ledger, and how the store's own refusals become ours.

use std::{fmt, io, path::PathBuf};

use permille_rating::{
    invoice::{CreditError, InvoiceError},
    price_book::PriceBookError,
    round::RoundError,
};
use permille_types::{CustomerId, MoneyError, SessionId};

/// Why a ledger operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Nothing has that id.
    #[error("{noun} `{id}` is unknown")]
    NotFound {
        /// What was looked for.
        noun: &'static str,
        /// Its id.
        id: String,
    },
    /// The customer has no session of that id.
    #[error("session `{id}` of customer `{customer}` is unknown")]
    NoSession {
        /// Whose.
        customer: CustomerId,
        /// Its id.
        id: SessionId,
    },
    /// The id is taken.
    #[error("{noun} `{id}` exists already")]
    AlreadyExists {
        /// What was to be made.
        noun: &'static str,
        /// Its id.
        id: String,
    },
    /// A value is not acceptable.
    #[error("{field} `{value}` is not accepted; accepted: {accepted}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// Entries of a text are not acceptable.
    #[error("{reason}")]
    Entries {
        /// Which of them, and what is wrong with it.
        reason: String,
    },
    /// The thing is there and this may not be done to it now.
    #[error("{noun} `{id}` {reason}")]
    Refused {
        /// What was to be changed.
        noun: &'static str,
        /// Its id.
        id: String,
        /// Why not, and what is accepted.
        reason: String,
    },
    /// The store failed.
    #[error("{operation}")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: sqlx::Error,
    },
    /// The file or database cannot be opened, or is no store.
    #[error("open store `{store}`")]
    Open {
        /// The database.
        store: String,
        /// The cause.
        #[source]
        cause: sqlx::Error,
    },
    /// A newer build brought the store's tables up to date.
    #[error(
        "store `{store}` was written by a newer build: it has migration {found}, this build knows \
         migrations up to {known}"
    )]
    NewerStore {
        /// The database.
        store: String,
        /// The newest migration that the store has.
        found: i64,
        /// The newest migration that this build knows.
        known: i64,
    },
    /// The store's tables could not be brought up to date.
    #[error("migrate store `{store}`")]
    Migrate {
        /// The database.
        store: String,
        /// The cause.
        #[source]
        cause: Box<sqlx::migrate::MigrateError>,
    },
    /// A stored value does not read: another program wrote it, or the file is damaged.
    #[error("stored {column} `{value}` does not read")]
    Corrupt {
        /// Which column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// A statement changed another number of rows than it must.
    #[error("{operation}: {changed} rows changed instead of {expected}")]
    RowsChanged {
        /// What was tried.
        operation: &'static str,
        /// How many rows changed.
        changed: u64,
        /// How many should have.
        expected: u64,
    },
    /// A value cannot be written as JSON.
    #[error("write {what} as JSON")]
    Json {
        /// Which value.
        what: &'static str,
        /// The cause.
        #[source]
        cause: serde_json::Error,
    },
    /// The pepper file cannot be read or made.
    #[error("{operation} pepper `{path}`")]
    Pepper {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The machine gives no random numbers.
    #[error("draw random bytes: {reason}")]
    Random {
        /// Its words.
        reason: String,
    },
    /// The price book would contradict itself.
    #[error("check price book")]
    PriceBook {
        /// The cause.
        #[source]
        cause: Box<PriceBookError>,
    },
    /// A count does not fit 63 bits.
    #[error("count {what}: {left} and {right} exceed 63 bits")]
    Count {
        /// What was counted.
        what: &'static str,
        /// The count so far.
        left: i64,
        /// What was to be added.
        right: i64,
    },
    /// An amount does not fit a posting.
    #[error("post an amount")]
    Posting(#[from] RoundError),
    /// Entries do not sum to zero.
    #[error("post {subject}: the entries sum to {sum_nano} nano-units, not to zero")]
    Unbalanced {
        /// What it was for.
        subject: String,
        /// Their sum.
        sum_nano: i64,
    },
    /// An invoice cannot be computed.
    #[error("compute invoice of customer `{customer}`")]
    Invoice {
        /// Whose.
        customer: CustomerId,
        /// The cause.
        #[source]
        cause: Box<InvoiceError>,
    },
    /// A credit cannot be computed.
    #[error("credit invoice `{invoice}`")]
    Credit {
        /// Which.
        invoice: String,
        /// The cause.
        #[source]
        cause: Box<CreditError>,
    },
    /// An amount does not fit.
    #[error("add up {what}")]
    Amount {
        /// Which amount.
        what: &'static str,
        /// The cause.
        #[source]
        cause: MoneyError,
    },
}

impl LedgerError {
    pub(crate) fn not_found(noun: &'static str, id: &(impl ToString + ?Sized)) -> Self {
        Self::NotFound { noun, id: id.to_string() }
    }

    pub(crate) fn no_session(customer: &CustomerId, id: &SessionId) -> Self {
        Self::NoSession { customer: customer.clone(), id: id.clone() }
    }

    pub(crate) fn invalid(
        field: &'static str,
        value: &(impl ToString + ?Sized),
        accepted: impl Into<String>,
    ) -> Self {
        Self::Invalid { field, value: value.to_string(), accepted: accepted.into() }
    }

    pub(crate) fn refused(
        noun: &'static str,
        id: &(impl ToString + ?Sized),
        reason: impl Into<String>,
    ) -> Self {
        Self::Refused { noun, id: id.to_string(), reason: reason.into() }
    }

    /// Whether a sum does not fit what must hold it: the same numbers will never fit.
    pub(crate) fn is_overflow(&self) -> bool {
        match self {
            Self::Count { .. } | Self::Posting(_) | Self::Amount { .. } => true,
            // PostgreSQL adds up itself (numeric_value_out_of_range); SQLite's sums are ours.
            Self::Store { cause: sqlx::Error::Database(cause), .. } => {
                cause.code().is_some_and(|code| code == "22003")
            }
            _ => false,
        }
    }

    /// Whether the store refuses what was written for what it is: it would refuse it again.
    pub(crate) fn is_of_what_was_written(&self) -> bool {
        let Self::Store { cause: sqlx::Error::Database(cause), .. } = self else { return false };
        // PostgreSQL's data exceptions, foreign keys and unique indexes; SQLite's TOOBIG, MISMATCH,
        // RANGE, foreign keys, primary keys and unique indexes. A column that must not be empty and
        // a check may be those of a newer build: then every event is refused, not this one.
        let code = cause.code().unwrap_or_default();
        let is_sqlites = |code: i32| matches!(code, 18 | 20 | 25 | 787 | 1555 | 2067);
        let five = code.len() == 5;
        five && (code.starts_with("22") || matches!(&*code, "23503" | "23505"))
            || !five && code.parse().is_ok_and(is_sqlites)
    }

    pub(crate) fn corrupt(column: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        Self::Corrupt { column, value: value.to_string() }
    }
}

/// An error with its causes, as one line of text.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Names what was tried when the store failed.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, LedgerError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, LedgerError> {
        self.map_err(|cause| LedgerError::Store { operation, cause })
    }
}

/// A named unique constraint. `SQLite` reports its columns instead of its name.
pub(crate) struct Constraint {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static str,
}

/// Turns the violation of `constraint` into `meaning`; every other failure stays one.
pub(crate) fn on_constraint<T>(
    result: Result<T, sqlx::Error>,
    operation: &'static str,
    constraint: &Constraint,
    meaning: impl FnOnce() -> LedgerError,
) -> Result<T, LedgerError> {
    result.map_err(|cause| match cause.as_database_error() {
        Some(refusal) if violates(refusal, constraint) => meaning(),
        _ => LedgerError::Store { operation, cause },
    })
}

fn violates(refusal: &dyn sqlx::error::DatabaseError, constraint: &Constraint) -> bool {
    refusal.constraint() == Some(constraint.name)
        || refusal.is_unique_violation()
            && refusal.message().rsplit(": ").next() == Some(constraint.columns)
}

/// Fails unless a statement changed exactly `expected` rows.
pub(crate) fn changed(
    operation: &'static str,
    expected: u64,
    changed: u64,
) -> Result<(), LedgerError> {
    if changed == expected {
        Ok(())
    } else {
        Err(LedgerError::RowsChanged { operation, changed, expected })
    }
}

/// Fails unless a statement over `rows` changed each of them.
pub(crate) fn changed_all(
    operation: &'static str,
    rows: usize,
    changed_rows: u64,
) -> Result<(), LedgerError> {
    changed(operation, u64::try_from(rows).unwrap_or(u64::MAX), changed_rows)
}

/// Whether a statement that changes one row or none changed one.
pub(crate) fn changed_one(operation: &'static str, rows: u64) -> Result<bool, LedgerError> {
    if rows > 1 {
        changed(operation, 1, rows)?;
    }
    Ok(rows == 1)
}
