//! A bounded map that forgets what was not used for longest, roughly: two generations, of which
//! the older is dropped whole when the younger is full. Constant time, no list to keep.

use std::{collections::HashMap, hash::Hash, mem};

/// See the module.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Hash + Eq + Copy, V: Copy> Recent<K, V> {
    /// A map of at most `entries_max` entries; the last half of them is always kept.
    pub(crate) fn new(entries_max: usize) -> Self {
        let generation_max = entries_max.div_ceil(2).max(1);
        Self { young: HashMap::new(), old: HashMap::new(), generation_max }
    }

    /// The value of `key`; using it keeps it.
    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(*value);
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value);
        Some(value)
    }

    /// Sets the value of `key`.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let mut recent = Recent::new(10);
        for key in 0..1_000 {
            recent.insert(key, key);
            assert_eq!(recent.get(0), Some(0), "used every time, so kept");
        }

        assert!(recent.young.len() + recent.old.len() <= 10);
        assert_eq!(recent.get(500), None);
        assert_eq!(recent.get(999), Some(999));
    }
}
