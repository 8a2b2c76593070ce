//! How a stream that has begun ends with an error, in the format of its family.

use bytes::Bytes;
use permille_types::{Endpoint, Family, Level, RequestId};
use serde_json::json;

use super::Refusal;

/// How the events of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events: an empty line ends each.
    Events,
    /// A JSON document on each line.
    Lines,
}

impl Framing {
    /// Whether an event ends with `bytes`.
    pub(crate) fn ends_with(self, bytes: &[u8]) -> bool {
        match self {
            Self::Events => [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"].iter().any(|e| bytes.ends_with(e)),
            Self::Lines => bytes.ends_with(b"\n"),
        }
    }
}

impl Refusal {
    /// A budget that ends a stream.
    pub(crate) fn budget_ended(level: Level, id: &str) -> Self {
        let text = format!(
            "the budget of the {} `{id}` leaves no room for the rest of this reply: it ends here, \
             and is billed to this point",
            level.as_str(),
        );
        Self::BudgetExceeded { text, passes: false, retry_after: None }
    }

    /// The error as the last event of a stream of `family`. No terminal event follows it, so that
    /// no client takes the reply for whole.
    pub(crate) fn in_stream(
        &self,
        family: Family,
        endpoint: Endpoint,
        id: RequestId,
        framing: Framing,
    ) -> Bytes {
        let body = match (family, endpoint) {
            // Source: OpenAI API reference, "Streaming events", `error`.
            (_, Endpoint::Responses) => json!({
                "type": "error", "code": self.code(), "message": self.to_string(), "param": null,
                "retryable": self.is_retryable(),
            }),
            _ => self.body(family, id),
        };
        let name = match (family, endpoint) {
            (_, Endpoint::Responses) | (Family::Anthropic | Family::Dashscope, _) => {
                "event: error\n"
            }
            _ => "",
        };
        Bytes::from(match framing {
            Framing::Events => format!("{name}data: {body}\n\n"),
            Framing::Lines => format!("{body}\n"),
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::Value;

    use super::*;

    fn ends(family: Family, endpoint: Endpoint, framing: Framing) -> (String, Value) {
        let refusal = Refusal::budget_ended(Level::Key, "key_1");
        let id = RequestId::new(DateTime::UNIX_EPOCH);
        let bytes = refusal.in_stream(family, endpoint, id, framing);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(framing.ends_with(text.as_bytes()), "{text:?}");
        let (name, data) = text.rsplit_once("data: ").unwrap_or(("", text));
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }

    #[test]
    fn a_stream_ends_with_an_error_in_its_own_format() {
        let chat = Endpoint::ChatCompletions;
        let (name, openai) = ends(Family::OpenAi, chat, Framing::Events);
        assert_eq!((&*name, &openai["error"]["code"]), ("", &json!("permille_budget_exceeded")));
        assert_eq!(openai["error"]["type"], "insufficient_quota");
        let (name, responses) = ends(Family::OpenAi, Endpoint::Responses, Framing::Events);
        assert_eq!((&*name, &responses["type"]), ("event: error\n", &json!("error")));
        assert!(responses["message"].as_str().unwrap().contains("key `key_1`"));
        let (name, anthropic) = ends(Family::Anthropic, Endpoint::Messages, Framing::Events);
        assert_eq!((&*name, &anthropic["type"]), ("event: error\n", &json!("error")));
        assert_eq!(anthropic["error"]["type"], "billing_error");
        let (name, ollama) = ends(Family::Ollama, chat, Framing::Lines);
        assert_eq!((&*name, &ollama["error_type"]), ("", &json!("permille_budget_exceeded")));
    }

    #[test]
    fn an_event_ends_with_its_blank_line() {
        for (end, is_end) in [("a\n\n", true), ("a\r\n\r\n", true), ("a\n", false), ("a", false)] {
            assert_eq!(Framing::Events.ends_with(end.as_bytes()), is_end, "{end:?}");
        }
    }
}
