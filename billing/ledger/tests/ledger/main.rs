//! The ledger on real stores, through its public interface.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

pub(crate) mod archives;
mod billed_costs;
mod catalogue;
mod charges;
mod closing;
mod concurrency;
mod credit_notes;
pub(crate) mod database;
mod disputes;
mod drafts;
mod dropping;
pub(crate) mod evidence;
mod extremes;
mod files;
mod grants;
mod intake;
mod invoice_postings;
mod invoices;
mod keys_and_tokens;
mod late_usage;
mod life;
mod life_walk;
mod limits;
mod listing;
mod margins;
mod migrating;
mod payments;
mod plans;
mod postings;
mod prices;
mod races;
mod reconciliations;
mod records;
pub(crate) mod reopening;
mod rollups;
mod sessions;
mod signed_over;
mod simulations;
mod stored_responses;
mod summaries;
mod sums;
pub(crate) mod support;
mod terms;
mod verified_terms;
mod webhooks;
