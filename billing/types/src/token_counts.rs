//! The tokens of one reply by class: a list in the order of the classes' names. Of most replies it
//! is short, and every request makes several: it has no memory of its own until it is long.

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Index, slice};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use smallvec::SmallVec;

use crate::{TokenClass, TokenCount};

/// Classes of a typical reply: text, cache, reasoning and audio that was not, which OpenAI reports.
const CLASSES: usize = 6;

type Entries = SmallVec<[(TokenClass, TokenCount); CLASSES]>;

/// Tokens of one reply by class. An absent class was not reported; an explicit zero stays. Of two
/// counts of one class the last holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenCounts(Entries);

impl TokenCounts {
    /// Counts of no class.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many classes are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens of `class`.
    #[must_use]
    pub fn get(&self, class: &TokenClass) -> Option<&TokenCount> {
        let place = self.place(class).ok()?;
        self.0.get(place).map(|(_, count)| count)
    }

    /// Whether `class` is counted.
    #[must_use]
    pub fn contains_key(&self, class: &TokenClass) -> bool {
        self.place(class).is_ok()
    }

    /// Sets the tokens of `class`.
    pub fn insert(&mut self, class: TokenClass, count: TokenCount) {
        match self.place(&class) {
            Ok(place) => {
                if let Some((_, held)) = self.0.get_mut(place) {
                    *held = count;
                }
            }
            Err(place) => self.0.insert(place, (class, count)),
        }
    }

    /// Takes `class` out.
    pub fn remove(&mut self, class: &TokenClass) -> Option<TokenCount> {
        let place = self.place(class).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Takes every class out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Every class with its tokens, in the order of the names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// Every class, in the order of the names.
    pub fn keys(&self) -> impl Iterator<Item = &TokenClass> {
        self.0.iter().map(|(class, _)| class)
    }

    /// The tokens of every class, in the order of the names.
    pub fn values(&self) -> impl Iterator<Item = &TokenCount> {
        self.0.iter().map(|(_, count)| count)
    }

    /// The tokens of every class, in the order of the names, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut TokenCount> {
        self.0.iter_mut().map(|(_, count)| count)
    }

    fn place(&self, class: &TokenClass) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(class))
    }
}

/// The counts of `entries`, in any order. Their number is not to be trusted: it is sorted once.
fn ordered(mut entries: Entries) -> TokenCounts {
    // Counts of one class stay in their order.
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            earlier.1 = later.1;
        }
        is_same
    });
    TokenCounts(entries)
}

impl FromIterator<(TokenClass, TokenCount)> for TokenCounts {
    fn from_iter<I: IntoIterator<Item = (TokenClass, TokenCount)>>(counts: I) -> Self {
        ordered(counts.into_iter().collect())
    }
}

impl<const N: usize> From<[(TokenClass, TokenCount); N]> for TokenCounts {
    fn from(counts: [(TokenClass, TokenCount); N]) -> Self {
        counts.into_iter().collect()
    }
}

impl Extend<(TokenClass, TokenCount)> for TokenCounts {
    fn extend<I: IntoIterator<Item = (TokenClass, TokenCount)>>(&mut self, counts: I) {
        for (class, count) in counts {
            self.insert(class, count);
        }
    }
}

impl IntoIterator for TokenCounts {
    type Item = (TokenClass, TokenCount);
    type IntoIter = smallvec::IntoIter<[(TokenClass, TokenCount); CLASSES]>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a TokenCounts {
    type Item = (&'a TokenClass, &'a TokenCount);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// See [`TokenCounts::iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a>(slice::Iter<'a, (TokenClass, TokenCount)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a TokenClass, &'a TokenCount);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(class, count)| (class, count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl Index<&TokenClass> for TokenCounts {
    type Output = TokenCount;

    #[expect(clippy::expect_used, reason = "an index that is none panics, as that of a map")]
    fn index(&self, class: &TokenClass) -> &TokenCount {
        self.get(class).expect("no tokens of this class")
    }
}

impl fmt::Debug for TokenCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for TokenCounts {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for TokenCounts {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Counts;

        impl<'de> de::Visitor<'de> for Counts {
            type Value = TokenCounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<TokenCounts, A::Error> {
                let mut entries = Entries::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ordered(entries))
            }
        }
        d.deserialize_map(Counts)
    }
}

/// What it is described as: it reads and is written like one.
type Map = BTreeMap<TokenClass, TokenCount>;

impl JsonSchema for TokenCounts {
    fn schema_name() -> Cow<'static, str> {
        Map::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        Map::schema_id()
    }
    fn inline_schema() -> bool {
        Map::inline_schema()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Map::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::select};

    use super::*;

    /// Counts in any order, of few classes, so that some come twice.
    fn given() -> impl Strategy<Value = Vec<(TokenClass, TokenCount)>> {
        let class = prop_oneof![
            2 => select(TokenClass::KNOWN),
            1 => "[a-d]{0,2}".prop_map(|name| TokenClass::named(&name)),
        ];
        collection::vec((class, 0..4_u64), 0..40)
    }

    /// Whatever is asked of it, it answers as the map does.
    fn check(counts: &TokenCounts, map: &Map) {
        assert!(counts.iter().eq(map), "{counts:?}, {map:?}");
        assert!(counts.keys().eq(map.keys()) && counts.values().eq(map.values()));
        assert_eq!((counts.len(), counts.is_empty()), (map.len(), map.is_empty()));
        assert_eq!(counts.iter().len(), map.len());
        for class in TokenClass::KNOWN.iter().chain(map.keys()) {
            assert_eq!(counts.get(class), map.get(class));
            assert_eq!(counts.contains_key(class), map.contains_key(class));
        }
        assert_eq!(format!("{counts:?}"), format!("{map:?}"));
        let json = serde_json::to_string(counts).unwrap();
        assert_eq!(json, serde_json::to_string(map).unwrap());
        assert_eq!(&serde_json::from_str::<TokenCounts>(&json).unwrap(), counts);
    }

    proptest! {
        #[test]
        fn it_is_a_map_by_class_whatever_is_put_in_and_taken_out(
            inserted in given(),
            extended in given(),
            removed in given(),
        ) {
            let (mut counts, mut map) = (TokenCounts::new(), Map::new());
            for (class, count) in inserted {
                counts.insert(class.clone(), count);
                map.insert(class, count);
                check(&counts, &map);
            }
            counts.extend(extended.clone());
            map.extend(extended);
            check(&counts, &map);
            for (class, _) in removed {
                prop_assert_eq!(counts.remove(&class), map.remove(&class));
                check(&counts, &map);
            }
            prop_assert!(counts.into_iter().eq(map));
        }

        #[test]
        fn of_counts_of_one_class_the_last_holds_however_they_come(given in given()) {
            let map: Map = given.iter().cloned().collect();
            let fields: Vec<_> = given
                .iter()
                .map(|(class, count)| format!("{:?}:{count}", class.as_str()))
                .collect();
            let json = format!("{{{}}}", fields.join(","));

            check(&given.into_iter().collect(), &map);
            check(&serde_json::from_str(&json).unwrap(), &map);
        }
    }
}
