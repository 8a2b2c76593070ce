//! Puts our credential for the upstream where the client's virtual key was.

use std::sync::Arc;

use permille_types::Clock;

use crate::{context::Outgoing, refusal::Refusal, stage::Stage};

pub(crate) struct Credential {
    /// For credentials that are signatures of a moment.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Stage<Outgoing> for Credential {
    type Out = Outgoing;

    fn enter(&self, mut outgoing: Outgoing) -> Result<Outgoing, Refusal> {
        let body = outgoing.request.body().clone();
        let credential = &outgoing.upstream.credential;
        let token = outgoing.token.as_ref();
        let put = credential.put_into(&mut outgoing.request, &body, &|| self.clock.now(), token);
        put.map_err(|cause| {
            Refusal::InvalidRequest(format!("the path and query do not form a target: {cause}"))
        })?;
        Ok(outgoing)
    }
}
