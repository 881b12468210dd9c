//! Seeds that every change has to pass, and that a seed always means the same.

use std::sync::atomic::{AtomicU64, Ordering};

use leat_sim::{Failure, Kind, Options, Segment, Summary, run};

fn shown(failure: &Failure) -> String {
    let Failure { seed, kind, step, breach, events, .. } = failure;
    let profile = if *kind == Kind::Long { " --profile long" } else { "" };
    let (law, what, events) = (breach.law, &breach.what, events.join("\n"));
    format!("{law}: {what}\n{events}\nscripts/simulate --seed {seed}{profile} --steps {} -v", step + 1)
}

/// Runs seeds on as many threads as there are CPUs; sums up what happened.
fn pass(kind: Kind, seeds: u64) -> Vec<Summary> {
    let next = AtomicU64::new(1);
    let work = || {
        let mut segment = Segment::new().expect("a segment");
        let mut summaries = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return summaries;
            }
            match run(&mut segment, Options::new(seed, kind)) {
                Ok(summary) => summaries.push(summary),
                Err(failure) => panic!("{}", shown(&failure)),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>()
    });
    all.into_iter().flat_map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
}

/// The laws of R33 hold in 1,000 runs full of crashes, losses and changes, and everything works at their ends: connections survive,
/// deregistered targets get no new ones, numbers are given back, shifts end when their time is over, also across restarts and jumps of
/// the wall clock.
///
/// req: ZS-08, ZS-11, TGH-10, HC-06, HC-07, HC-15, DRN-03
#[test]
fn a_thousand_dense_seeds_pass() {
    let all = pass(Kind::Dense, 1000);
    let sum = |count: fn(&Summary) -> u64| all.iter().map(count).sum::<u64>();
    // It was worth it.
    assert!(sum(|it| it.flows) > 15_000 && sum(|it| it.answers) > 30_000 && sum(|it| it.changes) > 10_000);
    assert!(sum(|it| it.restarts[0]) > 1_500 && sum(|it| it.restarts[1]) > 1_500, "both processes died");
}

/// The same over weeks.
///
/// req: ZS-08
#[test]
fn long_seeds_pass() {
    let all = pass(Kind::Long, 12);
    let hours: u64 = all.iter().map(|it| it.simulated_ms).sum::<u64>() / 3_600_000;
    assert!(hours > 12 * 20 * 24);
}

#[test]
fn a_seed_always_means_the_same() {
    let mut first = Segment::new().expect("a segment");
    let mut second = Segment::new().expect("a segment");
    // What ran before in a segment leaves nothing behind.
    run(&mut second, Options::new(77, Kind::Dense)).expect("a good seed");
    for seed in 1..=5 {
        let results = [&mut first, &mut second].map(|segment| run(segment, Options::new(seed, Kind::Dense)));
        let [Ok(one), Ok(other)] = results else { panic!("good seeds") };
        assert_eq!(one, other);
    }
    let differ = run(&mut first, Options::new(6, Kind::Dense)).expect("a good seed").digest;
    assert_ne!(differ, run(&mut first, Options::new(7, Kind::Dense)).expect("a good seed").digest);
}
