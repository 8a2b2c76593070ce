//! A report that people sign: pages of facts and tables that are no invoice.

use chrono::{DateTime, Utc};

use crate::{DocumentError, Fonts, pdf};

/// A report to be set as PDF. Its texts are shown as they are, but for what would not be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is, such as `Reconciliation`.
    pub title: String,
    /// Its id.
    pub number: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Labels and what they tell.
    pub facts: Vec<(String, String)>,
    /// What it says, one after the other.
    pub sections: Vec<StatementSection>,
    /// Who signs, or has signed.
    pub signatures: Vec<StatementSignature>,
}

/// A part of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementSection {
    /// Its heading.
    pub heading: String,
    /// Heads of the columns, and whether they hold numbers.
    pub columns: Vec<(String, bool)>,
    /// One text for each column.
    pub rows: Vec<Vec<String>>,
    /// What is said below the table.
    pub texts: Vec<String>,
}

/// A place to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementSignature {
    /// Whose, or what is written there.
    pub label: String,
    /// Who has signed, when and with what to say; a line to write on where absent.
    pub signed: Option<String>,
}

impl Statement {
    /// The pages as PDF/A-2u. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`DocumentError`] when a character has no font or the script cannot be set here.
    pub fn pdf(&self, fonts: &Fonts) -> Result<Vec<u8>, DocumentError> {
        pdf::write_statement(self, fonts)
    }
}
