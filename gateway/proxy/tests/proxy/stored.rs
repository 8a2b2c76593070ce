//! Responses that a provider stores: their customer's own, and those of the background are billed
//! by the first read of their end, once.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use permille_proxy::config::Unpriced;
use permille_types::{Ended, Endpoint, Flag, Source, TokenClass, UsageEvent};
use serde_json::{Value, json};

use crate::support::{
    KEY, LIMITED_KEY, OTHER_KEY, World,
    case::reply,
    read_all,
    scripted::{Scripted, Step},
};

fn recorded(case: &str) -> Step {
    Step::Say(reply(&format!("openai-responses/{case}")).0)
}

/// A gateway in front of an upstream that does `steps`, whose billing has `rows` already.
async fn world(scripted: &Scripted, rows: Vec<UsageEvent>) -> World {
    World::with(|setup| {
        setup.config.upstreams = vec![scripted.upstream("stores")];
        setup.config.pricing.unpriced = Unpriced::Hold;
        setup.rows = rows;
    })
    .await
}

async fn call(world: &World, key: &str, method: Method, path: &str) -> Response<Incoming> {
    let request = Request::builder().method(method).uri(world.url(path));
    world.send(request.header("authorization", format!("Bearer {key}")), "").await
}

async fn read(world: &World) -> UsageEvent {
    let response = call(world, KEY, Method::GET, "/v1/responses/resp_C1").await;
    let (head, body) = response.into_parts();
    read_all(body).await.unwrap();
    world.row_of(&head.headers).await
}

async fn create(world: &World, body: Value) -> UsageEvent {
    let (head, body) = world.post("/v1/responses", &body).await.into_parts();
    read_all(body).await.unwrap();
    world.row_of(&head.headers).await
}

fn background() -> Value {
    json!({"model": "gpt-5.6", "input": "Which river?", "background": true})
}

async fn code(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value =
        serde_json::from_slice(&read_all(response.into_body()).await.unwrap()).unwrap();
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_ids_are_limited_like_every_request() {
    let world = world(&Scripted::start(Vec::new()).await, Vec::new()).await;
    let guess = async |id: &str| {
        let path = format!("/v1/responses/{id}");
        call(&world, LIMITED_KEY, Method::GET, &path).await.status().as_u16()
    };

    assert_eq!(guess("resp_1").await, 404);
    assert_eq!(guess("resp_2").await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_read_of_its_end_bills_a_background_response_and_no_other() {
    let accepted = "nonstream-background-accepted";
    let upstream =
        Scripted::start([accepted, accepted, "nonstream", "nonstream", "stream"].map(recorded))
            .await;
    let world = world(&upstream, Vec::new()).await;

    let created = create(&world, background()).await;
    let reads = [read(&world).await, read(&world).await, read(&world).await, read(&world).await];

    assert_eq!((created.source, &*created.flags), (Source::Missing, &[Flag::Background][..]));
    let rows = world.rows(6).await;
    let settlement =
        rows.iter().find(|row| row.request_id == created.request_id.settlement()).unwrap();
    assert_eq!((settlement.source, settlement.ended), (Source::Reported, Ended::Complete));
    assert_eq!((settlement.input_total, settlement.output_total), (Some(1500), Some(210)));
    assert_eq!(settlement.tokens[&TokenClass::REASONING], 192);
    assert_eq!(settlement.endpoint, Endpoint::StoredResponse);
    assert_eq!(settlement.flags, [Flag::Background]);
    assert_eq!(settlement.at.timestamp_micros(), created.at.timestamp_micros());
    assert_eq!(settlement.attempts[0].provider_id.as_deref(), Some("resp_C1"));
    assert_eq!((&settlement.key, &settlement.session), (&created.key, &created.session));
    for row in reads {
        assert_eq!((row.endpoint, row.ended), (Endpoint::StoredResponse, Ended::Complete));
        assert!(row.tokens.is_empty() && row.input_total.is_none() && row.flags.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_knows_nothing_settles_what_billing_knows_with_the_same_event() {
    let steps = ["nonstream-background-accepted", "nonstream"];
    let first = Scripted::start(steps.map(recorded)).await;
    let here = world(&first, Vec::new()).await;
    let created = create(&here, background()).await;
    read(&here).await;
    let settled = here.rows(3).await.into_iter().find(|row| row.source == Source::Reported);

    let second = Scripted::start([recorded("stream")]).await;
    let there = world(&second, vec![created]).await;
    read(&there).await;

    let again = there.rows(3).await.into_iter().find(|row| row.source == Source::Reported);
    // Billing takes the same bytes once, under one id.
    assert_eq!(settled.unwrap().to_json().unwrap(), again.unwrap().to_json().unwrap());

    let third = Scripted::start([recorded("nonstream")]).await;
    let rows = here.rows(3).await;
    let later = world(&third, rows).await;
    read(&later).await;
    assert_eq!(later.rows(4).await.len(), 4, "what is settled is not settled again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_reads_or_continues_a_response() {
    let upstream = Scripted::start(["nonstream", "nonstream"].map(recorded)).await;
    let world = world(&upstream, Vec::new()).await;
    create(&world, json!({"model": "gpt-5.6", "input": "Which river?"})).await;

    for (method, path) in [
        (Method::GET, "/v1/responses/resp_C1"),
        (Method::DELETE, "/v1/responses/resp_C1"),
        (Method::POST, "/v1/responses/resp_C1/cancel"),
        (Method::GET, "/v1/responses/resp_C1/input_items"),
    ] {
        let refused = call(&world, OTHER_KEY, method, path).await;
        assert_eq!(code(refused).await, (404, "permille_unknown_response".to_owned()), "{path}");
    }
    let continues = json!({"model": "gpt-5.6", "input": "And?", "previous_response_id": "resp_C1"});
    let request = Request::post(world.url("/v1/responses"))
        .header("authorization", format!("Bearer {OTHER_KEY}"));
    let refused = world.send(request, continues.to_string()).await;
    assert_eq!(code(refused).await, (404, "permille_unknown_response".to_owned()));
    assert_eq!(upstream.calls(), 1, "only its creation was sent on");

    create(&world, continues).await;
    assert_eq!(upstream.calls(), 2, "its own customer goes on from it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_counted_is_neither_continued_nor_deleted() {
    let steps = ["nonstream-background-accepted", "nonstream", "nonstream"];
    let upstream = Scripted::start(steps.map(recorded)).await;
    let world = world(&upstream, Vec::new()).await;
    create(&world, background()).await;
    let continues = json!({"model": "gpt-5.6", "input": "And?", "previous_response_id": "resp_C1"});

    let deleted = call(&world, KEY, Method::DELETE, "/v1/responses/resp_C1").await;
    assert_eq!(code(deleted).await, (409, "permille_response_not_counted".to_owned()));
    let refused = world.post("/v1/responses", &continues).await;
    assert_eq!(code(refused).await, (409, "permille_response_not_counted".to_owned()));
    assert_eq!(upstream.calls(), 1);

    read(&world).await;
    let deleted = call(&world, KEY, Method::DELETE, "/v1/responses/resp_C1").await;
    assert_eq!(deleted.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_failed_without_usage_is_settled_with_nothing_known() {
    let steps = ["nonstream-background-accepted", "nonstream-failed"];
    let upstream = Scripted::start(steps.map(recorded)).await;
    let world = world(&upstream, Vec::new()).await;
    let created = create(&world, background()).await;

    read(&world).await;

    let rows = world.rows(3).await;
    let settlement =
        rows.iter().find(|row| row.request_id == created.request_id.settlement()).unwrap();
    assert_eq!((settlement.source, settlement.ended), (Source::Missing, Ended::UpstreamError));
    assert!(settlement.tokens.is_empty() && settlement.input_total.is_none());
}
