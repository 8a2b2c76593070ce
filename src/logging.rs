//! Logs: to standard error, filtered by `PERMILLE_LOG`, never a prompt, a reply or a secret.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The variable that filters, in the syntax of `tracing-subscriber`: `debug`,
/// `permille_proxy=trace`.
const FILTER: &str = "PERMILLE_LOG";

/// Starts logging for the life of the process, at `level` unless the variable says otherwise. A
/// second call changes nothing.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // A line that cannot be written, say because its disk is full, would be complained of on
        // standard error, and that panics there.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging had already started");
    }
}
