//! Reads the amounts of an entry and of its bands. The keys are described in [`super::parse`].

use permille_types::{Currency, PricePerThousand, Rates, TokenClass};
use rust_decimal::Decimal;

use crate::{FieldError, Meter, exact, fields::Fields, meter::unit_names};

const SHORTHANDS: [&str; 2] = ["input", "output"];

/// Highest accepted price per thousand tokens, in currency units, where a unit is worth about a
/// dollar or a yuan: 16 times the dearest public list price known (0.6 USD, o1-pro output), and
/// below what most prices per million read as. A price above is a slip of the unit.
const PER_THOUSAND_MAX: Decimal = Decimal::from_parts(10, 0, 0, false, 0);

/// The same where a unit is worth less (JPY, KRW, …).
const PER_THOUSAND_MAX_SMALL_UNITS: Decimal = Decimal::from_parts(100_000, 0, 0, false, 0);

/// The unit and currency of the token prices of an entry.
#[derive(Clone, Copy)]
pub(super) struct PriceScale {
    pub(super) per_million: bool,
    pub(super) currency: Currency,
}

impl PriceScale {
    /// The price that the file gives under `key`, per thousand tokens.
    fn per_thousand(self, key: &str, given: Decimal) -> Result<PricePerThousand, FieldError> {
        let amount = if self.per_million {
            exact::shift_right(given, 3)
                .map_err(|_| FieldError::invalid(key, "has too many digits to be stored per 1k"))?
        } else {
            given
        };
        let max = per_thousand_max(self.currency);
        if amount > max {
            let code = self.currency.code();
            let unit = if self.per_million { "1m_tokens" } else { "1k_tokens" };
            return Err(FieldError::invalid(
                key,
                format!(
                    "{given} {code} per {unit} is {amount} {code} per 1k_tokens, above {max}: \
                     probably a price per 1m_tokens read as per 1k_tokens; check `per`"
                ),
            ));
        }
        Ok(PricePerThousand::new(amount))
    }
}

/// The highest price per thousand tokens that is believed.
pub(super) fn per_thousand_max(currency: Currency) -> Decimal {
    match currency {
        Currency::USD | Currency::EUR | Currency::GBP | Currency::CNY => PER_THOUSAND_MAX,
        _ => PER_THOUSAND_MAX_SMALL_UNITS,
    }
}

/// Every key that gives a price: shorthands, token classes, units.
pub(super) fn rate_keys() -> impl Iterator<Item = &'static str> {
    let classes = TokenClass::KNOWN.iter().map(TokenClass::as_str);
    SHORTHANDS.into_iter().chain(classes).chain(unit_names())
}

/// The prices of an entry or a band: every key that is a class, a shorthand or a unit.
pub(super) fn rates(table: Fields<'_>, scale: PriceScale) -> Result<Rates, FieldError> {
    let mut rates = Rates::default();
    for key in rate_keys() {
        let Some(given) = table.decimal(key)? else { continue };
        let (named, also) = match key {
            "input" => (TokenClass::INPUT_UNCACHED, None),
            "output" => (TokenClass::OUTPUT_TEXT, Some(TokenClass::REASONING)),
            _ => match Meter::named(key) {
                Meter::Tokens(class) => (class, None),
                Meter::Units(unit) => {
                    rates.per_unit.insert(unit, given);
                    continue;
                }
                // No key of a price names a term.
                Meter::Term(_) => continue,
            },
        };
        let price = scale.per_thousand(key, given)?;
        if key != named.as_str() && table.has(named.as_str()) {
            return Err(FieldError::invalid(key, format!("means `{named}`, which is given too")));
        }
        rates.per_thousand.insert(named, price);
        if let Some(also) = also.filter(|also| !table.has(also.as_str())) {
            rates.per_thousand.insert(also, price);
        }
    }
    if rates.per_thousand.is_empty() && rates.per_unit.is_empty() {
        return Err(FieldError::Missing {
            key: "input".to_owned(),
            expected: "at least one price; \"0\" is free",
        });
    }
    Ok(rates)
}
