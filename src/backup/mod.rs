//! A backup of a data folder: a folder with a copy of everything that cannot be made anew, and a
//! manifest that names each file with its digest.
//!
//! What was settled when a backup begins is in it. The order makes that so: segments of the journal
//! are held first, so that none can leave, then the ledger is copied, then the segments. What the
//! ledger lacks is in a segment, and no segment ends before what the ledger says it has taken.
//!
//! Not part of it: files of credentials and fonts that the configuration names, and a store in a
//! database, which its server backs up.

mod make;
mod manifest;
mod restore;

pub(crate) use make::make;
pub(crate) use manifest::Manifest;
pub(crate) use restore::restore;
