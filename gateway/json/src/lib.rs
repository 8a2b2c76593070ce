//! JSON, read where it lies and once: a value at a time, by whoever knows what it should be.
//!
//! What is passed over has the form of JSON, or is an error. A text that is asked for is looked at
//! less: it may hold control characters. Texts and keys are bytes: whether they are UTF-8 is not
//! looked at, and half a character, which JSON can write, is one too.

mod skip;
mod text;

use memchr::memchr2;
use serde_json::Number;

use crate::text::{plain_end, unescape};

/// Objects and lists around a value that is read; more are an error, so that nothing runs out of
/// stack. What is passed over may be nested without bound.
const DEPTH_MAX: u8 = 127;

/// What is left of a document.
#[derive(Debug)]
pub struct Json<'b> {
    rest: &'b [u8],
    depth: u8,
    /// A text that has escapes, without them.
    unescaped: Vec<u8>,
}

/// This is no JSON, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// An object.
    Object,
    /// An array.
    List,
    /// A number, a literal, or nothing of JSON.
    Scalar,
}

/// A value that is no text and holds none.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
}

impl<'b> Json<'b> {
    /// The document that `body` is.
    #[must_use]
    pub fn new(body: &'b [u8]) -> Self {
        Self { rest: body, depth: 0, unescaped: Vec::new() }
    }

    /// All that is left.
    #[must_use]
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// What comes next, behind white space.
    ///
    /// # Errors
    /// Nothing comes.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, Invalid> {
        Ok(match self.next()? {
            b'"' => Kind::Text,
            b'{' => Kind::Object,
            b'[' => Kind::List,
            _ => Kind::Scalar,
        })
    }

    /// Enters the object or list that comes next: its members or elements come one by one, the
    /// first of which is `first`.
    ///
    /// # Errors
    /// It is nested too deeply.
    #[inline]
    pub fn enter(&mut self) -> Result<bool, Invalid> {
        self.next()?;
        self.step();
        self.depth =
            self.depth.checked_add(1).filter(|depth| *depth <= DEPTH_MAX).ok_or(Invalid)?;
        Ok(true)
    }

    /// The next member's key, its value comes next; absent at the end of the object.
    ///
    /// # Errors
    /// Neither comes.
    #[inline]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<&[u8]>, Invalid> {
        let behind = match (self.rest, *first) {
            ([b'"', behind @ ..], true) | ([b',', b'"', behind @ ..], false) => behind,
            _ if !self.goes_on(first, b'}')? => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(None);
            }
            _ if self.next()? != b'"' => return Err(Invalid),
            _ => self.rest.get(1..).unwrap_or_default(),
        };
        *first = false;
        let (plain, behind) = split(behind, plain_end(behind))?;
        if let [b'"', b':', behind @ ..] = behind {
            self.rest = behind;
            return Ok(Some(plain));
        }
        let is_plain = self.end_text(plain, behind)?;
        self.colon()?;
        Ok(Some(if is_plain { plain } else { &self.unescaped }))
    }

    /// Whether another element comes next.
    ///
    /// # Errors
    /// Neither that nor the end of the list comes.
    #[inline]
    pub fn element(&mut self, first: &mut bool) -> Result<bool, Invalid> {
        let goes_on = self.goes_on(first, b']')?;
        self.depth = self.depth.saturating_sub(u8::from(!goes_on));
        Ok(goes_on)
    }

    /// The text that comes next.
    ///
    /// # Errors
    /// It does not end, or its escapes are none of JSON's.
    #[inline]
    pub fn text(&mut self) -> Result<&[u8], Invalid> {
        self.text_to(|behind| memchr2(b'"', b'\\', behind))
    }

    /// The text that comes next, of which the end is found sooner where it is short.
    ///
    /// # Errors
    /// As of [`Self::text`].
    #[inline]
    pub fn short_text(&mut self) -> Result<&[u8], Invalid> {
        self.text_to(plain_end)
    }

    /// The text of the value that comes next, where that is written as `before`, a text, and
    /// `behind`; else absent, and nothing is passed over.
    #[inline]
    pub fn text_between(&mut self, before: &[u8], behind: &[u8]) -> Option<&[u8]> {
        let start = self.rest;
        let [b'"', text @ ..] = start.strip_prefix(before)? else { return None };
        let (plain, end) = split(text, memchr2(b'"', b'\\', text)).ok()?;
        let is_plain = self.end_text(plain, end).ok()?;
        let Some(rest) = self.rest.strip_prefix(behind) else {
            self.rest = start;
            return None;
        };
        self.rest = rest;
        Some(if is_plain { plain } else { &self.unescaped })
    }

    /// The scalar that comes next.
    ///
    /// # Errors
    /// There is none, or it is a number beyond those of 64 bits.
    pub fn scalar(&mut self) -> Result<Scalar, Invalid> {
        Ok(match self.skip()? {
            b"null" => Scalar::Null,
            b"true" => Scalar::Bool(true),
            b"false" => Scalar::Bool(false),
            number => Scalar::Number(serde_json::from_slice(number).map_err(|_| Invalid)?),
        })
    }

    /// The end of the document.
    ///
    /// # Errors
    /// Something other than white space comes.
    pub fn end(&self) -> Result<(), Invalid> {
        if self.rest.iter().all(|byte| is_space(*byte)) { Ok(()) } else { Err(Invalid) }
    }

    /// The next byte that is no white space, which is passed over.
    #[inline]
    fn next(&mut self) -> Result<u8, Invalid> {
        loop {
            match self.rest {
                [byte, behind @ ..] if is_space(*byte) => self.rest = behind,
                [byte, ..] => return Ok(*byte),
                [] => return Err(Invalid),
            }
        }
    }

    /// Passes over a byte.
    #[inline]
    fn step(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Passes over the colon that comes next.
    fn colon(&mut self) -> Result<(), Invalid> {
        if self.next()? != b':' {
            return Err(Invalid);
        }
        self.step();
        Ok(())
    }

    #[inline]
    fn text_to(&mut self, end: fn(&[u8]) -> Option<usize>) -> Result<&[u8], Invalid> {
        self.next()?;
        let behind = self.rest.get(1..).unwrap_or_default();
        let (plain, behind) = split(behind, end(behind))?;
        let is_plain = self.end_text(plain, behind)?;
        Ok(if is_plain { plain } else { &self.unescaped })
    }

    /// Whether something comes before `end`, which is passed over.
    #[inline]
    fn goes_on(&mut self, first: &mut bool, end: u8) -> Result<bool, Invalid> {
        let is_first = std::mem::take(first);
        let next = self.next()?;
        if next == end {
            self.step();
            return Ok(false);
        }
        if !is_first {
            if next != b',' {
                return Err(Invalid);
            }
            self.step();
        }
        Ok(true)
    }

    /// Ends a text that begins with `plain`, which has no escapes: whether that is all of it.
    #[inline]
    fn end_text(&mut self, plain: &[u8], behind: &'b [u8]) -> Result<bool, Invalid> {
        if let [b'"', behind @ ..] = behind {
            self.rest = behind;
            return Ok(true);
        }
        self.rest = unescape(plain, behind, &mut self.unescaped)?;
        Ok(false)
    }
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

#[inline]
fn split(bytes: &[u8], at: Option<usize>) -> Result<(&[u8], &[u8]), Invalid> {
    at.and_then(|at| bytes.split_at_checked(at)).ok_or(Invalid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::{Map, Value};

    use super::*;

    fn value(json: &mut Json<'_>) -> Result<Value, Invalid> {
        Ok(match json.kind()? {
            Kind::Text => Value::String(String::from_utf8_lossy(json.text()?).into_owned()),
            Kind::Scalar => match json.scalar()? {
                Scalar::Null => Value::Null,
                Scalar::Bool(yes) => Value::Bool(yes),
                Scalar::Number(number) => Value::Number(number),
            },
            Kind::List => {
                let (mut list, mut first) = (Vec::new(), json.enter()?);
                while json.element(&mut first)? {
                    list.push(value(json)?);
                }
                Value::Array(list)
            }
            Kind::Object => {
                let (mut object, mut first) = (Map::new(), json.enter()?);
                while let Some(key) = json.key(&mut first)? {
                    let key = String::from_utf8_lossy(key).into_owned();
                    object.insert(key, value(json)?);
                }
                Value::Object(object)
            }
        })
    }

    fn read(body: &[u8]) -> Result<Value, Invalid> {
        value(&mut Json::new(body))
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,9}", any::<String>(), "[\\\\\"/\n\t\r\u{8}\u{c}😀é\u{1}]{0,12}"]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Whether all of `body` is passed over as one value.
    fn is_passed(body: &[u8]) -> bool {
        let mut json = Json::new(body);
        json.skip().is_ok() && json.end().is_ok()
    }

    proptest! {
        #[test]
        fn json_reads_as_another_reader_reads_it(value in any_value()) {
            for body in [serde_json::to_vec(&value), serde_json::to_vec_pretty(&value)] {
                let body = body.unwrap();
                prop_assert_eq!(read(&body), serde_json::from_slice(&body).map_err(|_| Invalid));
                let mut json = Json::new(&body);
                prop_assert_eq!(json.skip(), Ok(&body[..]));
            }
        }

        #[test]
        fn what_is_cut_or_changed_is_read_alike_or_refused(
            value in any_value(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut body = serde_json::to_vec(&value).unwrap();
            let at = at.index(body.len());
            // It ends.
            read(&body[..at]).ok();
            body[at] = byte;
            let ours = read(&body);
            if let Ok(theirs) = serde_json::from_slice::<Value>(&body) {
                prop_assert_eq!(ours, Ok(theirs));
            }
            let theirs = serde_json::from_slice::<IgnoredAny>(&body);
            prop_assert_eq!(is_passed(&body), theirs.is_ok());
        }

        #[test]
        fn halves_of_characters_are_those_of_another_reader(units in prop::collection::vec(
            prop_oneof![any::<u16>(), 0xD7F0..0xE010_u16], 0..6,
        )) {
            let escaped: Vec<_> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let body = format!("\"{}.\"", escaped.concat());
            let theirs: Bytes = serde_json::from_str(&body).unwrap();
            let mut json = Json::new(body.as_bytes());
            prop_assert_eq!(json.text(), Ok(&theirs.0[..]));
        }
    }

    /// As `serde_json` reads a text that is asked for as bytes.
    struct Bytes(Vec<u8>);

    impl<'de> serde::Deserialize<'de> for Bytes {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Read;

            impl serde::de::Visitor<'_> for Read {
                type Value = Bytes;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a text")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                    Ok(Bytes(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Read)
        }
    }

    #[test]
    fn what_is_passed_over_has_the_form_of_json() {
        for json in [
            "-0.50e+07",
            "1e999",
            "\"\\ud800\"",
            "[ ]",
            "{\"a\" : [ 1 , {} ] }",
            " null",
            "\"\\/é\"",
        ] {
            assert!(is_passed(json.as_bytes()), "{json}");
        }
        for json in [
            "",
            "-",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "nul",
            "nullx",
            "NaN",
            "\"a",
            "\"\\x\"",
            "\"\\u00g0\"",
            "\"a\nb\"",
            "\"it is a long text before the \u{1f}\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "[",
            "{\"a\":[}]",
            "]",
            "\\",
        ] {
            assert!(!is_passed(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_and_passed_over() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();

        assert!(read(&nested(127)).is_ok());
        assert_eq!(read(&nested(128)), Err(Invalid));
        assert_eq!(Json::new(&nested(100_000)).skip().map(<[u8]>::len), Ok(200_000));
        let mut mixed = [r#"[{"a":"#.repeat(40), "7".into(), "}]".repeat(40)].concat().into_bytes();
        assert!(is_passed(&mixed));
        for at in mixed.len() - 80..mixed.len() {
            let bracket = std::mem::replace(&mut mixed[at], b'7');
            assert!(!is_passed(&mixed), "at {at}");
            mixed[at] = if bracket == b'}' { b']' } else { b'}' };
            assert!(!is_passed(&mixed), "at {at}");
            mixed[at] = bracket;
        }
    }
}
