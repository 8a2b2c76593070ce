//! Model → upstream, and no model without a price (B4).

use std::sync::Arc;

use permille_types::Endpoint;

use crate::{
    config::Unpriced,
    context::{Classified, Targeted},
    refusal::Refusal,
    stage::Stage,
    upstream::Upstream,
};

pub(crate) struct Target {
    /// In order of preference: the first that serves the model is called.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) unpriced: Unpriced,
}

impl Stage<Classified> for Target {
    type Out = Targeted;

    fn enter(&self, classified: Classified) -> Result<Targeted, Refusal> {
        let endpoint: Endpoint = classified.routed.endpoint;
        let (family, provider) = (classified.routed.family, classified.routed.provider.as_deref());
        let mut of_family =
            self.upstreams.iter().filter(|upstream| upstream.answers(family, provider));
        let Some(facts) = &classified.facts else {
            let upstream = of_family.next().ok_or(Refusal::NoUpstream { family })?;
            return Ok(Targeted { upstream: Arc::clone(upstream), classified });
        };
        let model = &facts.model;
        let upstream = of_family
            .find(|upstream| upstream.serves(model))
            .ok_or_else(|| Refusal::UnknownModel { model: model.clone() })?;
        if endpoint.is_metered() && self.unpriced == Unpriced::Refuse {
            let head = &classified.routed;
            let currency = head.key.currency;
            let (name, prices) = (Some(&upstream.name), &head.known.prices);
            let price = prices.resolve_for_upstream(model.as_str(), name, currency, head.at);
            if price.is_none() {
                return Err(Refusal::UnpricedModel { model: model.clone(), currency });
            }
        }
        Ok(Targeted { upstream: Arc::clone(upstream), classified })
    }
}
