//! litellm's `model_prices_and_context_window.json`: dollars per single token, by model.
//!
//! `…_above_200k_tokens` is a band over 200,000 input tokens, as is each later range of
//! `tiered_pricing`. `…_batches` is one of batch requests, `…_flex`, `…_priority` and `…_ultrafast`
//! are bands of those service tiers, the windows of `off_peak_pricing` bands of those hours. What a
//! band does not list keeps the amount outside of it.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Deserialize;
use serde_json::{Value as Json, value::RawValue};
use toml::{Table, Value};

use super::{Amounts, Entry, ImportError, ImportOptions, Imported, LENGTH_AND_TIME, number, with};

/// Their key and ours.
const CLASSES: [(&str, &[&str]); 12] = [
    ("input_cost_per_token", &["input"]),
    ("output_cost_per_token", &["output"]),
    ("output_cost_per_reasoning_token", &["reasoning"]),
    ("cache_read_input_token_cost", &["cache_read"]),
    ("cache_creation_input_token_cost", &["cache_write_5m", "cache_write_other"]),
    ("cache_creation_input_token_cost_above_1hr", &["cache_write_1h"]),
    ("cache_creation_input_token_cost_above_12hr", &["cache_write_12h"]),
    ("input_cost_per_audio_token", &["audio_in"]),
    ("output_cost_per_audio_token", &["audio_out"]),
    ("input_cost_per_image_token", &["image_in"]),
    ("output_cost_per_image_token", &["image_out"]),
    ("input_cost_per_video_token", &["video_in"]),
];
/// Kinds of model whose price is that of its tokens.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];
/// The entry that explains the others.
const SAMPLE: &str = "sample_spec";
/// From a price per token to one per million.
const PER_MILLION_PLACES: i32 = 6;

/// Keys with these words say something of prices.
const OF_PRICES: [&str; 4] = ["cost", "pricing", "multiplier", "provider_specific_entry"];
/// What their numbers of weekdays stand for, from 1 on.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a list says of a model.
type Fields = BTreeMap<String, Box<RawValue>>;

/// What a key says beside its class: input tokens over this, and a tier.
type Variant<'a> = (Option<u64>, Option<&'a str>);

/// What holds at some hours; its amounts stand beside.
#[derive(Deserialize)]
struct OffPeak {
    #[serde(default)]
    hours_utc: Option<Json>,
    #[serde(default)]
    windows: Vec<Window>,
    /// Whose days the `weekdays` are.
    #[serde(default)]
    weekday_timezone: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    hours_utc: Json,
    /// From 1, a Monday, to 7; every day when absent.
    #[serde(default)]
    weekdays: Option<Vec<usize>>,
}

pub(super) fn read(text: &str, options: &ImportOptions) -> Result<Imported, ImportError> {
    let list: BTreeMap<String, Fields> = serde_json::from_str(text).map_err(ImportError::Json)?;
    let mut imported = Imported::default();
    for (listed, fields) in &list {
        let word = |key: &str| {
            let raw = fields.get(key)?.get();
            serde_json::from_str::<String>(raw).ok()
        };
        let Some(provider) = word("litellm_provider").filter(|_| listed != SAMPLE) else {
            continue;
        };
        let model = listed.strip_prefix(&format!("{provider}/")).unwrap_or(listed).to_owned();
        if !options.wants(&provider, &model) {
            continue;
        }
        match word("mode") {
            Some(mode) if MODES.contains(&mode.as_str()) => {
                let entry = entry(provider, model, fields, &mut imported);
                imported.take(listed, entry, options);
            }
            mode => {
                let mode = mode.unwrap_or_else(|| "none".to_owned());
                imported.skip(listed, format!("mode {mode} is not priced by its tokens alone"));
            }
        }
    }
    Ok(imported)
}

fn entry(
    provider: String,
    model: String,
    fields: &Fields,
    imported: &mut Imported,
) -> Result<Entry, String> {
    let left_out = &mut imported.left_out;
    let mut variants: BTreeMap<Variant<'_>, Amounts> = BTreeMap::new();
    let mut off_peak = None;
    for (key, value) in fields.iter().filter(|(key, _)| is_of_prices(key)) {
        match (key.as_str(), parsed(key)) {
            _ if value.get() == "null" => {}
            ("tiered_pricing", _) => tiers(value, &mut variants, left_out)?,
            ("off_peak_pricing", _) => off_peak = Some(value),
            (_, Some((classes, variant))) => {
                insert(variants.entry(variant).or_default(), classes, key, value)?;
            }
            (_, None) => {
                left_out.insert(key.clone());
            }
        }
    }
    let amounts = variants.remove(&(None, None)).unwrap_or_default();
    let mut priced = ["input", "output"].into_iter().filter_map(|class| amounts.get(class));
    if priced.next().is_none() {
        return Err("lists no price for input or output".to_owned());
    }
    // The first band that holds is taken: long and of a tier, then of a tier, then the longest.
    let mut order: Vec<Variant<'_>> = variants.keys().copied().collect();
    order.sort_by_key(|(over, tier)| {
        (std::cmp::Reverse(tier.is_some()), std::cmp::Reverse(*over), *tier)
    });
    let banded = |variant| {
        let (over, tier) = variant;
        (condition(over, tier), banded(&amounts, &variants, variant))
    };
    let mut bands: Vec<(Table, Amounts)> = order.into_iter().map(banded).collect();
    if let Some(off_peak) = off_peak {
        if !bands.is_empty() {
            return Err(LENGTH_AND_TIME.to_owned());
        }
        bands = by_time(off_peak, &amounts, left_out)?;
    }
    Ok(Entry { bands, models: vec![model], provider, amounts })
}

/// Whether a key says something of prices, read or not.
fn is_of_prices(key: &str) -> bool {
    OF_PRICES.iter().any(|word| key.contains(word))
}

/// Notes an amount of all `classes`; `null` is none.
fn insert(
    amounts: &mut Amounts,
    classes: &[&'static str],
    key: &str,
    value: &RawValue,
) -> Result<(), String> {
    if value.get() == "null" {
        return Ok(());
    }
    let amount = number(value.get(), PER_MILLION_PLACES)
        .ok_or_else(|| format!("`{key}` is {}, no exact number", value.get()))?;
    amounts.extend(classes.iter().map(|class| (*class, amount)));
    Ok(())
}

/// The amounts of a table that stands inside an entry: without variants of their own.
fn plain(
    amounts: &mut Amounts,
    fields: &Fields,
    left_out: &mut BTreeSet<String>,
) -> Result<(), String> {
    for (key, value) in fields.iter().filter(|(key, _)| is_of_prices(key)) {
        match parsed(key) {
            Some((classes, (None, None))) => insert(amounts, classes, key, value)?,
            _ => {
                left_out.insert(key.clone());
            }
        }
    }
    Ok(())
}

/// The ranges of `tiered_pricing`. A range is over its first number, and the first one over 0.
fn tiers(
    raw: &RawValue,
    variants: &mut BTreeMap<Variant<'_>, Amounts>,
    left_out: &mut BTreeSet<String>,
) -> Result<(), String> {
    let list: Vec<Fields> = serde_json::from_str(raw.get())
        .map_err(|cause| format!("its `tiered_pricing` does not read: {cause}"))?;
    for tier in &list {
        let range = tier.get("range").map_or("none", |range| range.get());
        let over = serde_json::from_str::<Vec<Box<RawValue>>>(range)
            .ok()
            .and_then(|range| number(range.first()?.get(), 0))
            .filter(Decimal::is_integer)
            .and_then(|start| start.to_u64())
            .ok_or_else(|| format!("a range of `tiered_pricing` is {range}"))?;
        let variant = (Some(over).filter(|over| *over > 0), None);
        plain(variants.entry(variant).or_default(), tier, left_out)?;
    }
    Ok(())
}

/// The windows of `off_peak_pricing`, each with the amounts that hold in all of them.
fn by_time(
    raw: &RawValue,
    base: &Amounts,
    left_out: &mut BTreeSet<String>,
) -> Result<Vec<(Table, Amounts)>, String> {
    let not_read =
        |cause: serde_json::Error| format!("its `off_peak_pricing` does not read: {cause}");
    let fields: Fields = serde_json::from_str(raw.get()).map_err(not_read)?;
    let OffPeak { hours_utc, mut windows, weekday_timezone } =
        serde_json::from_str(raw.get()).map_err(not_read)?;
    if let Some(zone) = weekday_timezone.filter(|zone| zone != "UTC") {
        return Err(format!("has prices by hours of UTC on days of {zone}"));
    }
    windows.extend(hours_utc.map(|hours_utc| Window { hours_utc, weekdays: None }));
    let mut own = Amounts::new();
    plain(&mut own, &fields, left_out)?;
    let inside = with(base, &own);
    windows.iter().map(|window| Ok((window.condition()?, inside.clone()))).collect()
}

impl Window {
    fn condition(&self) -> Result<Table, String> {
        let unread = || format!("`hours_utc` of `off_peak_pricing` is {}", self.hours_utc);
        let one = std::slice::from_ref(&self.hours_utc);
        let texts = self.hours_utc.as_array().map_or(one, Vec::as_slice);
        let mut when = Table::new();
        let mut hours = Vec::new();
        let mut is_whole_day = false;
        for text in texts {
            let text = text.as_str().ok_or_else(unread)?;
            is_whole_day |= text.split_once('-').is_some_and(|(start, end)| start == end);
            hours.push(Value::String(text.to_owned()));
        }
        if !is_whole_day {
            when.insert("hours_utc".to_owned(), Value::Array(hours));
        }
        if let Some(numbers) = &self.weekdays {
            let day = |number: &usize| {
                let day = number.checked_sub(1).and_then(|index| DAYS.get(index));
                let unread = || format!("`weekdays` of `off_peak_pricing` has {number}");
                day.map(|day| Value::String((*day).to_owned())).ok_or_else(unread)
            };
            let days = numbers.iter().map(day).collect::<Result<Vec<Value>, String>>()?;
            when.insert("weekdays".to_owned(), Value::Array(days));
        }
        Ok(when)
    }
}

/// What holds in a variant: what it lists, else what shorter contexts of its tier list, else those
/// of no tier.
fn banded(
    base: &Amounts,
    variants: &BTreeMap<Variant<'_>, Amounts>,
    (over, tier): Variant<'_>,
) -> Amounts {
    let mut band = base.clone();
    for of in [None, tier] {
        let wider = variants.iter().filter(|((than, its), _)| *its == of && *than <= over);
        for own in wider.map(|(_, own)| own) {
            band = with(&band, own);
        }
    }
    band
}

/// The classes and the variant of a key; `None` when it prices something else.
fn parsed(key: &str) -> Option<(&'static [&'static str], Variant<'_>)> {
    CLASSES.into_iter().find_map(|(name, classes)| {
        let mut rest = key.strip_prefix(name)?;
        let mut over = None;
        if let Some((thousands, after)) =
            rest.strip_prefix("_above_").and_then(|rest| rest.split_once("k_tokens"))
        {
            over = Some(thousands.parse::<u64>().ok()?.checked_mul(1_000)?);
            rest = after;
        }
        let tier = match rest {
            "" => None,
            "_batches" => Some("batch"),
            "_flex" => Some("flex"),
            "_priority" => Some("priority"),
            "_ultrafast" => Some("ultrafast"),
            _ => return None,
        };
        Some((classes, (over, tier)))
    })
}

fn condition(over: Option<u64>, tier: Option<&str>) -> Table {
    let mut when = Table::new();
    if let Some(over) = over.and_then(|over| i64::try_from(over).ok()) {
        when.insert("input_total_over".to_owned(), Value::Integer(over));
    }
    match tier {
        None => {}
        Some("batch") => {
            when.insert("batch".to_owned(), true.into());
        }
        Some(tier) => {
            when.insert("service_tier".to_owned(), tier.into());
        }
    }
    when
}
