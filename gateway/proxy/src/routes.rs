//! The data plane's paths: one base for each wire format and provider, and what each serves.
//!
//! Only the paths listed here pass (M8). The part of a path behind its base is the provider's
//! own, and is appended to the upstream's base URL as the provider's SDK would.

use http::{Method, request::Parts};
use permille_types::{Endpoint, Family};

/// The header that names an operation of Hunyuan.
///
/// Source: Tencent Cloud API 3.0, "Common parameters".
pub(crate) const TC_ACTION: &str = "x-tc-action";

/// One path below a base. A segment in braces is any text; `{model}` names the model, and
/// `{model}:verb` is a model with one of Google's verbs behind it.
pub(crate) type Path = (&'static str, Method, Endpoint);

/// Paths that begin alike.
pub(crate) struct Base {
    /// How they begin.
    pub(crate) prefix: &'static str,
    /// Whose format requests and replies have.
    pub(crate) family: Family,
    /// Which provider's upstreams serve them; absent where all of the family do.
    pub(crate) provider: Option<&'static str>,
    /// How they go on.
    pub(crate) paths: &'static [Path],
}

impl Base {
    const fn new(
        prefix: &'static str,
        family: Family,
        provider: Option<&'static str>,
        paths: &'static [Path],
    ) -> Self {
        Self { prefix, family, provider, paths }
    }

    const fn openai(prefix: &'static str, provider: &'static str) -> Self {
        Self::new(prefix, Family::OpenAi, Some(provider), OPENAI)
    }

    /// Whether `path` lies below this base.
    fn holds(&self, path: &str) -> bool {
        // Most prefixes differ where the first word begins.
        let first = |path: &str| path.as_bytes().get(1).copied();
        if self.prefix != "/" && first(path) != first(self.prefix) {
            return false;
        }
        // Nothing lies below the root but other bases.
        let is_below = |rest: &str| rest.starts_with('/') && self.prefix != "/";
        path.strip_prefix(self.prefix).is_some_and(|rest| rest.is_empty() || is_below(rest))
    }
}

/// Every base.
pub(crate) const BASES: &[Base] = &[
    Base::new("/v1", Family::OpenAi, None, OPENAI),
    Base::openai("/qianfan/v2", "qianfan"),
    Base::openai("/dashscope/compatible-mode/v1", "dashscope"),
    Base::openai("/tokenhub/v1", "tokenhub"),
    Base::openai("/zhipu/api/paas/v4", "zhipu"),
    Base::openai("/deepseek", "deepseek"),
    Base::openai("/moonshot/v1", "moonshot"),
    Base::openai("/openrouter/api/v1", "openrouter"),
    Base::openai("/vllm/v1", "vllm"),
    Base::openai("/sglang/v1", "sglang"),
    Base::openai("/llamacpp/v1", "llamacpp"),
    Base::new("/azure", Family::AzureOpenAi, None, AZURE),
    Base::new("/anthropic", Family::Anthropic, None, ANTHROPIC),
    Base::new("/gemini", Family::Gemini, Some("gemini"), GEMINI),
    Base::new("/vertex", Family::Gemini, Some("vertex"), VERTEX),
    Base::new("/qianfan", Family::QianfanV1, None, QIANFAN_V1),
    Base::new("/dashscope", Family::Dashscope, None, DASHSCOPE),
    Base::new("/hunyuan", Family::Hunyuan, None, HUNYUAN),
    // Some of its official SDKs know a host and no path.
    Base::new("/", Family::Hunyuan, None, HUNYUAN_ROOT),
    Base::new("/pangu", Family::Pangu, None, PANGU),
    Base::new("/tgi", Family::Tgi, None, TGI),
    Base::new("/ollama", Family::Ollama, None, OLLAMA),
    Base::new("/llamacpp", Family::LlamaCpp, None, LLAMACPP),
];

/// Source: `OpenAI` API reference, "Chat", "Completions", "Responses", "Embeddings", "Models".
const OPENAI: &[Path] = &[
    ("/chat/completions", Method::POST, Endpoint::ChatCompletions),
    ("/completions", Method::POST, Endpoint::Completions),
    ("/responses", Method::POST, Endpoint::Responses),
    ("/responses/{id}", Method::GET, Endpoint::StoredResponse),
    ("/responses/{id}", Method::DELETE, Endpoint::StoredResponse),
    ("/responses/{id}/cancel", Method::POST, Endpoint::StoredResponse),
    ("/responses/{id}/input_items", Method::GET, Endpoint::StoredResponse),
    ("/embeddings", Method::POST, Endpoint::Embeddings),
    ("/models", Method::GET, Endpoint::Models),
    ("/models/{name}", Method::GET, Endpoint::Models),
];

/// Source: Azure OpenAI REST API reference, "Inference", and "Azure OpenAI v1 API".
const AZURE: &[Path] = &[
    ("/openai/deployments/{model}/chat/completions", Method::POST, Endpoint::ChatCompletions),
    ("/openai/deployments/{model}/completions", Method::POST, Endpoint::Completions),
    ("/openai/deployments/{model}/embeddings", Method::POST, Endpoint::Embeddings),
    ("/openai/responses", Method::POST, Endpoint::Responses),
    ("/openai/responses/{id}", Method::GET, Endpoint::StoredResponse),
    ("/openai/responses/{id}", Method::DELETE, Endpoint::StoredResponse),
    ("/openai/v1/chat/completions", Method::POST, Endpoint::ChatCompletions),
    ("/openai/v1/completions", Method::POST, Endpoint::Completions),
    ("/openai/v1/responses", Method::POST, Endpoint::Responses),
    ("/openai/v1/responses/{id}", Method::GET, Endpoint::StoredResponse),
    ("/openai/v1/responses/{id}", Method::DELETE, Endpoint::StoredResponse),
    ("/openai/v1/responses/{id}/cancel", Method::POST, Endpoint::StoredResponse),
    ("/openai/v1/responses/{id}/input_items", Method::GET, Endpoint::StoredResponse),
    ("/openai/v1/embeddings", Method::POST, Endpoint::Embeddings),
    ("/openai/v1/models", Method::GET, Endpoint::Models),
];

/// Source: Anthropic API reference, "Messages", "Count message tokens".
const ANTHROPIC: &[Path] = &[
    ("/v1/messages", Method::POST, Endpoint::Messages),
    ("/v1/messages/count_tokens", Method::POST, Endpoint::CountTokens),
];

/// Source: Gemini API reference, "Generating content", "Counting tokens", "Embeddings", "Models".
const GEMINI: &[Path] = &[
    ("/v1beta/models", Method::GET, Endpoint::Models),
    ("/v1beta/models/{model}", Method::GET, Endpoint::Models),
    ("/v1beta/models/{model}:generateContent", Method::POST, Endpoint::GenerateContent),
    ("/v1beta/models/{model}:streamGenerateContent", Method::POST, Endpoint::StreamGenerateContent),
    ("/v1beta/models/{model}:countTokens", Method::POST, Endpoint::CountTokens),
    ("/v1beta/models/{model}:embedContent", Method::POST, Endpoint::EmbedContent),
    ("/v1beta/models/{model}:batchEmbedContents", Method::POST, Endpoint::EmbedContent),
    ("/v1/models", Method::GET, Endpoint::Models),
    ("/v1/models/{model}", Method::GET, Endpoint::Models),
    ("/v1/models/{model}:generateContent", Method::POST, Endpoint::GenerateContent),
    ("/v1/models/{model}:streamGenerateContent", Method::POST, Endpoint::StreamGenerateContent),
    ("/v1/models/{model}:countTokens", Method::POST, Endpoint::CountTokens),
    ("/v1/models/{model}:embedContent", Method::POST, Endpoint::EmbedContent),
    ("/v1/models/{model}:batchEmbedContents", Method::POST, Endpoint::EmbedContent),
];

/// One of Google's verbs for a model of Google, below a version of Vertex AI.
macro_rules! vertex {
    ($version:literal, $verb:literal, $endpoint:ident) => {
        (
            concat!(
                "/",
                $version,
                "/projects/{project}/locations/{location}/publishers/google/models/{model}:",
                $verb
            ),
            Method::POST,
            Endpoint::$endpoint,
        )
    };
}

/// Source: Vertex AI REST reference, "publishers.models".
const VERTEX: &[Path] = &[
    vertex!("v1", "generateContent", GenerateContent),
    vertex!("v1", "streamGenerateContent", StreamGenerateContent),
    vertex!("v1", "countTokens", CountTokens),
    vertex!("v1", "embedContent", EmbedContent),
    vertex!("v1beta1", "generateContent", GenerateContent),
    vertex!("v1beta1", "streamGenerateContent", StreamGenerateContent),
    vertex!("v1beta1", "countTokens", CountTokens),
    vertex!("v1beta1", "embedContent", EmbedContent),
];

/// Source: Baidu Qianfan documentation, "ERNIE-4.0-8K", "Embedding-V1", "Access token".
const QIANFAN_V1: &[Path] = &[
    ("/oauth/2.0/token", Method::POST, Endpoint::AccessToken),
    ("/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{model}", Method::POST, Endpoint::Chat),
    ("/rpc/2.0/ai_custom/v1/wenxinworkshop/completions/{model}", Method::POST, Endpoint::Chat),
    ("/rpc/2.0/ai_custom/v1/wenxinworkshop/embeddings/{model}", Method::POST, Endpoint::Embed),
];

/// Source: Alibaba Cloud Model Studio, "`DashScope` API reference".
const DASHSCOPE: &[Path] = &[
    ("/api/v1/services/aigc/text-generation/generation", Method::POST, Endpoint::Generation),
    ("/api/v1/services/aigc/multimodal-generation/generation", Method::POST, Endpoint::Generation),
    ("/api/v1/services/embeddings/text-embedding/text-embedding", Method::POST, Endpoint::Embed),
    (
        "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding",
        Method::POST,
        Endpoint::Embed,
    ),
    ("/api/v1/services/rerank/text-rerank/text-rerank", Method::POST, Endpoint::Embed),
];

/// Source: Tencent Cloud API 3.0, "hunyuan" 2023-09-01. The operation is in a header.
const HUNYUAN: &[Path] = &[("", Method::POST, Endpoint::Chat), ("/", Method::POST, Endpoint::Chat)];
const HUNYUAN_ROOT: &[Path] = &[("", Method::POST, Endpoint::Chat)];

/// Source: Huawei Cloud, "Pangu large models: API reference", V1 and V2.
const PANGU: &[Path] = &[
    ("/v1/{project}/deployments/{model}/chat/completions", Method::POST, Endpoint::Chat),
    ("/api/v2/chat/completions", Method::POST, Endpoint::Chat),
];

/// Source: Text Generation Inference, `router/src/server.rs`.
const TGI: &[Path] = &[
    ("/generate", Method::POST, Endpoint::Generate),
    ("/generate_stream", Method::POST, Endpoint::GenerateStream),
];

/// Source: Ollama API documentation.
const OLLAMA: &[Path] = &[
    ("/api/chat", Method::POST, Endpoint::Chat),
    ("/api/generate", Method::POST, Endpoint::Generate),
    ("/api/embed", Method::POST, Endpoint::Embed),
    ("/api/embeddings", Method::POST, Endpoint::Embed),
    ("/api/tags", Method::GET, Endpoint::Models),
    ("/api/version", Method::GET, Endpoint::Models),
];

/// Source: llama.cpp, `tools/server/README.md`.
const LLAMACPP: &[Path] = &[
    ("/completion", Method::POST, Endpoint::Generate),
    ("/infill", Method::POST, Endpoint::Generate),
];

/// The base that `path` lies below, served or not; the most specific one.
pub(crate) fn base_of(path: &str) -> Option<&'static Base> {
    BASES.iter().filter(|base| base.holds(path)).max_by_key(|base| base.prefix.len())
}

/// The family whose format an answer to a request takes, also when it is refused. At the root,
/// which others ask for too, it is Hunyuan's where the request names an operation of it.
pub(crate) fn family_of(head: &Parts) -> Family {
    let is_nobodys = |base: &&Base| base.prefix == "/" && !head.headers.contains_key(TC_ACTION);
    let base = base_of(head.uri.path()).filter(|base| !is_nobodys(base));
    base.map_or(Family::OpenAi, |base| base.family)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_most_specific_base_decides_whose_format_a_path_has() {
        for (path, family) in [
            ("/v1/chat/completions", Family::OpenAi),
            ("/anthropic/v1/anything", Family::Anthropic),
            ("/azure/openai/deployments/x/y", Family::AzureOpenAi),
            ("/anthropic", Family::Anthropic),
            ("/anthropics/v1/messages", Family::OpenAi),
            ("/qianfan/v2/chat/completions", Family::OpenAi),
            ("/vertex/v1/projects/p", Family::Gemini),
            ("/qianfan/rpc/2.0/x", Family::QianfanV1),
            ("/dashscope/compatible-mode/v1/chat/completions", Family::OpenAi),
            ("/dashscope/api/v1/x", Family::Dashscope),
            ("/llamacpp/completion", Family::LlamaCpp),
            ("/", Family::Hunyuan),
            ("//v1/chat/completions", Family::OpenAi),
            ("//", Family::OpenAi),
            ("/x", Family::OpenAi),
        ] {
            let mut request = http::Request::get(path).body(()).unwrap();
            request.headers_mut().insert(TC_ACTION, HeaderValue::from_static("ChatCompletions"));
            assert_eq!(family_of(&request.into_parts().0), family, "{path}");
        }
        let (head, ()) = http::Request::get("/").body(()).unwrap().into_parts();
        assert_eq!(
            family_of(&head),
            Family::OpenAi,
            "who asks for `/` alone is told by its status"
        );
    }

    #[test]
    fn a_provider_has_its_own_prefix_and_the_shared_one_names_none() {
        assert_eq!(base_of("/v1/models").unwrap().provider, None);
        assert_eq!(base_of("/deepseek/chat/completions").unwrap().provider, Some("deepseek"));
    }
}
