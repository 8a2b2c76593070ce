//! Reads a charge file: one `[charge]`, or one `[[charge]]`.

use permille_types::Currency;
use rust_decimal::Decimal;
use toml::{Table, Value};

use super::{Charge, ChargeError, ChargeKind, TierPrice, Tiers};
use crate::{
    FieldError,
    fields::{Fields, unknown},
};

/// Keys of every kind.
const SHARED: [&str; 6] = ["name", "kind", "currency", "minimum", "maximum", "discount_percent"];

/// Keys of one kind or another.
const OF_KINDS: [&str; 4] = ["unit", "size", "free", "tiers"];

/// Reads the one charge of a file. `origin` names the file in errors.
///
/// # Errors
/// [`ChargeError`], naming the key, when the text is not TOML, holds none or several charges, an
/// unknown key, a number that is not a text, or tiers out of order.
pub fn parse_charge(text: &str, origin: &str) -> Result<Charge, ChargeError> {
    let document: Table = text.parse().map_err(|cause| ChargeError::Syntax {
        origin: origin.to_owned(),
        cause: Box::new(cause),
    })?;
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

fn charge(entry: Fields<'_>) -> Result<Charge, FieldError> {
    let known: Vec<&str> = SHARED.into_iter().chain(OF_KINDS).collect();
    entry.refuse_unknown(&known)?;
    let code = entry.required_text("currency", "an ISO 4217 code such as CNY")?;
    let currency = Currency::from_code(code)
        .filter(|currency| currency.exponent().is_some())
        .ok_or_else(|| FieldError::invalid("currency", format!("`{code}` is not ISO 4217")))?;
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
