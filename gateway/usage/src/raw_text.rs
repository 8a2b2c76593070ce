//! Text as it stands in a provider's JSON, decoded into a sample without a copy of its own.
//!
//! A string with an escape, which every other delta of a stream has, costs an allocation where it
//! is read as a `str`. Delivered text is only ever appended to a [`TextSample`], so that it need
//! not be.

use memchr::memchr;
use permille_json::{Invalid, Json};
use simdutf8::basic::from_utf8;

use crate::{
    from_json::{self, FromJson},
    text::TextSample,
};

/// A value as it stands in JSON; absent where it is `null`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw<'a>(Option<&'a str>);

impl<'a> Raw<'a> {
    /// Whether it is anything but `null`.
    pub(crate) fn is_given(self) -> bool {
        self.0.is_some()
    }

    /// Its bytes, which are none where it is absent.
    pub(crate) fn as_str(self) -> &'a str {
        self.0.unwrap_or_default()
    }

    /// The text that it is; empty where it is none.
    pub(crate) fn text(self) -> RawText<'a> {
        RawText::of(self.as_str()).unwrap_or_default()
    }

    /// The value as a `T`; absent where it is, and where it cannot be read as one.
    pub(crate) fn read<T: FromJson<'a>>(self) -> Option<T> {
        from_json::read(self.0?.as_bytes()).ok()
    }
}

impl<'a> FromJson<'a> for Raw<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        let raw = json.skip()?;
        if raw != b"null" {
            self.0 = Some(from_utf8(raw).map_err(|_| Invalid)?);
        }
        Ok(())
    }
}

/// A string, quotes and escapes included; anything else reads as empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawText<'a>(&'a str);

impl<'a> RawText<'a> {
    /// `raw`, a JSON value, when it is a string.
    pub(crate) fn of(raw: &'a str) -> Option<Self> {
        raw.strip_prefix('"')?.strip_suffix('"').map(Self)
    }

    /// Whether it has no characters.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Appends the text to `sample`.
    pub(crate) fn push_to(self, sample: &mut TextSample) {
        let mut rest = self.0;
        while let Some(at) = memchr(b'\\', rest.as_bytes()) {
            let (plain, escape) = rest.split_at_checked(at).unwrap_or_default();
            sample.push(plain);
            let (character, length) = unescape(escape.as_bytes());
            sample.push(character.encode_utf8(&mut [0; 4]));
            rest = escape.get(length..).unwrap_or_default();
        }
        sample.push(rest);
    }
}

impl<'a> FromJson<'a> for RawText<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        let raw = json.skip()?;
        if raw.first() == Some(&b'"') {
            *self = Self::of(from_utf8(raw).map_err(|_| Invalid)?).unwrap_or_default();
        }
        Ok(())
    }
}

/// The character that `escaped` opens with, and the length of its escape. Half of a pair that
/// lacks the other half is a replacement character: it cost a token all the same.
///
/// Source: RFC 8259, section 7.
fn unescape(escaped: &[u8]) -> (char, usize) {
    let character = match escaped.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unescape_code(escaped),
        Some(byte) => char::from(*byte),
        None => char::REPLACEMENT_CHARACTER,
    };
    (character, 2)
}

/// An escape of `\u` and four digits, or two of them that are one character.
fn unescape_code(escaped: &[u8]) -> (char, usize) {
    let first = code(escaped);
    if let (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) =
        (first, escaped.get(6..).and_then(code))
    {
        let offset = ((high & 0x3FF) << 10) | (low & 0x3FF);
        let character = char::from_u32(0x1_0000_u32.saturating_add(offset));
        return (character.unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (first.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// The code of an escape of `\u` and four digits.
fn code(escaped: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = escaped.get(..6)? else { return None };
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> String {
        let mut sample = TextSample::default();
        from_json::read::<RawText<'_>>(json.as_bytes()).unwrap().push_to(&mut sample);
        assert_eq!(sample.bytes(), u64::try_from(sample.kept().len()).unwrap());
        sample.kept().to_owned()
    }

    #[test]
    fn every_escape_is_decoded() {
        let json = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u7f51\ud83d\ude00 网""#;

        assert_eq!(read(json), serde_json::from_str::<String>(json).unwrap());
    }

    #[test]
    fn what_is_no_string_is_empty_and_half_a_character_is_still_one() {
        for json in ["null", "7", "[\"x\"]", "{\"x\":\"y\"}", "\"\""] {
            assert!(from_json::read::<RawText<'_>>(json.as_bytes()).unwrap().is_empty(), "{json}");
        }
        assert_eq!(read(r#""a\ud83db\ude00\ud83d\u0041""#), "a\u{fffd}b\u{fffd}\u{fffd}A");
    }

    proptest! {
        #[test]
        fn the_text_of_any_string_is_the_one_that_the_json_reader_gives(
            text in ".{0,20}", ascii: bool,
        ) {
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                let escaped = |unit: u16| format!("\\u{unit:04X}");
                json = format!("\"{}\"", text.encode_utf16().map(escaped).collect::<String>());
            }

            prop_assert_eq!(read(&json), text);
        }
    }
}
