//! A usage row as people and scripts see it.

use chrono::{DateTime, Utc};
use permille_types::{
    Attempt, Currency, CustomerId, Ended, Endpoint, Family, Flag, KeyId, ModelName, PriceVersion,
    ProjectId, RequestId, SessionId, Source, TokenCount, TokenCounts, TurnKind, UnitCounts,
    UpstreamName, UsageEvent,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Pricing, StoredUsage};
use crate::column;

/// One settled request. Names and forms are those of the project's published interface; what is
/// unknown is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageRow {
    /// Our id of the request.
    pub request_id: RequestId,
    /// The request whose usage this row settles after its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settles: Option<RequestId>,
    /// When it was admitted.
    pub at: DateTime<Utc>,
    /// Who is billed.
    pub customer: CustomerId,
    /// Their cost centre.
    pub project: ProjectId,
    /// The key that was used.
    pub key: KeyId,
    /// The conversation.
    pub session: SessionId,
    /// Whether the client named the session.
    pub session_explicit: bool,
    /// Turn inside the session, from 1.
    pub turn: u32,
    /// How the turn came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_kind: Option<TurnKind>,
    /// Wire family of the path.
    pub family: Family,
    /// The routed path.
    pub endpoint: Endpoint,
    /// The model as the client asked for it.
    pub model_requested: ModelName,
    /// The model that the reply names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_served: Option<ModelName>,
    /// The service tier that the reply names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// Where the upstream runs that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The upstream of the attempt that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamName>,
    /// HTTP status sent to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the reply was a stream.
    pub streamed: bool,
    /// How the request ended.
    pub ended: Ended,
    /// Where the counts come from.
    pub source: Source,
    /// Tokens by disjoint class.
    pub tokens: TokenCounts,
    /// Sum of the input classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_total: Option<TokenCount>,
    /// Sum of the output classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_total: Option<TokenCount>,
    /// Tokens of the input that the session had sent or received before, an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_tokens: Option<TokenCount>,
    /// How far off the tokens that were estimated may be, in thousandths of them; absent where none
    /// were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_error_permille: Option<u32>,
    /// Quantities that are not tokens.
    #[serde(skip_serializing_if = "UnitCounts::is_empty")]
    pub units: UnitCounts,
    /// The price that rated the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_version: Option<PriceVersion>,
    /// The band of that price: 0 is outside every band.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<u32>,
    /// Exact cost at the row's own price, a decimal; absent while unpriced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Its share of the lines that billed it, a decimal of at most nine places; absent until all
    /// that it is summed with is on issued invoices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billed_cost: Option<String>,
    /// Currency of the cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<permille_types::schema::CurrencyCode>")]
    pub currency: Option<Currency>,
    /// Every upstream call, in order.
    pub attempts: Vec<AttemptRow>,
    /// Milliseconds from admission to settlement.
    pub latency_ms: u64,
    /// Milliseconds from admission to the first byte of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// What else a reader should know.
    pub flags: Vec<Flag>,
}

/// One upstream call of a row.
pub type AttemptRow = Attempt;

impl From<StoredUsage> for UsageRow {
    fn from(stored: StoredUsage) -> Self {
        let StoredUsage { mut event, pricing, currency, .. } = stored;
        if pricing == Pricing::Held {
            event.flag(Flag::Unpriced);
        }
        let (price_version, band, cost) = match pricing {
            Pricing::Priced { version, band, cost } => {
                let band = version.is_some().then_some(band);
                (version, band, Some(column::decimal_text(cost)))
            }
            Pricing::Held => (None, None, None),
        };
        Self {
            currency: cost.is_some().then_some(currency),
            price_version,
            band,
            cost,
            billed_cost: None,
            settles: settled_by(&event),
            request_id: event.request_id,
            at: event.at,
            customer: event.customer,
            project: event.project,
            key: event.key,
            session: event.session,
            session_explicit: event.session_explicit,
            turn: event.turn,
            turn_kind: event.turn_kind,
            family: event.family,
            endpoint: event.endpoint,
            model_requested: event.model_requested,
            model_served: event.model_served,
            service_tier: event.service_tier,
            region: event.region,
            upstream: event.upstream,
            status: event.status,
            streamed: event.streamed,
            ended: event.ended,
            source: event.source,
            tokens: event.tokens,
            input_total: event.input_total,
            output_total: event.output_total,
            resent_tokens: event.resent_tokens,
            estimate_error_permille: event.estimate_error_permille,
            units: event.units,
            attempts: event.attempts,
            latency_ms: event.latency_ms,
            first_token_ms: event.first_token_ms,
            flags: event.flags,
        }
    }
}

/// The request that an event settles: only such an event is of the background and of no reply.
fn settled_by(event: &UsageEvent) -> Option<RequestId> {
    let settles =
        event.endpoint == Endpoint::StoredResponse && event.flags.contains(&Flag::Background);
    settles.then(|| event.request_id.settlement())
}
