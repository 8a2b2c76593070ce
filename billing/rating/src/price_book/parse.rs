//! Reads a price file.
//!
//! ```toml
//! [[price]]
//! model = "ERNIE-Bot"                # exact name, a glob with * ? [ab] {x,y}, or a list of them
//! provider = "baidu-qianfan"         # optional: the price holds for this provider only
//! currency = "CNY"
//! per = "1k_tokens"                  # or "1m_tokens", which is stored per 1k, exactly
//! from = 2023-10-01T00:00:00Z        # [from, until)
//! source = "official list of 2024-01-19"
//! input = "0.012"
//! output = "0.012"
//! ```
//!
//! Token classes are keys of their own (`input_uncached`, `cache_read`, …), with two shorthands:
//! - `input` is `input_uncached`, and nothing else: cached input is a class of its own;
//! - `output` is `output_text` and, unless `reasoning` is given, `reasoning` too, because
//!   providers bill reasoning as output.
//!
//! Every other class needs its own key. A class without a price is unpriced, not free; `"0"` is
//! free. The keys `requests`, `seconds`, `images`, `searches` and `characters` are prices for one
//! single unit, whatever `per` says.
//!
//! A `[[price.band]]` replaces *all* prices of the entry for a request that meets its `when`, so it
//! must price every class and unit that the entry prices. The first band that applies is taken.
//!
//! ```toml
//! [holidays]                         # calendars that conditions name
//! cn = [2026-10-01, 2026-10-02]
//!
//! [[price.band]]
//! when = { hours = "09:00-18:00", weekdays = "mon-fri", except_holidays = "cn",
//!          time_zone = "Asia/Shanghai" }
//! ```
//!
//! ```toml
//! [[price]]                          # a customer's own terms: amounts, or a percentage
//! customer = "acme"
//! discount_percent = "10"            # off the list; markup_percent = "20": on the cost
//!
//! [[price]]                          # what the provider takes, for markups and margins
//! side = "cost"
//! ```
//!
//! The dates of a calendar are written out in the price: its content alone says what it means.

use permille_types::{Price, Rates, Relative, Side};
use rust_decimal::Decimal;
use toml::Table;

use super::{
    PriceBookError,
    bands::{Holidays, bands, holidays},
    rates::{PriceScale, rate_keys, rates},
    refuse_overlaps,
    version::Content,
};
use crate::{
    FieldError,
    fields::{Fields, currency, customer, instant, texts},
};

const ENTRY_KEYS: [&str; 12] = [
    "model", "provider", "currency", "per", "from", "until", "source", "band", "customer", "side",
    DISCOUNT, MARKUP,
];
const DISCOUNT: &str = "discount_percent";
const MARKUP: &str = "markup_percent";
/// Highest accepted markup in percent: eleven times the cost.
const MARKUP_MAX: Decimal = Decimal::from_parts(1_000, 0, 0, false, 0);
/// Decimal places of a percentage: a derived price must keep all its digits.
const PERCENT_PLACES_MAX: u32 = 4;

/// Reads the entries of a price file. `origin` names the file in errors.
///
/// # Errors
/// [`PriceBookError`], naming the entry and the key, when the text is not TOML, holds an unknown
/// key, a price that is not a text, a price beyond belief, or two entries that overlap.
pub fn parse_price_book(toml_text: &str, origin: &str) -> Result<Vec<Price>, PriceBookError> {
    let document: Table = toml_text.parse().map_err(|cause| PriceBookError::Syntax {
        origin: origin.to_owned(),
        cause: Box::new(cause),
    })?;
    let refused = |entry: String| {
        let origin = origin.to_owned();
        move |cause| PriceBookError::Entry { origin, entry, cause }
    };
    let fields = Fields(&document);
    fields.refuse_unknown(&["price", "holidays"]).map_err(refused("top level".to_owned()))?;
    let holidays = holidays(fields).map_err(refused("`[holidays]`".to_owned()))?;
    let entries = fields.tables("price").map_err(refused("top level".to_owned()))?;
    let mut prices = Vec::with_capacity(entries.len());
    for (place, entry) in (1_u32..).zip(entries) {
        let model = models(entry).ok().and_then(|models| models.first().copied()).unwrap_or("?");
        let read = entry_prices(entry, &holidays);
        prices.extend(read.map_err(refused(format!("price {place} (`{model}`)")))?);
    }
    refuse_overlaps(&prices)?;
    Ok(prices)
}

/// The prices of one entry, which names no calendar.
pub(crate) fn read_entry(entry: &Table) -> Result<Vec<Price>, FieldError> {
    entry_prices(Fields(entry), &Holidays::new())
}

/// The prices of an entry: one for each of its models.
fn entry_prices(entry: Fields<'_>, holidays: &Holidays) -> Result<Vec<Price>, FieldError> {
    let known: Vec<&str> = ENTRY_KEYS.into_iter().chain(rate_keys()).collect();
    entry.refuse_unknown(&known)?;
    let models = models(entry)?;
    let currency = currency(entry)?;
    let from = instant(entry, "from")?.ok_or_else(|| FieldError::Missing {
        key: "from".to_owned(),
        expected: "the first instant of the price, such as 2026-01-01T00:00:00Z",
    })?;
    let until = instant(entry, "until")?;
    if until.is_some_and(|until| until <= from) {
        return Err(FieldError::invalid("until", "is not after `from`"));
    }
    let scale = PriceScale { per_million: per_million(entry)?, currency };
    let (customer, side) = (customer(entry)?, side(entry)?);
    if side == Side::Cost && customer.is_some() {
        return Err(FieldError::invalid("side", "`cost` is the provider's, and no customer's"));
    }
    let relative = relative(entry)?;
    if relative.is_some() && side == Side::Cost {
        return Err(FieldError::invalid("side", "`cost` has amounts, not a percentage"));
    }
    let rates = if relative.is_some() { Rates::default() } else { rates(entry, scale)? };
    let content = Content {
        customer,
        side,
        relative,
        derived: None,
        model: String::new(),
        provider: entry.text("provider")?.map(str::to_owned),
        currency,
        from,
        until,
        source: entry
            .required_text("source", "where the price was read, with its date")?
            .to_owned(),
        bands: bands(entry, scale, &rates, holidays)?,
        rates,
    };
    models
        .into_iter()
        .map(|model| {
            Content { model: model.to_owned(), ..content.clone() }
                .into_price()
                .map_err(|cause| FieldError::invalid("model", cause.to_string()))
        })
        .collect()
}

/// The models of an entry: one text, or a list of texts that share its prices.
fn models(entry: Fields<'_>) -> Result<Vec<&str>, FieldError> {
    const EXPECTED: &str = "the model's name, a glob, or a list of them";
    texts(entry, "model", EXPECTED)?
        .ok_or_else(|| FieldError::Missing { key: "model".to_owned(), expected: EXPECTED })
}

fn side(entry: Fields<'_>) -> Result<Side, FieldError> {
    match entry.text("side")? {
        None | Some("sale") => Ok(Side::Sale),
        Some("cost") => Ok(Side::Cost),
        Some(other) => {
            let reason = format!("`{other}` is no side, accepted are sale, cost");
            Err(FieldError::invalid("side", reason))
        }
    }
}

/// The percentage of an entry that has no amounts of its own.
fn relative(entry: Fields<'_>) -> Result<Option<Relative>, FieldError> {
    let (discount, markup) = (entry.decimal(DISCOUNT)?, entry.decimal(MARKUP)?);
    let (key, percent) = match (discount, markup) {
        (None, None) => return Ok(None),
        (Some(percent), None) => (DISCOUNT, percent),
        (None, Some(percent)) => (MARKUP, percent),
        (Some(_), Some(_)) => {
            return Err(FieldError::invalid(MARKUP, "stands beside `discount_percent`: give one"));
        }
    };
    let relative = if key == DISCOUNT {
        Relative::DiscountPercent(percent)
    } else {
        Relative::MarkupPercent(percent)
    };
    check_percent(&relative)?;
    if let Some(amount) = rate_keys().chain(["band", "per"]).find(|name| entry.has(name)) {
        let reason = format!("is a percentage of another price: `{amount}` has no meaning here");
        return Err(FieldError::invalid(key, reason));
    }
    Ok(Some(relative))
}

/// Refuses a percentage that is beyond belief or has too many decimal places.
pub(super) fn check_percent(relative: &Relative) -> Result<(), FieldError> {
    let (key, percent, max) = match relative {
        Relative::DiscountPercent(percent) => (DISCOUNT, percent, Decimal::ONE_HUNDRED),
        Relative::MarkupPercent(percent) => (MARKUP, percent, MARKUP_MAX),
    };
    if *percent < Decimal::ZERO {
        return Err(FieldError::invalid(key, format!("{percent} is negative")));
    }
    if *percent > max {
        return Err(FieldError::invalid(key, format!("{percent} is above {max}")));
    }
    if percent.normalize().scale() > PERCENT_PLACES_MAX {
        let reason = format!("{percent} has more than {PERCENT_PLACES_MAX} decimal places");
        return Err(FieldError::invalid(key, reason));
    }
    Ok(())
}

fn per_million(entry: Fields<'_>) -> Result<bool, FieldError> {
    match entry.text("per")? {
        None | Some("1k_tokens") => Ok(false),
        Some("1m_tokens") => Ok(true),
        Some(unit @ ("request" | "second" | "image" | "search" | "1k_characters")) => {
            Err(FieldError::NotSupported {
                key: format!("per = \"{unit}\""),
                instead: "price a single unit with one of the keys `requests`, `seconds`, \
                          `images`, `searches`, `characters`",
            })
        }
        Some(other) => Err(FieldError::invalid(
            "per",
            format!("`{other}` is not a unit, accepted are 1k_tokens, 1m_tokens"),
        )),
    }
}
