//! The top level of a JSON object, read as its bytes come.
//!
//! Keeps the raw values of a few named keys and nothing else, so that the 30 MB of an embeddings
//! reply cost no memory. Not a validator: brackets are counted, not matched, and what it does not
//! need it does not look at. A key with a dot, `response.usage`, is one level further down.

use std::{borrow::Cow, sync::Arc};

use memchr::memchr2;

/// Longest value that is kept, in bytes. A usage object has under 2 KiB; a value beyond the bound
/// is dropped and remembered as too large.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Longest raw key that can be one of ours, in bytes, escapes and the closing quote included.
const KEY_BYTES_MAX: usize = 128;

/// Where in the object the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening brace.
    Start,
    /// After it: a key or the end.
    FirstKey,
    /// After a comma: a key.
    NextKey,
    /// Inside a key; `true` after a backslash.
    InKey(bool),
    /// After a key.
    Colon,
    /// After a colon.
    Value,
    /// Inside a number or a literal.
    Scalar,
    /// Inside a string value; `true` after a backslash.
    Text(bool),
    /// Inside `depth` open brackets, outside a string.
    Nested(u64),
    /// Inside a string inside brackets; `true` after a backslash.
    NestedText(u64, bool),
    /// After a value.
    Comma,
    /// After the closing brace.
    Closed,
    /// This is no JSON object.
    Broken,
}

impl State {
    fn is_in_value(self) -> bool {
        matches!(self, Self::Scalar | Self::Text(_) | Self::Nested(_) | Self::NestedText(..))
    }
}

/// A value that was asked for.
#[derive(Debug, Clone, Default)]
struct Captured {
    raw: Option<Vec<u8>>,
    too_large: bool,
}

/// The names of keys whose values are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Keys {
    /// A family's.
    Known(&'static [&'static str]),
    /// Those of an API that is described by configuration: none of them has a dot.
    Described(Arc<[String]>),
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct Skimmer {
    keys: Vec<Cow<'static, str>>,
    captured: Vec<Captured>,
    /// Objects whose own keys are wanted, by their key.
    inner: Vec<(&'static str, Self)>,
    /// Index of the object that is being read.
    inside: Option<usize>,
    state: State,
    key: Vec<u8>,
    /// Index of the key whose value is being read, and the value so far.
    target: Option<usize>,
    value: Vec<u8>,
    overflow: bool,
}

impl Skimmer {
    /// Reads the values of `keys`.
    pub(crate) fn new(keys: &Keys) -> Self {
        let keys: &'static [&'static str] = match keys {
            Keys::Known(keys) => keys,
            Keys::Described(keys) => {
                return Self::empty(keys.iter().cloned().map(Cow::Owned).collect());
            }
        };
        let (nested, keys): (Vec<&'static str>, Vec<_>) =
            keys.iter().partition(|key| key.contains('.'));
        let mut inner: Vec<(&'static str, Self)> = Vec::new();
        for (object, key) in nested.iter().filter_map(|key| key.split_once('.')) {
            match inner.iter_mut().find(|(known, _)| *known == object) {
                Some((_, skimmer)) => skimmer.want(key),
                None => inner.push((object, Self::empty(vec![key.into()]))),
            }
        }
        Self { inner, ..Self::empty(keys.into_iter().map(Cow::Borrowed).collect()) }
    }

    fn empty(keys: Vec<Cow<'static, str>>) -> Self {
        Self {
            captured: vec![Captured::default(); keys.len()],
            keys,
            inner: Vec::new(),
            inside: None,
            state: State::Start,
            key: Vec::new(),
            target: None,
            value: Vec::new(),
            overflow: false,
        }
    }

    /// The raw value of `key`; the last one that is not `null`.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        self.slot(key)?.raw.as_deref()
    }

    /// Whether a value of `key` was larger than what is kept.
    pub(crate) fn is_too_large(&self, key: &str) -> bool {
        self.slot(key).is_some_and(|slot| slot.too_large)
    }

    /// Whether the object's closing brace was read.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether the bytes turned out to be no JSON object.
    pub(crate) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Reads the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // From where on a value that is being read has not been kept yet.
        let mut unkept = bytes;
        while let Some(&byte) = rest.first() {
            if matches!(self.state, State::Closed | State::Broken) {
                return;
            }
            let was_in_value = self.state.is_in_value();
            let from = rest;
            let taken = self.step(byte, rest);
            rest = rest.get(taken..).unwrap_or_default();
            match (was_in_value, self.state.is_in_value()) {
                (false, true) => unkept = from,
                (true, false) => {
                    let length = unkept.len().saturating_sub(rest.len());
                    self.keep(unkept.get(..length).unwrap_or_default());
                    self.end_value();
                }
                _ => {}
            }
        }
        if self.state.is_in_value() {
            self.keep(unkept);
        }
    }

    fn want(&mut self, key: &'static str) {
        self.keys.push(key.into());
        self.captured.push(Captured::default());
    }

    fn slot(&self, key: &str) -> Option<&Captured> {
        if let Some((object, key)) = key.split_once('.') {
            return self.inner.iter().find(|(known, _)| *known == object)?.1.slot(key);
        }
        let index = self.keys.iter().position(|known| *known == key)?;
        self.captured.get(index)
    }

    /// Reads at least one byte of `rest`, whose first byte is `byte`; returns how many.
    fn step(&mut self, byte: u8, rest: &[u8]) -> usize {
        match self.state {
            State::InKey(escaped) => self.in_key(escaped, rest),
            State::Text(escaped) => {
                let (taken, stop) = in_text(escaped, rest);
                self.state = match stop {
                    None => State::Text(false),
                    Some(Stop::Backslash) => State::Text(true),
                    Some(Stop::Quote) => State::Comma,
                };
                taken
            }
            State::Nested(depth) => self.nested(depth, rest),
            State::NestedText(depth, escaped) => {
                let (taken, stop) = in_text(escaped, rest);
                self.state = match stop {
                    None => State::NestedText(depth, false),
                    Some(Stop::Backslash) => State::NestedText(depth, true),
                    Some(Stop::Quote) => State::Nested(depth),
                };
                taken
            }
            State::Scalar => {
                let end = rest.iter().position(|byte| b",}] \t\r\n".contains(byte));
                if end.is_some() {
                    self.state = State::Comma;
                }
                end.unwrap_or(rest.len())
            }
            _ if byte.is_ascii_whitespace() => 1,
            _ => {
                self.punctuation(byte);
                1
            }
        }
    }

    fn punctuation(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Start, b'{') => State::FirstKey,
            (State::FirstKey | State::NextKey, b'"') => State::InKey(false),
            (State::FirstKey | State::Comma, b'}') => State::Closed,
            (State::Colon, b':') => State::Value,
            (State::Comma, b',') => State::NextKey,
            (State::Value, b'"') => State::Text(false),
            (State::Value, b'{' | b'[') => State::Nested(1),
            (State::Value, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => State::Scalar,
            _ => State::Broken,
        };
    }

    fn in_key(&mut self, escaped: bool, rest: &[u8]) -> usize {
        let (taken, stop) = in_text(escaped, rest);
        let text = rest.get(..taken).unwrap_or(rest);
        // A key that is longer lacks its end, and is none of ours.
        let room = KEY_BYTES_MAX.saturating_sub(self.key.len());
        self.key.extend_from_slice(text.get(..room).unwrap_or(text));
        self.state = match stop {
            None => State::InKey(false),
            Some(Stop::Backslash) => State::InKey(true),
            Some(Stop::Quote) => {
                self.end_key();
                State::Colon
            }
        };
        taken
    }

    /// Decides whether the value behind the key just read is wanted.
    fn end_key(&mut self) {
        let mut key = std::mem::take(&mut self.key);
        let decoded;
        let name = if key.contains(&b'\\') {
            key.insert(0, b'"');
            decoded = serde_json::from_slice::<String>(&key).ok();
            decoded.as_deref().map(str::as_bytes)
        } else {
            key.strip_suffix(b"\"")
        };
        self.target = self.keys.iter().position(|known| Some(known.as_bytes()) == name);
        self.inside = self.inner.iter().position(|(known, _)| Some(known.as_bytes()) == name);
        key.clear();
        self.key = key;
    }

    fn nested(&mut self, depth: u64, rest: &[u8]) -> usize {
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'));
        let Some(at) = at else { return rest.len() };
        self.state = match rest.get(at) {
            Some(b'"') => State::NestedText(depth, false),
            Some(b'{' | b'[') => State::Nested(depth.saturating_add(1)),
            _ if depth > 1 => State::Nested(depth.saturating_sub(1)),
            _ => State::Comma,
        };
        at.saturating_add(1)
    }

    /// Keeps bytes of a value when its key is wanted.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some((_, inner)) = self.inside.and_then(|index| self.inner.get_mut(index)) {
            inner.push(bytes);
        }
        if self.target.is_some() && !self.overflow {
            self.overflow = self.value.len().saturating_add(bytes.len()) > VALUE_BYTES_MAX;
            if self.overflow {
                self.value = Vec::new();
            } else {
                self.value.extend_from_slice(bytes);
            }
        }
    }

    fn end_value(&mut self) {
        let value = std::mem::take(&mut self.value);
        let overflow = std::mem::take(&mut self.overflow);
        let slot = self.target.take().and_then(|index| self.captured.get_mut(index));
        if let Some(slot) = slot {
            if overflow {
                slot.too_large = true;
            } else if value != b"null" {
                slot.raw = Some(value);
            }
        }
    }
}

/// What ended a run of string bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Backslash,
    Quote,
}

/// How many bytes of `rest` belong to the string that it is inside of, the stop included.
pub(crate) fn in_text(escaped: bool, rest: &[u8]) -> (usize, Option<Stop>) {
    if escaped {
        return (1, None);
    }
    match memchr2(b'"', b'\\', rest) {
        None => (rest.len(), None),
        Some(at) => {
            let stop = if rest.get(at) == Some(&b'"') { Stop::Quote } else { Stop::Backslash };
            (at.saturating_add(1), Some(stop))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skim(pieces: &[&[u8]]) -> Skimmer {
        let mut skimmer = Skimmer::new(&Keys::Known(&["usage", "model"]));
        for piece in pieces {
            skimmer.push(piece);
        }
        skimmer
    }

    #[test]
    fn only_the_top_level_is_read_and_the_result_does_not_depend_on_the_split() {
        let body =
            br#" {"choices":[{"usage":{"x":1},"t":"\"usage\":{\\"}],"us\u0061ge" : {"a":[{}]},
            "model":"m\"}","n":-1.5e3,"ok":true,"usage":null}  "#;
        for at in 0..=body.len() {
            let skimmer = skim(&[&body[..at], &body[at..]]);

            assert_eq!(skimmer.value("usage"), Some(br#"{"a":[{}]}"#.as_slice()), "at {at}");
            assert_eq!(skimmer.value("model"), Some(br#""m\"}""#.as_slice()), "at {at}");
            assert!(skimmer.is_closed(), "at {at}");
        }
    }

    #[test]
    fn keys_of_an_object_are_read_at_any_split_however_large_it_is() {
        let filler = "x".repeat(VALUE_BYTES_MAX);
        let body = format!(
            r#"{{"id":"outer","response":{{"text":"{filler}","id":"inner","usage":{{"id":3}}}},"usage":7}}"#
        );
        let keys = &["id", "usage", "response.id", "response.usage", "other.id"];
        for at in (0..40).chain(body.len() - 60..=body.len()) {
            let mut skimmer = Skimmer::new(&Keys::Known(keys));
            skimmer.push(&body.as_bytes()[..at]);
            skimmer.push(&body.as_bytes()[at..]);

            let value = |key| skimmer.value(key).map(|raw| std::str::from_utf8(raw).unwrap());
            assert_eq!(value("id"), Some(r#""outer""#), "at {at}");
            assert_eq!(value("usage"), Some("7"), "at {at}");
            assert_eq!(value("response.id"), Some(r#""inner""#), "at {at}");
            assert_eq!(value("response.usage"), Some(r#"{"id":3}"#), "at {at}");
            assert_eq!(value("other.id"), None);
            assert!(skimmer.is_closed(), "at {at}");
        }
        for body in [r#"{"response":null}"#, r#"{"response":[{"id":1}]}"#, r#"{"response":7}"#] {
            let mut skimmer = Skimmer::new(&Keys::Known(keys));
            skimmer.push(body.as_bytes());
            assert_eq!(skimmer.value("response.id"), None, "{body}");
            assert!(skimmer.is_closed());
        }
    }

    #[test]
    fn the_last_value_of_a_repeated_key_wins_unless_it_is_null() {
        let skimmer = skim(&[br#"{"usage":1,"usage":{"a":2},"usage":null}"#]);

        assert_eq!(skimmer.value("usage"), Some(br#"{"a":2}"#.as_slice()));
    }

    #[test]
    fn a_value_beyond_the_bound_is_dropped_and_said_to_be() {
        let body = format!(r#"{{"usage":"{}","model":"m"}}"#, "x".repeat(VALUE_BYTES_MAX));
        let skimmer = skim(&[body.as_bytes()]);

        assert_eq!(skimmer.value("usage"), None);
        assert!(skimmer.is_too_large("usage"));
        assert_eq!(skimmer.value("model"), Some(br#""m""#.as_slice()));
    }

    #[test]
    fn a_value_is_kept_to_the_bound_however_it_comes() {
        for (bytes, kept) in [
            (VALUE_BYTES_MAX, true),
            (VALUE_BYTES_MAX + 1, false),
            (VALUE_BYTES_MAX + 5_000, false),
        ] {
            let value = format!("\"{}\"", "x".repeat(bytes - 2));
            let body = format!(r#"{{"other":{value},"usage":{value},"model":"m"}}"#);
            for size in [1_000, body.len()] {
                let skimmer = skim(&body.as_bytes().chunks(size).collect::<Vec<_>>());

                assert_eq!(skimmer.value("usage"), kept.then_some(value.as_bytes()), "{size}");
                assert_eq!(skimmer.is_too_large("usage"), !kept, "{size}");
                assert_eq!(skimmer.value("model"), Some(br#""m""#.as_slice()), "{size}");
            }
        }
    }

    #[test]
    fn a_key_is_known_to_its_bound_and_a_longer_one_is_passed_over() {
        let known: &'static str = "k".repeat(KEY_BYTES_MAX - 1).leak();
        let keys: &'static [&'static str] = vec![known].leak();
        for (key, value) in [(known.to_owned(), Some(b"1".as_slice())), (format!("{known}k"), None)]
        {
            for size in [1, 7, 1_000] {
                let mut skimmer = Skimmer::new(&Keys::Known(keys));
                let body = format!(r#"{{"{key}":1}}"#);
                body.as_bytes().chunks(size).for_each(|part| skimmer.push(part));

                assert_eq!(skimmer.value(known), value, "{size}");
            }
        }
        let long = format!("{}\\\"", "k".repeat(KEY_BYTES_MAX - 2));
        let skimmer = skim(&[format!(r#"{{"{long}":1,"usage":2}}"#).as_bytes()]);
        assert_eq!(skimmer.value("usage"), Some(b"2".as_slice()));
    }

    #[test]
    fn what_is_no_object_is_broken() {
        for body in ["<html>", "[1]", "\"usage\"", "{usage:1}", "{\"a\" 1}", "{\"a\":1 \"b\":2}"] {
            assert!(skim(&[body.as_bytes()]).is_broken(), "{body}");
        }
    }
}
