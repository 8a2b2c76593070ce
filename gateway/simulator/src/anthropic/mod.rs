//! Anthropic's shape: reading messages.

pub(crate) mod events;
mod usage;
pub(crate) mod whole;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    ask::{Ask, AskError, Reading, Tool, model_reasons},
    control::Controls,
    generation::Finish,
    prompt::{CALL_TOKENS, IMAGE_TOKENS, Lifetime, MESSAGE_TOKENS, Measure, PRIMING_TOKENS},
    vocabulary::Language,
};

/// The word for `finish` in `stop_reason`.
fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCall => "tool_use",
    }
}

/// What a signature of thinking looks like; nobody checks it here.
const SIGNATURE: &str = "c2ltdWxhdGVkIHRoaW5raW5n";

#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    #[serde(default)]
    system: Value,
    max_tokens: Option<u64>,
    stream: Option<bool>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    thinking: Option<Thinking>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    user_id: Option<String>,
}

/// Reads a messages request. `counting`: only its input is to be counted, so it needs no limit.
pub(crate) fn read(body: &[u8], reading: Reading<'_>, counting: bool) -> Result<Ask, AskError> {
    let request: Request =
        serde_json::from_slice(body).map_err(|error| AskError::Json(error.to_string()))?;
    let required = |param| AskError::Param { param, problem: "field required" };
    let model = request.model.filter(|model| !model.is_empty()).ok_or(required("model"))?;
    let messages = request.messages.filter(|messages| !messages.is_empty());
    let messages = messages.ok_or(required("messages"))?;
    if request.max_tokens == Some(0) || request.max_tokens.is_none() && !counting {
        return Err(required("max_tokens"));
    }
    let last_user = messages.iter().rev().find(|message| message.role == "user");
    let question = last_user.and_then(|message| blocks(&message.content).find_map(text_of));
    let user = request.metadata.and_then(|metadata| metadata.user_id);
    let controls = Controls::gather(reading.header, user.as_deref(), question)?;
    let after_tool = messages.last().is_some_and(|message| {
        blocks(&message.content).any(|block| kind_of(block) == "tool_result")
    });
    let tools = request.tools.unwrap_or_default();
    let choice = request.tool_choice.unwrap_or_default();
    let tool = called_tool(&tools, &choice, controls.tool && !after_tool)?;
    let thinking = request.thinking.is_some_and(|thinking| thinking.r#type == "enabled");

    let mut measure = Measure::new(reading.memo, [reading.credential, &model]);
    for tool in &tools {
        measure.text(&without_mark(tool).to_string());
        measure.end_segment(mark_of(tool)?);
    }
    if !request.system.is_null() {
        measure_message(&mut measure, "system", &request.system)?;
    }
    for message in &messages {
        measure_message(&mut measure, &message.role, &message.content)?;
    }
    Ok(Ask {
        prompt: measure.finish(PRIMING_TOKENS),
        language: Language::of(question.map_or("", Controls::strip)),
        streamed: request.stream.unwrap_or(false),
        include_usage: true,
        choices: 1,
        limit: request.max_tokens,
        tool,
        reasons: thinking || model_reasons(&model),
        controls,
        model,
    })
}

/// The blocks of a content that is one text or a list of blocks.
fn blocks(content: &Value) -> impl Iterator<Item = &Value> {
    match content {
        Value::Array(blocks) => blocks.as_slice(),
        Value::Null => &[],
        text => std::slice::from_ref(text),
    }
    .iter()
}

fn text_of(block: &Value) -> Option<&str> {
    block.as_str().or_else(|| block.get("text").and_then(Value::as_str))
}

fn kind_of(block: &Value) -> &str {
    block.get("type").and_then(Value::as_str).unwrap_or("text")
}

/// Each block is a segment, because each can carry a cache mark.
fn measure_message(measure: &mut Measure<'_>, role: &str, content: &Value) -> Result<(), AskError> {
    measure.overhead(MESSAGE_TOKENS);
    measure.text(role);
    for block in blocks(content) {
        measure_block(measure, block);
        measure.end_segment(mark_of(block)?);
    }
    Ok(())
}

fn measure_block(measure: &mut Measure<'_>, block: &Value) {
    match kind_of(block) {
        "text" => measure.text(text_of(block).unwrap_or("")),
        "tool_use" => {
            measure.text(block.get("name").and_then(Value::as_str).unwrap_or(""));
            measure.text(&block.get("input").unwrap_or(&Value::Null).to_string());
            measure.overhead(CALL_TOKENS);
        }
        "tool_result" => {
            let content = block.get("content").unwrap_or(&Value::Null);
            blocks(content).for_each(|inner| measure_inner(measure, inner));
        }
        "thinking" => measure.text(block.get("thinking").and_then(Value::as_str).unwrap_or("")),
        _ => measure.opaque(&without_mark(block), IMAGE_TOKENS),
    }
}

/// A block inside a tool's result: text or an image.
fn measure_inner(measure: &mut Measure<'_>, block: &Value) {
    match text_of(block) {
        Some(text) => measure.text(text),
        None => measure.opaque(block, IMAGE_TOKENS),
    }
}

/// The mark moves from turn to turn and is not part of what is cached.
fn without_mark(block: &Value) -> Value {
    let mut block = block.clone();
    if let Some(fields) = block.as_object_mut() {
        fields.remove("cache_control");
    }
    block
}

fn mark_of(block: &Value) -> Result<Option<Lifetime>, AskError> {
    let Some(mark) = block.get("cache_control").filter(|mark| !mark.is_null()) else {
        return Ok(None);
    };
    match mark.get("ttl").and_then(Value::as_str) {
        None | Some("5m") => Ok(Some(Lifetime::FiveMinutes)),
        Some("1h") => Ok(Some(Lifetime::OneHour)),
        Some(_) => {
            Err(AskError::Param { param: "cache_control.ttl", problem: "5m or 1h are allowed" })
        }
    }
}

/// The tool to call: when the request insists on one, or `wanted` by a control.
fn called_tool(tools: &[Value], choice: &Value, wanted: bool) -> Result<Option<Tool>, AskError> {
    let kind = choice.get("type").and_then(Value::as_str);
    if !(wanted || matches!(kind, Some("any" | "tool"))) {
        return Ok(None);
    }
    let named = choice.get("name").and_then(Value::as_str);
    let name_of = |tool: &Value| tool.get("name").and_then(Value::as_str).map(str::to_owned);
    let tool = tools.iter().find(|tool| named.is_none() || name_of(tool).as_deref() == named);
    let problem = "there is no such tool in `tools`";
    let missing = || AskError::Param { param: "tool_choice", problem };
    let tool = tool.ok_or_else(missing)?;
    let schema = tool.get("input_schema").cloned().unwrap_or_default();
    Ok(Some(Tool { name: name_of(tool).ok_or_else(missing)?, schema }))
}
