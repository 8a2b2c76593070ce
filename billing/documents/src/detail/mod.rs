//! What is behind the lines: the requests that an invoice bills, and their shares in its amounts.
//!
//! An invoice keeps quantities, not requests. A line is broken down where the requests that are
//! there make up its quantity to the last token; else (late usage has come for its month since, or
//! the line itself bills late usage) it stands for itself in one row, so that every breakdown adds
//! up to the invoice.

mod apportion;
mod sessions;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use permille_rating::{Meter, invoice::UsageSum};
use permille_types::{
    Ended, ModelName, PriceVersion, ProjectId, RequestId, SessionId, Source, TurnKind,
};

pub(crate) use apportion::Apportion;
pub(crate) use sessions::{Part, PartsOfSession, SessionSum, SessionTable, SessionTally};

use crate::{Document, DocumentError, Line};

/// A request that has a price, as a breakdown takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// When it was admitted.
    pub at: DateTime<Utc>,
    /// The conversation.
    pub session: SessionId,
    /// Turn inside the session, from 1.
    pub turn: u32,
    /// How the turn came about, where that is known.
    pub turn_kind: Option<TurnKind>,
    /// The cost centre.
    pub project: ProjectId,
    /// The model as lines name it.
    pub model: ModelName,
    /// The price that rated it.
    pub price_version: PriceVersion,
    /// Its band.
    pub band: u32,
    /// Tokens and units that it consumed.
    pub quantities: Vec<(Meter, u64)>,
    /// Input tokens, where they are known.
    pub input_tokens: Option<u64>,
    /// Those of them that the session had sent or received before; an estimate.
    pub resent_tokens: Option<u64>,
    /// How it ended.
    pub ended: Ended,
    /// Where its counts come from.
    pub source: Source,
}

/// What quantities are billed by.
type Key = (ProjectId, ModelName, PriceVersion, u32, Meter);

/// Which lines are broken down, and what belongs to which.
#[derive(Debug)]
pub(crate) struct Breakdown {
    /// Places of lines in the document.
    lines: HashMap<Key, usize>,
    whole: Vec<bool>,
}

impl Breakdown {
    /// `sums` are all quantities of the document's month that have a price.
    pub(crate) fn new(document: &Document, sums: &[UsageSum]) -> Self {
        let used: HashMap<Key, u64> = sums
            .iter()
            .map(|sum| {
                let UsageSum { project, model, meter, price_version, band, quantity } = sum.clone();
                ((project, model, price_version, band, meter), quantity)
            })
            .collect();
        let mut lines = HashMap::new();
        let mut whole = Vec::with_capacity(document.lines.len());
        for (place, line) in document.lines.iter().enumerate() {
            let key = own_key(line);
            let quantity = line.usage.as_ref().map(|usage| usage.quantity);
            match key.filter(|key| used.get(key).copied() == quantity) {
                Some(key) => {
                    lines.insert(key, place);
                    whole.push(false);
                }
                None => whole.push(true),
            }
        }
        Self { lines, whole }
    }

    /// Whether the line at `place` stands for itself.
    pub(crate) fn is_whole(&self, place: usize) -> bool {
        self.whole.get(place).copied().unwrap_or(true)
    }

    /// The place of each line that bills something of `request`, with how much.
    pub(crate) fn shares<'b>(
        &'b self,
        request: &'b Request,
    ) -> impl Iterator<Item = (usize, u64)> + 'b {
        request.quantities.iter().filter(|(_, quantity)| *quantity > 0).filter_map(
            move |(meter, quantity)| {
                let key = (
                    request.project.clone(),
                    request.model.clone(),
                    request.price_version.clone(),
                    request.band,
                    meter.clone(),
                );
                self.lines.get(&key).map(|place| (*place, *quantity))
            },
        )
    }
}

/// What a line of the document's own month bills by; nothing where it follows from no quantity.
fn own_key(line: &Line) -> Option<Key> {
    let usage = line.usage.as_ref().filter(|_| line.corrects.is_none())?;
    Some((
        line.project.clone(),
        line.model.clone(),
        usage.price_version.clone(),
        usage.band,
        line.meter.clone(),
    ))
}

/// Says which document an error is about.
pub(crate) fn named<T, E>(
    document: &Document,
    result: Result<T, E>,
    error: impl FnOnce(String, E) -> DocumentError,
) -> Result<T, DocumentError> {
    result.map_err(|cause| error(document.shown_number().to_owned(), cause))
}
