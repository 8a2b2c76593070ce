//! Model APIs behind the gateway: which models each serves, how it is called.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use globset::{Glob, GlobSet, GlobSetBuilder};
use http::{Method, Response, Uri, header, uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use permille_otlp::Server;
use permille_types::{Family, ModelName, UpstreamName};
use permille_usage::ApiDescription;
use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    },
};
use secrecy::SecretString;

use crate::{
    access_token::{self, AccessToken, KeyPair},
    config::{CredentialPlace, UpstreamConfig, UpstreamSection},
    credential::Credential,
    generic,
    health::{Breaker, Health},
    lanes::Lanes,
    reply_body::UpstreamBody,
    tc3::SecretPair,
};

/// Idle connections that one client keeps: as many as a lane takes requests, enough for the next
/// burst.
const IDLE_CONNECTIONS_MAX: usize = 100;
/// An idle connection is closed before a typical load balancer would cut it.
const IDLE_CONNECTION_SECONDS: u64 = 50;
/// Buffers of one HTTP/1.1 connection to an upstream, in bytes: part of the memory cost of a
/// stream. The head of a reply must fit.
const BUFFER_BYTES: usize = 32 * 1024;
/// HTTP/2 flow control of one stream, in bytes: a slow client slows only its own stream.
pub(crate) const H2_STREAM_BYTES: u32 = 64 * 1024;
/// HTTP/2 flow control of a client's connection, in bytes.
pub(crate) const H2_CONNECTION_BYTES: u32 = 1024 * 1024;
/// HTTP/2 flow control of an upstream's connection, in bytes: the largest there is. Many clients
/// share it, so those who do not read must not fill it; memory is bounded by each stream's own
/// window. The same number bounds how many small frames may lie unread before h2 gives the whole
/// connection up, and a stream of tokens is made of small frames.
const H2_UPSTREAM_CONNECTION_BYTES: u32 = (1 << 31) - 1;

/// Largest reply that can be a refusal of an access token, in bytes. Baidu's have some 100.
const REFUSAL_BYTES_MAX: usize = 2 * 1024;

pub(crate) type Connector = HttpsConnector<HttpConnector>;
pub(crate) type HttpClient = Client<Connector, Full<Bytes>>;

/// Why an upstream's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its base URL is not one.
    #[error(
        "upstream `{upstream}`: base_url `{base_url}` is not accepted: give http:// or https://, \
         a host and an optional path"
    )]
    BaseUrl {
        /// Which upstream.
        upstream: UpstreamName,
        /// What was given.
        base_url: String,
    },
    /// One of its model patterns is not one.
    #[error("upstream `{upstream}`: model pattern `{pattern}` is not a glob")]
    Pattern {
        /// Which upstream.
        upstream: UpstreamName,
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: globset::Error,
    },
    /// Its credential cannot travel in a header.
    #[error("upstream `{upstream}`: its credential holds characters that a header cannot carry")]
    Credential {
        /// Which upstream.
        upstream: UpstreamName,
    },
    /// Its credential has a colon, and nothing on one side of it.
    #[error(
        "upstream `{upstream}`: its credential must be an access token or `ApiKey:SecretKey`, to \
         fetch one with"
    )]
    KeyPair {
        /// Which upstream.
        upstream: UpstreamName,
    },
    /// Its credential is not of the kind that its family signs with.
    #[error("upstream `{upstream}`: its credential must be `SecretId:SecretKey`, to sign requests")]
    SecretPair {
        /// Which upstream.
        upstream: UpstreamName,
    },
    /// `paths` and `api` do not fit its family.
    #[error("upstream `{upstream}`: {problem}")]
    Generic {
        /// Which upstream.
        upstream: UpstreamName,
        /// What is wrong, and what is accepted.
        problem: String,
    },
    /// Its `ca_file` cannot be read.
    #[error("read the certificates of ca_file `{}`", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: pem::Error,
    },
    /// There is no certificate that could vouch for an `https://` upstream.
    #[error("this machine has no root certificates: install ca-certificates or set ca_file")]
    NoRoots,
}

/// One model API with our credential.
pub(crate) struct Upstream {
    pub(crate) name: UpstreamName,
    pub(crate) family: Family,
    pub(crate) credential: Credential,
    pub(crate) simulated: bool,
    pub(crate) priority: u32,
    pub(crate) weight: u32,
    /// The service tier of its replies where they name none.
    pub(crate) service_tier: Option<String>,
    /// Where it runs.
    pub(crate) region: Option<String>,
    pub(crate) health: Arc<Health>,
    pub(crate) idle_max: Duration,
    pub(crate) lanes: Lanes,
    /// Where an API of the family `generic` keeps what is metered.
    pub(crate) api: Option<Arc<ApiDescription>>,
    /// What a request that names no model asks for.
    pub(crate) own_model: Option<String>,
    /// What the family `generic` serves of it.
    pub(crate) paths: Vec<(Method, String)>,
    models: GlobSet,
    /// Whether one of the patterns of its models is `*`.
    serves_all: bool,
    scheme: uri::Scheme,
    authority: uri::Authority,
    prefix: String,
    pub(crate) provider: String,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Upstream {
    pub(crate) fn new(
        config: &UpstreamConfig,
        breaker: Breaker,
    ) -> Result<Arc<Self>, UpstreamError> {
        let section = &config.section;
        let refused = || UpstreamError::BaseUrl {
            upstream: section.name.clone(),
            base_url: section.base_url.clone(),
        };
        let base = section.base_url.parse::<Uri>().map_err(|_| refused())?.into_parts();
        let scheme = base.scheme.ok_or_else(refused)?;
        if scheme != uri::Scheme::HTTP && scheme != uri::Scheme::HTTPS {
            return Err(refused());
        }
        let path = base.path_and_query.as_ref().map_or("", uri::PathAndQuery::path);
        Ok(Arc::new(Self {
            name: section.name.clone(),
            family: section.family,
            simulated: config.simulated,
            priority: section.priority,
            weight: section.weight,
            service_tier: section.service_tier.clone(),
            region: section.region.clone(),
            health: Health::new(breaker),
            idle_max: Duration::from_secs(section.idle_seconds_max.into()),
            lanes: Lanes::new(
                connector(
                    &scheme,
                    section.ca_file.as_deref(),
                    section.connect_seconds_max,
                    section.http2,
                )?,
                section.http2,
            ),
            api: section.api.clone().map(Arc::new),
            own_model: section.models.iter().find(|name| is_exact(name)).cloned(),
            paths: generic::paths(section)?,
            models: patterns(&section.name, &section.models)?,
            serves_all: section.models.iter().any(|pattern| pattern == "*"),
            scheme,
            authority: base.authority.ok_or_else(refused)?,
            prefix: path.trim_end_matches('/').to_owned(),
            provider: provider(section),
            credential: credential(section, &config.credential)?,
        }))
    }

    pub(crate) fn serves(&self, model: &ModelName) -> bool {
        self.serves_all || self.models.is_match(model.as_str())
    }

    /// What OpenTelemetry is told of it.
    pub(crate) fn server(&self) -> Server<'_> {
        let usual = if self.scheme == uri::Scheme::HTTPS { 443 } else { 80 };
        Server {
            provider: &self.provider,
            address: self.authority.host(),
            port: self.authority.port_u16().unwrap_or(usual),
        }
    }

    /// The full target of `path` (which begins with `/`) at this upstream.
    pub(crate) fn target(&self, path: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build()
    }

    /// The keys that are exchanged for a token, where its credential is one.
    pub(crate) fn exchanged(&self) -> Option<&KeyPair> {
        match &self.credential {
            Credential::Exchanged(pair) => Some(pair),
            _ => None,
        }
    }

    /// Whether its reply refuses `token`, which is then forgotten. Such replies have a status of
    /// success, and are looked at before any byte goes on.
    pub(crate) async fn refuses(
        &self,
        token: &AccessToken,
        response: &mut Response<UpstreamBody>,
    ) -> bool {
        let Some(pair) = self.exchanged() else { return false };
        let kind = response.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return false;
        }
        let body = response.body_mut().look(REFUSAL_BYTES_MAX, self.idle_max).await;
        let refused = body.is_some_and(|body| access_token::is_refused(&body));
        if refused {
            pair.forget(token).await;
        }
        refused
    }

    /// Whether requests of `family` go here: to any `provider` when none is named.
    pub(crate) fn answers(&self, family: Family, provider: Option<&str>) -> bool {
        self.family == family && provider.is_none_or(|provider| self.provider == provider)
    }
}

/// Whose API it is. One that is described by configuration is its own.
fn provider(section: &UpstreamSection) -> String {
    section.provider.clone().unwrap_or_else(|| match section.family {
        Family::Generic => section.name.to_string(),
        family => family.to_string(),
    })
}

/// Whether a model pattern is a name.
fn is_exact(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{'])
}

fn patterns(upstream: &UpstreamName, models: &[String]) -> Result<GlobSet, UpstreamError> {
    let mut set = GlobSetBuilder::new();
    let refused = |pattern: &str, cause| UpstreamError::Pattern {
        upstream: upstream.clone(),
        pattern: pattern.to_owned(),
        cause,
    };
    for pattern in models {
        set.add(Glob::new(pattern).map_err(|cause| refused(pattern, cause))?);
    }
    set.build().map_err(|cause| refused(&models.join(", "), cause))
}

fn credential(
    section: &UpstreamSection,
    secret: &SecretString,
) -> Result<Credential, UpstreamError> {
    if section.family == Family::Hunyuan {
        let pair = SecretPair::read(secret);
        return pair
            .map(Credential::Signature)
            .ok_or_else(|| UpstreamError::SecretPair { upstream: section.name.clone() });
    }
    let place = section.credential_in.clone();
    let place = place.unwrap_or_else(|| CredentialPlace::of(section.family));
    if section.family == Family::QianfanV1
        && let Some(pair) = KeyPair::read(secret, place.clone())
    {
        let refused = || UpstreamError::KeyPair { upstream: section.name.clone() };
        return pair.is_whole().then_some(Credential::Exchanged(pair)).ok_or_else(refused);
    }
    Credential::new(place, secret)
        .ok_or_else(|| UpstreamError::Credential { upstream: section.name.clone() })
}

/// Connects with `TCP_NODELAY`: without it Nagle's algorithm and delayed acknowledgements stall
/// small writes for 40 ms.
fn tcp(connect_seconds: u32) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(Duration::from_secs(connect_seconds.into())));
    tcp
}

/// The certificates that an `https://` upstream may be signed by.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    let machine = rustls_native_certs::load_native_certs();
    for cause in machine.errors {
        tracing::warn!(%cause, "a root certificate of this machine cannot be read");
    }
    // Machines carry certificates that no verifier accepts; they are of no use and no harm.
    roots.add_parsable_certificates(machine.certs);
    if let Some(path) = ca_file {
        let refused = |cause| UpstreamError::CaFile { path: path.to_owned(), cause };
        for certificate in CertificateDer::pem_file_iter(path).map_err(refused)? {
            roots.add_parsable_certificates([certificate.map_err(refused)?]);
        }
    }
    if roots.is_empty() {
        return Err(UpstreamError::NoRoots);
    }
    Ok(roots)
}

/// Connects to servers reached by `scheme`.
pub(crate) fn connector(
    scheme: &uri::Scheme,
    ca_file: Option<&Path>,
    connect_seconds: u32,
    http2: bool,
) -> Result<Connector, UpstreamError> {
    // A machine without root certificates can still serve upstreams that need none.
    let roots =
        if *scheme == uri::Scheme::HTTPS { roots(ca_file)? } else { RootCertStore::empty() };
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(if http2 {
        tls.enable_http2().wrap_connector(tcp(connect_seconds))
    } else {
        tls.enable_all_versions().wrap_connector(tcp(connect_seconds))
    })
}

/// An HTTP client with connections of its own.
pub(crate) fn client_over(connector: &Connector, http2: bool) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(IDLE_CONNECTION_SECONDS))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http1_max_buf_size(BUFFER_BYTES)
        .http2_only(http2)
        .http2_initial_stream_window_size(H2_STREAM_BYTES)
        .http2_initial_connection_window_size(H2_UPSTREAM_CONNECTION_BYTES)
        .build(connector.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use tower::ServiceExt as _;

    use super::*;

    pub(crate) const BREAKER: Breaker = Breaker { failures: 5, open_for: Duration::from_secs(10) };

    pub(crate) fn config(base_url: &str) -> UpstreamConfig {
        UpstreamConfig {
            section: crate::config::UpstreamSection {
                name: "test".parse().unwrap(),
                family: Family::OpenAi,
                base_url: base_url.to_owned(),
                api_key_env: None,
                api_key_file: None,
                credential_in: None,
                provider: None,
                priority: 0,
                weight: 1,
                service_tier: None,
                region: None,
                ca_file: None,
                models: vec!["gpt-4o*".to_owned()],
                paths: Vec::new(),
                api: None,
                http2: false,
                connect_seconds_max: 1,
                idle_seconds_max: 1,
            },
            credential: "secret".into(),
            simulated: false,
        }
    }

    #[tokio::test]
    async fn a_connection_to_an_upstream_does_not_wait_to_fill_packets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();

        let (connected, accepted) = tokio::join!(tcp(5).oneshot(target), listener.accept());

        assert!(connected.unwrap().inner().nodelay().unwrap());
        drop(accepted);
    }

    #[test]
    fn a_path_is_appended_to_the_base_url() {
        let upstream = Upstream::new(&config("http://127.0.0.1:9/openai/v1/"), BREAKER).unwrap();

        let target = upstream.target("/chat/completions?x=1").unwrap();

        assert_eq!(target, "http://127.0.0.1:9/openai/v1/chat/completions?x=1");
        assert!(upstream.serves(&"gpt-4o-mini".parse().unwrap()));
        assert!(!upstream.serves(&"o3".parse().unwrap()));
    }

    #[test]
    fn a_base_url_without_scheme_or_host_is_refused_by_name() {
        for bad in ["api.openai.com/v1", "ftp://host/v1", "http://"] {
            let refused = Upstream::new(&config(bad), BREAKER).unwrap_err().to_string();
            assert!(refused.contains("test") && refused.contains("base_url"), "{refused}");
        }
    }

    #[test]
    fn a_provider_that_is_named_must_be_the_upstreams_own() {
        let mut of_deepseek = config("http://127.0.0.1:9");
        of_deepseek.section.provider = Some("deepseek".to_owned());
        let of_deepseek = Upstream::new(&of_deepseek, BREAKER).unwrap();
        let unnamed = Upstream::new(&config("http://127.0.0.1:9"), BREAKER).unwrap();

        assert!(of_deepseek.answers(Family::OpenAi, None));
        assert!(of_deepseek.answers(Family::OpenAi, Some("deepseek")));
        assert!(!unnamed.answers(Family::OpenAi, Some("deepseek")));
        assert!(unnamed.answers(Family::OpenAi, Some("openai")));
        assert!(!of_deepseek.answers(Family::Anthropic, None));
    }

    #[test]
    fn an_upstream_never_shows_its_credential() {
        let upstream = Upstream::new(&config("http://127.0.0.1:9"), BREAKER).unwrap();

        assert!(!format!("{upstream:?} {:?}", config("http://x")).contains("secret"));
        assert!(!format!("{:?}", upstream.credential).contains("secret"));
    }
}
