//! Faults and lengths on demand: what a request may ask the simulator to do.
//!
//! Taken from the header `x-simulate: key=value,…`, from a `user` field that starts with
//! `simulate:`, and from a last user message that does, because a gateway passes the body on and
//! may drop a header. Where several say different things, the header wins, then the field.

use std::{str::FromStr, time::Duration};

use http::StatusCode;

/// The marker that opens controls in a message or a `user` field.
const MARKER: &str = "simulate:";
/// Longest completion that can be asked for, in tokens: an hour of text at a fast pace.
const TOKENS_MAX: u64 = 1_000_000;
/// Largest padded line, in bytes; above what any client should accept in one event.
const BIG_LINE_BYTES_MAX: usize = 16 << 20;
/// Longest single wait, in milliseconds: ten minutes, as the longest client timeouts.
const WAIT_MS_MAX: u64 = 600_000;

/// A control that is not understood; the text names the key and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    /// The key is unknown.
    #[error("unknown simulation key `{key}`: accepted are {}", KEYS.join(", "))]
    UnknownKey {
        /// As it was written.
        key: String,
    },
    /// The value does not fit the key.
    #[error("simulation key `{key}` has the value `{value}`: accepted is {accepted}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// The key says something about streams and the request is not one.
    #[error("simulation key `{key}` needs a streamed reply: accepted is \"stream\": true")]
    NeedsStream {
        /// The key.
        key: &'static str,
    },
}

/// How usage is reported, whatever was really generated (the books always hold the truth).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UsageReport {
    /// As the provider's documentation says.
    #[default]
    Honest,
    /// Never, even when the client asked.
    None,
    /// Cumulative, with every piece.
    EveryChunk,
    /// All counts are 0.
    Zero,
    /// With the finish reason instead of after it.
    FinishChunk,
    /// The total is one more than its parts, where a provider reports a total.
    WrongTotal,
}

/// What ends or spoils a stream, and after how many pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// Nothing more is sent; the connection stays open.
    Stall,
    /// The connection is reset (HTTP/1.1) or the stream is (HTTP/2).
    Cut,
    /// The body ends cleanly without its terminal event.
    End,
    /// An error event, then the end.
    Error,
}

/// Everything that one request asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Controls {
    pub(crate) tokens: Option<u64>,
    pub(crate) first: Option<Duration>,
    pub(crate) chunk: Option<Duration>,
    pub(crate) slow_head: Option<Duration>,
    pub(crate) broken: Option<(Break, u64)>,
    pub(crate) garble_after: Option<u64>,
    pub(crate) big_line: Option<usize>,
    pub(crate) status: Option<StatusCode>,
    /// `status` and `drop` hold for so many requests with these messages.
    pub(crate) times: Option<u64>,
    pub(crate) drop: bool,
    pub(crate) error200: bool,
    pub(crate) usage: UsageReport,
    pub(crate) gzip: bool,
    pub(crate) crlf: bool,
    pub(crate) comments: bool,
    pub(crate) coalesce: bool,
    pub(crate) split: bool,
    pub(crate) tool: bool,
    /// The controls as they were written, for the books; absent: none.
    pub(crate) written: Option<String>,
}

const KEYS: &[&str] = &[
    "tokens",
    "first_ms",
    "chunk_ms",
    "slow_head_ms",
    "stall_after",
    "cut_after",
    "end_after",
    "error_after",
    "garble_after",
    "bigline",
    "status",
    "drop",
    "times",
    "error200",
    "usage",
    "gzip",
    "crlf",
    "comments",
    "coalesce",
    "split",
    "tool",
];

impl Controls {
    /// The controls of one request. `user` and `message` count only when they start with the
    /// marker; controls in them end at the first white space.
    pub(crate) fn gather(
        header: Option<&str>,
        user: Option<&str>,
        message: Option<&str>,
    ) -> Result<Self, ControlError> {
        let mut controls = Self::default();
        let marked = |text: &str| {
            let text = text.strip_prefix(MARKER)?;
            Some(text.split_whitespace().next().unwrap_or("").to_owned())
        };
        let written: Vec<String> =
            [message.and_then(marked), user.and_then(marked), header.map(str::to_owned)]
                .into_iter()
                .flatten()
                .filter(|text| !text.trim().is_empty())
                .collect();
        for text in &written {
            for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                controls.set(key.trim(), value.trim())?;
            }
        }
        controls.written = (!written.is_empty()).then(|| written.join(","));
        Ok(controls)
    }

    /// The part of a message that is meant for the model.
    pub(crate) fn strip(message: &str) -> &str {
        match message.strip_prefix(MARKER) {
            Some(rest) => rest.split_once(char::is_whitespace).map_or("", |(_, text)| text),
            None => message,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ControlError> {
        match key {
            "tokens" => {
                let accepted = "a number of tokens from 0 to 1000000";
                self.tokens = Some(number(key, value, TOKENS_MAX, accepted)?);
            }
            "first_ms" => self.first = Some(wait(key, value)?),
            "chunk_ms" => self.chunk = Some(wait(key, value)?),
            "slow_head_ms" => self.slow_head = Some(wait(key, value)?),
            "stall_after" => self.broken = Some((Break::Stall, pieces(key, value)?)),
            "cut_after" => self.broken = Some((Break::Cut, pieces(key, value)?)),
            "end_after" => self.broken = Some((Break::End, pieces(key, value)?)),
            "error_after" => self.broken = Some((Break::Error, pieces(key, value)?)),
            "garble_after" => self.garble_after = Some(pieces(key, value)?),
            "bigline" => {
                let accepted = "a number of bytes from 1 to 16777216";
                self.big_line = Some(number(key, value, BIG_LINE_BYTES_MAX, accepted)?);
            }
            "status" => {
                let accepted = "an error status from 400 to 599";
                let code = number(key, value, 599_u16, accepted)?;
                let status = StatusCode::from_u16(code).ok().filter(|_| code >= 400);
                self.status = Some(status.ok_or_else(|| bad(key, value, accepted))?);
            }
            "usage" => {
                self.usage = match value {
                    "none" => UsageReport::None,
                    "every_chunk" => UsageReport::EveryChunk,
                    "zero" => UsageReport::Zero,
                    "finish_chunk" => UsageReport::FinishChunk,
                    "wrong_total" => UsageReport::WrongTotal,
                    _ => {
                        let accepted = "none, every_chunk, zero, finish_chunk or wrong_total";
                        return Err(bad(key, value, accepted));
                    }
                }
            }
            "times" => {
                let accepted = "a number of requests from 1 to 1000000";
                let times = number(key, value, TOKENS_MAX, accepted)?;
                self.times = Some(times).filter(|times| *times > 0);
                self.times.ok_or_else(|| bad(key, value, accepted))?;
            }
            "drop" => self.drop = switch(key, value)?,
            "error200" => self.error200 = switch(key, value)?,
            "gzip" => self.gzip = switch(key, value)?,
            "crlf" => self.crlf = switch(key, value)?,
            "comments" => self.comments = switch(key, value)?,
            "coalesce" => self.coalesce = switch(key, value)?,
            "split" => self.split = switch(key, value)?,
            "tool" => self.tool = switch(key, value)?,
            _ => return Err(ControlError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }

    /// Refuses what has no meaning for a reply that is not streamed.
    pub(crate) fn check_whole(&self) -> Result<(), ControlError> {
        let only_streams = [
            ("end_after", matches!(self.broken, Some((Break::End, _)))),
            ("error_after", matches!(self.broken, Some((Break::Error, _)))),
            ("garble_after", self.garble_after.is_some()),
            ("bigline", self.big_line.is_some()),
            ("crlf", self.crlf),
            ("comments", self.comments),
            ("coalesce", self.coalesce),
            ("split", self.split),
        ];
        match only_streams.into_iter().find(|(_, asked)| *asked) {
            Some((key, _)) => Err(ControlError::NeedsStream { key }),
            None => Ok(()),
        }
    }
}

fn bad(key: &str, value: &str, accepted: &'static str) -> ControlError {
    ControlError::BadValue { key: key.to_owned(), value: value.to_owned(), accepted }
}

fn number<N: FromStr + PartialOrd + Copy>(
    key: &str,
    value: &str,
    most: N,
    accepted: &'static str,
) -> Result<N, ControlError> {
    value.parse().ok().filter(|n| *n <= most).ok_or_else(|| bad(key, value, accepted))
}

fn wait(key: &str, value: &str) -> Result<Duration, ControlError> {
    let accepted = "a number of milliseconds from 0 to 600000";
    number(key, value, WAIT_MS_MAX, accepted).map(Duration::from_millis)
}

fn pieces(key: &str, value: &str) -> Result<u64, ControlError> {
    number(key, value, TOKENS_MAX, "a number of chunks from 0 to 1000000")
}

fn switch(key: &str, value: &str) -> Result<bool, ControlError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(key, value, "1 or 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_wins_over_the_user_field_and_that_over_the_message() {
        let controls = Controls::gather(
            Some("tokens=3"),
            Some("simulate:tokens=2,crlf=1"),
            Some("simulate:tokens=1,crlf=0,chunk_ms=5 and the question"),
        )
        .unwrap();

        assert_eq!(controls.tokens, Some(3));
        assert!(controls.crlf);
        assert_eq!(controls.chunk, Some(Duration::from_millis(5)));
    }

    #[test]
    fn text_without_the_marker_is_no_control() {
        let controls = Controls::gather(None, Some("user-17"), Some("say simulate:x=1")).unwrap();

        assert_eq!(controls, Controls::default());
        assert_eq!(Controls::strip("simulate:tokens=4 what now?"), "what now?");
        assert_eq!(Controls::strip("what now?"), "what now?");
    }

    #[test]
    fn a_wrong_control_is_told_with_the_key_and_what_is_accepted() {
        for (text, parts) in [
            ("tokns=3", ["tokns", "tokens"]),
            ("tokens=many", ["many", "0 to 1000000"]),
            ("tokens=1000001", ["1000001", "0 to 1000000"]),
            ("status=200", ["200", "400 to 599"]),
            ("usage=some", ["some", "every_chunk"]),
            ("gzip=yes", ["yes", "1 or 0"]),
            ("cut_after", ["cut_after", "a number of chunks"]),
        ] {
            let said = Controls::gather(Some(text), None, None).unwrap_err().to_string();
            for part in parts {
                assert!(said.contains(part), "{said}");
            }
        }
    }

    #[test]
    fn every_announced_key_is_understood() {
        for key in KEYS {
            let understood = ["1", "429", "none"]
                .iter()
                .any(|value| Controls::default().set(key, value).is_ok());
            assert!(understood, "{key}");
        }
    }

    #[test]
    fn what_only_a_stream_can_do_is_refused_for_a_whole_reply() {
        let controls = Controls::gather(Some("garble_after=1"), None, None).unwrap();

        assert_eq!(controls.check_whole(), Err(ControlError::NeedsStream { key: "garble_after" }));
    }
}
