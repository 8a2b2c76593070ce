//! Another configuration in force while requests are open.
//!
//! A new stack takes the place of the one before for every request that comes after; those that
//! are open keep theirs. What both stand on (journal, limits, conversations, metrics) stays. An
//! upstream of which nothing has changed keeps its connections and what is known of its health.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use crate::{
    config::{
        AliasSection, GatewayConfig, PolicySection, PricingSection, RoutingSection, UpstreamConfig,
    },
    gateway::GatewayError,
    health::Breaker,
    policy::Policies,
    stack::{Shared, Stack, stack},
    upstream::{Upstream, UpstreamError},
};

/// What of a configuration can change while a gateway serves: the fields of [`GatewayConfig`].
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// The model APIs, with their credentials as they are now.
    pub upstreams: Vec<UpstreamConfig>,
    /// Names that clients use for models.
    pub aliases: Vec<AliasSection>,
    /// Which upstream of several is called, and when another one is.
    pub routing: RoutingSection,
    /// What happens to models without a price.
    pub pricing: PricingSection,
    /// Where other settings hold than in `metering`.
    pub policies: Vec<PolicySection>,
}

/// Puts another configuration in force.
#[derive(Clone)]
pub struct Reload {
    shared: Arc<Shared>,
    stacks: watch::Sender<Stack>,
    force: Arc<Mutex<InForce>>,
}

struct InForce {
    config: GatewayConfig,
    upstreams: Vec<Arc<Upstream>>,
}

impl Reload {
    /// Puts the first one in force.
    pub(crate) fn start(
        config: GatewayConfig,
        shared: Arc<Shared>,
    ) -> Result<(Self, watch::Receiver<Stack>), GatewayError> {
        let upstreams = upstreams(&config, None)?;
        let first = built(&config, &upstreams, &shared)?;
        let (stacks, newest) = watch::channel(first);
        let force = Arc::new(Mutex::new(InForce { config, upstreams }));
        Ok((Self { shared, stacks, force }, newest))
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> GatewayConfig {
        self.force.lock().config.clone()
    }

    /// Puts `reloaded` in force for all requests that come from now on.
    ///
    /// # Errors
    /// [`GatewayError`] when an upstream or a policy cannot be used: then nothing has changed.
    pub fn apply(&self, reloaded: Reloaded) -> Result<(), GatewayError> {
        let mut force = self.force.lock();
        let Reloaded { upstreams: of_config, aliases, routing, pricing, policies } = reloaded;
        let config = GatewayConfig {
            upstreams: of_config,
            aliases,
            routing,
            pricing,
            policies,
            ..force.config.clone()
        };
        let policies = Policies::new(&config.metering, &config.policies)?;
        let upstreams = upstreams(&config, Some(&force))?;
        let next = built(&config, &upstreams, &self.shared)?;
        self.shared.metering.policies.store(Arc::new(policies));
        self.stacks.send_replace(next);
        *force = InForce { config, upstreams };
        Ok(())
    }
}

fn built(
    config: &GatewayConfig,
    upstreams: &[Arc<Upstream>],
    shared: &Shared,
) -> Result<Stack, GatewayError> {
    for upstream in upstreams {
        shared.metering.metrics.knows(&upstream.name, upstream.family);
    }
    stack(config, upstreams.to_vec(), shared)
}

/// The upstreams of a configuration; those that are as before are the same.
fn upstreams(
    config: &GatewayConfig,
    before: Option<&InForce>,
) -> Result<Vec<Arc<Upstream>>, UpstreamError> {
    let breaker = breaker(config);
    let before = before.filter(|before| self::breaker(&before.config) == breaker);
    let known = |upstream: &UpstreamConfig| {
        let before = before?;
        let mut pairs = before.config.upstreams.iter().zip(&before.upstreams);
        pairs.find(|(known, _)| is_same(known, upstream)).map(|(_, built)| Arc::clone(built))
    };
    let upstreams = config.upstreams.iter();
    upstreams
        .map(|upstream| known(upstream).map_or_else(|| Upstream::new(upstream, breaker), Ok))
        .collect()
}

fn breaker(config: &GatewayConfig) -> Breaker {
    Breaker {
        failures: config.routing.breaker_failures,
        open_for: Duration::from_secs(config.routing.breaker_seconds.into()),
    }
}

fn is_same(one: &UpstreamConfig, other: &UpstreamConfig) -> bool {
    // Certificates of `ca_file` are read when an upstream is made: they may have changed.
    one.section.ca_file.is_none()
        && one.section == other.section
        && one.simulated == other.simulated
        && one.credential.expose_secret() == other.credential.expose_secret()
}
