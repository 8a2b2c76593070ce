//! Reads charge files: one `[charge]` to quote, or `[[charge]]` entries with what they cover.
//!
//! ```toml
//! [[charge]]
//! name = "Tokens of the month"
//! models = ["gpt-*"]                 # or one text; every model when absent
//! classes = ["input_uncached"]       # every token class when absent
//! per = "1k_tokens"                  # what one of the quantity is
//! customer = "acme"                  # everyone when absent
//! from = 2026-12-01T00:00:00Z        # prices months that begin then or later
//! kind = "graduated"
//! currency = "CNY"
//! tiers = [ { up_to = "1000", unit = "0.012" }, { unit = "0.010" } ]
//! ```

use chrono::{DateTime, Utc};
use permille_types::{Currency, PriceVersion};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::{Charge, ChargeError, ChargeKind, Cover, Meters, Per, PeriodCharge, TierPrice, Tiers};
use crate::{
    FieldError, Meter,
    fields::{Fields, currency, customer, instant, texts, unknown},
};

/// Keys of every kind.
const SHARED: [&str; 6] = ["name", "kind", "currency", "minimum", "maximum", "discount_percent"];

/// Keys of one kind or another.
const OF_KINDS: [&str; 4] = ["unit", "size", "free", "tiers"];

/// Keys that say what a charge covers.
const OF_COVER: [&str; 3] = ["models", "classes", "per"];

/// Keys that say whose it is, and when.
const OF_TERM: [&str; 3] = ["customer", "from", "until"];

/// Reads the `[[charge]]` entries of a file with what they cover. `origin` names it in errors.
///
/// # Errors
/// [`ChargeError`] as [`parse_charge`], and when an entry does not say when it holds.
pub fn parse_period_charges(text: &str, origin: &str) -> Result<Vec<PeriodCharge>, ChargeError> {
    let document = table(text, origin)?;
    let refused = |entry: String| {
        let origin = origin.to_owned();
        move |cause| ChargeError::Entry { origin, entry, cause }
    };
    let fields = Fields(&document);
    fields.refuse_unknown(&["charge"]).map_err(refused("top level".to_owned()))?;
    let entries = fields.tables("charge").map_err(refused("top level".to_owned()))?;
    if entries.is_empty() {
        return Err(ChargeError::None { origin: origin.to_owned() });
    }
    let read = |(place, entry): (u32, Fields<'_>)| {
        period_charge(entry, Whose::Told).map_err(refused(format!("charge {place}")))
    };
    (1_u32..).zip(entries).map(read).collect()
}

/// Where it is told whose a charge is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// In the entry itself.
    Told,
    /// By the plan that it is part of.
    Plan,
}

/// One charge with what it covers.
pub(crate) fn period_charge(entry: Fields<'_>, whose: Whose) -> Result<PeriodCharge, FieldError> {
    if whose == Whose::Plan
        && let Some(key) = OF_TERM.into_iter().find(|key| entry.has(key))
    {
        return Err(FieldError::invalid(key, "is told by the plan and by who has it"));
    }
    let charge = charge(entry)?;
    let name = entry.required_text("name", "what the charge is called on invoices")?;
    let from = match (whose, instant(entry, "from")?) {
        (Whose::Plan, _) => DateTime::<Utc>::MIN_UTC,
        (Whose::Told, Some(from)) => from,
        (Whose::Told, None) => {
            let expected = "the first instant of the first month, such as 2026-12-01T00:00:00Z";
            return Err(FieldError::Missing { key: "from".to_owned(), expected });
        }
    };
    let until = instant(entry, "until")?;
    if until.is_some_and(|until| until <= from) {
        return Err(FieldError::invalid("until", "is not after `from`"));
    }
    let (version, content) = entry_version("charge", name, entry.0)?;
    Ok(PeriodCharge {
        version,
        name: name
            .parse()
            .map_err(|cause| FieldError::invalid("name", format!("`{name}`: {cause}")))?,
        customer: customer(entry)?,
        from,
        until,
        charge,
        cover: cover(entry)?,
        content,
    })
}

/// The version of an entry and its one canonical text, a file of its own: keys in order, one
/// writing of each value.
pub(crate) fn entry_version(
    key: &str,
    name: &str,
    entry: &Table,
) -> Result<(PriceVersion, String), FieldError> {
    let file = Table::from_iter([(key.to_owned(), Value::Array(vec![entry.clone().into()]))]);
    // What was read from TOML is written as TOML; an empty text could only merge versions.
    let content = toml::to_string(&file).unwrap_or_default();
    let mut digits = hex::encode(Sha256::digest(&content));
    digits.truncate(12);
    let version = format!("{name}@{digits}")
        .parse()
        .map_err(|cause| FieldError::invalid("name", format!("`{name}`: {cause}")))?;
    Ok((version, content))
}

fn cover(entry: Fields<'_>) -> Result<Cover, FieldError> {
    let per = match entry.text("per")? {
        None => Per::ThousandTokens,
        Some(text) => {
            Per::ALL.iter().find(|(_, name)| *name == text).map(|(per, _)| *per).ok_or_else(
                || {
                    let known: Vec<&str> = Per::ALL.iter().map(|(_, name)| *name).collect();
                    let reason = format!("`{text}` is unknown, accepted are {}", known.join(", "));
                    FieldError::invalid("per", reason)
                },
            )?
        }
    };
    let classes = texts(entry, "classes", "a token class, or a list of them")?;
    let meters = match (per.unit(), classes) {
        (Some(unit), None) => Meters::Only(vec![Meter::Units(unit)]),
        (Some(_), Some(_)) => {
            let reason = format!("has no meaning beside per = \"{}\"", per.as_str());
            return Err(FieldError::invalid("classes", reason));
        }
        (None, None) => Meters::Tokens,
        (None, Some(classes)) => Meters::Only(token_classes(&classes)?),
    };
    Ok(Cover { models: models(entry)?, meters, per })
}

/// The token classes of these names; only tokens are counted together.
pub(crate) fn token_classes(names: &[&str]) -> Result<Vec<Meter>, FieldError> {
    let meters: Vec<Meter> = names.iter().map(|name| Meter::named(name)).collect();
    match meters.iter().find(|meter| !meter.is_tokens()) {
        None => Ok(meters),
        Some(meter) => {
            let reason = format!("`{meter}` is no token class; a unit is told by `per`");
            Err(FieldError::invalid("classes", reason))
        }
    }
}

/// The models that an entry covers; every one when it names none.
pub(crate) fn models(entry: Fields<'_>) -> Result<Vec<String>, FieldError> {
    let models = texts(entry, "models", "a model's name, a glob, or a list of them")?;
    let models = models.unwrap_or_else(|| vec!["*"]);
    if let Some(pattern) = models.iter().find(|pattern| globset::Glob::new(pattern).is_err()) {
        return Err(FieldError::invalid("models", format!("`{pattern}` is not a glob")));
    }
    Ok(models.into_iter().map(str::to_owned).collect())
}

/// Reads the one charge of a file. What it covers may stand in it and is not looked at. `origin`
/// names the file in errors.
///
/// # Errors
/// [`ChargeError`], naming the key, when the text is not TOML, holds none or several charges, an
/// unknown key, a number that is not a text, or tiers out of order.
pub fn parse_charge(text: &str, origin: &str) -> Result<Charge, ChargeError> {
    let document = table(text, origin)?;
    let refused = |entry: &str| {
        let (origin, entry) = (origin.to_owned(), entry.to_owned());
        move |cause| ChargeError::Entry { origin, entry, cause }
    };
    let fields = Fields(&document);
    fields.refuse_unknown(&["charge"]).map_err(refused("top level"))?;
    let charges = match document.get("charge") {
        Some(Value::Table(charge)) => vec![Fields(charge)],
        _ => fields.tables("charge").map_err(refused("top level"))?,
    };
    let &[entry] = charges.as_slice() else {
        return Err(ChargeError::NotOne { origin: origin.to_owned(), count: charges.len() });
    };
    charge(entry).map_err(refused("charge"))
}

fn table(text: &str, origin: &str) -> Result<Table, ChargeError> {
    text.parse()
        .map_err(|cause| ChargeError::Syntax { origin: origin.to_owned(), cause: Box::new(cause) })
}

fn charge(entry: Fields<'_>) -> Result<Charge, FieldError> {
    let known = SHARED.into_iter().chain(OF_KINDS).chain(OF_COVER).chain(OF_TERM);
    entry.refuse_unknown(&known.collect::<Vec<_>>())?;
    let currency: Currency = currency(entry)?;
    let charge = Charge {
        name: entry.text("name")?.map(str::to_owned),
        currency,
        kind: kind(entry)?,
        minimum: entry.decimal("minimum")?,
        maximum: entry.decimal("maximum")?,
        discount_percent: entry.decimal("discount_percent")?,
    };
    if charge.discount_percent.is_some_and(|percent| percent > Decimal::ONE_HUNDRED) {
        return Err(FieldError::invalid("discount_percent", "is above 100"));
    }
    if let (Some(minimum), Some(maximum)) = (charge.minimum, charge.maximum)
        && minimum > maximum
    {
        return Err(FieldError::invalid("minimum", "is above `maximum`"));
    }
    Ok(charge)
}

fn kind(entry: Fields<'_>) -> Result<ChargeKind, FieldError> {
    const KINDS: [&str; 4] = ["unit", "package", "graduated", "volume"];
    let kind = entry.required_text("kind", "one of unit, package, graduated, volume")?;
    let own: &[&str] = match kind {
        "unit" => &["unit"],
        "package" => &["size", "unit", "free"],
        "graduated" | "volume" => &["tiers"],
        other => {
            let reason = format!("`{other}` is unknown, accepted are {}", KINDS.join(", "));
            return Err(FieldError::invalid("kind", reason));
        }
    };
    if let Some(key) = OF_KINDS.into_iter().find(|key| entry.has(key) && !own.contains(key)) {
        let reason = format!("has no meaning in kind `{kind}`, which takes {}", own.join(", "));
        return Err(FieldError::invalid(key, reason));
    }
    match kind {
        "unit" => Ok(ChargeKind::Unit { unit: required(entry, "unit")? }),
        "package" => package(entry),
        "graduated" => Ok(ChargeKind::Graduated(tiers(entry)?)),
        _ => Ok(ChargeKind::Volume(tiers(entry)?)),
    }
}

fn package(entry: Fields<'_>) -> Result<ChargeKind, FieldError> {
    let size = required(entry, "size")?;
    if size.is_zero() {
        return Err(FieldError::invalid("size", "is zero: a package holds something"));
    }
    let free = entry.decimal("free")?.unwrap_or_default();
    Ok(ChargeKind::Package { size, unit: required(entry, "unit")?, free })
}

fn tiers(entry: Fields<'_>) -> Result<Tiers, FieldError> {
    const KNOWN: [&str; 3] = ["up_to", "unit", "flat"];
    let mut bounded = Vec::new();
    let mut open = None;
    for tier in entry.tables("tiers")? {
        if let Some(key) = tier.0.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(unknown(key, &KNOWN));
        }
        if open.is_some() {
            return Err(FieldError::invalid("tiers", "a tier without `up_to` must be the last"));
        }
        let flat = tier.decimal("flat")?;
        let unit = match (tier.decimal("unit")?, flat) {
            (Some(unit), _) => unit,
            (None, Some(_)) => Decimal::ZERO,
            (None, None) => return Err(missing("unit")),
        };
        let price = TierPrice { unit, flat: flat.unwrap_or_default() };
        match tier.decimal("up_to")? {
            Some(up_to) => bounded.push((up_to, price)),
            None => open = Some(price),
        }
    }
    let open = open.ok_or_else(|| {
        FieldError::invalid(
            "tiers",
            "the last tier must have no `up_to`, or nothing prices what is above",
        )
    })?;
    Tiers::new(bounded, open)
}

fn required(entry: Fields<'_>, key: &str) -> Result<Decimal, FieldError> {
    entry.decimal(key)?.ok_or_else(|| missing(key))
}

fn missing(key: &str) -> FieldError {
    FieldError::Missing { key: key.to_owned(), expected: "a decimal in quotes; \"0\" is free" }
}
