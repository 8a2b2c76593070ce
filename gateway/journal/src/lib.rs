//! Crash-safe hand-over of usage from gateway to billing.
