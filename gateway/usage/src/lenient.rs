//! Reading provider JSON without trusting its types.
//!
//! A reply belongs to the provider: a field of an unexpected type must cost that field, not the
//! usage beside it. Borrowed where JSON allows, so that a chunk is read without allocation.

use std::{borrow::Cow, fmt, marker::PhantomData};

use permille_types::TokenCount;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// The largest believable count. No reply comes near a million million tokens; a number above is
/// a defect, and sums of such numbers would overflow a database's integers.
const COUNT_MAX: TokenCount = 1 << 40;

fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Visitor methods for the scalar types that carry no meaning: each gives `$value`.
macro_rules! scalars {
    ($value:expr; $($method:ident: $type:ty),+ $(,)?) => {
        $(fn $method<E: de::Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok($value)
        })+
    };
}

/// A string; anything else reads as empty.
#[derive(Debug, Default)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
            scalars!(Text::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64,
                visit_f64: f64);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text<'de>, A::Error> {
                drain_seq(seq).map(|()| Text::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                drain_map(map).map(|()| Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
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

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                Ok(if count <= COUNT_MAX { Count::Value(count) } else { Count::Bad })
            }
            fn visit_unit<E: de::Error>(self) -> Result<Count, E> {
                Ok(Count::Absent)
            }
            scalars!(Count::Bad; visit_bool: bool, visit_i64: i64, visit_f64: f64, visit_str: &str);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Count, A::Error> {
                drain_seq(seq).map(|()| Count::Bad)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Count, A::Error> {
                drain_map(map).map(|()| Count::Bad)
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
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

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object::Value)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Object<T>, E> {
                Ok(Object::Absent)
            }
            scalars!(Object::Bad; visit_bool: bool, visit_i64: i64, visit_u64: u64,
                visit_f64: f64, visit_str: &str);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Object<T>, A::Error> {
                drain_seq(seq).map(|()| Object::Bad)
            }
        }
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
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
    /// A list of one element.
    fn one(element: T) -> Self {
        Self { listed: true, first: Some(element), rest: Vec::new() }
    }

    /// Whether the key holds a list, and that list is empty.
    pub(crate) fn is_empty_list(&self) -> bool {
        self.listed && self.first.is_none()
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

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T>, A::Error> {
                let first = seq.next_element()?;
                let mut rest = Vec::new();
                while let Some(element) = seq.next_element()? {
                    rest.push(element);
                }
                Ok(Few { listed: true, first, rest })
            }
            fn visit_unit<E: de::Error>(self) -> Result<Few<T>, E> {
                Ok(Few::default())
            }
            scalars!(Few::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64,
                visit_f64: f64, visit_str: &str);
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Few<T>, A::Error> {
                drain_map(map).map(|()| Few::default())
            }
        }
        deserializer.deserialize_any(FewVisitor(PhantomData))
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

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PresentVisitor;
        impl<'de> Visitor<'de> for PresentVisitor {
            type Value = Present;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Present, E> {
                Ok(Present(false))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Present, E> {
                Ok(Present(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Present, E> {
                Ok(Present(value != 0))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Present, E> {
                Ok(Present(!text.is_empty()))
            }
            scalars!(Present(true); visit_i64: i64, visit_f64: f64);
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Present, A::Error> {
                drain_seq(seq).map(|()| Present(true))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Present, A::Error> {
                drain_map(map).map(|()| Present(true))
            }
        }
        deserializer.deserialize_any(PresentVisitor)
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

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
        }
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or parts")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
                Ok(Content(Few::one(Text(Cow::Borrowed(text)))))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content(Few::one(Text(Cow::Owned(text.to_owned())))))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Content<'de>, E> {
                Ok(Content::default())
            }
            scalars!(Content::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64,
                visit_f64: f64);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
                let mut texts = Few { listed: true, first: None, rest: Vec::new() };
                while let Some(part) = seq.next_element::<Object<Part<'de>>>()? {
                    let Object::Value(Part { text }) = part else { continue };
                    match texts.first {
                        None => texts.first = Some(text),
                        Some(_) => texts.rest.push(text),
                    }
                }
                Ok(Content(texts))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content<'de>, A::Error> {
                drain_map(map).map(|()| Content::default())
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that are no string, no list of parts and no object with fields.
    const ODD: [&str; 8] = ["null", "true", "-1", "7", "0.5", "[1,[2]]", r#"{"a":[1]}"#, "[null]"];

    fn read<'de, T: Deserialize<'de>>(json: &'de str) -> T {
        serde_json::from_str(json).unwrap_or_else(|cause| panic!("{json}: {cause}"))
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
        #[derive(Default, Deserialize)]
        struct Usage {
            tokens: Count,
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
