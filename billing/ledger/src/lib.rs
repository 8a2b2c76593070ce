//! Storage of customers, keys, prices, usage, sessions, invoices and postings.
