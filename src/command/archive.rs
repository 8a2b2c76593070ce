//! `permille usage archive`: files of old usage, written, listed and read back.
//!
//! It works on the store itself, also beside a running server: a day of usage is more than an API
//! should carry.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::NaiveDate;
use clap::Args;
use permille_archive::{Checked, FileState, LedgerState, Place, check, write_day};
use permille_ledger::{ArchiveFile, Ledger};
use serde::Serialize;

use super::Context;
use crate::{
    config::Config,
    error::CliError,
    output::{self, Output},
    serve::Signals,
    store,
    table::{Align, Grid, grouped},
};

/// What to write, or what to tell.
#[derive(Debug, Args)]
pub(crate) struct Archive {
    /// Write the days before this one, in UTC, that are in no file yet, or have rows that came
    /// later.
    #[arg(
        long,
        value_name = "DATE",
        required_unless_present_any = ["list", "check"],
        conflicts_with_all = ["list", "check"]
    )]
    before: Option<NaiveDate>,
    /// Where to: `file:///FOLDER` or `s3://BUCKET[/PREFIX]` [default: `archive.url`].
    #[arg(long, value_name = "URL", requires = "before")]
    to: Option<String>,
    /// List the files that were written.
    #[arg(long, conflicts_with = "check")]
    list: bool,
    /// Read every file back and compare rows, sums and digest with the ledger.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the store or the files fail, or a file is not as it was written.
pub(crate) async fn run(context: &Context, asked: &Archive) -> Result<(), CliError> {
    let config = context.config()?;
    let ledger = store::beside(&context.data, &config).await?;
    let done = match asked.before {
        Some(before) => write(context, &config, &ledger, (before, asked.to.as_deref())).await,
        None if asked.check => compare(context, &config, &ledger).await,
        None => list(context.output, &ledger).await,
    };
    ledger.close().await;
    done
}

async fn write(
    context: &Context,
    config: &Config,
    ledger: &Ledger,
    (before, to): (NaiveDate, Option<&str>),
) -> Result<(), CliError> {
    let section = &config.settings.archive;
    let Some(url) = to.or(section.url.as_deref()) else {
        return Err(CliError::Usage(
            "no place is given; accepted: --to URL, or `url` in [archive]".to_owned(),
        ));
    };
    let place = Place::new(url, &section.options())?;
    // A day that is not over has rows to come.
    let today = ledger.time().date_naive();
    if before > today {
        return Err(CliError::Refused(format!(
            "before `{before}` is not accepted; accepted: at most {today}, for a day is written \
             when it is over in UTC"
        )));
    }
    let due = ledger.due_days(before).await.map_err(store::failed)?;
    let bar = output::progress("rows archived", due.iter().map(|day| day.rows).sum());
    let stopped = stop_on_signal()?;
    let mut written = Vec::new();
    for day in due {
        let told = |rows| {
            bar.inc(rows);
            !stopped.load(Ordering::Relaxed)
        };
        let Some(file) = write_day(ledger, &place, day, told).await? else { break };
        if context.output.is_json() {
            context.output.document(&file)?;
        }
        written.push(file);
    }
    bar.finish_and_clear();
    if !context.output.is_json() {
        let nothing = format!("nothing is due: each day before {before} is archived");
        context.output.line(&table(&written, &nothing))?;
    }
    if stopped.load(Ordering::Relaxed) { Err(CliError::Interrupted) } else { Ok(()) }
}

/// Whether a signal asked for the end: the file on its way is given up then, those before it stay.
fn stop_on_signal() -> Result<Arc<AtomicBool>, CliError> {
    let mut signals = Signals::take()?;
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    tokio::spawn(async move {
        signals.next().await;
        told.store(true, Ordering::Relaxed);
    });
    Ok(stopped)
}

async fn list(output: Output, ledger: &Ledger) -> Result<(), CliError> {
    let files = ledger.archive_files().await.map_err(store::failed)?;
    if output.is_json() {
        return files.iter().try_for_each(|file| output.document(file));
    }
    output.line(&table(&files, "no day is archived"))
}

/// A file and how it compares.
#[derive(Serialize)]
struct Compared<'a> {
    day: NaiveDate,
    part: u32,
    location: &'a str,
    rows: u64,
    file: FileState,
    ledger: LedgerState,
}

async fn compare(context: &Context, config: &Config, ledger: &Ledger) -> Result<(), CliError> {
    let output = context.output;
    let options = config.settings.archive.options();
    let files = ledger.archive_files().await.map_err(store::failed)?;
    let bar = output::progress("files read", u64::try_from(files.len()).unwrap_or(u64::MAX));
    let mut wrong = 0_usize;
    let mut grid = Grid::new(&[
        ("day (UTC)", Align::Left),
        ("part", Align::Right),
        ("rows", Align::Right),
        ("file", Align::Left),
        ("ledger", Align::Left),
        ("location", Align::Left),
    ]);
    for file in &files {
        let checked = check(ledger, file, &options).await?;
        bar.inc(1);
        wrong += usize::from(checked.is_wrong());
        let Checked { file: found, ledger: beside } = checked;
        let ArchiveFile { day, part, location, rows, .. } = file;
        if output.is_json() {
            let (day, part, rows) = (*day, *part, *rows);
            let line = Compared { day, part, location, rows, file: found, ledger: beside };
            output.document(&line)?;
        }
        grid.row([
            day.to_string(),
            part.to_string(),
            grouped(&rows.to_string()),
            file_text(found).to_owned(),
            ledger_text(beside).to_owned(),
            location.clone(),
        ]);
    }
    bar.finish_and_clear();
    if !output.is_json() {
        output.line(&grid.render("no day is archived"))?;
    }
    match wrong {
        0 => Ok(()),
        count => Err(CliError::Refused(format!(
            "{count} of {} files are not as they were written: see \
             docs/operations.md#archiving-old-usage",
            files.len()
        ))),
    }
}

fn file_text(state: FileState) -> &'static str {
    match state {
        FileState::Same => "as written",
        FileState::Missing => "MISSING",
        FileState::Changed => "OTHER BYTES",
        FileState::Differs => "OTHER SUMS",
    }
}

fn ledger_text(state: LedgerState) -> &'static str {
    match state {
        LedgerState::Same => "the same",
        LedgerState::Due => "has later rows: due again",
        LedgerState::Differs => "OTHER SUMS",
        LedgerState::Dropped => "rows have left it",
    }
}

fn table(files: &[ArchiveFile], empty: &str) -> String {
    let mut grid = Grid::new(&[
        ("day (UTC)", Align::Left),
        ("part", Align::Right),
        ("rows", Align::Right),
        ("unpriced", Align::Right),
        ("tokens", Align::Right),
        ("cost", Align::Right),
        ("bytes", Align::Right),
        ("location", Align::Left),
    ]);
    for file in files {
        let tokens: u128 = file.tokens.values().copied().map(u128::from).sum();
        let amounts = file.amounts.iter().map(|(code, sum)| format!("{} {code}", grouped(sum)));
        grid.row([
            file.day.to_string(),
            file.part.to_string(),
            grouped(&file.rows.to_string()),
            file.held.to_string(),
            grouped(&tokens.to_string()),
            amounts.collect::<Vec<_>>().join(", "),
            grouped(&file.bytes.to_string()),
            file.location.clone(),
        ]);
    }
    grid.render(empty)
}
