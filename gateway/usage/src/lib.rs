//! Bytes of a provider's reply in, token counts out.
//!
//! Pure: no input or output, no async, no clock. [`Tap`] sits beside the reply's bytes, hands them
//! on unchanged and reads them on the way; [`count()`] turns what it read into billable quantities
//! and says where they come from; [`Audit`] counts again what was reported; [`request`] is the same
//! for the request's body.
//!
//! Not here: what a token costs, who pays, when bytes are sent. A new wire family is one new file
//! in `family/` and one arm in `family/mod.rs`.

mod audit;
mod count;
mod decode;
mod description;
mod document;
mod elements;
mod estimate;
mod event;
mod family;
mod from_json;
mod lenient;
mod parts;
mod raw_text;
mod reader;
mod reading;
mod repair;
pub mod request;
mod skim;
mod sse;
mod tap;
mod text;

pub use audit::{Audit, Compared};
pub use count::{Counted, Estimator, count};
pub use description::{ApiDescription, Pointer};
pub use estimate::{Ahead, Corrections, Piecemeal, estimate_input};
pub use parts::Usage;
pub use reading::Reading;
pub use tap::{Encoding, Framing, Piece, Tap, TapConfig};
pub use text::{DeliveredText, Stop, TextSample};
