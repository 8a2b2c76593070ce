//! Changes of a request body that leave every other byte as the client wrote it.

/// One change of a body.
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

impl Edit {
    /// The changed body; the bytes around the change are as they were.
    pub(super) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (before, after) = (body.get(..self.start)?, body.get(self.end..)?);
        Some([before, self.text.as_bytes(), after].concat())
    }
}

/// Replaces `value`, a part of `body`.
pub(super) fn replace(body: &[u8], value: &str, text: &str) -> Edit {
    let start = offset(body, value);
    Edit { start, end: start.saturating_add(value.len()), text: text.to_owned() }
}

/// Puts `member` first into `object`, a part of `body`.
pub(super) fn insert(body: &[u8], object: &str, member: &str, is_empty: bool) -> Edit {
    let start = offset(body, object).saturating_add(1);
    let comma = if is_empty { "" } else { "," };
    Edit { start, end: start, text: format!("{member}{comma}") }
}

/// Where `part`, borrowed from `body`, begins in it.
fn offset(body: &[u8], part: &str) -> usize {
    part.as_ptr().addr().saturating_sub(body.as_ptr().addr())
}
