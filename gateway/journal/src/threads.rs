//! What threads share memory through. `tests/loom` compiles the sources that use it over loom's.

pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
