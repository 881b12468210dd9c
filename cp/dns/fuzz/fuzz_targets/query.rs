//! libFuzzer's way into the target `query`.
#![no_main]

#[path = "../../tests/targets/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("query", data));
