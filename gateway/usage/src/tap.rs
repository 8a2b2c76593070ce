//! The tap: bytes of a reply in, the same bytes out, and what they said.

use std::sync::Arc;

use bytes::Bytes;
use permille_types::{Endpoint, Family, TokenCount};
use serde::{Deserialize, Serialize};

use crate::{
    ApiDescription,
    decode::{Coding, Decoder},
    estimate::Piecemeal,
    family::Verdict,
    reader::Reader,
    reading::Reading,
    text::DeliveredText,
};

/// How a reply's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Server-sent events (`text/event-stream`). A body that opens with `{` is read as a document
    /// all the same.
    Sse,
    /// Not told of a reply that should be a stream: server-sent events where it opens as they do,
    /// else one document.
    #[serde(skip)]
    Untold,
    /// One JSON document.
    Json,
    /// A JSON document on each line (Ollama).
    JsonLines,
    /// One list of JSON documents, sent as it grows (Gemini without `alt=sse`).
    JsonArray,
}

impl Framing {
    /// The framing of a reply to `endpoint` with this `content-type`.
    #[must_use]
    pub fn of(endpoint: Endpoint, content_type: &str) -> Self {
        let kind = content_type.split([';', ',']).next().unwrap_or_default().trim();
        let is = |name: &str| kind.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            Self::Sse
        } else if is("application/x-ndjson") || is("application/jsonl") {
            Self::JsonLines
        } else if endpoint == Endpoint::StreamGenerateContent {
            Self::JsonArray
        } else {
            Self::Json
        }
    }
}

/// How a reply's body is encoded (`content-encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`, with or without the zlib wrapper.
    Deflate,
    /// An encoding that is not read here (`br`, `zstd`): the reading says `tap_error`.
    Opaque,
}

/// What a tap must know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapConfig {
    /// The family of the upstream: it reads the reply (M2).
    pub family: Family,
    /// What was asked.
    pub endpoint: Endpoint,
    /// How the body is framed.
    pub framing: Framing,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Cut the usage-only frame out of the stream, because we asked for it and the client did
    /// not. Without effect on an encoded body.
    pub cut_usage_frame: bool,
}

/// Bytes that may go on to the client, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Send at once.
    Pass(Bytes),
    /// The end of the reply: send once the journal has the settled record (D1).
    Terminal(Bytes),
}

/// See the module's text. Holds at most 64 KiB of an unfinished event, at most 128 KiB of text
/// and at most 256 KiB of a document's beginning.
///
/// A document, an encoded body and a reply that consumes nothing are never held: all their
/// pieces are [`Piece::Pass`], and the caller holds the body's last bytes.
#[derive(Debug)]
pub struct Tap {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    /// Consumes nothing: not read.
    Free,
    Plain(Box<Reader>),
    /// Read beside the bytes that pass.
    Tee(Box<Decoder>),
    /// Cannot be read; `true` once the upstream has broken off.
    Opaque(bool),
}

impl Tap {
    /// A tap for one reply.
    #[must_use]
    pub fn new(config: TapConfig) -> Self {
        Self::described(config, None)
    }

    /// A tap for one reply of an API that may be described by configuration. The generic family
    /// reads nothing without a description.
    #[must_use]
    pub fn described(config: TapConfig, description: Option<&Arc<ApiDescription>>) -> Self {
        let coding = match config.encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Coding::Gzip),
            Encoding::Deflate => Some(Coding::Deflate),
            Encoding::Opaque => {
                let metered = config.endpoint.is_metered();
                return Self { inner: if metered { Inner::Opaque(false) } else { Inner::Free } };
            }
        };
        let cut = config.cut_usage_frame && coding.is_none();
        let inner = match (Reader::new(config, description, cut), coding) {
            (None, _) => Inner::Free,
            (Some(reader), None) => Inner::Plain(Box::new(reader)),
            (Some(reader), Some(coding)) => Inner::Tee(Box::new(Decoder::new(coding, reader))),
        };
        Self { inner }
    }

    /// Counts that stood in the reply's headers: those of the body, where there are any, win.
    pub fn tell(&mut self, input: Option<TokenCount>, output: Option<TokenCount>) {
        match &mut self.inner {
            Inner::Plain(reader) => reader.facts().parts.tell(input, output),
            Inner::Tee(decoder) => decoder.reader().facts().parts.tell(input, output),
            Inner::Free | Inner::Opaque(_) => {}
        }
    }

    /// Takes the next bytes of the body; appends to `out` what may go on.
    pub fn push(&mut self, bytes: Bytes, out: &mut Vec<Piece>) {
        match &mut self.inner {
            Inner::Plain(reader) => return reader.push(bytes, out),
            Inner::Tee(decoder) => decoder.push(&bytes),
            Inner::Free | Inner::Opaque(_) => {}
        }
        if !bytes.is_empty() {
            out.push(Piece::Pass(bytes));
        }
    }

    /// The upstream's body ended cleanly. What was held comes out as [`Piece::Terminal`], after it
    /// was read: the last block of some streams lacks its blank line.
    pub fn finish(&mut self, out: &mut Vec<Piece>) {
        if let Some((rest, _)) = self.end()
            && !rest.is_empty()
        {
            out.push(Piece::Terminal(rest));
        }
    }

    /// The upstream broke the body off. What was held comes out, to be sent before the body to
    /// the client is broken off too: [`Piece::Terminal`] only when it is the terminal event.
    pub fn abandon(&mut self, out: &mut Vec<Piece>) {
        let rest = self.end();
        match &mut self.inner {
            Inner::Free => {}
            Inner::Plain(reader) => reader.facts().abandoned = true,
            Inner::Tee(decoder) => decoder.reader().facts().abandoned = true,
            Inner::Opaque(failed) => *failed = true,
        }
        match rest {
            Some((rest, _)) if rest.is_empty() => {}
            Some((rest, Verdict::Terminal)) => out.push(Piece::Terminal(rest)),
            Some((rest, _)) => out.push(Piece::Pass(rest)),
            None => {}
        }
    }

    /// Everything known now: at the end of the reply, or before, when the client has gone.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.read(false)
    }

    /// The same, with the delivered text although usage is complete: for an [`crate::Audit`].
    #[must_use]
    pub fn reading_with_text(&self) -> Reading {
        self.read(true)
    }

    /// Whether so much text has come that [`Self::take_text`] should be called.
    #[must_use]
    pub fn is_text_due(&self) -> bool {
        match &self.inner {
            Inner::Plain(reader) => reader.text().is_due(),
            Inner::Tee(decoder) => decoder.as_reader().text().is_due(),
            Inner::Free | Inner::Opaque(_) => false,
        }
    }

    /// Bytes of text that the reply has delivered so far, answers and reasoning; 0 where they are
    /// known only at its end.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        let bytes =
            |text: &DeliveredText| text.visible.bytes().saturating_add(text.reasoning.bytes());
        match &self.inner {
            Inner::Plain(reader) => bytes(reader.text()),
            Inner::Tee(decoder) => bytes(decoder.as_reader().text()),
            Inner::Free | Inner::Opaque(_) => 0,
        }
    }

    /// Takes the delivered text away, for [`crate::Ahead`] to count while the rest still comes.
    pub fn take_text(&mut self) -> Piecemeal {
        match &mut self.inner {
            Inner::Plain(reader) => Piecemeal::take(&mut reader.facts().text),
            Inner::Tee(decoder) => Piecemeal::take(&mut decoder.reader().facts().text),
            Inner::Free | Inner::Opaque(_) => Piecemeal::default(),
        }
    }

    /// How the body is framed, as far as that is known; absent where what passes is not what is
    /// read, or nothing is.
    #[must_use]
    pub fn framing(&self) -> Option<Framing> {
        match &self.inner {
            Inner::Plain(reader) => Some(reader.framing()),
            Inner::Free | Inner::Tee(_) | Inner::Opaque(_) => None,
        }
    }

    fn read(&self, with_text: bool) -> Reading {
        match &self.inner {
            Inner::Free => Reading::default(),
            Inner::Plain(reader) => reader.reading(with_text),
            Inner::Tee(decoder) => decoder.as_reader().reading(with_text),
            Inner::Opaque(failed) => {
                Reading { failed: *failed, tap_error: true, unreadable: true, ..Reading::default() }
            }
        }
    }

    fn end(&mut self) -> Option<(Bytes, Verdict)> {
        match &mut self.inner {
            Inner::Plain(reader) => reader.finish(),
            Inner::Tee(decoder) => {
                decoder.finish();
                None
            }
            Inner::Free | Inner::Opaque(_) => None,
        }
    }
}
