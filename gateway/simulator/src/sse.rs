//! Writing server-sent events and JSON text by hand, because that is most of a load test's cost.

use std::fmt::Write;

use bytes::BytesMut;

/// Events on their way out, with the line ends and comments that were asked for.
#[derive(Debug)]
pub(crate) struct Sse {
    pub(crate) out: BytesMut,
    line_end: &'static str,
    comments: bool,
}

impl Sse {
    pub(crate) fn new(crlf: bool, comments: bool) -> Self {
        let line_end = if crlf { "\r\n" } else { "\n" };
        Self { out: BytesMut::new(), line_end, comments }
    }

    /// One event; `name` goes on a line of its own, `write` makes the data line.
    pub(crate) fn event(&mut self, name: Option<&str>, write: impl FnOnce(&mut BytesMut)) {
        /// Most events fit; larger ones grow the buffer.
        const EVENT_BYTES: usize = 512;
        /// Several events share an allocation.
        const BLOCK_BYTES: usize = 4_096;
        if self.out.capacity() - self.out.len() < EVENT_BYTES {
            self.out.reserve(BLOCK_BYTES);
        }
        if let Some(name) = name {
            text(&mut self.out, "event: ");
            text(&mut self.out, name);
            text(&mut self.out, self.line_end);
        }
        text(&mut self.out, "data: ");
        write(&mut self.out);
        text(&mut self.out, self.line_end);
        text(&mut self.out, self.line_end);
        if self.comments {
            text(&mut self.out, ": keep-alive");
            text(&mut self.out, self.line_end);
            text(&mut self.out, self.line_end);
        }
    }
}

/// Adds `raw` as it is.
pub(crate) fn text(out: &mut BytesMut, raw: &str) {
    out.extend_from_slice(raw.as_bytes());
}

/// Adds a number.
pub(crate) fn number(out: &mut BytesMut, number: u64) {
    // Writing to memory that grows cannot fail.
    write!(out, "{number}").unwrap_or_default();
}

/// Adds `raw` as a JSON string, quotes included.
pub(crate) fn quoted(out: &mut BytesMut, raw: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if raw.bytes().all(plain) {
        text(out, "\"");
        text(out, raw);
        text(out, "\"");
    } else {
        text(out, &serde_json::Value::from(raw).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back_as_they_were() {
        for raw in ["", "plain", "\"quoted\" C:\\temp", "line\nbreak\u{1}", "今天🙂"] {
            let mut out = BytesMut::new();

            quoted(&mut out, raw);

            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), raw);
        }
    }

    #[test]
    fn an_event_has_the_line_ends_and_comments_that_were_asked_for() {
        let mut sse = Sse::new(true, true);

        sse.event(Some("ping"), |out| text(out, "{}"));

        assert_eq!(&sse.out[..], b"event: ping\r\ndata: {}\r\n\r\n: keep-alive\r\n\r\n");
    }
}
