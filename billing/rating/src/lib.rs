//! Pure rating: usage and prices in, exact cost and invoice arithmetic out.
//!
//! For every consumer of money in Permille: the gateway asks whether a model has a price, the
//! ledger prices each settled event, the invoice sums them, `permille verify` does it all again.
//! Nothing here reads a file, a clock or a network, and nothing is a float.
//!
//! | module | answers |
//! |---|---|
//! | [`price_book`] | which price holds for this model, currency and instant |
//! | [`rate`] | what did this event cost, exactly |
//! | [`facts`] | what of that cost is hidden: sent before, made again, failed, not cached |
//! | [`exact`] | what is a sum or a product, to its last digit |
//! | [`round`] | how does an exact amount become one that can be paid |
//! | [`allocate`] | how is a rounded amount divided so that the parts add up to it |
//! | [`charge`] | what does a quantity cost over a period: packages, tiers, minimums |
//! | [`plan`] | what does a customer owe beside usage: fees, allowances, commitments, trials |
//! | [`grant`] | which prepaid credit pays what, in which order |
//! | [`balance`] | how far prepaid credit goes before an invoice draws it |
//! | [`prorate`] | what share of an amount does a part of a month bear |
//! | [`period`] | where do months and hours begin in a customer's time zone |
//! | [`import`] | what a price list of somebody else says, and what it would change |
//! | [`invoice`] | which lines and which total follow from summed quantities |
//! | [`proof`] | how a customer sees that a request is on an invoice, and no other |
//! | [`provider`] | what do providers take, for every call that was made |
//! | [`fx`] | what was a currency worth in another one on a day |
//! | [`verify`] | does an invoice follow from its records and prices, byte for byte |
//!
//! It is not the place where anything is stored, posted or paid: that is the ledger.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::float_arithmetic)]

pub mod allocate;
pub mod balance;
mod band;
pub mod charge;
pub mod exact;
pub mod facts;
mod fields;
pub mod fx;
pub mod grant;
pub mod import;
pub mod invoice;
mod meter;
pub mod period;
pub mod plan;
pub mod price_book;
pub mod proof;
pub mod prorate;
pub mod provider;
pub mod rate;
pub mod round;
pub mod verify;
mod written;

pub use fields::FieldError;
pub use meter::{Meter, Term};
