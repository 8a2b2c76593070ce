//! Path → operation of a wire family. Only the paths of `routes` pass (M8).

use http::Method;
use matchit::Router;
use percent_encoding::percent_decode_str;
use permille_types::Endpoint;

use crate::{
    client_key,
    context::{Authenticated, Routed},
    refusal::Refusal,
    routes::{BASES, Base, base_of},
    stage::Stage,
};

pub(crate) struct Route {
    paths: Router<Served>,
}

/// What is served on a path.
struct Served {
    base: &'static Base,
    method: Method,
    endpoint: Endpoint,
}

impl Route {
    pub(crate) fn new() -> Result<Self, matchit::InsertError> {
        let mut paths = Router::new();
        for base in BASES {
            for (path, method, endpoint) in base.paths {
                let served = Served { base, method: method.clone(), endpoint: *endpoint };
                paths.insert(format!("{}{path}", base.prefix), served)?;
            }
        }
        Ok(Self { paths })
    }
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
            return Err(Refusal::UnsupportedPath {
                path: path.to_owned(),
                accepted: accepted(path),
            });
        };
        let Served { base, method, endpoint } = found.value;
        if head.method != method {
            return Err(Refusal::UnsupportedMethod {
                method: head.method.clone(),
                path: path.to_owned(),
                accepted: method.clone(),
            });
        }
        let mut upstream_path = path.strip_prefix(base.prefix).unwrap_or(path).to_owned();
        if let Some(query) = head.uri.query().and_then(client_key::without_key) {
            upstream_path.push('?');
            upstream_path.push_str(&query);
        }
        let model = found.params.get("model").map(decoded).transpose()?;
        let endpoint = *endpoint;
        let (family, provider) = (base.family, base.provider);
        Ok(Routed { authenticated, family, provider, endpoint, model, upstream_path })
    }
}

/// The text of a path segment.
fn decoded(segment: &str) -> Result<String, Refusal> {
    percent_decode_str(segment).decode_utf8().map(Into::into).map_err(|_| {
        Refusal::InvalidRequest("the path names a model that is not UTF-8 text".to_owned())
    })
}

/// The paths that are served below the base of a refused one.
fn accepted(path: &str) -> String {
    let listed = |base: &Base| {
        let paths = base.paths.iter().map(|(path, ..)| format!("{}{path}", base.prefix));
        paths.collect::<Vec<_>>().join(", ")
    };
    base_of(path).map_or_else(
        || BASES.iter().map(|base| format!("{}/…", base.prefix)).collect::<Vec<_>>().join(", "),
        listed,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_routed_and_no_other() {
        let route = Route::new().unwrap();

        for base in BASES {
            for (path, _, endpoint) in base.paths {
                let full = format!("{}{path}", base.prefix);
                let found = route.paths.at(&full).unwrap().value;
                assert_eq!((found.endpoint, found.base.prefix), (*endpoint, base.prefix));
            }
        }
        for path in ["/v1/responses/x/y/z", "/v1/files", "/deepseek/v1/chat/completions", "/v1"] {
            assert!(route.paths.at(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_model_name_with_dots_or_an_encoded_slash_does_not_climb() {
        assert!(!climbs("/v1/models/gpt-4.1"));
        assert!(!climbs("/v1/models/org%2Fmodel..v2"));
        assert!(climbs("/v1/models/org%2F..%2f..%2ffiles"));
    }

    #[test]
    fn a_refused_path_is_told_what_its_base_serves() {
        assert!(accepted("/anthropic/v1/x").contains("/anthropic/v1/messages/count_tokens"));
        assert!(!accepted("/anthropic/v1/x").contains("/v1/chat"));
        assert!(accepted("/x").contains("/openrouter/api/v1/…"));
    }
}
