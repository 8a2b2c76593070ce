//! Native formats of Chinese clouds and of model servers through real sockets.

use http::Request;
use permille_proxy::config::{Unpriced, UpstreamConfig};
use permille_types::{Ended, Endpoint, Family, Source, TokenClass, Unit, UsageEvent};
use serde_json::{Value, json};

use crate::support::{
    KEY, World,
    case::{Case, check, reply},
    read_all,
    recorded::recorded,
    upstream,
};

const QIANFAN_V1: Case = Case {
    family: Family::QianfanV1,
    provider: None,
    base: "",
    path: "/qianfan/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions",
    key: ("query", "access_token"),
    body: r#"{"messages":[{"role":"user","content":"你好"}],"stream":true}"#,
    fixture: "baidu-qianfan-v1/stream",
    target: "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions?access_token=provider%2Dsecret",
    credential_in: None,
    credential: "access_token=provider%2Dsecret",
    model: ("ERNIE-Bot", None),
    streamed: true,
    refusal: "/code",
    headers: &[],
    own_model: None,
};

const DASHSCOPE: Case = Case {
    family: Family::Dashscope,
    path: "/dashscope/api/v1/services/aigc/text-generation/generation",
    key: ("authorization", "Bearer "),
    body: r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi"}]}}"#,
    fixture: "dashscope-native/stream-incremental",
    target: "/api/v1/services/aigc/text-generation/generation",
    credential: "authorization: Bearer provider-secret",
    model: ("qwen-plus", None),
    headers: &[("x-dashscope-sse", "enable")],
    ..QIANFAN_V1
};

const HUNYUAN: Case = Case {
    family: Family::Hunyuan,
    path: "/hunyuan",
    key: ("authorization", "TC3-HMAC-SHA256 Credential="),
    body: r#"{"Model":"hunyuan-turbos","Messages":[{"Role":"user","Content":"你好"}],"Stream":true}"#,
    fixture: "tencent-hunyuan-native/stream",
    target: "/",
    credential: "authorization: TC3-HMAC-SHA256 Credential=AKIDours/",
    model: ("hunyuan-turbos", None),
    refusal: "/Response/Error/Code",
    headers: &[("x-tc-action", "ChatCompletions"), ("x-tc-version", "2023-09-01")],
    ..QIANFAN_V1
};

const PANGU: Case = Case {
    family: Family::Pangu,
    path: "/pangu/v1/p1/deployments/pangu-n1/chat/completions",
    key: ("x-auth-token", ""),
    body: r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#,
    fixture: "huawei-pangu/stream-v1",
    target: "/v1/p1/deployments/pangu-n1/chat/completions",
    credential: "x-auth-token: provider-secret",
    model: ("pangu-n1", Some("pangu-nlp-n1-32k_demo")),
    refusal: "/error_code",
    ..QIANFAN_V1
};

const TGI: Case = Case {
    family: Family::Tgi,
    path: "/tgi/generate_stream",
    key: ("authorization", "Bearer "),
    body: r#"{"inputs":"The capital of France is","parameters":{"details":true}}"#,
    fixture: "tgi/stream-native",
    target: "/generate_stream",
    credential: "authorization: Bearer provider-secret",
    model: ("llama-2-7b", None),
    refusal: "/error_type",
    own_model: Some("llama-2-7b"),
    ..QIANFAN_V1
};

const OLLAMA: Case = Case {
    family: Family::Ollama,
    path: "/ollama/api/chat",
    key: ("authorization", "Bearer "),
    body: r#"{"model":"llama2","messages":[{"role":"user","content":"Which river?"}]}"#,
    fixture: "ollama-native/stream",
    target: "/api/chat",
    credential: "authorization: Bearer provider-secret",
    model: ("llama2", Some("llama2")),
    refusal: "/error_type",
    ..QIANFAN_V1
};

const LLAMACPP: Case = Case {
    family: Family::LlamaCpp,
    path: "/llamacpp/completion",
    key: ("authorization", "Bearer "),
    body: r#"{"prompt":"The capital of France","n_predict":3,"stream":true}"#,
    fixture: "llamacpp-native/stream",
    target: "/completion",
    credential: "authorization: Bearer provider-secret",
    model: ("gemma3-270m", Some("m")),
    refusal: "/error/code",
    own_model: Some("gemma3-270m"),
    ..QIANFAN_V1
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qianfan_v1_is_billed_by_its_path_with_the_token_in_the_query() {
    check(QIANFAN_V1).await;
    check(Case {
        fixture: "baidu-qianfan-v1/nonstream",
        streamed: false,
        body: "{}",
        ..QIANFAN_V1
    })
    .await;
    // Signed with an access key and a secret key: ours is the access key.
    check(Case { key: ("authorization", "bce-auth-v1/"), ..QIANFAN_V1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashscope_streams_where_a_header_asks_for_it() {
    check(DASHSCOPE).await;
    check(Case {
        fixture: "dashscope-native/nonstream",
        streamed: false,
        headers: &[],
        ..DASHSCOPE
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashscope_embeddings_bill_their_input() {
    check(Case {
        path: "/dashscope/api/v1/services/embeddings/text-embedding/text-embedding",
        target: "/api/v1/services/embeddings/text-embedding/text-embedding",
        body: r#"{"model":"text-embedding-v4","input":{"texts":["a"]}}"#,
        fixture: "dashscope-native/embed",
        model: ("text-embedding-v4", None),
        streamed: false,
        headers: &[],
        ..DASHSCOPE
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hunyuan_is_signed_anew_on_its_own_path_and_at_the_root() {
    check(HUNYUAN).await;
    check(Case {
        path: "/",
        fixture: "tencent-hunyuan-native/embed",
        body: r#"{"Input":"x"}"#,
        model: ("hunyuan-embedding", None),
        streamed: false,
        headers: &[("x-tc-action", "GetEmbedding")],
        ..HUNYUAN
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pangu_is_called_by_deployment_and_in_version_2() {
    check(PANGU).await;
    check(Case {
        path: "/pangu/api/v2/chat/completions",
        target: "/api/v2/chat/completions",
        key: ("authorization", "Bearer "),
        body: r#"{"model":"pangu-n1","messages":[],"stream":true}"#,
        credential_in: Some("bearer"),
        credential: "authorization: Bearer provider-secret",
        fixture: "huawei-pangu/stream-v2",
        ..PANGU
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tgi_is_billed_as_its_own_model_or_as_the_adapter_that_was_asked_for() {
    check(TGI).await;
    check(Case {
        path: "/tgi/generate",
        target: "/generate",
        body: r#"{"inputs":"x","parameters":{"adapter_id":"legal-lora"}}"#,
        fixture: "tgi/nonstream-native",
        model: ("legal-lora", None),
        streamed: false,
        own_model: Some("*"),
        ..TGI
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollama_streams_lines_unless_told_not_to() {
    check(OLLAMA).await;
    check(Case {
        body: r#"{"model":"llama2","messages":[],"stream":false}"#,
        fixture: "ollama-native/nonstream",
        streamed: false,
        ..OLLAMA
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn llamacpp_is_billed_as_the_upstreams_own_model() {
    check(LLAMACPP).await;
}

/// A gateway in front of one upstream that answers with `answer`.
async fn in_front_of(answer: Vec<u8>, change: impl FnOnce(&mut UpstreamConfig)) -> World {
    let (address, _requests) = recorded(answer, 4_096).await;
    World::with(|setup| {
        let mut of_test = upstream("recorded", Family::OpenAi, format!("http://{address}"));
        change(&mut of_test);
        setup.config.upstreams = vec![of_test];
        setup.config.pricing.unpriced = Unpriced::Hold;
    })
    .await
}

fn http(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

async fn row(world: &World, path: &str, body: &Value) -> (UsageEvent, String) {
    let response = world.post(path, body).await;
    let (head, body) = response.into_parts();
    let body = read_all(body).await.unwrap();
    (world.row_of(&head.headers).await, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_error_with_a_success_status_passes_and_bills_nothing() {
    for (family, fixture, path) in [
        (Family::QianfanV1, "baidu-qianfan-v1/error-http200", QIANFAN_V1.path),
        (Family::Ollama, "ollama-native/stream-error", OLLAMA.path),
    ] {
        let (answer, expected) = reply(fixture);
        let world = in_front_of(answer, |upstream| upstream.section.family = family).await;

        let (row, body) = row(&world, path, &json!({"model": "m", "messages": []})).await;

        assert_eq!(body.as_bytes(), expected, "{family}");
        assert_eq!((row.ended, row.status), (Ended::UpstreamError, Some(200)), "{family}");
        // What Ollama had delivered before its error is billed; Baidu delivered nothing.
        assert_eq!(row.source == Source::Missing, family == Family::QianfanV1, "{family}");
    }
}

/// Lines that a server, or a proxy before it, calls something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollamas_lines_are_read_whatever_their_type_says() {
    let (_, lines) = reply(OLLAMA.fixture);
    let lines = String::from_utf8(lines).unwrap();
    let mut counted = Vec::new();
    for kind in ["application/x-ndjson", "application/json", "text/plain"] {
        let answer = http(&format!("content-type: {kind}"), &lines);
        let world = in_front_of(answer, |upstream| upstream.section.family = Family::Ollama).await;

        let (row, body) = row(&world, OLLAMA.path, &json!({"model": "m", "messages": []})).await;

        assert_eq!(body, lines, "{kind}");
        assert_eq!((row.ended, row.source), (Ended::Complete, Source::Reported), "{kind}");
        counted.push(row.tokens);
    }
    counted.dedup();
    assert_eq!(counted.len(), 1, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_in_the_headers_of_tgi_bill_a_reply_without_details() {
    let head = "content-type: application/json\r\nx-prompt-tokens: 6\r\nx-generated-tokens: 3";
    let world = in_front_of(http(head, r#"{"generated_text":" Paris."}"#), |upstream| {
        upstream.section.family = Family::Tgi;
        upstream.section.models = vec!["llama-2-7b".to_owned()];
    })
    .await;

    let (row, _) = row(&world, "/tgi/generate", &json!({"inputs": "The capital of France"})).await;

    assert_eq!((row.input_total, row.output_total), (Some(6), Some(3)));
    assert_eq!(row.source, Source::Reported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qianfan_token_is_a_bearer_of_the_key_that_asked_for_it() {
    let (answer, _) = reply("baidu-qianfan-v1/nonstream");
    let world = in_front_of(answer, |upstream| upstream.section.family = Family::QianfanV1).await;
    let ask = async |client_id: &str| -> Value {
        let query = "grant_type=client_credentials&client_secret=x";
        let url = world.url(&format!("/qianfan/oauth/2.0/token?{query}&client_id={client_id}"));
        let answer = world.send(Request::post(url), "").await;
        serde_json::from_slice(&read_all(answer.into_body()).await.unwrap()).unwrap()
    };

    let token = ask(KEY).await;
    let refused = ask("sk-pm_unknown").await;

    let path =
        format!("{}?access_token={}", QIANFAN_V1.path, token["access_token"].as_str().unwrap());
    let answer = world.send(Request::post(world.url(&path)), r#"{"messages":[]}"#).await;
    let row = world.row_of(answer.headers()).await;
    assert_eq!((row.ended, row.output_total), (Ended::Complete, Some(9)));
    assert_eq!(token["expires_in"], 30 * 24 * 3600);
    assert_eq!(
        (&refused["error"], &refused["error_code"]),
        (&json!("invalid_client"), &json!(110))
    );
    // A token is no call: the one row is the chat's.
    assert_eq!(world.rows(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_metered_natively_is_refused_by_name() {
    let world = in_front_of(Vec::new(), |upstream| {
        upstream.section.family = Family::Hunyuan;
        upstream.credential = "AKIDours:secret".into();
    })
    .await;
    for (path, header, named) in [
        ("/hunyuan", ("x-tc-action", "SubmitHunyuanImageJob"), "X-TC-Action"),
        (DASHSCOPE.path, ("x-dashscope-async", "enable"), "X-DashScope-Async"),
    ] {
        let request = Request::post(world.url(path))
            .header("authorization", format!("Bearer {KEY}"))
            .header(header.0, header.1);
        let answer = world.send(request, r#"{"model":"m","Model":"m"}"#).await;

        let body = read_all(answer.into_body()).await.unwrap();
        assert!(String::from_utf8(body.to_vec()).unwrap().contains(named), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ollamas_list_of_models_passes_and_bills_nothing() {
    let answer = http("content-type: application/json", r#"{"models":[]}"#);
    let world = in_front_of(answer, |upstream| upstream.section.family = Family::Ollama).await;

    let request = Request::get(world.url("/ollama/api/tags")).header("x-api-key", KEY);
    let answer = world.send(request, "").await;

    assert_eq!(answer.status(), 200);
    let row = world.row_of(answer.headers()).await;
    assert!(row.tokens.is_empty() && row.ended == Ended::Complete, "{row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tencents_count_of_tokens_passes_and_bills_nothing() {
    let counted =
        r#"{"Response":{"TokenCount":3,"CharacterCount":4,"Tokens":["a"],"RequestId":"r"}}"#;
    let answer = http("content-type: application/json", counted);
    let world = in_front_of(answer, |upstream| {
        upstream.section.family = Family::Hunyuan;
        upstream.credential = "AKIDours:secret".into();
    })
    .await;

    let request = Request::post(world.url("/hunyuan"))
        .header("authorization", format!("Bearer {KEY}"))
        .header("x-tc-action", "GetTokenCount");
    let answer = world.send(request, r#"{"Prompt":"尼罗河?"}"#).await;

    let (head, reply) = answer.into_parts();
    assert_eq!(read_all(reply).await.unwrap(), counted);
    let row = world.row_of(&head.headers).await;
    assert_eq!((row.endpoint, row.ended), (Endpoint::CountTokens, Ended::Complete));
    assert!(row.tokens.is_empty() && row.units.is_empty(), "{row:?}");
}

fn described(paths: &[&str], api: Value) -> impl FnOnce(&mut UpstreamConfig) {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    move |upstream| {
        upstream.section.family = Family::Generic;
        upstream.section.name = "new-api".parse().unwrap();
        upstream.section.models = vec!["new-model".to_owned()];
        upstream.section.paths = paths;
        upstream.section.api = Some(serde_json::from_value(api).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_described_api_is_metered_as_its_description_says() {
    let events =
        "data: {\"part\":\"The\"}\n\ndata: {\"part\":\"\",\"meter\":{\"in\":9,\"out\":3}}\n\n";
    let api = json!({
        "input": "/meter/in", "output": "/meter/out", "text": "/part", "framing": "sse",
        "request_stream": "/live",
    });
    // The server announces no event stream; the description does.
    let answer = http("content-type: text/plain", events);
    let world = in_front_of(answer, described(&["POST /v1/ask"], api)).await;

    let (row, body) =
        row(&world, "/generic/new-api/v1/ask", &json!({"q": "?", "live": true})).await;

    assert_eq!(body, events);
    assert_eq!((row.family, row.streamed, row.source), (Family::Generic, true, Source::Reported));
    assert_eq!(row.model_requested.as_str(), "new-model");
    assert_eq!((row.input_total, row.tokens[&TokenClass::OUTPUT_TEXT]), (Some(9), 3));
    let unknown = world.post("/generic/new-api/v1/other", &json!({})).await;
    assert_eq!(unknown.status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_without_tokens_is_metered_by_request() {
    let wendao = r##"{"result":"# 三亚行程 ...","events":[],"messages":[],"state":{}}"##;
    let answer = http("content-type: application/json", wendao);
    let world =
        in_front_of(answer, described(&["POST /skill/query"], json!({"error": "/error"}))).await;

    let query = json!({"query": "三亚攻略", "source": "x"});
    let (row, _) = row(&world, "/generic/new-api/skill/query", &query).await;

    assert_eq!(row.units, [(Unit::Requests, 1)].into());
    assert_eq!((row.ended, row.source), (Ended::Complete, Source::Reported));
    assert!(row.tokens.is_empty(), "{row:?}");
}
