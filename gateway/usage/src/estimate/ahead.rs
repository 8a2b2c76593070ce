//! The text of a long reply, counted piece by piece while the rest still comes.

use super::{Counter, Tally};
use crate::text::DeliveredText;

/// A piece of a reply's text: what had come since the piece before.
#[derive(Debug, Default)]
pub struct Piecemeal {
    visible: String,
    reasoning: String,
}

impl Piecemeal {
    pub(crate) fn take(text: &mut DeliveredText) -> Self {
        Self { visible: text.visible.take(), reasoning: text.reasoning.take() }
    }
}

/// What has been counted of a reply's text before its end.
///
/// The event loop gives it pieces and another thread counts them; whoever settles the reply counts
/// what is left. Holds one piece at most.
#[derive(Debug)]
pub struct Ahead {
    counter: Counter,
    waiting: Option<Piecemeal>,
    visible: Tally,
    reasoning: Tally,
}

impl Ahead {
    /// Nothing yet, of a reply of `model`.
    #[must_use]
    pub fn of(model: &str) -> Self {
        Self {
            counter: Counter::of(model),
            waiting: None,
            visible: Tally::default(),
            reasoning: Tally::default(),
        }
    }

    /// Whether the last piece has been counted, so that there is room for the next one.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.waiting.is_none()
    }

    /// Leaves a piece to be counted.
    pub fn put(&mut self, piece: Piecemeal) {
        self.waiting = Some(piece);
    }

    /// Counts what waits, in a few milliseconds: no work for an event loop.
    pub fn count(&mut self) {
        let Some(Piecemeal { visible, reasoning }) = self.waiting.take() else { return };
        self.visible = self.visible.and(self.counter.tally(&visible));
        self.reasoning = self.reasoning.and(self.counter.tally(&reasoning));
    }

    /// What was counted of the visible text and of reasoning.
    pub(crate) fn tallies(&self) -> (Tally, Tally) {
        (self.visible, self.reasoning)
    }
}
