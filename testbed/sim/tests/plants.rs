//! Every fault that can be planted is found soon, by the law that is meant to find it.

use clap::ValueEnum;
use leat_sim::{Kind, Options, Plant, Segment, run};

/// Seeds in which a fault must show once at least.
const SEEDS: u64 = 30;

#[test]
fn every_planted_fault_is_found() {
    let mut segment = Segment::new().expect("a segment");
    for plant in Plant::value_variants() {
        let found = (1..=SEEDS).find_map(|seed| {
            let options = Options { plant: Some(*plant), ..Options::new(seed, Kind::Dense) };
            run(&mut segment, options).err()
        });
        let Some(failure) = found else { panic!("{plant:?} was not found in {SEEDS} seeds") };
        assert_eq!(failure.breach.law, plant.found_by(), "{plant:?}, seed {}: {}", failure.seed, failure.breach.what);
        // The message has all that is needed to see it again.
        assert!(failure.step > 0 && !failure.events.is_empty());
        // What is found when all has settled is found after the last event.
        let steps = failure.step + 1;
        let again = Options { plant: Some(*plant), steps, ..Options::new(failure.seed, Kind::Dense) };
        let again = run(&mut segment, again).expect_err("the same fault");
        assert_eq!((again.step, again.breach), (failure.step, failure.breach));
    }
}
