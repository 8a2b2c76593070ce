//! OpenAI's shape: reading chat completions, completions and embeddings.

pub(crate) mod embeddings;
pub(crate) mod events;
mod usage;
pub(crate) mod whole;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    ask::{Ask, AskError, Reading, Tool, model_reasons, texts},
    control::Controls,
    generation::Finish,
    prompt::{CALL_TOKENS, IMAGE_TOKENS, MESSAGE_TOKENS, Measure, NAME_TOKENS, PRIMING_TOKENS},
    vocabulary::Language,
};

/// The word for `finish` in `finish_reason`.
fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCall => "tool_calls",
    }
}

#[derive(Debug, Deserialize)]
struct ChatRequest {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
    name: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct TextRequest {
    model: Option<String>,
    #[serde(default)]
    prompt: Value,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
    max_tokens: Option<u64>,
    user: Option<String>,
}

/// Most answers to one request.
///
/// Source: OpenAI API reference, `n` of chat completions.
const CHOICES_MAX: u64 = 128;

/// Most inputs of one request.
///
/// Source: OpenAI API reference, `input` of embeddings.
const INPUTS_MAX: usize = 2_048;

/// Reads a chat completion request.
pub(crate) fn read_chat(body: &[u8], reading: Reading<'_>) -> Result<Ask, AskError> {
    let request: ChatRequest = parse(body)?;
    let model = required_model(request.model)?;
    let messages = request.messages.filter(|messages| !messages.is_empty());
    let messages =
        messages.ok_or(AskError::Param { param: "messages", problem: "at least one is needed" })?;
    let last_user = messages.iter().rev().find(|message| message.role == "user");
    let question = last_user.and_then(|message| texts(&message.content).first().copied());
    let controls = Controls::gather(reading.header, request.user.as_deref(), question)?;
    let after_tool = messages.last().is_some_and(|message| message.role == "tool");
    let tools = request.tools.unwrap_or_default();
    let tool = called_tool(
        &tools,
        request.tool_choice.as_ref().unwrap_or(&Value::Null),
        controls.tool && !after_tool,
    )?;

    let mut measure = Measure::new(reading.memo, [reading.credential, &model]);
    if !tools.is_empty() {
        measure.text(&Value::from(tools).to_string());
        measure.end_segment(None);
    }
    for message in &messages {
        measure_message(&mut measure, message);
    }
    let streamed = request.stream.unwrap_or(false);
    Ok(Ask {
        prompt: measure.finish(PRIMING_TOKENS),
        language: Language::of(question.map_or("", Controls::strip)),
        include_usage: include_usage(streamed, request.stream_options.as_ref())?,
        streamed,
        choices: choices(request.n)?,
        limit: limit(request.max_completion_tokens.or(request.max_tokens))?,
        tool,
        reasons: model_reasons(&model),
        controls,
        model,
    })
}

fn measure_message(measure: &mut Measure<'_>, message: &Message) {
    measure.overhead(MESSAGE_TOKENS);
    measure.text(&message.role);
    if let Some(name) = &message.name {
        measure.text(name);
        measure.overhead(NAME_TOKENS);
    }
    match &message.content {
        Value::Array(parts) => {
            for part in parts {
                match part.get("text").and_then(Value::as_str) {
                    Some(text) => measure.text(text),
                    None => measure.opaque(part, IMAGE_TOKENS),
                }
            }
        }
        content => texts(content).into_iter().for_each(|text| measure.text(text)),
    }
    for function in message.tool_calls.iter().flatten().filter_map(|call| call.get("function")) {
        for field in ["name", "arguments"] {
            measure.text(function.get(field).and_then(Value::as_str).unwrap_or(""));
        }
        measure.overhead(CALL_TOKENS);
    }
    measure.end_segment(None);
}

/// Reads a completion request: a prompt, several prompts, or prompts as token numbers.
pub(crate) fn read_text(body: &[u8], reading: Reading<'_>) -> Result<Ask, AskError> {
    let request: TextRequest = parse(body)?;
    let model = required_model(request.model)?;
    let mut measure = Measure::new(reading.memo, [reading.credential, &model]);
    let prompts = measure_inputs(&mut measure, &request.prompt, "prompt")?;
    let first = match &request.prompt {
        Value::Array(prompts) => prompts.first().and_then(Value::as_str),
        prompt => prompt.as_str(),
    };
    let controls = Controls::gather(reading.header, request.user.as_deref(), first)?;
    let streamed = request.stream.unwrap_or(false);
    Ok(Ask {
        prompt: measure.finish(0),
        language: Language::of(first.map_or("", Controls::strip)),
        include_usage: include_usage(streamed, request.stream_options.as_ref())?,
        streamed,
        choices: choices(request.n)?.saturating_mul(prompts).min(CHOICES_MAX),
        limit: limit(request.max_tokens)?,
        tool: None,
        reasons: false,
        controls,
        model,
    })
}

/// Measures a string, a list of strings, a list of token numbers or a list of such lists; says how
/// many inputs they are.
fn measure_inputs(
    measure: &mut Measure<'_>,
    inputs: &Value,
    param: &'static str,
) -> Result<u64, AskError> {
    let problem = "a string, a list of strings or token numbers is needed";
    let wrong = || AskError::Param { param, problem };
    let list = match inputs {
        Value::Array(list) if !list.iter().all(Value::is_u64) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.len() > INPUTS_MAX {
        return Err(AskError::Param { param, problem: "2048 inputs at most are allowed" });
    }
    for input in list {
        match input {
            Value::String(text) => measure.text(text),
            Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => {
                measure.opaque(input, u64::try_from(tokens.len()).unwrap_or(u64::MAX));
            }
            _ => return Err(wrong()),
        }
    }
    measure.end_segment(None);
    Ok(u64::try_from(list.len()).unwrap_or(u64::MAX))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AskError> {
    serde_json::from_slice(body).map_err(|error| AskError::Json(error.to_string()))
}

fn required_model(model: Option<String>) -> Result<String, AskError> {
    let model = model.filter(|model| !model.is_empty());
    model.ok_or(AskError::Param { param: "model", problem: "you must provide a model parameter" })
}

fn include_usage(streamed: bool, options: Option<&StreamOptions>) -> Result<bool, AskError> {
    if options.is_some() && !streamed {
        let problem = "only allowed when `stream` is enabled";
        return Err(AskError::Param { param: "stream_options", problem });
    }
    Ok(options.and_then(|options| options.include_usage).unwrap_or(false))
}

fn choices(n: Option<u64>) -> Result<u64, AskError> {
    let n = n.unwrap_or(1);
    let allowed = (1..=CHOICES_MAX).contains(&n);
    allowed.then_some(n).ok_or(AskError::Param { param: "n", problem: "1 to 128 are allowed" })
}

fn limit(asked: Option<u64>) -> Result<Option<u64>, AskError> {
    if asked == Some(0) {
        let problem = "0 is below the minimum of 1";
        return Err(AskError::Param { param: "max_tokens", problem });
    }
    Ok(asked)
}

/// The tool to call: when the request insists on one, or `wanted` by a control.
fn called_tool(tools: &[Value], choice: &Value, wanted: bool) -> Result<Option<Tool>, AskError> {
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    if !(wanted || named.is_some() || choice == "required") {
        return Ok(None);
    }
    let name_of =
        |tool: &Value| tool.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    let tool = tools.iter().find(|tool| named.is_none() || name_of(tool).as_deref() == named);
    let problem = "there is no such tool in `tools`";
    let missing = || AskError::Param { param: "tool_choice", problem };
    let tool = tool.ok_or_else(missing)?;
    let schema = tool.pointer("/function/parameters").cloned().unwrap_or_default();
    Ok(Some(Tool { name: name_of(tool).ok_or_else(missing)?, schema }))
}
