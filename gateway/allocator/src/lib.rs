//! The allocator of a program that names this crate.
//!
//! What Rust calls for each allocation is compiled in the crate that chooses the allocator: the
//! release profile optimises this one, and not the program.

/// Every request allocates some fifty small pieces, and some are given back on another thread than
/// the one that took them: the system's allocator takes a tenth of a request's time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
