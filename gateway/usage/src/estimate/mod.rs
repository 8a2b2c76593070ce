//! Token counts of text, for replies whose provider reports none, and to check those that do.
//!
//! An estimate, and flagged as one, with a bound on its error: by the model's own vocabulary where
//! that may ship, else by one that stands in, corrected by what replies that report have taught
//! ([`Corrections`]). See `docs/metering.md`, "Estimation and audit".

mod ahead;
mod corrections;
mod input;
mod script;
mod tally;
mod vocabulary;

use permille_types::{Endpoint, TokenCount};

pub(crate) use corrections::{Correction, Direction};
pub(crate) use input::Request;
pub(crate) use tally::{Estimate, Tally};
pub(crate) use vocabulary::Counter;

pub use ahead::{Ahead, Piecemeal};
pub use corrections::Corrections;

/// Input tokens of a request, counted here. Costs a few milliseconds at most: text beyond 64 KiB
/// is extrapolated.
#[must_use]
pub fn estimate_input(endpoint: Endpoint, body: &[u8]) -> TokenCount {
    let request = Request::read(endpoint, body);
    let counter = Counter::of(request.model().unwrap_or_default());
    request.estimate(counter, &Correction::default().input).tokens
}
