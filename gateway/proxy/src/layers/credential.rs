//! Puts our credential for the upstream where the client's virtual key was.

use crate::{context::Outgoing, refusal::Refusal, stage::Stage};

pub(crate) struct Credential;

impl Stage<Outgoing> for Credential {
    type Out = Outgoing;

    async fn enter(&self, mut outgoing: Outgoing) -> Result<Outgoing, Refusal> {
        let (name, value) = outgoing.upstream.credential();
        outgoing.request.headers_mut().insert(name, value);
        Ok(outgoing)
    }
}
