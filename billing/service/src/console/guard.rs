//! What other sites must not make of the console: forms that they send, and paths that lead to
//! them.

use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};

use crate::problem::Problem;

/// The path that stands for one that is not of this listener.
const FRONT: &str = "/";

/// Refuses a form that another site has sent.
///
/// Browsers say in `Sec-Fetch-Site` where a request comes from, over HTTPS and on loopback; over
/// plain HTTP `Origin` tells. Who sends neither is no browser of today, and has the API.
pub(super) fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Problem> {
    let is_own = match fetch_site(headers) {
        Some(site) => site == "same-origin",
        None => origin_is_host(headers),
    };
    if is_own {
        return Ok(());
    }
    Err(Problem::other_site())
}

fn origin_is_host(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
    let authority = origin.as_ref().and_then(Uri::authority).map(http::uri::Authority::as_str);
    authority.is_some() && authority == text(header::HOST)
}

/// Whether another site led here. A browser then keeps the cookie to itself.
pub(super) fn comes_from_another_site(headers: &HeaderMap) -> bool {
    fetch_site(headers) == Some("cross-site")
}

fn fetch_site(headers: &HeaderMap) -> Option<&str> {
    headers.get("sec-fetch-site").and_then(|site| site.to_str().ok())
}

/// `path`, if it is one of this listener with at most a query, else the front page. What a browser
/// would take for another host's is none.
pub(super) fn own_path(path: &str) -> &str {
    let is_path = path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path);
    let leads_away = path.starts_with("//") || path.contains('\\') || !path.starts_with('/');
    if is_path && !leads_away { path } else { FRONT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        pairs.iter().map(parsed).collect::<HeaderMap>()
    }

    #[test]
    fn only_a_form_of_our_own_pages_is_taken() {
        let host = ("host", "billing.example:8081");
        for (pairs, taken) in [
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("origin", "https://billing.example:8081")], true),
            // A proxy may have changed the host: the browser's own word counts.
            (vec![("host", "10.0.0.1"), ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "same-site")], false),
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "none")], false),
            (vec![host, ("origin", "http://evil.example")], false),
            (vec![host, ("origin", "http://billing.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host], false),
            (vec![("origin", "http://billing.example:8081")], false),
        ] {
            assert_eq!(refuse_other_sites(&headers(&pairs)).is_ok(), taken, "{pairs:?}");
        }
    }

    #[test]
    fn no_path_leads_to_another_host() {
        for path in ["/", "/sessions", "/sessions/a%2Fb?customer=acme&cursor=1%2F2", "/a//b"] {
            assert_eq!(own_path(path), path);
        }
        for path in [
            "",
            "//evil.example/",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/sessions\r\nset-cookie: a=b",
            "*",
        ] {
            assert_eq!(own_path(path), FRONT, "{path:?}");
        }
    }
}
