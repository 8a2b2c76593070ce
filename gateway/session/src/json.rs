//! A request's JSON, read where it lies and once.
//!
//! Not a validator: the gateway has read the body as JSON before. What is no JSON is an error or
//! reads as something, and is never read beyond its end. A text is bytes: half a character, which
//! JSON can write, is one too.

use memchr::memchr2;
use serde_json::Number;

/// Objects and lists around a value; more are an error, so that no request runs out of stack.
const DEPTH_MAX: u8 = 127;

/// What is left of a body.
pub(crate) struct Json<'b> {
    rest: &'b [u8],
    depth: u8,
    /// A text that has escapes, without them.
    unescaped: Vec<u8>,
}

/// The body is no JSON, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Invalid;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Object,
    List,
    Scalar,
}

/// A value that is no text and holds none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
}

impl<'b> Json<'b> {
    pub(crate) fn new(body: &'b [u8]) -> Self {
        Self { rest: body, depth: 0, unescaped: Vec::new() }
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// What comes next, behind white space.
    pub(crate) fn kind(&mut self) -> Result<Kind, Invalid> {
        Ok(match self.next()? {
            b'"' => Kind::Text,
            b'{' => Kind::Object,
            b'[' => Kind::List,
            _ => Kind::Scalar,
        })
    }

    /// Enters the object or list that comes next: its members or elements come one by one, the
    /// first of which is `first`.
    pub(crate) fn enter(&mut self) -> Result<bool, Invalid> {
        self.next()?;
        self.step();
        self.depth =
            self.depth.checked_add(1).filter(|depth| *depth <= DEPTH_MAX).ok_or(Invalid)?;
        Ok(true)
    }

    /// The next member's key, its value comes next; absent at the end of the object.
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<&[u8]>, Invalid> {
        let behind = match (self.rest, *first) {
            ([b'"', behind @ ..], true) | ([b',', b'"', behind @ ..], false) => behind,
            _ if !self.goes_on(first, b'}')? => return Ok(None),
            _ if self.next()? != b'"' => return Err(Invalid),
            _ => self.rest.get(1..).unwrap_or_default(),
        };
        *first = false;
        let (plain, behind) = split(behind, end_of_short(behind))?;
        if let [b'"', b':', behind @ ..] = behind {
            self.rest = behind;
            return Ok(Some(plain));
        }
        let is_plain = self.end_text(plain, behind)?;
        if self.next()? != b':' {
            return Err(Invalid);
        }
        self.step();
        Ok(Some(if is_plain { plain } else { &self.unescaped }))
    }

    /// Whether another element comes next.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool, Invalid> {
        self.goes_on(first, b']')
    }

    /// The text that comes next.
    pub(crate) fn text(&mut self) -> Result<&[u8], Invalid> {
        self.text_to(|behind| memchr2(b'"', b'\\', behind))
    }

    /// The text that comes next, of which the end is found sooner where it is short.
    pub(crate) fn short_text(&mut self) -> Result<&[u8], Invalid> {
        self.text_to(end_of_short)
    }

    /// The text of the value that comes next, where that is written as `before`, a text, and
    /// `behind`; else absent, and nothing is passed over.
    pub(crate) fn text_between(&mut self, before: &[u8], behind: &[u8]) -> Option<&[u8]> {
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

    #[inline]
    fn text_to(&mut self, end: fn(&[u8]) -> Option<usize>) -> Result<&[u8], Invalid> {
        self.next()?;
        let behind = self.rest.get(1..).unwrap_or_default();
        let (plain, behind) = split(behind, end(behind))?;
        let is_plain = self.end_text(plain, behind)?;
        Ok(if is_plain { plain } else { &self.unescaped })
    }

    /// The scalar that comes next.
    pub(crate) fn scalar(&mut self) -> Result<Scalar, Invalid> {
        Ok(match self.skip()? {
            b"null" => Scalar::Null,
            b"true" => Scalar::Bool(true),
            b"false" => Scalar::Bool(false),
            number => Scalar::Number(serde_json::from_slice(number).map_err(|_| Invalid)?),
        })
    }

    /// Passes over the value that comes next, whose bytes these are.
    pub(crate) fn skip(&mut self) -> Result<&'b [u8], Invalid> {
        self.next()?;
        let start = self.rest;
        let mut open = 0_usize;
        loop {
            let (byte, behind) = self.rest.split_first().ok_or(Invalid)?;
            match byte {
                b'"' => {
                    self.rest = behind;
                    self.skip_text()?;
                }
                b'{' | b'[' => {
                    self.rest = behind;
                    open = open.checked_add(1).ok_or(Invalid)?;
                }
                b'}' | b']' => {
                    self.rest = behind;
                    open = open.checked_sub(1).ok_or(Invalid)?;
                }
                _ if open == 0 => {
                    let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || is_space(*byte);
                    let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                    (_, self.rest) = split(self.rest, Some(end))?;
                }
                _ => self.rest = behind,
            }
            if open == 0 {
                let length = start.len().saturating_sub(self.rest.len());
                return start.get(..length).filter(|value| !value.is_empty()).ok_or(Invalid);
            }
        }
    }

    fn skip_text(&mut self) -> Result<(), Invalid> {
        loop {
            let (_, behind) = split(self.rest, memchr2(b'"', b'\\', self.rest))?;
            match behind {
                [b'\\', _, behind @ ..] => self.rest = behind,
                [_, behind @ ..] => {
                    self.rest = behind;
                    return Ok(());
                }
                [] => return Err(Invalid),
            }
        }
    }

    /// The next byte that is no white space, which is passed over.
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
    fn step(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// Whether something comes before `end`, which is passed over.
    fn goes_on(&mut self, first: &mut bool, end: u8) -> Result<bool, Invalid> {
        let is_first = std::mem::take(first);
        let next = self.next()?;
        if next == end {
            self.step();
            self.depth = self.depth.saturating_sub(1);
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
        self.unescape(plain, behind)?;
        Ok(false)
    }

    /// As [`Self::end_text`], from the first escape on.
    #[inline(never)]
    fn unescape(&mut self, plain: &[u8], mut behind: &'b [u8]) -> Result<(), Invalid> {
        self.unescaped.clear();
        self.unescaped.extend_from_slice(plain);
        loop {
            let character = match behind {
                [b'\\', b'u', digits @ ..] => {
                    behind = unescape_unit(digits, &mut self.unescaped)?;
                    None
                }
                [b'\\', escape, rest @ ..] => {
                    behind = rest;
                    Some(match escape {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'b' => 8,
                        b'f' => 12,
                        b'"' | b'\\' | b'/' => *escape,
                        _ => return Err(Invalid),
                    })
                }
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(());
                }
                _ => return Err(Invalid),
            };
            self.unescaped.extend(character);
            let (plain, rest) = split(behind, memchr2(b'"', b'\\', behind))?;
            self.unescaped.extend_from_slice(plain);
            behind = rest;
        }
    }
}

/// Where the first quote or backslash is.
#[inline]
fn end_of_short(text: &[u8]) -> Option<usize> {
    // Where the first eight bytes have one, they are looked at together.
    let found = text.first_chunk().and_then(|bytes| {
        let bytes = u64::from_le_bytes(*bytes);
        let found = zeros(bytes ^ QUOTES) | zeros(bytes ^ BACKSLASHES);
        usize::try_from(found.trailing_zeros() / 8).ok().filter(|_| found != 0)
    });
    found.or_else(|| memchr2(b'"', b'\\', text))
}

const ONES: u64 = 0x0101_0101_0101_0101;
const QUOTES: u64 = ONES * 0x22;
const BACKSLASHES: u64 = ONES * 0x5C;

/// The high bit of the first byte that is zero, and maybe those of later ones.
fn zeros(bytes: u64) -> u64 {
    bytes.wrapping_sub(ONES) & !bytes & (ONES << 7)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

fn split(bytes: &[u8], at: Option<usize>) -> Result<(&[u8], &[u8]), Invalid> {
    at.and_then(|at| bytes.split_at_checked(at)).ok_or(Invalid)
}

/// Adds the character of which `digits` are those of the first escape: what is behind it. Half a
/// character is written as a whole one of that number would be.
fn unescape_unit<'b>(digits: &'b [u8], text: &mut Vec<u8>) -> Result<&'b [u8], Invalid> {
    let (first, behind) = unit(digits)?;
    if let 0xD800..=0xDBFF = first
        && let [b'\\', b'u', digits @ ..] = behind
        && let (second @ 0xDC00..=0xDFFF, behind) = unit(digits)?
    {
        let low = u32::from(second & 0x3FF);
        let character = char::from_u32(0x1_0000 + (u32::from(first & 0x3FF) << 10 | low));
        let character = character.ok_or(Invalid)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok(behind);
    }
    if let Some(character) = char::from_u32(u32::from(first)) {
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let [high, low] = first.to_be_bytes();
        let middle = (high & 0x0F) << 2 | low >> 6;
        text.extend_from_slice(&[0xE0 | high >> 4, 0x80 | middle, 0x80 | low & 0x3F]);
    }
    Ok(behind)
}

/// The number that four hexadecimal digits are, and what is behind them.
fn unit(digits: &[u8]) -> Result<(u16, &[u8]), Invalid> {
    let (digits, behind) = split(digits, Some(4))?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Invalid)?;
    Ok((unit, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
    fn what_is_nested_too_deeply_is_refused_and_passed_over() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes();

        assert!(read(&nested(127)).is_ok());
        assert_eq!(read(&nested(128)), Err(Invalid));
        assert_eq!(Json::new(&nested(100_000)).skip().map(<[u8]>::len), Ok(200_000));
    }
}
