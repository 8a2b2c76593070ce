//! Responses that providers store, by the provider's id: whose they are, and whether what they
//! consumed after their reply is settled.
//!
//! The provider's id only finds the row here; what settles it is named by our own id of the request
//! that created it.

mod repo;

use std::collections::BTreeMap;

use permille_types::{CustomerId, Endpoint, RequestId, StoredResponse, UsageEvent};

use crate::{Ledger, LedgerError, column, store::Connection, usage};

/// Which request created a customer's response, by its provider's id.
pub(crate) type Created = BTreeMap<(CustomerId, String), RequestId>;

/// Adds the response that a booked event created, if it created one.
pub(crate) fn add(created: &mut Created, event: &UsageEvent) {
    if event.endpoint != Endpoint::Responses {
        return;
    }
    if let Some(id) = event.attempts.last().and_then(|attempt| attempt.provider_id.as_deref()) {
        let newest = created
            .entry((event.customer.clone(), column::stored_text(id)))
            .or_insert(event.request_id);
        *newest = event.request_id.max(*newest);
    }
}

/// Remembers the responses that booked events created.
pub(crate) async fn note(
    connection: &mut Connection,
    created: &Created,
) -> Result<(), LedgerError> {
    repo::note(connection, created).await
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
