//! `/api/v1/reconciliations`: providers' bills against our side, kept and signed.
//!
//! The bill comes summed up by day, model, class and project, however long its files are; our side
//! is read here, so that what is kept does not rest on what a caller says of it.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::DateTime;
use http::{StatusCode, header};
use permille_documents::{Statement, StatementSection, StatementSignature};
use permille_ledger::{
    Listing, NewReconciliation, Page, ProviderCell, ProviderScope, Reconciliation,
    ReconciliationSummary,
};
use permille_reconcile::{
    bill::Bill,
    compare::{OurCell, compare},
    report::{self, Paper, PaperSection, Parts, Report, RunBy, Scope, Signed},
};
use permille_types::UpstreamName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    access::{Caller, ReadMargins, WriteInvoices},
    billing::Billing,
    input::{Body, IMPORT_BYTES_MAX, Params, Segment},
    openapi::{Output, Sketch},
    problem::Problem,
};

/// Most upstreams of one provider.
const UPSTREAMS_MAX: usize = 100;
/// Longest name of a provider, in bytes.
const PROVIDER_BYTES_MAX: usize = 100;
/// Most days of one bill.
const DAYS_MAX: i64 = 400;

/// A bill to compare.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{
    "scope": {
        "provider": "openai",
        "upstreams": ["openai"],
        "tolerance": {"amount": "0.01", "amount_permille": "1", "quantity_permille": "0"},
    },
    "bill": {
        "currency": "USD",
        "time_zone": "UTC",
        "files": [],
        "cells": [{
            "key": {"day": "2026-11-01", "model": "gpt-4o-mini", "class": "input_uncached"},
            "quantity": "1000000",
            "amount": "0.15",
        }],
    },
}]))]
pub(super) struct New {
    /// What is compared with what.
    scope: Scope,
    /// What the provider says.
    bill: Bill,
}

/// A signature.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"note": "the difference is a rounding of the provider"}]))]
pub(super) struct Signing {
    /// What whoever signs says.
    #[schemars(length(min = 1, max = 1000))]
    note: String,
}

/// Which reconciliations are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Of this provider only.
    provider: Option<String>,
    /// Most items of the page, 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How a report is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The form.
    #[schemars(extend("enum" = ["text", "csv", "html", "pdf", "json"]))]
    format: String,
}

pub(super) async fn list(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    Params(listed): Params<Listed>,
) -> Result<Json<Listing<ReconciliationSummary>>, Problem> {
    let page = Page::new(listed.cursor, listed.limit)?;
    Ok(Json(billing.ledger.reconciliations(listed.provider.as_deref(), &page).await?))
}

pub(super) async fn show(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    Segment(id): Segment,
) -> Result<Json<Reconciliation>, Problem> {
    Ok(Json(billing.ledger.reconciliation(&id).await?))
}

pub(super) async fn create(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    body: Body<New>,
) -> Result<(StatusCode, Json<Reconciliation>), Problem> {
    let New { scope, bill } = body.read_up_to(IMPORT_BYTES_MAX).await?;
    let instruction = caller.instruction()?;
    let asked = side(&scope, &bill)?;
    let said = serde_json::to_vec(&(&scope, &bill)).map_err(|cause| failed(&cause))?;
    let _turn = billing.turn_to_summarise().await.ok_or_else(|| {
        Problem::busy("another reconciliation or summary is being made; ask again later")
    })?;
    let ours: Vec<OurCell> =
        billing.ledger.provider_side(&asked).await?.into_iter().map(our_cell).collect();
    let too_large =
        |cause: permille_reconcile::compare::TooLarge| Problem::invalid(cause.to_string());
    let comparisons =
        compare(&bill, &ours, &scope.projects, &scope.tolerance).map_err(too_large)?;
    let (id, at) = billing.ledger.reconciliation_id()?;
    let by = instruction.by();
    let by = RunBy {
        token: by.token().to_string(),
        role: by.role().as_str().to_owned(),
        name: by.name().map(str::to_owned),
    };
    let parts = Parts { id, at, by, scope, bill, comparisons };
    let asked = hex::encode(Sha256::digest(&said));
    let new = kept(Report::new(parts).map_err(too_large)?, asked)?;
    let reconciliation = billing.ledger.keep_reconciliation(&new, &instruction).await?;
    billing.watch_reconciliations().await?;
    Ok((StatusCode::CREATED, Json(reconciliation)))
}

pub(super) async fn sign(
    State(billing): State<Billing>,
    caller: Caller<WriteInvoices>,
    Segment(id): Segment,
    body: Body<Signing>,
) -> Result<Json<Reconciliation>, Problem> {
    let Signing { note } = body.read().await?;
    Ok(Json(billing.ledger.sign_reconciliation(&id, &note, &caller.instruction()?).await?))
}

/// The report as people read it.
pub(super) async fn export(
    State(billing): State<Billing>,
    _: Caller<ReadMargins>,
    Segment(id): Segment,
    Params(wanted): Params<Wanted>,
) -> Result<File, Problem> {
    let Reconciliation { summary, report, .. } = billing.ledger.reconciliation(&id).await?;
    let read: Report = serde_json::from_str(report.get()).map_err(|cause| failed(&cause))?;
    let signed = summary.signed.map(|signed| Signed {
        by: signed.by,
        at: signed.at.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        note: signed.note,
    });
    let (kind, body) = match wanted.format.as_str() {
        "text" => ("text/plain; charset=utf-8", report::text(&read, signed.as_ref()).into_bytes()),
        "csv" => {
            let table = report::csv(&read).map_err(|cause| failed(&cause))?;
            ("text/csv; charset=utf-8", table.into_bytes())
        }
        "html" => {
            let page = report::html(&read, signed.as_ref()).map_err(|cause| failed(&cause))?;
            ("text/html; charset=utf-8", page.into_bytes())
        }
        "pdf" => {
            let pages = billing.exports.statement(statement(&read, signed.as_ref())).await?;
            ("application/pdf", pages)
        }
        "json" => ("application/json", report.get().to_owned().into_bytes()),
        other => {
            let accepted = "text, csv, html, pdf or json";
            let detail = format!("format `{other}` is not accepted; accepted: {accepted}");
            return Err(Problem::invalid(detail));
        }
    };
    let ending = if wanted.format == "text" { "txt" } else { &wanted.format };
    Ok(File { kind, name: format!("{}.{ending}", read.id), body })
}

/// A report by its name, never guessed to be something else and never a page of ours.
pub(super) struct File {
    kind: &'static str,
    name: String,
    body: Vec<u8>,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind.to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.name)),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::CACHE_CONTROL, "private, no-store".to_owned()),
        ];
        (headers, self.body).into_response()
    }
}

impl Output for File {
    fn describe(sketch: &mut Sketch) {
        let media_types =
            ["text/plain", "text/csv", "text/html", "application/pdf", "application/json"];
        sketch.gives_file(media_types.into_iter());
    }
}

/// The pages that finance signs, as they are set.
fn statement(report: &Report, signed: Option<&Signed>) -> Statement {
    let Paper { facts, sections, signed } = report::paper(report, signed);
    let section = |PaperSection { heading, columns, rows, texts }| StatementSection {
        heading,
        columns,
        rows,
        texts,
    };
    let signatures = match signed {
        Some(signed) => {
            vec![StatementSignature { label: "Signed".to_owned(), signed: Some(signed) }]
        }
        None => ["Date", "Engineering", "Finance"]
            .map(|label| StatementSignature { label: label.to_owned(), signed: None })
            .into(),
    };
    Statement {
        title: "Reconciliation".to_owned(),
        number: report.id.clone(),
        at: report.at,
        facts,
        sections: sections.into_iter().map(section).collect(),
        signatures,
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a reconciliation cannot be written");
    Problem::failed()
}

/// Our side of what is asked.
fn side(scope: &Scope, bill: &Bill) -> Result<ProviderScope, Problem> {
    let refused = |field: &str, value: &str, accepted: &str| {
        Problem::invalid(format!("{field} `{value}` is not accepted; accepted: {accepted}"))
    };
    let provider = &scope.provider;
    if provider.trim().is_empty() || provider.len() > PROVIDER_BYTES_MAX {
        return Err(refused("provider", provider, "a name of 1 to 100 bytes"));
    }
    if scope.upstreams.is_empty() || scope.upstreams.len() > UPSTREAMS_MAX {
        let count = scope.upstreams.len().to_string();
        return Err(refused("upstreams", &count, "1 to 100 names"));
    }
    let name = |text: &String| {
        text.parse::<UpstreamName>()
            .map_err(|_| refused("upstream", text, "the name of an [[upstream]]"))
    };
    let (first, last) =
        bill.days().ok_or_else(|| refused("bill", "without cells", "one sum at least"))?;
    if last.signed_duration_since(first).num_days() >= DAYS_MAX {
        let days = format!("{first} to {last}");
        return Err(refused("bill", &days, &format!("at most {DAYS_MAX} days")));
    }
    if bill.currency.is_none() && bill.cells.iter().any(|cell| cell.amount.is_some()) {
        return Err(refused("bill.currency", "absent", "the currency of the bill's amounts"));
    }
    let tolerance = &scope.tolerance;
    for (field, value) in [
        ("tolerance.amount", tolerance.amount),
        ("tolerance.amount_permille", tolerance.amount_permille),
        ("tolerance.quantity_permille", tolerance.quantity_permille),
    ] {
        if value.is_sign_negative() && !value.is_zero() {
            return Err(refused(field, &value.to_string(), "0 or more"));
        }
    }
    Ok(ProviderScope {
        upstreams: scope.upstreams.iter().map(name).collect::<Result<_, _>>()?,
        currency: bill.currency,
        time_zone: bill.time_zone,
        first,
        last,
    })
}

fn our_cell(cell: ProviderCell) -> OurCell {
    OurCell {
        day: cell.day,
        model: cell.model,
        class: cell.meter.to_string(),
        upstream: Some(cell.upstream.to_string()),
        quantity: cell.quantity,
        amount: cell.amount,
        unpriced: cell.unpriced,
        failed: cell.failed,
        estimated: cell.estimated,
        batch: cell.batch,
        untold: cell.untold,
    }
}

/// The report as it is kept, with a digest of what it says: not of its id, time and author.
fn kept(report: Report, asked: String) -> Result<NewReconciliation, Problem> {
    let said = Report {
        id: String::new(),
        at: DateTime::default(),
        by: RunBy { token: String::new(), role: String::new(), name: None },
        ..report.clone()
    };
    let said = serde_json::to_vec(&said).map_err(|cause| failed(&cause))?;
    let text = serde_json::to_string(&report).map_err(|cause| failed(&cause))?;
    let drift = report.drift_permille();
    let detail = format!(
        "{} of {} to {}: {} of {} comparisons differ, drift {} ‰",
        report.scope.provider,
        report.first,
        report.last,
        report.differences.len(),
        report.total.comparisons,
        drift.map_or_else(|| "unknown".to_owned(), |drift| drift.to_string()),
    );
    Ok(NewReconciliation {
        id: report.id,
        provider: report.scope.provider,
        first: report.first,
        last: report.last,
        asked,
        fingerprint: hex::encode(Sha256::digest(&said)),
        drift_permille: drift,
        report: RawValue::from_string(text).map_err(|cause| failed(&cause))?,
        detail,
    })
}
