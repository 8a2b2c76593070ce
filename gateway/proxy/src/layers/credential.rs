//! Puts our credential for the upstream where the client's virtual key was.

use crate::{context::Outgoing, refusal::Refusal, stage::Stage};

pub(crate) struct Credential;

impl Stage<Outgoing> for Credential {
    type Out = Outgoing;

    async fn enter(&self, mut outgoing: Outgoing) -> Result<Outgoing, Refusal> {
        outgoing.upstream.credential.put_into(&mut outgoing.request).map_err(|cause| {
            Refusal::InvalidRequest(format!("the path and query do not form a target: {cause}"))
        })?;
        Ok(outgoing)
    }
}
