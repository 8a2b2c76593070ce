//! Asks a provider to report usage in its stream, by changing the bytes that say so.
//!
//! A client's `false`, `null` or `{}` is overridden too: an unreported stream is an unmetered
//! one. The frame that we asked for is cut out of the reply again.

use super::{
    RequestError, classify,
    edit::{Edit, insert, replace},
    top::Top,
};

/// `body` with `stream_options.include_usage` set to `true`; absent when nothing had to change:
/// it is set already, or the reply is not to be a stream.
///
/// # Errors
/// [`RequestError`] as in [`classify`](super::classify()).
pub fn ask_for_usage(body: &[u8]) -> Result<Option<Vec<u8>>, RequestError> {
    let top = Top::read(body, ["stream", "stream_options"])?;
    if !classify::stream(&top)? {
        return Ok(None);
    }
    let edit = match (top.raw("stream_options"), top.get("stream_options")) {
        (Some(raw), None) => replace(body, raw, r#"{"include_usage":true}"#),
        (_, Some(options)) => {
            let object = options.object()?;
            if classify::include_usage(object)? == Some(true) {
                return Ok(None);
            }
            let inner = Top::read(object.as_bytes(), ["include_usage"])?;
            match inner.raw("include_usage") {
                Some(raw) => replace(body, raw, "true"),
                None => insert(body, object, r#""include_usage":true"#, inner.is_empty),
            }
        }
        (None, None) => {
            let object = body.trim_ascii_start();
            let start = body.len().saturating_sub(object.len());
            let member = r#""stream_options":{"include_usage":true}"#;
            Edit {
                start: start.saturating_add(1),
                end: start.saturating_add(1),
                text: member.to_owned() + ",",
            }
        }
    };
    Ok(edit.apply(body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn asked(body: &str) -> Option<String> {
        ask_for_usage(body.as_bytes()).unwrap().map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn usage_is_asked_for_whatever_the_client_said() {
        for (body, expected) in [
            (
                r#" { "stream":true}"#,
                r#" {"stream_options":{"include_usage":true}, "stream":true}"#,
            ),
            (
                r#"{"stream":true,"stream_options":null }"#,
                r#"{"stream":true,"stream_options":{"include_usage":true} }"#,
            ),
            (
                r#"{"stream":true,"stream_options": { }}"#,
                r#"{"stream":true,"stream_options": {"include_usage":true }}"#,
            ),
            (
                r#"{"stream_options":{"x":1,"include_usage": false},"stream":true}"#,
                r#"{"stream_options":{"x":1,"include_usage": true},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}"#,
            ),
        ] {
            assert_eq!(asked(body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn nothing_changes_when_usage_is_asked_for_or_the_reply_is_no_stream() {
        assert_eq!(asked(r#"{"stream":true,"stream_options":{"include_usage":true}}"#), None);
        assert_eq!(asked(r#"{"stream":false}"#), None);
        assert_eq!(asked(r#"{"stream_options":{}}"#), None);
        assert_eq!(asked("{}"), None);
    }

    #[test]
    fn what_cannot_be_read_safely_is_refused() {
        for body in [
            r#"{"stream":true,"stream_options":{},"stream_options":{}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":"no"}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}"#,
            r#"{"stream":1}"#,
            "not json",
        ] {
            assert!(ask_for_usage(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn only_include_usage_changes(
            pretty: bool,
            options in prop_oneof![
                Just(None),
                Just(Some(json!(null))),
                Just(Some(json!({}))),
                Just(Some(json!({"include_usage": false, "y": [1, {"include_usage": 0}]}))),
                Just(Some(json!({"include_obfuscation": "\"网}{"}))),
            ],
            prompt in ".{0,40}",
        ) {
            let mut value = json!({"model": "m", "prompt": prompt, "stream": true});
            if let Some(options) = options {
                value["stream_options"] = options;
            }
            let body = if pretty {
                serde_json::to_vec_pretty(&value)
            } else {
                serde_json::to_vec(&value)
            };

            let asked = ask_for_usage(&body.unwrap()).unwrap().unwrap();

            let mut expected = value;
            if !expected["stream_options"].is_object() {
                expected["stream_options"] = json!({});
            }
            expected["stream_options"]["include_usage"] = json!(true);
            prop_assert_eq!(serde_json::from_slice::<Value>(&asked).unwrap(), expected);
        }
    }
}
