//! `permille reconcile`: a provider's bill or usage export against our side.

use std::{
    fs::File,
    path::{Path as FilePath, PathBuf},
};

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};
use permille_reconcile::{
    bill::{BUILT_IN, BillError, BillReader, Days, Mapping},
    compare::Tolerance,
    report::{self, Report, Scope, Signed},
};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Context, export, or_dash, terms, view};
use crate::{
    api::{Api, Path, WORK_SECONDS_MAX},
    error::{CliError, chain},
    output::{progress, waiting},
    table::{Align, Grid},
    whole_file,
};

/// What to compare, or what to do with what was compared.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Reconcile {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    bill: BillArgs,
}

/// What was compared.
#[derive(Debug, Subcommand)]
enum Command {
    /// List reconciliations.
    List {
        /// Only those with this provider.
        #[arg(long)]
        provider: Option<String>,
    },
    /// Show one, or write it to a file.
    Show {
        /// Id of the reconciliation, as `reconcile list` shows it.
        id: String,
        /// The form of the report.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        /// Write it to this file (pdf: or into this folder) [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Sign one, in the name and role of the token in `PERMILLE_TOKEN`.
    Sign {
        /// Id of the reconciliation, as `reconcile list` shows it.
        id: String,
        /// What you say to what differs: it stands beside the signature.
        #[arg(long)]
        note: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// What does not agree, for a spreadsheet.
    Csv,
    /// A page that prints, with a place for a signature.
    Html,
    /// The same as PDF.
    Pdf,
    /// Everything.
    Json,
}

/// A bill.
#[derive(Debug, Args)]
struct BillArgs {
    /// Whose it is, such as openai, anthropic or bedrock.
    #[arg(long, required = true)]
    provider: Option<String>,
    /// Its files: pages of JSON one after the other, or tables.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How a table is read, where its provider does not say: openai, anthropic, aws-cur, focus.
    #[arg(long, conflicts_with = "mapping")]
    format: Option<String>,
    /// A file that says how a table is read, and which names of the provider are which of ours.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// An upstream that the provider bills. May be repeated [default: those of the configuration
    /// whose provider it is, else the one of its name].
    #[arg(long = "upstream", value_name = "NAME")]
    upstreams: Vec<String>,
    /// Only this day of the provider or later.
    #[arg(long, value_name = "YYYY-MM-DD")]
    since: Option<NaiveDate>,
    /// Only this day of the provider or before.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until: Option<NaiveDate>,
    /// How much two amounts of one day, model and class may differ.
    #[arg(long, value_name = "AMOUNT", default_value = "0.01")]
    tolerance: String,
    /// Or in thousandths of the bill's amount, where that is more.
    #[arg(long, value_name = "PERMILLE", default_value = "1")]
    tolerance_permille: String,
    /// How much two counts may differ, in thousandths of the bill's.
    #[arg(long, value_name = "PERMILLE", default_value = "0")]
    quantity_permille: String,
}

/// A reconciliation, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Reconciliation<'a> {
    summary: Summary,
    #[serde(borrow)]
    report: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Summary {
    id: String,
    provider: String,
    first: String,
    last: String,
    drift_permille: Option<String>,
    created_at: String,
    signed: Option<Signature>,
}

#[derive(Debug, Deserialize)]
struct Signature {
    at: String,
    by: String,
    note: String,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`] when the bill is refused, or the API refuses or cannot be reached.
pub(crate) async fn run(context: &Context, asked: &Reconcile) -> Result<(), CliError> {
    match &asked.command {
        None => compare(context, &asked.bill).await,
        Some(Command::List { provider }) => {
            let path = Path::of(&["reconciliations"]).with("provider", provider.as_deref());
            context.output.list(&context.api().await?.list(&path).await?, table)
        }
        Some(Command::Show { id, format, out }) => {
            show(context, &context.api().await?, id, *format, out.as_deref()).await
        }
        Some(Command::Sign { id, note }) => {
            let path = Path::of(&["reconciliations", id, "sign"]);
            let signed = context.api().await?.post(&path, &json!({"note": note})).await?;
            context.output.one(&signed, text)
        }
    }
}

async fn compare(context: &Context, asked: &BillArgs) -> Result<(), CliError> {
    let provider = asked.provider.as_deref().unwrap_or_default();
    let mapping = mapping(asked, provider)?;
    let scope = Scope {
        provider: provider.to_owned(),
        upstreams: upstreams(context, asked, provider)?,
        projects: mapping.projects.clone(),
        tolerance: Tolerance {
            amount: decimal("--tolerance", &asked.tolerance)?,
            amount_permille: decimal("--tolerance-permille", &asked.tolerance_permille)?,
            quantity_permille: decimal("--quantity-permille", &asked.quantity_permille)?,
        },
    };
    let days = Days { since: asked.since, until: asked.until };
    let mut reader = BillReader::new(mapping, days);
    for path in &asked.files {
        read(&mut reader, path)?;
    }
    let bill = reader.finish().map_err(|cause| CliError::Refused(chain(&cause)))?;
    let body = json!({"scope": scope, "bill": bill});
    let api = context.api().await?;
    let path = Path::of(&["reconciliations"]);
    let compared = api.post_within(WORK_SECONDS_MAX, &path, &body);
    let made = waiting("our side is read and compared", compared).await?;
    context.output.one(&made, text)
}

/// Reads a file into the bill, showing how far it is.
fn read(reader: &mut BillReader, path: &FilePath) -> Result<(), CliError> {
    let failed = |cause| CliError::ReadFile { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let bar = progress("bytes", file.metadata().map_err(failed)?.len());
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.display().to_string());
    let done = reader.read(&name, bar.wrap_read(file));
    bar.finish_and_clear();
    done.map_err(|cause| match cause {
        BillError::Io(cause) => failed(cause),
        cause => CliError::Refused(format!("`{}`: {}", path.display(), chain(&cause))),
    })
}

fn mapping(asked: &BillArgs, provider: &str) -> Result<Mapping, CliError> {
    let refused = |cause: BillError| CliError::Refused(chain(&cause));
    if let Some(path) = &asked.mapping {
        return Mapping::parse(&terms(path)?).map_err(|cause| {
            CliError::Refused(format!("`{}`: {}", path.display(), chain(&cause)))
        });
    }
    let by_provider = match provider {
        "bedrock" | "aws" | "aws-bedrock" => "aws-cur",
        other => other,
    };
    let name = asked.format.as_deref().unwrap_or(by_provider);
    if asked.format.is_none() && !BUILT_IN.iter().any(|(known, _)| *known == name) {
        return Err(CliError::Usage(format!(
            "how a bill of `{provider}` is read is not built in: name --format ({}) or --mapping FILE",
            BUILT_IN.map(|(known, _)| known).join(", ")
        )));
    }
    Mapping::built_in(name).map_err(refused)
}

/// The upstreams that are our side.
fn upstreams(context: &Context, asked: &BillArgs, provider: &str) -> Result<Vec<String>, CliError> {
    if !asked.upstreams.is_empty() {
        return Ok(asked.upstreams.clone());
    }
    let config = context.config()?;
    let configured = config.settings.upstream.iter();
    let named: Vec<String> = configured
        .filter(|upstream| {
            let own = &upstream.provider;
            own.as_deref().unwrap_or(upstream.family.as_str()) == provider
        })
        .map(|upstream| upstream.name.to_string())
        .collect();
    Ok(if named.is_empty() { vec![provider.to_owned()] } else { named })
}

fn decimal(flag: &str, text: &str) -> Result<Decimal, CliError> {
    Decimal::from_str_exact(text).ok().filter(|value| !value.is_sign_negative()).ok_or_else(|| {
        let accepted = "a decimal such as 0.01, 0 or more";
        CliError::Usage(format!("{flag} `{text}` is not accepted; accepted: {accepted}"))
    })
}

async fn show(
    context: &Context,
    api: &Api,
    id: &str,
    format: Format,
    out: Option<&FilePath>,
) -> Result<(), CliError> {
    if context.output.is_json() && !matches!(format, Format::Text | Format::Json) {
        let problem = "--json and another --format are two forms; accepted: one of them";
        return Err(CliError::Usage(problem.to_owned()));
    }
    if format == Format::Pdf {
        export::refuse_terminal(out)?;
        let path = Path::of(&["reconciliations", id, "export"]).with("format", Some("pdf"));
        return export::deliver(context, api.download(&path).await?, out).await;
    }
    let found = api.get(&Path::of(&["reconciliations", id])).await?;
    let failed = |cause: &dyn std::error::Error| CliError::Refused(chain(cause));
    let written = match format {
        Format::Text if out.is_none() => return context.output.one(&found, text),
        Format::Text if !context.output.is_json() => text(&found)?,
        // PDF is set where the fonts are, by the API.
        Format::Text | Format::Json | Format::Pdf => found.get().to_owned(),
        Format::Csv => report::csv(&parts(&found)?.0).map_err(|cause| failed(&cause))?,
        Format::Html => {
            let (report, signed) = parts(&found)?;
            report::html(&report, signed.as_ref()).map_err(|cause| failed(&cause))?
        }
    };
    let Some(path) = out else { return context.output.line(written.trim_end()) };
    whole_file::write(path, &written)?;
    if context.output.is_json() {
        return context.output.document(&json!({"file": path}));
    }
    context.output.line(&path.display().to_string())
}

fn parts(document: &RawValue) -> Result<(Report, Option<Signed>), CliError> {
    let Reconciliation { summary, report } =
        serde_json::from_str(document.get()).map_err(crate::api::ApiError::Answer)?;
    let signed = summary.signed.map(|Signature { at, by, note }| Signed { by, at, note });
    Ok((view(report)?, signed))
}

fn text(document: &RawValue) -> Result<String, CliError> {
    let (report, signed) = parts(document)?;
    Ok(report::text(&report, signed.as_ref()))
}

fn table(items: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("id", Align::Left),
        ("provider", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("drift ‰", Align::Right),
        ("made (UTC)", Align::Left),
        ("signed", Align::Left),
    ]);
    for item in items {
        let summary: Summary = view(item)?;
        grid.row([
            summary.id,
            summary.provider,
            summary.first,
            summary.last,
            or_dash(summary.drift_permille.as_ref()),
            super::moment(&summary.created_at),
            summary.signed.map_or_else(|| "no".to_owned(), |signed| signed.by),
        ]);
    }
    Ok(grid.render("no reconciliations; make one with `permille reconcile --provider NAME FILE`"))
}
