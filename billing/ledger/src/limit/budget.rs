//! Budgets as people write them: an amount, a currency and a period.

use std::{fmt, str::FromStr};

use permille_rating::round::{from_nano, to_nano};
use permille_types::{Currency, Measure, Money};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Over which time money is counted, by the customer's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    /// A day.
    Day,
    /// A month.
    Month,
    /// All of it.
    Total,
}

impl Per {
    fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    pub(super) fn measure(self) -> Measure {
        match self {
            Self::Day => Measure::SpendPerDay,
            Self::Month => Measure::SpendPerMonth,
            Self::Total => Measure::Spend,
        }
    }
}

/// Money that may be spent in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How much, in 10⁻⁹ of the currency unit.
    pub nano: u64,
    /// In which currency.
    pub currency: Currency,
    /// Over which time.
    pub per: Per,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = from_nano(i64::try_from(self.nano).unwrap_or(i64::MAX));
        write!(f, "{} {}/{}", amount, self.currency.code(), self.per.as_str())
    }
}

/// A text is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no budget, accepted: {ACCEPTED}")]
pub struct NotBudget {
    text: String,
}

/// What is accepted where a budget is meant.
pub(super) const ACCEPTED: &str = "an amount above 0 with at most 9 decimals, a currency and day, \
     month or total, such as `50 CNY/month`; several with a comma between, each period once";

impl FromStr for Budget {
    type Err = NotBudget;

    fn from_str(text: &str) -> Result<Self, NotBudget> {
        let read = || {
            let (money, per) = text.trim().rsplit_once('/')?;
            let money: Money = money.trim().parse().ok()?;
            let per = [Per::Day, Per::Month, Per::Total]
                .into_iter()
                .find(|known| known.as_str() == per.trim())?;
            let nano = to_nano(money.amount()).ok()?;
            // Nothing of it may be rounded away.
            let exact = from_nano(nano) == money.amount();
            let nano = u64::try_from(nano).ok().filter(|nano| *nano > 0 && exact)?;
            Some(Self { nano, currency: money.currency(), per })
        };
        read().ok_or_else(|| NotBudget { text: text.to_owned() })
    }
}

/// Budgets of one owner: at most one for each period, the shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets(Vec<Budget>);

impl Budgets {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.iter()
    }
}

impl FromStr for Budgets {
    type Err = NotBudget;

    fn from_str(text: &str) -> Result<Self, NotBudget> {
        let mut budgets = text.split(',').map(Budget::from_str).collect::<Result<Vec<_>, _>>()?;
        budgets.sort_by_key(|budget| budget.per);
        let twice = |pair: &[Budget]| pair.first().map(|b| b.per) == pair.get(1).map(|b| b.per);
        if budgets.windows(2).any(twice) {
            return Err(NotBudget { text: text.to_owned() });
        }
        Ok(Self(budgets))
    }
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, budget) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            budget.fmt(f)?;
        }
        Ok(())
    }
}

impl JsonSchema for Budgets {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Budgets".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["5 CNY/day, 50 CNY/month"]})
    }
}

impl Serialize for Budgets {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Budgets {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_read_as_they_are_written() {
        for (text, shown) in [
            ("50 CNY/month", "50 CNY/month"),
            (" 50.50 CNY / month , 5 CNY/day ", "5 CNY/day, 50.5 CNY/month"),
            ("0.000000001 USD/total", "0.000000001 USD/total"),
        ] {
            let budgets: Budgets = text.parse().unwrap();

            assert_eq!(budgets.to_string(), shown);
            assert_eq!(shown.parse(), Ok(budgets));
        }
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in [
            "",
            "50 CNY",
            "50/month",
            "50 CNY/week",
            "0 CNY/day",
            "-1 CNY/day",
            "0.0000000001 CNY/day",
            "10000000000 CNY/day",
            "1 CNY/day, 2 CNY/day",
            "1 CNY/day,",
            "1e3 CNY/day",
        ] {
            let refused = text.parse::<Budgets>().unwrap_err().to_string();

            assert!(refused.contains("50 CNY/month"), "{refused}");
        }
    }
}
