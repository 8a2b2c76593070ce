//! A JSON document that may be too large to keep: its top-level values, and its beginning.

use crate::{repair, skim::Skimmer};

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
    pub(crate) fn new(keys: &'static [&'static str], beginning_bytes_max: usize) -> Self {
        Self { skimmer: Skimmer::new(keys), beginning: Vec::new(), beginning_bytes_max, bytes: 0 }
    }

    /// Reads the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
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
