//! The compact stored form of a request's upstream calls.
//!
//! A row holds one array per attempt instead of an object with names. An attempt that says what
//! the row says too, as nearly all do, is its two ids behind a 0; any other one is all of it behind
//! a 1. With that, a typical row stays under 400 bytes.

use permille_types::{Attempt, Ended, ModelName, TokenCounts, UpstreamName, UsageEvent};
use serde::{Deserialize, Serialize};

use crate::{LedgerError, column};

/// One attempt. The forms differ in their lengths and first elements.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    /// 0, id in the body, id in the header: all else is that of the row.
    AsRow(u8, Option<String>, Option<String>),
    /// 1, id in the body, id in the header, upstream, status, ending, tokens unless the request's
    /// own, model unless the requested one.
    Own(
        u8,
        Option<String>,
        Option<String>,
        UpstreamName,
        Option<u16>,
        Ended,
        Option<TokenCounts>,
        Option<ModelName>,
    ),
    /// As rows of before have it, which were not rewritten.
    Before(Before),
}

/// Upstream, status, id in the body, id in the header, ending, tokens unless the request's own,
/// model unless the requested one. The first such rows end before the model.
#[derive(Serialize, Deserialize)]
struct Before(
    UpstreamName,
    Option<u16>,
    Option<String>,
    Option<String>,
    Ended,
    Option<TokenCounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<ModelName>,
);

impl Stored {
    fn of(attempt: &Attempt, event: &UsageEvent) -> Self {
        let Attempt { upstream, model, status, provider_id, provider_request_id, ended, tokens } =
            attempt.clone();
        let (own_tokens, is_routed) = (tokens != event.tokens, model.is_some());
        let said = (Some(&upstream), status, ended);
        if !own_tokens && !is_routed && said == (event.upstream.as_ref(), event.status, event.ended)
        {
            return Self::AsRow(0, provider_id, provider_request_id);
        }
        let tokens = own_tokens.then_some(tokens);
        Self::Own(1, provider_id, provider_request_id, upstream, status, ended, tokens, model)
    }
}

pub(super) fn write(event: &UsageEvent) -> Result<String, LedgerError> {
    let stored: Vec<Stored> =
        event.attempts.iter().map(|attempt| Stored::of(attempt, event)).collect();
    column::to_json("attempts", &stored)
}

/// The attempts of `event`, which has all but these.
pub(super) fn read(text: &str, event: &UsageEvent) -> Result<Vec<Attempt>, LedgerError> {
    let damaged = || LedgerError::corrupt("usage.attempts", text);
    let stored: Vec<Stored> = column::json("usage.attempts", text)?;
    let attempts = stored.into_iter().map(|stored| {
        let (upstream, status, provider_id, provider_request_id, ended, own, model) = match stored {
            Stored::AsRow(0, id, request_id) => {
                let upstream = event.upstream.clone().ok_or_else(damaged)?;
                (upstream, event.status, id, request_id, event.ended, None, None)
            }
            Stored::Own(1, id, request_id, upstream, status, ended, own, model)
            | Stored::Before(Before(upstream, status, id, request_id, ended, own, model)) => {
                (upstream, status, id, request_id, ended, own, model)
            }
            Stored::AsRow(..) | Stored::Own(..) => return Err(damaged()),
        };
        Ok(Attempt {
            upstream,
            model,
            status,
            provider_id,
            provider_request_id,
            ended,
            tokens: own.unwrap_or_else(|| event.tokens.clone()),
        })
    });
    attempts.collect()
}

#[cfg(test)]
mod tests {
    use permille_types::TokenClass;

    use super::*;

    fn event() -> UsageEvent {
        let text = r#"{"version":1,"request_id":"019a0000-0000-7000-8000-000000000001",
            "at":"2026-11-20T09:30:00Z","customer":"acme","project":"default","key":"key_1",
            "session":"chat-1","session_explicit":true,"turn":1,"family":"openai",
            "endpoint":"chat_completions","model_requested":"gpt-4o","upstream":"openai",
            "status":200,"streamed":true,"ended":"complete","source":"reported",
            "tokens":{"output_text":7},"attempts":[],"latency_ms":5,"flags":[]}"#;
        UsageEvent::from_json(text.as_bytes()).unwrap()
    }

    fn attempt(event: &UsageEvent) -> Attempt {
        Attempt {
            upstream: "openai".parse().unwrap(),
            model: None,
            status: Some(200),
            provider_id: Some("chatcmpl-1".to_owned()),
            provider_request_id: Some("req_1".to_owned()),
            ended: Ended::Complete,
            tokens: event.tokens.clone(),
        }
    }

    #[test]
    fn attempts_read_back_as_they_were() {
        let mut event = event();
        let like = attempt(&event);
        let routed = Attempt { model: Some("gpt-4o".parse().unwrap()), ..like.clone() };
        let other = Attempt { upstream: "second".parse().unwrap(), ..like.clone() };
        let silent = Attempt { status: None, provider_id: None, ..like.clone() };
        let cut = Attempt { ended: Ended::UpstreamError, ..like.clone() };
        let own = TokenCounts::from([(TokenClass::OUTPUT_TEXT, 8)]);
        let counted = Attempt { tokens: own, ..like.clone() };
        event.attempts = vec![routed, other, silent, cut, counted, like];

        let stored = write(&event).unwrap();

        assert_eq!(read(&stored, &event).unwrap(), event.attempts);
        assert!(stored.ends_with(r#",[0,"chatcmpl-1","req_1"]]"#), "{stored}");
    }

    #[test]
    fn an_attempt_of_a_row_without_an_upstream_is_kept_whole() {
        let mut event = event();
        event.attempts = vec![attempt(&event)];
        event.upstream = None;

        let stored = write(&event).unwrap();

        assert_eq!(read(&stored, &event).unwrap(), event.attempts);
        assert!(read(r"[[0,null,null]]", &event).is_err());
        assert!(read(r"[[2,null,null]]", &event).is_err());
    }

    #[test]
    fn what_earlier_versions_wrote_still_reads() {
        let event = event();
        let old = r#"[["second",null,"chatcmpl-1",null,"upstream_error",null],
            ["openai",200,"chatcmpl-2","req_2","complete",{"output_text":1},"gpt-4o"]]"#;

        let attempts = read(old, &event).unwrap();

        assert_eq!(attempts[0].tokens, event.tokens);
        assert_eq!(attempts[0].ended, Ended::UpstreamError);
        assert_eq!(attempts[1].model.as_ref().unwrap().as_str(), "gpt-4o");
        assert_eq!(attempts[1].tokens[&TokenClass::OUTPUT_TEXT], 1);
    }
}
