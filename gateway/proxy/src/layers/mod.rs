//! One layer per file, in the order of the stack.

pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod authenticate;
pub(crate) mod call;
pub(crate) mod classify;
pub(crate) mod closed;
pub(crate) mod credential;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod retry;
pub(crate) mod route;
pub(crate) mod session;
pub(crate) mod stored;
pub(crate) mod target;
pub(crate) mod token;

/// Bodies above this are read off the threads that serve: below it that takes under a millisecond.
const READ_AT_ONCE_BYTES: usize = 256 * 1024;
