//! Pure: what an invoice or a credit note says, written in the forms that people and programs take.
//!
//! | form | for whom |
//! |---|---|
//! | PDF, HTML | whoever pays and whoever checks it |
//! | CSV | a spreadsheet: the lines, or the shares of sessions or requests in them |
//! | FOCUS | tools for cost of the cloud |
//! | UBL by EN 16931 | the buyer's accounting, in Europe |
//! | hledger, Beancount | the seller's own plain-text accounting |
//! | PDF of a [`Statement`] | whoever signs a report that is no invoice |
//! | JSON | `permille verify`: the issued text itself |
//!
//! A [`Document`] and the [`Request`]s behind it go in, bytes come out. Every amount is one of the
//! document's or a share of one, and shares add up to it. Nothing here knows a database, a file or
//! a clock: the same document gives the same bytes.
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

mod detail;
mod document;
mod error;
mod export;
pub mod focus;
mod format;
mod issuer;
mod journal;
mod lines;
mod pages;
mod pdf;
mod statement;
mod table;
mod text;
mod ubl;
mod words;

pub use detail::Request;
pub use document::{
    BilledBefore, BilledPeriod, Buyer, Document, IssuedText, Kind, Line, LineUsage, ProjectAmount,
    Records, RequestCounts, Standing, Status,
};
pub use error::DocumentError;
pub use export::{Export, Exporter};
pub use format::{Format, Grain, Language, UnknownName};
pub use issuer::{Issuer, Logo, LogoKind};
pub use pdf::{FontFile, Fonts};
pub use statement::{Statement, StatementSection, StatementSignature};
