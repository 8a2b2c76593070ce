//! Why there is no document.

use permille_rating::allocate::AllocateError;
use permille_types::MoneyError;

use crate::Format;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The form cannot say what the document says, or needs something that is not there.
    #[error("{document} is not written as {format}: {problem}; accepted: {accepted}", format = format.as_str())]
    NotExpressible {
        /// Number of the document.
        document: String,
        /// The form.
        format: Format,
        /// What is in the way.
        problem: String,
        /// What would do.
        accepted: String,
    },
    /// The usage that was read is not what the document bills.
    #[error(
        "line {line} of {document} bills {billed} and {found} was read: the usage changed while it \
         was read, export again"
    )]
    UsageChanged {
        /// Number of the document.
        document: String,
        /// Place of the line.
        line: usize,
        /// What the line bills.
        billed: u64,
        /// What was read.
        found: u64,
    },
    /// An amount has too many digits to be shared out.
    #[error("share out an amount of {document}")]
    Allocate {
        /// Number of the document.
        document: String,
        /// The cause.
        #[source]
        cause: AllocateError,
    },
    /// An exact cost has too many digits.
    #[error("compute a cost of {document}")]
    Amount {
        /// Number of the document.
        document: String,
        /// The cause.
        #[source]
        cause: MoneyError,
    },
    /// A table cannot be written.
    #[error("write a table")]
    Table(#[source] csv::Error),
    /// A page cannot be written.
    #[error("write a page")]
    Page(#[source] std::io::Error),
}
