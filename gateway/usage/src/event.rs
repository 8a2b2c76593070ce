//! One server-sent event: its fields out of its raw bytes, whole or as they come.
//!
//! Source: WHATWG HTML, "Server-sent events", "Parsing an event stream". Lines end in LF, CR or
//! CRLF; one space after the colon is dropped; data lines are joined by LF. Only `event` and
//! `data` matter to metering; `id`, `retry` and unknown fields do not.

use memchr::{memchr, memchr2};

use crate::document::Document;

/// Longest field name that can matter, in bytes: a byte order mark and `event`, with room.
const FIELD_NAME_BYTES_MAX: usize = 16;

/// Longest event name that can matter, in bytes: no family's terminal or error event has more.
const EVENT_NAME_BYTES_MAX: usize = 64;

/// UTF-8 byte order mark, allowed once, before the first line of a stream.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A whole event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Its name; absent when it has none.
    pub(crate) name: Option<&'a [u8]>,
    /// Its data; absent when it has no data line.
    pub(crate) data: Option<&'a [u8]>,
}

/// The fields of `raw`. `joined` holds the data when it came in several lines.
pub(crate) fn parse<'a>(raw: &'a [u8], first: bool, joined: &'a mut Vec<u8>) -> Event<'a> {
    let mut name = None;
    let mut data: Option<&[u8]> = None;
    let mut several = false;
    let mut rest = if first { raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw) } else { raw };
    while !rest.is_empty() {
        // The LF of a CRLF reads as one more empty line, which holds no field.
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        if let Some(value) = field(line, b"data") {
            match data {
                None => data = Some(value),
                Some(earlier) => {
                    if !several {
                        joined.clear();
                        joined.extend_from_slice(earlier);
                        several = true;
                    }
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                }
            }
        } else if let Some(value) = field(line, b"event") {
            name = Some(value);
        }
    }
    Event { name, data: if several { Some(joined) } else { data } }
}

/// The value of `line`, when it is a field called `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// What the rest of the current line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The field name is still being read.
    Name,
    /// The value of a field; `true` while its first byte, perhaps a space, is still to come.
    Data(bool),
    Event(bool),
    /// A comment or a field without meaning here.
    Other,
}

/// An event that is too large to be held: read as its bytes come, in bounded memory.
#[derive(Debug)]
pub(crate) struct LongEvent {
    line: Line,
    field_name: Vec<u8>,
    may_have_mark: bool,
    name: Vec<u8>,
    data_lines: bool,
    document: Document,
}

impl LongEvent {
    /// An event of which no byte has been read; `first` when it opens the stream.
    pub(crate) fn new(first: bool, document: Document) -> Self {
        Self {
            line: Line::Name,
            field_name: Vec::new(),
            may_have_mark: first,
            name: Vec::new(),
            data_lines: false,
            document,
        }
    }

    /// Reads the event's next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = memchr2(b'\n', b'\r', bytes);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.within_line(part);
            if end.is_some() {
                self.end_line();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    /// The event's name and its data, once its bytes have ended.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Document) {
        self.end_line();
        (self.name, self.document)
    }

    fn within_line(&mut self, mut part: &[u8]) {
        if self.line == Line::Name {
            let colon = memchr(b':', part);
            let (name, value) = part.split_at(colon.unwrap_or(part.len()));
            let room = FIELD_NAME_BYTES_MAX.saturating_sub(self.field_name.len());
            self.field_name.extend_from_slice(name.get(..room).unwrap_or(name));
            if colon.is_none() {
                return;
            }
            self.begin_value();
            part = value.get(1..).unwrap_or_default();
        }
        match self.line {
            Line::Data(start) => self.document.push(value_part(part, start)),
            Line::Event(start) => {
                let value = value_part(part, start);
                let room = EVENT_NAME_BYTES_MAX.saturating_sub(self.name.len());
                self.name.extend_from_slice(value.get(..room).unwrap_or(value));
            }
            Line::Name | Line::Other => {}
        }
        if !part.is_empty() {
            self.line = match self.line {
                Line::Data(_) => Line::Data(false),
                Line::Event(_) => Line::Event(false),
                other => other,
            };
        }
    }

    /// The field name is complete: decides what its value is.
    fn begin_value(&mut self) {
        let name = self.field_name.as_slice();
        let name = match name.strip_prefix(BYTE_ORDER_MARK) {
            Some(marked) if self.may_have_mark => marked,
            _ => name,
        };
        self.line = match name {
            b"data" => {
                if self.data_lines {
                    self.document.push(b"\n");
                }
                self.data_lines = true;
                Line::Data(true)
            }
            b"event" => {
                self.name.clear();
                Line::Event(true)
            }
            _ => Line::Other,
        };
    }

    fn end_line(&mut self) {
        if self.line == Line::Name && !self.field_name.is_empty() {
            self.begin_value();
        }
        self.line = Line::Name;
        self.field_name.clear();
        self.may_have_mark = false;
    }
}

/// `part` without the one space that may open a value.
fn value_part(part: &[u8], start: bool) -> &[u8] {
    if start { part.strip_prefix(b" ").unwrap_or(part) } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Keys;

    fn check(raw: &str, name: Option<&str>, data: Option<&str>) {
        let mut joined = Vec::new();
        let event = parse(raw.as_bytes(), true, &mut joined);

        assert_eq!(event.name, name.map(str::as_bytes), "{raw:?}");
        assert_eq!(event.data, data.map(str::as_bytes), "{raw:?}");
    }

    #[test]
    fn fields_are_read_with_every_line_end_and_with_or_without_the_space() {
        check("event: a\ndata: b\n\n", Some("a"), Some("b"));
        check("event:a\rdata:b\r\r", Some("a"), Some("b"));
        check("data:  b\r\nevent: a\r\n\r\n", Some("a"), Some(" b"));
        check("data: x\ndata\ndata:y\n\n", None, Some("x\n\ny"));
        check("\u{feff}data: x\n\n", None, Some("x"));
        check("database: x\n: data: y\nid: 1\n\n", None, None);
    }

    #[test]
    fn a_mark_is_dropped_before_the_first_line_of_a_stream_only() {
        let usage = |first, raw: &[u8]| {
            let mut event = LongEvent::new(first, Document::new(&Keys::Known(&["usage"]), 1024));
            event.feed(raw);
            event.finish().1.value("usage").map(<[u8]>::to_vec)
        };
        let marked = b"\xEF\xBB\xBFdata: {\"usage\":1}\n";

        assert_eq!(usage(true, marked), Some(b"1".to_vec()));
        assert_eq!(usage(false, marked), None);
        assert_eq!(usage(true, &[b"id: 7\n".as_slice(), marked].concat()), None);
    }

    #[test]
    fn a_line_without_a_colon_is_a_field_without_a_value() {
        let name = |raw: &[u8]| {
            let mut event = LongEvent::new(false, Document::new(&Keys::Known(&[]), 1024));
            event.feed(raw);
            String::from_utf8(event.finish().0).unwrap()
        };

        assert_eq!(name(b"event: error\ndata: {}\n"), "error");
        assert_eq!(name(b"event: error\nevent\ndata: {}\n"), "");
        assert_eq!(name(b"event: error\nevent"), "");
    }

    #[test]
    fn a_long_event_reads_the_same_at_every_split() {
        let raw = b"\xEF\xBB\xBFevent: message_delta\r\ndata: {\"a\":1,\rdata:\"usage\": {}}\n\n";
        for at in 0..raw.len() {
            let mut event = LongEvent::new(true, Document::new(&Keys::Known(&["usage"]), 1024));
            event.feed(&raw[..at]);
            event.feed(&raw[at..]);

            let (name, document) = event.finish();

            assert_eq!(name, b"message_delta", "split at {at}");
            assert_eq!(document.value("usage"), Some(b"{}".as_slice()), "split at {at}");
            assert!(document.is_closed(), "split at {at}");
        }
    }
}
