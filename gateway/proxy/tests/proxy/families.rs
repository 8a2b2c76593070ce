//! One recorded reply of every wire family through real sockets: bytes, counts, keys, credentials
//! and refusals.

use http::Request;
use permille_proxy::config::Unpriced;
use permille_types::{Ended, Endpoint, Family};
use serde_json::Value;

use crate::support::{
    KEY, World,
    case::{Case, check, reply},
    read_all,
    recorded::recorded,
    upstream,
};

const GEMINI: Case<'_> = Case {
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
    headers: &[],
    own_model: None,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_provider_of_openais_shape_has_its_prefix() {
    for (provider, prefix, base, fixture, served) in [
        ("qianfan", "/qianfan/v2", "/v2", "baidu-qianfan-v2/stream", "ernie-5.1"),
        (
            "dashscope",
            "/dashscope/compatible-mode/v1",
            "/compatible-mode/v1",
            "dashscope-compat/stream",
            "qwen3.6-plus",
        ),
        ("tokenhub", "/tokenhub/v1", "/v1", "tencent-tokenhub/stream", "hy3"),
        ("zhipu", "/zhipu/api/paas/v4", "/api/paas/v4", "zhipu/stream", "glm-5.3"),
        ("deepseek", "/deepseek", "", "deepseek/stream", "deepseek-reasoner"),
        ("moonshot", "/moonshot/v1", "/v1", "moonshot/stream", "kimi-k2"),
        ("openrouter", "/openrouter/api/v1", "/api/v1", "openrouter/stream", "openai/gpt-5"),
        ("vllm", "/vllm/v1", "/v1", "vllm/stream", "sql-lora"),
        ("sglang", "/sglang/v1", "/v1", "sglang/stream", "qwen3:sql"),
        ("llamacpp", "/llamacpp/v1", "/v1", "llamacpp-server/stream", "gemma3-270m"),
    ] {
        let path = format!("{prefix}/chat/completions");
        let target = format!("{base}/chat/completions");
        check(Case {
            family: Family::OpenAi,
            provider: Some(provider),
            base,
            path: &path,
            key: ("authorization", "Bearer "),
            body: r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
            fixture,
            target: &target,
            credential_in: None,
            credential: "authorization: Bearer provider-secret",
            model: ("m", Some(served)),
            streamed: true,
            refusal: "/error/code",
            headers: &[],
            own_model: None,
        })
        .await;
    }
}

const AZURE: Case<'_> = Case {
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
    headers: &[],
    own_model: None,
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

const RESPONSES: Case<'_> = Case {
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
    headers: &[],
    own_model: None,
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
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await;
    let created = world.post("/v1/responses", &serde_json::json!({"model": "gpt-5.6"})).await;
    read_all(created.into_body()).await.unwrap();
    requests.recv().await.unwrap();

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
