//! What a charge covers: which models and classes, counted in which unit.

use permille_types::{ModelName, MoneyError, Unit};
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Meter, exact, price_book::names};

/// The quantities that a charge prices the sum of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// Exact names or globs; any of them.
    pub models: Vec<String>,
    /// Which classes or units of those models.
    pub meters: Meters,
    /// What one of the quantity is.
    pub per: Per,
}

/// Classes and units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meters {
    /// Every class of tokens.
    Tokens,
    /// Tokens and units alike.
    Usage,
    /// These.
    Only(Vec<Meter>),
}

/// What one of a charge's quantity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Per {
    /// One token.
    #[serde(rename = "token")]
    Token,
    /// A thousand tokens.
    #[serde(rename = "1k_tokens")]
    ThousandTokens,
    /// A million tokens.
    #[serde(rename = "1m_tokens")]
    MillionTokens,
    /// One request.
    #[serde(rename = "request")]
    Request,
    /// One second.
    #[serde(rename = "second")]
    Second,
    /// One image.
    #[serde(rename = "image")]
    Image,
    /// One search.
    #[serde(rename = "search")]
    Search,
    /// A thousand characters.
    #[serde(rename = "1k_characters")]
    ThousandCharacters,
}

impl Per {
    /// Every one with its name in files.
    pub const ALL: [(Self, &str); 8] = [
        (Self::Token, "token"),
        (Self::ThousandTokens, "1k_tokens"),
        (Self::MillionTokens, "1m_tokens"),
        (Self::Request, "request"),
        (Self::Second, "second"),
        (Self::Image, "image"),
        (Self::Search, "search"),
        (Self::ThousandCharacters, "1k_characters"),
    ];

    /// Its name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(per, _)| *per == self).map_or("", |(_, name)| *name)
    }

    /// The unit that it counts; absent for tokens.
    #[must_use]
    pub fn unit(self) -> Option<Unit> {
        match self {
            Self::Token | Self::ThousandTokens | Self::MillionTokens => None,
            Self::Request => Some(Unit::Requests),
            Self::Second => Some(Unit::Seconds),
            Self::Image => Some(Unit::Images),
            Self::Search => Some(Unit::Searches),
            Self::ThousandCharacters => Some(Unit::Characters),
        }
    }

    /// `count` tokens or units in this unit, exact.
    ///
    /// # Errors
    /// [`MoneyError`] when it has more than 28 digits.
    pub fn of(self, count: Decimal) -> Result<Decimal, MoneyError> {
        let places = match self {
            Self::ThousandTokens | Self::ThousandCharacters => 3,
            Self::MillionTokens => 6,
            _ => 0,
        };
        exact::shift_right(count, places)
    }
}

impl Cover {
    /// Whether it covers `meter` of `model`.
    #[must_use]
    pub fn covers(&self, model: &ModelName, meter: &Meter) -> bool {
        let counted = match &self.meters {
            Meters::Tokens => meter.is_tokens(),
            Meters::Usage => meter.is_usage(),
            Meters::Only(meters) => meters.contains(meter),
        };
        counted && self.models.iter().any(|pattern| names(pattern, model.as_str()))
    }

    /// How special it is: exact names over globs, then more literal characters.
    #[must_use]
    pub fn rank(&self, model: &ModelName) -> (bool, usize) {
        let exact = self.models.iter().any(|pattern| pattern == model.as_str());
        let literal = |pattern: &String| pattern.chars().filter(|c| c.is_alphanumeric()).count();
        let longest =
            self.models.iter().filter(|pattern| names(pattern, model.as_str())).map(literal).max();
        (exact, longest.unwrap_or_default())
    }
}
