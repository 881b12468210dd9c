//! libFuzzer's way into the target `answer`.
#![no_main]

#[path = "../../tests/targets/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::run("answer", data));
