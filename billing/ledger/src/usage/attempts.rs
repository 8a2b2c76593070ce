//! The compact stored form of a request's upstream calls.
//!
//! A row holds one array per attempt instead of an object with names, and leaves the tokens out
//! where they are those of the request: with that, a typical row stays under 400 bytes.

use permille_types::{Attempt, Ended, ModelName, TokenCounts, UpstreamName};
use serde::{Deserialize, Serialize};

use crate::{LedgerError, column};

/// Upstream, status, id in the body, id in the header, ending, tokens unless the request's own,
/// model unless the requested one. Rows of earlier versions end before the model.
#[derive(Serialize, Deserialize)]
struct Stored(
    UpstreamName,
    Option<u16>,
    Option<String>,
    Option<String>,
    Ended,
    Option<TokenCounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<ModelName>,
);

pub(super) fn write(attempts: &[Attempt], tokens: &TokenCounts) -> Result<String, LedgerError> {
    let stored: Vec<Stored> = attempts
        .iter()
        .map(|attempt| {
            Stored(
                attempt.upstream.clone(),
                attempt.status,
                attempt.provider_id.clone(),
                attempt.provider_request_id.clone(),
                attempt.ended,
                (attempt.tokens != *tokens).then(|| attempt.tokens.clone()),
                attempt.model.clone(),
            )
        })
        .collect();
    column::to_json("attempts", &stored)
}

pub(super) fn read(text: &str, tokens: &TokenCounts) -> Result<Vec<Attempt>, LedgerError> {
    let stored: Vec<Stored> = column::json("usage.attempts", text)?;
    let attempts = stored.into_iter().map(
        |Stored(upstream, status, provider_id, provider_request_id, ended, own, model)| Attempt {
            upstream,
            model,
            status,
            provider_id,
            provider_request_id,
            ended,
            tokens: own.unwrap_or_else(|| tokens.clone()),
        },
    );
    Ok(attempts.collect())
}

#[cfg(test)]
mod tests {
    use permille_types::TokenClass;

    use super::*;

    fn attempt(tokens: TokenCounts) -> Attempt {
        Attempt {
            upstream: "openai".parse().unwrap(),
            model: None,
            status: None,
            provider_id: Some("chatcmpl-1".to_owned()),
            provider_request_id: None,
            ended: Ended::UpstreamError,
            tokens,
        }
    }

    #[test]
    fn attempts_read_back_as_they_were_with_their_own_tokens_or_the_requests() {
        let tokens = TokenCounts::from([(TokenClass::OUTPUT_TEXT, 7)]);
        let routed = Attempt { model: Some("gpt-4o".parse().unwrap()), ..attempt(tokens.clone()) };
        let attempts = vec![routed, attempt(TokenCounts::new()), attempt(tokens.clone())];

        let stored = write(&attempts, &tokens).unwrap();

        assert_eq!(read(&stored, &tokens).unwrap(), attempts);
        // What earlier versions wrote still reads: a row without a model ends before it.
        assert!(stored.ends_with(r#"["openai",null,"chatcmpl-1",null,"upstream_error",null]]"#));
    }
}
