//! Why a bill is not read. Lines and columns are counted from 1.

use std::io;

use permille_types::Currency;

use super::BILL_CELLS_MAX;

/// Why a bill is not read.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    /// The file cannot be read.
    #[error("read the file")]
    Io(#[source] io::Error),
    /// A field does not read.
    #[error(
        "line {line}, column {column} `{name}`: `{value}` is not accepted; accepted: {accepted}"
    )]
    Field {
        /// Its line.
        line: u64,
        /// Its place in the line.
        column: usize,
        /// What the first line calls it.
        name: String,
        /// What it says.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// A line is no line of such a table.
    #[error("line {line}: {reason}")]
    Line {
        /// Which one.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The table has none of these columns.
    #[error("line 1 has no column for the {what}; accepted: {accepted}")]
    NoColumn {
        /// What it would say.
        what: String,
        /// Names that are known for it.
        accepted: String,
    },
    /// Not the JSON of a page.
    #[error("line {line}, column {column}: {reason}")]
    Json {
        /// The line.
        line: u64,
        /// The place in the line.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// The last page says that more follow.
    #[error(
        "the last page says that more follow (has_more): the export is not whole; accepted: all of \
         its pages, one after the other in one file or several"
    )]
    Incomplete,
    /// One file twice.
    #[error(
        "`{name}` has the bytes of a file before it (SHA-256 {sha256}); accepted: each file once"
    )]
    SameFile {
        /// The second one.
        name: String,
        /// Of both.
        sha256: String,
    },
    /// Amounts of two currencies are never added.
    #[error(
        "amounts in {other} after amounts in {own}; accepted: one currency, such as by `where` of a \
         mapping file",
        own = own.code(),
        other = other.code()
    )]
    Currencies {
        /// The first one.
        own: Currency,
        /// Another one.
        other: Currency,
    },
    /// A sum has too many digits.
    #[error("a sum of the bill has more than 28 digits")]
    Overflow,
    /// Too many sums.
    #[error(
        "the bill has more than {BILL_CELLS_MAX} sums by day, model, class and project; accepted: \
         fewer days, or a mapping file without the project"
    )]
    TooManySums,
    /// Nothing was read.
    #[error("no line is left of the bill; accepted: at least one of these days and this provider")]
    Empty,
    /// A mapping file is refused.
    #[error("read mapping: {0}")]
    Mapping(String),
}

impl From<io::Error> for BillError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl BillError {
    /// Where it is, for an error that does not know.
    pub(super) fn at_line(self, line: u64) -> Self {
        match self {
            Self::Currencies { .. } | Self::Overflow | Self::TooManySums => {
                Self::Line { line, reason: self.to_string() }
            }
            known => known,
        }
    }
}
