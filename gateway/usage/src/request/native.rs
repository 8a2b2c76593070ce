//! Requests in the native formats of Chinese clouds and of model servers: where each puts the
//! model, the stream flag, the limit and the number of answers.

use permille_types::Family;
use serde_json::Value;

use super::{
    RequestError, RequestFacts,
    classify::{Asked, choices, prompts, stream},
    top::Top,
};
use crate::{ApiDescription, Pointer};

/// What Hunyuan's embeddings are billed as: its requests name no model.
const HUNYUAN_EMBEDDING: &str = "hunyuan-embedding";

/// Path segments of Qianfan v1 whose model has another name in price lists; every other segment
/// is the model's name.
///
/// Source: Baidu's price list of 2024-01-19; endpoints of the official Python SDK 0.4.
const QIANFAN_MODELS: &[(&str, &str)] = &[
    ("completions", "ERNIE-Bot"),
    ("ernie_bot_8k", "ERNIE-Bot-8K"),
    ("eb-instant", "ERNIE-Bot-turbo"),
    ("completions_pro", "ERNIE-4.0-8K"),
    ("ernie-4.0-turbo-8k", "ERNIE-4.0-Turbo-8K"),
    ("ernie_speed", "ERNIE-Speed-8K"),
    ("ernie-speed-128k", "ERNIE-Speed-128K"),
    ("ernie-lite-8k", "ERNIE-Lite-8K"),
    ("ernie-tiny-8k", "ERNIE-Tiny-8K"),
    ("llama_2_7b", "Llama-2-7B-Chat"),
    ("llama_2_13b", "Llama-2-13B-Chat"),
    ("llama_2_70b", "Llama-2-70B-Chat"),
    ("embedding-v1", "Embedding-V1"),
];

impl Asked<'_> {
    /// Reads a request in the native format of its family.
    pub(super) fn native(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        match self.family {
            Family::Dashscope => self.dashscope(body),
            Family::Hunyuan => self.hunyuan(body),
            Family::Ollama => self.ollama(body),
            Family::Tgi => self.tgi(body),
            Family::LlamaCpp => self.llamacpp(body),
            Family::Generic => self.described(body),
            _ => self.qianfan_v1(body),
        }
    }

    /// Source: Baidu Qianfan documentation, "ERNIE-4.0-8K". The model is in the path.
    fn qianfan_v1(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["model", "stream", "max_output_tokens"])?;
        let named = self.model.map(|path| {
            let listed = QIANFAN_MODELS.iter().find(|(segment, _)| *segment == path);
            listed.map_or(path, |(_, name)| name)
        });
        let asked = Asked { model: named, ..*self };
        Ok(RequestFacts {
            stream: stream(&top)?,
            max_output: limit(&top, "max_output_tokens")?,
            ..asked.of_model(&top, "model")?
        })
    }

    /// Source: Alibaba Cloud Model Studio, "`DashScope` API reference". A header asks for a stream.
    fn dashscope(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["model", "parameters"])?;
        let mut facts = self.of_model(&top, "model")?;
        facts.stream = self.stream;
        if let Some(parameters) = top.get("parameters") {
            let parameters = Top::read(parameters.object()?.as_bytes(), ["max_tokens", "n"])?;
            facts.max_output = limit(&parameters, "max_tokens")?;
            facts.choices = choices(&parameters, "n")?;
        }
        Ok(facts)
    }

    /// Source: Tencent Cloud API 3.0, "hunyuan" 2023-09-01: `ChatCompletions`, `GetEmbedding`.
    fn hunyuan(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["Model", "Stream"])?;
        if self.endpoint.is_embedding() {
            return self.named(Some(HUNYUAN_EMBEDDING), "Model");
        }
        let flag = top.get("Stream").map(|flag| flag.boolean()).transpose()?;
        Ok(RequestFacts { stream: flag == Some(true), ..self.of_model(&top, "Model")? })
    }

    /// Source: Ollama API documentation. Chats and completions stream unless told not to.
    fn ollama(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["model", "stream", "options"])?;
        let mut facts = self.of_model(&top, "model")?;
        let flag = top.get("stream").map(|flag| flag.boolean()).transpose()?;
        facts.stream = flag.unwrap_or(true) && !self.endpoint.is_embedding();
        if let Some(options) = top.get("options") {
            let options = Top::read(options.object()?.as_bytes(), ["num_predict"])?;
            facts.max_output = limit(&options, "num_predict")?;
        }
        Ok(facts)
    }

    /// Source: Text Generation Inference, `GenerateParameters`. A `LoRA` adapter is asked for by
    /// name and stands for the model; the model itself is the server's.
    fn tgi(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["parameters"])?;
        let parameters = match top.get("parameters") {
            Some(parameters) => parameters.object()?.as_bytes(),
            None => b"{}",
        };
        let parameters = Top::read(parameters, ["adapter_id", "max_new_tokens", "best_of"])?;
        Ok(RequestFacts {
            stream: self.endpoint.always_streams(),
            max_output: limit(&parameters, "max_new_tokens")?,
            choices: choices(&parameters, "best_of")?,
            ..self.of_model(&parameters, "adapter_id")?
        })
    }

    /// Source: llama.cpp, `tools/server/README.md`, "POST /completion". A stream of several prompts
    /// or answers has several ends, so that its first would be taken for the whole: one at a time.
    fn llamacpp(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        let top = Top::read(body, ["model", "stream", "prompt", "n_predict", "n", "n_cmpl"])?;
        if let (Some(raw), Some(prompt)) = (top.raw("prompt"), top.get("prompt"))
            && prompts(raw) > 1
        {
            return Err(prompt.refuse("one prompt for each request"));
        }
        for field in ["n", "n_cmpl"] {
            if let Some(value) = top.get(field).filter(|value| value.whole_number() != Ok(1)) {
                return Err(value.refuse("1: one answer for each request"));
            }
        }
        Ok(RequestFacts {
            stream: stream(&top)?,
            max_output: limit(&top, "n_predict")?,
            ..self.of_model(&top, "model")?
        })
    }

    /// A request to an API that is described by configuration.
    fn described(&self, body: &[u8]) -> Result<RequestFacts, RequestError> {
        Top::<0>::read(body, [])?;
        let value: Value =
            serde_json::from_slice(body).map_err(|cause| RequestError::json(&cause))?;
        let pointer = |of: fn(&ApiDescription) -> &Option<Pointer>| {
            self.description.and_then(|d| of(d).as_ref())
        };
        let model = pointer(|api| &api.request_model).map(|at| at.text(&value));
        let stream = pointer(|api| &api.request_stream).and_then(|at| at.find(&value)?.as_bool());
        let named = model.filter(|model| !model.is_empty());
        let stream = self.stream || stream == Some(true);
        Ok(RequestFacts { stream, ..self.named(named, "model")? })
    }

    /// The facts of a request whose model stands in `field`, unless the path names it.
    fn of_model<const N: usize>(
        &self,
        top: &Top<'_, N>,
        field: &'static str,
    ) -> Result<RequestFacts, RequestError> {
        let model = match self.model {
            Some(_) => None,
            None => top.get(field).map(|model| model.text()).transpose()?,
        };
        self.named(model.as_deref(), field)
    }
}

/// The value of a limit. A negative one means that there is none.
fn limit<const N: usize>(
    top: &Top<'_, N>,
    field: &'static str,
) -> Result<Option<u64>, RequestError> {
    match top.raw(field) {
        Some(json) if json.starts_with('-') => Ok(None),
        _ => top.get(field).map(|value| value.whole_number()).transpose(),
    }
}

#[cfg(test)]
mod tests {
    use permille_types::Endpoint;

    use super::*;
    use crate::request::classify;

    fn asked(family: Family, endpoint: Endpoint) -> Asked<'static> {
        Asked { unnamed: Some("own"), ..Asked::new(family, endpoint) }
    }

    fn check(
        (family, endpoint): (Family, Endpoint),
        body: &str,
        (model, stream, max_output, choices): (&str, bool, Option<u64>, u32),
    ) {
        let facts = classify(asked(family, endpoint), body.as_bytes()).unwrap();

        let read = (facts.model.as_str(), facts.stream, facts.max_output, facts.choices);
        assert_eq!(read, (model, stream, max_output, choices), "{family} {body}");
        assert!(!facts.usage_wanted, "{family}");
    }

    #[test]
    fn every_native_format_says_model_stream_limit_and_answers_in_its_own_place() {
        let (chat, embed) = (Endpoint::Chat, Endpoint::Embed);
        for (of, body, expected) in [
            (
                (Family::QianfanV1, chat),
                r#"{"stream":true,"max_output_tokens":9}"#,
                ("own", true, Some(9), 1),
            ),
            (
                (Family::Dashscope, Endpoint::Generation),
                r#"{"model":"qwen-plus","input":{},"parameters":{"max_tokens":7,"n":3}}"#,
                ("qwen-plus", false, Some(7), 3),
            ),
            (
                (Family::Hunyuan, chat),
                r#"{"Model":"hunyuan-turbos","Stream":true}"#,
                ("hunyuan-turbos", true, None, 1),
            ),
            ((Family::Hunyuan, embed), r#"{"Input":"x"}"#, ("hunyuan-embedding", false, None, 1)),
            (
                (Family::Pangu, chat),
                r#"{"model":"pangu","stream":true,"max_tokens":5,"n":2}"#,
                ("pangu", true, Some(5), 2),
            ),
            ((Family::Ollama, chat), r#"{"model":"llama2"}"#, ("llama2", true, None, 1)),
            (
                (Family::Ollama, Endpoint::Generate),
                r#"{"model":"llama2","stream":false,"options":{"num_predict":-1}}"#,
                ("llama2", false, None, 1),
            ),
            ((Family::Ollama, embed), r#"{"model":"all-minilm"}"#, ("all-minilm", false, None, 1)),
            (
                (Family::Tgi, Endpoint::Generate),
                r#"{"inputs":"x","parameters":{"adapter_id":"legal","max_new_tokens":3,"best_of":2}}"#,
                ("legal", false, Some(3), 2),
            ),
            ((Family::Tgi, Endpoint::GenerateStream), r#"{"inputs":"x"}"#, ("own", true, None, 1)),
            (
                (Family::LlamaCpp, Endpoint::Generate),
                r#"{"prompt":[1,2,3],"n_predict":4,"stream":true}"#,
                ("own", true, Some(4), 1),
            ),
        ] {
            check(of, body, expected);
        }
    }

    #[test]
    fn a_qianfan_path_is_billed_by_the_name_that_price_lists_have() {
        for (path, model) in [("completions", "ERNIE-Bot"), ("my_tuned_model", "my_tuned_model")] {
            let asked = Asked { model: Some(path), ..asked(Family::QianfanV1, Endpoint::Chat) };

            assert_eq!(classify(asked, b"{}").unwrap().model.as_str(), model);
        }
    }

    #[test]
    fn several_llamacpp_prompts_or_answers_at_once_are_refused() {
        for (body, refused) in [
            (r#"{"prompt":["a","b"]}"#, "`prompt` is a list, accepted: one prompt"),
            (r#"{"prompt":[[1,2],"b"]}"#, "`prompt` is a list, accepted: one prompt"),
            (r#"{"prompt":"a","n":2}"#, "`n` is a number, accepted: 1"),
            (r#"{"prompt":"a","n_cmpl":"x"}"#, "`n_cmpl` is a string, accepted: 1"),
        ] {
            let asked = asked(Family::LlamaCpp, Endpoint::Generate);
            let message = classify(asked, body.as_bytes()).unwrap_err().to_string();

            assert!(message.starts_with(refused), "{message}");
        }
        for body in [r#"{"prompt":["a"]}"#, r#"{"prompt":[1,"a",2]}"#, r#"{"prompt":"a","n":1}"#] {
            check((Family::LlamaCpp, Endpoint::Generate), body, ("own", false, None, 1));
        }
    }

    #[test]
    fn a_request_that_names_no_model_where_there_is_none_to_fall_back_on_is_refused() {
        let asked = Asked { unnamed: None, ..asked(Family::Tgi, Endpoint::Generate) };

        let message = classify(asked, br#"{"inputs":"x"}"#).unwrap_err().to_string();

        assert!(message.contains("`adapter_id` is missing"), "{message}");
    }
}
