//! Names another model in a request, by changing the bytes that say so.

use permille_types::ModelName;

use super::{RequestError, edit::replace, top::Top};

/// `body` with `model` as its top-level `model`; absent when it has none to change.
///
/// # Errors
/// [`RequestError`] as in [`classify`](super::classify()).
pub fn name_model(body: &[u8], model: &ModelName) -> Result<Option<Vec<u8>>, RequestError> {
    let top = Top::read(body, ["model"])?;
    let name = serde_json::to_string(model).map_err(|error| RequestError::json(&error))?;
    Ok(top.raw("model").and_then(|raw| replace(body, raw, &name).apply(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(body: &str, model: &str) -> Option<String> {
        let named = name_model(body.as_bytes(), &model.parse().unwrap()).unwrap();
        named.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_the_top_level_model_changes() {
        let body = r#" {"x":{"model":"best"}, "mod\u0065l" : "best" ,"messages":["model","best"]}"#;
        let expected = body.replacen(r#": "best" ,"#, r#": "gpt-\"4o\"" ,"#, 1);

        assert_eq!(named(body, "gpt-\"4o\"").unwrap(), expected);
        assert_eq!(named(r#"{"x":1}"#, "gpt-4o"), None);
    }
}
