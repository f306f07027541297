//! Runs the target named in `FUZZ_TARGET` on inputs that libFuzzer generates.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<String> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| std::env::var("FUZZ_TARGET").unwrap_or_default());
    _core::fuzzing::run(target, bytes);
});
