//! litellm's `model_prices_and_context_window.json`: dollars per single token, by model.
//!
//! `…_above_200k_tokens` is a band over 200,000 input tokens, `…_batches` one of batch requests,
//! `…_flex` and `…_priority` are bands of those service tiers. What a band does not list keeps the
//! amount outside of it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use toml::{Table, Value};

use super::{Amounts, Entry, ImportError, ImportOptions, Imported, number};

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

/// What a key says beside its class: input tokens over this, and a tier.
type Variant<'a> = (Option<u64>, Option<&'a str>);

pub(super) fn read(text: &str, options: &ImportOptions) -> Result<Imported, ImportError> {
    let list: BTreeMap<String, BTreeMap<String, Box<RawValue>>> =
        serde_json::from_str(text).map_err(ImportError::Json)?;
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
    fields: &BTreeMap<String, Box<RawValue>>,
    imported: &mut Imported,
) -> Result<Entry, String> {
    let mut variants: BTreeMap<Variant<'_>, Amounts> = BTreeMap::new();
    for (key, value) in fields.iter().filter(|(key, _)| key.contains("cost")) {
        let Some((classes, variant)) = parsed(key) else {
            imported.left_out.insert(key.clone());
            continue;
        };
        if value.get() == "null" {
            continue;
        }
        let amount = number(value.get(), PER_MILLION_PLACES)
            .ok_or_else(|| format!("`{key}` is {}, no exact number", value.get()))?;
        let amounts = variants.entry(variant).or_default();
        amounts.extend(classes.iter().map(|class| (*class, amount)));
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
    let bands = order.into_iter().map(|variant| {
        let (over, tier) = variant;
        (condition(over, tier), banded(&amounts, &variants, variant))
    });
    Ok(Entry { bands: bands.collect(), models: vec![model], provider, amounts })
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
            if own.contains_key("output") {
                // Reasoning is output: it never keeps a price that output has left.
                band.remove("reasoning");
            }
            band.extend(own.clone());
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
