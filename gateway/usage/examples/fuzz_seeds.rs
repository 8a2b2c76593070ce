//! Writes what fuzzing starts from: the recorded replies, some requests, and a dictionary of the
//! keys in both. `cargo run -p permille-usage --example fuzz_seeds -- FOLDER`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use common::{Fixture, REQUEST, fixtures};
use input::Input;
use permille_types::{Endpoint, Family};
use permille_usage::{Encoding, Framing};

#[path = "../tests/usage/common.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;
#[path = "../fuzz/src/input.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the fuzz targets use the rest")]
mod input;

/// Longest body of a seed, in bytes: `tests/fuzz` bounds inputs at 1 KiB, and cuts longer ones off.
const BODY_BYTES_MAX: usize = 1024 - input::HEADER_BYTES;

/// Requests that name what decides metering.
const REQUESTS: &[(Family, Endpoint, &str)] = &[
    (
        Family::OpenAi,
        Endpoint::ChatCompletions,
        r#" {"model":"gpt-5","stream":true,"stream_options":{"x":1,"include_usage": false},"n":2,
            "max_tokens":5,"max_completion_tokens":7,"messages":[{"role":"user","content":"x"}]}"#,
    ),
    (
        Family::OpenAi,
        Endpoint::Completions,
        r#"{"mod\u0065l":"m","prompt":["a",[1,2]],"stream":true,"stream_options":null,"best_of":4}"#,
    ),
    (Family::OpenAi, Endpoint::Responses, r#"{"model":"m","input":"x","max_output_tokens":9}"#),
    (Family::AzureOpenAi, Endpoint::ChatCompletions, r#"{"stream":true,"data_sources":[{}]}"#),
    (
        Family::Anthropic,
        Endpoint::Messages,
        r#"{"model":"claude","max_tokens":9,"stream":true,"system":[{"type":"text","text":"y"}]}"#,
    ),
    (
        Family::Gemini,
        Endpoint::GenerateContent,
        r#"{"contents":[{"parts":[{"text":"x"},{"inlineData":{"mimeType":"image/png","data":""}}]}],
            "generationConfig":{"maxOutputTokens":"9","candidateCount":2}}"#,
    ),
    (Family::QianfanV1, Endpoint::Chat, r#"{"stream":true,"max_output_tokens":9}"#),
    (
        Family::Dashscope,
        Endpoint::Generation,
        r#"{"model":"qwen","input":{"messages":[]},"parameters":{"max_tokens":7,"n":3}}"#,
    ),
    (Family::Hunyuan, Endpoint::Chat, r#"{"Model":"hunyuan-turbos","Stream":true}"#),
    (
        Family::Ollama,
        Endpoint::Chat,
        r#"{"model":"l","stream":false,"options":{"num_predict":-1}}"#,
    ),
    (Family::Tgi, Endpoint::Generate, r#"{"inputs":"x","parameters":{"adapter_id":"a"}}"#),
    (Family::LlamaCpp, Endpoint::Generate, r#"{"prompt":[1,"a"],"n_predict":4,"n_cmpl":1}"#),
];

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    let write = |target: &str, name: &str, input: &[u8]| {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name.replace('/', "-")), input).unwrap();
    };
    let mut keys = BTreeSet::new();
    for fixture in fixtures() {
        let (family, endpoint, body) = (fixture.family, fixture.endpoint, &fixture.body);
        let short = shortened(&fixture);
        let seed = |flags| Input::write(family, endpoint, flags, &short);
        let (target, framing) = match fixture.framing {
            Framing::Sse | Framing::Untold => ("sse", 0),
            Framing::Json => ("json", 1),
            Framing::JsonLines => ("json_lines", 2),
            Framing::JsonArray => ("json_array", 3),
        };
        if fixture.encoding == Encoding::Identity {
            take_keys(body, &mut keys);
            write(target, &fixture.name, &seed(Input::CUT));
            write("encoded", &fixture.name, &seed(Input::OWN | (framing * Input::FRAMING)));
        } else {
            write("encoded", &fixture.name, &seed(framing * Input::FRAMING));
        }
    }
    for (index, (family, endpoint, body)) in REQUESTS.iter().enumerate() {
        take_keys(body.as_bytes(), &mut keys);
        let seed = Input::write(*family, *endpoint, Input::OWN, body.as_bytes());
        write("request", &format!("{index:02}-{family}"), &seed);
    }
    let chat = Input::write(Family::OpenAi, Endpoint::ChatCompletions, Input::OWN, REQUEST);
    write("request", "chat", &chat);
    let words = keys.iter().fold(String::new(), |mut words, key| {
        writeln!(words, "{:?}", format!("\"{key}\":")).unwrap();
        words
    });
    fs::write(folder.join("keys.dict"), words).unwrap();
}

/// The body; of a long stream its first event and as many of its last ones as there is room for,
/// because usage stands at the end.
fn shortened(fixture: &Fixture) -> Vec<u8> {
    let body = fixture.body.as_slice();
    let ends: &[&[u8]] = match (fixture.encoding, fixture.framing) {
        (Encoding::Identity, Framing::Sse) => &[b"\r\n\r\n", b"\n\n", b"\r\r"],
        (Encoding::Identity, Framing::JsonLines) => &[b"\n"],
        _ => &[],
    };
    if body.len() <= BODY_BYTES_MAX || ends.is_empty() {
        return body.to_vec();
    }
    let (mut events, mut start) = (Vec::new(), 0);
    while let Some(end) = (start + 1..=body.len())
        .find(|at| *at == body.len() || ends.iter().any(|end| body[start..*at].ends_with(end)))
    {
        events.push(&body[start..end]);
        start = end;
    }
    let mut room = BODY_BYTES_MAX.saturating_sub(events[0].len());
    let mut first_kept = events.len();
    while first_kept > 1 && events[first_kept - 1].len() <= room {
        first_kept -= 1;
        room -= events[first_kept].len();
    }
    [&events[..1], &events[first_kept..]].concat().concat()
}

/// The keys of the JSON in `body`, wherever it stands.
fn take_keys(body: &[u8], keys: &mut BTreeSet<String>) {
    let text = String::from_utf8_lossy(body);
    let parts: Vec<&str> = text.split('"').collect();
    for pair in parts.windows(2) {
        let is_word = pair[0].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_word && !pair[0].is_empty() && pair[1].trim_start().starts_with(':') {
            keys.insert(pair[0].to_owned());
        }
    }
}
