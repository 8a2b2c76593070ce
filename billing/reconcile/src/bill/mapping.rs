//! How the columns of a table are read. Tables of known providers have a mapping built in, which is
//! written like any other: `formats/*.toml`.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use permille_types::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

use super::{BillError, pattern};
use crate::{class, decimal};

/// Mappings that are built in, by the name that asks for them.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("openai", include_str!("../../formats/openai.toml")),
    ("anthropic", include_str!("../../formats/anthropic.toml")),
    ("aws-cur", include_str!("../../formats/aws-cur.toml")),
    ("focus", include_str!("../../formats/focus.toml")),
];

/// Longest text that rules are held against, in bytes: twice what any provider writes.
const TEXT_BYTES_MAX: usize = 400;

/// How a bill is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// What it is called in reports.
    pub name: String,
    /// Whose days the provider bills.
    #[serde(default = "utc")]
    pub time_zone: Tz,
    /// What separates fields.
    #[serde(default = "comma")]
    pub(super) delimiter: char,
    /// By how much an amount is divided: 100 where it is in cents.
    #[serde(default, deserialize_with = "text_decimal")]
    pub(super) amount_divisor: Option<Decimal>,
    /// Of every amount, where no column says it.
    pub(super) currency: Option<Currency>,
    /// Which column says what; of several names the first that the table has.
    #[serde(default)]
    pub(super) columns: Columns,
    /// Lines for which one of these does not hold are of something else.
    #[serde(default, rename = "where")]
    pub(super) wanted: Vec<Where>,
    /// What the text of a line says; the first that holds.
    #[serde(default, rename = "rule")]
    pub(super) rules: Vec<Rule>,
    /// Counts of a line that has several.
    #[serde(default, rename = "quantity")]
    pub(super) quantities: Vec<Quantity>,
    /// How much one of a unit is.
    #[serde(default)]
    pub(super) units: BTreeMap<String, u64>,
    /// The provider's names of models, and ours.
    #[serde(default)]
    pub(super) models: BTreeMap<String, String>,
    /// The provider's projects, and the upstreams that use them.
    #[serde(default)]
    pub projects: BTreeMap<String, String>,
}

/// Names of columns.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Columns {
    #[serde(default)]
    pub(super) day: Names,
    #[serde(default)]
    pub(super) amount: Names,
    #[serde(default)]
    pub(super) currency: Names,
    #[serde(default)]
    pub(super) quantity: Names,
    /// What one of the quantity is.
    #[serde(default)]
    pub(super) unit: Names,
    #[serde(default)]
    pub(super) model: Names,
    /// What rules are held against.
    #[serde(default)]
    pub(super) text: Names,
    #[serde(default)]
    pub(super) project: Names,
    #[serde(default)]
    pub(super) tier: Names,
}

/// One name of a column, or several.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(d)?;
        let text = |value: &toml::Value| value.as_str().map(str::to_owned);
        let names = match &value {
            toml::Value::Array(names) => names.iter().map(text).collect(),
            one => text(one).map(|name| vec![name]),
        };
        names.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!("{value} is no name of a column, or list of names"))
        })
    }
}

/// A condition on lines.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    pub(super) column: Names,
    pub(super) like: Vec<String>,
}

/// What a text says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) like: String,
    /// Absent where the text itself names it, as `{class}`.
    pub(super) class: Option<String>,
    pub(super) tier: Option<String>,
}

/// A count that a column has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quantity {
    pub(super) column: Names,
    pub(super) class: String,
    /// Columns whose counts are in it too, and have a class of their own.
    #[serde(default)]
    pub(super) minus: Vec<String>,
}

fn utc() -> Tz {
    Tz::UTC
}

fn comma() -> char {
    ','
}

fn text_decimal<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Decimal>, D::Error> {
    let text = String::deserialize(d)?;
    decimal::read(&text).filter(|value| *value > Decimal::ZERO).map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is no decimal above 0 in quotes"))
    })
}

/// What a text of a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) class: String,
    pub(super) model: Option<String>,
    pub(super) batch: bool,
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`BillError::Mapping`] names the key and what is accepted.
    pub fn parse(text: &str) -> Result<Self, BillError> {
        let refused = |reason: String| BillError::Mapping(reason);
        let mapping: Self = toml::from_str(text).map_err(|cause| refused(cause.to_string()))?;
        let classes = mapping.rules.iter().filter_map(|rule| rule.class.as_deref());
        let classes = classes.chain(mapping.quantities.iter().map(|of| of.class.as_str()));
        if let Some(unknown) = classes.into_iter().find(|name| !class::is_known(name)) {
            return Err(refused(format!(
                "class `{unknown}` is not accepted; accepted: a token class or unit of usage rows, \
                 cache_write, input, output or tokens"
            )));
        }
        let patterns = mapping.rules.iter().map(|rule| &rule.like);
        let mut patterns = patterns.chain(mapping.wanted.iter().flat_map(|of| &of.like));
        if let Some(bad) = patterns.find(|pattern| !pattern::is_valid(pattern)) {
            return Err(refused(format!(
                "like `{bad}` is not accepted; accepted: *, {{model}} and {{class}}, these once"
            )));
        }
        let unnamed = mapping
            .rules
            .iter()
            .find(|rule| rule.class.is_none() && !rule.like.contains("{class}"));
        if let Some(rule) = unnamed {
            return Err(refused(format!(
                "rule `{}` names no class, by key or {{class}}",
                rule.like
            )));
        }
        if !mapping.delimiter.is_ascii() {
            return Err(refused(
                "delimiter is not accepted; accepted: one character of ASCII".into(),
            ));
        }
        Ok(mapping)
    }

    /// The mapping that is built in for a provider.
    ///
    /// # Errors
    /// [`BillError::Mapping`] where none is.
    pub fn built_in(name: &str) -> Result<Self, BillError> {
        let known = BUILT_IN.into_iter().find(|(known, _)| *known == name);
        let (_, text) = known.ok_or_else(|| {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            BillError::Mapping(format!(
                "no mapping `{name}` is built in; accepted: {}, or a mapping file",
                names.join(", ")
            ))
        })?;
        Self::parse(text)
    }

    /// What the text of a line says, by the first rule that holds; the text itself where it is a
    /// class, else a class of its own that is no usage.
    pub(super) fn said(&self, text: &str) -> Said {
        if text.len() > TEXT_BYTES_MAX {
            let short: String = text.chars().take(TEXT_BYTES_MAX).collect();
            return Said { class: super::other(&short), model: None, batch: false };
        }
        for rule in &self.rules {
            let Some(found) = pattern::find(&rule.like, text) else { continue };
            let named = rule.class.as_deref().or(found.class);
            let Some(class) = named.filter(|name| class::is_known(name)) else { continue };
            return Said {
                class: class.to_owned(),
                model: found.model.map(|model| model.trim().to_owned()),
                batch: rule.tier.as_deref().is_some_and(is_batch),
            };
        }
        let class = if class::is_known(text) { text.to_owned() } else { super::other(text) };
        Said { class, model: None, batch: false }
    }

    /// How much one of a unit is: by `units`, else by its own words such as `1K tokens`.
    pub(super) fn unit(&self, text: &str) -> Option<u64> {
        if let Some(known) = self.units.get(text) {
            return Some(*known);
        }
        let words = text.trim().to_ascii_lowercase();
        let (first, rest) = words.split_once([' ', '-']).unwrap_or(("1", &words));
        let (number, scale) = match first.strip_suffix(['k', 'm']) {
            Some(number) if first.ends_with('k') => (number, 1_000),
            Some(number) => (number, 1_000_000),
            None => (first, 1),
        };
        let known = ["token", "tokens", "request", "requests", "second", "seconds", "image"]
            .into_iter()
            .chain(["images", "search", "searches", "character", "characters", "unit", "units"])
            .chain(["count", "counts"]);
        let number: u64 = number.replace(',', "").parse().ok()?;
        known.into_iter().find(|known| *known == rest.trim())?;
        number.checked_mul(scale)
    }
}

/// Whether a tier is that of batches.
pub(super) fn is_batch(tier: &str) -> bool {
    tier.to_ascii_lowercase().contains("batch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_reads() {
        for (name, _) in BUILT_IN {
            let mapping = Mapping::built_in(name).unwrap();
            assert_eq!(mapping.name, name);
        }
        let unknown = Mapping::built_in("acme").unwrap_err().to_string();
        assert!(unknown.contains("aws-cur"), "{unknown}");
    }

    #[test]
    fn a_mapping_that_makes_no_sense_is_refused_by_name() {
        for (more, named) in [
            ("[[rule]]\nlike = \"x\"\nclass = \"smell\"", "class `smell`"),
            ("[[rule]]\nlike = \"{name}\"\nclass = \"input\"", "like `{name}`"),
            ("[[rule]]\nlike = \"x\"", "rule `x` names no class"),
            ("colour = 1", "colour"),
            ("time_zone = \"Mars\"", "Mars"),
            ("amount_divisor = \"0\"", "no decimal above 0"),
            ("columns = { day = 3 }", "no name of a column"),
        ] {
            let text = format!("name = \"x\"\n{more}\n");
            let refused = Mapping::parse(&text).unwrap_err().to_string();
            assert!(refused.contains(named), "{refused}");
        }
    }

    #[test]
    fn units_are_read_from_their_words_or_refused() {
        let mapping = Mapping::parse("name = \"x\"\n[units]\n\"per mille\" = 1000\n").unwrap();
        for (text, one) in [
            ("1K tokens", 1_000),
            ("1000 Tokens", 1_000),
            ("1M tokens", 1_000_000),
            ("1,000 tokens", 1_000),
            ("Tokens", 1),
            ("per mille", 1_000),
            ("Requests", 1),
        ] {
            assert_eq!(mapping.unit(text), Some(one), "{text}");
        }
        for text in ["GB-Mo", "", "1K", "K tokens"] {
            assert_eq!(mapping.unit(text), None, "{text}");
        }
    }
}
