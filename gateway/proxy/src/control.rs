//! What the threads that serve ask billing.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use permille_types::{
    ControlError, ControlPlane, CustomerId, SessionId, Snapshot, SpendQuery, Spent, StoredResponse,
};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

/// Asks in the context of one runtime, whoever asks: a connection that is opened for an answer
/// serves others after it, and must not stand still with one thread or end with it. A question
/// that is cancelled gives its connection back on the thread that asked.
pub(crate) struct OnRuntime {
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) runtime: Handle,
}

impl OnRuntime {
    fn there<'a, T: 'a>(&self, asked: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        Box::pin(TokioContext::new(asked, self.runtime.clone()))
    }
}

impl ControlPlane for OnRuntime {
    fn snapshot(
        &self,
        known: Option<u64>,
    ) -> BoxFuture<'_, Result<Option<Snapshot>, ControlError>> {
        self.there(self.control.snapshot(known))
    }

    fn last_turn<'a>(
        &'a self,
        customer: &'a CustomerId,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<u32, ControlError>> {
        self.there(self.control.last_turn(customer, session))
    }

    fn stored_response<'a>(
        &'a self,
        customer: &'a CustomerId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredResponse>, ControlError>> {
        self.there(self.control.stored_response(customer, id))
    }

    fn spent<'a>(&'a self, query: &'a SpendQuery) -> BoxFuture<'a, Result<Spent, ControlError>> {
        self.there(self.control.spent(query))
    }
}
