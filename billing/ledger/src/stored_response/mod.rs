//! Responses that providers store, by the provider's id: whose they are, and whether what they
//! consumed after their reply is settled.
//!
//! The provider's id only finds the row here; what settles it is named by our own id of the request
//! that created it.

mod repo;

use permille_types::{CustomerId, Endpoint, StoredResponse, UsageEvent};

use crate::{Ledger, LedgerError, store::Connection, usage};

/// Remembers the response that a booked event created, if it created one.
pub(crate) async fn note(
    connection: &mut Connection,
    event: &UsageEvent,
) -> Result<(), LedgerError> {
    if event.endpoint != Endpoint::Responses {
        return Ok(());
    }
    match event.attempts.last().and_then(|attempt| attempt.provider_id.as_deref()) {
        Some(id) => repo::note(connection, &event.customer, id, &event.request_id).await,
        None => Ok(()),
    }
}

impl Ledger {
    /// The response that `customer` created and a provider stores under `id`.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn stored_response(
        &self,
        customer: &CustomerId,
        id: &str,
    ) -> Result<Option<StoredResponse>, LedgerError> {
        let mut view = self.store.view().await?;
        let Some(request) = repo::find(&mut view, customer, id).await? else { return Ok(None) };
        let Some(created) = usage::of_request(&mut view, &request).await? else { return Ok(None) };
        let settlement = usage::payload_sha256(&mut view, &request.settlement()).await?;
        Ok(Some(StoredResponse { created: created.event, settled: settlement.is_some() }))
    }
}
