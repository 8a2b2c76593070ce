//! Embeddings in OpenAI's shape: vectors that depend on the input, as numbers or base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    account::Tally,
    ask::{AskError, Reading},
    control::{Controls, UsageReport},
    openai::{measure_inputs, parse, required_model},
    prompt::{Measure, Prompt},
    sse::{number, quoted, text},
    vocabulary::Dice,
};

#[derive(Debug, Deserialize)]
struct EmbeddingsRequest {
    model: Option<String>,
    #[serde(default)]
    input: Value,
    encoding_format: Option<String>,
    dimensions: Option<u64>,
    user: Option<String>,
}

/// A request for embeddings.
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingsAsk {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    pub(crate) controls: Controls,
    vectors: u64,
    dimensions: u64,
    base64: bool,
}

/// Dimensions of a vector that nobody asked for (text-embedding-3-small has as many).
const DIMENSIONS: u64 = 1_536;
/// Most dimensions of a vector (text-embedding-3-large has fewer).
const DIMENSIONS_MAX: u64 = 4_096;

/// Reads an embeddings request.
pub(crate) fn read(body: &[u8], reading: Reading<'_>) -> Result<EmbeddingsAsk, AskError> {
    let request: EmbeddingsRequest = parse(body)?;
    let model = required_model(request.model)?;
    let mut measure = Measure::new(reading.memo, [reading.credential, &model]);
    let vectors = measure_inputs(&mut measure, &request.input, "input")?;
    let controls = Controls::gather(reading.header, request.user.as_deref(), None)?;
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        let problem = "1 to 4096 are allowed";
        return Err(AskError::Param { param: "dimensions", problem });
    }
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let problem = "float or base64 are allowed";
            return Err(AskError::Param { param: "encoding_format", problem });
        }
    };
    Ok(EmbeddingsAsk { model, prompt: measure.finish(0), controls, vectors, dimensions, base64 })
}

/// The reply as JSON.
pub(crate) fn write(ask: &EmbeddingsAsk, seed: u64, tally: &Tally) -> BytesMut {
    let mut out = BytesMut::new();
    text(&mut out, "{\"object\":\"list\",\"data\":[");
    for index in 0..ask.vectors {
        text(&mut out, if index > 0 { "," } else { "" });
        text(&mut out, "{\"object\":\"embedding\",\"index\":");
        number(&mut out, index);
        text(&mut out, ",\"embedding\":");
        vector(&mut out, ask, ask.prompt.seed(seed, index));
        text(&mut out, "}");
    }
    text(&mut out, "],\"model\":");
    quoted(&mut out, &ask.model);
    if ask.controls.usage != UsageReport::None {
        let told = if ask.controls.usage == UsageReport::Zero { 0 } else { tally.prompt };
        text(&mut out, ",\"usage\":{\"prompt_tokens\":");
        number(&mut out, told);
        text(&mut out, ",\"total_tokens\":");
        number(&mut out, told);
        text(&mut out, "}");
    }
    text(&mut out, "}");
    out
}

fn vector(out: &mut BytesMut, ask: &EmbeddingsAsk, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut next = || {
        let [low, high, ..] = dice.roll().to_le_bytes();
        f32::from(i16::from_le_bytes([low, high])) / 32_768.0
    };
    if ask.base64 {
        let bytes: Vec<u8> = (0..ask.dimensions).flat_map(|_| next().to_le_bytes()).collect();
        quoted(out, &STANDARD.encode(bytes));
        return;
    }
    text(out, "[");
    for index in 0..ask.dimensions {
        text(out, if index > 0 { "," } else { "" });
        text(out, &next().to_string());
    }
    text(out, "]");
}
