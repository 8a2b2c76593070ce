//! Streams in OpenAI's shape: `chat.completion.chunk` and `text_completion` events, `[DONE]`.

use bytes::BytesMut;

use crate::{
    account::Tally,
    control::UsageReport,
    generation::{Finish, Kind, Piece},
    openai::{finish_reason, usage},
    sse::{Sse, number, quoted, text},
    stream::Dialect,
};

/// Which of the two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Text,
}

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct Events {
    shape: Shape,
    /// Everything up to the choices; the same in each event.
    head: String,
    /// Everything after them, but for usage.
    tail: String,
    /// `,"usage":null` belongs in events without usage.
    null_usage: bool,
    /// A last event with usage and no choices belongs at the end.
    usage_event: bool,
    report: UsageReport,
    detailed: bool,
    call_id: String,
}

impl Events {
    /// A stream of the reply `id` by `model`. `include_usage` is what the client asked for.
    pub(crate) fn new(
        shape: Shape,
        id: &str,
        created: u64,
        model: &str,
        include_usage: bool,
        report: UsageReport,
    ) -> Self {
        let mut name = BytesMut::new();
        quoted(&mut name, model);
        let model_text = String::from_utf8_lossy(&name);
        let (head, tail) = match shape {
            Shape::Chat => (
                format!(
                    "{{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
                     \"model\":{model_text},\"service_tier\":\"default\",\
                     \"system_fingerprint\":\"fp_simulated\",\"choices\":["
                ),
                "]".to_owned(),
            ),
            Shape::Text => (
                format!(
                    "{{\"id\":\"{id}\",\"object\":\"text_completion\",\"created\":{created},\
                     \"choices\":["
                ),
                format!("],\"model\":{model_text}"),
            ),
        };
        let honest = include_usage && report != UsageReport::None;
        Self {
            shape,
            head,
            tail,
            null_usage: honest,
            usage_event: honest && report != UsageReport::FinishChunk,
            report,
            detailed: usage::is_detailed(model),
            call_id: id.replacen("chatcmpl-", "call_", 1),
        }
    }

    /// One event; `choice` writes what is between the brackets. `usage`: what to report in it.
    fn chunk(&self, sse: &mut Sse, usage: Option<&Tally>, choice: impl FnOnce(&mut BytesMut)) {
        sse.event(None, |out| {
            text(out, &self.head);
            choice(out);
            text(out, &self.tail);
            if let Some(tally) = usage {
                text(out, ",\"usage\":");
                usage::write(out, tally, self.report, self.detailed);
            } else if self.null_usage {
                text(out, ",\"usage\":null");
            }
            text(out, "}");
        });
    }

    fn every_chunk<'t>(&self, tally: &'t Tally) -> Option<&'t Tally> {
        (self.report == UsageReport::EveryChunk).then_some(tally)
    }

    fn delta(&self, sse: &mut Sse, index: usize, tally: &Tally, delta: impl FnOnce(&mut BytesMut)) {
        self.chunk(sse, self.every_chunk(tally), |out| {
            text(out, "{\"index\":");
            number(out, u64::try_from(index).unwrap_or(0));
            text(out, ",\"delta\":{");
            delta(out);
            text(out, "},\"logprobs\":null,\"finish_reason\":null}");
        });
    }

    fn text_choice(out: &mut BytesMut, index: usize, piece: &str, finish: Option<Finish>) {
        text(out, "{\"text\":");
        quoted(out, piece);
        text(out, ",\"index\":");
        number(out, u64::try_from(index).unwrap_or(0));
        text(out, ",\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(finish) => quoted(out, finish_reason(finish)),
            None => text(out, "null"),
        }
        text(out, "}");
    }

    fn tool_name(&self, out: &mut BytesMut, index: usize, name: &str) {
        text(out, "\"tool_calls\":[{\"index\":0,\"id\":\"");
        text(out, &self.call_id);
        number(out, u64::try_from(index).unwrap_or(0));
        text(out, "\",\"type\":\"function\",\"function\":{\"name\":");
        quoted(out, name);
        text(out, ",\"arguments\":\"\"}}]");
    }
}

impl Dialect for Events {
    fn open(&mut self, sse: &mut Sse, choices: &[Finish], tally: &Tally) {
        if self.shape == Shape::Chat {
            for (index, finish) in choices.iter().enumerate() {
                let content = if *finish == Finish::ToolCall { "null" } else { "\"\"" };
                self.delta(sse, index, tally, |out| {
                    text(out, "\"role\":\"assistant\",\"content\":");
                    text(out, content);
                    text(out, ",\"refusal\":null");
                });
            }
        }
    }

    fn piece(&mut self, sse: &mut Sse, choice: usize, piece: &Piece, tally: &Tally) {
        if self.shape == Shape::Text {
            self.chunk(sse, self.every_chunk(tally), |out| {
                Self::text_choice(out, choice, &piece.text, None);
            });
            return;
        }
        self.delta(sse, choice, tally, |out| match piece.kind {
            Kind::Text | Kind::Reasoning => {
                text(out, "\"content\":");
                quoted(out, &piece.text);
            }
            Kind::ToolName => self.tool_name(out, choice, &piece.text),
            Kind::ToolArguments => {
                text(out, "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
                quoted(out, &piece.text);
                text(out, "}}]");
            }
        });
    }

    fn close(&mut self, sse: &mut Sse, choices: &[Finish], tally: &Tally) {
        for (index, finish) in choices.iter().enumerate() {
            let last = index + 1 == choices.len();
            let here = match self.report {
                UsageReport::EveryChunk => Some(tally),
                UsageReport::FinishChunk if last => Some(tally),
                _ => None,
            };
            self.chunk(sse, here, |out| match self.shape {
                Shape::Text => Self::text_choice(out, index, "", Some(*finish)),
                Shape::Chat => {
                    text(out, "{\"index\":");
                    number(out, u64::try_from(index).unwrap_or(0));
                    text(out, ",\"delta\":{},\"logprobs\":null,\"finish_reason\":");
                    quoted(out, finish_reason(*finish));
                    text(out, "}");
                }
            });
        }
        if self.usage_event {
            self.chunk(sse, Some(tally), |_| ());
        }
    }

    fn terminal(&mut self, sse: &mut Sse) {
        sse.event(None, |out| text(out, "[DONE]"));
    }

    fn error(&mut self, sse: &mut Sse) {
        sse.event(None, |out| {
            text(
                out,
                "{\"error\":{\"message\":\"The server had an error while processing your \
                 request\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",
            );
        });
    }

    fn garbled(&mut self, sse: &mut Sse) {
        sse.event(None, |out| {
            text(out, &self.head);
            out.extend_from_slice(b"{\"index\":0,\"delta\":{\"content\":\"\xff\xc3");
        });
    }

    fn padded(&mut self, sse: &mut Sse, line_bytes: usize) {
        sse.event(None, |out| {
            let before = out.len();
            text(out, &self.head);
            match self.shape {
                Shape::Text => Self::text_choice(out, 0, "", None),
                Shape::Chat => {
                    text(
                        out,
                        "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}",
                    );
                }
            }
            text(out, &self.tail);
            text(out, if self.null_usage { ",\"usage\":null" } else { "" });
            text(out, ",\"obfuscation\":\"");
            let spent = out.len() - before + "data: \"}".len();
            let padding = line_bytes.saturating_sub(spent);
            out.resize(out.len() + padding, b'x');
            text(out, "\"}");
        });
    }
}
