//! `permille verify`: an invoice computed again from its files, without a server or a store.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args};
use permille_ledger::{Beside, CreditNote, Invoice, RecordEntry, recount_of, verify_invoice};
use permille_rating::{
    proof::{Hash, Inclusion, inclusion, record_of},
    verify::Recount,
};
use permille_types::{Price, RequestId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use super::Context;
use crate::{
    error::{CliError, chain},
    output::progress,
};

/// Largest document: an invoice or a list of prices.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest record: a request with every attempt that it may have.
const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// What to verify, with what.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("evidence").args(["events", "proof"]).required(true))]
pub(crate) struct Verify {
    /// The invoice, as `permille invoice document` or `evidence` gave it.
    invoice: PathBuf,
    /// Its records, one JSON line each.
    #[arg(long, value_name = "FILE", requires = "prices")]
    events: Option<PathBuf>,
    /// The prices that the records name.
    #[arg(long, value_name = "FILE", requires = "events")]
    prices: Option<PathBuf>,
    /// An invoice that had billed some of the same months; once for each.
    #[arg(long, value_name = "FILE", requires = "events")]
    earlier: Vec<PathBuf>,
    /// A credit note over it; once for each that there is.
    #[arg(long = "credit-note", value_name = "FILE", requires = "events")]
    notes: Vec<PathBuf>,
    /// Print the proof that this request is among the records, when the invoice is right.
    #[arg(long, value_name = "REQUEST", requires = "events")]
    prove: Option<RequestId>,
    /// Instead of all records: the proof that one of them is on the invoice.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

/// That one record is among those of a month.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    /// The invoice that printed the root.
    invoice: String,
    /// The month.
    period: String,
    /// The record.
    record: Box<RawValue>,
    /// Its way to the root.
    inclusion: Inclusion,
}

/// Where a record was found.
struct Found {
    period: String,
    index: u64,
    record: Box<RawValue>,
}

/// Verifies and says what was found.
///
/// # Errors
/// [`CliError::Refused`] when the invoice or the proof is not right, else what cannot be read.
pub(crate) fn run(context: &Context, verify: &Verify) -> Result<(), CliError> {
    let text = text(&verify.invoice, DOCUMENT_BYTES_MAX)?;
    let invoice: Invoice = parsed(&verify.invoice, &text)?;
    match (&verify.events, &verify.prices, &verify.proof) {
        (Some(events), Some(prices), _) => whole(context, verify, &text, &invoice, events, prices),
        (_, _, Some(proof)) => one(context, &invoice, proof),
        // The command line has one of them.
        _ => Err(CliError::Usage("accepted: --events and --prices, or --proof".to_owned())),
    }
}

fn whole(
    context: &Context,
    verify: &Verify,
    text: &str,
    invoice: &Invoice,
    events: &Path,
    prices: &Path,
) -> Result<(), CliError> {
    let prices: Vec<Price> = document(prices)?;
    let earlier: Vec<Invoice> =
        verify.earlier.iter().map(|file| document(file)).collect::<Result<_, _>>()?;
    let zone = invoice.period.time_zone;
    let mut recount = recount_of(invoice, prices);
    let size = invoice.records.iter().map(|head| head.size).sum();
    let bar = progress("records", size);
    let mut wanted = None;
    let mut count = 0_u64;
    each_line(events, |line| {
        recount.add(line).map_err(|cause| chain(&cause))?;
        count = count.saturating_add(1);
        bar.set_position(count);
        if let Some(request) = verify.prove
            && line.contains(&request.to_string())
        {
            wanted = found(line, request, zone)?.or(wanted.take());
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let notes: Vec<CreditNote> =
        verify.notes.iter().map(|file| document(file)).collect::<Result<_, _>>()?;
    let beside = Beside { earlier: &earlier, notes: &notes };
    let verification = verify_invoice(text, &recount, &beside)
        .map_err(|cause| CliError::Refused(chain(&cause)))?;
    let number = named(invoice);
    if !verification.differences.is_empty() {
        let faults = verification.differences.join("; ");
        return Err(CliError::Refused(format!("{number} is not right: {faults}")));
    }
    if let Some(request) = verify.prove {
        let found = wanted.ok_or_else(|| {
            CliError::Refused(format!("request `{request}` is not among the records of {number}"))
        })?;
        return context.output.document(&proof(number, found, &recount)?);
    }
    let roots = invoice.records.iter().map(|head| format!("{}  {}", head.period, head.root));
    if context.output.is_json() {
        return context.output.document(&json!({
            "invoice": number,
            "right": true,
            "records": count,
            "lines": invoice.lines.len(),
            "total": invoice.total,
            "currency": invoice.currency,
            "roots": invoice.records,
            "remarks": verification.remarks,
        }));
    }
    let remarks = verification.remarks.iter().map(|remark| format!("\nnote: {remark}"));
    context.output.line(&format!(
        "{number} is right: {count} records give its {} lines and {} {}, byte for byte\n\
         root over the records of {}{}",
        invoice.lines.len(),
        invoice.total,
        invoice.currency.code(),
        roots.collect::<Vec<_>>().join("\n                         "),
        remarks.collect::<String>(),
    ))
}

/// The record of `request`, if `line` is it.
fn found(line: &str, request: RequestId, zone: chrono_tz::Tz) -> Result<Option<Found>, String> {
    let entry: RecordEntry = serde_json::from_str(line).map_err(|cause| chain(&cause))?;
    let event = record_of(entry.record.get().as_bytes()).map_err(|cause| chain(&cause))?;
    if event.request_id != request {
        return Ok(None);
    }
    let period =
        permille_rating::period::month_label(event.at, zone).map_err(|cause| chain(&cause))?;
    Ok(Some(Found { period, index: entry.index, record: entry.record }))
}

fn proof(number: String, found: Found, recount: &Recount) -> Result<Proof, CliError> {
    let Found { period, index, record } = found;
    let leaves = recount.month(&period).leaves().unwrap_or_default();
    let inclusion = usize::try_from(index).ok().and_then(|index| inclusion(&leaves, index));
    let inclusion = inclusion
        .ok_or_else(|| CliError::Refused(format!("a record of {period} has no place {index}")))?;
    Ok(Proof { invoice: number, period, record, inclusion })
}

/// Checks the proof of one record against the root that the invoice printed.
fn one(context: &Context, invoice: &Invoice, file: &Path) -> Result<(), CliError> {
    let proof: Proof = document(file)?;
    let number = named(invoice);
    let refuse = |why: String| Err(CliError::Refused(why));
    if proof.invoice != number {
        return refuse(format!("the proof is for {}, the invoice is {number}", proof.invoice));
    }
    let Some(head) = invoice.records.iter().find(|head| head.period == proof.period) else {
        return refuse(format!("{number} has no records of {}", proof.period));
    };
    let event = record_of(proof.record.get().as_bytes())
        .map_err(|cause| CliError::Refused(chain(&cause)))?;
    let leaf = Hash::of_leaf(proof.record.get().as_bytes());
    let inclusion = &proof.inclusion;
    if inclusion.size != head.size || !inclusion.proves(leaf, head.root) {
        return refuse(format!(
            "request `{}` is not proven to be among the {} records of {} under root {}",
            event.request_id, head.size, head.period, head.root
        ));
    }
    if context.output.is_json() {
        return context.output.document(&json!({
            "invoice": number,
            "request": event.request_id,
            "period": head.period,
            "included": true,
        }));
    }
    context.output.line(&format!(
        "request {} is record {} of {} of {} on {number}",
        event.request_id,
        inclusion.index.saturating_add(1),
        head.size,
        head.period
    ))
}

fn named(invoice: &Invoice) -> String {
    let number = invoice.number.as_ref().map(ToString::to_string);
    number.or_else(|| invoice.id.as_ref().map(ToString::to_string)).unwrap_or_default()
}

fn document<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    parsed(path, &text(path, DOCUMENT_BYTES_MAX)?)
}

fn parsed<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, CliError> {
    serde_json::from_str(text)
        .map_err(|cause| CliError::Refused(format!("read `{}`: {}", path.display(), chain(&cause))))
}

fn text(path: &Path, bytes_max: u64) -> Result<String, CliError> {
    let failed = |cause| CliError::ReadFile { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let bytes = file.take(bytes_max.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > bytes_max {
        let path = path.display();
        return Err(CliError::Refused(format!(
            "`{path}` is too long; accepted: at most {bytes_max} bytes"
        )));
    }
    Ok(text)
}

/// Hands each line of a file to `take`, which says why one is refused. One is held at a time.
fn each_line(
    path: &Path,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), CliError> {
    let failed = |cause| CliError::ReadFile { path: path.to_owned(), cause };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = String::new();
    for number in 1_u64.. {
        line.clear();
        let bound = RECORD_BYTES_MAX.saturating_add(1);
        let bytes = file.by_ref().take(bound).read_line(&mut line).map_err(failed)?;
        if bytes == 0 {
            break;
        }
        let path = path.display();
        if u64::try_from(bytes).unwrap_or(u64::MAX) > RECORD_BYTES_MAX {
            return Err(CliError::Refused(format!(
                "line {number} of `{path}` is too long; accepted: at most {RECORD_BYTES_MAX} bytes"
            )));
        }
        take(line.trim_end())
            .map_err(|why| CliError::Refused(format!("line {number} of `{path}`: {why}")))?;
    }
    Ok(())
}
