//! A request as the simulator understands it, whichever provider's shape it came in.

use http::StatusCode;
use serde_json::Value;

use crate::{
    anthropic,
    control::{ControlError, Controls},
    openai::{self, embeddings::EmbeddingsAsk},
    prompt::{CountMemo, Prompt},
    vocabulary::Language,
};

/// Whose shape a request and its reply have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    OpenAi,
    Anthropic,
}

/// What a request is for. Only what can be billed, counted or refused is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    Messages,
    CountTokens,
}

impl Endpoint {
    /// Its name in the books.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat.completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "messages.count_tokens",
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings => Family::OpenAi,
            Self::Messages | Self::CountTokens => Family::Anthropic,
        }
    }

    /// What the id of a reply begins with.
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chatcmpl-",
            Self::Completions => "cmpl-",
            Self::Embeddings => "embd-",
            Self::Messages | Self::CountTokens => "msg_",
        }
    }
}

/// A tool that the reply shall call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// JSON schema of its arguments.
    pub(crate) schema: Value,
}

/// What to read a request with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) memo: &'a CountMemo,
    /// Separates the prompt caches of credentials.
    pub(crate) credential: &'a str,
    /// The `x-simulate` header.
    pub(crate) header: Option<&'a str>,
}

/// A request for generated text.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    pub(crate) language: Language,
    pub(crate) streamed: bool,
    /// The client asked for usage in the stream.
    pub(crate) include_usage: bool,
    /// How many independent answers.
    pub(crate) choices: u64,
    /// Longest answer, in tokens, reasoning included.
    pub(crate) limit: Option<u64>,
    /// The answer is a call of this tool.
    pub(crate) tool: Option<Tool>,
    /// The model reasons before it answers.
    pub(crate) reasons: bool,
    pub(crate) controls: Controls,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    Text(Ask),
    Vectors(EmbeddingsAsk),
    /// Only a count of its input.
    Count(Ask),
}

impl Asked {
    /// Reads the body of a request to `endpoint`.
    pub(crate) fn read(
        endpoint: Endpoint,
        body: &[u8],
        reading: Reading<'_>,
    ) -> Result<Self, AskError> {
        match endpoint {
            Endpoint::ChatCompletions => openai::read_chat(body, reading).map(Self::Text),
            Endpoint::Completions => openai::read_text(body, reading).map(Self::Text),
            Endpoint::Embeddings => openai::embeddings::read(body, reading).map(Self::Vectors),
            Endpoint::Messages => anthropic::read(body, reading, false).map(Self::Text),
            Endpoint::CountTokens => anthropic::read(body, reading, true).map(Self::Count),
        }
    }

    pub(crate) fn model(&self) -> &str {
        match self {
            Self::Text(ask) | Self::Count(ask) => &ask.model,
            Self::Vectors(ask) => &ask.model,
        }
    }

    pub(crate) fn prompt(&self) -> &Prompt {
        match self {
            Self::Text(ask) | Self::Count(ask) => &ask.prompt,
            Self::Vectors(ask) => &ask.prompt,
        }
    }

    pub(crate) fn controls(&self) -> &Controls {
        match self {
            Self::Text(ask) | Self::Count(ask) => &ask.controls,
            Self::Vectors(ask) => &ask.controls,
        }
    }

    /// Refuses controls that the kind of reply cannot follow.
    pub(crate) fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Text(ask) if ask.streamed => Ok(()),
            _ => self.controls().check_whole(),
        }
    }
}

/// Why a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("could not parse the JSON body of the request: {0}")]
    Json(String),
    #[error("{param}: {problem}")]
    Param { param: &'static str, problem: &'static str },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the request body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the request body could not be read")]
    Unreadable,
}

impl AskError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The field that is at fault, where there is one.
    pub(crate) fn param(&self) -> Option<&'static str> {
        match self {
            Self::Param { param, .. } => Some(param),
            _ => None,
        }
    }
}

/// Whether a model of this name reports reasoning tokens: names with `reason` in them and the
/// families that do in reality.
pub(crate) fn model_reasons(model: &str) -> bool {
    let name = model.to_ascii_lowercase();
    name.contains("reason") || ["o1", "o3", "o4", "gpt-5"].iter().any(|head| name.starts_with(head))
}

/// The text of a message's content, which is a string or a list of parts; images and the like have
/// none.
pub(crate) fn texts(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => Vec::new(),
    }
}
