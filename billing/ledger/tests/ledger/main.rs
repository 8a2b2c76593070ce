//! The ledger on real files, through its public interface.

mod intake;
mod support;
