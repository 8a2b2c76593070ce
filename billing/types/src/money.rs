//! Money: exact decimals with a currency, no operators, no floats (B1).

use std::{fmt, str::FromStr};

use iso_currency::Currency;
use rust_decimal::Decimal;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{TokenCount, schema::DecimalText};

/// Why a money operation has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met.
    #[error("{left} and {right} cannot be added")]
    CurrencyMismatch {
        /// The left operand's currency.
        left: Currency,
        /// The right operand's currency.
        right: Currency,
    },
    /// The result exceeds 28 significant digits.
    #[error("{operation} of {left} and {right} exceeds 28 digits")]
    Overflow {
        /// What was tried.
        operation: &'static str,
        /// The left operand.
        left: Decimal,
        /// The right operand.
        right: Decimal,
    },
}

/// An exact amount in one currency, unrounded unless its origin says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// `amount` units of `currency`.
    #[must_use]
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing, in `currency`.
    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self::new(Decimal::ZERO, currency)
    }

    /// The amount in units of the currency (yuan, dollars), not in cents.
    #[must_use]
    pub fn amount(&self) -> Decimal {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The exact sum.
    ///
    /// # Errors
    /// [`MoneyError`] when the currencies differ or the sum exceeds 28 digits.
    pub fn try_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch {
                left: self.currency,
                right: other.currency,
            });
        }
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::Overflow {
            operation: "sum",
            left: self.amount,
            right: other.amount,
        })?;
        Ok(Self::new(amount, self.currency))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount.normalize(), self.currency.code())
    }
}

/// A text is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no amount with a currency, such as `99 CNY`")]
pub struct NotMoney {
    text: String,
}

impl FromStr for Money {
    type Err = NotMoney;

    /// Reads an amount and the ISO 4217 code of its currency, as [`Money`] is displayed.
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let read = || {
            let (amount, code) = text.trim().split_once(' ')?;
            let amount = Decimal::from_str_exact(amount).ok()?;
            Some(Self::new(amount, Currency::from_code(code.trim())?))
        };
        read().ok_or_else(|| NotMoney { text: text.to_owned() })
    }
}

/// A price for one thousand tokens of one class, in the currency of the price it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricePerThousand(Decimal);

impl PricePerThousand {
    /// `amount` for one thousand tokens.
    #[must_use]
    pub fn new(amount: Decimal) -> Self {
        Self(amount)
    }

    /// The amount for one thousand tokens.
    #[must_use]
    pub fn amount(&self) -> Decimal {
        self.0
    }

    /// Cost of `tokens`, exact: `tokens × price ÷ 1,000`.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] when the product exceeds 28 digits.
    pub fn cost(&self, tokens: TokenCount) -> Result<Decimal, MoneyError> {
        let overflow = || MoneyError::Overflow {
            operation: "product",
            left: self.0,
            right: Decimal::from(tokens),
        };
        let mut product = self.0.checked_mul(Decimal::from(tokens)).ok_or_else(overflow)?;
        // A shift of the decimal point is exact where a division by 1,000 could round.
        let scale = product.scale().checked_add(3).ok_or_else(overflow)?;
        if scale > Decimal::MAX_SCALE {
            product = product.normalize();
        }
        let scale = product.scale().checked_add(3).ok_or_else(overflow)?;
        product.set_scale(scale).map_err(|_| overflow())?;
        Ok(product.normalize())
    }
}

impl JsonSchema for PricePerThousand {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PricePerThousand".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        DecimalText::json_schema(generator)
    }
}

impl Serialize for PricePerThousand {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0.normalize())
    }
}

impl<'de> Deserialize<'de> for PricePerThousand {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Decimal::from_str_exact(&text)
            .map(Self)
            .map_err(|cause| de::Error::custom(format!("`{text}` is not a decimal: {cause}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    #[test]
    fn one_token_at_the_smallest_listed_price_is_not_free() {
        let price = PricePerThousand::new(decimal("0.000003"));

        assert_eq!(price.cost(1).unwrap(), decimal("0.000000003"));
    }

    #[test]
    fn the_cost_of_a_thousand_tokens_is_the_price() {
        let price = PricePerThousand::new(decimal("0.012"));

        assert_eq!(price.cost(1_000).unwrap(), decimal("0.012"));
    }

    #[test]
    fn money_reads_as_it_is_written_and_nothing_else_does() {
        let money: Money = "99.50 CNY".parse().unwrap();

        assert_eq!(money, Money::new(decimal("99.5"), Currency::CNY));
        assert_eq!(money.to_string().parse(), Ok(money));
        for text in ["99", "CNY", "99 cowries", "99,5 CNY", "CNY 99", ""] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn currencies_do_not_add() {
        let yuan = Money::new(Decimal::ONE, Currency::CNY);
        let dollar = Money::new(Decimal::ONE, Currency::USD);

        assert!(matches!(yuan.try_add(dollar), Err(MoneyError::CurrencyMismatch { .. })));
    }

    #[test]
    fn a_price_reads_from_a_string_only() {
        assert!(serde_json::from_str::<PricePerThousand>("0.012").is_err());
        assert!(serde_json::from_str::<PricePerThousand>("\"0.012\"").is_ok());
    }
}
