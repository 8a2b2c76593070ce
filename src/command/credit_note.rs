//! Credit notes as text and as tables.

use permille_ledger::CreditNote;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{moment, view};
use crate::{
    error::CliError,
    table::{Align, Grid, grouped},
};

/// A credit note in a list.
#[derive(Debug, Deserialize)]
struct Listed {
    number: String,
    invoice: String,
    customer: String,
    currency: String,
    gross: String,
    created_at: String,
}

/// One row for each note.
///
/// # Errors
/// [`CliError`] when a note is not what this version expects.
pub(crate) fn table(notes: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("number", Align::Left),
        ("invoice", Align::Left),
        ("customer", Align::Left),
        ("credit", Align::Right),
        ("", Align::Left),
        ("made (UTC)", Align::Left),
    ]);
    for note in notes {
        let note: Listed = view(note)?;
        grid.row([
            note.number,
            note.invoice,
            note.customer,
            grouped(&note.gross),
            note.currency,
            moment(&note.created_at),
        ]);
    }
    Ok(grid.render("no credit notes; make one with `permille invoice credit`"))
}

/// One note: head, lines, taxes, sum.
///
/// # Errors
/// [`CliError`] when the document is not what this version expects.
pub(crate) fn text(document: &RawValue) -> Result<String, CliError> {
    let note: CreditNote = view(document)?;
    let head = format!(
        "Credit note {number} over invoice {invoice}\n\n\
         customer  {name} ({customer})\n\
         period    {period}\n\
         reason    {reason}\n",
        number = note.number,
        invoice = note.invoice.number,
        name = note.customer.name,
        customer = note.customer.id,
        period = note.period,
        reason = note.reason,
    );
    let mut grid = Grid::new(&[
        ("line", Align::Right),
        ("project", Align::Left),
        ("model", Align::Left),
        ("class", Align::Left),
        ("credit", Align::Right),
    ]);
    for line in &note.lines {
        grid.row([
            line.line.to_string(),
            line.project.to_string(),
            line.model.to_string(),
            line.meter.to_string(),
            grouped(&line.amount.to_string()),
        ]);
    }
    for tax in &note.tax {
        let rate = format!("{} {}%", tax.name, tax.percent.normalize());
        grid.row(["", "", "", &rate, &grouped(&tax.amount.to_string())]);
    }
    for credit in &note.credits {
        let amount = grouped(&format!("-{}", credit.amount));
        grid.row(["", "", "", &format!("back to credit {}", credit.grant), &amount]);
    }
    let total = format!("total {}", note.currency.code());
    grid.row(["", "", "", &total, &grouped(&note.in_money().to_string())]);
    Ok(format!("{head}\n{}", grid.render("")))
}
