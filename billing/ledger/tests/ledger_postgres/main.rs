//! The whole suite of the ledger once more, on a real `PostgreSQL`, and what only that can show.
//! `database` asks for the name of this binary.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod days;
#[path = "../ledger/main.rs"]
mod ledger;
mod several;
mod shared;

use ledger::{archives, balances, database, evidence, interims, margins, reopening, support};
