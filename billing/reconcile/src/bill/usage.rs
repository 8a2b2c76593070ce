//! Results of usage and cost APIs, in our words.
//!
//! Counts of OpenAI are inclusive: cached tokens are among the input tokens. Those of Anthropic are
//! disjoint. Here they are disjoint, and a result whose parts exceed its whole is refused.

use chrono::NaiveDate;
use permille_rating::exact;
use permille_types::Currency;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BillError, BillReader, CellKey, Line, mapping::is_batch, other};
use crate::decimal;

/// What an API tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OpenAiCosts,
    OpenAiUsage,
    AnthropicCosts,
    AnthropicUsage,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiCosts => "costs of OpenAI",
            Self::OpenAiUsage => "usage of OpenAI",
            Self::AnthropicCosts => "costs of Anthropic",
            Self::AnthropicUsage => "usage of Anthropic",
        }
    }
}

/// A result of any of them; providers add fields as they like.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    object: Option<String>,
    /// An object with value and currency, or a text in cents.
    amount: Option<Box<RawValue>>,
    currency: Option<String>,
    line_item: Option<String>,
    quantity: Option<Box<RawValue>>,
    project_id: Option<String>,
    model: Option<String>,
    batch: Option<bool>,
    service_tier: Option<String>,
    input_tokens: Option<u64>,
    input_text_tokens: Option<u64>,
    input_cached_tokens: Option<u64>,
    input_cached_audio_tokens: Option<u64>,
    input_cache_write_tokens: Option<u64>,
    input_audio_tokens: Option<u64>,
    input_image_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_text_tokens: Option<u64>,
    output_audio_tokens: Option<u64>,
    output_image_tokens: Option<u64>,
    characters: Option<u64>,
    seconds: Option<u64>,
    images: Option<u64>,
    workspace_id: Option<String>,
    cost_type: Option<String>,
    token_type: Option<String>,
    description: Option<String>,
    uncached_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerTools>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<u64>,
    ephemeral_5m_input_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct ServerTools {
    web_search_requests: Option<u64>,
}

/// An amount of OpenAI.
#[derive(Debug, Deserialize)]
struct Amount {
    value: Box<RawValue>,
    currency: String,
}

impl Row {
    pub(super) fn kind(&self) -> Kind {
        let is_usage = self.object.as_deref().is_some_and(|name| name.contains(".usage."));
        match (&self.object, &self.amount) {
            (Some(_), _) if is_usage => Kind::OpenAiUsage,
            (Some(_), _) => Kind::OpenAiCosts,
            (None, Some(_)) => Kind::AnthropicCosts,
            (None, None) => Kind::AnthropicUsage,
        }
    }

    fn is_batch(&self) -> bool {
        self.batch.unwrap_or_default() || self.service_tier.as_deref().is_some_and(is_batch)
    }
}

/// Adds a result of a day.
pub(super) fn take(
    row: &Row,
    kind: Kind,
    day: NaiveDate,
    bill: &mut BillReader,
) -> Result<(), BillError> {
    match kind {
        Kind::OpenAiCosts => openai_cost(row, day, bill),
        Kind::AnthropicCosts => anthropic_cost(row, day, bill),
        Kind::OpenAiUsage => counts(row, openai_counts(row)?, row.project_id.as_ref(), day, bill),
        Kind::AnthropicUsage => {
            counts(row, anthropic_counts(row), row.workspace_id.as_ref(), day, bill)
        }
    }
}

fn openai_cost(row: &Row, day: NaiveDate, bill: &mut BillReader) -> Result<(), BillError> {
    let text = row.amount.as_ref().map_or("null", |amount| amount.get());
    let accepted = "an object such as {\"value\": 0.06, \"currency\": \"usd\"}";
    let amount: Amount =
        serde_json::from_str(text).map_err(|_| refused("amount", text, accepted))?;
    let value = number("amount.value", &amount.value)?;
    let item = row.line_item.as_deref().unwrap_or_default();
    let said = bill.mapping.said(item);
    let class = if item.is_empty() { "tokens".to_owned() } else { said.class };
    let quantity = match &row.quantity {
        Some(quantity) if quantity.get() != "null" => Some(number("quantity", quantity)?),
        _ => None,
    };
    let line = Line {
        key: CellKey {
            day,
            model: said.model.and_then(|model| bill.model(&model)),
            class,
            project: row.project_id.clone(),
        },
        quantity,
        amount: Some(value),
        currency: Some(currency(&amount.currency)?),
        batch: said.batch || row.is_batch(),
    };
    bill.add(line, true)
}

fn anthropic_cost(row: &Row, day: NaiveDate, bill: &mut BillReader) -> Result<(), BillError> {
    let text = row.amount.as_ref().map_or("null", |amount| amount.get());
    let accepted = "a decimal number of cents in text such as \"123.45\"";
    let cents: String =
        serde_json::from_str(text).map_err(|_| refused("amount", text, accepted))?;
    let cents = decimal::read(&cents).ok_or_else(|| refused("amount", text, accepted))?;
    let amount = exact::mul(cents, Decimal::new(1, 2)).map_err(|_| BillError::Overflow)?;
    let label = row.description.as_deref().or(row.cost_type.as_deref()).unwrap_or("not told");
    let class = match (row.cost_type.as_deref(), row.token_type.as_deref()) {
        (_, Some("uncached_input_tokens")) => "input_uncached".to_owned(),
        (_, Some("cache_read_input_tokens")) => "cache_read".to_owned(),
        (_, Some("cache_creation.ephemeral_1h_input_tokens")) => "cache_write_1h".to_owned(),
        (_, Some("cache_creation.ephemeral_5m_input_tokens")) => "cache_write_5m".to_owned(),
        (_, Some("output_tokens")) => "output".to_owned(),
        (Some("web_search"), _) => "searches".to_owned(),
        // Of a report that is not grouped by description.
        (None, None) if row.description.is_none() => "tokens".to_owned(),
        _ => other(label),
    };
    let line = Line {
        key: CellKey {
            day,
            model: row.model.as_deref().and_then(|model| bill.model(model)),
            class,
            project: row.workspace_id.clone(),
        },
        quantity: None,
        amount: Some(amount),
        currency: Some(currency(row.currency.as_deref().unwrap_or("USD"))?),
        batch: row.is_batch(),
    };
    bill.add(line, true)
}

fn counts(
    row: &Row,
    counts: Vec<(&'static str, u64)>,
    project: Option<&String>,
    day: NaiveDate,
    bill: &mut BillReader,
) -> Result<(), BillError> {
    let model = row.model.as_deref().and_then(|model| bill.model(model));
    let mut first = true;
    for (class, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        let key = CellKey {
            day,
            model: model.clone(),
            class: class.to_owned(),
            project: project.cloned(),
        };
        let quantity = Some(count.into());
        let batch = row.is_batch();
        bill.add(Line { key, quantity, amount: None, currency: None, batch }, first)?;
        first = false;
    }
    // A result of nothing is a line of the export all the same.
    if first { bill.count(None) } else { Ok(()) }
}

fn openai_counts(row: &Row) -> Result<Vec<(&'static str, u64)>, BillError> {
    let of = |count: Option<u64>| count.unwrap_or_default();
    let whole = of(row.input_tokens);
    let cached_audio = of(row.input_cached_audio_tokens);
    let mut parts = vec![
        ("cache_read", of(row.input_cached_tokens)),
        ("cache_write_other", of(row.input_cache_write_tokens)),
    ];
    let audio = of(row.input_audio_tokens).checked_sub(cached_audio);
    let audio = audio.ok_or_else(|| exceeds("input_audio_tokens", of(row.input_audio_tokens)))?;
    let others = [("audio_in", audio), ("image_in", of(row.input_image_tokens))];
    // Exports of before told text alone in `input_tokens`; those that tell text apart tell all.
    let is_all = row.input_text_tokens.is_some();
    if is_all {
        parts.extend(others);
    }
    let taken = parts.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let uncached = whole.checked_sub(taken).ok_or_else(|| exceeds("input_tokens", whole))?;
    if !is_all {
        parts.extend(others);
    }
    let (audio_out, image_out) = (of(row.output_audio_tokens), of(row.output_image_tokens));
    let output = of(row.output_tokens);
    let output = if row.output_text_tokens.is_some() {
        let taken = audio_out.saturating_add(image_out);
        output.checked_sub(taken).ok_or_else(|| exceeds("output_tokens", output))?
    } else {
        output
    };
    parts.extend([
        ("input_uncached", uncached),
        ("output", output),
        ("audio_out", audio_out),
        ("image_out", image_out),
        ("characters", of(row.characters)),
        ("seconds", of(row.seconds)),
        ("images", of(row.images)),
    ]);
    Ok(parts)
}

fn anthropic_counts(row: &Row) -> Vec<(&'static str, u64)> {
    let of = |count: Option<u64>| count.unwrap_or_default();
    let cache = row.cache_creation.as_ref();
    let searches = row.server_tool_use.as_ref().and_then(|tools| tools.web_search_requests);
    vec![
        ("input_uncached", of(row.uncached_input_tokens)),
        ("cache_read", of(row.cache_read_input_tokens)),
        ("cache_write_5m", of(cache.and_then(|cache| cache.ephemeral_5m_input_tokens))),
        ("cache_write_1h", of(cache.and_then(|cache| cache.ephemeral_1h_input_tokens))),
        ("output", of(row.output_tokens)),
        ("searches", of(searches)),
    ]
}

fn exceeds(field: &str, whole: u64) -> BillError {
    refused(field, &whole.to_string(), "a count that is not below its parts")
}

/// A number to its last digit, as it stands in the file.
fn number(field: &str, raw: &RawValue) -> Result<Decimal, BillError> {
    let text = raw.get().trim_matches('"');
    let accepted = "a number of at most 28 digits";
    decimal::read(text).ok_or_else(|| refused(field, text, accepted))
}

fn currency(code: &str) -> Result<Currency, BillError> {
    let accepted = "an ISO 4217 code such as usd";
    Currency::from_code(&code.to_ascii_uppercase())
        .ok_or_else(|| refused("currency", code, accepted))
}

fn refused(field: &str, value: &str, accepted: &str) -> BillError {
    let reason = format!("{field} `{value}` is not accepted; accepted: {accepted}");
    BillError::Json { line: 0, column: 0, reason }
}
