//! Wire families (whose request and reply format) and the operations that they offer.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A provider's request and reply format. Decides which parser reads a reply: always the family
/// of the upstream that gave it (M2).
///
/// Providers that speak another one's format are upstreams of that family: Qianfan v2, `DashScope`
/// compatible mode, `TokenHub`, GLM, `DeepSeek`, Moonshot, `OpenRouter`, vLLM and `SGLang` are
/// `openai`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// `OpenAI` shape: chat completions, completions, responses, embeddings, models.
    #[serde(rename = "openai")]
    OpenAi,
    /// `OpenAI` shape below Azure's paths, where a deployment's name stands for the model.
    #[serde(rename = "azure-openai")]
    AzureOpenAi,
    /// Anthropic shape: messages, `count_tokens`.
    Anthropic,
    /// Google's shape, Gemini API and Vertex AI: `generateContent` and its relatives.
    Gemini,
    /// Baidu Qianfan's first, native format (ERNIE), with its own token endpoint.
    QianfanV1,
    /// Alibaba `DashScope`'s native format.
    Dashscope,
    /// Tencent Hunyuan's native format, with signed requests.
    Hunyuan,
    /// Huawei Pangu's format.
    Pangu,
    /// Hugging Face Text Generation Inference's native format.
    Tgi,
    /// Ollama's native format.
    Ollama,
    /// llama.cpp server's native format.
    #[serde(rename = "llamacpp")]
    LlamaCpp,
    /// An API that is described by configuration.
    Generic,
}

impl Family {
    /// Every family, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Anthropic,
        Self::Gemini,
        Self::QianfanV1,
        Self::Dashscope,
        Self::Hunyuan,
        Self::Pangu,
        Self::Tgi,
        Self::Ollama,
        Self::LlamaCpp,
        Self::Generic,
    ];

    /// The family's name in configuration, rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::QianfanV1 => "qianfan-v1",
            Self::Dashscope => "dashscope",
            Self::Hunyuan => "hunyuan",
            Self::Pangu => "pangu",
            Self::Tgi => "tgi",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llamacpp",
            Self::Generic => "generic",
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
        Self::ALL.iter().copied().find(|family| family.as_str() == text).ok_or_else(|| {
            let accepted: Vec<&str> = Self::ALL.iter().map(|family| family.as_str()).collect();
            format!("unknown wire family `{text}`, accepted: {}", accepted.join(", "))
        })
    }
}

/// What a client asked for: an operation, whatever the family that offers it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Endpoint {
    /// `OpenAI` chat completions.
    ChatCompletions,
    /// `OpenAI` completions.
    Completions,
    /// `OpenAI` responses.
    Responses,
    /// A stored response, read, cancelled or deleted: consumes nothing.
    StoredResponse,
    /// `OpenAI` embeddings.
    Embeddings,
    /// The list of models, or one of them: consumes nothing.
    Models,
    /// Anthropic messages.
    Messages,
    /// Counting a prompt's tokens without an answer: free of charge.
    CountTokens,
    /// Gemini `generateContent`.
    GenerateContent,
    /// Gemini `streamGenerateContent`: always a stream.
    StreamGenerateContent,
    /// Gemini `embedContent` and `batchEmbedContents`.
    EmbedContent,
    /// A chat in a native format: Qianfan v1, Hunyuan, Pangu, Ollama.
    Chat,
    /// `DashScope` text and multimodal generation.
    Generation,
    /// A completion in a native format: TGI, Ollama, llama.cpp.
    Generate,
    /// TGI `generate_stream`: always a stream.
    GenerateStream,
    /// Embeddings in a native format: Qianfan v1, `DashScope`, Hunyuan, Ollama.
    Embed,
    /// An access token for the requests that follow: consumes nothing.
    AccessToken,
}

impl Endpoint {
    /// Every operation.
    pub const ALL: &'static [Self] = &[
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::StoredResponse,
        Self::Embeddings,
        Self::Models,
        Self::Messages,
        Self::CountTokens,
        Self::GenerateContent,
        Self::StreamGenerateContent,
        Self::EmbedContent,
        Self::Chat,
        Self::Generation,
        Self::Generate,
        Self::GenerateStream,
        Self::Embed,
        Self::AccessToken,
    ];

    /// Whether a reply consumes tokens that are billed. Reads never bill (M8).
    #[must_use]
    pub fn is_metered(self) -> bool {
        self.names_model() && self != Self::CountTokens
    }

    /// Whether a request names a model, in its body or its path.
    #[must_use]
    pub fn names_model(self) -> bool {
        !matches!(self, Self::Models | Self::StoredResponse | Self::AccessToken)
    }

    /// Whether the operation has no output that could be billed, only input.
    #[must_use]
    pub fn is_embedding(self) -> bool {
        matches!(self, Self::Embeddings | Self::EmbedContent | Self::Embed)
    }

    /// Whether the reply is a stream, whatever the request's body says.
    #[must_use]
    pub fn always_streams(self) -> bool {
        matches!(self, Self::StreamGenerateContent | Self::GenerateStream)
    }

    /// The operation's name in rows and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::StoredResponse => "stored_response",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::GenerateContent => "generate_content",
            Self::StreamGenerateContent => "stream_generate_content",
            Self::EmbedContent => "embed_content",
            Self::Chat => "chat",
            Self::Generation => "generation",
            Self::Generate => "generate",
            Self::GenerateStream => "generate_stream",
            Self::Embed => "embed",
            Self::AccessToken => "access_token",
        }
    }
}
