//! Wire families (whose request and reply format) and their endpoints.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A provider's request and reply format. Decides which parser reads a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// `OpenAI` shape: chat completions, completions, embeddings, models.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic shape: messages, `count_tokens`.
    Anthropic,
}

impl Family {
    /// The family's name in configuration, rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Family {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            other => Err(format!("unknown wire family `{other}`, accepted: openai, anthropic")),
        }
    }
}

/// What a client asked of a family: one routed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `GET /v1/models` and `GET /v1/models/{model}`: consumes nothing.
    Models,
    /// `POST /anthropic/v1/messages`.
    Messages,
    /// `POST /anthropic/v1/messages/count_tokens`: free of charge.
    CountTokens,
}

impl Endpoint {
    /// The family that serves this endpoint.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::Models => {
                Family::OpenAi
            }
            Self::Messages | Self::CountTokens => Family::Anthropic,
        }
    }

    /// Whether a reply consumes tokens that are billed. Reads never bill (M8).
    #[must_use]
    pub fn is_metered(self) -> bool {
        !matches!(self, Self::Models | Self::CountTokens)
    }

    /// The endpoint's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
        }
    }
}
