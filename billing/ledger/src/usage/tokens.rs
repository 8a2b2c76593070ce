//! The compact stored form of a row's tokens: each known class under a short code.
//!
//! A class that this version does not know stands under its name behind a colon. Rows of before
//! have every class under its name, and were not rewritten.

use std::collections::BTreeMap;

use permille_types::{TokenClass, TokenCount, TokenCounts};

use crate::{LedgerError, column};

const COLUMN: &str = "usage.tokens";

/// What each class is written as. No code is ever given to another class.
const CODES: [(TokenClass, &str); 15] = [
    (TokenClass::INPUT_UNCACHED, "i"),
    (TokenClass::CACHE_READ, "c"),
    (TokenClass::CACHE_READ_EXPLICIT, "cx"),
    (TokenClass::CACHE_WRITE_5M, "w5m"),
    (TokenClass::CACHE_WRITE_30M, "w30m"),
    (TokenClass::CACHE_WRITE_1H, "w1h"),
    (TokenClass::CACHE_WRITE_12H, "w12h"),
    (TokenClass::CACHE_WRITE_OTHER, "w"),
    (TokenClass::AUDIO_IN, "ai"),
    (TokenClass::IMAGE_IN, "ii"),
    (TokenClass::VIDEO_IN, "vi"),
    (TokenClass::OUTPUT_TEXT, "o"),
    (TokenClass::REASONING, "r"),
    (TokenClass::AUDIO_OUT, "ao"),
    (TokenClass::IMAGE_OUT, "io"),
];

fn code(class: &TokenClass) -> String {
    let known = CODES.iter().find(|(known, _)| known == class);
    known.map_or_else(|| format!(":{class}"), |(_, code)| (*code).to_owned())
}

fn class(code: &str) -> TokenClass {
    if let Some(name) = code.strip_prefix(':') {
        return TokenClass::named(name);
    }
    let known = CODES.iter().find(|(_, known)| *known == code);
    known.map_or_else(|| TokenClass::named(code), |(class, _)| class.clone())
}

pub(super) fn write(tokens: &TokenCounts) -> Result<String, LedgerError> {
    let coded: BTreeMap<String, TokenCount> =
        tokens.iter().map(|(class, count)| (code(class), *count)).collect();
    column::to_json("tokens", &coded)
}

pub(super) fn read(text: &str) -> Result<TokenCounts, LedgerError> {
    let coded: BTreeMap<String, TokenCount> = column::json(COLUMN, text)?;
    let stored = coded.len();
    let tokens: TokenCounts =
        coded.into_iter().map(|(code, count)| (class(&code), count)).collect();
    if tokens.len() < stored {
        return Err(LedgerError::corrupt(COLUMN, text));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_has_a_code_of_its_own() {
        let known: BTreeSet<_> = CODES.iter().map(|(class, _)| class).collect();
        assert_eq!(known, TokenClass::KNOWN.iter().collect());
        let codes: BTreeSet<_> = CODES.iter().map(|(_, code)| code).collect();
        assert_eq!(codes.len(), CODES.len());
        assert!(TokenClass::KNOWN.iter().all(|class| !codes.contains(&class.as_str())));
    }

    #[test]
    fn tokens_read_back_as_they_were() {
        let names = ["i", ":i", "", "tool_use"].map(TokenClass::named);
        let classes = TokenClass::KNOWN.iter().chain(&names).cloned();
        let tokens: TokenCounts = classes.zip(0..).collect();

        let stored = write(&tokens).unwrap();

        assert_eq!(read(&stored).unwrap(), tokens);
        let short = write(&[(TokenClass::INPUT_UNCACHED, 2)].into()).unwrap();
        assert_eq!(short, r#"{"i":2}"#);
    }

    #[test]
    fn tokens_of_before_are_read() {
        let stored = r#"{"cache_read":3,"input_uncached":2,"tool_use":1}"#;

        let tokens = read(stored).unwrap();

        let wanted = [
            (TokenClass::CACHE_READ, 3),
            (TokenClass::INPUT_UNCACHED, 2),
            (TokenClass::named("tool_use"), 1),
        ];
        assert_eq!(tokens, wanted.into());
    }

    #[test]
    fn a_class_that_is_there_twice_is_damage() {
        let error = read(r#"{"c":3,"cache_read":3}"#).unwrap_err();

        assert!(matches!(error, LedgerError::Corrupt { .. }), "{error:?}");
    }
}
