//! The tower stack between clients and model APIs.

pub mod config;
