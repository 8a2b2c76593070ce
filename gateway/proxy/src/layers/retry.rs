//! One call after the other until an upstream answers, as often as the policy says and only
//! before a byte has gone to the client. Every call is noted in the record.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use permille_limits::RetryBudget;
use permille_types::{Ended, TokenCounts};
use tower::{Layer, Service};

use crate::{
    attempts::reported,
    config::{RetryOn, RoutingSection},
    context::{Calls, Candidate, Outgoing},
    health::Permit,
    metrics::Metrics,
    refusal::Refusal,
    reply::{error_tap, retry_after},
    reply_body::UpstreamBody,
    stage::{Below, Boxed},
    upstream::Upstream,
};

/// Rest after a failure whose answer asks for none: long enough for a restart of a worker.
const REST: Duration = Duration::from_millis(250);
/// Of an error body that nobody will see, so much is read to learn what the provider counted.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// And for so long.
const ERROR_TIME_MAX: Duration = Duration::from_secs(1);

pub(crate) struct RetryLayer {
    shared: Arc<Shared>,
}

/// What all requests share.
struct Shared {
    policy: RoutingSection,
    wait_max: Duration,
    budget: RetryBudget,
    metrics: Arc<Metrics>,
}

impl RetryLayer {
    pub(crate) fn new(policy: &RoutingSection, metrics: Arc<Metrics>) -> Self {
        let shared = Shared {
            wait_max: Duration::from_millis(policy.retry_wait_ms_max.into()),
            budget: RetryBudget::new(
                policy.retries_percent_max,
                policy.retries_per_second,
                Instant::now(),
            ),
            policy: policy.clone(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { shared: Arc::clone(&self.shared), inner: Below::new(inner) }
    }
}

#[derive(Clone)]
pub(crate) struct Retry<S> {
    shared: Arc<Shared>,
    inner: Below<S>,
}

impl<S> Service<Calls> for Retry<S>
where
    S: Service<Outgoing, Response = Response<UpstreamBody>, Error = Refusal> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<UpstreamBody>;
    type Error = Refusal;
    type Future = Boxed<Response<UpstreamBody>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut calls: Calls) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let inner = self.inner.share();
        Box::pin(async move {
            let now = Instant::now();
            shared.budget.request(now);
            // Those of the only call that can be made go with it; another one has a copy.
            let only = !shared.may_call_again(&calls);
            let mut headers = only.then(|| std::mem::take(&mut calls.headers));
            let mut next = first(&calls, now)?;
            loop {
                let Turn { candidate, permit } = next;
                let mut outcome = calls.call(&inner, candidate, headers.take()).await;
                if refuses_its_token(&outcome) {
                    // Once, with another token. That it is refused too is the client's to see.
                    shared.metrics.retried(&candidate.upstream.name);
                    calls.note(&outcome);
                    Box::pin(calls.discard(outcome, &candidate.upstream)).await;
                    calls.is_waited_for()?;
                    outcome = calls.call(&inner, candidate, None).await;
                }
                let failure = shared.judge(&calls, candidate, permit, &outcome);
                let again = failure.filter(|failure| shared.policy.retry_on.contains(failure));
                let turn = match again {
                    Some(_) => Box::pin(shared.another(&calls, &outcome)).await,
                    None => None,
                };
                let Some(turn) = turn else { return passed_on(outcome, candidate) };
                shared.metrics.retried(&candidate.upstream.name);
                Box::pin(calls.discard(outcome, &candidate.upstream)).await;
                calls.is_waited_for()?;
                next = turn;
            }
        })
    }
}

/// Whose turn it is.
struct Turn<'a> {
    candidate: &'a Candidate,
    permit: Permit,
}

type Outcome = Result<Response<UpstreamBody>, Refusal>;

/// A reply that refuses the access token of its call carries this.
#[derive(Clone)]
struct TokenRefused;

impl Shared {
    /// Whether a request may be sent more than once: elsewhere, there again, or with another token.
    fn may_call_again(&self, calls: &Calls) -> bool {
        let [only] = &*calls.candidates else { return true };
        self.policy.upstream_calls_max > 1 || only.upstream.exchanged().is_some()
    }

    /// Another call after a failed one, when there is one to be made: now, or after a wait.
    async fn another<'a>(&self, calls: &'a Calls, outcome: &Outcome) -> Option<Turn<'a>> {
        let made = calls.attempts.made();
        let may = |most: u32, made: usize| usize::try_from(most).is_ok_and(|most| made < most);
        let attempts = &calls.attempts;
        if attempts.are_stopped() || !may(self.policy.calls_max, made) || forbids_retry(outcome) {
            return None;
        }
        let now = Instant::now();
        let wait_of = |candidate: &Candidate| candidate.upstream.health.rests_for(now);
        let mut left: Vec<&Candidate> = calls
            .candidates
            .iter()
            .filter(|candidate| may(self.policy.upstream_calls_max, attempts.of(candidate)))
            .filter(|candidate| wait_of(candidate) <= self.wait_max)
            .collect();
        // Stable: of those that need not be waited for, the order of preference stays.
        left.sort_by_cached_key(|candidate| wait_of(candidate));
        let turn = admit(left.into_iter(), now)?;
        if !self.budget.retry(now) {
            self.metrics.retries_over_budget.inc();
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(wait_of(turn.candidate)) => {}
            () = attempts.stopped() => {}
        }
        (!attempts.are_stopped()).then_some(turn)
    }

    /// What a call says of its upstream, and how it failed, if it did.
    fn judge(
        &self,
        calls: &Calls,
        candidate: &Candidate,
        permit: Permit,
        outcome: &Outcome,
    ) -> Option<RetryOn> {
        if let Err(refusal) = outcome {
            // Before any wait: a client that leaves in it does not pay for a call that has ended.
            calls.attempts.end(refusal.ending(), None, &TokenCounts::new());
        }
        let (failure, rest) = match outcome {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers());
                calls.note(outcome);
                if status.is_success() {
                    permit.succeeded();
                    return None;
                }
                (RetryOn::Status(status), retry_after(headers))
            }
            Err(Refusal::UpstreamTimeout { .. }) => (RetryOn::Timeout, None),
            Err(Refusal::UpstreamReset { .. }) => (RetryOn::Reset, None),
            Err(Refusal::UpstreamUnreachable { .. }) => (RetryOn::Connect, None),
            // Ours: it was not called.
            Err(_) => return None,
        };
        let now = Instant::now();
        // An upstream that refuses, for want of quota or because the request is wrong, works.
        let works = matches!(failure, RetryOn::Status(status) if !status.is_server_error());
        let health = &candidate.upstream.health;
        if works {
            permit.succeeded();
        } else if permit.failed(now) {
            self.metrics
                .circuits_opened
                .with_label_values(&[candidate.upstream.name.as_str()])
                .inc();
            tracing::warn!(upstream = %candidate.upstream.name, "left alone after failures");
        }
        if !is_the_clients(failure) {
            health.failed(now);
        }
        if rest.is_some() || self.policy.retry_on.contains(&failure) {
            health.rest(now, rest.unwrap_or(REST));
        }
        Some(failure)
    }
}

/// The first call: of those whose circuit is closed, rather one that need not be left alone.
fn first(calls: &Calls, now: Instant) -> Result<Turn<'_>, Refusal> {
    let candidates = || calls.candidates.iter();
    let rested = |candidate: &&Candidate| candidate.upstream.health.rests_for(now).is_zero();
    admit(candidates().filter(rested), now).or_else(|| admit(candidates(), now)).ok_or_else(|| {
        let waits = candidates().map(|candidate| candidate.upstream.health.opens_in(now));
        let retry_after = waits.min().unwrap_or_default();
        Refusal::UpstreamsUnwell { retry_after }
    })
}

/// The first of `candidates` whose circuit lets a call through.
fn admit<'a>(
    mut candidates: impl Iterator<Item = &'a Candidate>,
    now: Instant,
) -> Option<Turn<'a>> {
    candidates.find_map(|candidate| {
        candidate.upstream.health.admit(now).map(|permit| Turn { candidate, permit })
    })
}

/// Whether a failure says more of the request than of the upstream.
fn is_the_clients(failure: RetryOn) -> bool {
    let RetryOn::Status(status) = failure else { return false };
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// What the client gets of `outcome`. A redirect would lead it past the gateway, perhaps with our
/// credential, which is in the target where the upstream wants it in the query.
fn passed_on(outcome: Outcome, candidate: &Candidate) -> Outcome {
    let response = outcome?;
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let upstream = candidate.upstream.name.to_string();
        return Err(Refusal::UpstreamRedirects { upstream });
    }
    Ok(response)
}

fn refuses_its_token(outcome: &Outcome) -> bool {
    let extensions = outcome.as_ref().ok().map(Response::extensions);
    extensions.is_some_and(|extensions| extensions.get::<TokenRefused>().is_some())
}

/// Whether the upstream itself says that another try does not help.
fn forbids_retry(outcome: &Outcome) -> bool {
    let said = outcome.as_ref().ok().and_then(|response| response.headers().get("x-should-retry"));
    said.is_some_and(|said| said.as_bytes() == b"false")
}

impl Calls {
    /// Calls `candidate` once, with an access token where its credential is exchanged for one, and
    /// with a copy of the headers where it is not given them.
    async fn call<S>(
        &self,
        inner: &Below<S>,
        candidate: &Candidate,
        headers: Option<HeaderMap>,
    ) -> Outcome
    where
        S: Service<Outgoing, Response = Response<UpstreamBody>, Error = Refusal>,
    {
        let headers = headers.unwrap_or_else(|| self.headers.clone());
        let mut outgoing = self.outgoing(candidate, headers)?;
        self.attempts.begin(candidate);
        let upstream = &candidate.upstream;
        // Few credentials are exchanged: what waits for that has its memory for itself.
        let token = match upstream.exchanged() {
            Some(keys) => Some(Box::pin(keys.token(upstream)).await?),
            None => None,
        };
        outgoing.token.clone_from(&token);
        self.attempts.sent();
        let mut response = inner.call(outgoing).await?;
        if let Some(token) = &token
            && Box::pin(upstream.refuses(token, &mut response)).await
        {
            response.extensions_mut().insert(TokenRefused);
        }
        Ok(response)
    }

    /// Notes the head of an answer.
    fn note(&self, outcome: &Outcome) {
        if let Ok(response) = outcome {
            self.attempts.answered(response.status(), response.headers());
        }
    }

    /// Refuses where nobody waits any more; nobody reads this.
    fn is_waited_for(&self) -> Result<(), Refusal> {
        let left = || Refusal::InvalidRequest("the client has left".to_owned());
        if self.attempts.are_stopped() { Err(left()) } else { Ok(()) }
    }

    /// The call of `candidate`, before its credential.
    fn outgoing(&self, candidate: &Candidate, headers: HeaderMap) -> Result<Outgoing, Refusal> {
        let upstream = Arc::clone(&candidate.upstream);
        let mut sent = Request::new(self.body_for(candidate)?);
        *sent.method_mut() = self.method.clone();
        *sent.uri_mut() = upstream.target(&self.path).map_err(|cause| {
            Refusal::InvalidRequest(format!("the path and query do not form a target: {cause}"))
        })?;
        *sent.headers_mut() = headers;
        Ok(Outgoing { upstream, token: None, request: sent })
    }

    /// The body with the model that `candidate` is asked for.
    fn body_for(&self, candidate: &Candidate) -> Result<Bytes, Refusal> {
        let Some(model) = &candidate.model else { return Ok(self.body.clone()) };
        let named = permille_usage::request::name_model(&self.body, model)
            .map_err(|cause| Refusal::InvalidRequest(cause.to_string()))?;
        Ok(named.map_or_else(|| self.body.clone(), Bytes::from))
    }

    /// Ends a failed call. What its error body reports as consumed stays on the attempt.
    async fn discard(&self, outcome: Outcome, upstream: &Upstream) {
        let Ok(response) = outcome else { return };
        let (head, body) = response.into_parts();
        let mut tap = error_tap(&head.headers, self.asked, upstream);
        let read = Limited::new(body, ERROR_BYTES_MAX).collect();
        if let Ok(Ok(body)) = tokio::time::timeout(ERROR_TIME_MAX, read).await {
            let mut unsent = Vec::new();
            tap.push(body.to_bytes(), &mut unsent);
            tap.finish(&mut unsent);
        }
        let reading = tap.reading();
        self.attempts.end(Ended::UpstreamError, Some(&reading), &reported(&reading));
    }
}
