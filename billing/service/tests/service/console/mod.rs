//! The console's pages: who gets them, what they say, and what they must never do.

mod access;
mod browser;
mod figures;
mod safety;
