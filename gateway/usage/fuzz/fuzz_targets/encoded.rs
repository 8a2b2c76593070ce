//! Encoded replies, and bytes that only pretend to be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use permille_usage_fuzz::{Input, encoded};

fuzz_target!(|bytes: &[u8]| {
    if let Some(input) = Input::read(bytes) {
        encoded(&input);
    }
});
