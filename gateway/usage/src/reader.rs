//! One reply's bytes, decoded, from framing to facts.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use permille_types::Endpoint;

use crate::{
    description::ApiDescription,
    document::{Document, start_of_document},
    elements::{ElementReader, ElementScanner, Form},
    event::{self, Event, LongEvent},
    family::{Parser, Verdict},
    reading::{Facts, OPENING_BYTES, Reading},
    sse::{EventReader, Scanner},
    tap::{Framing, Piece, TapConfig},
    text::DeliveredText,
};

/// Bytes kept of a document for an estimate, should it end without usage. A reply's text beyond
/// that is extrapolated from the document's length.
const DOCUMENT_BYTES_KEPT: usize = 256 * 1024;

/// Longest document that is kept until it is known whether it came in one piece, in bytes: no value
/// in it can be too large to be read.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// How a comment and the fields of events begin. Source: WHATWG HTML, section 9.2.6.
const EVENT_BEGINS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];

/// What turns events into facts.
#[derive(Debug)]
struct Meter {
    endpoint: Endpoint,
    parser: Parser,
    facts: Facts,
    cut_usage_frame: bool,
    /// Room for data that came in several lines.
    joined: Vec<u8>,
}

/// How the body is framed.
#[derive(Debug)]
enum Body {
    /// Events; `true` while nothing but white space has come.
    Sse(Scanner, bool),
    /// Events or a document, it is not known yet: as much of its beginning as could be that of an
    /// event.
    Untold(Vec<u8>),
    /// Many documents, in lines or in a list.
    Elements(ElementScanner),
    /// One document, of which one piece has come, or none. Most replies are whole with it, and are
    /// read at once when they are asked for.
    Piece(Bytes),
    /// One document, in pieces.
    Json(Document),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Reader {
    meter: Meter,
    body: Body,
}

impl Reader {
    /// A reader of the replies that `config` says; absent when they consume nothing.
    pub(crate) fn new(
        config: TapConfig,
        description: Option<&Arc<ApiDescription>>,
        cut_usage_frame: bool,
    ) -> Option<Self> {
        let parser = Parser::of(config.family, config.endpoint, description)?;
        let meter = Meter {
            endpoint: config.endpoint,
            parser,
            facts: Facts::default(),
            cut_usage_frame,
            joined: Vec::new(),
        };
        let body = match config.framing {
            Framing::Sse => Body::Sse(Scanner::new(), true),
            Framing::Untold => Body::Untold(Vec::new()),
            Framing::Json => Body::Piece(Bytes::new()),
            Framing::JsonLines => Body::Elements(ElementScanner::new(Form::Lines)),
            Framing::JsonArray => Body::Elements(ElementScanner::new(Form::List)),
        };
        Some(Self { meter, body })
    }

    /// Reads `bytes` and gives out what may go on.
    pub(crate) fn push(&mut self, bytes: Bytes, out: &mut Vec<Piece>) {
        if let Body::Sse(scanner, undecided @ true) = &mut self.body {
            match bytes.get(start_of_document(&bytes)) {
                None => {}
                // A JSON document where events were announced: an error with a success status.
                Some(b'{') => {
                    let held = std::mem::replace(scanner, Scanner::new()).into_held();
                    if !held.is_empty() {
                        out.push(Piece::Pass(held));
                    }
                    self.body = Body::Piece(Bytes::new());
                }
                Some(_) => *undecided = false,
            }
        }
        let Some(bytes) = self.decided(bytes, out) else { return };
        match &mut self.body {
            Body::Sse(scanner, _) => scanner.push(&bytes, &mut self.meter, out),
            Body::Elements(scanner) => scanner.push(&bytes, &mut self.meter, out),
            Body::Piece(piece) => {
                if piece.is_empty() && bytes.len() <= WHOLE_BYTES_MAX {
                    *piece = bytes.clone();
                } else if !bytes.is_empty() {
                    let mut document = self.meter.document();
                    document.push(piece);
                    document.push(&bytes);
                    self.body = Body::Json(document);
                }
                pass(bytes, out);
            }
            Body::Json(document) => {
                document.push(&bytes);
                pass(bytes, out);
            }
            // Those that could not be decided on are kept.
            Body::Untold(_) => {}
        }
    }

    /// Decides whether a body whose framing nobody told is one of events, and gives what is to be
    /// read of it now. What stands before passes: white space, a byte order mark.
    fn decided(&mut self, bytes: Bytes, out: &mut Vec<Piece>) -> Option<Bytes> {
        let Body::Untold(begun) = &mut self.body else { return Some(bytes) };
        begun.extend_from_slice(&bytes);
        let mut opening = Bytes::from(std::mem::take(begun));
        pass(opening.split_to(start_of_document(&opening)), out);
        if EVENT_BEGINS.iter().any(|begin| opening.starts_with(begin)) {
            self.body = Body::Sse(Scanner::new(), false);
        } else if EVENT_BEGINS.iter().any(|begin| begin.starts_with(&opening)) {
            begun.extend_from_slice(&opening);
            return None;
        } else {
            self.body = Body::Piece(Bytes::new());
        }
        Some(opening)
    }

    /// The body ended: what was held, and what it is.
    pub(crate) fn finish(&mut self) -> Option<(Bytes, Verdict)> {
        self.meter.facts.ended = true;
        // An event that was cut short is no defect of the tap.
        let tap_error = self.meter.facts.tap_error;
        let rest = match &mut self.body {
            Body::Sse(scanner, _) => scanner.finish(&mut self.meter),
            Body::Elements(scanner) => scanner.finish(&mut self.meter),
            Body::Piece(_) | Body::Json(_) => None,
            Body::Untold(begun) => {
                let begun = Bytes::from(std::mem::take(begun));
                self.body = Body::Piece(begun.clone());
                Some((begun, Verdict::Plain))
            }
        };
        self.meter.facts.tap_error = tap_error;
        rest.map(|(raw, verdict)| match verdict {
            Verdict::UsageOnly if self.meter.cut_usage_frame => (Bytes::new(), verdict),
            _ => (raw, verdict),
        })
    }

    /// The state that is not read from the body.
    pub(crate) fn facts(&mut self) -> &mut Facts {
        &mut self.meter.facts
    }

    /// Whether the reply's end was seen.
    pub(crate) fn is_terminal(&self) -> bool {
        let is_closed = match &self.body {
            Body::Piece(piece) => self.meter.document_of(piece).is_closed(),
            Body::Json(document) => document.is_closed(),
            Body::Sse(..) | Body::Elements(_) | Body::Untold(_) => false,
        };
        self.meter.facts.terminal || is_closed
    }

    /// How the body is framed, as far as that is known.
    pub(crate) fn framing(&self) -> Framing {
        match &self.body {
            Body::Sse(..) => Framing::Sse,
            Body::Elements(scanner) if scanner.reads_lines() => Framing::JsonLines,
            Body::Elements(_) => Framing::JsonArray,
            Body::Untold(_) => Framing::Untold,
            Body::Piece(_) | Body::Json(_) => Framing::Json,
        }
    }

    /// The text that came in events so far.
    pub(crate) fn text(&self) -> &DeliveredText {
        &self.meter.facts.text
    }

    /// Everything known now. The text is in it where usage is not complete, or it is asked for.
    pub(crate) fn reading(&self, with_text: bool) -> Reading {
        let (mut facts, mut parser) = (self.meter.facts.light_clone(), self.meter.parser.clone());
        let text = match &self.body {
            Body::Sse(..) | Body::Elements(_) | Body::Untold(_) => {
                Cow::Borrowed(&self.meter.facts.text)
            }
            Body::Piece(piece) => Cow::Owned(self.meter.piece(piece, &mut parser, &mut facts)),
            Body::Json(document) => Cow::Owned(read(document, &mut parser, &mut facts)),
        };
        // Where a stream tells its end, running counts without it are not the whole reply's.
        let ends_itself = parser.ends_itself();
        let is_told = facts.terminal || facts.finish_seen || !ends_itself;
        facts.output_final |=
            is_told && facts.ended && !facts.abandoned && facts.parts.output.is_some();
        let failed = facts.is_failed();
        let usage = parser.usage(self.meter.endpoint, &facts);
        let counted = usage.as_ref().is_some_and(crate::Usage::is_complete);
        Reading {
            usage,
            provider_id: facts.provider_id,
            model: facts.model,
            service_tier: facts.service_tier,
            stop: text.stop,
            terminal: facts.terminal,
            unended: ends_itself && !facts.terminal && !facts.finish_seen,
            error: facts.error,
            pending: facts.pending,
            failed,
            tap_error: facts.tap_error,
            unreadable: facts.unreadable,
            opening: text.visible.opening(OPENING_BYTES).to_owned(),
            // Only an estimate and an audit need it.
            text: if counted && !with_text { DeliveredText::default() } else { text.into_owned() },
        }
    }
}

/// Takes over what a document reports as far as it has come, and gives its text.
fn read(document: &Document, parser: &mut Parser, facts: &mut Facts) -> DeliveredText {
    parser.document(document, b"", facts);
    facts.terminal = document.is_closed();
    facts.output_final = true;
    parser.document_text(document)
}

fn pass(bytes: Bytes, out: &mut Vec<Piece>) {
    if !bytes.is_empty() {
        out.push(Piece::Pass(bytes));
    }
}

impl Meter {
    /// The same of the only piece that has come: in one reading where it is a whole reply of the
    /// family's ordinary shape, else as it would be read in pieces.
    fn piece(&self, piece: &[u8], parser: &mut Parser, facts: &mut Facts) -> DeliveredText {
        let json = piece.get(start_of_document(piece)..).unwrap_or_default();
        if self.endpoint.is_embedding() || !parser.whole_document(json, facts) {
            return read(&self.document_of(piece), parser, facts);
        }
        facts.terminal = true;
        facts.output_final = true;
        std::mem::take(&mut facts.text)
    }

    fn document_of(&self, piece: &[u8]) -> Document {
        let mut document = self.document();
        document.push(piece);
        document
    }

    fn document(&self) -> Document {
        // An embeddings reply delivers no text.
        let kept = if self.endpoint.is_embedding() { 0 } else { DOCUMENT_BYTES_KEPT };
        self.parser.empty_document(kept)
    }

    /// The data of an event that was too long to be held.
    fn long_document(&mut self, document: &Document, name: &[u8]) -> Verdict {
        let verdict = self.parser.document(document, name, &mut self.facts);
        self.facts.text.append(&self.parser.document_text(document));
        verdict
    }
}

impl EventReader for Meter {
    fn event(&mut self, raw: &[u8], first: bool) -> Verdict {
        let event = event::parse(raw, first, &mut self.joined);
        self.parser.event(&event, &mut self.facts)
    }

    fn begin_long(&self, first: bool) -> LongEvent {
        LongEvent::new(first, self.document())
    }

    fn end_long(&mut self, event: LongEvent) -> Verdict {
        let (name, document) = event.finish();
        self.long_document(&document, &name)
    }

    fn cuts_usage(&self) -> bool {
        self.cut_usage_frame
    }
}

impl ElementReader for Meter {
    fn element(&mut self, raw: &[u8]) -> Verdict {
        self.parser.event(&Event { name: None, data: Some(raw) }, &mut self.facts)
    }

    fn begin_document(&self) -> Document {
        self.document()
    }

    fn end_document(&mut self, document: &Document) -> Verdict {
        self.long_document(document, b"")
    }

    fn end_list(&mut self) {
        self.facts.terminal = true;
        self.facts.output_final |= self.facts.parts.output.is_some();
    }
}

#[cfg(test)]
mod tests {
    use permille_types::Family;

    use super::*;
    use crate::Encoding;

    fn reader() -> Reader {
        let config = TapConfig {
            family: Family::OpenAi,
            endpoint: Endpoint::ChatCompletions,
            framing: Framing::Json,
            encoding: Encoding::Identity,
            cut_usage_frame: false,
        };
        Reader::new(config, None, false).unwrap()
    }

    /// A reply of so many bytes.
    fn reply(bytes: usize) -> Vec<u8> {
        let (before, after) = (
            r#"{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":""#,
            r#""}}],"usage":{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}}"#,
        );
        let text = "a".repeat(bytes - before.len() - after.len());
        format!("{before}{text}{after}").into_bytes()
    }

    /// What a whole reply reports is the same in one reading and in pieces; which way was taken
    /// shows only here.
    #[test]
    fn a_reply_of_up_to_64_kib_in_one_piece_is_read_at_once() {
        for (bytes, is_held) in [(65_536, true), (65_537, false)] {
            let mut reader = reader();
            reader.push(reply(bytes).into(), &mut Vec::new());
            assert_eq!(matches!(reader.body, Body::Piece(_)), is_held, "{bytes} bytes");
        }
        let (mut reader, mut facts) = (reader(), Facts::default());
        assert!(reader.meter.parser.whole_document(&reply(400), &mut facts));
        assert_eq!((facts.parts.input, facts.parts.output), (Some(8), Some(4)));
    }
}
