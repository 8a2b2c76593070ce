//! What a price and an invoice line can count: a class of tokens, a unit, or a term of a contract.

use std::{cmp::Ordering, fmt};

use permille_types::{TokenClass, Unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing that is counted and priced. Written as its name: `input_uncached`, `searches`.
///
/// The names of units and terms are reserved: no token class bears one, so a name alone tells which
/// it is. Meters sort as people read them: token classes in the order of [`TokenClass::KNOWN`],
/// then unknown classes by name, then units, then terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Meter {
    /// Tokens of one class, priced per thousand.
    Tokens(TokenClass),
    /// A unit, priced each.
    Units(Unit),
    /// What is owed beside usage: nobody counts it, and no price list has it.
    Term(Term),
}

/// What a charge or plan bills beside usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// The amount of a charge that no line of usage bears.
    Charge,
    /// What a plan costs, whatever is used.
    Fee,
    /// What is missing to the usage that a plan commits to.
    Commitment,
    /// What is missing to the least that a plan costs.
    Minimum,
}

/// Every term with its name.
const TERMS: [(Term, &str); 4] = [
    (Term::Charge, "charge"),
    (Term::Fee, "fee"),
    (Term::Commitment, "commitment"),
    (Term::Minimum, "minimum"),
];

/// Every unit.
const UNITS: [Unit; 5] =
    [Unit::Requests, Unit::Seconds, Unit::Images, Unit::Searches, Unit::Characters];

impl Meter {
    /// The meter of that name: a unit or term where the name is one, else a token class, known or
    /// not.
    #[must_use]
    pub fn named(text: &str) -> Self {
        let unit = UNITS.iter().find(|unit| unit.as_str() == text).copied().map(Self::Units);
        let term = || TERMS.iter().find(|(_, name)| *name == text).map(|(t, _)| Self::Term(*t));
        unit.or_else(term).unwrap_or_else(|| Self::Tokens(TokenClass::named(text)))
    }

    /// The meter's name in rows, invoice lines and price files.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tokens(class) => class.as_str(),
            Self::Units(unit) => unit.as_str(),
            Self::Term(term) => term_name(*term),
        }
    }

    /// Whether it counts tokens.
    #[must_use]
    pub fn is_tokens(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }

    /// Whether it counts what was used: tokens or units.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Term(_))
    }

    /// Sort key: group, place in the group, name.
    fn order(&self) -> (u8, usize, &str) {
        match self {
            Self::Tokens(class) => {
                let place = TokenClass::KNOWN.iter().position(|known| known == class);
                (0, place.unwrap_or(usize::MAX), class.as_str())
            }
            Self::Units(unit) => (1, 0, unit.as_str()),
            Self::Term(term) => (2, TERMS.iter().take_while(|(t, _)| t != term).count(), ""),
        }
    }
}

/// The names of all units, for messages and for the keys of a price file.
pub(crate) fn unit_names() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|unit| unit.as_str())
}

fn term_name(term: Term) -> &'static str {
    TERMS.iter().find(|(known, _)| *known == term).map_or("unknown_term", |(_, name)| *name)
}

impl PartialOrd for Meter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Meter {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonSchema for Meter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Meter".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["input_uncached", "searches", "fee"]})
    }
}

impl Serialize for Meter {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Meter {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Ok(Self::named(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_units_from_token_classes() {
        assert_eq!(Meter::named("searches"), Meter::Units(Unit::Searches));
        assert_eq!(Meter::named("reasoning"), Meter::Tokens(TokenClass::REASONING));
        assert_eq!(Meter::named("smell_in").as_str(), "smell_in");
        for (term, name) in TERMS {
            assert_eq!(Meter::named(name), Meter::Term(term));
            assert_eq!(Meter::Term(term).to_string(), name);
        }
    }

    #[test]
    fn every_unit_has_the_name_that_its_json_has() {
        for unit in UNITS {
            assert_eq!(serde_json::to_value(unit).unwrap(), unit.as_str());
        }
    }

    #[test]
    fn no_known_token_class_bears_the_name_of_a_unit() {
        for class in TokenClass::KNOWN {
            assert_eq!(Meter::named(class.as_str()), Meter::Tokens(class.clone()));
        }
    }

    #[test]
    fn meters_sort_input_before_output_before_units_before_terms() {
        let sorted = [
            "input_uncached",
            "cache_read",
            "output_text",
            "zeta",
            "images",
            "searches",
            "charge",
            "fee",
            "commitment",
            "minimum",
        ];
        let mut meters = sorted.map(Meter::named);
        meters.reverse();
        meters.sort();

        assert_eq!(meters.map(|meter| meter.to_string()), sorted);
    }

    #[test]
    fn a_schema_says_that_a_meter_is_a_text() {
        let schema = schemars::schema_for!(Meter);

        assert_eq!(schema.get("title").and_then(|title| title.as_str()), Some("Meter"));
        assert_eq!(schema.get("type").and_then(|kind| kind.as_str()), Some("string"));
    }
}
