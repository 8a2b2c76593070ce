//! One recorded reply of every wire family through real sockets: bytes, counts, keys, credentials
//! and refusals.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use http::Request;
use permille_proxy::config::Unpriced;
use permille_types::{Ended, Endpoint, Family, ModelName};
use serde_json::Value;
use support::{KEY, World, read_all, recorded::recorded, upstream};

/// One request of one family, and what becomes of it.
struct Case {
    family: Family,
    /// `provider` of the upstream; absent means the family's name.
    provider: Option<&'static str>,
    /// Path of the upstream's base URL.
    base: &'static str,
    /// What the client sends: path with query, where its key goes, body.
    path: &'static str,
    key: (&'static str, &'static str),
    body: &'static str,
    /// A recorded reply of `permille-usage`.
    fixture: &'static str,
    /// What the upstream is sent: target, and the line that holds our credential.
    target: &'static str,
    credential_in: Option<&'static str>,
    credential: &'static str,
    /// The row's names.
    model: (&'static str, Option<&'static str>),
    streamed: bool,
    /// Where the code of a refusal stands.
    refusal: &'static str,
}

fn fixture(name: &str, suffix: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../usage/tests/fixtures");
    std::fs::read(format!("{folder}/{name}{suffix}")).unwrap()
}

/// The recorded reply as a server sends it: closed at its end, because it announces no length.
fn reply(name: &str) -> (Vec<u8>, Vec<u8>) {
    let recorded = fixture(name, ".response.http");
    let end = recorded.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (&recorded[..end], recorded[end + 4..].to_vec());
    ([head, b"\r\nconnection: close\r\n\r\n", body.as_slice()].concat(), body)
}

fn send(world: &World, case: &Case, with_key: bool) -> (http::request::Builder, &'static str) {
    let mut uri = world.url(case.path);
    let mut request = Request::post("/");
    match case.key {
        ("query", name) if with_key => {
            let joint = if uri.contains('?') { '&' } else { '?' };
            uri = format!("{uri}{joint}{name}={KEY}");
        }
        (name, scheme) if with_key => request = request.header(name, format!("{scheme}{KEY}")),
        _ => {}
    }
    (request.uri(uri), case.body)
}

async fn check(case: Case) {
    let (answer, body) = reply(case.fixture);
    let (address, mut requests) = recorded(answer, 11).await;
    let world = World::with(|setup| {
        let mut of_case =
            upstream("recorded", case.family, format!("http://{address}{}", case.base));
        of_case.section.provider = case.provider.map(str::to_owned);
        of_case.section.credential_in = case.credential_in.map(|place| place.parse().unwrap());
        // Another upstream of the same family, which must not be taken.
        let mut other = upstream("other", case.family, "http://127.0.0.1:9".to_owned());
        match case.provider {
            Some(_) => other.section.provider = Some("another-provider".to_owned()),
            None => other.section.models = vec!["another-model".to_owned()],
        }
        setup.config.upstreams = vec![other, of_case];
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await;

    let (request, sent) = send(&world, &case, true);
    let response = world.send(request, sent).await;
    let (head, reply) = response.into_parts();
    assert_eq!(head.status, 200, "{}", case.path);
    let bytes = read_all(reply).await.unwrap();
    assert_eq!(bytes, body, "{}: bytes", case.path);

    let request = String::from_utf8(requests.recv().await.unwrap()).unwrap();
    let (request_head, request_body) = request.split_once("\r\n\r\n").unwrap();
    assert!(request_head.contains(&format!(" {} HTTP/1.1", case.target)), "{request_head}");
    assert!(!request.contains("sk-pm_"), "our key went upstream: {request_head}");
    assert!(request_head.contains(case.credential), "{request_head}");
    assert_eq!(request_body, case.body, "a request is not written anew");

    let row = world.row_of(&head.headers).await;
    let expected: Value = serde_json::from_slice(&fixture(case.fixture, ".expected.json")).unwrap();
    assert_eq!(
        (row.family, row.ended, row.streamed),
        (case.family, Ended::Complete, case.streamed)
    );
    assert_eq!(row.model_requested.as_str(), case.model.0);
    assert_eq!(row.model_served.as_ref().map(ModelName::as_str), case.model.1);
    assert_eq!(row.source.as_str(), expected["source"], "{}", case.path);
    assert_eq!(row.input_total, expected["input_total"].as_u64(), "{}", case.path);
    assert_eq!(row.output_total, expected["output_total"].as_u64(), "{}", case.path);
    assert!(row.flags.iter().all(|flag| *flag == permille_types::Flag::Simulated), "{row:?}");

    let (request, sent) = send(&world, &case, false);
    let refused = world.send(request, sent).await;
    assert_eq!(refused.status(), 401);
    let refused = read_all(refused.into_body()).await.unwrap();
    let refused: Value = serde_json::from_slice(&refused).unwrap();
    assert_eq!(refused.pointer(case.refusal).unwrap(), "permille_missing_key", "{refused}");
}

const GEMINI: Case = Case {
    family: Family::Gemini,
    provider: None,
    base: "",
    path: "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    key: ("x-goog-api-key", ""),
    body: r#"{"contents":[{"role":"user","parts":[{"text":"Which river?"}]}]}"#,
    fixture: "gemini/stream",
    target: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    credential_in: None,
    credential: "x-goog-api-key: provider-secret",
    model: ("gemini-2.5-pro", Some("gemini-2.5-pro")),
    streamed: true,
    refusal: "/error/details/0/reason",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gemini_streams_events_with_the_key_in_its_header() {
    check(GEMINI).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gemini_streams_a_list_with_the_key_in_the_query() {
    check(Case {
        path: "/gemini/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        key: ("query", "key"),
        fixture: "gemini/stream-list",
        target: "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        ..GEMINI
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vertex_answers_whole_below_its_own_prefix() {
    check(Case {
        provider: Some("vertex"),
        path: "/vertex/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
        key: ("authorization", "Bearer "),
        fixture: "gemini/nonstream",
        target: "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
        credential_in: Some("bearer"),
        credential: "authorization: Bearer provider-secret",
        streamed: false,
        ..GEMINI
    })
    .await;
}

const AZURE: Case = Case {
    family: Family::AzureOpenAi,
    provider: None,
    base: "",
    path: "/azure/openai/deployments/prod-chat/chat/completions?api-version=2024-10-21",
    key: ("api-key", ""),
    body: r#"{"messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
    fixture: "azure-openai/stream",
    target: "/openai/deployments/prod-chat/chat/completions?api-version=2024-10-21",
    credential_in: None,
    credential: "api-key: provider-secret",
    model: ("prod-chat", Some("gpt-4o-2024-11-20")),
    streamed: true,
    refusal: "/error/code",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_serves_a_deployment_and_the_reply_names_the_model() {
    check(AZURE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azures_first_version_takes_the_deployment_in_the_body_and_an_entra_token() {
    check(Case {
        path: "/azure/openai/v1/chat/completions",
        key: ("authorization", "Bearer "),
        body: r#"{"model":"prod-chat","messages":[]}"#,
        fixture: "azure-openai/nonstream",
        target: "/openai/v1/chat/completions",
        credential_in: Some("bearer"),
        credential: "authorization: Bearer provider-secret",
        streamed: false,
        ..AZURE
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_is_asked_for_usage_only_where_its_api_version_takes_that() {
    let (answer, _) = reply("azure-openai/stream");
    let (address, mut requests) = recorded(answer, 4096).await;
    let world = World::with(|setup| {
        setup.config.upstreams =
            vec![upstream("recorded", Family::AzureOpenAi, format!("http://{address}"))];
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await;

    for (version, asked) in [("2024-10-21", true), ("2024-06-01", false)] {
        let path =
            format!("/azure/openai/deployments/prod-chat/chat/completions?api-version={version}");
        let body = serde_json::json!({"messages": [], "stream": true});
        let response = world.post(&path, &body).await;
        let (head, reply) = response.into_parts();
        let bytes = read_all(reply).await.unwrap();

        let sent = String::from_utf8(requests.recv().await.unwrap()).unwrap();
        assert_eq!(sent.contains("include_usage"), asked, "{version}");
        let usage_frame = String::from_utf8(bytes.to_vec()).unwrap().contains("\"usage\":{");
        assert_eq!(usage_frame, !asked, "a frame is cut only where it was asked for");
        assert_eq!(world.row_of(&head.headers).await.input_total, Some(25));
    }
}

const RESPONSES: Case = Case {
    family: Family::OpenAi,
    provider: None,
    base: "/v1",
    path: "/v1/responses",
    key: ("authorization", "Bearer "),
    body: r#"{"model":"gpt-5.6","input":"Which river?","stream":true}"#,
    fixture: "openai-responses/stream",
    target: "/v1/responses",
    credential_in: None,
    credential: "authorization: Bearer provider-secret",
    model: ("gpt-5.6", Some("gpt-5.6")),
    streamed: true,
    refusal: "/error/code",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_stream_to_their_terminal_event() {
    check(RESPONSES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_incomplete_are_whole_replies_with_usage() {
    check(Case { fixture: "openai-responses/stream-incomplete", ..RESPONSES }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_stored_responses_never_bill() {
    let (answer, body) = reply("openai-responses/nonstream");
    let (address, mut requests) = recorded(answer, 4096).await;
    let world = World::with(|setup| {
        setup.config.upstreams =
            vec![upstream("recorded", Family::OpenAi, format!("http://{address}/v1"))];
    })
    .await;

    for _ in 0..2 {
        let request =
            Request::get(world.url("/v1/responses/resp_C1?stream=false")).header("api-key", KEY);
        let response = world.send(request, "").await;
        let (head, reply) = response.into_parts();
        assert_eq!(read_all(reply).await.unwrap(), body);
        let sent = String::from_utf8(requests.recv().await.unwrap()).unwrap();
        assert!(sent.starts_with("GET /v1/responses/resp_C1?stream=false HTTP/1.1"), "{sent}");
        let row = world.row_of(&head.headers).await;
        assert_eq!((row.endpoint, row.ended), (Endpoint::StoredResponse, Ended::Complete));
        assert!(row.tokens.is_empty() && row.input_total.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_below_a_providers_prefix_reaches_no_other_provider() {
    let world = World::with(|setup| {
        setup.config.upstreams =
            vec![upstream("plain", Family::OpenAi, "http://127.0.0.1:9".to_owned())];
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await;

    let body = serde_json::json!({"model": "deepseek-chat", "messages": []});
    let response = world.post("/deepseek/chat/completions", &body).await;

    assert_eq!(response.status(), 404);
    let refused = read_all(response.into_body()).await.unwrap();
    let refused: Value = serde_json::from_slice(&refused).unwrap();
    assert_eq!(refused["error"]["code"], "permille_unknown_model");
}
