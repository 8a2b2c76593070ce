//! Whole JSON replies of every family.
#![no_main]

use libfuzzer_sys::fuzz_target;
use permille_usage::Framing;
use permille_usage_fuzz::{Input, reply};

fuzz_target!(|bytes: &[u8]| {
    if let Some(input) = Input::read(bytes) {
        reply(&input, Framing::Json);
    }
});
