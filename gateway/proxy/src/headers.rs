//! Which headers cross the gateway, in both directions.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::client_key;

/// Headers that hold for one connection only, and framing, which is made anew on each side.
/// Source: RFC 9110, section 7.6.1.
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Headers of a request that must not reach an upstream, beside those that hold a key: the
/// client's network, what we set ourselves, by what some servers take another method or path than
/// those that were routed, and by what a provider bills another account of our credential.
///
/// Source of the last: `OpenAI` API reference, "Authentication"; Google Cloud, "System parameters".
static NOT_UPSTREAM: [HeaderName; 17] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("x-goog-user-project"),
];

/// Where a client may name its conversation, in order of preference.
pub(crate) static SESSION: [HeaderName; 4] = [
    HeaderName::from_static("permille-session"),
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("helicone-session-id"),
    HeaderName::from_static("x-litellm-session-id"),
];

/// Where agents name it of their own accord: Claude Code, Codex (which wrote an underscore once),
/// opencode, `OpenClaw` and others. They go upstream as they came. A trace's id is no name: many
/// clients have one for each call, and messages tell better (docs/metering.md).
pub(crate) static AGENT_SESSION: [HeaderName; 9] = [
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("session-id"),
    HeaderName::from_static("session_id"),
    HeaderName::from_static("thread-id"),
    HeaderName::from_static("thread_id"),
    HeaderName::from_static("x-opencode-session"),
    HeaderName::from_static("x-session-affinity"),
    HeaderName::from_static("x-agent-session"),
    HeaderName::from_static("x-openclaw-session-key"),
];

/// Our id of the request, on every answer.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("permille-request-id");
/// The turn of the conversation, on every answer of an upstream.
pub(crate) static TURN: HeaderName = HeaderName::from_static("permille-turn");

/// What a client asks to be told beside its answer.
static WANT: HeaderName = HeaderName::from_static("permille-want");
/// What the request cost, on the answer of a client that asks for it.
pub(crate) static COST: HeaderName = HeaderName::from_static("permille-cost");
/// What may be spent behind it, on the same answer.
pub(crate) static BALANCE: HeaderName = HeaderName::from_static("permille-balance");

/// Whether a client asks to be told what its request costs.
pub(crate) fn want_cost(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(&WANT).iter().filter_map(|value| value.to_str().ok());
    let mut wanted = texts.flat_map(|text| text.split(','));
    wanted.any(|wanted| wanted.trim().eq_ignore_ascii_case("cost"))
}

/// A limit that is nearly used, on every answer that it holds for.
pub(crate) static LIMIT_WARNING: HeaderName = HeaderName::from_static("permille-limit-warning");

/// Removes what holds for one connection only, and what `also` names.
fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    let connection = headers.get_all(header::CONNECTION);
    let named = |name: &HeaderName| {
        let texts = connection.iter().filter_map(|value| value.to_str().ok());
        texts
            .flat_map(|text| text.split(','))
            .any(|text| name.as_str().eq_ignore_ascii_case(text.trim()))
    };
    // Few headers come, and most of them go on: each is looked at once.
    let gone = |name: &&HeaderName| HOP_BY_HOP.contains(name) || also(name) || named(name);
    let gone: SmallVec<[HeaderName; 6]> = headers.keys().filter(gone).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Makes a client's headers fit to be sent upstream.
pub(crate) fn for_upstream(headers: &mut HeaderMap) {
    strip(headers, |name| {
        let ours = || name.as_str().starts_with("permille-");
        let mut listed = NOT_UPSTREAM.iter().chain(&client_key::HEADERS).chain(&SESSION);
        listed.any(|listed| listed == name) || ours()
    });
    // The tap reads the reply as it passes: an encoded one could only be read, never cut.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Makes an upstream's headers fit to be sent to the client.
pub(crate) fn for_client(headers: &mut HeaderMap) {
    // Beside chunks a length means nothing, and must go. Source: RFC 9112, section 6.3.
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    // What a request costs here, and what is left, no upstream says.
    strip(headers, |name| {
        *name == COST || *name == BALANCE || (is_chunked && *name == header::CONTENT_LENGTH)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn our_key_never_reaches_an_upstream() {
        let mut sent = headers(&[
            ("authorization", "Bearer sk-pm_x"),
            ("x-api-key", "sk-pm_x"),
            ("api-key", "sk-pm_x"),
            ("x-goog-api-key", "sk-pm_x"),
            ("x-auth-token", "sk-pm_x"),
            ("permille-want", "cost"),
            ("anthropic-version", "2023-06-01"),
        ]);

        for_upstream(&mut sent);

        assert!(sent.values().all(|value| !value.to_str().unwrap().contains("sk-pm_")));
        assert!(!sent.contains_key("permille-want"));
        assert_eq!(sent["anthropic-version"], "2023-06-01");
        assert_eq!(sent["accept-encoding"], "identity");
    }

    #[test]
    fn no_other_method_or_path_than_the_routed_one_goes_upstream() {
        let names = ["x-http-method-override", "x-http-method", "x-method-override"];
        let paths = ["x-original-url", "x-rewrite-url"];
        let all: Vec<_> = names.into_iter().chain(paths).map(|name| (name, "x")).collect();
        let mut sent = headers(&all);

        for_upstream(&mut sent);

        assert_eq!(sent.keys().collect::<Vec<_>>(), ["accept-encoding"]);
    }

    #[test]
    fn a_client_does_not_choose_the_account_that_our_credential_bills() {
        let names = ["openai-organization", "openai-project", "x-goog-user-project"];
        let mut sent = headers(&names.map(|name| (name, "x")));

        for_upstream(&mut sent);

        assert_eq!(sent.keys().collect::<Vec<_>>(), ["accept-encoding"]);
    }

    #[test]
    fn no_upstream_says_what_is_spent_here() {
        let mut received = headers(&[("permille-cost", "1 USD"), ("permille-balance", "9 USD")]);

        for_client(&mut received);

        assert!(received.is_empty());
    }

    #[test]
    fn headers_named_by_connection_go_no_further() {
        let mut sent = headers(&[("connection", "close, x-secret-hop"), ("x-secret-hop", "1")]);

        for_client(&mut sent);

        assert!(sent.is_empty());
    }
}
