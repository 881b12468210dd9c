//! The fuzz targets' bodies with seeds and mutations of them, by a stable compiler: a test that they hold, and, where there is no
//! libFuzzer, a way to fuzz (`scripts/fuzz targets`; LEAT_FUZZ_SECONDS, for each target).

#[path = "../common/mod.rs"]
mod common;

mod bodies;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bodies::{Body, TARGETS, seeds};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Mutated inputs per target when no time is given.
const MUTATIONS: usize = 300;
/// Bytes of an input at the most.
const INPUT_MAX: usize = 2_000;

fn seeds_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// Runs an input; one that fails is kept in a file.
fn try_input(target: &str, body: Body, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let name = format!("leat-fuzz-{target}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        match std::fs::write(&path, input) {
            Ok(()) => eprintln!("FAILED: {target}. To run it again: LEAT_FUZZ_INPUT={} …", path.display()),
            Err(error) => eprintln!("FAILED: {target}, input {input:02x?} ({error})"),
        }
        resume_unwind(panic);
    }
}

fn fuzz(target: &str) {
    let (_, body) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    if let Some(path) = std::env::var_os("LEAT_FUZZ_INPUT") {
        if path.to_string_lossy().contains(target) {
            body(&std::fs::read(path).expect("an input"));
        }
        return;
    }
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir(seeds_of(target)).expect("seeds") {
        inputs.push(std::fs::read(entry.expect("a seed").path()).expect("a seed"));
    }
    inputs.sort();
    assert!(inputs.len() > 20, "seeds of {target}");
    inputs.iter().for_each(|input| try_input(target, body, input));
    let seconds = std::env::var("LEAT_FUZZ_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let begin = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let mut random = SmallRng::seed_from_u64(if seconds.is_some() { begin } else { 1 });
    let (start, mut count) = (Instant::now(), 0);
    while seconds.map_or(count < MUTATIONS, |seconds| start.elapsed() < Duration::from_secs(seconds)) {
        let input = mutated(&inputs, &mut random);
        try_input(target, body, &input);
        count += 1;
    }
    println!("{target}: {} seeds, {count} mutations", inputs.len());
}

/// Two inputs one after the other, and some bytes changed.
fn mutated(inputs: &[Vec<u8>], random: &mut SmallRng) -> Vec<u8> {
    let mut input = inputs[random.random_range(0..inputs.len())].clone();
    while random.random_ratio(2, 3) && input.len() < INPUT_MAX {
        input.extend(&inputs[random.random_range(0..inputs.len())]);
    }
    for _ in 0..random.random_range(0..8) {
        if input.is_empty() {
            break;
        }
        let at = random.random_range(0..input.len());
        match random.random_range(0..4) {
            0 => input[at] ^= 1 << random.random_range(0..8),
            1 => input[at] = random.random(),
            2 => input.insert(at, random.random()),
            _ => drop(input.remove(at)),
        }
    }
    input.truncate(INPUT_MAX);
    input
}

/// req: R16
#[test]
fn parse() {
    fuzz("parse");
}

/// req: R16, S10.3, S10.4
#[test]
fn fragments() {
    fuzz("fragments");
}

/// req: R16
#[test]
fn icmp() {
    fuzz("icmp");
}

/// req: R16
#[test]
fn proxy() {
    fuzz("proxy");
}

/// req: R16
#[test]
fn translation() {
    fuzz("translation");
}

/// The seeds that are kept are those that the program makes, with whatever the pipeline's packets look like today. `LEAT_WRITE_SEEDS=1` writes
/// them anew.
#[test]
fn seeds_are_what_is_made() {
    for (target, _) in TARGETS {
        let directory = seeds_of(target);
        for (name, bytes) in seeds::of(target) {
            let path = directory.join(name);
            if std::env::var_os("LEAT_WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(&directory).expect("a directory");
                std::fs::write(path, bytes).expect("a seed");
            } else {
                let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert!(kept == bytes, "{} is old: write the seeds with LEAT_WRITE_SEEDS=1", path.display());
            }
        }
    }
}
