//! What the text of a session's result costs by the list: its last complete reply, without what was
//! sent before. The cost of the whole session divided by it is the list-price multiplier.

use permille_types::{CustomerId, Ended, Price, SessionId};
use rust_decimal::Decimal;

use super::SessionDelta;
use crate::{
    LedgerError,
    catalogue::Catalogue,
    column, price,
    store::Connection,
    usage::{self, Pricing, StoredUsage},
};

/// The cost of a request without what was sent before; `delta` is what it adds to its session.
/// Absent where it did not end complete or has no price.
pub(crate) fn text_cost(
    row: &StoredUsage,
    delta: &SessionDelta,
) -> Result<Option<Decimal>, LedgerError> {
    match &row.pricing {
        Pricing::Priced { cost, .. } if row.event.ended == Ended::Complete => {
            column::exact_sub("cost of a reply", *cost, delta.amounts.resent_cost).map(Some)
        }
        _ => Ok(None),
    }
}

/// The same of the last request of a session that has such a cost.
pub(super) async fn last_text_cost(
    connection: &mut Connection,
    catalogue: &Catalogue,
    customer: &CustomerId,
    session: &SessionId,
) -> Result<Option<Decimal>, LedgerError> {
    let Some(row) = usage::last_complete(connection, customer, session).await? else {
        return Ok(None);
    };
    let derived = price::derived_since(connection, catalogue, row.version().into_iter()).await?;
    let content =
        |version| -> Option<&Price> { catalogue.content(version).or_else(|| derived.get(version)) };
    let delta = SessionDelta::of(&row, row.version().and_then(content))?;
    text_cost(&row, &delta)
}
