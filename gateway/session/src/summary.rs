//! A client that has the conversation summarised and goes on from the summary alone.
//!
//! The reply to a request for a summary is remembered by how some of its lines begin; what has one
//! of them in its first messages goes on from it. Only who asks for a summary is found so: what
//! agents hand on to each other, or people copy, is no conversation of theirs.

use memchr::memmem;

use crate::digest::{Digest, Key};

/// Bytes of a message in which a request for a summary, and a summary, are looked for.
pub(crate) const HEAD_BYTES: usize = 1024;
/// A line that two strangers hardly share, and what of it is compared, in bytes.
const LINE_BYTES: usize = 96;
/// Lines of a reply, or of a message, that are compared: the last ones in its head, because the
/// first ones are what any summary begins with.
const LINES: usize = 3;
/// Lines of the first messages of a request: of one that keeps what was asked before, too.
pub(crate) const LINES_MAX: usize = 9;
/// What sets a line apart from a message of the same text.
const LINE_MARK: u8 = b'l';
/// What the requests of clients for a summary have in common.
const ASKS: [&str; 7] = ["summar", "compact", "condens", "总结", "總結", "摘要", "压缩"];

/// The digests of the lines of `text`, the last first.
pub(crate) fn lines(key: &Key, text: &[u8]) -> Vec<Digest> {
    let head = text.get(..text.len().min(HEAD_BYTES)).unwrap_or_default();
    // Clients put a line of their own, or a word, in front.
    let lines = head.rsplit(|byte| matches!(byte, b'\n' | b':' | b'>'));
    let begins = lines.filter_map(|line| line.trim_ascii().get(..LINE_BYTES));
    begins.take(LINES).map(|line| digest(key, line)).collect()
}

fn digest(key: &Key, line: &[u8]) -> Digest {
    let mut texts = key.texts();
    texts.add(line);
    texts.digest(LINE_MARK)
}

/// Whether a message that begins like this asks for a summary.
pub(crate) fn is_asked_for(head: &[u8]) -> bool {
    let head = head.to_ascii_lowercase();
    ASKS.iter().any(|asks| memmem::find(&head, asks.as_bytes()).is_some())
}
