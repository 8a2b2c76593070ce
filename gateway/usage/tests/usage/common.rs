//! Recorded replies, and ways to push them through a tap.

use std::{collections::BTreeSet, fmt, fs, path::PathBuf};

use bytes::Bytes;
use permille_types::{Endpoint, Family, Source, TokenClass};
use permille_usage::{Counted, Encoding, Framing, Piece, Reading, Tap, TapConfig, count};
use serde_json::Value;

/// A reply and what must be counted of it.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) endpoint: Endpoint,
    pub(crate) framing: Framing,
    pub(crate) encoding: Encoding,
    pub(crate) body: Vec<u8>,
    pub(crate) expected: Option<Value>,
}

impl Fixture {
    pub(crate) fn config(&self, cut_usage_frame: bool) -> TapConfig {
        TapConfig {
            family: self.family,
            endpoint: self.endpoint,
            framing: self.framing,
            encoding: self.encoding,
            cut_usage_frame,
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Whose reply a fixture is, and to what.
fn asked(folder: &str, case: &str) -> (Family, Endpoint) {
    match folder {
        "anthropic-messages" => (Family::Anthropic, Endpoint::Messages),
        "baidu-qianfan-v1" if case.starts_with("embed") => (Family::QianfanV1, Endpoint::Embed),
        "baidu-qianfan-v1" => (Family::QianfanV1, Endpoint::Chat),
        "dashscope-native" if case.starts_with("embed") => (Family::Dashscope, Endpoint::Embed),
        "dashscope-native" => (Family::Dashscope, Endpoint::Generation),
        "huawei-pangu" => (Family::Pangu, Endpoint::Chat),
        "llamacpp-native" => (Family::LlamaCpp, Endpoint::Generate),
        "ollama-native" if case.starts_with("embed") => (Family::Ollama, Endpoint::Embed),
        "ollama-native" => (Family::Ollama, Endpoint::Chat),
        "tencent-hunyuan-native" if case.starts_with("embed") => (Family::Hunyuan, Endpoint::Embed),
        "tencent-hunyuan-native" => (Family::Hunyuan, Endpoint::Chat),
        "tgi" if case.starts_with("stream") => (Family::Tgi, Endpoint::GenerateStream),
        "tgi" => (Family::Tgi, Endpoint::Generate),
        "azure-openai" => (Family::AzureOpenAi, Endpoint::ChatCompletions),
        "openai-completions" => (Family::OpenAi, Endpoint::Completions),
        "gemini" if case.starts_with("stream") => (Family::Gemini, Endpoint::StreamGenerateContent),
        "gemini" if case.starts_with("count") => (Family::Gemini, Endpoint::CountTokens),
        "gemini" if case.starts_with("embed") => (Family::Gemini, Endpoint::EmbedContent),
        "gemini" => (Family::Gemini, Endpoint::GenerateContent),
        "openai-responses" => (Family::OpenAi, Endpoint::Responses),
        "ollama-compat" if case.contains("completion") => (Family::OpenAi, Endpoint::Completions),
        "openai-embeddings" => (Family::OpenAi, Endpoint::Embeddings),
        _ => (Family::OpenAi, Endpoint::ChatCompletions),
    }
}

/// One fixture, `folder/case`.
pub(crate) fn fixture(name: &str) -> Fixture {
    let (folder, case) = name.split_once('/').unwrap();
    let path = |suffix: &str| root().join(folder).join(format!("{case}{suffix}"));
    let expected = fs::read(path(".expected.json")).ok();
    let expected = expected.map(|json| serde_json::from_slice(&json).unwrap());
    let (family, endpoint) = asked(folder, case);
    let (mut framing, mut encoding) = (Framing::Sse, Encoding::Identity);
    let body = if let Ok(http) = fs::read(path(".response.http")) {
        let end = http.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(http[..end].to_vec()).unwrap().to_lowercase();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type:"));
        framing = Framing::of(endpoint, kind.unwrap());
        http[end + 4..].to_vec()
    } else if let Ok(body) = fs::read(path(".body")) {
        body
    } else {
        encoding = Encoding::Gzip;
        fs::read(path(".body.gz")).unwrap()
    };
    Fixture { name: name.to_owned(), family, endpoint, framing, encoding, body, expected }
}

/// Every fixture, by name.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let mut names = BTreeSet::new();
    for folder in fs::read_dir(root()).unwrap() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let case = file.split_once('.').unwrap().0;
            names.insert(format!("{}/{case}", folder.file_name().into_string().unwrap()));
        }
    }
    assert!(names.len() > 30, "fixtures are missing");
    names.iter().map(|name| fixture(name)).collect()
}

/// What came out of a tap.
#[derive(PartialEq, Eq)]
pub(crate) struct Outcome {
    /// All bytes, in order.
    pub(crate) bytes: Vec<u8>,
    /// The bytes that had to wait, but for their line ends: an LF that comes after its CR does
    /// not wait.
    pub(crate) terminal: Vec<u8>,
    pub(crate) reading: Reading,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, terminal) = (self.bytes.escape_ascii(), self.terminal.escape_ascii());
        write!(f, "bytes: {bytes}\nterminal: {terminal}\nreading: {:?}", self.reading)
    }
}

fn collect(pieces: Vec<Piece>) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut terminal) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Pass(part) => {
                assert!(!part.is_empty(), "an empty piece says nothing");
                bytes.extend_from_slice(&part);
            }
            Piece::Terminal(part) => {
                assert!(!part.is_empty(), "an empty piece says nothing");
                bytes.extend_from_slice(&part);
                terminal.extend_from_slice(&part);
            }
        }
    }
    (bytes, terminal.trim_ascii_end().to_vec())
}

/// Pushes `parts` and ends the body cleanly.
pub(crate) fn run<'a>(config: TapConfig, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut tap = Tap::new(config);
    let mut pieces = Vec::new();
    for part in parts {
        tap.push(Bytes::copy_from_slice(part), &mut pieces);
    }
    tap.finish(&mut pieces);
    let (bytes, terminal) = collect(pieces);
    Outcome { bytes, terminal, reading: tap.reading() }
}

/// Pushes `parts` and leaves the tap as a client that went away does.
pub(crate) fn leave<'a>(config: TapConfig, parts: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let mut tap = Tap::new(config);
    for part in parts {
        tap.push(Bytes::copy_from_slice(part), &mut Vec::new());
    }
    tap.reading()
}

/// Pushes `body` whole and lets the upstream break off.
pub(crate) fn break_off(config: TapConfig, body: &[u8]) -> Outcome {
    let mut tap = Tap::new(config);
    let mut pieces = Vec::new();
    tap.push(Bytes::copy_from_slice(body), &mut pieces);
    tap.abandon(&mut pieces);
    let (bytes, terminal) = collect(pieces);
    Outcome { bytes, terminal, reading: tap.reading() }
}

/// `body` in parts that end at `cuts`.
pub(crate) fn split<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    let mut start = 0;
    let mut parts = Vec::new();
    for cut in cuts {
        parts.push(&body[start..cut]);
        start = cut;
    }
    parts.push(&body[start..]);
    parts
}

/// A stream of chat chunks with the given data lines.
pub(crate) fn stream(data: &[&str]) -> Vec<u8> {
    data.iter().flat_map(|data| format!("data: {data}\n\n").into_bytes()).collect()
}

/// The family that a reply to `endpoint` is from, where a test does not say.
pub(crate) fn family_of(endpoint: Endpoint) -> Family {
    match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => Family::Anthropic,
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent | Endpoint::EmbedContent => {
            Family::Gemini
        }
        _ => Family::OpenAi,
    }
}

/// A tap of an unencoded chat stream.
pub(crate) fn chat_stream(cut_usage_frame: bool) -> TapConfig {
    TapConfig {
        family: Family::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        framing: Framing::Sse,
        encoding: Encoding::Identity,
        cut_usage_frame,
    }
}

/// The body that a recorded reply answers.
pub(crate) const REQUEST: &[u8] =
    br#"{"model":"gpt-5.1","messages":[{"role":"user","content":"Name the river."}]}"#;

/// Counts and compares with an expected file.
pub(crate) fn check(reading: &Reading, fixture: &Fixture) {
    let counted = count(reading, fixture.endpoint, REQUEST);
    let Some(expected) = &fixture.expected else { return };
    check_counts(&counted, expected, &fixture.name);
}

fn check_counts(counted: &Counted, expected: &Value, name: &str) {
    assert_eq!(counted.source.as_str(), expected["source"], "{name}");
    for (key, total) in
        [("input_total", counted.input_total), ("output_total", counted.output_total)]
    {
        if !expected[key].is_null() {
            assert_eq!(total, expected[key].as_u64(), "{name}: {key}");
        }
    }
    if let Some(tokens) = expected["tokens"].as_object() {
        for (class, quantity) in tokens {
            let counted = counted.tokens.get(&TokenClass::named(class)).copied();
            assert_eq!(counted, quantity.as_u64(), "{name}: {class}");
        }
        if counted.source == Source::Reported {
            for (class, quantity) in &counted.tokens {
                assert!(tokens.contains_key(class.as_str()) || *quantity == 0, "{name}: {class}");
            }
            assert!(counted.flags.is_empty(), "{name}: {:?}", counted.flags);
        }
    }
    let units = serde_json::to_value(&counted.units).unwrap();
    for (unit, quantity) in expected["units"].as_object().into_iter().flatten() {
        assert_eq!(&units[unit], quantity, "{name}: {unit}");
    }
    if let Some(sum) = counted.input_total.zip(counted.output_total) {
        let classes: u64 = counted.tokens.values().sum();
        assert_eq!(classes, sum.0 + sum.1, "{name}: classes are disjoint and complete");
    }
}
