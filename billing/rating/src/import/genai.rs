//! genai-prices' `data.json`: dollars per million tokens, by provider and model.
//!
//! Their `tiers` are thresholds of the whole request: bands. A price with a `start_date` holds
//! from that date on; the last one that is not after the import's `from` is taken, and of one that
//! is after it is told. A price with a time of day is a band. Of several prices the last one that
//! holds is taken, there and here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value as Json, value::RawValue};
use toml::{Table, Value};

use super::{Amounts, Entry, ImportError, ImportOptions, Imported, LENGTH_AND_TIME, number, with};

/// Their key, ours, and the power of ten between theirs and ours.
const CLASSES: [(&str, &[&str], i32); 13] = [
    ("input_mtok", &["input"], 0),
    ("output_mtok", &["output"], 0),
    ("cache_read_mtok", &["cache_read"], 0),
    ("cache_write_mtok", &["cache_write_5m", "cache_write_other"], 0),
    ("cache_write_5m_mtok", &["cache_write_5m"], 0),
    ("cache_write_1h_mtok", &["cache_write_1h"], 0),
    ("input_audio_mtok", &["audio_in"], 0),
    ("output_audio_mtok", &["audio_out"], 0),
    ("input_image_mtok", &["image_in"], 0),
    ("input_video_mtok", &["video_in"], 0),
    ("output_image_mtok", &["image_out"], 0),
    ("output_reasoning_mtok", &["reasoning"], 0),
    ("requests_kcount", &["requests"], -3),
];

type Fields = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Provider {
    id: String,
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    r#match: Json,
    prices: Box<RawValue>,
    /// Other prices of some requests, such as those of a batch.
    #[serde(default)]
    price_variants: Option<Json>,
}

#[derive(Deserialize)]
struct Conditional {
    #[serde(default)]
    constraint: Option<Constraint>,
    prices: Fields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraint {
    start_date: Option<NaiveDate>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Deserialize)]
struct Tiered {
    base: Box<RawValue>,
    tiers: Vec<Tier>,
}

#[derive(Deserialize)]
struct Tier {
    start: u64,
    price: Box<RawValue>,
}

pub(super) fn read(text: &str, options: &ImportOptions) -> Result<Imported, ImportError> {
    let list: Vec<Provider> = serde_json::from_str(text).map_err(ImportError::Json)?;
    let mut imported = Imported::default();
    for Provider { id: provider, models } in list {
        for model in models.iter().filter(|model| options.wants(&provider, &model.id)) {
            let listed = format!("{provider}/{}", model.id);
            if model.price_variants.is_some() {
                imported.left_out.insert("price_variants".to_owned());
            }
            let entry = entry((&provider, model), &listed, options, &mut imported);
            imported.take(&listed, entry, options);
        }
    }
    Ok(imported)
}

fn entry(
    (provider, model): (&str, &Model),
    listed: &str,
    options: &ImportOptions,
    imported: &mut Imported,
) -> Result<Entry, String> {
    let not_read = |cause: serde_json::Error| format!("its prices do not read: {cause}");
    let raw = model.prices.get();
    let conditional: Vec<Conditional> = if raw.starts_with('[') {
        serde_json::from_str(raw).map_err(not_read)?
    } else {
        let prices = serde_json::from_str(raw).map_err(not_read)?;
        vec![Conditional { constraint: None, prices }]
    };
    let mut base: Option<Fields> = None;
    // The last one comes first, and none that stands before a price of every hour holds.
    let mut hours = Vec::new();
    for Conditional { constraint, prices } in conditional {
        match constraint {
            None => {
                base = Some(prices);
                hours.clear();
            }
            Some(Constraint { start_date: Some(date), start_time: None, end_time: None }) => {
                if date <= options.from.date_naive() {
                    base = Some(prices);
                    hours.clear();
                } else {
                    imported.skip(listed, format!("its price from {date} on: import it from then"));
                }
            }
            Some(Constraint { start_date: None, start_time: Some(start), end_time: Some(end) }) => {
                hours.insert(0, (window(&start, &end)?, prices));
            }
            Some(_) => return Err("has a condition that is no date and no time".to_owned()),
        }
    }
    let base = base.ok_or("has no price without a condition")?;
    let left_out = &mut imported.left_out;
    let (amounts, mut bands) = amounts(&base, left_out)?;
    let by_length = !bands.is_empty();
    for (window, prices) in hours {
        let (inside, tiers) = self::amounts(&prices, left_out)?;
        if by_length || !tiers.is_empty() {
            return Err(LENGTH_AND_TIME.to_owned());
        }
        let when = Table::from_iter([("hours_utc".to_owned(), Value::String(window))]);
        bands.push((when, with(&amounts, &inside)));
    }
    if amounts.is_empty() {
        return Err("lists no price".to_owned());
    }
    let mut models = Vec::new();
    patterns(&model.r#match, &mut models)?;
    models.sort();
    models.dedup();
    Ok(Entry { provider: provider.to_owned(), models, amounts, bands })
}

/// The amounts outside every band, and the bands of their tiers, the highest first.
fn amounts(
    fields: &Fields,
    left_out: &mut BTreeSet<String>,
) -> Result<(Amounts, Vec<(Table, Amounts)>), String> {
    let mut amounts = Amounts::new();
    let mut tiers: BTreeMap<u64, Amounts> = BTreeMap::new();
    for (key, raw) in fields {
        let Some((_, classes, places)) = CLASSES.into_iter().find(|(name, ..)| name == key) else {
            left_out.insert(key.clone());
            continue;
        };
        let exact = |raw: &RawValue| {
            number(raw.get(), places).ok_or_else(|| format!("`{key}` is {raw}, no exact number"))
        };
        let amount = if raw.get().starts_with('{') {
            let tiered: Tiered =
                serde_json::from_str(raw.get()).map_err(|cause| format!("`{key}`: {cause}"))?;
            for Tier { start, price } in &tiered.tiers {
                insert(tiers.entry(*start).or_default(), classes, exact(price)?);
            }
            exact(&tiered.base)?
        } else {
            exact(raw)?
        };
        insert(&mut amounts, classes, amount);
    }
    let mut bands = Vec::new();
    let mut below = amounts.clone();
    for (start, own) in tiers {
        let start = i64::try_from(start).map_err(|_| format!("a tier starts at {start}"))?;
        let when = Table::from_iter([("input_total_over".to_owned(), Value::Integer(start))]);
        below = with(&below, &own);
        bands.insert(0, (when, below.clone()));
    }
    Ok((amounts, bands))
}

fn insert(amounts: &mut Amounts, classes: &[&'static str], amount: Decimal) {
    for class in classes {
        // `cache_write_5m_mtok` is more special than `cache_write_mtok`.
        if classes.len() == 1 {
            amounts.insert(class, amount);
        } else {
            amounts.entry(class).or_insert(amount);
        }
    }
}

/// `00:30:00Z` and `16:30:00Z` as our window.
fn window(start: &str, end: &str) -> Result<String, String> {
    let minutes = |time: &str| {
        time.strip_suffix(":00Z")
            .filter(|time| time.len() == 5)
            .map(str::to_owned)
            .ok_or_else(|| format!("`{time}` is no whole minute of UTC"))
    };
    Ok(format!("{}-{}", minutes(start)?, minutes(end)?))
}

/// The globs of a match clause.
fn patterns(clause: &Json, found: &mut Vec<String>) -> Result<(), String> {
    let unread = || format!("its names are told by {clause}, which is no glob");
    let (kind, value) =
        clause.as_object().and_then(|object| object.iter().next()).ok_or_else(unread)?;
    if kind == "or" {
        let clauses = value.as_array().ok_or_else(unread)?;
        return clauses.iter().try_for_each(|clause| patterns(clause, found));
    }
    let text =
        value.as_str().filter(|text| !text.contains(['*', '?', '[', '{'])).ok_or_else(unread)?;
    found.push(match kind.as_str() {
        "equals" => text.to_owned(),
        "starts_with" => format!("{text}*"),
        "ends_with" => format!("*{text}"),
        "contains" => format!("*{text}*"),
        _ => return Err(unread()),
    });
    Ok(())
}
