//! The fuzz targets: their seeds and mutations of them, replayed.
#![allow(dead_code, reason = "other users need the rest")]

mod bodies;
mod replay;
mod signer;

/// req: R26
#[test]
fn form() {
    replay::replay("form", bodies::run);
}

/// req: R26
#[test]
fn signature() {
    replay::replay("signature", bodies::run);
}
