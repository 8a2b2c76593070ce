//! The list of models, with the aliases that are configured here: the one reply that bills nothing
//! and is not passed on as it came. What the upstream lists stays as it wrote it.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use permille_types::ModelName;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::body::{MeteredBody, ReplyBody};

/// Largest list that is read, in bytes. The longest that is known, of an aggregator of some hundred
/// models, has under 1 MiB; a larger one passes without aliases.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// `reply`, a list of models, with `aliases` in front. One that cannot be read passes as it is.
pub(crate) async fn listed(
    mut reply: Response<Box<MeteredBody>>,
    aliases: &[ModelName],
) -> Response<ReplyBody> {
    if reply.status() == StatusCode::OK
        && let Some(list) = reply.body_mut().collect(LIST_BYTES_MAX).await
    {
        let list = with_aliases(&list, aliases).map_or(list, Bytes::from);
        let (mut head, _) = reply.into_parts();
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, ReplyBody::Own(Some(list)));
    }
    reply.map(ReplyBody::Metered)
}

/// Source: `OpenAI` API reference, "Models".
#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// `list` with those of `aliases` that it does not name itself; absent when it is no such list.
fn with_aliases(list: &[u8], aliases: &[ModelName]) -> Option<Vec<u8>> {
    let data = serde_json::from_slice::<List<'_>>(list).ok()?.data.get();
    let models: Vec<Model> = serde_json::from_str(data).ok()?;
    let known: HashSet<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let unknown = aliases.iter().filter(|alias| !known.contains(alias.as_str()));
    let entry = |alias: &ModelName| {
        json!({"id": alias.as_str(), "object": "model", "created": 0, "owned_by": "permille"})
            .to_string()
    };
    let mut entries = unknown.map(entry).collect::<Vec<_>>().join(",");
    if !entries.is_empty() && !models.is_empty() {
        entries.push(',');
    }
    // `data` is borrowed from `list`; what it opens with is its bracket.
    let start = data.as_ptr().addr().checked_sub(list.as_ptr().addr())?.checked_add(1)?;
    let (before, after) = list.split_at_checked(start)?;
    Some([before, entries.as_bytes(), after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: Option<&str>) {
        let aliases = ["best", "quick \"one\""].map(|name| name.parse().unwrap());

        let listed = with_aliases(list.as_bytes(), &aliases);

        let entry = |name: &str| {
            format!(r#"{{"created":0,"id":{name},"object":"model","owned_by":"permille"}}"#)
        };
        let expected = expected.map(|text| {
            text.replace("BEST", &entry(r#""best""#)).replace("QUICK", &entry(r#""quick \"one\"""#))
        });
        assert_eq!(listed.map(|list| String::from_utf8(list).unwrap()), expected, "{list}");
    }

    #[test]
    fn aliases_stand_in_front_and_what_was_listed_stays_as_it_was() {
        check(
            r#"{"object": "list","data": [ {"id":"a", "created":1e0}]} "#,
            Some(r#"{"object": "list","data": [BEST,QUICK, {"id":"a", "created":1e0}]} "#),
        );
        check(r#"{"data":[]}"#, Some(r#"{"data":[BEST,QUICK]}"#));
        check(
            r#"{"data":[{"id":"best","x":[]}]}"#,
            Some(r#"{"data":[QUICK,{"id":"best","x":[]}]}"#),
        );
    }

    #[test]
    fn what_is_no_list_of_models_is_left_alone() {
        for other in ["", "[]", r#"{"data":{}}"#, r#"{"data":[{"name":"x"}]}"#, r#"{"data":[]"#] {
            check(other, None);
        }
    }
}
