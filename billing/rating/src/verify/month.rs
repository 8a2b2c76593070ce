//! The records of one month, counted.

use std::collections::BTreeMap;

use permille_types::{Flag, ModelName, PriceVersion, ProjectId, Source, UsageEvent};

use super::{Entry, VerifyError};
use crate::{
    Meter,
    invoice::{InvoiceError, UsageSum},
    proof::{Hash, Tree},
};

/// How many requests, and how many of them are not as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them.
    pub requests: u64,
    /// Held for want of a price.
    pub unpriced: u64,
    /// Whose counts were estimated, in whole or in part.
    pub estimated: u64,
    /// Served by the built-in simulated provider.
    pub simulated: u64,
}

/// What one record adds to a line.
pub(super) struct Line {
    pub(super) meter: Meter,
    pub(super) price_version: PriceVersion,
    pub(super) band: u32,
    pub(super) quantity: u64,
}

type Key = (ProjectId, ModelName, Meter, PriceVersion, u32);

#[derive(Debug, Clone, Default)]
struct Quantities {
    sums: BTreeMap<Key, u64>,
    /// What of them no provider reported.
    estimated: u64,
}

/// A part of a month.
#[derive(Debug, Clone, Default)]
struct Part {
    billed: Quantities,
    /// What the simulated provider served.
    simulated: Quantities,
}

/// A month of records.
#[derive(Debug, Clone, Default)]
pub struct CountedMonth {
    counts: Counts,
    /// By place; one unless the month is cut.
    parts: BTreeMap<usize, Part>,
    leaves: BTreeMap<u64, Hash>,
}

impl CountedMonth {
    /// How many requests there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tokens and units that no provider reported; with those of the simulated provider if
    /// `simulated`.
    #[must_use]
    pub fn estimated_quantity(&self, simulated: bool) -> u64 {
        let of = |part: &Part| {
            let more = if simulated { part.simulated.estimated } else { 0 };
            part.billed.estimated.saturating_add(more)
        };
        self.parts.values().map(of).fold(0, u64::saturating_add)
    }

    /// The quantities of the part at `place`, the first is 0; with those of the simulated
    /// provider if `simulated`.
    #[must_use]
    pub fn sums(&self, place: usize, simulated: bool) -> Vec<UsageSum> {
        let Some(part) = self.parts.get(&place) else { return Vec::new() };
        let more = part.simulated.sums.iter().filter(|_| simulated);
        let sums = part.billed.sums.iter().chain(more);
        sums.map(|((project, model, meter, price_version, band), quantity)| UsageSum {
            project: project.clone(),
            model: model.clone(),
            meter: meter.clone(),
            price_version: price_version.clone(),
            band: *band,
            quantity: *quantity,
        })
        .collect()
    }

    /// The hashes of the records in the order of their places; absent while one is missing.
    #[must_use]
    pub fn leaves(&self) -> Option<Vec<Hash>> {
        let in_place = (0_u64..).zip(self.leaves.keys()).all(|(place, index)| place == *index);
        in_place.then(|| self.leaves.values().copied().collect())
    }

    /// The root over all records; absent while one is missing.
    #[must_use]
    pub fn root(&self) -> Option<Hash> {
        let mut tree = Tree::default();
        self.leaves()?.into_iter().for_each(|leaf| tree.push(leaf));
        Some(tree.root())
    }

    pub(super) fn count(
        &mut self,
        (label, place): (&str, usize),
        entry: &Entry,
        event: &UsageEvent,
        lines: Vec<Line>,
    ) -> Result<(), VerifyError> {
        let leaf = Hash::of_leaf(entry.record.get().as_bytes());
        if self.leaves.insert(entry.index, leaf).is_some() {
            return Err(VerifyError::PlaceTaken { month: label.to_owned(), index: entry.index });
        }
        let simulated = event.flags.contains(&Flag::Simulated);
        let estimated = matches!(event.source, Source::Estimated | Source::Partial);
        let add = |sum: &mut u64, more: bool| *sum = sum.saturating_add(more.into());
        add(&mut self.counts.requests, true);
        add(&mut self.counts.unpriced, entry.held);
        add(&mut self.counts.estimated, estimated);
        add(&mut self.counts.simulated, simulated);
        let part = self.parts.entry(place).or_default();
        let quantities = if simulated { &mut part.simulated } else { &mut part.billed };
        for line in lines {
            let overflow = || {
                VerifyError::Sum(InvoiceError::QuantityOverflow {
                    model: event.model().clone(),
                    meter: line.meter.clone(),
                })
            };
            let key = (
                event.project.clone(),
                event.model().clone(),
                line.meter.clone(),
                line.price_version.clone(),
                line.band,
            );
            let sum = quantities.sums.entry(key).or_default();
            *sum = sum.checked_add(line.quantity).ok_or_else(overflow)?;
            if estimated {
                let sum = quantities.estimated.checked_add(line.quantity);
                quantities.estimated = sum.ok_or_else(overflow)?;
            }
        }
        Ok(())
    }
}
