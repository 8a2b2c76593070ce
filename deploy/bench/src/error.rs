//! Why a run of the bench ended without its figures.

use std::{io, path::PathBuf};

/// Why a run ended without its figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A file or the system fails.
    #[error("{operation}")]
    System {
        operation: String,
        #[source]
        cause: io::Error,
    },
    /// A program that is to be measured is not there.
    #[error("no program at `{path}`: {remedy}", path = path.display())]
    Missing { path: PathBuf, remedy: &'static str },
    /// A child did not get ready.
    #[error("{name} is not ready after {seconds} s; it said: {said}")]
    NotReady { name: &'static str, seconds: u64, said: String },
    /// A child ended before it was told to.
    #[error("{name} ended with {status}; it said: {said}")]
    Ended { name: &'static str, status: String, said: String },
    /// A command that must succeed did not.
    #[error("`{command}` failed with {status}; it said: {said}")]
    Refused { command: String, status: String, said: String },
    /// An answer is not what it should be.
    #[error("read what {of} answered")]
    Answer {
        of: String,
        #[source]
        cause: serde_json::Error,
    },
    /// An answer lacks a field.
    #[error("what {of} answered has no `{field}`")]
    Lacks { of: String, field: &'static str },
    /// The whole run took too long.
    #[error("the run is not over after {seconds} s")]
    Late { seconds: u64 },
    /// A signal asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// Names the operation that an error of the system came from.
    pub(crate) fn during(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let operation = operation.into();
        move |cause| Self::System { operation, cause }
    }
}
