//! Requests per minute of a key.

use permille_limits::{RateExceeded, RequestRates};

use crate::{context::InSession, refusal::Refusal, stage::Stage};

#[derive(Default)]
pub(crate) struct Limit {
    rates: RequestRates,
}

impl Stage<InSession> for Limit {
    type Out = InSession;

    fn enter(&self, request: InSession) -> Result<InSession, Refusal> {
        let key = &request.targeted.classified.routed.key;
        if let Some(rpm) = key.rpm {
            let limited =
                |RateExceeded { rpm, retry_after, .. }| Refusal::RateLimited { rpm, retry_after };
            self.rates.check(&key.key, rpm).map_err(limited)?;
        }
        Ok(request)
    }
}
