//! What can be bound to a statement.

use std::borrow::Cow;

use sqlx::{Arguments, Database, Postgres, Sqlite, error::BoxDynError};

use crate::column;

/// A value on its way into the store. Each kind knows its type also where it is null, for
/// `PostgreSQL` decides on types before it sees values.
///
/// A text has no NUL: `PostgreSQL` holds none, so on both engines U+FFFD stands in its place.
/// Otherwise one such character in what a client sent would hold up its journal for ever.
pub(crate) enum Value<'q> {
    Text(Option<Cow<'q, str>>),
    Integer(Option<i64>),
    Bytes(Option<Cow<'q, [u8]>>),
}

/// An engine that these values fit.
pub(super) trait Fits: Database {
    fn add(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), BoxDynError>;
}

macro_rules! fits {
    ($($engine:ty),+) => {
        $(impl Fits for $engine {
            fn add(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), BoxDynError> {
                match value {
                    Value::Text(text) => arguments.add(text),
                    Value::Integer(integer) => arguments.add(integer),
                    Value::Bytes(Some(Cow::Borrowed(bytes))) => arguments.add(bytes),
                    Value::Bytes(Some(Cow::Owned(bytes))) => arguments.add(bytes),
                    Value::Bytes(None) => arguments.add(None::<Vec<u8>>),
                }
            }
        })+
    };
}

fits!(Sqlite, Postgres);

impl<'q> Value<'q> {
    fn text(text: Option<Cow<'q, str>>) -> Self {
        Self::Text(text.map(|text| {
            if text.contains('\0') { Cow::Owned(column::stored_text(&text)) } else { text }
        }))
    }
}

macro_rules! value_of {
    ($($from:ty => |$value:ident| $kind:expr),+ $(,)?) => {
        $(impl<'q> From<$from> for Value<'q> {
            fn from($value: $from) -> Self {
                $kind
            }
        })+
    };
}

value_of! {
    &'q str => |text| Self::text(Some(Cow::Borrowed(text))),
    &'q String => |text| Self::text(Some(Cow::Borrowed(text))),
    String => |text| Self::text(Some(Cow::Owned(text))),
    Option<&'q str> => |text| Self::text(text.map(Cow::Borrowed)),
    Option<String> => |text| Self::text(text.map(Cow::Owned)),
    &'q Option<String> => |text| Self::text(text.as_deref().map(Cow::Borrowed)),
    i64 => |integer| Self::Integer(Some(integer)),
    Option<i64> => |integer| Self::Integer(integer),
    &'q [u8] => |bytes| Self::Bytes(Some(Cow::Borrowed(bytes))),
    Vec<u8> => |bytes| Self::Bytes(Some(Cow::Owned(bytes))),
    Option<Vec<u8>> => |bytes| Self::Bytes(bytes.map(Cow::Owned)),
}
