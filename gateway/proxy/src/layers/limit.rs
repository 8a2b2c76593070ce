//! Requests per minute of a key.

use permille_limits::{RateExceeded, RequestRates};

use crate::{context::Targeted, refusal::Refusal, stage::Stage};

#[derive(Default)]
pub(crate) struct Limit {
    rates: RequestRates,
}

impl Stage<Targeted> for Limit {
    type Out = Targeted;

    fn enter(&self, request: Targeted) -> Result<Targeted, Refusal> {
        let key = &request.classified.routed.key;
        if let Some(rpm) = key.rpm {
            let limited =
                |RateExceeded { rpm, retry_after, .. }| Refusal::RateLimited { rpm, retry_after };
            self.rates.check(&key.key, rpm).map_err(limited)?;
        }
        Ok(request)
    }
}
