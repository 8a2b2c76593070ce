//! From a request that was understood to its response: faults before the head, then a stream or a
//! whole body.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    account::Account,
    answer::{AnswerBody, answer, refuse, whole as at_once},
    anthropic,
    ask::{Ask, Asked, Endpoint, Family},
    books::Ended,
    cache::PromptCache,
    config::Pace,
    connection::ResetSwitch,
    control::Controls,
    generation::Generation,
    openai, outlet,
    provider::{OpenCount, Provider},
    refusal,
    stream::{Dialect, Reset, StreamBody},
    whole::{self, HalfBody},
};

/// Answers `asked`; every ending is booked by `account`. A [`Reset`] is no failure: it was asked
/// for.
pub(crate) async fn reply(
    provider: &Arc<Provider>,
    endpoint: Endpoint,
    asked: Asked,
    mut account: Account,
    switch: Arc<ResetSwitch>,
    request_id: &str,
) -> Result<Response<AnswerBody>, Reset> {
    let family = endpoint.family();
    if let Some(wait) = asked.controls().slow_head {
        tokio::time::sleep(wait).await;
    }
    if fails_now(provider, &asked) {
        return fail(family, asked.controls(), account, &switch, request_id);
    }
    let id = provider.new_id(endpoint.id_prefix());
    let pace = Pace {
        first_token: asked.controls().first.unwrap_or(provider.config.pace.first_token),
        per_chunk: asked.controls().chunk.unwrap_or(provider.config.pace.per_chunk),
    };
    let seed = provider.config.seed;
    let (body, controls) = match asked {
        Asked::Count(ask) => {
            let body = format!("{{\"input_tokens\":{}}}", ask.prompt.tokens);
            (Bytes::from(body), ask.controls)
        }
        Asked::Vectors(ask) => {
            account.begin(&id, false);
            account.tally.prompt = ask.prompt.tokens;
            tokio::time::sleep(pace.first_token).await;
            (openai::embeddings::write(&ask, seed, &account.tally).freeze(), ask.controls)
        }
        Asked::Text(ask) => {
            account.begin(&id, ask.streamed);
            admit(provider, endpoint, &ask, &mut account);
            if ask.streamed {
                let body = stream(provider, endpoint, &ask, &id, pace, account, switch);
                return Ok(streamed(family, request_id, body, &ask.controls));
            }
            let body = write_whole(provider, endpoint, &ask, &id, pace, &mut account).await;
            (body, ask.controls)
        }
    };
    Ok(finish_whole(family, request_id, body, &controls, account, switch))
}

/// Whether the request asked for a failure that still holds for it.
fn fails_now(provider: &Provider, asked: &Asked) -> bool {
    let controls = asked.controls();
    let times = controls.times.unwrap_or(u64::MAX);
    (controls.status.is_some() || controls.drop || controls.error200)
        && provider.failed_before(asked.prompt().digest) < times
}

/// The failure that was asked for.
fn fail(
    family: Family,
    controls: &Controls,
    mut account: Account,
    switch: &ResetSwitch,
    request_id: &str,
) -> Result<Response<AnswerBody>, Reset> {
    if controls.drop {
        account.close(Ended::Fault);
        switch.arm();
        return Err(Reset);
    }
    if let Some(status) = controls.status {
        account.refuse(status);
        return Ok(refuse(family, status, request_id, refusal::message(status), None));
    }
    account.refuse(StatusCode::OK);
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let body = refusal::body(family, status, refusal::message(status), None, request_id);
    Ok(answer(family, StatusCode::OK, request_id, at_once(body)))
}

/// The prompt is read: it counts, and the cache learns it.
fn admit(provider: &Provider, endpoint: Endpoint, ask: &Ask, account: &mut Account) {
    let now = Instant::now();
    account.tally.prompt = ask.prompt.tokens;
    account.tally.cache = match endpoint {
        _ if !PromptCache::serves(&ask.model) => <_>::default(),
        Endpoint::ChatCompletions => provider.cache.automatic(&ask.prompt, now),
        Endpoint::Messages => provider.cache.marked(&ask.prompt, now),
        _ => <_>::default(),
    };
}

fn generation(provider: &Provider, endpoint: Endpoint, ask: &Ask) -> Generation {
    let shows_reasoning = endpoint.family() == Family::Anthropic;
    Generation::new(ask, provider.config.seed, shows_reasoning)
}

fn created(provider: &Provider) -> u64 {
    u64::try_from(provider.now().timestamp()).unwrap_or(0)
}

fn stream(
    provider: &Arc<Provider>,
    endpoint: Endpoint,
    ask: &Ask,
    id: &str,
    pace: Pace,
    account: Account,
    switch: Arc<ResetSwitch>,
) -> StreamBody {
    let report = ask.controls.usage;
    let shape = match endpoint {
        Endpoint::Completions => openai::events::Shape::Text,
        _ => openai::events::Shape::Chat,
    };
    let dialect: Box<dyn Dialect> = match endpoint.family() {
        Family::Anthropic => Box::new(anthropic::events::Events::new(id, &ask.model, report)),
        Family::OpenAi => Box::new(openai::events::Events::new(
            shape,
            id,
            created(provider),
            &ask.model,
            ask.include_usage,
            report,
        )),
    };
    let open = OpenCount::new(Arc::clone(provider), |counters| &counters.streams_open);
    let generation = generation(provider, endpoint, ask);
    StreamBody::new(generation, dialect, &ask.controls, pace, account, switch, open)
}

fn streamed(
    family: Family,
    request_id: &str,
    body: StreamBody,
    controls: &Controls,
) -> Response<AnswerBody> {
    let body = AnswerBody::Stream(Box::new(body));
    let mut response = answer(family, StatusCode::OK, request_id, body);
    let headers = response.headers_mut();
    let events = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, events);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if controls.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn write_whole(
    provider: &Provider,
    endpoint: Endpoint,
    ask: &Ask,
    id: &str,
    pace: Pace,
    account: &mut Account,
) -> Bytes {
    let answers = whole::generate(generation(provider, endpoint, ask), account, pace).await;
    let tally = &account.tally;
    let written = if endpoint == Endpoint::Messages {
        anthropic::whole::write(ask, id, &answers, tally)
    } else {
        openai::whole::write(ask, endpoint, id, created(provider), &answers, tally)
    };
    written.freeze()
}

fn finish_whole(
    family: Family,
    request_id: &str,
    body: Bytes,
    controls: &Controls,
    mut account: Account,
    switch: Arc<ResetSwitch>,
) -> Response<AnswerBody> {
    let body = if controls.gzip { outlet::gzip(&body) } else { body };
    let body = if let Some((then, _)) = controls.broken {
        AnswerBody::Half(Box::new(HalfBody::new(body, then, account, switch)))
    } else {
        account.close(Ended::Complete);
        at_once(body)
    };
    let mut response = answer(family, StatusCode::OK, request_id, body);
    if controls.gzip {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    response
}
