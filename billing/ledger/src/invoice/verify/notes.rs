//! Credit notes beside an invoice: what they take back follows from their lines, their taxes from
//! those of the invoice, and together they never take back more than it has.

use permille_rating::{
    invoice::{CreditError, credit_of_lines},
    round::round_money,
};
use rust_decimal::Decimal;

use super::{Invoice, NotVerifiable};
use crate::{
    CreditNote, column,
    credit_note::{creditable, credited, given_back},
};

/// Computes every note again, in the order of their numbers. What is wrong goes to `differences`;
/// what the notes take back is told.
pub(super) fn check(
    invoice: &Invoice,
    notes: &[CreditNote],
    differences: &mut Vec<String>,
) -> Result<Vec<String>, NotVerifiable> {
    let mut notes = notes.to_vec();
    notes.sort_by(|a, b| a.number.cmp(&b.number));
    let lines: Vec<Decimal> = invoice.lines.iter().map(|line| line.amount).collect();
    let mut told = Vec::new();
    let mut left = invoice.total;
    for (place, note) in notes.iter().enumerate() {
        let before = notes.get(..place).unwrap_or_default();
        let found = differences.len();
        names(invoice, note, differences);
        let so_far = credited(before).map_err(NotVerifiable::Compute)?;
        let amounts = note.lines.iter().map(|line| (line.line, line.amount)).collect();
        let number = &note.number;
        let again = match credit_of_lines(creditable(invoice, &lines), &so_far, amounts) {
            Ok(again) => again,
            Err(cause @ CreditError::NoLine { .. }) => {
                differences.push(format!("credit note {number}: {cause}"));
                continue;
            }
            Err(cause) => return Err(NotVerifiable::Credit(cause)),
        };
        let back = given_back(invoice, before, again.prepaid).map_err(NotVerifiable::Compute)?;
        let mut differ = |what: &str, printed: String, again: String| {
            if printed != again {
                differences.push(format!(
                    "credit note {number} {what}: {printed} printed, {again} from its lines"
                ));
            }
        };
        differ("subtotal", note.of_lines().to_string(), again.subtotal.to_string());
        differ("net", note.net.to_string(), again.net.to_string());
        for (printed, again) in note.tax.iter().zip(&again.taxes) {
            differ(
                &format!("tax {}", again.name),
                printed.amount.to_string(),
                again.amount.to_string(),
            );
        }
        differ("taxes", note.tax.len().to_string(), again.taxes.len().to_string());
        differ("gross", note.gross.to_string(), again.gross.to_string());
        differ("total", note.in_money().to_string(), again.total.to_string());
        let prepaid = note.prepaid.unwrap_or_default().normalize();
        differ("prepaid", prepaid.to_string(), again.prepaid.normalize().to_string());
        if note.credits != back {
            differences.push(format!("credit note {number}: other grants get credit back"));
        }
        above(invoice, note, &so_far.lines, differences)?;
        left = column::exact_sub("what is left", left, note.in_money())
            .map_err(NotVerifiable::Compute)?;
        if differences.len() == found {
            let back = note.prepaid.map(|back| format!(" and {back} to prepaid credit"));
            told.push(format!(
                "{number} takes back {} in money{}",
                note.in_money(),
                back.unwrap_or_default()
            ));
        }
    }
    if !notes.is_empty() {
        let (total, count) = (invoice.total, notes.len());
        let left = round_money(left, invoice.currency);
        told.push(format!("of {total} {left} is left to be paid after {count} credit notes"));
    }
    Ok(told)
}

/// What a note says of its invoice.
fn names(invoice: &Invoice, note: &CreditNote, differences: &mut Vec<String>) {
    let number = &note.number;
    if Some(&note.invoice.number) != invoice.number.as_ref()
        || note.customer.id != invoice.customer.id
        || note.currency != invoice.currency
    {
        let other = &note.invoice.number;
        differences.push(format!("credit note {number} is of invoice {other}, not of this one"));
    }
    for line in &note.lines {
        let billed = line.line.checked_sub(1).and_then(|place| invoice.lines.get(place));
        let same = billed.is_some_and(|billed| {
            (&billed.project, &billed.model, &billed.meter)
                == (&line.project, &line.model, &line.meter)
        });
        if !same {
            let of = line.line;
            differences.push(format!("credit note {number}: its line {of} is another one's"));
        }
    }
}

/// Lines of which a note takes back more than is left.
fn above(
    invoice: &Invoice,
    note: &CreditNote,
    before: &[Decimal],
    differences: &mut Vec<String>,
) -> Result<(), NotVerifiable> {
    for line in &note.lines {
        let Some(place) = line.line.checked_sub(1) else { continue };
        let Some(billed) = invoice.lines.get(place) else { continue };
        let before = before.get(place).copied().unwrap_or_default();
        let left = column::exact_sub("what is left of a line", billed.amount, before)
            .map_err(NotVerifiable::Compute)?;
        if line.amount.abs() > left.abs() {
            let (number, of, amount) = (&note.number, line.line, line.amount);
            differences.push(format!(
                "credit note {number}: it takes back {amount} of line {of}, of which {left} is left"
            ));
        }
    }
    Ok(())
}
