//! Path → operation of a wire family. Only the paths of `routes` pass (M8).

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, Method};
use matchit::Router;
use percent_encoding::percent_decode_str;
use permille_types::{Endpoint, Family};
use smallvec::SmallVec;

use crate::{
    client_key,
    context::{Authenticated, Routed},
    generic, google,
    refusal::Refusal,
    routes::{BASES, Base, TC_ACTION, base_of},
    stage::Stage,
    upstream::Upstream,
};

pub(crate) struct Route {
    paths: Router<Vec<Served>>,
}

/// What is served on a path, by one method and verb.
struct Served {
    prefix: Cow<'static, str>,
    family: Family,
    provider: Option<Cow<'static, str>>,
    method: Method,
    /// What must stand behind the model: `:generateContent`.
    verb: Option<&'static str>,
    endpoint: Endpoint,
}

impl Route {
    /// The paths of the table, and those of the `upstreams` that are described by configuration.
    pub(crate) fn new(upstreams: &[Arc<Upstream>]) -> Result<Self, matchit::InsertError> {
        let mut served = BTreeMap::<_, Vec<Served>>::new();
        for base in BASES {
            for (path, method, endpoint) in base.paths {
                let (path, verb) = match path.split_once("{model}:") {
                    Some((start, verb)) => (format!("{}{start}{{model}}", base.prefix), Some(verb)),
                    None => (format!("{}{path}", base.prefix), None),
                };
                served.entry(path).or_default().push(Served {
                    prefix: base.prefix.into(),
                    family: base.family,
                    provider: base.provider.map(Cow::from),
                    method: method.clone(),
                    verb,
                    endpoint: *endpoint,
                });
            }
        }
        for upstream in upstreams {
            let prefix = format!("{}/{}", generic::PREFIX, upstream.name);
            for (method, path) in &upstream.paths {
                served.entry(format!("{prefix}{path}")).or_default().push(Served {
                    prefix: prefix.clone().into(),
                    family: Family::Generic,
                    provider: Some(upstream.provider.clone().into()),
                    method: method.clone(),
                    verb: None,
                    endpoint: Endpoint::Generate,
                });
            }
        }
        let mut paths = Router::new();
        for (path, served) in served {
            paths.insert(path, served)?;
        }
        Ok(Self { paths })
    }

    /// What is served on `path`, whatever the method, and the model that it names.
    fn at<'p>(&self, path: &'p str) -> Option<(SmallVec<[&Served; 4]>, Option<&'p str>)> {
        let found = self.paths.at(path).ok()?;
        let name = found.params.get("model");
        let (model, verb) = match name.and_then(|name| name.rsplit_once(':')) {
            Some((model, verb)) if found.value.iter().any(|served| served.verb == Some(verb)) => {
                (Some(model), Some(verb))
            }
            _ => (name, None),
        };
        let served: SmallVec<_> = found.value.iter().filter(|served| served.verb == verb).collect();
        (!served.is_empty()).then_some((served, model))
    }
}

/// Whether a server that decodes `path` might climb out of the route with it, to what our
/// credential may see and our client may not.
fn climbs(path: &str) -> bool {
    // Most paths have neither.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%')) {
        return false;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

impl Stage<Authenticated> for Route {
    type Out = Routed;

    fn enter(&self, authenticated: Authenticated) -> Result<Routed, Refusal> {
        let head = &authenticated.admitted.inbound.head;
        let path = head.uri.path();
        let Some((served, model)) = self.at(path).filter(|_| !climbs(path)) else {
            return Err(Refusal::UnsupportedPath {
                path: path.to_owned(),
                accepted: accepted(path),
            });
        };
        let of_method = served.iter().find(|served| served.method == head.method);
        let Some(Served { prefix, family, provider, endpoint, .. }) = of_method else {
            return Err(Refusal::UnsupportedMethod {
                method: head.method.clone(),
                path: path.to_owned(),
                accepted: served.first().map(|served| served.method.clone()).unwrap_or_default(),
            });
        };
        let mut upstream_path = below(path, prefix).to_owned();
        if let Some(query) = head.uri.query().and_then(client_key::without_key) {
            upstream_path.push('?');
            upstream_path.push_str(&query);
        }
        let model = model.map(decoded).transpose()?;
        let endpoint = match family {
            Family::Hunyuan => hunyuan_operation(&head.headers)?,
            _ => *endpoint,
        };
        if *family == Family::Gemini && endpoint.is_metered() {
            google::check(head)?;
        }
        let (family, provider) = (*family, provider.clone());
        Ok(Routed { authenticated, family, provider, endpoint, model, upstream_path })
    }
}

/// What follows `prefix` in `path`.
fn below<'p>(path: &'p str, prefix: &str) -> &'p str {
    match path.strip_prefix(prefix) {
        None | Some("") => "/",
        Some(rest) => rest,
    }
}

/// The operation that a request to Hunyuan names in a header, once: of two, the provider might heed
/// the other one.
///
/// Source: Tencent Cloud API 3.0, "Common parameters"; those that answer with `Usage`, and the one
/// that counts tokens without a model.
fn hunyuan_operation(headers: &HeaderMap) -> Result<Endpoint, Refusal> {
    let mut actions = headers.get_all(TC_ACTION).iter().map(HeaderValue::as_bytes);
    match (actions.next(), actions.next()) {
        (Some(b"ChatCompletions" | b"ChatTranslations" | b"ImageQuestion"), None) => {
            Ok(Endpoint::Chat)
        }
        (Some(b"GetEmbedding"), None) => Ok(Endpoint::Embed),
        (Some(b"GetTokenCount"), None) => Ok(Endpoint::CountTokens),
        _ => Err(Refusal::InvalidRequest(
            "the operation in the header X-TC-Action is not served: accepted are ChatCompletions, \
             ChatTranslations, ImageQuestion, GetEmbedding, GetTokenCount, one of them"
                .to_owned(),
        )),
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
        let mut paths: Vec<_> = paths.collect();
        // One of several methods stands there once for each, in a row.
        paths.dedup();
        paths.join(", ")
    };
    base_of(path).map_or_else(
        || {
            let bases = BASES.iter().filter(|base| base.prefix != "/");
            bases.map(|base| format!("{}/…", base.prefix)).collect::<Vec<_>>().join(", ")
        },
        listed,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_routed_and_no_other() {
        let route = Route::new(&[]).unwrap();

        for base in BASES {
            for (path, method, endpoint) in base.paths {
                let full = format!("{}{path}", base.prefix);
                let (served, _) = route.at(&full).unwrap();
                assert!(served.iter().any(|served| {
                    (served.endpoint, &served.method, &*served.prefix)
                        == (*endpoint, method, base.prefix)
                }));
            }
        }
        for path in ["/v1/responses/x/y/z", "/v1/files", "/deepseek/v1/chat/completions", "/v1"] {
            assert!(route.at(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_model_name_with_dots_or_an_encoded_slash_does_not_climb() {
        assert!(!climbs("/v1/models/gpt-4.1"));
        assert!(!climbs("/v1/models/org%2Fmodel..v2"));
        assert!(climbs("/v1/models/org%2F..%2f..%2ffiles"));
    }

    #[test]
    fn a_verb_behind_a_model_decides_the_operation() {
        let route = Route::new(&[]).unwrap();
        for (path, endpoint, model) in [
            ("m-2.5:streamGenerateContent", Endpoint::StreamGenerateContent, "m-2.5"),
            ("a:b:countTokens", Endpoint::CountTokens, "a:b"),
            ("m-2.5", Endpoint::Models, "m-2.5"),
            ("m-2.5:tune", Endpoint::Models, "m-2.5:tune"),
        ] {
            let path = format!("/gemini/v1beta/models/{path}");
            let (served, named) = route.at(&path).unwrap();

            assert_eq!(named, Some(model));
            assert!(served.iter().all(|served| served.endpoint == endpoint), "{path}");
        }
        let vertex = "/vertex/v1/projects/p/locations/l/publishers/google/models/";
        assert!(route.at(&format!("{vertex}m:predict")).is_none());
    }

    #[test]
    fn an_empty_rest_of_a_path_is_the_root() {
        assert_eq!(below("/hunyuan", "/hunyuan"), "/");
        assert_eq!(below("/hunyuan/", "/hunyuan"), "/");
        assert_eq!(below("/", "/"), "/");
        assert_eq!(below("/v1/models", "/v1"), "/models");
    }

    #[test]
    fn a_refused_path_is_told_what_its_base_serves() {
        assert!(accepted("/anthropic/v1/x").contains("/anthropic/v1/messages/count_tokens"));
        assert!(!accepted("/anthropic/v1/x").contains("/v1/chat"));
        assert_eq!(accepted("/v1/x").matches("/v1/responses/{id},").count(), 1);
        assert!(accepted("/x").contains("/openrouter/api/v1/…"));
    }
}
