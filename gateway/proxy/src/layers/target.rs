//! Model → the upstreams that may serve it, in the order in which they are called; none without a
//! price (B4).

use std::sync::Arc;

use fastrand::Rng;
use permille_types::{Endpoint, Family, ModelName};
use smallvec::SmallVec;

use crate::{
    choice::order,
    config::{AliasSection, Choose, Unpriced},
    context::{Candidate, Candidates, Classified, Head, Targeted},
    refusal::Refusal,
    stage::Stage,
    upstream::Upstream,
};

pub(crate) struct Target {
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) aliases: Vec<AliasSection>,
    pub(crate) choose: Choose,
    pub(crate) unpriced: Unpriced,
}

impl Stage<Classified> for Target {
    type Out = Targeted;

    fn enter(&self, classified: Classified) -> Result<Targeted, Refusal> {
        let head = &classified.routed;
        let (family, provider) = (head.family, head.provider.as_deref());
        let answering = self.upstreams.iter().filter(|found| found.answers(family, provider));
        let answering: SmallVec<[_; 4]> = answering.collect();
        let Some(facts) = &classified.facts else {
            let anyone = |upstream: &&Arc<Upstream>| Candidate::new(upstream, None);
            let mut candidates: Candidates = answering.iter().map(anyone).collect();
            candidates.sort_by_key(|candidate| candidate.upstream.priority);
            if candidates.is_empty() {
                return Err(Refusal::NoUpstream { family });
            }
            let aliases = self.listed_aliases(head, &answering);
            return Ok(Targeted { classified, candidates, settles: None, aliases });
        };
        let mut candidates = self.candidates(&answering, &facts.model);
        if candidates.is_empty() {
            return Err(Refusal::UnknownModel { model: facts.model.clone() });
        }
        if head.model_in_path && candidates.iter().any(|candidate| candidate.model.is_some()) {
            let model = &facts.model;
            return Err(Refusal::InvalidRequest(format!(
                "`{model}` is an alias, which cannot stand in a path: name the model itself"
            )));
        }
        if head.endpoint.is_metered() && self.unpriced == Unpriced::Refuse {
            candidates.retain(|candidate| {
                let model = candidate.model.as_ref().unwrap_or(&facts.model).as_str();
                let (name, customer) = (Some(&candidate.upstream.name), &head.key.customer);
                let prices = &head.known.prices;
                let currency = head.key.currency;
                prices.resolve_for_upstream(model, name, customer, currency, head.at).is_some()
            });
            if candidates.is_empty() {
                let (model, currency) = (facts.model.clone(), head.key.currency);
                return Err(Refusal::UnpricedModel { model, currency });
            }
        }
        Ok(Targeted { classified, candidates, settles: None, aliases: Vec::new() })
    }
}

impl Target {
    /// The aliases that `upstreams` serve, in their order, where `head` asks for the models of an
    /// API in whose requests they may stand.
    fn listed_aliases(&self, head: &Head, upstreams: &[&Arc<Upstream>]) -> Vec<ModelName> {
        let path = head.upstream_path.split('?').next();
        let lists = head.endpoint == Endpoint::Models && head.family == Family::OpenAi;
        if !lists || path != Some("/models") {
            return Vec::new();
        }
        let mut names: Vec<ModelName> = Vec::new();
        for alias in &self.aliases {
            let is_served = || !self.candidates(upstreams, &alias.name).is_empty();
            if !names.contains(&alias.name) && is_served() {
                names.push(alias.name.clone());
            }
        }
        names
    }

    /// Where `model` may be had. An alias hides a model of its name.
    fn candidates(&self, upstreams: &[&Arc<Upstream>], model: &ModelName) -> Candidates {
        let mut chance = Rng::new();
        let mut aliased = self.aliases.iter().filter(|alias| alias.name == *model).peekable();
        if aliased.peek().is_none() {
            let serving = upstreams.iter().filter(|upstream| upstream.serves(model));
            let mut candidates: Candidates =
                serving.map(|upstream| Candidate::new(upstream, None)).collect();
            order(&mut candidates, self.choose, &mut chance);
            return candidates;
        }
        aliased
            .flat_map(|alias| {
                let serves = |upstream: &&&Arc<Upstream>| match &alias.upstream {
                    Some(only) => upstream.name == *only,
                    None => upstream.serves(&alias.model),
                };
                let asked = Some(&alias.model).filter(|asked| *asked != model);
                let serving = upstreams.iter().filter(serves);
                let mut candidates: Candidates =
                    serving.map(|upstream| Candidate::new(upstream, asked)).collect();
                order(&mut candidates, self.choose, &mut chance);
                candidates
            })
            .collect()
    }
}

impl Candidate {
    fn new(upstream: &Arc<Upstream>, model: Option<&ModelName>) -> Self {
        Self { upstream: Arc::clone(upstream), model: model.cloned() }
    }
}
