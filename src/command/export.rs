//! `permille invoice export`: a document as a file, on the disk or on standard output.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::{Path as FilePath, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;

use super::Context;
use crate::{
    api::{Api, Download, Path},
    error::CliError,
    whole_file::{self, part_of},
};

/// Between two messages about progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Which document, and how it is wanted.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Id or number of an invoice, or number of a credit note.
    id: String,
    /// What to write.
    #[arg(long, value_parser = ["pdf", "html", "csv", "json", "focus", "ubl", "hledger", "beancount"])]
    format: String,
    /// Language of pdf and html.
    #[arg(long, value_parser = ["en", "zh"])]
    lang: Option<String>,
    /// What csv is broken down into.
    #[arg(long, value_parser = ["lines", "sessions", "requests"])]
    detail: Option<String>,
    /// Where to: a file, or a folder, in which the file gets its own name [default: standard
    /// output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the file.
///
/// # Errors
/// [`CliError`] when the API refuses, or the file cannot be written; then there is no file.
pub(super) async fn run(context: &Context, api: &Api, export: &Export) -> Result<(), CliError> {
    if export.format == "pdf" {
        refuse_terminal(export.out.as_deref())?;
    }
    let is_note = export.id.starts_with("CN-") || export.id.starts_with("crn_");
    let noun = if is_note { "credit-notes" } else { "invoices" };
    let path = Path::of(&[noun, &export.id, "export"])
        .with("format", Some(&export.format))
        .with("lang", export.lang.as_deref())
        .with("detail", export.detail.as_deref());
    deliver(context, api.download(&path).await?, export.out.as_deref()).await
}

/// Refuses to write a PDF where nobody can read it.
///
/// # Errors
/// [`CliError::Usage`] without a file on a terminal.
pub(super) fn refuse_terminal(out: Option<&FilePath>) -> Result<(), CliError> {
    if out.is_none() && io::stdout().is_terminal() {
        let problem = "a PDF is nothing for a terminal; accepted: --out FILE, or a pipe";
        return Err(CliError::Usage(problem.to_owned()));
    }
    Ok(())
}

/// Writes a file of the API to `out`, a file or a folder, else to standard output.
///
/// # Errors
/// [`CliError`] when it breaks off or cannot be written; then there is no file.
pub(super) async fn deliver(
    context: &Context,
    mut download: Download,
    out: Option<&FilePath>,
) -> Result<(), CliError> {
    let Some(out) = out else {
        return to_stdout(&mut download).await;
    };
    let out = match (&download.file_name, out.is_dir()) {
        (Some(name), true) => out.join(name),
        _ => out.to_owned(),
    };
    to_file(&mut download, &out).await?;
    if context.output.is_json() {
        return context.output.document(&serde_json::json!({"file": out}));
    }
    context.output.line(&out.display().to_string())
}

async fn to_stdout(download: &mut Download) -> Result<(), CliError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::Output(cause),
    };
    let mut stdout = io::stdout();
    while let Some(bytes) = download.next().await? {
        stdout.write_all(&bytes).map_err(failed)?;
    }
    stdout.flush().map_err(failed)
}

/// Under a name of its own until it is whole: what breaks off leaves no file that looks like one.
async fn to_file(download: &mut Download, out: &FilePath) -> Result<(), CliError> {
    let part = part_of(out);
    let written = write(download, &part).await;
    let moved = written.and_then(|()| whole_file::keep(out));
    if moved.is_err() && part.exists() {
        let failed = |cause| CliError::WriteFile { path: part.clone(), cause };
        std::fs::remove_file(&part).map_err(failed)?;
    }
    moved
}

async fn write(download: &mut Download, part: &FilePath) -> Result<(), CliError> {
    let failed = |cause| CliError::WriteFile { path: part.to_owned(), cause };
    let mut file = File::create(part).map_err(failed)?;
    let mut progress = Progress::new();
    while let Some(bytes) = download.next().await? {
        file.write_all(&bytes).map_err(failed)?;
        progress.add(bytes.len());
    }
    progress.end();
    file.sync_all().map_err(failed)
}

/// How far it is, on standard error if that is a terminal.
struct Progress {
    bytes: usize,
    told: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { bytes: 0, told: None, is_shown: io::stderr().is_terminal() }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        let is_due = self.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if self.is_shown && is_due {
            self.told = Some(Instant::now());
            let kib = self.bytes / 1024;
            // Nothing is lost with a message about progress.
            write!(io::stderr(), "\r{kib} KiB written").unwrap_or_default();
        }
    }

    /// Takes the message away.
    fn end(&self) {
        if self.told.is_some() {
            write!(io::stderr(), "\r\u{1b}[2K").unwrap_or_default();
        }
    }
}
