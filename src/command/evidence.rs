//! `permille invoice evidence`: all that it takes to compute an invoice again, as files.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write},
    path::{Path as FilePath, PathBuf},
};

use clap::Args;
use permille_ledger::{Invoice, RecordEntry, earlier_needed};
use permille_types::{DocumentNumber, Price, PriceVersion};
use serde::Deserialize;
use serde_json::json;

use super::{Context, view};
use crate::{
    api::{Api, Path},
    error::CliError,
    output::progress,
    whole_file::{self, part_of},
};

/// Records asked for at once.
const PAGE: &str = "1000";

/// Which invoice, and where to.
#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// Its id or number.
    id: String,
    /// Folder for the files; made when there is none.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// A price as the API lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    price: Price,
}

/// Writes the files and says how to verify them. A file is whole or not there: what is written of
/// it before the end is in a file of another name.
///
/// # Errors
/// [`CliError`] when the API refuses or a file cannot be written.
pub(crate) async fn run(context: &Context, api: &Api, evidence: &Evidence) -> Result<(), CliError> {
    let Evidence { id, dir } = evidence;
    std::fs::create_dir_all(dir).map_err(|cause| written(dir, cause))?;
    let document = api.get(&Path::of(&["invoices", id, "document"])).await?;
    let invoice: Invoice = view(&document)?;
    let mut files = vec![dir.join("invoice.json")];
    write(&dir.join("invoice.json"), document.get())?;
    for number in earlier_needed(&invoice) {
        let earlier = api.get(&Path::of(&["invoices", number.as_str(), "document"])).await?;
        let file = dir.join(format!("{number}.json"));
        write(&file, earlier.get())?;
        files.push(file);
    }
    // Terms of plans are on the invoice itself.
    let usage = invoice.lines.iter().filter(|line| line.meter.is_usage());
    let mut versions: BTreeSet<PriceVersion> =
        usage.map(|line| line.price_version.clone()).collect();
    let size = invoice.records.iter().map(|head| head.size).sum();
    let count = records(api, id, &dir.join("events.jsonl"), size, &mut versions).await?;
    let mut prices = Vec::new();
    for version in &versions {
        let listed = api.get(&Path::of(&["prices", version.as_str()])).await?;
        prices.push(view::<Listed>(&listed)?.price);
    }
    let prices = serde_json::to_string(&prices).map_err(|cause| CliError::Output(cause.into()))?;
    write(&dir.join("prices.json"), &prices)?;

    let notes = credit_notes(api, &invoice, dir).await?;
    let given = |name: &'static str| move |file: &PathBuf| format!(" --{name} {}", file.display());
    let mut earlier: Vec<String> = files.iter().skip(1).map(given("earlier")).collect();
    earlier.extend(notes.iter().map(given("credit-note")));
    let command = format!(
        "permille verify {dir}/invoice.json --events {dir}/events.jsonl \
         --prices {dir}/prices.json{}",
        earlier.concat(),
        dir = dir.display(),
    );
    if context.output.is_json() {
        return context.output.document(&json!({
            "invoice": id, "records": count, "prices": versions.len(), "verify": command,
        }));
    }
    context.output.line(&format!(
        "{count} records and {} prices in {}; verify with\n\n    {command}",
        versions.len(),
        dir.display()
    ))
}

/// A credit note as the API lists it.
#[derive(Debug, Deserialize)]
struct ListedNote {
    number: DocumentNumber,
    invoice: DocumentNumber,
}

/// Writes the credit notes over an invoice, each as it was made.
async fn credit_notes(
    api: &Api,
    invoice: &Invoice,
    dir: &FilePath,
) -> Result<Vec<PathBuf>, CliError> {
    let customer = Some(invoice.customer.id.as_str());
    let listed = api.list(&Path::of(&["credit-notes"]).with("customer", customer)).await?;
    let mut files = Vec::new();
    for note in &listed {
        let ListedNote { number, invoice: of } = view(note)?;
        if Some(&of) == invoice.number.as_ref() {
            let document = api.get(&Path::of(&["credit-notes", number.as_str()])).await?;
            let file = dir.join(format!("{number}.json"));
            write(&file, document.get())?;
            files.push(file);
        }
    }
    Ok(files)
}

/// Writes the records behind an invoice, page by page. How many.
async fn records(
    api: &Api,
    id: &str,
    file: &FilePath,
    size: u64,
    versions: &mut BTreeSet<PriceVersion>,
) -> Result<u64, CliError> {
    let part = part_of(file);
    let failed = |cause| written(&part, cause);
    let mut out = BufWriter::new(File::create(&part).map_err(failed)?);
    let bar = progress("records", size);
    let mut count = 0_u64;
    let path = Path::of(&["invoices", id, "records"]).with("limit", Some(PAGE));
    api.pages(&path, |page| {
        for line in &page {
            let entry: RecordEntry = view(line)?;
            versions.extend(entry.price);
            writeln!(out, "{}", line.get()).map_err(failed)?;
            count = count.saturating_add(1);
        }
        bar.set_position(count);
        Ok(true)
    })
    .await?;
    bar.finish_and_clear();
    out.into_inner().map_err(std::io::IntoInnerError::into_error).map_err(failed)?;
    whole_file::keep(file)?;
    Ok(count)
}

fn write(file: &FilePath, text: &str) -> Result<(), CliError> {
    whole_file::write(file, &format!("{text}\n"))
}

fn written(path: &FilePath, cause: std::io::Error) -> CliError {
    CliError::WriteFile { path: path.to_owned(), cause }
}
