//! An audit trail as a table.

use permille_ledger::AuditEntry;
use serde_json::value::RawValue;

use super::{or_dash, view};
use crate::{
    error::CliError,
    table::{Align, Grid},
};

/// One row for each change, oldest first.
///
/// # Errors
/// [`CliError`] when an entry is not what this version expects.
pub(crate) fn table(entries: &[Box<RawValue>]) -> Result<String, CliError> {
    let mut grid = Grid::new(&[
        ("at (UTC)", Align::Left),
        ("action", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("by", Align::Left),
        ("role", Align::Left),
        ("detail", Align::Left),
    ]);
    for entry in entries {
        let entry: AuditEntry = view(entry)?;
        grid.row([
            entry.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            entry.action,
            or_dash(entry.from.as_ref()),
            or_dash(entry.to.as_ref()),
            entry.name.unwrap_or(entry.token),
            entry.role,
            entry.detail.unwrap_or_default(),
        ]);
    }
    Ok(grid.render("nothing was changed yet"))
}
