//! `permille fx set|list|import`: exchange rates by day.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path as FilePath, PathBuf},
};

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use permille_rating::fx::{FxFile, FxRate};
use permille_types::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Context, view};
use crate::{
    api::{Api, ApiError, Path},
    error::CliError,
    output::progress,
    table::{Align, Grid},
};

/// Rates of one call: a year of one bank's list takes some.
const RATES_AT_ONCE: usize = 2_000;
/// Fields of a rate that the command line has a flag for.
const FLAGS: [&str; 5] = ["base", "quote", "day", "rate", "source"];
/// Longest line of a file of rates, in bytes: forty times the longest known.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// What to do with exchange rates.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep the rate of a day.
    Set(Set),
    /// List rates.
    List(List),
    /// Keep the rates of a file: of the European Central Bank, or `day,base,quote,rate`.
    Import(Import),
}

/// What is accepted beside new rates.
#[derive(Debug, Args)]
struct How {
    /// Put it in the place of another rate of that pair and day.
    #[arg(long)]
    replace: bool,
    /// Take rates that changed by more than a fifth within a month, too.
    #[arg(long)]
    accept_jumps: bool,
}

/// One rate.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The currency of which one unit is valued.
    #[arg(long, value_parser = currency)]
    base: Currency,
    /// The currency it is valued in.
    #[arg(long, value_parser = currency)]
    quote: Currency,
    /// The day for which it was published.
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: NaiveDate,
    /// Units of the quoted currency for one unit of the base, such as 7.1045.
    #[arg(long, value_parser = decimal)]
    rate: String,
    /// Who published it.
    #[arg(long)]
    source: String,
    #[command(flatten)]
    how: How,
}

/// Which rates.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only rates of one unit of this currency.
    #[arg(long)]
    base: Option<String>,
    /// Only rates in units of this currency.
    #[arg(long)]
    quote: Option<String>,
    /// Only rates of this day or later.
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<String>,
    /// Only rates of this day or before.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<String>,
}

/// A file of rates.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file of rates, as its publisher gives it.
    file: PathBuf,
    /// Who published it.
    #[arg(long)]
    source: String,
    /// Of a file with a column for each currency: that of which one unit is valued.
    #[arg(long, value_parser = currency, default_value = "EUR")]
    base: Currency,
    /// Only these currencies. May be repeated.
    #[arg(long = "only", value_name = "CODE", value_parser = currency)]
    only: Vec<Currency>,
    /// Only this day or later.
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<NaiveDate>,
    #[command(flatten)]
    how: How,
}

/// What came of rates.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    added: u64,
    unchanged: u64,
    replaced: u64,
    /// Columns of the file that name no currency of today.
    #[serde(default)]
    skipped: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the file is refused, or the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let api = context.api().await?;
    match command {
        Command::Set(set) => {
            let rate = json!({
                "base": set.base,
                "quote": set.quote,
                "day": set.day,
                "rate": set.rate,
                "source": set.source,
            });
            let done = send(&api, &[rate], &set.how).await?;
            tell(context, &done)
        }
        Command::List(list) => {
            let path = Path::of(&["fx-rates"])
                .with("base", list.base.as_deref())
                .with("quote", list.quote.as_deref())
                .with("since", list.since.as_deref())
                .with("until", list.until.as_deref());
            context.output.list(&api.list(&path).await?, table)
        }
        Command::Import(import) => tell(context, &import_file(&api, import).await?),
    }
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::from_code(text).ok_or_else(|| "accepted: an ISO 4217 code such as CNY".to_owned())
}

fn decimal(text: &str) -> Result<String, String> {
    let read = Decimal::from_str_exact(text).map(|_| text.to_owned());
    read.map_err(|_| "accepted: a decimal above 0, such as 7.1045".to_owned())
}

/// A refusal of rates in the words of the command line.
fn in_flags(error: ApiError) -> ApiError {
    let ApiError::Refused { detail } = error else { return error };
    let detail = detail
        .replace("or accept_jumps", "or --accept-jumps")
        .replace("that, or replace", "that, or --replace");
    let is_flag = FLAGS.iter().any(|flag| detail.starts_with(&format!("{flag} `")));
    ApiError::Refused { detail: if is_flag { format!("--{detail}") } else { detail } }
}

async fn send<T: Serialize>(api: &Api, rates: &[T], how: &How) -> Result<Done, CliError> {
    let (replace, accept_jumps) = (how.replace, how.accept_jumps);
    let body = json!({"rates": rates, "replace": replace, "accept_jumps": accept_jumps});
    view(&api.post(&Path::of(&["fx-rates"]), &body).await.map_err(in_flags)?)
}

/// Sends a file in pieces. What was sent stays when it is stopped; the whole again adds the rest.
async fn import_file(api: &Api, import: &Import) -> Result<Done, CliError> {
    let path = &import.file;
    let failed = |cause| CliError::ReadFile { path: path.clone(), cause };
    let file = File::open(path).map_err(failed)?;
    let bar = progress("bytes", file.metadata().map_err(failed)?.len());
    let mut lines = Lines { path, file: BufReader::new(file), line: String::new(), number: 0 };
    let Some(head) = lines.next()? else {
        return Err(CliError::Refused(format!("`{}` is empty", path.display())));
    };
    bar.inc(bytes(head));
    let mut reader = FxFile::new(head, import.base, &import.source)
        .map_err(|cause| CliError::Refused(format!("line 1 of `{}`: {cause}", path.display())))?;
    let mut done = Done::default();
    let mut waiting: Vec<FxRate> = Vec::new();
    loop {
        let Some(line) = lines.next()? else { break };
        bar.inc(bytes(line));
        let rates = reader.read(line);
        let number = lines.number;
        let rates = rates.map_err(|cause| {
            CliError::Refused(format!("line {number} of `{}`: {cause}", path.display()))
        })?;
        waiting.extend(rates.into_iter().filter(|rate| import.wants(rate)));
        while waiting.len() >= RATES_AT_ONCE {
            let rest = waiting.split_off(RATES_AT_ONCE);
            done.add(&send(api, &waiting, &import.how).await?);
            waiting = rest;
        }
    }
    if !waiting.is_empty() {
        done.add(&send(api, &waiting, &import.how).await?);
    }
    bar.finish_and_clear();
    done.skipped = reader.skipped().iter().cloned().collect();
    Ok(done)
}

fn bytes(line: &str) -> u64 {
    u64::try_from(line.len()).unwrap_or(u64::MAX)
}

/// A file line by line, one of which is held.
struct Lines<'p> {
    path: &'p FilePath,
    file: BufReader<File>,
    line: String,
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<&str>, CliError> {
        use std::io::Read;
        self.line.clear();
        self.number = self.number.saturating_add(1);
        let bound = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let failed = |cause| CliError::ReadFile { path: self.path.to_owned(), cause };
        let read = self.file.by_ref().take(bound).read_line(&mut self.line).map_err(failed)?;
        if read > LINE_BYTES_MAX {
            let (number, path) = (self.number, self.path.display());
            return Err(CliError::Refused(format!(
                "line {number} of `{path}` is too long; accepted: at most {LINE_BYTES_MAX} bytes"
            )));
        }
        Ok((read > 0).then_some(&*self.line).map(|line| line.trim_end_matches(['\r', '\n'])))
    }
}

impl Import {
    fn wants(&self, rate: &FxRate) -> bool {
        let only = self.only.is_empty()
            || self.only.contains(&rate.quote)
                && (rate.base == self.base || self.only.contains(&rate.base));
        only && self.since.is_none_or(|since| since <= rate.day)
    }
}

impl Done {
    fn add(&mut self, more: &Self) {
        self.added = self.added.saturating_add(more.added);
        self.unchanged = self.unchanged.saturating_add(more.unchanged);
        self.replaced = self.replaced.saturating_add(more.replaced);
    }
}

fn tell(context: &Context, done: &Done) -> Result<(), CliError> {
    if context.output.is_json() {
        return context.output.document(done);
    }
    let Done { added, unchanged, replaced, skipped } = done;
    let mut text = format!("{added} rates added, {unchanged} unchanged, {replaced} replaced");
    if !skipped.is_empty() {
        text = format!("{text}; left out, no currency of today: {}", skipped.join(", "));
    }
    context.output.line(&text)
}

fn table(rates: &[Box<RawValue>]) -> Result<String, CliError> {
    /// A rate as it is shown.
    #[derive(Deserialize)]
    struct Shown {
        base: String,
        quote: String,
        day: String,
        rate: String,
        source: String,
    }
    let mut grid = Grid::new(&[
        ("day", Align::Left),
        ("one", Align::Left),
        ("is", Align::Right),
        ("", Align::Left),
        ("source", Align::Left),
    ]);
    for rate in rates {
        let Shown { base, quote, day, rate, source } = view(rate)?;
        grid.row([day, base, rate, quote, source]);
    }
    Ok(grid.render("no exchange rates; set one with `permille fx set`"))
}
