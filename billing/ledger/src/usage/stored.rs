//! A row as its columns are, and what it says.

use permille_types::{
    Ended, Endpoint, Family, Flag, KeyId, ModelName, Source, TurnKind, USAGE_EVENT_VERSION,
    UnitCounts, UsageEvent,
};

use super::{Pricing, StoredUsage, attempts, tokens};
use crate::{LedgerError, column};

crate::sql::row! {
    pub(super) struct Row {
        request_id: Vec<u8>,
        at: i64,
        customer: String,
        project: String,
        api_key: String,
        session: String,
        session_explicit: i64,
        turn: i64,
        turn_kind: Option<String>,
        resent_tokens: Option<i64>,
        family: String,
        endpoint: String,
        model_requested: String,
        served_as_asked: i64,
        model_served: Option<String>,
        service_tier: Option<String>,
        region: Option<String>,
        upstream: Option<String>,
        status: Option<i64>,
        streamed: i64,
        ended: String,
        source: String,
        tokens: String,
        input_total: Option<i64>,
        output_total: Option<i64>,
        estimate_error_permille: Option<i64>,
        units: Option<String>,
        attempts: String,
        latency_ms: i64,
        first_token_ms: Option<i64>,
        flags: Option<String>,
        price_version: Option<String>,
        band: Option<i64>,
        cost: Option<String>,
        leaf: Option<i64>,
        priced_as: Option<i64>,
        currency: String,
    }
}

impl TryFrom<Row> for StoredUsage {
    type Error = LedgerError;

    fn try_from(row: Row) -> Result<Self, LedgerError> {
        let tokens = tokens::read(&row.tokens)?;
        let pricing = match &row.cost {
            None => Pricing::Held,
            Some(cost) => Pricing::Priced {
                version: optional("usage.price_version", row.price_version.as_deref())?,
                band: column::number("usage.band", row.band.unwrap_or_default())?,
                cost: column::decimal("usage.cost", cost)?,
            },
        };
        let model_requested = column::parsed("usage.model_requested", &row.model_requested)?;
        let model_served = match row.served_as_asked {
            0 => optional("usage.model_served", row.model_served.as_deref())?,
            _ => Some(ModelName::clone(&model_requested)),
        };
        let mut event = UsageEvent {
            version: USAGE_EVENT_VERSION,
            request_id: column::request_id("usage.request_id", &row.request_id)?,
            at: column::instant("usage.at", row.at)?,
            customer: column::parsed("usage.customer", &row.customer)?,
            project: column::parsed("usage.project", &row.project)?,
            key: column::parsed::<KeyId>("usage.api_key", &row.api_key)?,
            session: column::parsed("usage.session", &row.session)?,
            session_explicit: row.session_explicit != 0,
            turn: column::number("usage.turn", row.turn)?,
            turn_kind: row
                .turn_kind
                .map(|word| column::word::<TurnKind>("usage.turn_kind", &word))
                .transpose()?,
            resent_tokens: count("usage.resent_tokens", row.resent_tokens)?,
            family: column::word::<Family>("usage.family", &row.family)?,
            endpoint: column::word::<Endpoint>("usage.endpoint", &row.endpoint)?,
            model_requested,
            model_served,
            service_tier: row.service_tier,
            region: row.region,
            upstream: optional("usage.upstream", row.upstream.as_deref())?,
            status: row.status.map(|n| column::number("usage.status", n)).transpose()?,
            streamed: row.streamed != 0,
            ended: column::word::<Ended>("usage.ended", &row.ended)?,
            source: column::word::<Source>("usage.source", &row.source)?,
            attempts: Vec::new(),
            tokens,
            input_total: count("usage.input_total", row.input_total)?,
            output_total: count("usage.output_total", row.output_total)?,
            estimate_error_permille: row
                .estimate_error_permille
                .map(|n| column::number("usage.estimate_error_permille", n))
                .transpose()?,
            units: match &row.units {
                None => UnitCounts::new(),
                Some(text) => column::json("usage.units", text)?,
            },
            latency_ms: column::number("usage.latency_ms", row.latency_ms)?,
            first_token_ms: count("usage.first_token_ms", row.first_token_ms)?,
            flags: match &row.flags {
                None => Vec::new(),
                Some(text) => column::json::<Vec<Flag>>("usage.flags", text)?,
            },
        };
        event.attempts = attempts::read(&row.attempts, &event)?;
        Ok(Self {
            event,
            pricing,
            leaf: count("usage.leaf", row.leaf)?,
            priced_as: count("usage.priced_as", row.priced_as)?,
            currency: column::parsed("customer.currency", &row.currency)?,
        })
    }
}

fn optional<T: std::str::FromStr>(
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, LedgerError> {
    text.map(|text| column::parsed(column, text)).transpose()
}

fn count(column: &'static str, value: Option<i64>) -> Result<Option<u64>, LedgerError> {
    value.map(|value| column::number(column, value)).transpose()
}
