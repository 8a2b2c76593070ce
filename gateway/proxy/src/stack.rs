//! The gateway, on one screen: what happens to a request, from top to bottom.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use permille_limits::Budget;
use permille_types::{Clock, ControlPlane};
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    body::ReplyBody,
    config::GatewayConfig,
    gateway::GatewayError,
    known::Knowledge,
    layers::{
        admit::Admit, answer::AnswerLayer, authenticate::Authenticate, call::Call,
        classify::Classify, closed::Closed, credential::Credential, limit::LimitLayer,
        meter::MeterLayer, retry::RetryLayer, route::Route, session::Session, stored::StoredLayer,
        target::Target, token::TokenLayer,
    },
    metering::Metering,
    stage::{stage, waiting},
    upstream::Upstream,
};

/// The whole stack, as the server calls it.
pub(crate) type Stack = BoxCloneSyncService<Request<Incoming>, Response<ReplyBody>, Infallible>;

/// What the layers share.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) knowledge: Knowledge,
    pub(crate) metering: Arc<Metering>,
    /// Places for open requests.
    pub(crate) places: Arc<Budget>,
    /// Bytes for the bodies of open requests.
    pub(crate) bodies: Arc<Budget>,
}

pub(crate) fn stack(
    config: &GatewayConfig,
    upstreams: Vec<Arc<Upstream>>,
    shared: &Shared,
) -> Result<Stack, GatewayError> {
    let service = ServiceBuilder::new()
        // Names the request; turns a refusal of any layer below into the caller's error format.
        .layer(AnswerLayer {
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metering.metrics),
        })
        // Bounds open requests, until their replies have ended.
        .layer(stage(Admit { places: Arc::clone(&shared.places) }))
        // Virtual key → customer, project, limits.
        .layer(stage(Authenticate { knowledge: shared.knowledge.clone() }))
        // Path → endpoint of a wire family; everything else is refused.
        .layer(stage(Route::new(&upstreams)?))
        // The token endpoint of Qianfan v1, which is ours.
        .layer(TokenLayer)
        // Bounded read of the body: model, stream; asks the provider for usage.
        .layer(waiting(Classify {
            upstreams: upstreams.clone(),
            body_bytes_max: config.gateway.body_bytes_max.into(),
            bodies: Arc::clone(&shared.bodies),
            body_time_max: Duration::from_secs(config.gateway.request_seconds_max.into()),
        }))
        // Model or alias → upstreams, in the order of calling; none without a price.
        .layer(stage(Target {
            upstreams,
            aliases: config.aliases.clone(),
            choose: config.routing.choose,
            unpriced: config.pricing.unpriced,
        }))
        // A rate that was refused a moment ago is refused again, before anything is asked.
        .layer(stage(Closed { metering: Arc::clone(&shared.metering) }))
        // The conversation and the turn.
        .layer(waiting(Session::new(
            Arc::clone(&shared.control),
            Arc::clone(&shared.metering.recogniser),
        )))
        // Rates, concurrency and budgets: the worst case is reserved, or the request refused.
        .layer(LimitLayer { metering: Arc::clone(&shared.metering) })
        // A stored response is its customer's own, and lies where it was created.
        .layer(StoredLayer { metering: Arc::clone(&shared.metering) })
        // Intent into the journal, tap on the reply, one settled record on every ending.
        .layer(MeterLayer { metering: Arc::clone(&shared.metering) })
        // One call after the other until an upstream answers, before the first byte.
        .layer(RetryLayer::new(&config.routing, Arc::clone(&shared.metering.metrics)))
        // Our credential in the place of the client's key.
        .layer(stage(Credential { clock: Arc::clone(&shared.clock) }))
        // One call to one upstream.
        .service(Call);
    Ok(BoxCloneSyncService::new(service))
}
