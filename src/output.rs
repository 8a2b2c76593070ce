//! Everything that goes to standard output: tables for people, JSON for programs.
//!
//! Not for logs (standard error, `logging`) and not for errors (`main`).

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::CliError;

/// Tells whoever runs a command what is no answer, on standard error. There is nobody left to tell
/// when that fails.
pub(crate) fn remark(text: &str) {
    writeln!(io::stderr().lock(), "permille: {text}").unwrap_or_default();
}

/// How far long work is, on standard error while that is a terminal.
pub(crate) fn progress(what: &'static str, of: u64) -> ProgressBar {
    counting(ProgressBar::new(of).with_message(what))
}

/// The same of work that tells of how many it is after its first step.
pub(crate) fn stepping(what: &'static str) -> ProgressBar {
    let bar = counting(ProgressBar::no_length().with_message(what));
    bar.enable_steady_tick(TICK_EVERY);
    bar
}

fn counting(bar: ProgressBar) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}, {eta}");
    let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
    bar.tick();
    bar
}

/// Between two pictures of work whose length nobody knows.
const TICK_EVERY: Duration = Duration::from_millis(200);

/// Waits for `work`, and shows on standard error, while that is a terminal, that it goes on.
pub(crate) async fn waiting<T>(
    what: impl Into<Cow<'static, str>>,
    work: impl Future<Output = T>,
) -> T {
    let bar = ProgressBar::new_spinner().with_message(what);
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
    bar.tick();
    bar.enable_steady_tick(TICK_EVERY);
    let done = work.await;
    bar.finish_and_clear();
    done
}

/// Standard output in the form that the user asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Output as JSON, or as text for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the user asked for JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Writes `text` and a line end. A reader who has left ends the command quietly.
    ///
    /// # Errors
    /// [`CliError::OutputClosed`] when the reader has left, [`CliError::Output`] otherwise.
    #[expect(clippy::unused_self, reason = "whoever prints has been given where to")]
    pub(crate) fn line(self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|cause| {
            match cause.kind() {
                io::ErrorKind::BrokenPipe => CliError::OutputClosed,
                _ => CliError::Output(cause),
            }
        })
    }

    /// Writes `document` as one line of JSON.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn document(self, document: &impl Serialize) -> Result<(), CliError> {
        let text =
            serde_json::to_string(document).map_err(|cause| CliError::Output(cause.into()))?;
        self.line(&text)
    }

    /// Writes a document as the API gave it: as JSON, or as the text that `render` makes of it.
    ///
    /// # Errors
    /// As [`Output::line`], and what `render` says.
    pub(crate) fn one(
        self,
        document: &RawValue,
        render: impl FnOnce(&RawValue) -> Result<String, CliError>,
    ) -> Result<(), CliError> {
        if self.json {
            return self.line(document.get());
        }
        self.line(render(document)?.trim_end())
    }

    /// Writes a list as the API gave it: one line of JSON for each item, or one table.
    ///
    /// # Errors
    /// As [`Output::line`], and what `render` says.
    pub(crate) fn list(
        self,
        items: &[Box<RawValue>],
        render: impl FnOnce(&[Box<RawValue>]) -> Result<String, CliError>,
    ) -> Result<(), CliError> {
        if self.json {
            return items.iter().try_for_each(|item| self.line(item.get()));
        }
        self.line(render(items)?.trim_end())
    }
}
