//! libFuzzer's way into the target `fragments`.
#![no_main]

#[path = "../../tests/targets/bodies/mod.rs"]
mod bodies;
#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("fragments", data));
