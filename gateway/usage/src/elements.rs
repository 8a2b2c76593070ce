//! Finds the elements of a body of many JSON values in its bytes and passes the bytes on, as
//! slices of what came: lines of JSON, or one list that grows.
//!
//! Holds what `sse` holds, for the same reasons: an unfinished element while it is short enough,
//! and the end of the reply. What stands between elements goes through at once. Elements and their
//! effect do not depend on how the bytes were split (M6).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::{
    document::Document,
    family::Verdict,
    skim::{Stop, in_text},
    sse::HELD_BYTES_MAX,
    tap::Piece,
};

/// How elements are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each line is an element: a line that cannot be read costs only itself.
    Lines,
    /// Each object of one list is an element, wherever its lines end.
    List,
}

/// What reads the elements.
pub(crate) trait ElementReader {
    /// A whole element.
    fn element(&mut self, raw: &[u8]) -> Verdict;
    /// An element that will be too long to hold, before its first byte.
    fn begin_document(&self) -> Document;
    /// The end of a long element.
    fn end_document(&mut self, document: &Document) -> Verdict;
    /// The list is closed: the reply is complete.
    fn end_list(&mut self);
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct ElementScanner {
    form: Form,
    /// The unfinished element, while it is short enough.
    held: BytesMut,
    /// The unfinished element, once it is too long.
    long: Option<Document>,
    /// The next byte belongs to an element.
    inside: bool,
    /// Open brackets of the element; only in a list.
    depth: u64,
    /// Inside a string of the element, `true` after a backslash; only in a list.
    text: Option<bool>,
    /// The reply's end was seen: all that follows passes.
    done: bool,
}

impl ElementScanner {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            held: BytesMut::new(),
            long: None,
            inside: false,
            depth: 0,
            text: None,
            done: false,
        }
    }

    /// Whether each line is an element.
    pub(crate) fn reads_lines(&self) -> bool {
        self.form == Form::Lines
    }

    /// Reads `bytes` and gives out what may go on.
    pub(crate) fn push(
        &mut self,
        bytes: &Bytes,
        reader: &mut impl ElementReader,
        out: &mut Vec<Piece>,
    ) {
        // `bytes[run..at]` passes, but has not been given out.
        let (mut run, mut at) = (0, 0);
        while !self.done {
            let rest = bytes.get(at..).unwrap_or_default();
            if !self.inside {
                let Some(start) = self.start(rest) else { break };
                at = at.saturating_add(start);
                if self.form == Form::List && bytes.get(at) == Some(&b']') {
                    pass(bytes, run..at, out);
                    run = at.saturating_add(1);
                    out.push(Piece::Terminal(bytes.slice(at..run)));
                    reader.end_list();
                    self.done = true;
                    break;
                }
                self.inside = true;
            }
            let start = at;
            let rest = bytes.get(start..).unwrap_or_default();
            let Some(length) = self.end(rest) else {
                pass(bytes, run..start, out);
                return self.hold(&bytes.slice(start..), reader, out);
            };
            at = start.saturating_add(length);
            self.inside = false;
            let part = rest.get(..length).unwrap_or(rest);
            let was_held = !self.held.is_empty();
            let (verdict, whole) = self.read(part, reader, out);
            match (verdict, whole) {
                (Verdict::Terminal, whole) => {
                    pass(bytes, run..start, out);
                    out.push(Piece::Terminal(whole.unwrap_or_else(|| bytes.slice(start..at))));
                    self.done = true;
                    run = at;
                }
                (_, Some(whole)) => {
                    debug_assert!(was_held && start == 0, "a held element opens a push");
                    out.push(Piece::Pass(whole));
                    run = at;
                }
                (_, None) => {}
            }
        }
        pass(bytes, run..bytes.len(), out);
    }

    /// The body ended: what is still held, read if it can be, and what it turned out to be.
    pub(crate) fn finish(&mut self, reader: &mut impl ElementReader) -> Option<(Bytes, Verdict)> {
        if let Some(long) = self.long.take() {
            reader.end_document(&long);
        }
        if self.held.is_empty() {
            return None;
        }
        let raw = self.held.split().freeze();
        let verdict = reader.element(&raw);
        Some((raw, verdict))
    }

    /// Where the next element, or the list's end, begins.
    fn start(&self, rest: &[u8]) -> Option<usize> {
        rest.iter().position(|byte| match self.form {
            Form::Lines => !byte.is_ascii_whitespace(),
            Form::List => matches!(byte, b'{' | b']'),
        })
    }

    /// How many bytes of `rest` belong to the element that it is inside of, when that ends here.
    fn end(&mut self, rest: &[u8]) -> Option<usize> {
        if self.form == Form::Lines {
            return memchr(b'\n', rest).map(|at| at.saturating_add(1));
        }
        let mut at: usize = 0;
        while let Some(rest) = rest.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(escaped) = self.text {
                let (taken, stop) = in_text(escaped, rest);
                at = at.saturating_add(taken);
                self.text = match stop {
                    Some(Stop::Quote) => None,
                    Some(Stop::Backslash) => Some(true),
                    None => Some(false),
                };
                continue;
            }
            let bracket =
                rest.iter().position(|b| matches!(b, b'"' | b'{' | b'[' | b'}' | b']'))?;
            at = at.saturating_add(bracket).saturating_add(1);
            match rest.get(bracket) {
                Some(b'"') => self.text = Some(false),
                Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                _ => self.depth = self.depth.saturating_sub(1),
            }
            if self.depth == 0 && self.text.is_none() {
                return Some(at);
            }
        }
        None
    }

    /// Reads the element that ends with `part`; gives it back when a part of it was held.
    fn read(
        &mut self,
        part: &[u8],
        reader: &mut impl ElementReader,
        out: &mut Vec<Piece>,
    ) -> (Verdict, Option<Bytes>) {
        if self.long.is_some() || self.held.len().saturating_add(part.len()) > HELD_BYTES_MAX {
            let mut long = self.lengthen(reader, out);
            long.push(part);
            return (reader.end_document(&long), None);
        }
        if self.held.is_empty() {
            return (reader.element(part), None);
        }
        self.held.extend_from_slice(part);
        let whole = self.held.split().freeze();
        (reader.element(&whole), Some(whole))
    }

    /// The end of a push inside an element.
    fn hold(&mut self, part: &Bytes, reader: &impl ElementReader, out: &mut Vec<Piece>) {
        if self.long.is_none() && self.held.len().saturating_add(part.len()) <= HELD_BYTES_MAX {
            self.held.extend_from_slice(part);
            return;
        }
        let mut long = self.lengthen(reader, out);
        long.push(part);
        self.long = Some(long);
        pass(part, 0..part.len(), out);
    }

    /// The element is too long to hold: what was held passes and is read as a document's start.
    fn lengthen(&mut self, reader: &impl ElementReader, out: &mut Vec<Piece>) -> Document {
        let mut long = self.long.take().unwrap_or_else(|| reader.begin_document());
        long.push(&self.held);
        if !self.held.is_empty() {
            out.push(Piece::Pass(self.held.split().freeze()));
        }
        long
    }
}

fn pass(bytes: &Bytes, range: Range<usize>, out: &mut Vec<Piece>) {
    if !range.is_empty() {
        out.push(Piece::Pass(bytes.slice(range)));
    }
}
