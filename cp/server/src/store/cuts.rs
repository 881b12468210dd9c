//! Power is lost at any moment, sectors are torn, lost or written out of order, syncs fail, bits flip: what a store then holds.
//!
//! A short form runs with the other tests; `scripts/campaign --only store` runs the long one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::faulty::{Content, Event, FaultyDisk, Which};
use super::{Store, StoreError};

type Records = BTreeMap<String, Vec<u8>>;

/// What a store may hold from a moment on: one of these.
struct Promise {
    /// So much had been done to the disk.
    since: usize,
    allowed: Vec<Records>,
}

/// A disk to which a random script was done, and what was promised meanwhile.
struct Story {
    log: Vec<Event>,
    promises: Vec<Promise>,
    /// The file in the end, and, if it was closed, before that.
    ends: Vec<Content>,
}

/// A script of commits, of which some fail, and of what the server does then: everything anew.
fn story(seed: u64) -> Story {
    let mut random = SmallRng::seed_from_u64(seed);
    let disk = FaultyDisk::default();
    drop(disk.store().expect("a new store"));
    let begin = disk.content();
    disk.keep_log();
    let mut log = vec![Event::Write(Which::File, 0, bytes(&begin)), Event::Sync(Which::File)];
    let before = log.len();
    let mut store = disk.store().expect("the store");
    let mut content = Records::new();
    let mut promises = vec![Promise { since: 0, allowed: vec![Records::new()] }];
    for _ in 0..random.random_range(4..24) {
        let changes: Vec<(String, Option<Vec<u8>>)> = (0..random.random_range(1..5))
            .map(|_| {
                let value = random.random_bool(0.8).then(|| {
                    let length = *[9, 300, 3000, 9000].get(random.random_range(0..4)).expect("one of them");
                    vec![random.random(); length]
                });
                (format!("record/{}", random.random_range(0..12)), value)
            })
            .collect();
        let mut next = content.clone();
        for (key, value) in &changes {
            match value {
                Some(value) => drop(next.insert(key.clone(), value.clone())),
                None => drop(next.remove(key)),
            }
        }
        let moment = || before + disk.log_length();
        promises.push(Promise { since: moment(), allowed: vec![content.clone(), next.clone()] });
        disk.fail_after(random.random_bool(0.2).then(|| random.random_range(0..24)));
        let result = store.commit(&changes);
        if result.is_err() {
            disk.fail_after(random.random_bool(0.3).then(|| random.random_range(0..24)));
            let all: Vec<_> = content.clone().into_iter().collect();
            while store.replace(&all).is_err() {
                disk.fail_after(None);
            }
        } else {
            content = next;
        }
        disk.fail_after(None);
        promises.push(Promise { since: moment(), allowed: vec![content.clone()] });
    }
    let open = disk.content();
    drop(store);
    log.extend(disk.take_log());
    Story { log, promises, ends: vec![open, disk.content()] }
}

fn bytes(content: &Content) -> Vec<u8> {
    let mut bytes = vec![0; content.len()];
    content.read(0, &mut bytes);
    bytes
}

/// A file on the disk: what is safe, and what was written since.
#[derive(Clone, Default)]
struct OnDisk {
    safe: Content,
    pending: Vec<(usize, Vec<u8>)>,
    /// The lengths that it has got since.
    lengths: Vec<usize>,
}

impl OnDisk {
    /// Its length as the process sees it.
    fn length(&self) -> usize {
        self.lengths.last().map_or(self.safe.len(), |length| *length)
    }

    fn write(&mut self, offset: usize, data: Vec<u8>) {
        if offset + data.len() > self.length() {
            self.lengths.push(offset + data.len());
        }
        self.pending.push((offset, data));
    }

    /// All that was written becomes safe.
    fn sync(&mut self) {
        let length = self.length();
        for (offset, data) in self.pending.drain(..) {
            let data = &data[..data.len().min(length.saturating_sub(offset))];
            self.safe.write(offset, data);
        }
        self.safe.resize(length);
        self.safe = self.safe.flat();
        self.lengths.clear();
    }

    /// The file after power was lost: some sectors of what was pending are there, some half.
    fn after_cut(&self, random: &mut SmallRng) -> Content {
        let mut content = self.safe.clone();
        // A file system's journal keeps lengths in order, but the last of them may be lost, whatever else was written.
        let kept = if random.random() { self.lengths.len() } else { random.random_range(0..=self.lengths.len()) };
        let length = kept.checked_sub(1).map_or(content.len(), |last| self.lengths[last]);
        content.resize(length);
        let sector = if random.random() { 512 } else { 4096 };
        // Many patterns: nothing, all, each with some probability, the first ones.
        let chance = [0.0, 1.0, 0.5, 0.05, 0.95][random.random_range(0..5)];
        let end =
            if random.random_bool(0.3) { random.random_range(0..=self.pending.len()) } else { self.pending.len() };
        let torn = random.random_bool(0.3);
        for (offset, data) in &self.pending[..end] {
            let mut at = 0;
            while at < data.len() {
                let mut count = (sector - (offset + at) % sector).min(data.len() - at);
                let next = at + count;
                if random.random_bool(chance) {
                    let mut from = at;
                    if torn && random.random_bool(0.1) {
                        let cut = random.random_range(0..=count);
                        if random.random() {
                            count = cut;
                        } else {
                            (from, count) = (at + cut, count - cut);
                        }
                    }
                    // What is beyond the end was cut off by a later change of the length, or the file never got so long.
                    if offset + from + count <= length {
                        content.write(offset + from, &data[from..from + count]);
                    }
                }
                at = next;
            }
        }
        content
    }
}

impl Story {
    fn allowed(&self, moment: usize) -> &[Records] {
        let last = self.promises.iter().rev().find(|promise| promise.since <= moment);
        last.map_or(&[], |promise| &promise.allowed)
    }

    /// Cuts after every event, so often; calls `check` with the file that is left and what it may hold.
    fn cut(&self, random: &mut SmallRng, often: usize, mut check: impl FnMut(usize, Content, &[Records])) {
        let mut files: [OnDisk; 2] = Default::default();
        for (at, event) in self.log.iter().enumerate() {
            match event {
                Event::Write(which, offset, data) => files[*which as usize].write(*offset, data.clone()),
                Event::Resize(which, length) => files[*which as usize].lengths.push(*length),
                Event::Sync(which) => files[*which as usize].sync(),
                Event::FailedSync(which) => {
                    let file = &mut files[*which as usize];
                    *file = OnDisk { safe: file.after_cut(random).flat(), ..OnDisk::default() };
                }
                Event::Install => {
                    // Until the directory is synced, the old file may come back.
                    check(at, files[0].after_cut(random), self.allowed(at));
                    files[0] = std::mem::take(&mut files[1]);
                }
            }
            if at >= 1 {
                for _ in 0..often {
                    check(at, files[0].after_cut(random), self.allowed(at + 1));
                }
            }
        }
    }
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It was opened, and holds what it may hold.
    Kept,
    /// It was refused, and this was said.
    Refused(String),
    /// redb panicked: a process of its own has to find that out first (`rehearse.rs`), and then it is refused.
    Panicked,
}

/// Opens a file and compares.
fn end(content: Content, allowed: &[Records]) -> Result<End, String> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut store = FaultyDisk::with(content).store()?;
        let records = store.load()?;
        // It must not only be read.
        store.commit(&[("after".into(), Some(vec![1]))])?;
        Ok(records)
    }));
    match opened {
        Ok(Ok(records)) => {
            let records: Records = records.into_iter().collect();
            if allowed.contains(&records) {
                return Ok(End::Kept);
            }
            let short = |records: &Records| -> Vec<String> {
                records.iter().map(|(key, value)| format!("{key}:{}x{:?}", value.len(), value.first())).collect()
            };
            let allowed: Vec<_> = allowed.iter().map(short).collect();
            Err(format!("silently it holds {:?}, not {allowed:?}", short(&records)))
        }
        Ok(Err(StoreError::Damaged { why, .. })) if !why.is_empty() && why != "()" => Ok(End::Refused(why)),
        Ok(Err(error)) => Err(format!("refused for another reason: {error}")),
        Err(_) => Ok(End::Panicked),
    }
}

/// Keeps a file for whoever wants to look into it; where.
fn keep(content: &Content, seed: u64) -> String {
    let path = std::env::temp_dir().join(format!("leat-store-{seed}.redb"));
    let written = std::fs::write(&path, bytes(content));
    written.map_or_else(|error| format!("the file is lost: {error}"), |()| format!("the file: {}", path.display()))
}

/// How much a run did.
#[derive(Debug, Default)]
struct Count {
    cuts: AtomicU64,
    flips: AtomicU64,
    refused: AtomicU64,
    panicked: AtomicU64,
    /// A promise was not kept: everybody stops.
    broken: AtomicBool,
}

/// Stories with these seeds, until there are so many cuts and flips.
fn run(seeds: impl Iterator<Item = u64>, count: &Count, cuts: u64, flips: u64) -> Result<(), String> {
    let often = usize::try_from(cuts / 10_000).unwrap_or(1).clamp(1, 20);
    for seed in seeds {
        let more_cuts = count.cuts.load(Ordering::Relaxed) < cuts;
        let more_flips = count.flips.load(Ordering::Relaxed) < flips;
        if !more_cuts && !more_flips || count.broken.load(Ordering::Relaxed) {
            return Ok(());
        }
        let story = story(seed);
        let mut result = Ok(());
        if more_cuts {
            result = cut(&story, seed, often, count);
        }
        if more_flips && result.is_ok() {
            result = flip(&story, seed, count);
        }
        result.map_err(|why| {
            count.broken.store(true, Ordering::Relaxed);
            format!("{why}; to see it again, run a_million_cuts with LEAT_SEED={seed} LEAT_CUTS={cuts}")
        })?;
    }
    Ok(())
}

/// Power is lost after each of a story's events, so often.
fn cut(story: &Story, seed: u64, often: usize, count: &Count) -> Result<(), String> {
    let mut result = Ok(());
    story.cut(&mut SmallRng::seed_from_u64(!seed), often, |at, content, allowed| {
        count.cuts.fetch_add(1, Ordering::Relaxed);
        // Power loss must never lead to anything else.
        let wrong = match end(content.clone(), allowed) {
            Ok(End::Kept) => return,
            Ok(End::Refused(why)) => format!("refused: {why}"),
            Ok(End::Panicked) => "redb panicked".into(),
            Err(why) => why,
        };
        if result.is_ok() {
            result = Err(format!("seed {seed}: a cut after event {at}: {wrong}; {}", keep(&content, seed)));
        }
    });
    result
}

/// Bits flip in the files with which a story ends.
fn flip(story: &Story, seed: u64, count: &Count) -> Result<(), String> {
    let last = story.promises.last().map_or(&[][..], |promise| &promise.allowed);
    let mut random = SmallRng::seed_from_u64(!seed);
    for file in &story.ends {
        // All bits of the header once in a while, and any of the file.
        let header = if seed.is_multiple_of(16) { 0..320 * 8 } else { 0..0 };
        let some = (0..500).map(|_| random.random_range(0..file.len() * 8));
        for bit in header.chain(some) {
            let mut damaged = file.clone();
            damaged.flip(bit);
            count.flips.fetch_add(1, Ordering::Relaxed);
            match end(damaged.clone(), last) {
                Ok(End::Kept) => {}
                Ok(End::Refused(_)) => drop(count.refused.fetch_add(1, Ordering::Relaxed)),
                Ok(End::Panicked) => drop(count.panicked.fetch_add(1, Ordering::Relaxed)),
                Err(why) => {
                    let file = keep(&damaged, seed);
                    return Err(format!("seed {seed}: bit {bit} ({}.{}): {why}; {file}", bit / 8, bit % 8));
                }
            }
        }
    }
    Ok(())
}

/// req: ERR-11
#[test]
fn power_may_be_lost_and_bits_may_flip_at_any_moment() {
    let count = Count::default();
    run(0.., &count, 1000, 1000).expect("every promise is kept");
    assert!(count.refused.load(Ordering::Relaxed) > 0, "no bit that was flipped was of any meaning: {count:?}");
}

/// The long form: `LEAT_CUTS` cuts, a million unless given, and half as many flipped bits, from seed `LEAT_SEED`, 0 unless given.
#[test]
#[ignore = "minutes; scripts/campaign --only store runs it"]
fn a_million_cuts() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (cuts, seed): (u64, u64) = (number("LEAT_CUTS", 1_000_000), number("LEAT_SEED", 0));
    let (count, begin) = (Count::default(), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    std::thread::scope(|scope| {
        let one = |first| run((first..).step_by(threads as usize), &count, cuts, cuts / 2);
        let running: Vec<_> = (seed..seed + threads).map(|first| scope.spawn(move || one(first))).collect();
        let ends: Vec<_> = running.into_iter().map(|thread| thread.join().expect("a thread")).collect();
        println!("{count:?} in {} s, seeds from {seed}", begin.elapsed().as_secs());
        ends.into_iter().collect::<Result<(), _>>().expect("every promise is kept");
    });
}
