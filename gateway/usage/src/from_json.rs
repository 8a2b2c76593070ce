//! Objects of the wire, declared by their fields and read where they lie.

use permille_json::{Invalid, Json};
use simdutf8::basic::from_utf8;

/// What can be read of JSON.
pub(crate) trait FromJson<'a>: Default {
    /// Reads the value that comes next into this one, which has its default.
    ///
    /// # Errors
    /// The value has not the form of JSON, or holds what costs all that is read with it: a text
    /// that is none, a field that is given twice.
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid>;
}

/// All of `json` as a `T`.
pub(crate) fn read<'a, T: FromJson<'a>>(json: &'a [u8]) -> Result<T, Invalid> {
    let (mut json, mut value) = (Json::new(json), T::default());
    value.fill(&mut json)?;
    json.end()?;
    Ok(value)
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Box<T> {
    fn fill(&mut self, json: &mut Json<'a>) -> Result<(), Invalid> {
        T::fill(self, json)
    }
}

/// Looks at a key that no field has: one that is no text may have been any.
pub(crate) fn unknown(key: &[u8]) -> Result<(), Invalid> {
    if key.is_ascii() || from_utf8(key).is_ok() { Ok(()) } else { Err(Invalid) }
}

/// Declares objects by their fields, each of which is called on the wire as here, or as is said
/// behind it. Other fields are passed over, and what is no object has none of them. A field that is
/// given twice costs the whole: who reads it otherwise knows which of both counts.
macro_rules! objects {
    ($(
        $(#[$attribute:meta])*
        $visible:vis struct $name:ident $(<$life:lifetime>)? {
            $(
                $(#[$doc:meta])*
                $field_visible:vis $field:ident: $type:ty $(= $($key:literal)|+)?
            ),+ $(,)?
        }
    )+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Default)]
        $visible struct $name $(<$life>)? {
            $($(#[$doc])* $field_visible $field: $type),+
        }

        impl<'a> $crate::from_json::FromJson<'a> for $name $(<$life>)? {
            fn fill(
                &mut self,
                json: &mut permille_json::Json<'a>,
            ) -> Result<(), permille_json::Invalid> {
                if json.kind()? != permille_json::Kind::Object {
                    return json.skip().map(drop);
                }
                $(let mut $field = false;)+
                let mut first = json.enter()?;
                while let Some(key) = json.key(&mut first)? {
                    $(if $crate::from_json::is_key!(key, $field $($($key),+)?) {
                        if std::mem::replace(&mut $field, true) {
                            return Err(permille_json::Invalid);
                        }
                        self.$field.fill(json)?;
                        continue;
                    })+
                    $crate::from_json::unknown(key)?;
                    json.skip()?;
                }
                Ok(())
            }
        }
    )+};
}

/// Whether a key is that of a field.
macro_rules! is_key {
    ($key:ident, $field:ident) => {
        $key == stringify!($field).as_bytes()
    };
    ($key:ident, $field:ident $($name:literal),+) => {
        $($key == $name.as_bytes())||+
    };
}

pub(crate) use {is_key, objects};

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        lenient::{Count, Few, Object, Present, Text},
        raw_text::{Raw, RawText},
        text::TextSample,
    };

    objects! {
        struct Ours<'a> {
            id: Text<'a>,
            tokens: Count = "tokens" | "Tokens",
            done: Present,
            raw: Raw<'a>,
            delta: RawText<'a>,
            inner: Object<Box<Ours<'a>>>,
            list: Few<Box<Ours<'a>>>,
        }
    }

    /// The same fields, as another reader knows which of them are given, and whether twice.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Theirs<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow, alias = "Tokens")]
        tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        done: Option<&'a RawValue>,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
        #[serde(borrow)]
        delta: Option<&'a RawValue>,
        #[serde(borrow)]
        inner: Option<&'a RawValue>,
        #[serde(borrow)]
        list: Option<&'a RawValue>,
    }

    impl Ours<'_> {
        fn told(&self) -> String {
            let mut delta = TextSample::default();
            self.delta.push_to(&mut delta);
            let (id, raw, delta) = (self.id.as_str(), self.raw.as_str(), delta.kept());
            let mut is_bad = false;
            let tokens = self.tokens.read(&mut is_bad);
            let inner = self.inner.get().map(|inner| inner.told());
            let list: Vec<_> = self.list.iter().map(|element| element.told()).collect();
            let done = self.done.is_present();
            let given = self.inner.is_present();
            format!(
                "{id:?} {tokens:?} {is_bad} {done} {raw:?} {delta:?} {inner:?} {given} {list:?}"
            )
        }
    }

    impl Theirs<'_> {
        fn told(&self) -> Option<String> {
            let get = |raw: Option<&RawValue>| raw.map_or("null", RawValue::get).to_owned();
            let is_refused = Cell::new(false);
            let text = |raw: &str| {
                let text = raw.starts_with('"').then(|| serde_json::from_str::<String>(raw));
                is_refused.set(is_refused.get() || matches!(text, Some(Err(_))));
                text.and_then(Result::ok).unwrap_or_default()
            };
            let (id, delta, raw) = (text(&get(self.id)), text(&get(self.delta)), get(self.raw));
            let raw = if raw == "null" { String::new() } else { raw };
            let tokens = get(self.tokens);
            let count = serde_json::from_str::<u64>(&tokens).ok().filter(|count| *count <= 1 << 40);
            let is_bad = count.is_none() && tokens != "null";
            let done = !["null", "false", "0", "\"\""].contains(&get(self.done).as_str());
            let (inner, list) = (get(self.inner), get(self.list));
            let read = |object: &str| {
                let read = serde_json::from_str::<Theirs<'_>>(object).ok()?;
                read.told()
            };
            let is_object = inner.starts_with('{');
            let told = if is_object { Some(read(&inner)?) } else { None };
            let list = if list.starts_with('[') {
                serde_json::from_str::<Vec<&RawValue>>(&list).ok()?
            } else {
                Vec::new()
            };
            let list = list.into_iter().map(|element| {
                if element.get().starts_with('{') {
                    read(element.get())
                } else {
                    Theirs::default().told()
                }
            });
            let list = list.collect::<Option<Vec<_>>>()?;
            let given = inner != "null";
            let told = format!(
                "{id:?} {count:?} {is_bad} {done} {raw:?} {delta:?} {told:?} {given} {list:?}"
            );
            (!is_refused.get()).then_some(told)
        }
    }

    fn value() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            prop::sample::select(vec![
                "null",
                "true",
                "false",
                "0",
                "-0",
                "7",
                "-7",
                "1.0",
                "1e3",
                "1099511627776",
                "1099511627777",
                "18446744073709551616",
                "\"\"",
                "\"a\"",
                r#""\u0041\n\"""#,
                "\"😀é\"",
                "[]",
                "{}",
                "[7, [null]]",
                r#"{"id": 1, "id": 2, "ids": {}}"#,
            ])
            .prop_map(str::to_owned),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        scalar.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|list| format!("[{}]", list.join(","))),
                object(inner),
            ]
        })
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "id", r"\u0069d", "tokens", "Tokens", "done", "raw", "delta", "inner", "list", "more",
            "é",
        ]);
        prop::collection::vec((key, value, any::<bool>()), 0..6).prop_map(|members| {
            let members = members.iter().map(|(key, value, is_wide)| {
                if *is_wide {
                    format!(" \"{key}\" :\n{value}\t")
                } else {
                    format!("\"{key}\":{value}")
                }
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        })
    }

    /// What `Ours` and `Theirs` make of it.
    fn both(json: &str) -> [Option<String>; 2] {
        let ours = read::<Object<Ours<'_>>>(json.as_bytes()).ok();
        let ours = ours.as_ref().and_then(Object::get).map(Ours::told);
        let is_object = json.trim_start_matches([' ', '\n', '\t', '\r']).starts_with('{');
        let theirs = serde_json::from_str::<Theirs<'_>>(json).ok().filter(|_| is_object);
        [ours, theirs.and_then(|read| read.told())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn an_object_is_read_or_refused_as_by_another_reader(json in object(value())) {
            let [ours, theirs] = both(&json);
            prop_assert_eq!(ours, theirs, "{}", json);
        }

        #[test]
        fn what_is_cut_or_changed_is_read_or_refused_alike(
            json in object(value()),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"\"\\{}[]:,0.-+eEntu \n\x01".to_vec()),
        ) {
            let mut json = json.into_bytes();
            let at = at.index(json.len());
            if let Ok(cut) = std::str::from_utf8(&json[..at]) {
                let [ours, theirs] = both(cut);
                prop_assert_eq!(ours, theirs, "{}", cut);
            }
            json[at] = byte;
            if let Ok(changed) = std::str::from_utf8(&json) {
                let [ours, theirs] = both(changed);
                prop_assert_eq!(ours, theirs, "{}", changed);
            }
        }
    }

    /// A value that is not what is asked for costs itself, whatever else is wrong with it.
    #[test]
    fn a_broken_value_of_another_type_costs_that_field_alone() {
        for odd in ["1e999", r#""\ud83d""#, "\"\u{1F600}\""] {
            let json = format!(r#"{{"tokens":{odd},"list":{odd},"inner":{odd},"id":"a"}}"#);
            let read: Ours<'_> = read(json.as_bytes()).unwrap();
            assert_eq!((read.id.as_str(), read.tokens), ("a", Count::Bad), "{odd}");
        }
        assert!(read::<Ours<'_>>(br#"{"id":"\ud83d"}"#).is_err());
        assert!(read::<Ours<'_>>(b"{\"tokens\":\"\xff\",\"id\":\"a\"}").is_ok());
        assert!(read::<Ours<'_>>(b"{\"tok\xffens\":7}").is_err());
        assert!(read::<Ours<'_>>(br#"{"tok\ud83dens":7}"#).is_err());
    }
}
