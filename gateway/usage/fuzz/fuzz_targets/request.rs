//! Requests of every family, and the changes that are made to them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use permille_usage_fuzz::{Input, request};

fuzz_target!(|bytes: &[u8]| {
    if let Some(input) = Input::read(bytes) {
        request(&input);
    }
});
