//! A JSON document that may be too large to keep: its top-level values, and its beginning.

pub(crate) use crate::skim::Keys;
use crate::{
    from_json::{self, FromJson},
    repair,
    skim::Skimmer,
};

/// A document as far as its bytes have come.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    skimmer: Skimmer,
    beginning: Vec<u8>,
    beginning_bytes_max: usize,
    bytes: u64,
}

impl Document {
    /// Keeps the values of `keys` and the first `beginning_bytes_max` bytes.
    pub(crate) fn new(keys: &Keys, beginning_bytes_max: usize) -> Self {
        let skimmer = Skimmer::new(keys);
        Self { skimmer, beginning: Vec::new(), beginning_bytes_max, bytes: 0 }
    }

    /// Reads the next bytes. What may stand before a document is no part of it.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = if self.bytes > 0 { 0 } else { start_of_document(bytes) };
        let bytes = bytes.get(start..).unwrap_or_default();
        let room = self.beginning_bytes_max.saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.bytes = self.bytes.saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        self.skimmer.push(bytes);
    }

    /// The raw value of a top-level key.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        self.skimmer.value(key)
    }

    /// The text of a top-level key; absent when it is no string.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        serde_json::from_slice(self.value(key)?).ok()
    }

    /// The value of `key`, or its default where there is none; one that cannot be read sets `bad`.
    pub(crate) fn read<'a, T: FromJson<'a>>(&'a self, key: &str, bad: &mut bool) -> T {
        let Some(raw) = self.value(key) else { return T::default() };
        from_json::read(raw).unwrap_or_else(|_| {
            *bad = true;
            T::default()
        })
    }

    /// Whether a value of `key` was too large to be kept.
    pub(crate) fn is_too_large(&self, key: &str) -> bool {
        self.skimmer.is_too_large(key)
    }

    /// Whether the document ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.skimmer.is_closed()
    }

    /// Whether the bytes are no JSON object.
    pub(crate) fn is_broken(&self) -> bool {
        self.skimmer.is_broken()
    }

    /// Bytes read.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The kept beginning as valid JSON, and its length before that.
    pub(crate) fn readable(&self) -> Option<(Vec<u8>, u64)> {
        let kept = self.beginning.len().try_into().unwrap_or(u64::MAX);
        if self.is_closed() && kept == self.bytes {
            return Some((self.beginning.clone(), kept));
        }
        repair::close(&self.beginning).map(|json| (json, kept))
    }
}

/// How many of `bytes`, the first ones of a body, stand before a document: white space and a byte
/// order mark.
pub(crate) fn start_of_document(bytes: &[u8]) -> usize {
    let ignorable = |byte: &u8| byte.is_ascii_whitespace() || b"\xEF\xBB\xBF".contains(byte);
    bytes.iter().position(|byte| !ignorable(byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_costs_nothing_of_a_document_that_is_cut_short() {
        let body = b"\xEF\xBB\xBF\r\n{\"a\":\"The Ni";
        for at in 0..=body.len() {
            let mut document = Document::new(&Keys::Known(&[]), 1024);
            document.push(&body[..at]);
            document.push(&body[at..]);

            assert_eq!(document.readable(), Some((b"{\"a\":\"The Ni\"}".to_vec(), 12)), "at {at}");
        }
    }
}
