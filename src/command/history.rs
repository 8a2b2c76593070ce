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
    let entries = entries.iter().map(|entry| view(entry)).collect::<Result<Vec<_>, _>>()?;
    Ok(entries_table(&entries))
}

/// The same of entries that were read already.
pub(crate) fn entries_table(entries: &[AuditEntry]) -> String {
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
        grid.row([
            entry.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            entry.action.clone(),
            or_dash(entry.from.as_ref()),
            or_dash(entry.to.as_ref()),
            entry.name.as_ref().unwrap_or(&entry.token).clone(),
            entry.role.clone(),
            entry.detail.clone().unwrap_or_default(),
        ]);
    }
    grid.render("nothing was changed yet")
}
