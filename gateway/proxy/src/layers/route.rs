//! Path → endpoint of a wire family. Only the paths listed here pass (M8).

use http::Method;
use matchit::Router;
use percent_encoding::percent_decode_str;
use permille_types::{Endpoint, Family};

use crate::{
    context::{Authenticated, Routed},
    refusal::Refusal,
    stage::Stage,
};

/// What a refusal of an unknown path names.
const ACCEPTED: &str = "/v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, \
                        /anthropic/v1/messages, /anthropic/v1/messages/count_tokens";

pub(crate) struct Route {
    paths: Router<(Method, Endpoint)>,
}

impl Route {
    pub(crate) fn new() -> Result<Self, matchit::InsertError> {
        let mut paths = Router::new();
        for (path, method, endpoint) in [
            ("/v1/chat/completions", Method::POST, Endpoint::ChatCompletions),
            ("/v1/completions", Method::POST, Endpoint::Completions),
            ("/v1/embeddings", Method::POST, Endpoint::Embeddings),
            ("/v1/models", Method::GET, Endpoint::Models),
            ("/v1/models/{model}", Method::GET, Endpoint::Models),
            ("/anthropic/v1/messages", Method::POST, Endpoint::Messages),
            ("/anthropic/v1/messages/count_tokens", Method::POST, Endpoint::CountTokens),
        ] {
            paths.insert(path, (method, endpoint))?;
        }
        Ok(Self { paths })
    }
}

/// The family whose format an answer to `path` takes, also when the path is refused.
pub(crate) fn family_of(path: &str) -> Family {
    if path.starts_with("/anthropic") { Family::Anthropic } else { Family::OpenAi }
}

/// The part of a routed path that follows the family's base URL, as its SDK would append it.
fn below_base(path: &str, family: Family) -> &str {
    let base = match family {
        Family::Anthropic => "/anthropic",
        _ => "/v1",
    };
    path.strip_prefix(base).unwrap_or(path)
}

/// Whether a server that decodes `path` might climb out of the route with it, to what our
/// credential may see and our client may not.
fn climbs(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

impl Stage<Authenticated> for Route {
    type Out = Routed;

    async fn enter(&self, authenticated: Authenticated) -> Result<Routed, Refusal> {
        let head = &authenticated.admitted.inbound.head;
        let path = head.uri.path();
        let Some(found) = self.paths.at(path).ok().filter(|_| !climbs(path)) else {
            return Err(Refusal::UnsupportedPath { path: path.to_owned(), accepted: ACCEPTED });
        };
        let (method, endpoint) = found.value;
        if head.method != method {
            return Err(Refusal::UnsupportedMethod {
                method: head.method.clone(),
                path: path.to_owned(),
                accepted: method.clone(),
            });
        }
        let mut upstream_path = below_base(path, endpoint.family()).to_owned();
        if let Some(query) = head.uri.query() {
            upstream_path.push('?');
            upstream_path.push_str(query);
        }
        let endpoint = *endpoint;
        Ok(Routed { authenticated, endpoint, upstream_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_path_is_routed() {
        let route = Route::new().unwrap();

        for path in ACCEPTED.split(", ") {
            assert!(route.paths.at(path.trim()).is_ok(), "{path}");
        }
        assert!(route.paths.at("/v1/responses").is_err());
    }

    #[test]
    fn a_model_name_with_dots_or_an_encoded_slash_does_not_climb() {
        assert!(!climbs("/v1/models/gpt-4.1"));
        assert!(!climbs("/v1/models/org%2Fmodel..v2"));
        assert!(climbs("/v1/models/org%2F..%2f..%2ffiles"));
    }

    #[test]
    fn a_path_continues_below_the_providers_base_url() {
        assert_eq!(below_base("/v1/chat/completions", Family::OpenAi), "/chat/completions");
        assert_eq!(below_base("/anthropic/v1/messages", Family::Anthropic), "/v1/messages");
    }
}
