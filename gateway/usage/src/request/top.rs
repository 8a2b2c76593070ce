//! The top level of a JSON object: the raw values of named keys, each at most once.

use std::{borrow::Cow, fmt};

use permille_json::{Json, Kind};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::RequestError;

/// The raw values of some keys, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Top<'a, const N: usize> {
    fields: [&'static str; N],
    values: [Option<&'a str>; N],
    /// Whether the object has no key at all.
    pub(super) is_empty: bool,
}

impl<'a, const N: usize> Top<'a, N> {
    /// Reads `json`, an object, and takes the values of `fields` out of it.
    ///
    /// # Errors
    /// [`RequestError`] when it is no JSON, no object, or has one of the keys twice. `field` names
    /// the object in that message.
    pub(super) fn read(json: &'a [u8], fields: [&'static str; N]) -> Result<Self, RequestError> {
        match Self::plain(json, fields) {
            Some(top) => Ok(top),
            None => Self::checked(json, fields),
        }
    }

    /// As [`Self::read`], where nothing is to be said against `json`.
    fn plain(json: &'a [u8], fields: [&'static str; N]) -> Option<Self> {
        let mut top = Self { fields, values: [None; N], is_empty: true };
        let mut json = Json::new(json);
        let is_object = json.kind() == Ok(Kind::Object);
        let mut first = is_object.then(|| json.enter().ok())??;
        while let Some(key) = json.key(&mut first).ok()? {
            let key = std::str::from_utf8(key).ok()?;
            let place = fields.iter().position(|known| *known == key);
            let value = json.skip().ok()?;
            top.is_empty = false;
            if let Some(slot) = place.and_then(|place| top.values.get_mut(place)) {
                let value = std::str::from_utf8(value).ok()?;
                slot.is_none().then(|| *slot = Some(value))?;
            }
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        json.rest().iter().all(is_space).then_some(top)
    }

    /// As [`Self::read`], with what is wrong and where.
    fn checked(json: &'a [u8], fields: [&'static str; N]) -> Result<Self, RequestError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut duplicate = None;
        let visitor = TopVisitor { fields, duplicate: &mut duplicate };
        let read = deserializer.deserialize_map(visitor);
        if let Some(field) = duplicate {
            return Err(RequestError::Duplicate { field });
        }
        match read.and_then(|top| deserializer.end().map(|()| top)) {
            Ok(top) => Ok(top),
            Err(error) if error.is_data() => {
                let first = json.trim_ascii_start().first().copied().unwrap_or_default();
                Err(RequestError::NotAnObject { found: kind_of(first) })
            }
            Err(error) => Err(RequestError::json(&error)),
        }
    }

    /// The value of `field`; absent when the key is not there or holds `null`.
    pub(super) fn get(&self, field: &'static str) -> Option<Value<'a>> {
        let json = self.raw(field)?;
        (json != "null").then_some(Value { field, json })
    }

    /// The raw value of `field`, `null` included.
    pub(super) fn raw(&self, field: &str) -> Option<&'a str> {
        let index = self.fields.iter().position(|known| *known == field)?;
        self.values.get(index).copied().flatten()
    }
}

struct TopVisitor<'d, const N: usize> {
    fields: [&'static str; N],
    duplicate: &'d mut Option<&'static str>,
}

impl<'de, const N: usize> Visitor<'de> for TopVisitor<'_, N> {
    type Value = Top<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut top = Top { fields: self.fields, values: [None; N], is_empty: true };
        while let Some(index) = map.next_key_seed(KeyIn(&self.fields))? {
            top.is_empty = false;
            let known = index
                .and_then(|index| top.values.get_mut(index).zip(self.fields.get(index).copied()));
            match known {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some((Some(_), field)) => {
                    *self.duplicate = Some(field);
                    return Err(A::Error::custom("duplicate key"));
                }
                Some((slot, _)) => *slot = Some(map.next_value::<&RawValue>()?.get()),
            }
        }
        Ok(top)
    }
}

/// Reads a key as its place among these, if it is one of them: none is copied.
struct KeyIn<'f>(&'f [&'static str]);

impl<'de> DeserializeSeed<'de> for KeyIn<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIn<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == key))
    }
}

/// A value that is not `null`, with the name of its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    field: &'static str,
    json: &'a str,
}

impl<'a> Value<'a> {
    /// The error that says what the value may be.
    pub(super) fn refuse(&self, accepted: &'static str) -> RequestError {
        let first = self.json.bytes().next().unwrap_or_default();
        let found = match first {
            b'-' => "a negative number",
            b'0'..=b'9' if self.json.contains(['.', 'e', 'E']) => "a fraction",
            _ => kind_of(first),
        };
        RequestError::Unacceptable { field: self.field, found, accepted }
    }

    /// The value as `true` or `false`.
    ///
    /// # Errors
    /// [`RequestError::Unacceptable`] when it is neither.
    pub(super) fn boolean(&self) -> Result<bool, RequestError> {
        match self.json {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.refuse("true or false")),
        }
    }

    /// The value as a whole number.
    ///
    /// # Errors
    /// [`RequestError::Unacceptable`] when it is none.
    pub(super) fn whole_number(&self) -> Result<u64, RequestError> {
        self.json.parse().map_err(|_| self.refuse("a whole number, 0 or more"))
    }

    /// The value as text.
    ///
    /// # Errors
    /// [`RequestError::Unacceptable`] when it is none.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, RequestError> {
        let plain = self.json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match plain.filter(|plain| !plain.contains('\\')) {
            Some(plain) => Ok(Cow::Borrowed(plain)),
            None => serde_json::from_str(self.json).map_err(|_| self.refuse("a string")),
        }
    }

    /// The raw value as an object.
    ///
    /// # Errors
    /// [`RequestError::Unacceptable`] when it is none.
    pub(super) fn object(&self) -> Result<&'a str, RequestError> {
        if self.json.starts_with('{') { Ok(self.json) } else { Err(self.refuse("an object")) }
    }
}

/// What a value is, told from its first byte.
fn kind_of(first: u8) -> &'static str {
    match first {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "a list",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: [&str; 3] = ["model", "stream", "\u{e9}"];

    fn top(json: &[u8]) -> Option<([Option<&str>; 3], bool)> {
        Top::plain(json, FIELDS).map(|top| (top.values, top.is_empty))
    }

    fn value() -> impl Strategy<Value = String> {
        let text = r#""([a-z\u{e9} ]|\\["\\/bfnrtu]|\\u00e9|\\ud83d){0,9}""#;
        prop_oneof![
            text.prop_map(String::from),
            r"-?[0-9]{1,3}(\.[0-9]{1,2})?(e[+-]?[0-9])?".prop_map(String::from),
            Just(r#"{"model":[{"stream":{}}, null,true] , "x" : false}"#.to_owned()),
            Just("nul".to_owned()),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        let known = ["model", "mod\\u0065l", "stream", "\u{e9}", "\\u00e9", "\\ud83d", "x", ""];
        prop::sample::select(known.map(String::from).to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn what_is_plain_is_read_as_the_checking_reader_reads_it(
            members in prop::collection::vec((key(), value()), 0..5),
            space in "[ \n\t\r]{0,2}",
            behind in "[ ,x]?",
            changed in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let members = members.iter().map(|(key, value)| format!("{space}\"{key}\":{value}"));
            let members: Vec<_> = members.collect();
            let mut json = format!("{space}{{{}{space}}}{behind}", members.join(",")).into_bytes();
            if let Some((at, byte)) = changed {
                let at = at.index(json.len());
                json[at] = byte;
            }
            let checked = Top::checked(&json, FIELDS).ok().map(|top| (top.values, top.is_empty));

            prop_assert_eq!(top(&json), checked);
        }
    }

    #[test]
    fn an_ordinary_body_is_read_at_once() {
        let body = br#" {"model":"gpt-5","messages":[{"role":"user","content":"a\u00e9\n"}],"stream":true}"#;

        let (values, is_empty) = top(body).unwrap();

        assert_eq!(values, [Some(r#""gpt-5""#), Some("true"), None]);
        assert!(!is_empty);
        assert_eq!(top(b"[]"), None);
    }
}
