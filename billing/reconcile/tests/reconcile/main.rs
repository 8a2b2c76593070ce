//! Bills that are read and compared, from files in the forms that providers publish.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod bills;
mod comparisons;
mod sums;

use permille_reconcile::bill::{Bill, BillError, BillReader, Days, Mapping};
use rust_decimal::Decimal;

pub(crate) fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// Reads texts as files of a form that is built in.
pub(crate) fn read(format: &str, texts: &[&str]) -> Result<Bill, BillError> {
    read_by(Mapping::built_in(format)?, Days::default(), texts)
}

pub(crate) fn read_by(mapping: Mapping, days: Days, texts: &[&str]) -> Result<Bill, BillError> {
    let mut reader = BillReader::new(mapping, days);
    for (number, text) in texts.iter().enumerate() {
        reader.read(&format!("file-{number}"), text.as_bytes())?;
    }
    reader.finish()
}

/// The sums of a bill: day, model, class, project, quantity, amount.
pub(crate) fn lines(bill: &Bill) -> Vec<String> {
    let shown = |value: Option<Decimal>| value.map_or("-".to_owned(), |value| value.to_string());
    bill.cells
        .iter()
        .map(|cell| {
            let key = &cell.key;
            let batch = if cell.batch { " batch" } else { "" };
            format!(
                "{} {} {} {} {} {}{batch}",
                key.day.format("%d"),
                key.model.as_deref().unwrap_or("-"),
                key.class,
                key.project.as_deref().unwrap_or("-"),
                shown(cell.quantity),
                shown(cell.amount),
            )
        })
        .collect()
}
