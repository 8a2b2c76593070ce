//! What must hold of a request: it is read or refused, and a change of it changes one field.

use permille_types::{Endpoint, Family, ModelName};
use permille_usage::{estimate_input, request};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Input;

/// Reads `input` as a request.
pub fn request(input: &Input<'_>) {
    let body = input.body.as_ref();
    let asked = request::Asked {
        model: input.is(Input::CUT).then_some("in-the-path"),
        unnamed: input.is_one_in(2, 0).then_some("unnamed"),
        stream: input.is(Input::ABANDON),
        api_version: [None, Some("2024-10-21"), Some("2024-08-01-preview"), Some("preview")]
            [usize::from(input.splits[1] % 4)],
        ..request::Asked::new(input.family, input.endpoint)
    };
    if let Ok(facts) = request::classify(asked, body) {
        assert!(is_json(body), "what is no JSON is refused");
        assert!((1..=1000).contains(&facts.choices), "the number of answers is bounded");
        assert!(!facts.model.as_str().is_empty(), "a model has a name");
    }
    if input.is(Input::OWN) {
        std::hint::black_box(estimate_input(input.endpoint, body));
    }
    check_usage_asked(body);
    check_model_named(body);
}

fn check_usage_asked(body: &[u8]) {
    let chat = request::Asked::new(Family::OpenAi, Endpoint::ChatCompletions);
    let facts = request::classify(chat, body);
    let Ok(asked) = request::ask_for_usage(body) else {
        assert!(facts.is_err(), "what cannot be asked for usage is refused");
        return;
    };
    let Some(asked) = asked else {
        if let Ok(facts) = facts {
            assert!(!facts.stream || facts.usage_wanted, "every stream is asked for usage");
        }
        return;
    };
    if let Ok(facts) = facts {
        assert!(facts.stream && !facts.usage_wanted, "nothing is asked twice");
        let now = request::classify(chat, &asked).unwrap();
        assert!(now.usage_wanted, "usage is asked for");
        assert_eq!((now.model, now.max_output), (facts.model, facts.max_output));
    }
    assert_eq!(request::ask_for_usage(&asked), Ok(None), "nothing is left to ask for");
    // The longest value that is replaced is `false`.
    check_changed(body, &asked, 5, |value| {
        if !value["stream_options"].is_object() {
            value["stream_options"] = json!({});
        }
        value["stream_options"]["include_usage"] = json!(true);
    });
}

fn check_model_named(body: &[u8]) {
    let name: ModelName = "another \"model\"".parse().unwrap();
    let Ok(Some(named)) = request::name_model(body, &name) else { return };
    check_changed(body, &named, body.len(), |value| value["model"] = json!(name.as_str()));
    let again = request::name_model(&named, &name).unwrap();
    assert_eq!(again.as_ref(), Some(&named), "the name stays");
}

/// `changed` is `body` with one stretch of at most `replaced_max` bytes replaced, which does what
/// `change` does to its value.
fn check_changed(body: &[u8], changed: &[u8], replaced_max: usize, change: impl Fn(&mut Value)) {
    assert!(is_json(changed), "a changed body is JSON");
    let same = |(left, right): &(&u8, &u8)| left == right;
    let before = body.iter().zip(changed).take_while(same).count();
    let after = body.iter().rev().zip(changed.iter().rev()).take_while(same).count();
    assert!(before + after + replaced_max >= body.len(), "one stretch is changed");
    // A number beyond belief in a field that nobody reads is no JSON to this reader.
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return };
    change(&mut value);
    assert_eq!(serde_json::from_slice::<Value>(changed).unwrap(), value, "one field is changed");
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}
