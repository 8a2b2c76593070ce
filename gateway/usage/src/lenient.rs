//! Reading provider JSON without trusting its types.
//!
//! A reply belongs to the provider: a field of an unexpected type must cost that field, not the
//! usage beside it, whatever the value is: a number of any size, a text that is not UTF-8.
//! Borrowed where JSON allows, so that a chunk is read without allocation.

use std::borrow::Cow;

use memchr::memchr;
use permille_json::{Invalid, Json, Kind};
use permille_types::TokenCount;
use simdutf8::basic::from_utf8;

use crate::from_json::{FromJson, objects};

/// The largest believable count. No reply comes near a million million tokens; a number above is
/// a defect, and sums of such numbers would overflow a database's integers.
const COUNT_MAX: TokenCount = 1 << 40;

/// A string; anything else reads as empty. One that is no text, for it is not UTF-8 or has half a
/// character, costs all that is read with it.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> FromJson<'a> for Text<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        let raw = json.skip()?;
        if let Some(plain) = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")) {
            self.0 = if memchr(b'\\', plain).is_some() {
                Cow::Owned(serde_json::from_slice(raw).map_err(|_| Invalid)?)
            } else {
                Cow::Borrowed(from_utf8(plain).map_err(|_| Invalid)?)
            };
        }
        Ok(())
    }
}

/// A token count as a provider reports it. Missing, zero and unreadable are three things (M3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Count {
    /// No key, or `null`.
    #[default]
    Absent,
    /// A whole number.
    Value(TokenCount),
    /// Negative, fractional, beyond belief, or no number.
    Bad,
}

impl Count {
    /// The count; an unreadable one sets `bad` and reads as absent.
    pub(crate) fn read(self, bad: &mut bool) -> Option<TokenCount> {
        match self {
            Self::Absent => None,
            Self::Value(count) => Some(count),
            Self::Bad => {
                *bad = true;
                None
            }
        }
    }

    /// This count, or `other` when this one is absent.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::Absent { other } else { self }
    }
}

impl<'a> FromJson<'a> for Count {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        *self = match json.skip()? {
            b"null" => Self::Absent,
            number => whole(number).map_or(Self::Bad, Self::Value),
        };
        Ok(())
    }
}

/// `number`, if it is whole and can be believed: it has neither sign, point nor exponent.
fn whole(number: &[u8]) -> Option<TokenCount> {
    let number = number.iter().try_fold(0, |number: TokenCount, digit| {
        let digit = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    number.filter(|number| *number <= COUNT_MAX)
}

/// An object of a known shape.
#[derive(Debug, Default)]
pub(crate) enum Object<T> {
    /// No key, or `null`.
    #[default]
    Absent,
    /// An object.
    Value(T),
    /// Something that is no object.
    Bad,
}

impl<T> Object<T> {
    /// The object, when there is one.
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The object, if there is one; a value that is none sets `bad`.
    pub(crate) fn look(&self, bad: &mut bool) -> Option<&T> {
        *bad |= matches!(self, Self::Bad);
        self.get()
    }

    /// Whether the key holds something, `null` aside.
    pub(crate) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<T: Default> Object<T> {
    /// The object, or its default; a value that is no object sets `bad`.
    pub(crate) fn read(self, bad: &mut bool) -> T {
        match self {
            Self::Absent => T::default(),
            Self::Value(value) => value,
            Self::Bad => {
                *bad = true;
                T::default()
            }
        }
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Object<T> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        if json.kind()? == Kind::Object {
            *self = Self::Value(T::default());
            if let Self::Value(value) = self {
                value.fill(json)?;
            }
        } else if json.skip()? != b"null" {
            *self = Self::Bad;
        }
        Ok(())
    }
}

/// A list that mostly has one element: the first one costs no allocation.
#[derive(Debug)]
pub(crate) struct Few<T> {
    listed: bool,
    first: Option<T>,
    rest: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { listed: false, first: None, rest: Vec::new() }
    }
}

impl<T> Few<T> {
    /// Whether the key holds a list, and that list is empty.
    pub(crate) fn is_empty_list(&self) -> bool {
        self.listed && self.first.is_none()
    }

    /// Adds an element behind the others.
    fn push(&mut self, element: T) {
        if self.first.is_none() {
            self.first = Some(element);
        } else {
            self.rest.push(element);
        }
    }

    /// The last element.
    pub(crate) fn into_last(mut self) -> Option<T> {
        self.rest.pop().or(self.first)
    }

    /// The elements in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Few<T> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        if json.kind()? != Kind::List {
            return json.skip().map(drop);
        }
        self.listed = true;
        let mut first = json.enter()?;
        if json.element(&mut first)? {
            self.first.insert(T::default()).fill(json)?;
            while json.element(&mut first)? {
                let mut element = T::default();
                element.fill(json)?;
                self.rest.push(element);
            }
        }
        Ok(())
    }
}

/// Whether a key holds anything but `null`, `false`, 0 and an empty text: all of these stand for
/// "no error" or "not yet" in some format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Present(bool);

impl Present {
    /// Whether it does.
    pub(crate) fn is_present(self) -> bool {
        self.0
    }
}

impl<'a> FromJson<'a> for Present {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        self.0 = !matches!(json.skip()?, b"null" | b"false" | b"0" | b"\"\"");
        Ok(())
    }
}

/// The text of a message: a string, or parts of which some have a `text`.
#[derive(Debug, Default)]
pub(crate) struct Content<'a>(Few<Text<'a>>);

impl<'a> Content<'a> {
    /// The texts in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Text<'a>> {
        self.0.iter()
    }
}

objects! {
    struct Part<'a> {
        text: Text<'a>,
    }
}

impl<'a> FromJson<'a> for Content<'a> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        if json.kind()? == Kind::Text {
            let mut text = Text::default();
            text.fill(json)?;
            self.0.push(text);
            return Ok(());
        }
        let mut parts = Few::<Object<Part<'a>>>::default();
        parts.fill(json)?;
        for part in parts.first.into_iter().chain(parts.rest) {
            if let Object::Value(Part { text }) = part {
                self.0.push(text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_json;

    /// Values that are no string, no list of parts and no object with fields.
    const ODD: [&str; 8] = ["null", "true", "-1", "7", "0.5", "[1,[2]]", r#"{"a":[1]}"#, "[null]"];

    fn read<'a, T: FromJson<'a>>(json: &'a str) -> T {
        from_json::read(json.as_bytes()).unwrap_or_else(|cause| panic!("{json}: {cause:?}"))
    }

    #[test]
    fn a_text_is_read_with_its_escapes_and_everything_else_is_an_empty_one() {
        assert_eq!(read::<Text<'_>>(r#""gpt-5""#).as_str(), "gpt-5");
        assert_eq!(read::<Text<'_>>(r#""gpt\u002d5""#).as_str(), "gpt-5");
        for odd in ODD {
            assert_eq!(read::<Text<'_>>(odd).as_str(), "", "{odd}");
        }
    }

    #[test]
    fn a_content_is_a_text_or_the_texts_of_its_parts_and_nothing_else() {
        let texts = |json| -> Vec<String> {
            let content: Content<'_> = read(json);
            content.iter().map(|text| text.as_str().to_owned()).collect()
        };

        assert_eq!(texts(r#""The Nile""#), ["The Nile"]);
        assert_eq!(texts(r#""The\nNile""#), ["The\nNile"]);
        assert_eq!(texts(r#"[{"text":"a"},7,{"text":"b\n"},{"text":"c"}]"#), ["a", "b\n", "c"]);
        for odd in ODD {
            assert!(texts(odd).is_empty(), "{odd}");
        }
    }

    #[test]
    fn a_list_is_its_elements_in_order_and_everything_else_is_none() {
        let list: Few<Text<'_>> = read(r#"["a","b","c"]"#);
        let all: Vec<&str> = list.iter().map(Text::as_str).collect();
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!(list.into_last().as_ref().map(Text::as_str), Some("c"));

        let parts: Few<Part<'_>> = read(r#"[{"text":"a"},null,7,["b"],{"text":"c"}]"#);
        let all: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(all, ["a", "", "", "", "c"]);

        assert!(read::<Few<Text<'_>>>("[]").is_empty_list());
        assert!(!read::<Few<Text<'_>>>(r#"["a"]"#).is_empty_list());
        for odd in ["null", "false", "-1", "7", "0.5", r#""a""#, r#"{"a":[1]}"#] {
            let odd_list: Few<Text<'_>> = read(odd);
            assert!(!odd_list.is_empty_list() && odd_list.into_last().is_none(), "{odd}");
        }
    }

    #[test]
    fn a_count_is_a_whole_number_that_can_be_believed() {
        assert_eq!(read::<Count>("0"), Count::Value(0));
        assert_eq!(read::<Count>("1099511627776"), Count::Value(COUNT_MAX));
        assert_eq!(read::<Count>("null"), Count::Absent);
        for bad in ["1099511627777", "-1", "1.0", "true", r#""7""#, "[7,8]", r#"{"a":7,"b":8}"#] {
            assert_eq!(read::<Count>(bad), Count::Bad, "{bad}");
        }
        assert_eq!(Count::Absent.or(Count::Value(1)), Count::Value(1));
        assert_eq!(Count::Bad.or(Count::Value(1)), Count::Bad);
    }

    #[test]
    fn an_object_is_read_and_anything_else_but_null_is_bad() {
        objects! {
            struct Usage {
                tokens: Count,
            }
        }
        let read_object = |json| {
            let mut bad = false;
            let object: Object<Usage> = read(json);
            (object.is_present(), object.read(&mut bad).tokens, bad)
        };

        assert_eq!(read_object(r#"{"tokens":7,"more":[1]}"#), (true, Count::Value(7), false));
        assert_eq!(read_object("null"), (false, Count::Absent, false));
        for bad in ["true", "-1", "7", "0.5", r#""a""#, "[1,2]"] {
            assert_eq!(read_object(bad), (true, Count::Absent, true), "{bad}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_not_present() {
        for nothing in ["null", "false", "0", r#""""#] {
            assert!(!read::<Present>(nothing).is_present(), "{nothing}");
        }
        for something in ["true", "1", "-1", "0.5", r#""a""#, "[0,1]", r#"{"code":1,"b":2}"#] {
            assert!(read::<Present>(something).is_present(), "{something}");
        }
    }
}
