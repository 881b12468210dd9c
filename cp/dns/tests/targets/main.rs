//! What is no good query gets a defined answer or none, and never more than thrice what was sent (R24, R27). The fuzz target's seeds and
//! mutations of them, replayed, and each change of a seed that has one byte.

mod bodies;
#[path = "../../../aws/tests/targets/replay.rs"]
mod replay;

use proptest::prelude::*;

const TARGET: &str = "query";

/// req: DNS-10, R24
#[test]
fn query() {
    replay::replay(TARGET, bodies::run);
}

/// Each beginning of a query, and each query with one byte that is another one.
///
/// req: DNS-10
#[test]
fn every_prefix_and_every_changed_byte() {
    for seed in replay::seeds(TARGET) {
        for length in 0..=seed.len() {
            bodies::run(TARGET, &seed[..length]);
        }
        for at in 0..seed.len() {
            for byte in 0..=u8::MAX {
                let mut changed = seed.clone();
                changed[at] = byte;
                bodies::run(TARGET, &changed);
            }
        }
    }
}

proptest! {
    /// Any bytes at all, and behind the header of a query.
    ///
    /// req: DNS-10
    #[test]
    fn any_bytes(tail in prop::collection::vec(any::<u8>(), 0..300), counts in any::<[u8; 8]>()) {
        let header = [&[0x12, 0x34, 1, 0], &counts[..]].concat();
        bodies::run(TARGET, &[header, tail.clone()].concat());
        bodies::run(TARGET, &tail);
    }
}
