//! Where an invoice and the one that its records give differ, each place by its name.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use permille_rating::invoice::InvoiceLine;
use serde::Serialize;
use serde_json::Value;

use super::Invoice;
use crate::invoiced::{LineKey, key_of_line};

/// Fields that are told in words of their own.
const TOLD_APART: [&str; 3] = ["lines", "records", "seal"];

/// Which line it is: the month that it corrects, where its part begins, what it bills by.
type Place<'a> = (Option<&'a str>, Option<DateTime<Utc>>, LineKey);

/// Says where two invoices differ.
pub(super) fn compare(printed: &Invoice, again: &Invoice, differences: &mut Vec<String>) {
    compare_lines(&printed.lines, &again.lines, differences);
    let (printed_fields, again_fields) = (fields(printed), fields(again));
    for (name, value) in &again_fields {
        if !TOLD_APART.contains(&name.as_str()) {
            let printed = printed_fields.get(name).unwrap_or(&Value::Null);
            compare_values(name, printed, value, differences);
        }
    }
    for (name, value) in &printed_fields {
        if !again_fields.contains_key(name) && !TOLD_APART.contains(&name.as_str()) {
            compare_values(name, value, &Value::Null, differences);
        }
    }
    // What follows from records is named already; the seal tells of everything else.
    if differences.is_empty() && printed.seal != again.seal {
        differences.push(
            "seal: it is not that of the content; something was changed that does not follow from \
             the records, such as a name, a date or a term"
                .to_owned(),
        );
    }
}

fn compare_lines(printed: &[InvoiceLine], again: &[InvoiceLine], differences: &mut Vec<String>) {
    let mut wanted: BTreeMap<Place<'_>, (usize, &InvoiceLine)> = BTreeMap::new();
    for (number, line) in (1..).zip(again) {
        wanted.insert(place_of(line), (number, line));
    }
    let mut order = 0;
    for (number, line) in (1..).zip(printed) {
        let what = named(number, line);
        let Some((place, other)) = wanted.remove(&place_of(line)) else {
            differences.push(format!("{what}: no record is behind it, or it is there twice"));
            continue;
        };
        if place < order {
            differences.push(format!("{what}: it is out of order"));
        }
        order = place;
        if (line.quantity, line.amount) != (other.quantity, other.amount) {
            differences.push(format!(
                "{what}: {} and {} printed, {} and {} from the records",
                line.quantity, line.amount, other.quantity, other.amount
            ));
        } else if line != other {
            let (printed, again) = (fields(line), fields(other));
            compare_values(&what, &Value::Object(printed), &Value::Object(again), differences);
        }
    }
    for (number, line) in wanted.into_values() {
        let (quantity, amount) = (line.quantity, line.amount);
        let what = named(number, line);
        differences.push(format!("{what}: {quantity} for {amount} is not printed"));
    }
}

fn place_of(line: &InvoiceLine) -> Place<'_> {
    (line.corrects.as_deref(), line.part.map(|part| part.start), key_of_line(line))
}

fn named(number: usize, line: &InvoiceLine) -> String {
    let (project, model, meter) = (&line.project, &line.model, &line.meter);
    let late = line.corrects.as_ref().map(|month| format!(" of {month}")).unwrap_or_default();
    let part = line.part.map(|part| format!(" from {}", part.start.to_rfc3339()));
    let part = part.unwrap_or_default();
    format!("line {number} `{project}` `{model}` {meter}{late}{part}")
}

/// The fields as they are written.
fn fields<T: Serialize>(of: &T) -> serde_json::Map<String, Value> {
    match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

/// Names each place below `path` at which two values differ; entries of lists count from 1.
fn compare_values(path: &str, printed: &Value, again: &Value, differences: &mut Vec<String>) {
    match (printed, again) {
        (Value::Object(printed), Value::Object(again)) => {
            for (name, value) in printed {
                let other = again.get(name).unwrap_or(&Value::Null);
                compare_values(&format!("{path} {name}"), value, other, differences);
            }
            for (name, value) in again.iter().filter(|(name, _)| !printed.contains_key(*name)) {
                compare_values(&format!("{path} {name}"), &Value::Null, value, differences);
            }
        }
        (Value::Array(printed), Value::Array(again)) => {
            let longer = printed.len().max(again.len());
            for place in 0..longer {
                let of = |values: &[Value]| values.get(place).cloned().unwrap_or(Value::Null);
                let number = place.saturating_add(1);
                let (printed, again) = (of(printed), of(again));
                compare_values(&format!("{path} {number}"), &printed, &again, differences);
            }
        }
        (printed, again) if printed != again => differences.push(format!(
            "{path}: {} printed, {} from the records",
            shown(printed),
            shown(again)
        )),
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
