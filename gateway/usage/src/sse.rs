//! Finds the events of a stream in its bytes and passes the bytes on, as slices of what came.
//!
//! An unfinished event is held, so that the usage-only frame can be cut out whole and the
//! terminal event can wait. Events and their effect do not depend on how the bytes were split
//! (M6). Two things are never held: comments and blank lines between events, so that keep-alives
//! go through at once.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::{event::LongEvent, family::Verdict, tap::Piece};

/// Longest event that is held, in bytes. Usage-only frames have under 4 KiB; a longer event passes
/// as it comes, so that one stream holds no more than this. Of a longer terminal event the last
/// bytes wait: without them it is not complete.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024;

/// What reads the events.
pub(crate) trait EventReader {
    /// A whole event, its separator included; `first` when it opens the stream.
    fn event(&mut self, raw: &[u8], first: bool) -> Verdict;
    /// An event that will be too long to hold, before its first byte.
    fn begin_long(&self, first: bool) -> LongEvent;
    /// The end of a long event. What has passed of it cannot be cut; its last bytes can wait.
    fn end_long(&mut self, event: LongEvent) -> Verdict;
    /// Whether a usage-only frame is to be cut out.
    fn cuts_usage(&self) -> bool;
}

/// See the module's text.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "most of their combinations occur")]
pub(crate) struct Scanner {
    /// The unfinished event, while it is short enough.
    held: BytesMut,
    /// The unfinished event, once it is too long.
    long: Option<LongEvent>,
    /// A field line of an event has begun.
    in_event: bool,
    /// The current line has bytes.
    in_line: bool,
    /// The last byte was a CR: an LF would belong to the same line end.
    after_cr: bool,
    /// That LF belongs to a frame that was cut.
    cut_lf: bool,
    /// Nothing of the stream has been passed: the event may open with a byte order mark.
    first: bool,
    /// The terminal event was seen: all that follows passes.
    done: bool,
}

/// One push: `bytes[run..start]` passes, `bytes[start..next]` belongs to the unfinished event.
struct Pass<'a> {
    bytes: &'a Bytes,
    run: usize,
    start: usize,
    next: usize,
}

impl Pass<'_> {
    fn flush(&mut self, out: &mut Vec<Piece>) {
        if self.start > self.run {
            out.push(Piece::Pass(self.bytes.slice(self.run..self.start)));
        }
        self.run = self.start;
    }

    /// The part of this push that the unfinished event has.
    fn event(&self) -> &[u8] {
        self.bytes.get(self.start..self.next).unwrap_or_default()
    }
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            held: BytesMut::new(),
            long: None,
            in_event: false,
            in_line: false,
            after_cr: false,
            cut_lf: false,
            first: true,
            done: false,
        }
    }

    /// Reads `bytes` and gives out what may go on.
    pub(crate) fn push(
        &mut self,
        bytes: &Bytes,
        reader: &mut impl EventReader,
        out: &mut Vec<Piece>,
    ) {
        if bytes.is_empty() {
            return;
        }
        if self.done {
            out.push(Piece::Pass(bytes.clone()));
            return;
        }
        let mut pass = Pass { bytes, run: 0, start: 0, next: 0 };
        self.split_line_end(&mut pass);
        while let Some(at) = memchr2(b'\n', b'\r', bytes.get(pass.next..).unwrap_or_default()) {
            let end = pass.next.saturating_add(at);
            if at > 0 {
                self.begin_line(bytes.get(pass.next));
            }
            pass.next = end.saturating_add(1);
            self.after_cr = bytes.get(end) == Some(&b'\r');
            if self.in_line {
                self.in_line = false;
                self.take_lf(&mut pass);
                if !self.in_event {
                    self.release(&mut pass);
                }
            } else if self.in_event {
                self.end_event(&mut pass, reader, out);
                if self.done {
                    pass.flush(out);
                    return;
                }
            } else {
                self.take_lf(&mut pass);
                self.release(&mut pass);
            }
        }
        self.hold(&mut pass, reader, out);
    }

    /// The body ended: what is still held, read if it can be, and what it turned out to be.
    pub(crate) fn finish(&mut self, reader: &mut impl EventReader) -> Option<(Bytes, Verdict)> {
        if let Some(long) = self.long.take() {
            reader.end_long(long);
        }
        if self.held.is_empty() {
            return None;
        }
        let raw = self.held.split().freeze();
        let verdict = reader.event(&raw, self.first);
        Some((raw, verdict))
    }

    /// Gives up scanning: what is held.
    pub(crate) fn into_held(mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// An LF whose CR ended the push before.
    fn split_line_end(&mut self, pass: &mut Pass<'_>) {
        if std::mem::take(&mut self.after_cr) && pass.bytes.first() == Some(&b'\n') {
            pass.next = 1;
            if !self.in_event {
                pass.start = 1;
                pass.run = usize::from(self.cut_lf);
            }
        }
        self.cut_lf = false;
    }

    /// A line's first byte: outside an event a comment passes, anything else opens an event.
    fn begin_line(&mut self, byte: Option<&u8>) {
        if !self.in_line && !self.in_event {
            self.in_event = byte != Some(&b':');
        }
        self.in_line = true;
    }

    /// Takes the LF behind a CR along, when it is there already.
    fn take_lf(&mut self, pass: &mut Pass<'_>) {
        if self.after_cr && pass.bytes.get(pass.next) == Some(&b'\n') {
            pass.next = pass.next.saturating_add(1);
            self.after_cr = false;
        }
        // When it comes with the next push it is part of a line end that has already been seen.
        self.after_cr &= pass.next == pass.bytes.len();
    }

    /// Lets everything up to here pass.
    fn release(&mut self, pass: &mut Pass<'_>) {
        pass.start = pass.next;
        self.first = false;
    }

    fn end_event(
        &mut self,
        pass: &mut Pass<'_>,
        reader: &mut impl EventReader,
        out: &mut Vec<Piece>,
    ) {
        self.in_event = false;
        let part = pass.event();
        // The LF of a split CRLF does not count, or the bound would depend on the split.
        let is_long = self.held.len().saturating_add(part.len()) > HELD_BYTES_MAX;
        let verdict = if self.long.is_some() || is_long {
            let mut long = self.long.take().unwrap_or_else(|| reader.begin_long(self.first));
            long.feed(&self.held);
            long.feed(part);
            if !self.held.is_empty() {
                out.push(Piece::Pass(self.held.split().freeze()));
            }
            match reader.end_long(long) {
                Verdict::Terminal => Verdict::Terminal,
                Verdict::Plain | Verdict::UsageOnly => Verdict::Plain,
            }
        } else if self.held.is_empty() {
            reader.event(part, self.first)
        } else {
            self.held.extend_from_slice(part);
            pass.run = pass.next;
            pass.start = pass.next;
            reader.event(&self.held, self.first)
        };
        self.first = false;
        self.dispose(verdict, pass, reader, out);
    }

    /// Passes, cuts or marks the event that just ended.
    fn dispose(
        &mut self,
        verdict: Verdict,
        pass: &mut Pass<'_>,
        reader: &impl EventReader,
        out: &mut Vec<Piece>,
    ) {
        let terminal = verdict == Verdict::Terminal;
        let was_held = !self.held.is_empty();
        let before_lf = pass.next;
        self.take_lf(pass);
        if terminal && was_held && pass.next > before_lf {
            self.held.extend_from_slice(b"\n");
        }
        let held = if was_held { self.held.split().freeze() } else { Bytes::new() };
        if terminal {
            self.done = true;
            pass.flush(out);
            let frame = if was_held { held } else { pass.bytes.slice(pass.start..pass.next) };
            out.push(Piece::Terminal(frame));
            pass.run = pass.next;
            pass.start = pass.bytes.len();
        } else if verdict == Verdict::UsageOnly && reader.cuts_usage() {
            pass.flush(out);
            self.cut_lf = self.after_cr;
            pass.start = pass.next;
            pass.run = pass.next;
        } else {
            if was_held {
                out.push(Piece::Pass(held));
            }
            pass.start = pass.next;
        }
    }

    /// The end of a push: passes what may go and holds the rest.
    fn hold(&mut self, pass: &mut Pass<'_>, reader: &impl EventReader, out: &mut Vec<Piece>) {
        let rest = pass.bytes.get(pass.next..).unwrap_or_default();
        if !rest.is_empty() {
            self.begin_line(rest.first());
        }
        pass.next = pass.bytes.len();
        if !self.in_event {
            pass.start = pass.next;
            pass.flush(out);
            return;
        }
        let part = pass.event();
        let is_long = self.held.len().saturating_add(part.len()) > HELD_BYTES_MAX;
        if self.long.is_none() && !is_long {
            self.held.extend_from_slice(part);
            pass.flush(out);
            return;
        }
        let mut long = self.long.take().unwrap_or_else(|| reader.begin_long(self.first));
        long.feed(&self.held);
        long.feed(part);
        self.long = Some(long);
        pass.start = pass.next;
        if !self.held.is_empty() {
            out.push(Piece::Pass(self.held.split().freeze()));
        }
        pass.flush(out);
    }
}
