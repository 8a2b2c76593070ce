//! The official SDKs of native formats, unmodified but for address and key: what they saw is what
//! is billed, and errors reach them as errors.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::Value;
use support::{
    Choose, Folder, Recorded,
    sdk::{assert_recognised, drive, drive_with, rows},
};

/// Runs `program` against a gateway whose one upstream answers as `choose` says, and compares every
/// case with its row: counts, source and ending.
async fn check(
    program: &str,
    family: &str,
    base: &str,
    secret: &str,
    choose: Choose,
    cases: usize,
) {
    check_with(program, &[], family, (base, "", ""), secret, choose, cases).await;
}

/// As [`check`], with variables for the program, the path and provider of the upstream.
async fn check_with(
    program: &str,
    variables: &[(&str, &str)],
    family: &str,
    (base, upstream_path, provider): (&str, &str, &str),
    secret: &str,
    choose: Choose,
    cases: usize,
) {
    let folder = Folder::new();
    let recorded = Recorded::start(choose).await;
    folder.config(&recorded.upstream_at(&folder, family, (upstream_path, provider), secret));
    let server = folder.serve().await;
    let key = folder.key("acme", "CNY");

    let seen = drive_with(program, variables, &server, base, &key).await;

    assert_eq!(seen.len(), cases, "{seen:?}");
    let rows = rows(&folder, &seen).await;
    for case in &seen {
        let row = &rows[case["request_id"].as_str().unwrap()];
        assert_eq!(row["family"], family, "{case} {row}");
        assert_eq!(row["ended"], case["ended"], "{case} {row}");
        assert_eq!(row["streamed"], case["streamed"], "{case} {row}");
        for (total, key) in [("input", "input_total"), ("output", "output_total")] {
            let estimated = case[total] == "estimated";
            assert!(!estimated || row[key].as_u64().unwrap() > 0, "{total}: {case} {row}");
            assert!(estimated || row[key] == case[total], "{total}: {case} {row}");
        }
        for (class, count) in case["classes"].as_object().into_iter().flatten() {
            assert_eq!(&row["tokens"][class], count, "{class}: {case} {row}");
        }
    }
    assert!(seen.iter().any(|case| case["ended"] == "upstream_error"), "no error was seen");
    assert!(seen.iter().any(|case| case["streamed"] == Value::Bool(true)), "no stream was seen");
}

/// Runs `program`, which holds conversations that do not name themselves, against recorded replies:
/// its requests and the sessions that are found.
async fn conversations(
    program: &str,
    family: &str,
    (base, upstream_path): (&str, &str),
    choose: Choose,
) -> (usize, usize) {
    let folder = Folder::new();
    let recorded = Recorded::start(choose).await;
    folder.config(&recorded.upstream_at(&folder, family, (upstream_path, ""), "theirs"));
    let server = folder.serve().await;
    let key = folder.key("acme", "USD");

    let cases = drive(program, &server, base, &key).await;

    let rows = rows(&folder, &cases).await;
    (cases.len(), assert_recognised(&cases, &rows))
}

#[tokio::test]
async fn chats_of_the_google_genai_sdk_are_recognised_turn_by_turn() {
    let choose = |request: &str| match request {
        _ if request.contains(":streamGenerateContent") => "gemini/stream",
        _ => "gemini/nonstream",
    };
    let program = "genai_conversations.py";
    assert_eq!(conversations(program, "gemini", ("/gemini", ""), choose).await, (24, 6));
}

#[tokio::test]
async fn conversations_of_openai_responses_are_recognised_turn_by_turn() {
    let choose = |request: &str| match request {
        _ if request.contains("function_call_output") => "openai-responses/nonstream",
        _ if request.contains("\"tools\"") => "openai-responses/nonstream-tool",
        _ if request.contains("previous_response_id") => "openai-responses/nonstream-continued",
        _ => "openai-responses/nonstream",
    };
    let program = "responses_conversations.py";
    assert_eq!(conversations(program, "openai", ("/v1", "/v1"), choose).await, (24, 7));
}

#[tokio::test]
async fn the_dashscope_sdk_sees_what_is_billed() {
    let choose = |request: &str| match request {
        _ if request.contains("/text-embedding") => "dashscope-native/embed",
        _ if request.contains("\"n\": 2") => "dashscope-native/stream-n2",
        _ if request.contains("fail") => "dashscope-native/stream-error",
        _ if request.to_lowercase().contains("x-dashscope-sse: enable") => {
            "dashscope-native/stream-incremental"
        }
        _ => "dashscope-native/nonstream",
    };
    check("dashscope_sdk.py", "dashscope", "/dashscope/api/v1", "sk-theirs", choose, 5).await;
}

#[tokio::test]
async fn the_tencent_sdk_sees_what_is_billed() {
    let choose = |request: &str| match request {
        _ if request.to_lowercase().contains("x-tc-action: getembedding") => {
            "tencent-hunyuan-native/embed"
        }
        _ if request.contains("fail") => "tencent-hunyuan-native/error-http200",
        _ if request.contains("\"Stream\": true") => "tencent-hunyuan-native/stream",
        _ => "tencent-hunyuan-native/nonstream",
    };
    for base in ["/hunyuan", ""] {
        check("hunyuan_sdk.py", "hunyuan", base, "AKIDtheirs:secret", choose, 4).await;
    }
}

#[tokio::test]
async fn the_ollama_sdk_sees_what_is_billed() {
    let choose = |request: &str| match request {
        _ if request.contains("/api/embed") => "ollama-native/embed",
        _ if request.contains("fail") => "ollama-native/stream-error",
        _ if request.contains("\"stream\":true") => "ollama-native/stream",
        _ => "ollama-native/nonstream",
    };
    check("ollama_sdk.py", "ollama", "/ollama", "none", choose, 4).await;
}

#[tokio::test]
async fn the_google_genai_sdk_sees_what_is_billed() {
    let choose = |request: &str| match request {
        _ if request.contains(":countTokens") => "gemini/count-tokens",
        _ if request.contains("mbedContent") => "gemini/embed",
        _ if request.contains("refuse") => "gemini/error",
        _ if request.contains("think only") => "gemini/nonstream-thoughts-only",
        _ if request.contains("blocked") => "gemini/stream-prompt-blocked",
        _ if request.contains("fail") => "gemini/stream-error-midway",
        _ if request.contains(":streamGenerateContent") => "gemini/stream",
        _ => "gemini/nonstream",
    };
    check("google_genai_sdk.py", "gemini", "/gemini", "theirs", choose, 12).await;
}

#[tokio::test]
async fn responses_of_the_openai_sdk_see_what_is_billed() {
    let choose = |request: &str| match request {
        _ if request.starts_with("GET") => "openai-responses/nonstream",
        _ if request.contains("refuse") => "openai-responses/error-context-length",
        _ if request.contains("briefly") => "openai-responses/stream-incomplete",
        _ if request.contains("fail") => "openai-responses/stream-failed",
        _ if request.contains("function_call_output") => "openai-responses/nonstream",
        _ if request.contains("\"tools\"") && request.contains("\"stream\":true") => {
            "openai-responses/stream-tool"
        }
        _ if request.contains("\"tools\"") => "openai-responses/nonstream-tool",
        _ if request.contains("previous_response_id") => "openai-responses/nonstream-continued",
        _ if request.contains("\"stream\":true") => "openai-responses/stream",
        _ => "openai-responses/nonstream",
    };
    let program = "openai_responses_sdk.py";
    check_with(program, &[], "openai", ("/v1", "/v1", ""), "sk-theirs", choose, 11).await;
}

#[tokio::test]
async fn both_formats_of_the_qianfan_sdk_see_what_is_billed() {
    let first = |request: &str| match request {
        _ if request.contains("/embeddings/") => "baidu-qianfan-v1/embed",
        _ if request.contains("refuse") => "baidu-qianfan-v1/error-http200",
        _ if request.contains("fail") => "baidu-qianfan-v1/stream-error",
        _ if request.contains("\"stream\": true") => "baidu-qianfan-v1/stream",
        _ => "baidu-qianfan-v1/nonstream",
    };
    let second = |request: &str| match request {
        _ if request.contains("refuse") => "baidu-qianfan-v2/error",
        _ if request.contains("\"stream\": true") => "baidu-qianfan-v2/stream",
        _ => "baidu-qianfan-v2/nonstream",
    };
    let program = "qianfan_sdk.py";
    let format = |format| [("FORMAT", format)];
    let (bases, secret) = (("/qianfan", "", ""), "24.theirs");
    check_with(program, &format("1"), "qianfan-v1", bases, secret, first, 4).await;
    check_with(program, &format("1-signed"), "qianfan-v1", bases, secret, first, 4).await;
    let bases = ("/qianfan", "/v2", "qianfan");
    check_with(program, &format("2"), "openai", bases, "bce-v3/theirs", second, 3).await;
}
