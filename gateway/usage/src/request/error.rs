//! Why a request's body is refused. The texts are for the client that sent it.

use permille_types::IdError;

/// See the module's text. Never holds a value from the body: it may be part of a prompt (S1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON.
    #[error("invalid JSON at line {line} column {column}: {reason}")]
    Json {
        /// What the reader met.
        reason: String,
        /// Where, from 1.
        line: usize,
        /// Where, from 1; 0 when the line ended.
        column: usize,
    },
    /// JSON, but no object.
    #[error("the body is {found}, accepted: a JSON object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// A key that decides metering is there twice; readers disagree on which one counts.
    #[error("`{field}` is given more than once")]
    Duplicate {
        /// The key.
        field: &'static str,
    },
    /// A required key is not there.
    #[error("`{field}` is missing, accepted: {accepted}")]
    Missing {
        /// The key.
        field: &'static str,
        /// What it must hold.
        accepted: &'static str,
    },
    /// A key holds a value of another kind.
    #[error("`{field}` is {found}, accepted: {accepted}")]
    Unacceptable {
        /// The key.
        field: &'static str,
        /// What it holds.
        found: &'static str,
        /// What it may hold.
        accepted: &'static str,
    },
    /// The model is no model name.
    #[error("`model` cannot be used: {0}")]
    Model(IdError),
}

impl RequestError {
    /// A JSON syntax error, without the place that `error` repeats in its text.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
        Self::Json { reason, line: error.line(), column: error.column() }
    }
}
