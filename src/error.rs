//! Why a command failed, and the exit code that says so to a script.

use std::{io, path::PathBuf, process::ExitCode};

use crate::{
    api::ApiError, config::ConfigError, data_folder::DataFolderError, demo::DemoError,
    output::remark, serve::ServeError,
};

/// What ended a command early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The reader of our standard output has left; it wants no more, and that is no failure.
    #[error("standard output is closed")]
    OutputClosed,
    /// Standard output cannot be written.
    #[error("write to standard output")]
    Output(#[source] io::Error),
    /// The command line asks for something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder is not usable.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The billing API refused or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A server could not start or did not end well.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The demonstration broke off.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// A file of old usage cannot be written or read.
    #[error(transparent)]
    Archive(#[from] permille_archive::ArchiveError),
    /// A signal came before the end.
    #[error("interrupted")]
    Interrupted,
    /// A file that the command line names cannot be read.
    #[error("read `{path}`", path = path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// A file that the command line names cannot be written.
    #[error("write `{path}`", path = path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The runtime cannot start.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// A file that the command line names does not hold what is expected.
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    /// 0 done, 1 refused or failed, 2 wrong usage.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::from(1),
        }
    }

    /// Whether there is anything to tell the user.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed)
    }
}

/// Tells the user.
pub(crate) fn report(error: &CliError) {
    remark(&chain(error));
}

/// An error with its causes on one line: `read `x`: permission denied`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
