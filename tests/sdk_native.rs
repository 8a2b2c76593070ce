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
    sdk::{drive, rows},
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
    let folder = Folder::new();
    let provider = Recorded::start(choose).await;
    folder.config(&provider.upstream(&folder, family, secret));
    let server = folder.serve().await;
    let key = folder.key("acme", "CNY");

    let seen = drive(program, &server, base, &key).await;

    assert_eq!(seen.len(), cases, "{seen:?}");
    let rows = rows(&folder, &seen).await;
    for case in &seen {
        let row = &rows[case["request_id"].as_str().unwrap()];
        assert_eq!(row["family"], family, "{case} {row}");
        assert_eq!(row["ended"], case["ended"], "{case} {row}");
        assert_eq!(row["streamed"], case["streamed"], "{case} {row}");
        for (total, key) in [("input", "input_total"), ("output", "output_total")] {
            if case[total] != "estimated" {
                assert_eq!(row[key], case[total], "{total}: {case} {row}");
            }
        }
        for (class, count) in case["classes"].as_object().into_iter().flatten() {
            assert_eq!(&row["tokens"][class], count, "{class}: {case} {row}");
        }
    }
    assert!(seen.iter().any(|case| case["ended"] == "upstream_error"), "no error was seen");
    assert!(seen.iter().any(|case| case["streamed"] == Value::Bool(true)), "no stream was seen");
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
