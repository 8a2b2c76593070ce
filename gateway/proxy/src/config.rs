//! What an operator sets for the data plane. Only shapes and defaults; files, environment and
//! flags are read by the program.

mod limits;
mod metering;
mod routing;

use std::{fmt, net::SocketAddr, time::Duration};

use permille_types::{Family, UpstreamName};
use permille_usage::ApiDescription;
use serde::{Deserialize, Serialize};

pub use crate::credential::CredentialPlace;
pub use limits::{Away, LimitsConfig, LimitsSection};
pub use metering::{BudgetEnd, ClientGone, MeteringSection, Payer, PolicySection, Share};
pub use permille_otlp::{OtlpConfig, OtlpSection};
pub use permille_session::Sharing;
pub use routing::{AliasSection, Choose, RetryOn, RoutingSection};

/// Everything the gateway needs to know at start.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The listener and its bounds.
    pub gateway: GatewaySection,
    /// The model APIs behind the gateway.
    pub upstreams: Vec<UpstreamConfig>,
    /// Names that clients use for models.
    pub aliases: Vec<AliasSection>,
    /// Which upstream of several is called, and when another one is.
    pub routing: RoutingSection,
    /// What happens to models without a price.
    pub pricing: PricingSection,
    /// What happens when a client leaves, and who pays for a reply that is none.
    pub metering: MeteringSection,
    /// Where other settings hold than in `metering`.
    pub policies: Vec<PolicySection>,
    /// Where limits are counted, and what holds while that is away.
    pub limits: LimitsConfig,
    /// How long the end of a reply may wait for the journal.
    pub hold_max: Duration,
    /// How long a conversation without a name may be silent until it is over.
    pub conversation_idle_max: Duration,
    /// Where several gateways share the conversations that are open; absent, each has its own.
    pub sharing: Option<Sharing>,
    /// Where OpenTelemetry's signals go; absent, nothing is sent.
    pub otlp: Option<OtlpConfig>,
}

/// `[gateway]`: the data plane's listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Requests open at once; the next one is refused with 503. Bounds memory: each costs up to
    /// one request body and about 200 KiB of buffers.
    pub in_flight_max: u32,
    /// Largest accepted request body. Large enough for several images in a prompt.
    pub body_bytes_max: u32,
    /// Request bodies held at once, in bytes: a prompt stays in memory until its reply ends.
    pub body_bytes_total_max: u64,
    /// Seconds a client may take to send its request headers, and then its body.
    pub request_seconds_max: u32,
    /// Seconds from admission to the end of the reply; then the stream is cut and billed so far.
    pub deadline_seconds: u32,
    /// Seconds that open streams may still take once the gateway is stopping.
    pub grace_seconds: u32,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            in_flight_max: 10_000,
            body_bytes_max: 32 * 1024 * 1024,
            body_bytes_total_max: 1024 * 1024 * 1024,
            request_seconds_max: 60,
            deadline_seconds: 3_600,
            grace_seconds: 30,
        }
    }
}

/// `[[upstream]]`: one model API with our credential, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSection {
    /// Its name on rows and in metrics.
    pub name: UpstreamName,
    /// Its wire family.
    pub family: Family,
    /// Its base URL, as the provider's own SDK takes it: `https://api.openai.com/v1`,
    /// `https://api.anthropic.com`.
    pub base_url: String,
    /// Environment variable that holds our credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// File that holds our credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<std::path::PathBuf>,
    /// Where our credential goes: `bearer`, `header:NAME` or `query:NAME`; absent means where the
    /// family's providers want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_in: Option<CredentialPlace>,
    /// Whose API it is (`deepseek`, `qianfan`): paths below that provider's own prefix go to it.
    /// Absent means the family's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Models it serves, exact or globs; absent means every model. The first exact name is what a
    /// request that names no model asks for: those of a server that has only one.
    #[serde(default = "every_model")]
    pub models: Vec<String>,
    /// What the family `generic` serves of it: `POST /skill/query`, below `/generic/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Where an API of the family `generic` keeps what is metered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiDescription>,
    /// Upstreams of a lower number are called first; those of a higher one when they fail.
    #[serde(default)]
    pub priority: u32,
    /// Its share of the calls among upstreams of the same priority.
    #[serde(default = "one")]
    pub weight: u32,
    /// The service tier of its replies where they name none: it decides the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Where it runs, such as `cn-north-4`: prices may differ by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// PEM file with root certificates to trust beside the machine's own, for a model server
    /// behind a private certificate authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<std::path::PathBuf>,
    /// Speak HTTP/2 without negotiation to an `http://` URL. Over TLS it is negotiated.
    #[serde(default)]
    pub http2: bool,
    /// Seconds to connect.
    #[serde(default = "connect_seconds")]
    pub connect_seconds_max: u32,
    /// Seconds of silence, before the first byte or inside a reply, after which it has failed.
    #[serde(default = "idle_seconds")]
    pub idle_seconds_max: u32,
}

fn every_model() -> Vec<String> {
    vec!["*".to_owned()]
}

fn one() -> u32 {
    1
}

fn connect_seconds() -> u32 {
    10
}

/// Long-reasoning models stay silent for minutes; official SDKs wait ten.
fn idle_seconds() -> u32 {
    600
}

/// An upstream whose credential has been read.
#[derive(Clone)]
pub struct UpstreamConfig {
    /// The configured part.
    pub section: UpstreamSection,
    /// Our credential.
    pub credential: secrecy::SecretString,
    /// Whether this is the built-in simulated provider: its rows are flagged.
    pub simulated: bool,
}

impl fmt::Debug for UpstreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamConfig").field("section", &self.section).finish_non_exhaustive()
    }
}

/// `[pricing]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PricingSection {
    /// What happens to a model without a price (B4).
    pub unpriced: Unpriced,
}

/// What happens to a model without a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpriced {
    /// The call is refused before it is made.
    #[default]
    Refuse,
    /// The call is made and metered; it is invoiced once a price exists.
    Hold,
}
