//! `permille price import FILE`: what a price list would change; the change itself with `--apply`.

use std::{collections::BTreeSet, path::PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use permille_rating::{
    import::{self, Change, Diff, ImportOptions, Imported, Skipped},
    price_book::parse_price_book,
};
use permille_types::{Price, Side};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Context, or_dash, view};
use crate::{
    api::{Api, Path},
    error::{CliError, chain},
    output::waiting,
    table::{Align, Grid},
};

/// Largest accepted list, in bytes: three times the largest public one.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Skipped entries that are shown with their reason; JSON has all.
const SKIPPED_ROWS_MAX: usize = 20;

/// Which list, how it is written, and what of it.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The price list.
    file: PathBuf,
    /// How it is written.
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
    /// From when on its prices hold (RFC 3339). A price file in TOML says that itself.
    #[arg(long, value_name = "TIME", required_if_eq_any([
        ("format", "genai-prices"), ("format", "litellm"), ("format", "csv"),
    ]))]
    from: Option<DateTime<Utc>>,
    /// Where it was read, with its date [default: the file's name].
    #[arg(long)]
    source: Option<String>,
    /// Only this provider, as the list names it. May be repeated.
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<String>,
    /// Only models that match. May be repeated.
    #[arg(long = "model", value_name = "GLOB")]
    models: Vec<String>,
    /// The list is what the providers take, not what is charged (other formats; TOML says
    /// `side = "cost"`).
    #[arg(long)]
    cost: bool,
    /// Change the price book. Without it nothing is changed.
    #[arg(long)]
    apply: bool,
    /// Apply amounts that change a hundredfold, too.
    #[arg(long, requires = "apply")]
    accept_jumps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `[[price]]` entries, as in the configuration.
    Toml,
    /// `data.json` of genai-prices.
    GenaiPrices,
    /// `model_prices_and_context_window.json` of litellm.
    Litellm,
    /// The keys of a price file as columns.
    Csv,
}

/// What the API says of an import.
#[derive(Debug, Deserialize)]
struct Answer {
    diff: Diff,
    applied: bool,
    repriced: u64,
}

/// What the command says of it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    applied: bool,
    repriced: u64,
    diff: &'a Diff,
    skipped: &'a [Skipped],
    left_out: &'a BTreeSet<String>,
}

/// Reads the list and prints what it would change, or has changed.
///
/// # Errors
/// [`CliError`] when the list is refused, or the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, api: &Api, import: &Import) -> Result<(), CliError> {
    send(context, api, read(import)?, (import.apply, import.accept_jumps)).await
}

/// Prints what prices would change of the book, or have changed.
///
/// # Errors
/// [`CliError`] when the API refuses or cannot be reached.
pub(super) async fn send(
    context: &Context,
    api: &Api,
    Imported { prices, skipped, left_out }: Imported,
    (apply, accept_jumps): (bool, bool),
) -> Result<(), CliError> {
    let body = json!({ "prices": prices, "apply": apply, "accept_jumps": accept_jumps });
    let path = Path::of(&["prices", "import"]);
    let what = format!("{} prices are compared", prices.len());
    let answer = waiting(what, api.post(&path, &body)).await?;
    let Answer { diff, applied, repriced } = view(&answer)?;
    if context.output.is_json() {
        let (diff, skipped, left_out) = (&diff, skipped.as_slice(), &left_out);
        let report = Report { applied, repriced, diff, skipped, left_out };
        return context.output.document(&report);
    }
    context.output.line(table(&diff).trim_end())?;
    for Skipped { model, reason } in skipped.iter().take(SKIPPED_ROWS_MAX) {
        context.output.line(&format!("skipped {model}: {reason}"))?;
    }
    if skipped.len() > SKIPPED_ROWS_MAX {
        let more = skipped.len().saturating_sub(SKIPPED_ROWS_MAX);
        context.output.line(&format!("skipped {more} more (--json shows all)"))?;
    }
    if !left_out.is_empty() {
        let keys: Vec<&str> = left_out.iter().map(String::as_str).collect();
        context.output.line(&format!("not read: {}", keys.join(", ")))?;
    }
    let end = match (applied, diff.jumps()) {
        (true, _) => format!("applied; {repriced} held requests now have a price"),
        (false, false) => "nothing is changed; --apply changes it".to_owned(),
        (false, true) => {
            "nothing is changed; amounts marked ! change a hundredfold, probably by a \
                          slip of the unit: check them, then --apply --accept-jumps"
                .to_owned()
        }
    };
    context.output.line(&format!(
        "\n{} added, {} changed, {} unchanged, {} skipped: {end}",
        diff.added.len(),
        diff.changed.len(),
        diff.unchanged,
        skipped.len(),
    ))
}

fn read(import: &Import) -> Result<Imported, CliError> {
    let path = &import.file;
    let failed = |cause| CliError::ReadFile { path: path.clone(), cause };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(CliError::Refused(format!(
            "price list `{}` has {bytes} bytes, accepted: at most {FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let origin = path.display().to_string();
    let format = match import.format {
        Format::Toml => {
            return match toml_alone(import) {
                Some(flag) => Err(CliError::Usage(format!(
                    "{flag} is for other formats: a price file in TOML says it itself, such as \
                     `side = \"cost\"`"
                ))),
                None => parse_price_book(&text, &origin)
                    .map(|prices| Imported { prices, ..Imported::default() })
                    .map_err(|error| CliError::Refused(chain(&error))),
            };
        }
        Format::GenaiPrices => import::Format::GenaiPrices,
        Format::Litellm => import::Format::Litellm,
        Format::Csv => import::Format::Csv,
    };
    let Some(from) = import.from else {
        return Err(CliError::Usage("--from is missing: an instant (RFC 3339)".to_owned()));
    };
    let name = path.file_name().map_or(origin.clone(), |name| name.display().to_string());
    let options = ImportOptions {
        from,
        source: import.source.clone().unwrap_or(name),
        side: if import.cost { Side::Cost } else { Side::Sale },
        providers: import.providers.clone(),
        models: import.models.clone(),
    };
    import::import(format, &text, &options)
        .map_err(|error| CliError::Refused(format!("`{origin}`: {}", chain(&error))))
}

/// A flag that a price file in TOML answers itself.
fn toml_alone(import: &Import) -> Option<&'static str> {
    [
        (import.from.is_some(), "--from"),
        (import.source.is_some(), "--source"),
        (!import.providers.is_empty(), "--provider"),
        (!import.models.is_empty(), "--model"),
        (import.cost, "--cost"),
    ]
    .into_iter()
    .find_map(|(given, flag)| given.then_some(flag))
}

fn table(diff: &Diff) -> String {
    let mut grid = Grid::new(&[
        ("", Align::Left),
        ("model", Align::Left),
        ("provider", Align::Left),
        ("class", Align::Left),
        ("band", Align::Right),
        ("before", Align::Right),
        ("after", Align::Right),
    ]);
    let lead = |word: &str, price: &Price| {
        [word.to_owned(), price.model.clone(), or_dash(price.provider.as_ref())]
    };
    for price in &diff.added {
        let [word, model, provider] = lead("added", price);
        let amounts = price.rates.per_thousand.iter();
        let mut parts: Vec<String> =
            amounts.map(|(class, amount)| format!("{class} {}", amount.amount())).collect();
        if !price.bands.is_empty() {
            parts.push(format!("{} bands", price.bands.len()));
        }
        let none = String::new();
        grid.row([word, model, provider, parts.join(", "), none.clone(), none.clone(), none]);
    }
    for Change { price, amounts, jump, .. } in &diff.changed {
        let word = if *jump { "changed !" } else { "changed" };
        if amounts.is_empty() {
            let [word, model, provider] = lead(word, price);
            let none = String::new();
            let what = "conditions or end".to_owned();
            grid.row([word, model, provider, what, none.clone(), none.clone(), none]);
        }
        for amount in amounts {
            let [word, model, provider] = lead(word, price);
            grid.row([
                word,
                model,
                provider,
                amount.meter.to_string(),
                amount.band.to_string(),
                or_dash(amount.before.as_ref()),
                or_dash(amount.after.as_ref()),
            ]);
        }
    }
    grid.render("nothing differs")
}
