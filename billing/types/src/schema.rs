//! JSON Schemas of values whose own crates have none. They are only read by what describes the
//! API; nothing is made of them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! described {
    ($($(#[$doc:meta])* $name:ident = $schema:tt),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn schema_id() -> Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

described! {
    /// The code of a currency. Source: ISO 4217.
    CurrencyCode = {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["CNY"]},
    /// A name of the time zone database. Source: IANA, "Time Zone Database".
    TimeZone = {"type": "string", "pattern": "^[A-Za-z0-9_+/-]+$", "examples": ["Asia/Shanghai"]},
    /// A decimal as text, exact.
    DecimalText = {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$", "examples": ["12.50"]},
    /// A digest in hexadecimal digits.
    HexDigest = {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
