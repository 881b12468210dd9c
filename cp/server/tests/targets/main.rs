//! The fuzz target of health checks: its seeds and mutations of them, replayed.

mod bodies;
#[path = "../../../aws/tests/targets/replay.rs"]
mod replay;

/// req: R24
#[test]
fn answer() {
    replay::replay("answer", bodies::run);
}
