//! Refuses again what a rate refused a moment ago, before billing or Redis is asked anything.

use std::sync::Arc;

use crate::{context::Targeted, metering::Metering, refusal::Refusal, stage::Stage};

pub(crate) struct Closed {
    pub(crate) metering: Arc<Metering>,
}

impl Stage<Targeted> for Closed {
    type Out = Targeted;

    fn enter(&self, request: Targeted) -> Result<Targeted, Refusal> {
        let head = &request.classified.routed;
        if head.key.rpm.is_some() || !head.key.limits.is_empty() {
            self.metering.limiter.still_closed(&head.key, head.at)?;
        }
        Ok(request)
    }
}
