//! A report as text, as CSV and as a page that prints.

use std::fmt::Write;

use askama::Template;
use rust_decimal::Decimal;

use super::{OfReason, OfStatus, Report, Sums};
use crate::compare::{Comparison, REASONS, Side, Status};

/// Comparisons that a text shows.
const SHOWN_MAX: usize = 40;

/// The columns of the CSV.
const COLUMNS: [&str; 14] = [
    "day",
    "model",
    "class",
    "project",
    "status",
    "billed_quantity",
    "our_quantity",
    "quantity_difference",
    "billed_amount",
    "our_amount",
    "difference",
    "currency",
    "reasons",
    "details",
];

/// The signature as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Who and in which role.
    pub by: String,
    /// When.
    pub at: String,
    /// What they say.
    pub note: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'r> {
    report: &'r Report,
    head: Vec<(&'static str, String)>,
    signed: Option<&'r Signed>,
}

/// A status as people read it.
fn status(status: Status) -> &'static str {
    match status {
        Status::Matched => "matched",
        Status::Different => "different",
        Status::OnlyBilled => "only billed",
        Status::OnlyOurs => "only ours",
    }
}

pub(super) fn shown(value: Option<&Decimal>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.normalize().to_string())
}

/// What a reason means.
fn meaning(code: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == code);
    known.map_or("both sides agree exactly", |(_, meaning)| meaning)
}

impl OfStatus {
    pub(super) fn name(&self) -> &'static str {
        status(self.status)
    }
}

impl OfReason {
    pub(super) fn meaning(&self) -> &'static str {
        meaning(&self.code)
    }
}

impl Report {
    /// What the report adds up of a side.
    pub(super) fn side(&self, side: &Side) -> String {
        shown(if self.currency.is_some() { side.amount } else { side.quantity }.as_ref())
    }

    pub(super) fn unit(&self) -> &str {
        self.currency.map_or("tokens or units", |currency| currency.code())
    }

    pub(super) fn head(&self, signed: Option<&Signed>) -> Vec<(&'static str, String)> {
        let name = self.by.name.as_deref().unwrap_or(&self.by.token);
        let tolerance = &self.scope.tolerance;
        let mut head = vec![
            ("provider", self.scope.provider.clone()),
            ("upstreams", self.scope.upstreams.join(", ")),
            ("days", format!("{} to {} ({})", self.first, self.last, self.time_zone)),
            (
                "made",
                format!("{} by {name} ({})", self.at.format("%Y-%m-%d %H:%M:%SZ"), self.by.role),
            ),
            (
                "tolerance",
                format!(
                    "{} {} or {} ‰ of an amount, {} ‰ of a quantity",
                    tolerance.amount,
                    self.unit(),
                    tolerance.amount_permille,
                    tolerance.quantity_permille
                ),
            ),
        ];
        for file in &self.files {
            let total = file.total.map_or_else(String::new, |total| {
                format!(", {} {}", total.normalize(), self.unit())
            });
            let left = if file.left_out_lines == 0 {
                String::new()
            } else {
                let amount = file.left_out_amount.normalize();
                format!("; {} lines of {amount} left out", file.left_out_lines)
            };
            head.push((
                "file",
                format!(
                    "{} ({}, {} lines{total}{left}), SHA-256 {}",
                    file.name, file.format, file.lines, file.sha256
                ),
            ));
        }
        head.push((
            "signed",
            signed.map_or_else(
                || "no".to_owned(),
                |signed| format!("{} by {}: {}", signed.at, signed.by, signed.note),
            ),
        ));
        head
    }
}

/// The report as text.
#[must_use]
pub fn text(report: &Report, signed: Option<&Signed>) -> String {
    let mut out = format!("Reconciliation {}\n\n", report.id);
    for (name, value) in report.head(signed) {
        line(&mut out, &format!("{name:<10} {value}"));
    }
    let unit = report.unit();
    let sums = |sums: &Sums| {
        let difference = sums.difference.normalize();
        let (billed, ours) = (report.side(&sums.billed), report.side(&sums.ours));
        format!("billed {billed}, ours {ours}, difference {difference}")
    };
    line(&mut out, &format!("\ntotal ({unit}): {}", sums(&report.total)));
    for of in &report.statuses {
        let name = status(of.status);
        line(&mut out, &format!("  {:>6} {name}: {}", of.sums.comparisons, sums(&of.sums)));
    }
    if let Some(drift) = report.drift_permille() {
        line(&mut out, &format!("drift: {drift} ‰ of the bill"));
    }
    line(&mut out, "\nreasons, by the size of what they differ by");
    for of in &report.reasons {
        let (code, count) = (&of.code, of.sums.comparisons);
        let (difference, meaning) = (of.sums.difference.normalize(), of.meaning());
        line(&mut out, &format!("  {code:<24} {count:>6}  {difference}  {meaning}"));
    }
    if !report.differences.is_empty() {
        line(&mut out, "\nwhat does not agree, the largest first");
    }
    for of in report.differences.iter().take(SHOWN_MAX) {
        line(&mut out, &format!("  {}", of.line()));
    }
    let listed = report.differences.len();
    if listed > SHOWN_MAX || report.differences_unlisted > 0 {
        let more = listed.saturating_sub(SHOWN_MAX);
        let unlisted = report.differences_unlisted;
        line(&mut out, &format!("  {more} more (CSV has them), {unlisted} not kept"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    // A model's name may come from a client: control characters must not reach a terminal.
    let safe = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    out.extend(text.chars().map(safe));
    out.push('\n');
}

impl Comparison {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let key = &self.key;
        let mut text =
            format!("{} {} {}", key.day, key.model.as_deref().unwrap_or("(no model)"), key.class);
        if let Some(project) = &key.project {
            text = format!("{text} {project}");
        }
        text = format!("{text}: {}", status(self.status));
        if let Some(difference) = self.difference {
            let (billed, ours) = (self.billed.amount.as_ref(), self.ours.amount.as_ref());
            text = format!(
                "{text} {} (billed {}, ours {})",
                difference.normalize(),
                shown(billed),
                shown(ours)
            );
        }
        if let Some(difference) = self.quantity_difference {
            let (billed, ours) = (self.billed.quantity.as_ref(), self.ours.quantity.as_ref());
            text = format!(
                "{text}, count {} (billed {}, ours {})",
                difference.normalize(),
                shown(billed),
                shown(ours)
            );
        }
        for reason in &self.reasons {
            write!(text, "; {}", reason.code).unwrap_or_default();
            if !reason.detail.is_empty() {
                write!(text, " ({})", reason.detail).unwrap_or_default();
            }
        }
        text
    }
}

/// The comparisons that do not agree, as CSV.
///
/// # Errors
/// [`csv::Error`], which a buffer does not give.
pub fn csv(report: &Report) -> Result<String, ::csv::Error> {
    let mut out = ::csv::Writer::from_writer(Vec::new());
    out.write_record(COLUMNS)?;
    let amount = |value: &Option<Decimal>| {
        value.map_or_else(String::new, |value| value.normalize().to_string())
    };
    let currency = report.currency.map_or("", |currency| currency.code());
    for of in &report.differences {
        let join = |part: fn(&crate::compare::Reason) -> &str| {
            of.reasons.iter().map(part).collect::<Vec<_>>().join("; ")
        };
        out.write_record([
            of.key.day.to_string(),
            told(of.key.model.as_deref().unwrap_or_default()),
            told(&of.key.class),
            told(of.key.project.as_deref().unwrap_or_default()),
            status(of.status).to_owned(),
            amount(&of.billed.quantity),
            amount(&of.ours.quantity),
            amount(&of.quantity_difference),
            amount(&of.billed.amount),
            amount(&of.ours.amount),
            amount(&of.difference),
            currency.to_owned(),
            join(|reason| &reason.code),
            told(&join(|reason| &reason.detail)),
        ])?;
    }
    let bytes = out.into_inner().map_err(|cause| ::csv::Error::from(cause.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text that no spreadsheet takes for a formula.
fn told(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// The report as a page.
///
/// # Errors
/// [`askama::Error`], which a buffer does not give.
pub fn html(report: &Report, signed: Option<&Signed>) -> Result<String, askama::Error> {
    Page { report, head: report.head(signed), signed }.render()
}
