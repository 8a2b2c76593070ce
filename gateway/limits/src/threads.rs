//! What threads share memory through. `tests/loom` compiles the sources that use it over loom's.

pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

pub(crate) use parking_lot::{Mutex, RwLock};
