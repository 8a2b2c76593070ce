//! A report as pages that finance signs: what stands on them, however they are set.

use rust_decimal::Decimal;

use super::{Report, Signed, Sums, render::shown};
use crate::compare::Comparison;

/// The pages of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paper {
    /// Labels and what they tell.
    pub facts: Vec<(String, String)>,
    /// Tables and texts, one after the other.
    pub sections: Vec<PaperSection>,
    /// Who has signed, when and what they say; nobody when absent.
    pub signed: Option<String>,
}

/// A part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaperSection {
    /// Its heading.
    pub heading: String,
    /// Heads of the columns, and whether they hold numbers.
    pub columns: Vec<(String, bool)>,
    /// One text for each column.
    pub rows: Vec<Vec<String>>,
    /// What is said below the table.
    pub texts: Vec<String>,
}

/// What a page shows of the report. Every number of the JSON is on it, but for the parts of a
/// comparison that its line leaves out.
#[must_use]
pub fn paper(report: &Report, signed: Option<&Signed>) -> Paper {
    let facts = report.head(None).into_iter().filter(|(label, _)| *label != "signed");
    let facts = facts.map(|(label, told)| (label.to_owned(), told)).collect();
    let mut sections = vec![sums(report)];
    let reasons = report.reasons.iter().map(|of| {
        let Sums { comparisons, difference, .. } = &of.sums;
        let meaning = of.meaning().to_owned();
        vec![of.code.clone(), meaning, comparisons.to_string(), number(difference)]
    });
    sections.push(PaperSection {
        heading: "Reasons".to_owned(),
        columns: columns(&["reason", "means"], &["comparisons", "difference"]),
        rows: reasons.collect(),
        texts: Vec::new(),
    });
    let models = report.models.iter().map(|of| {
        let name = of.model.clone().unwrap_or_else(|| "(no model)".to_owned());
        sums_row(report, name, &of.sums)
    });
    sections.push(PaperSection {
        heading: "Models".to_owned(),
        columns: columns(&["model"], &["comparisons", "billed", "ours", "difference"]),
        rows: models.collect(),
        texts: Vec::new(),
    });
    let mut texts: Vec<String> = report.differences.iter().map(Comparison::line).collect();
    if texts.is_empty() {
        texts.push("Nothing.".to_owned());
    }
    if report.differences_unlisted > 0 {
        texts.push(format!("{} more are not kept.", report.differences_unlisted));
    }
    sections.push(PaperSection {
        heading: "What does not agree".to_owned(),
        texts,
        ..PaperSection::default()
    });
    let signed = signed.map(|signed| format!("{} by {}: {}", signed.at, signed.by, signed.note));
    Paper { facts, sections, signed }
}

fn sums(report: &Report) -> PaperSection {
    let mut rows = vec![sums_row(report, "total".to_owned(), &report.total)];
    let statuses = report.statuses.iter();
    rows.extend(statuses.map(|of| sums_row(report, of.name().to_owned(), &of.sums)));
    let drift = report.drift_permille().map(|drift| format!("drift: {drift} ‰ of the bill"));
    PaperSection {
        heading: format!("Sums ({})", report.unit()),
        columns: columns(&[""], &["comparisons", "billed", "ours", "difference"]),
        rows,
        texts: drift.into_iter().collect(),
    }
}

fn sums_row(report: &Report, name: String, sums: &Sums) -> Vec<String> {
    vec![
        name,
        sums.comparisons.to_string(),
        report.side(&sums.billed),
        report.side(&sums.ours),
        number(&sums.difference),
    ]
}

fn number(value: &Decimal) -> String {
    shown(Some(value))
}

fn columns(texts: &[&str], numbers: &[&str]) -> Vec<(String, bool)> {
    let text = texts.iter().map(|label| ((*label).to_owned(), false));
    text.chain(numbers.iter().map(|label| ((*label).to_owned(), true))).collect()
}
