//! In which currency a caller means an amount. Whoever says none means the thing's own.

use permille_types::Currency;

use crate::LedgerError;

/// Refuses an amount that is meant in `stated` of what is in `actual`; `whose` says what that is.
/// Nothing is ever converted (decision 0004): another currency is a mistake.
pub(crate) fn refuse_other_currency(
    stated: Option<Currency>,
    actual: Currency,
    whose: impl FnOnce() -> String,
) -> Result<(), LedgerError> {
    let Some(other) = stated.filter(|stated| *stated != actual) else { return Ok(()) };
    let accepted = format!("{}, {}", actual.code(), whose());
    Err(LedgerError::invalid("currency", other.code(), accepted))
}
