//! What threads share memory through. `tests/loom` compiles the sources that use it over loom's.

pub(crate) use parking_lot::Mutex;
