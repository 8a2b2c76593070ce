//! Streams in Anthropic's shape: named events from `message_start` to `message_stop`.

use bytes::BytesMut;

use crate::{
    account::Tally,
    anthropic::{SIGNATURE, stop_reason, usage},
    control::UsageReport,
    generation::{Finish, Kind, Piece},
    sse::{Sse, number, quoted, text},
    stream::Dialect,
};

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct Events {
    id: String,
    model: String,
    report: UsageReport,
    /// The block that is open: its number and what it holds.
    block: Option<(u64, Kind)>,
    blocks: u64,
}

/// What `message_start` says about output before there is any.
const PLACEHOLDER_OUTPUT_TOKENS: u64 = 1;

impl Events {
    pub(crate) fn new(id: &str, model: &str, report: UsageReport) -> Self {
        Self { id: id.to_owned(), model: model.to_owned(), report, block: None, blocks: 0 }
    }

    fn open_block(&mut self, sse: &mut Sse, kind: Kind, name: &str) -> u64 {
        let index = self.blocks;
        self.blocks += 1;
        self.block = Some((index, kind));
        sse.event(Some("content_block_start"), |out| {
            text(out, "{\"type\":\"content_block_start\",\"index\":");
            number(out, index);
            text(out, ",\"content_block\":");
            match kind {
                Kind::Text => text(out, "{\"type\":\"text\",\"text\":\"\"}"),
                Kind::Reasoning => {
                    text(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
                }
                Kind::ToolName | Kind::ToolArguments => {
                    text(out, "{\"type\":\"tool_use\",\"id\":");
                    quoted(out, &self.id.replacen("msg_", "toolu_", 1));
                    text(out, ",\"name\":");
                    quoted(out, name);
                    text(out, ",\"input\":{}}");
                }
            }
            text(out, "}");
        });
        if index == 0 {
            sse.event(Some("ping"), |out| text(out, "{\"type\":\"ping\"}"));
        }
        index
    }

    fn close_block(&mut self, sse: &mut Sse) {
        let Some((index, kind)) = self.block.take() else { return };
        if kind == Kind::Reasoning {
            Self::delta(sse, index, |out| {
                text(out, "{\"type\":\"signature_delta\",\"signature\":\"");
                text(out, SIGNATURE);
                text(out, "\"}");
            });
        }
        sse.event(Some("content_block_stop"), |out| {
            text(out, "{\"type\":\"content_block_stop\",\"index\":");
            number(out, index);
            text(out, "}");
        });
    }

    fn delta(sse: &mut Sse, index: u64, delta: impl FnOnce(&mut BytesMut)) {
        sse.event(Some("content_block_delta"), |out| {
            text(out, "{\"type\":\"content_block_delta\",\"index\":");
            number(out, index);
            text(out, ",\"delta\":");
            delta(out);
            text(out, "}");
        });
    }

    fn message_delta(&self, sse: &mut Sse, finish: Option<Finish>, tally: &Tally) {
        sse.event(Some("message_delta"), |out| {
            text(out, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
            match finish {
                Some(finish) => quoted(out, stop_reason(finish)),
                None => text(out, "null"),
            }
            text(out, ",\"stop_sequence\":null}");
            if self.report != UsageReport::None {
                let zero = Tally::default();
                let told = if self.report == UsageReport::Zero { &zero } else { tally };
                text(out, ",\"usage\":");
                usage::write_delta(out, told);
            }
            text(out, "}");
        });
    }
}

impl Dialect for Events {
    fn open(&mut self, sse: &mut Sse, _choices: &[Finish], tally: &Tally) {
        sse.event(Some("message_start"), |out| {
            text(out, "{\"type\":\"message_start\",\"message\":{\"id\":");
            quoted(out, &self.id);
            text(out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
            quoted(out, &self.model);
            text(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
            let zero = Tally::default();
            let told = match self.report {
                UsageReport::None => None,
                UsageReport::Zero | UsageReport::FinishChunk => Some((&zero, 0)),
                UsageReport::Honest | UsageReport::EveryChunk | UsageReport::WrongTotal => {
                    Some((tally, PLACEHOLDER_OUTPUT_TOKENS))
                }
            };
            if let Some((tally, output)) = told {
                text(out, ",\"usage\":");
                usage::write(out, tally, Some(output));
            }
            text(out, "}}");
        });
    }

    fn piece(&mut self, sse: &mut Sse, _choice: usize, piece: &Piece, tally: &Tally) {
        let same = |open: Kind| open == piece.kind || open == Kind::ToolName;
        let index = match self.block {
            Some((index, open)) if same(open) => index,
            _ => {
                self.close_block(sse);
                self.open_block(sse, piece.kind, &piece.text)
            }
        };
        if piece.kind != Kind::ToolName {
            Self::delta(sse, index, |out| {
                text(
                    out,
                    match piece.kind {
                        Kind::Text => "{\"type\":\"text_delta\",\"text\":",
                        Kind::Reasoning => "{\"type\":\"thinking_delta\",\"thinking\":",
                        Kind::ToolName | Kind::ToolArguments => {
                            "{\"type\":\"input_json_delta\",\"partial_json\":"
                        }
                    },
                );
                quoted(out, &piece.text);
                text(out, "}");
            });
        }
        if self.report == UsageReport::EveryChunk {
            self.message_delta(sse, None, tally);
        }
    }

    fn close(&mut self, sse: &mut Sse, choices: &[Finish], tally: &Tally) {
        self.close_block(sse);
        self.message_delta(sse, choices.first().copied(), tally);
    }

    fn terminal(&mut self, sse: &mut Sse) {
        sse.event(Some("message_stop"), |out| text(out, "{\"type\":\"message_stop\"}"));
    }

    fn error(&mut self, sse: &mut Sse) {
        sse.event(Some("error"), |out| {
            text(
                out,
                "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
                 \"message\":\"Overloaded\"}}",
            );
        });
    }

    fn garbled(&mut self, sse: &mut Sse) {
        sse.event(Some("content_block_delta"), |out| {
            out.extend_from_slice(
                b"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"\xff\xc3",
            );
        });
    }

    fn padded(&mut self, sse: &mut Sse, line_bytes: usize) {
        sse.event(Some("ping"), |out| {
            let before = out.len();
            text(out, "{\"type\":\"ping\",\"padding\":\"");
            let spent = out.len() - before + "data: \"}".len();
            out.resize(out.len() + line_bytes.saturating_sub(spent), b'x');
            text(out, "\"}");
        });
    }
}
