//! Where a client's virtual key stands: wherever an official SDK puts its provider's key.
//!
//! One list for finding it and for taking it out again, so that a place that is read is never
//! sent on.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header, request::Parts};
use percent_encoding::percent_decode_str;

use crate::tc3;

/// What every virtual key begins with.
pub(crate) const KEY_PREFIX: &str = "sk-pm_";

/// Headers that hold a key, alone or behind `Bearer`. None of them is sent upstream.
pub(crate) static HEADERS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("x-auth-token"),
];

/// Query parameters that hold a key. None of them is sent upstream. `client_id` is where a client
/// of Qianfan v1 puts it to ask for a token.
const QUERY: [&str; 3] = ["key", "access_token", "client_id"];

/// The key of a request: the first text in any of these places that is one of ours by its
/// beginning, else the first text there is.
pub(crate) fn find(head: &Parts) -> Option<&str> {
    let query = head.uri.query().into_iter().flat_map(parameters);
    let in_query = query.filter(|(name, _)| holds_key(name)).map(|(_, value)| value);
    let mut other = None;
    for key in in_headers(&head.headers).chain(in_query).filter(|key| !key.is_empty()) {
        if key.starts_with(KEY_PREFIX) {
            return Some(key);
        }
        other = other.or(Some(key));
    }
    other
}

fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    HEADERS.iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?.trim();
        if name != header::AUTHORIZATION {
            return Some(value);
        }
        // A client that signs its requests has our key as its access-key id.
        tc3::access_key_id(value).or_else(|| bce_access_key_id(value)).or_else(|| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        })
    })
}

/// The access-key id in the `Authorization` of a request that was signed as Baidu says.
///
/// Source: Baidu Cloud, "Authentication", `bce-auth-v1/{accessKeyId}/{timestamp}/…`.
fn bce_access_key_id(authorization: &str) -> Option<&str> {
    authorization.strip_prefix("bce-auth-v1/")?.split('/').next()
}

/// The parameters of a query, as they are written.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether the parameter of this name holds a key. A server decodes names before it compares them.
fn holds_key(name: &str) -> bool {
    QUERY.contains(&name)
        || (name.contains('%')
            && QUERY.iter().any(|known| percent_decode_str(name).eq(known.bytes())))
}

/// `query` without the parameters that hold a key; absent when nothing is left.
pub(crate) fn without_key(query: &str) -> Option<Cow<'_, str>> {
    if parameters(query).all(|(name, _)| !holds_key(name)) {
        return Some(Cow::Borrowed(query));
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !holds_key(pair.split('=').next().unwrap_or_default()))
        .collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers
            .iter()
            .fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_key_is_found_where_each_sdk_puts_it() {
        for (name, value) in [
            ("authorization", "Bearer sk-pm_a"),
            ("authorization", "bearer  sk-pm_a"),
            ("x-api-key", "sk-pm_a"),
            ("api-key", "sk-pm_a"),
            ("x-goog-api-key", "sk-pm_a"),
            ("x-auth-token", "sk-pm_a"),
            ("authorization", "TC3-HMAC-SHA256 Credential=sk-pm_a/2026-11-24/hunyuan/tc3_request"),
            ("authorization", "bce-auth-v1/sk-pm_a/2026-11-24T00:00:00Z/1800/host/0f8c"),
        ] {
            assert_eq!(find(&head("/v1", &[(name, value)])), Some("sk-pm_a"), "{name}");
        }
        for uri in
            ["/x?alt=sse&key=sk-pm_a", "/x?access_token=sk-pm_a", "/x?access%5Ftoken=sk-pm_a"]
        {
            assert_eq!(find(&head(uri, &[])), Some("sk-pm_a"), "{uri}");
        }
        assert_eq!(find(&head("/x?monkey=sk-pm_a", &[("authorization", "Basic x")])), None);
    }

    #[test]
    fn a_key_of_ours_wins_over_anything_else() {
        let both = head("/x", &[("authorization", "Bearer placeholder"), ("api-key", "sk-pm_a")]);
        let neither = head("/x?key=b", &[("x-api-key", "a")]);

        assert_eq!(find(&both), Some("sk-pm_a"));
        assert_eq!(find(&neither), Some("a"));
    }

    #[test]
    fn only_the_key_is_taken_out_of_a_query() {
        for (query, left) in [
            ("key=sk-pm_a", None),
            ("alt=sse&key=sk-pm_a&x=%20", Some("alt=sse&x=%20")),
            ("access_token=a&key=b", None),
            ("api-version=2024-10-21", Some("api-version=2024-10-21")),
            ("monkey=1&keys", Some("monkey=1&keys")),
            ("access%5Ftoken=a&%6Bey=b&%6b%65%79=c", None),
            ("mon%6Bey=1", Some("mon%6Bey=1")),
        ] {
            assert_eq!(without_key(query).as_deref(), left, "{query}");
        }
    }
}
