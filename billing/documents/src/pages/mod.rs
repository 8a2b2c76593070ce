//! What the pages of a document say, in words and in order: the same for HTML and PDF.

mod charges;
pub(crate) mod html;
mod view;

pub(crate) use view::{SessionLine, View};
