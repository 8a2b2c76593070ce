//! The sections of the configuration and what is checked beyond their types.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use permille_ledger::{PostgresAddress, StoreAddress};
use permille_proxy::config::{
    AliasSection, Away, GatewaySection, LimitsSection, MeteringSection, OtlpSection, PolicySection,
    PricingSection, RoutingSection, Sharing, UpstreamConfig, UpstreamSection,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    ConfigError,
    archive::ArchiveSection,
    budget::{BudgetSection, budgets},
    issuer::IssuerSection,
    journal::JournalSection,
    redis::RedisSection,
    usage_stream::UsageStreamSection,
    webhooks::WebhooksSection,
};

/// Longest accepted credential, in bytes: far above any real one, below a mistaken file.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;
/// Most calls that one request may be allowed: more would turn a failing provider into load.
const CALLS_MAX: u32 = 20;
/// Longest that a request may wait for the shared limits, in milliseconds.
const LIMITS_WAIT_MS_MAX: u32 = 10_000;
/// Longest that a request may wait for the shared conversations, in milliseconds: it is served
/// without them.
const DAY_SECONDS: u32 = 24 * 60 * 60;
const SESSION_WAIT_MS_MAX: u32 = 1_000;

/// Every section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// `[gateway]`: the data plane's listener.
    pub(crate) gateway: GatewaySection,
    /// `[console]`: API and pages.
    pub(crate) console: ConsoleSection,
    /// `[metrics]`: metrics and health.
    pub(crate) metrics: MetricsSection,
    /// `[store]`: where billing keeps its rows.
    pub(crate) store: StoreSection,
    /// `[redis]`: what several gateways share; absent, it is kept in the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<RedisSection>,
    /// `[[upstream]]`: model APIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) upstream: Vec<UpstreamSection>,
    /// `[[alias]]`: names that clients use for models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) alias: Vec<AliasSection>,
    /// `[routing]`: which upstream of several is called, and when another one is.
    pub(crate) routing: RoutingSection,
    /// `[pricing]`.
    pub(crate) pricing: PricingSection,
    /// `[metering]`.
    pub(crate) metering: MeteringSection,
    /// `[[policy]]`: where other settings hold than in `[metering]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) policy: Vec<PolicySection>,
    /// `[[budget]]`: what customers are expected to spend; alerts rest on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) budget: Vec<BudgetSection>,
    /// `[limits]`: how limits are enforced where several gateways share them.
    pub(crate) limits: LimitsSection,
    /// `[journal]`.
    pub(crate) journal: JournalSection,
    /// `[session]`: when a conversation has ended.
    pub(crate) session: SessionSection,
    /// `[billing]`: where `permille gateway` finds the other half.
    #[serde(skip_serializing_if = "BillingSection::is_empty")]
    pub(crate) billing: BillingSection,
    /// `[issuer]`: who issues invoices.
    #[serde(skip_serializing_if = "IssuerSection::is_empty")]
    pub(crate) issuer: IssuerSection,
    /// `[log]`.
    pub(crate) log: LogSection,
    /// `[otlp]`: where OpenTelemetry's signals go; absent, nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otlp: Option<OtlpSection>,
    /// `[webhooks]`: how endpoints are told of changes.
    pub(crate) webhooks: WebhooksSection,
    /// `[usage_stream]`: usage on its way to billing through Redis.
    pub(crate) usage_stream: UsageStreamSection,
    /// `[archive]`: where files of old usage go.
    #[serde(skip_serializing_if = "ArchiveSection::is_empty")]
    pub(crate) archive: ArchiveSection,
}

/// `[console]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConsoleSection {
    /// Where API clients connect. Never the data plane's listener (S2).
    pub(crate) listen: SocketAddr,
}

impl Default for ConsoleSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)) }
    }
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsSection {
    /// Where Prometheus and health checks connect.
    pub(crate) listen: SocketAddr,
}

impl Default for MetricsSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreSection {
    /// `sqlite:PATH`, relative to the data folder, or `postgres://USER@HOST:PORT/DATABASE`.
    pub(crate) url: String,
    /// The variable that holds the password of a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_env: Option<String>,
    /// The file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// Most connections of this process to a database: one writes, the others read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<u32>,
    /// Seconds that a statement waits for the answer of a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer_seconds: Option<u32>,
    /// Days for which rows of usage are kept; for ever, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage_days: Option<u32>,
    /// Days for which a request that comes again is known after its row was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay_days: Option<u32>,
}

impl Default for StoreSection {
    fn default() -> Self {
        let url = "sqlite:permille.db".to_owned();
        Self {
            url,
            password_env: None,
            password_file: None,
            connections: None,
            answer_seconds: None,
            usage_days: None,
            replay_days: None,
        }
    }
}

impl StoreSection {
    /// Where the store is. `data` is the data folder, `folder` that of the configuration file.
    ///
    /// # Errors
    /// [`ConfigError::Key`] when the URL names no store, or the variable or file of the password
    /// fails.
    pub(super) fn address(
        &self,
        data: &Path,
        folder: Option<&Path>,
    ) -> Result<StoreAddress, ConfigError> {
        let password = self.has_password().then(|| {
            read_secret(
                ("password_env", self.password_env.as_deref()),
                ("password_file", self.password_file.as_deref()),
                folder,
            )
            .map_err(|problem| ConfigError::value("store", problem))
        });
        self.located(data, password.transpose()?.as_ref())
    }

    pub(super) fn has_password(&self) -> bool {
        self.password_env.is_some() || self.password_file.is_some()
    }

    fn located(
        &self,
        data: &Path,
        password: Option<&SecretString>,
    ) -> Result<StoreAddress, ConfigError> {
        const ACCEPTED: &str = "accepted: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE";
        let (scheme, rest) = self.url.split_once(':').unwrap_or((&self.url, ""));
        let problem = match scheme {
            "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" | ":memory:" => format!("names no file, {ACCEPTED}"),
                _ if self.has_password() => {
                    return Err(ConfigError::value("store", "a file has no password, remove it"));
                }
                _ if self.connections.is_some() => {
                    let problem = "is for a database, a file has its own, remove it";
                    return Err(ConfigError::value("store.connections", problem));
                }
                _ if self.answer_seconds.is_some() => {
                    let problem = "is for a database, a file answers, remove it";
                    return Err(ConfigError::value("store.answer_seconds", problem));
                }
                path => return Ok(StoreAddress::Sqlite(data.join(path))),
            },
            "postgres" | "postgresql" => match PostgresAddress::new(&self.url, password) {
                Ok(address) => return self.connected(address).map(StoreAddress::Postgres),
                Err(cause) => format!("{cause}, the password in `store.password_env` or its file"),
            },
            "redis" | "rediss" => format!("Redis is no store, {ACCEPTED}"),
            // The rest of the URL may hold a password.
            other => format!("`{other}` is not supported, {ACCEPTED}"),
        };
        Err(ConfigError::value("store.url", problem))
    }
}

impl StoreSection {
    fn connected(&self, address: PostgresAddress) -> Result<PostgresAddress, ConfigError> {
        let refused = |key: &str, value: u32, accepted: &str| {
            ConfigError::value(key, format!("is {value}, accepted: {accepted}"))
        };
        let address = match self.connections {
            None => address,
            Some(connections) => address
                .with_connections(connections)
                .map_err(|_| refused("store.connections", connections, "2 to 100"))?,
        };
        match self.answer_seconds {
            None => Ok(address),
            Some(seconds) => address
                .with_answer_seconds(seconds)
                .map_err(|_| refused("store.answer_seconds", seconds, "1 to 86400")),
        }
    }
}

/// `[billing]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BillingSection {
    /// Base URL of the billing half's console listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Environment variable that holds a token of the role `gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_env: Option<String>,
    /// File that holds a token of the role `gateway`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

impl BillingSection {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The token for the billing half.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the variable or file that fails.
    pub(super) fn token(&self, folder: Option<&Path>) -> Result<SecretString, ConfigError> {
        let read = read_secret(
            ("token_env", self.token_env.as_deref()),
            ("token_file", self.token_file.as_deref()),
            folder,
        );
        read.map_err(|problem| ConfigError::value("billing", problem))
    }
}

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionSection {
    /// Seconds of silence after which metrics count a session as ended.
    pub(crate) idle_seconds: u32,
    /// Seconds of silence after which a conversation without a name is over: who sends it again
    /// begins a new session.
    pub(crate) remember_seconds: u32,
    /// Milliseconds that one request may wait for the conversations that Redis has.
    pub(crate) wait_ms: u32,
    /// Turns that Redis remembers, at some 2,000 bytes each.
    pub(crate) shared_turns_max: u32,
}

impl Default for SessionSection {
    fn default() -> Self {
        Self {
            idle_seconds: 30 * 60,
            remember_seconds: DAY_SECONDS,
            wait_ms: 20,
            shared_turns_max: 100_000,
        }
    }
}

impl SessionSection {
    /// What gateways share in `redis`.
    pub(crate) fn sharing(&self, redis: &RedisSection) -> Sharing {
        Sharing {
            url: redis.url.secret(),
            wait: Duration::from_millis(self.wait_ms.into()),
            turns_max: self.shared_turns_max.into(),
        }
    }

    /// How long conversations are remembered.
    pub(crate) fn remember(&self) -> Duration {
        Duration::from_secs(self.remember_seconds.into())
    }

    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    fn check(&self) -> Result<(), ConfigError> {
        for (key, value, from, to) in [
            ("session.remember_seconds", self.remember_seconds, 60, 7 * DAY_SECONDS),
            ("session.wait_ms", self.wait_ms, 1, SESSION_WAIT_MS_MAX),
            ("session.shared_turns_max", self.shared_turns_max, 1_000, u32::MAX),
        ] {
            if !(from..=to).contains(&value) {
                let problem = format!("is {value}, accepted: {from} to {to}");
                return Err(ConfigError::value(key, problem));
            }
        }
        Ok(())
    }
}

/// `[log]`: what goes to standard error; `PERMILLE_LOG` filters it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

impl Settings {
    /// What the types alone cannot say.
    ///
    /// # Errors
    /// [`ConfigError::Key`] names the key and what is accepted.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.store.located(Path::new(""), None)?;
        self.store.retention()?;
        if let Some(redis) = &self.redis {
            redis.check()?;
        }
        self.check_limits()?;
        self.session.check()?;
        self.check_listeners()?;
        self.journal.check()?;
        if let Some(url) = &self.billing.url {
            check_url("billing.url", url)?;
        }
        self.issuer.check()?;
        if let Some(otlp) = &self.otlp {
            super::otlp::check(otlp)?;
        }
        self.webhooks.check()?;
        self.usage_stream.check(self)?;
        self.archive.check()?;
        let mut names = BTreeSet::new();
        for (place, upstream) in self.upstream.iter().enumerate() {
            let key = |field: &str| format!("upstream[{place}].{field}");
            if !names.insert(upstream.name.as_str()) {
                let problem = format!("`{}` is already the name of another one", upstream.name);
                return Err(ConfigError::value(key("name"), problem));
            }
            if upstream.models.is_empty() {
                let problem = "is empty, accepted: model names and globs such as `gpt-*`";
                return Err(ConfigError::value(key("models"), problem));
            }
            if upstream.weight == 0 {
                let problem = "is 0, accepted: 1 or more; `models` says what it serves";
                return Err(ConfigError::value(key("weight"), problem));
            }
            check_url(&key("base_url"), &upstream.base_url)?;
        }
        budgets(&self.budget)?;
        self.check_routing(&names)
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let LimitsSection { away, gateways, wait_ms } = self.limits;
        // One share each of a number that nobody gave would be the whole for each.
        if away == Away::Share && self.redis.is_some() && gateways.is_none() {
            let problem = "is missing, accepted with `away = \"share\"`: the number of gateways \
                           that share limits, 1 for one alone";
            return Err(ConfigError::value("limits.gateways", problem));
        }
        if gateways == Some(0) {
            let problem = "is 0, accepted: 1 or more, the number of gateways that share limits";
            return Err(ConfigError::value("limits.gateways", problem));
        }
        if !(1..=LIMITS_WAIT_MS_MAX).contains(&wait_ms) {
            let problem = format!("is {wait_ms}, accepted: 1 to {LIMITS_WAIT_MS_MAX}");
            return Err(ConfigError::value("limits.wait_ms", problem));
        }
        Ok(())
    }

    fn check_routing(&self, upstreams: &BTreeSet<&str>) -> Result<(), ConfigError> {
        for (place, alias) in self.alias.iter().enumerate() {
            if let Some(name) = &alias.upstream
                && !upstreams.contains(name.as_str())
            {
                let problem = format!("`{name}` is no upstream, accepted: the name of one");
                return Err(ConfigError::value(format!("alias[{place}].upstream"), problem));
            }
        }
        let routing = &self.routing;
        for (key, calls) in [
            ("routing.calls_max", routing.calls_max),
            ("routing.upstream_calls_max", routing.upstream_calls_max),
        ] {
            if !(1..=CALLS_MAX).contains(&calls) {
                let problem = format!("is {calls}, accepted: 1 to {CALLS_MAX}");
                return Err(ConfigError::value(key, problem));
            }
        }
        if routing.retries_percent_max > 100 {
            let problem = "is above 100: retries would multiply load, accepted: 0 to 100";
            return Err(ConfigError::value("routing.retries_percent_max", problem));
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        let listeners = [
            ("gateway.listen", self.gateway.listen),
            ("console.listen", self.console.listen),
            ("metrics.listen", self.metrics.listen),
        ];
        for (place, (key, address)) in listeners.iter().enumerate() {
            for (other, taken) in listeners.iter().take(place) {
                if address == taken && address.port() != 0 {
                    let problem =
                        format!("`{address}` is already {other}, accepted: an address of its own");
                    return Err(ConfigError::value(*key, problem));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn check_url(key: &str, text: &str) -> Result<(), ConfigError> {
    let accepted = "accepted: http://HOST[:PORT][/PATH] or https://…";
    let uri: Uri =
        text.parse().map_err(|_| ConfigError::value(key, format!("is not a URL, {accepted}")))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        let problem = "holds a user name or password, put the credential into its own variable \
                       or file";
        return Err(ConfigError::value(key, problem));
    }
    match uri.scheme_str() {
        Some("http" | "https") if !authority.is_empty() && uri.query().is_none() => Ok(()),
        _ => Err(ConfigError::value(key, format!("`{text}` is not usable, {accepted}"))),
    }
}

/// Reads the credential of one upstream; relative files lie beside the configuration file.
pub(super) fn read_credential(
    section: &UpstreamSection,
    folder: Option<&Path>,
) -> Result<UpstreamConfig, ConfigError> {
    let read = read_secret(
        ("api_key_env", section.api_key_env.as_deref()),
        ("api_key_file", section.api_key_file.as_deref()),
        folder,
    );
    match read {
        Ok(credential) => {
            let mut section = section.clone();
            section.ca_file = section.ca_file.map(|file| beside(folder, &file));
            Ok(UpstreamConfig { section, credential, simulated: false })
        }
        Err(problem) => {
            Err(ConfigError::Credential { upstream: section.name.to_string(), problem })
        }
    }
}

/// Relative files lie beside the configuration file.
pub(super) fn beside(folder: Option<&Path>, file: &Path) -> PathBuf {
    folder.map_or_else(|| file.to_owned(), |folder| folder.join(file))
}

/// A secret from exactly one of a variable and a file. The problem never quotes a value that may
/// itself be the secret.
pub(super) fn read_secret(
    (env_key, env): (&str, Option<&str>),
    (file_key, file): (&str, Option<&Path>),
    folder: Option<&Path>,
) -> Result<SecretString, String> {
    let text = match (env, file) {
        (Some(_), Some(_)) => return Err(format!("has both {env_key} and {file_key}, give one")),
        (None, None) => return Err(format!("has no credential, give {env_key} or {file_key}")),
        (Some(name), None) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(format!(
                    "{env_key} is not the name of an environment variable, accepted: letters, \
                     digits and `_`"
                ));
            }
            std::env::var(name)
                .map_err(|_| format!("the environment variable {name} ({env_key}) is not set"))?
        }
        (None, Some(file)) => {
            let path = beside(folder, file);
            let named = path.display();
            std::fs::read_to_string(&path)
                .map_err(|cause| format!("cannot read {file_key} `{named}`: {cause}"))?
        }
    };
    let secret = text.trim();
    let visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.is_empty() || secret.len() > CREDENTIAL_BYTES_MAX || !visible {
        let named = env.map_or_else(|| file_key.to_owned(), str::to_owned);
        return Err(format!("{named} holds no credential: it is empty, too long or not one word"));
    }
    Ok(SecretString::from(secret.to_owned()))
}
