//! The cost of a request in the head of its answer, for a client that asks to be told, and what its
//! budgets have left then.
//!
//! It is known when the reply has ended, and the head goes first: so the whole reply waits here.
//! Only small documents do; a stream and a large reply pass as they come, without it.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use permille_types::Money;

use crate::{
    body::{MeteredBody, ReplyBody},
    context::InSession,
    headers,
    limiter::Limiter,
};

/// Largest reply that waits, in bytes: some 15,000 tokens of text. So much memory a client may have
/// held until its reply has ended.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// What a request has cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) money: Money,
    /// The sequence number of its settled record.
    pub(crate) sequence: u64,
}

/// Where the cost is told once the request is settled; empty where no price is known.
pub(crate) type Told = Arc<OnceLock<Cost>>;

/// Where to tell the cost, if the client of `request` asks for it and its answer may have it.
pub(crate) fn wanted(request: &InSession) -> Option<Told> {
    let classified = &request.targeted.classified;
    let is_whole = classified.facts.as_ref().is_some_and(|facts| !facts.stream);
    let head = &classified.routed;
    let is_told = is_whole && head.endpoint.is_metered() && headers::want_cost(&head.parts.headers);
    is_told.then(Told::default)
}

/// `reply` to `request` with its cost in the head, where it is small and the cost is known, and
/// with what its budgets have left, where it has any.
pub(crate) async fn in_head(
    mut reply: Response<Box<MeteredBody>>,
    told: &Told,
    request: &InSession,
    limiter: &Limiter,
) -> Response<ReplyBody> {
    if may_wait(reply.headers())
        && let Some(whole) = reply.body_mut().collect(REPLY_BYTES_MAX).await
    {
        let (mut head, _) = reply.into_parts();
        if let Some(cost) = told.get() {
            tell(&mut head.headers, &headers::COST, &cost.money);
            if let Some(left) = limiter.left(request, cost.sequence).await {
                tell(&mut head.headers, &headers::BALANCE, &left);
            }
        }
        return Response::from_parts(head, ReplyBody::Own(Some(whole)));
    }
    reply.map(ReplyBody::Metered)
}

fn tell(head: &mut HeaderMap, name: &HeaderName, money: &Money) {
    if let Ok(text) = HeaderValue::from_str(&money.to_string()) {
        head.insert(name, text);
    }
}

/// Whether a reply with this head is one document, and not known to be large.
fn may_wait(head: &HeaderMap) -> bool {
    let text = |name| head.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_document =
        text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    is_document && length.is_none_or(|length: usize| length <= REPLY_BYTES_MAX)
}
