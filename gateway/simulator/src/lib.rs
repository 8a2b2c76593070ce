//! A model provider to try things against: real HTTP, its own books, faults on demand.
