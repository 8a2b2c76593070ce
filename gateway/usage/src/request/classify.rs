//! What a request asks for, as far as metering, limits and routing need to know it.

use std::borrow::Cow;

use permille_json::{Json, Kind};
use permille_types::{Endpoint, Family, ModelName};

use super::{RequestError, top::Top};
use crate::ApiDescription;

/// Most answers that one request may ask for. Above what any provider takes (128); a bound, so
/// that a reservation of output times choices stays a number.
const CHOICES_MAX: u64 = 1_000;

/// First API version of Azure whose streams can be asked for usage.
const STREAM_OPTIONS_SINCE: &str = "2024-09-01";

/// What is known of a request before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Whose format the body has.
    pub family: Family,
    /// The operation.
    pub endpoint: Endpoint,
    /// The model, where the path names it; the body's is not looked at then.
    pub model: Option<&'a str>,
    /// The model that a request without a name asks for: of a server that has only one.
    pub unnamed: Option<&'a str>,
    /// Whether a header asks for a stream.
    pub stream: bool,
    /// The version of its API that the client asks for (Azure).
    pub api_version: Option<&'a str>,
    /// The API, where it is described by configuration.
    pub description: Option<&'a ApiDescription>,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model, as the client names it.
    pub model: ModelName,
    /// Whether the reply is to be a stream.
    pub stream: bool,
    /// Whether the client itself asks for usage in the stream (`include_usage: true`).
    pub usage_wanted: bool,
    /// Whether a stream reports usage only when it is asked to, and takes being asked.
    pub usage_askable: bool,
    /// The client's limit of output tokens, for each choice; absent when it sets none.
    pub max_output: Option<u64>,
    /// How many answers are generated of a prompt; at least 1.
    pub choices: u32,
    /// How many prompts there are, each with answers of its own; at least 1.
    pub prompts: u32,
    /// The stored response that this one goes on from (`OpenAI` responses).
    pub previous_response: Option<String>,
}

/// Reads the body of a request that names a model, in it or in the path.
///
/// # Errors
/// [`RequestError`] when the body is no JSON object, names no model, or has a field of the wrong
/// kind, or twice, among those that decide metering.
pub fn classify(asked: Asked<'_>, body: &[u8]) -> Result<RequestFacts, RequestError> {
    match (asked.family, asked.endpoint) {
        (Family::OpenAi | Family::AzureOpenAi | Family::Pangu, _) => open_ai(asked, body),
        (Family::Anthropic, _) => messages(asked, body),
        (Family::Gemini, _) => gemini(asked, body),
        _ => asked.native(body),
    }
}

fn open_ai(asked: Asked<'_>, body: &[u8]) -> Result<RequestFacts, RequestError> {
    let top = Top::read(
        body,
        [
            "model",
            "stream",
            "stream_options",
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "n",
            "best_of",
            "data_sources",
            "previous_response_id",
        ],
    )?;
    let mut facts = asked.facts(&top)?;
    if asked.endpoint.is_embedding() {
        return Ok(facts);
    }
    if asked.endpoint == Endpoint::Responses {
        let limit = top.get("max_output_tokens");
        facts.max_output = limit.map(|limit| limit.whole_number()).transpose()?;
        let previous = top.get("previous_response_id");
        facts.previous_response = previous.map(|id| id.text().map(Cow::into_owned)).transpose()?;
        return Ok(facts);
    }
    facts.usage_wanted = match top.get("stream_options") {
        Some(options) => include_usage(options.object()?)?.unwrap_or(false),
        None => false,
    };
    facts.usage_askable = asked.takes_stream_options() && top.get("data_sources").is_none();
    let newer = top.get("max_completion_tokens").map(|limit| limit.whole_number()).transpose()?;
    let older = top.get("max_tokens").map(|limit| limit.whole_number()).transpose()?;
    // Servers differ on which of the two they heed: the larger one is what can be billed.
    facts.max_output = newer.max(older);
    facts.choices = choices(&top, "n")?;
    if asked.endpoint == Endpoint::Completions {
        // All of `best_of` are generated and billed, `n` of them are sent.
        facts.choices = facts.choices.max(choices(&top, "best_of")?);
        facts.prompts = match Top::read(body, ["prompt"]) {
            Ok(top) => top.raw("prompt").map_or(1, prompts),
            Err(twice @ RequestError::Duplicate { .. }) => return Err(twice),
            // Not of UTF-8: the provider says what it makes of it.
            Err(_) => 1,
        };
    }
    Ok(facts)
}

fn messages(asked: Asked<'_>, body: &[u8]) -> Result<RequestFacts, RequestError> {
    let top = Top::read(body, ["model", "stream", "max_tokens"])?;
    let max_output = top.get("max_tokens").map(|limit| limit.whole_number()).transpose()?;
    Ok(RequestFacts { max_output, ..asked.facts(&top)? })
}

fn gemini(asked: Asked<'_>, body: &[u8]) -> Result<RequestFacts, RequestError> {
    let top = Top::read(body, ["generationConfig", "generation_config"])?;
    let mut facts = asked.facts(&top)?;
    let config = top.get("generationConfig").or(top.get("generation_config"));
    if let Some(config) = config {
        let config = Top::read(
            config.object()?.as_bytes(),
            ["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"],
        )?;
        // Google's JSON also writes numbers as strings: what cannot be read sets no limit here.
        let number = |field| config.get(field).and_then(|value| value.whole_number().ok());
        facts.max_output = number("maxOutputTokens").or(number("max_output_tokens"));
        let choices = number("candidateCount").or(number("candidate_count")).unwrap_or(1);
        facts.choices = choices.clamp(1, CHOICES_MAX).try_into().unwrap_or(1);
    }
    Ok(facts)
}

impl Asked<'_> {
    /// A request of which no more is known than this.
    #[must_use]
    pub fn new(family: Family, endpoint: Endpoint) -> Self {
        Self {
            family,
            endpoint,
            model: None,
            unnamed: None,
            stream: false,
            api_version: None,
            description: None,
        }
    }

    /// Whether the provider knows `stream_options`. Azure knows them since an API version, and in
    /// its version 1, which needs none; not together with data sources of its own. Pangu reports
    /// usage without being asked.
    ///
    /// Source: Azure OpenAI REST specifications of 2024-08-01-preview and 2024-10-21.
    fn takes_stream_options(&self) -> bool {
        let since =
            |version: &str| version.get(..10).is_some_and(|date| date >= STREAM_OPTIONS_SINCE);
        match self.family {
            Family::Pangu => false,
            Family::AzureOpenAi => self.api_version.is_none_or(|version| {
                !version.starts_with(|first: char| first.is_ascii_digit()) || since(version)
            }),
            _ => true,
        }
    }

    /// The facts of a request that asks for nothing but a model's answer, whole or as a stream.
    fn facts<const N: usize>(&self, top: &Top<'_, N>) -> Result<RequestFacts, RequestError> {
        let model = match self.model {
            Some(_) => None,
            None => top.get("model").map(|model| model.text()).transpose()?,
        };
        let stream = self.stream || self.endpoint.always_streams() || stream(top)?;
        Ok(RequestFacts { stream, ..self.named(model.as_deref(), "model")? })
    }

    /// The facts of a request of which only the model is known: the path's, else the body's, which
    /// stands in `field`, else the one that a request without a name asks for.
    pub(super) fn named(
        &self,
        in_body: Option<&str>,
        field: &'static str,
    ) -> Result<RequestFacts, RequestError> {
        let named = self.model.or(in_body).or(self.unnamed);
        let missing = RequestError::Missing { field, accepted: "the name of a model" };
        Ok(RequestFacts {
            model: named.ok_or(missing)?.parse().map_err(RequestError::Model)?,
            stream: false,
            usage_wanted: false,
            usage_askable: false,
            max_output: None,
            choices: 1,
            prompts: 1,
            previous_response: None,
        })
    }
}

/// Whether `options`, the value of `stream_options`, asks for usage; absent when it does not say.
pub(super) fn include_usage(options: &str) -> Result<Option<bool>, RequestError> {
    let options = Top::read(options.as_bytes(), ["include_usage"])?;
    options.get("include_usage").map(|wanted| wanted.boolean()).transpose()
}

pub(super) fn stream<const N: usize>(top: &Top<'_, N>) -> Result<bool, RequestError> {
    Ok(top.get("stream").map(|stream| stream.boolean()).transpose()?.unwrap_or(false))
}

pub(super) fn choices<const N: usize>(
    top: &Top<'_, N>,
    field: &'static str,
) -> Result<u32, RequestError> {
    let Some(value) = top.get(field) else { return Ok(1) };
    let accepted = || value.refuse("a whole number from 1 to 1000");
    let count = value.whole_number().map_err(|_| accepted())?;
    if !(1..=CHOICES_MAX).contains(&count) {
        return Err(accepted());
    }
    u32::try_from(count).map_err(|_| accepted())
}

/// How many prompts `prompt` has: a text or a list of tokens is one.
pub(super) fn prompts(prompt: &str) -> u32 {
    let mut json = Json::new(prompt.as_bytes());
    let (mut count, mut first) = (0_u32, true);
    if json.kind() != Ok(Kind::List) || json.enter().is_err() {
        return 1;
    }
    while json.element(&mut first) == Ok(true) {
        if json.kind() == Ok(Kind::Scalar) || json.skip().is_err() {
            return 1;
        }
        count = count.saturating_add(1);
    }
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(family: Family, endpoint: Endpoint) -> Asked<'static> {
        Asked::new(family, endpoint)
    }

    fn chat(body: &str) -> Result<RequestFacts, String> {
        classify(asked(Family::OpenAi, Endpoint::ChatCompletions), body.as_bytes())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_is_read_with_its_limits() {
        let facts = chat(
            r#"{"model":"gpt-5","stream":true,"stream_options":{"include_usage":true},
                "max_tokens":5,"max_completion_tokens":7,"n":2,"x":{"model":1},"messages":[]}"#,
        )
        .unwrap();

        assert_eq!(facts.model.as_str(), "gpt-5");
        assert!(facts.stream && facts.usage_wanted);
        assert_eq!((facts.max_output, facts.choices), (Some(7), 2));
    }

    #[test]
    fn null_means_absent() {
        let facts =
            chat(r#"{"model":"m","stream":null,"stream_options":null,"max_tokens":null,"n":null}"#)
                .unwrap();

        assert!(!facts.stream && !facts.usage_wanted);
        assert_eq!((facts.max_output, facts.choices), (None, 1));
    }

    #[test]
    fn a_repeated_key_is_refused_by_name_even_when_it_is_escaped() {
        for (body, field) in [
            (r#"{"model":"a","model":"b"}"#, "model"),
            (r#"{"model":"a","stream":true,"\u0073tream":false}"#, "stream"),
            (r#"{"model":"a","n":1,"n":1}"#, "n"),
            (
                r#"{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}"#,
                "include_usage",
            ),
        ] {
            assert_eq!(chat(body).unwrap_err(), format!("`{field}` is given more than once"));
        }
        assert!(chat(r#"{"model":"a","tools":1,"tools":2}"#).is_ok());
    }

    #[test]
    fn a_wrong_type_is_refused_with_what_is_accepted() {
        for (body, message) in [
            (r#"{"model":3}"#, "`model` is a number, accepted: a string"),
            (r#"{"messages":[]}"#, "`model` is missing, accepted: the name of a model"),
            (r#"{"model":""}"#, "`model` cannot be used: model name is empty"),
            (r#"{"model":"m","stream":"yes"}"#, "`stream` is a string, accepted: true or false"),
            (
                r#"{"model":"m","stream_options":[]}"#,
                "`stream_options` is a list, accepted: an object",
            ),
            (
                r#"{"model":"m","max_tokens":-1}"#,
                "`max_tokens` is a negative number, accepted: a whole number, 0 or more",
            ),
            (
                r#"{"model":"m","max_completion_tokens":1.5}"#,
                "`max_completion_tokens` is a fraction, accepted: a whole number, 0 or more",
            ),
            (r#"{"model":"m","n":0}"#, "`n` is a number, accepted: a whole number from 1 to 1000"),
            (r#"{"model":true}"#, "`model` is a boolean, accepted: a string"),
            (r#"{"model":"m","stream":{}}"#, "`stream` is an object, accepted: true or false"),
            ("null", "the body is null, accepted: a JSON object"),
            ("[]", "the body is a list, accepted: a JSON object"),
            ("\"x\"", "the body is a string, accepted: a JSON object"),
        ] {
            assert_eq!(chat(body).unwrap_err(), message);
        }
    }

    #[test]
    fn invalid_json_is_refused_with_its_place() {
        for (body, place) in [
            ("{\"model\":\n  tru}", "invalid JSON at line 2 column"),
            ("", "invalid JSON at line 1 column 0"),
            (r#"{"model":"m"} x"#, "invalid JSON at line 1 column 15"),
        ] {
            let message = chat(body).unwrap_err();
            assert!(message.starts_with(place), "{message}");
        }
    }

    #[test]
    fn a_deep_body_neither_overflows_nor_passes_unread() {
        let open = "[".repeat(1_000_000);

        assert!(chat(&format!(r#"{{"model":"m","x":{open}"#)).is_err());
        assert!(chat(&format!(r#"{{"model":{open}"#)).is_err());
        assert!(chat(&open).is_err());
    }

    #[test]
    fn a_messages_request_has_no_stream_options() {
        let body = br#"{"model":"claude","max_tokens":9,"stream":true,"stream_options":1,"n":"x"}"#;
        let facts = classify(asked(Family::Anthropic, Endpoint::Messages), body).unwrap();

        assert_eq!((facts.max_output, facts.choices, facts.stream), (Some(9), 1, true));
    }

    #[test]
    fn best_of_counts_as_choices_of_a_completion() {
        let body = br#"{"model":"m","n":2,"best_of":4}"#;

        for (endpoint, choices) in [(Endpoint::Completions, 4), (Endpoint::ChatCompletions, 2)] {
            assert_eq!(classify(asked(Family::OpenAi, endpoint), body).unwrap().choices, choices);
        }
    }

    #[test]
    fn each_prompt_of_a_completion_has_its_own_answers() {
        for (prompt, prompts) in [
            (r#""a""#, 1),
            (r#"["a","b","c"]"#, 3),
            ("[[1,2],[3]]", 2),
            (" [ 1 , 2,3]", 1),
            ("[]", 1),
            ("null", 1),
            (r#"["a"]"#, 1),
            ("7", 1),
        ] {
            let body = format!(r#"{{"model":"m","n":2,"prompt":{prompt}}}"#);
            let completion = asked(Family::OpenAi, Endpoint::Completions);
            let facts = classify(completion, body.as_bytes()).unwrap();
            assert_eq!((facts.choices, facts.prompts), (2, prompts), "{prompt}");
        }
    }

    #[test]
    fn only_of_a_completion_a_prompt_is_looked_at() {
        let (openai, completions) = (Family::OpenAi, Endpoint::Completions);
        let twice = br#"{"model":"m","prompt":"a","prompt":["a","b"]}"#;
        let broken = b"{\"model\":\"m\",\"prompt\":\"caf\xe9\"}";

        let error = classify(asked(openai, completions), twice).unwrap_err().to_string();
        assert!(error.contains("`prompt`"), "{error}");
        assert!(classify(asked(openai, Endpoint::ChatCompletions), twice).is_ok());
        assert_eq!(classify(asked(openai, completions), broken).unwrap().prompts, 1);
    }

    #[test]
    fn the_model_in_the_path_and_the_stream_in_a_header_win() {
        let body = br#"{"model":7,"messages":[]}"#;
        let deployment = Asked {
            model: Some("prod-chat"),
            stream: true,
            ..asked(Family::AzureOpenAi, Endpoint::ChatCompletions)
        };

        let facts = classify(deployment, body).unwrap();

        assert_eq!((facts.model.as_str(), facts.stream), ("prod-chat", true));
    }

    #[test]
    fn azure_is_asked_for_usage_only_where_it_takes_that() {
        let plain = r#"{"stream":true,"messages":[]}"#;
        let sources = r#"{"stream":true,"messages":[],"data_sources":[{}]}"#;
        for (api_version, body, askable) in [
            (Some("2024-10-21"), plain, true),
            (Some("2024-09-01-preview"), plain, true),
            (Some("2024-08-01-preview"), plain, false),
            (Some("2023-05-15"), plain, false),
            (Some("preview"), plain, true),
            (None, plain, true),
            (Some("2024-10-21"), sources, false),
        ] {
            let azure = Asked {
                model: Some("prod-chat"),
                api_version,
                ..asked(Family::AzureOpenAi, Endpoint::ChatCompletions)
            };

            let facts = classify(azure, body.as_bytes()).unwrap();

            assert_eq!(facts.usage_askable, askable, "{api_version:?} {body}");
        }
        assert!(chat(r#"{"model":"m","stream":true}"#).unwrap().usage_askable);
        let embeddings = classify(asked(Family::OpenAi, Endpoint::Embeddings), br#"{"model":"m"}"#);
        assert!(!embeddings.unwrap().usage_askable);
    }

    #[test]
    fn a_responses_request_is_read_with_its_own_limit() {
        let body = br#"{"model":"gpt-5.6","input":"x","stream":true,"max_output_tokens":9,
            "max_tokens":"x","n":0,"stream_options":{"include_obfuscation":false}}"#;
        let facts = classify(asked(Family::OpenAi, Endpoint::Responses), body).unwrap();

        assert_eq!((facts.max_output, facts.choices, facts.stream), (Some(9), 1, true));
    }

    #[test]
    fn a_gemini_request_is_read_with_its_limits_in_both_spellings() {
        for config in [
            r#""generationConfig":{"maxOutputTokens":9,"candidateCount":2}"#,
            r#""generation_config":{"max_output_tokens":9,"candidate_count":2}"#,
        ] {
            let body = format!(r#"{{"contents":[],"model":7,"stream":"x",{config}}}"#);
            let path = Asked {
                model: Some("gemini-2.5-pro"),
                ..asked(Family::Gemini, Endpoint::GenerateContent)
            };

            let facts = classify(path, body.as_bytes()).unwrap();

            assert_eq!((facts.model.as_str(), facts.stream), ("gemini-2.5-pro", false));
            assert_eq!((facts.max_output, facts.choices), (Some(9), 2));
        }
    }

    #[test]
    fn an_operation_that_always_streams_needs_no_flag() {
        let asked = Asked { unnamed: Some("m"), ..asked(Family::Tgi, Endpoint::GenerateStream) };

        assert!(classify(asked, b"{}").unwrap().stream);
    }
}
