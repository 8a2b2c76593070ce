//! Billing API, intake and jobs.
