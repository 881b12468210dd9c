//! Seeds of fuzz targets (`fuzz/seeds` of the crate) and mutations of them, replayed. With `LEAT_FUZZ_SECONDS` mutations go on for so long,
//! with `LEAT_FUZZ_INPUT=file` one input is run, if the file's name has the target's in it.

use std::path::Path;
use std::time::{Duration, Instant};

/// Mutations of each seed in an ordinary run.
const MUTATIONS: u64 = 200;

/// Runs a fuzz target's body on all of that.
pub fn replay(target: &str, run: fn(&str, &[u8])) {
    if let Ok(file) = std::env::var("LEAT_FUZZ_INPUT") {
        if file.contains(target) {
            run(target, &std::fs::read(&file).expect("the input"));
        }
        return;
    }
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| run(target, seed));
    let seconds = std::env::var("LEAT_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (begin, mut runs) = (Instant::now(), 0);
    let mut random = Random(1);
    loop {
        let enough = seconds.map_or(runs >= MUTATIONS * seeds.len() as u64, |seconds| begin.elapsed() >= seconds);
        if enough {
            break;
        }
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..1 + random.below(6) {
            mutate(&mut input, &seeds, &mut random);
        }
        run(target, &input);
        runs += 1;
    }
    println!("{target}: {} seeds, {runs} mutations", seeds.len());
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(5) {
        0 => input.insert(at, random.below(256) as u8),
        1 => input.truncate(at),
        2 => {
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[at.min(other.len())..]);
        }
        3 => input.extend_from_slice(&random.next().to_le_bytes()),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// Marsaglia's xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }
}

/// The seeds of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("seeds").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}
