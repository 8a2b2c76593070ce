//! Rates and concurrency, held until a reply has ended.
