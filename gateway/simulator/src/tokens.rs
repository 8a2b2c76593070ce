//! Real token counts: `o200k_base` through tiktoken-rs. It shares no code with the gateway's own
//! estimator, which is the point: a meter must not verify itself.

use std::sync::OnceLock;

use tiktoken_rs::{CoreBPE, Rank, o200k_base_singleton};

/// A piece of text that is valid UTF-8 by itself, and how many tokens it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The text.
    pub(crate) text: String,
    /// Its tokens; more than one when a character spans several tokens.
    pub(crate) tokens: u64,
}

fn tokenizer() -> &'static CoreBPE {
    static LOADED: OnceLock<&'static CoreBPE> = OnceLock::new();
    LOADED.get_or_init(o200k_base_singleton)
}

/// How many tokens `text` is. Text that looks like a special token counts as plain text.
pub(crate) fn count(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    u64::try_from(tokenizer().count_ordinary(text)).unwrap_or(u64::MAX)
}

/// Cuts `text` at its token boundaries; neighbours that share a character stay together.
pub(crate) fn fragments(text: &str) -> Vec<Fragment> {
    let tokenizer = tokenizer();
    let mut found = Vec::new();
    let mut group: Vec<Rank> = Vec::new();
    for rank in tokenizer.encode_ordinary(text) {
        group.push(rank);
        let Ok(bytes) = tokenizer.decode_bytes(&group) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            let tokens = u64::try_from(group.len()).unwrap_or(u64::MAX);
            found.push(Fragment { text, tokens });
            group.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_join_to_the_text_and_count_as_the_whole() {
        for text in ["", "plain words", "今天天气很好🙂👩‍👩‍👧 naïve Zürich 𠮷野家", "{\"q\":\"龘\"}"]
        {
            let cut = fragments(text);

            let joined: String = cut.iter().map(|fragment| fragment.text.as_str()).collect();
            let tokens: u64 = cut.iter().map(|fragment| fragment.tokens).sum();
            assert_eq!(joined, text);
            assert_eq!(tokens, count(text));
        }
    }
}
