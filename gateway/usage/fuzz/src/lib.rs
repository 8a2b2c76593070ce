//! What must hold of the parsers whatever comes: the fuzz targets differ in what they read.
//!
//! An input is a header of [`HEADER_BYTES`] bytes, which chooses what is asked and how the body is
//! split, and the body.

mod input;
mod reply;
mod request;

pub use input::{HEADER_BYTES, Input};
pub use reply::{encoded, reply};
pub use request::request;
