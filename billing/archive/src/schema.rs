//! The columns of a file, and how a row fills them.
//!
//! The names are those of `permille usage list --json`. Ids, models and words are dictionary
//! encoded strings, instants are microseconds in UTC, tokens have one column per class, the cost is
//! a decimal beside its currency. What is an open set or nested is JSON text. What is unknown is
//! null.

use std::sync::Arc;

use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{WriterProperties, WriterPropertiesPtr},
    },
    schema::types::{ColumnPath, Type, TypePtr},
};
use permille_ledger::ArchiveRow;
use permille_types::{RequestId, TokenClass, TokenCounts};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::{ArchiveError, money};

/// The version of the columns, in each file's metadata as `permille.schema_version`. A new column
/// is no new version; a column of another meaning is.
pub const SCHEMA_VERSION: &str = "1";

/// Before the class in a column's name.
pub(crate) const TOKENS: &str = "tokens_";
/// Tokens of classes that this build does not know.
pub(crate) const TOKENS_OTHER: &str = "tokens_other";
pub(crate) const COST: &str = "cost";
pub(crate) const CURRENCY: &str = "currency";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text that repeats.
    Word,
    /// Text of which each is another.
    Text,
    /// JSON.
    Json,
    Integer,
    Flag,
    Instant,
    Money,
}

/// A value of a row.
pub(crate) enum Cell {
    Text(String),
    Integer(i64),
    Flag(bool),
    Money(i128),
}

type Fill = Box<dyn Fn(&ArchiveRow) -> Result<Option<Cell>, ArchiveError> + Send + Sync>;

/// A column and what fills it.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether every row has a value.
    pub(crate) always: bool,
    pub(crate) fill: Fill,
}

/// A column that every row fills.
macro_rules! always {
    ($kind:ident $name:literal, |$row:ident| $value:expr) => {
        Column {
            name: $name.to_owned(),
            kind: Kind::$kind,
            always: true,
            fill: Box::new(|$row| Ok(Some($value))),
        }
    };
}

/// A column that some rows fill.
macro_rules! maybe {
    ($kind:ident $name:expr, |$row:ident| $value:expr) => {
        Column {
            name: $name.to_owned(),
            kind: Kind::$kind,
            always: false,
            fill: Box::new(|$row| $value),
        }
    };
}

/// Every column, in order.
pub(crate) fn columns() -> Vec<Column> {
    let mut columns = vec![
        always!(Text "request_id", |row| text(&row.usage.request_id)),
        always!(Instant "at", |row| Cell::Integer(row.usage.at.timestamp_micros())),
        always!(Word "customer", |row| text(&row.usage.customer)),
        always!(Word "project", |row| text(&row.usage.project)),
        always!(Word "key", |row| text(&row.usage.key)),
        always!(Word "session", |row| text(&row.usage.session)),
        always!(Flag "session_explicit", |row| Cell::Flag(row.usage.session_explicit)),
        always!(Integer "turn", |row| Cell::Integer(row.usage.turn.into())),
        maybe!(Word "turn_kind", |row| Ok(row.usage.turn_kind.map(|kind| text(kind.as_str())))),
        always!(Word "family", |row| text(row.usage.family.as_str())),
        always!(Word "endpoint", |row| text(row.usage.endpoint.as_str())),
        always!(Word "model_requested", |row| text(&row.usage.model_requested)),
        maybe!(Word "model_served", |row| Ok(row.usage.model_served.as_ref().map(text))),
        maybe!(Word "service_tier", |row| Ok(row.usage.service_tier.as_ref().map(text))),
        maybe!(Word "region", |row| Ok(row.usage.region.as_ref().map(text))),
        maybe!(Word "upstream", |row| Ok(row.usage.upstream.as_ref().map(text))),
        maybe!(Integer "status", |row| Ok(row.usage.status.map(|n| Cell::Integer(n.into())))),
        always!(Flag "streamed", |row| Cell::Flag(row.usage.streamed)),
        always!(Word "ended", |row| text(row.usage.ended.as_str())),
        always!(Word "source", |row| text(row.usage.source.as_str())),
    ];
    columns.extend(TokenClass::KNOWN.iter().map(class));
    columns.extend([
        maybe!(Json TOKENS_OTHER, |row| other_tokens(row)),
        maybe!(Integer "input_total", |row| count(row, "input_total", row.usage.input_total)),
        maybe!(Integer "output_total", |row| count(row, "output_total", row.usage.output_total)),
        maybe!(Integer "resent_tokens", |row| {
            count(row, "resent_tokens", row.usage.resent_tokens)
        }),
        maybe!(Integer "estimate_error_permille", |row| {
            Ok(row.usage.estimate_error_permille.map(|n| Cell::Integer(n.into())))
        }),
        maybe!(Json "units", |row| {
            json("units", (!row.usage.units.is_empty()).then_some(&row.usage.units))
        }),
        maybe!(Word "price_version", |row| Ok(row.usage.price_version.as_ref().map(text))),
        maybe!(Integer "band", |row| Ok(row.usage.band.map(|n| Cell::Integer(n.into())))),
        maybe!(Money COST, |row| Ok(cost(row)?.map(Cell::Money))),
        maybe!(Word CURRENCY, |row| Ok(row.usage.currency.map(|c| text(c.code())))),
        maybe!(Json "attempts", |row| json("attempts", Some(&row.usage.attempts))),
        maybe!(Integer "latency_ms", |row| count(row, "latency_ms", Some(row.usage.latency_ms))),
        maybe!(Integer "first_token_ms", |row| {
            count(row, "first_token_ms", row.usage.first_token_ms)
        }),
        maybe!(Json "flags", |row| {
            json("flags", (!row.usage.flags.is_empty()).then_some(&row.usage.flags))
        }),
        maybe!(Integer "record", |row| count(row, "record", row.record)),
        maybe!(Integer "priced_as", |row| count(row, "priced_as", row.priced_as)),
    ]);
    columns
}

/// The cost of a row, in units of 10^-20; nothing for a row that is held.
pub(crate) fn cost(row: &ArchiveRow) -> Result<Option<i128>, ArchiveError> {
    let request = row.usage.request_id;
    let Some(stored) = &row.usage.cost else { return Ok(None) };
    let cost = Decimal::from_str_exact(stored)
        .map_err(|_| ArchiveError::NoDecimal { request, cost: stored.clone() })?;
    money::scaled(cost).map(Some).ok_or(ArchiveError::Cost { request, cost })
}

/// The columns in Parquet's words.
pub(crate) fn message(columns: &[Column]) -> Result<TypePtr, parquet::errors::ParquetError> {
    let fields = columns.iter().map(|column| field(column).map(Arc::new));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("usage").with_fields(fields).build().map(Arc::new)
}

/// How files are written. Nothing in a file depends on when or where that happens: the same rows
/// are the same bytes.
pub(crate) fn properties(columns: &[Column]) -> WriterPropertiesPtr {
    let version = KeyValue::new("permille.schema_version".to_owned(), SCHEMA_VERSION.to_owned());
    let by = |name: &str| {
        let place = columns.iter().position(|column| column.name == name);
        let column_idx = place.and_then(|place| i32::try_from(place).ok()).unwrap_or_default();
        SortingColumn { column_idx, descending: false, nulls_first: false }
    };
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by("permille".to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .set_sorting_columns(Some(vec![by("at"), by("request_id")]));
    for column in columns {
        let repeats = column.kind == Kind::Word;
        let path = ColumnPath::from(column.name.as_str());
        builder = builder.set_column_dictionary_enabled(path, repeats);
    }
    Arc::new(builder.build())
}

/// How Parquet stores such a column.
pub(crate) fn physical(kind: Kind) -> Physical {
    match kind {
        Kind::Word | Kind::Text | Kind::Json => Physical::BYTE_ARRAY,
        Kind::Integer | Kind::Instant => Physical::INT64,
        Kind::Flag => Physical::BOOLEAN,
        Kind::Money => Physical::FIXED_LEN_BYTE_ARRAY,
    }
}

fn field(column: &Column) -> Result<Type, parquet::errors::ParquetError> {
    let repetition = if column.always { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let builder = Type::primitive_type_builder(&column.name, physical(column.kind));
    let builder = match column.kind {
        Kind::Word | Kind::Text => builder.with_logical_type(Some(LogicalType::String)),
        Kind::Json => builder.with_logical_type(Some(LogicalType::Json)),
        Kind::Integer | Kind::Flag => builder,
        Kind::Instant => {
            builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
        }
        Kind::Money => builder
            .with_length(money::BYTES)
            .with_precision(money::PRECISION)
            .with_scale(scale())
            .with_logical_type(Some(LogicalType::decimal(scale(), money::PRECISION))),
    };
    builder.with_repetition(repetition).build()
}

fn scale() -> i32 {
    i32::try_from(money::SCALE).unwrap_or_default()
}

/// The column of a class of tokens.
fn class(class: &TokenClass) -> Column {
    let (name, known) = (format!("{TOKENS}{class}"), class.clone());
    let named = name.clone();
    let fill = move |row: &ArchiveRow| count(row, &named, row.usage.tokens.get(&known).copied());
    Column { name, kind: Kind::Integer, always: false, fill: Box::new(fill) }
}

fn other_tokens(row: &ArchiveRow) -> Result<Option<Cell>, ArchiveError> {
    let other = row.usage.tokens.iter().filter(|(class, _)| !TokenClass::KNOWN.contains(class));
    let other: TokenCounts = other.map(|(class, tokens)| (class.clone(), *tokens)).collect();
    json(TOKENS_OTHER, (!other.is_empty()).then_some(&other))
}

fn text(value: &(impl ToString + ?Sized)) -> Cell {
    Cell::Text(value.to_string())
}

fn count(row: &ArchiveRow, column: &str, value: Option<u64>) -> Result<Option<Cell>, ArchiveError> {
    let Some(value) = value else { return Ok(None) };
    let request: RequestId = row.usage.request_id;
    let too_large = |_| ArchiveError::Count { request, column: column.to_owned(), value };
    i64::try_from(value).map(|value| Some(Cell::Integer(value))).map_err(too_large)
}

fn json<T: Serialize>(
    column: &'static str,
    value: Option<&T>,
) -> Result<Option<Cell>, ArchiveError> {
    let Some(value) = value else { return Ok(None) };
    let text = serde_json::to_string(value);
    text.map(|text| Some(Cell::Text(text))).map_err(|cause| ArchiveError::Json { column, cause })
}
