//! The snapshot arena: how a snapshot gets from the control plane to the data plane.
//!
//! One writer (the control plane), one reader (the data plane's main thread), two slots. The writer fills the slot that is not
//! announced, then announces it with a single store; the reader copies the announced slot out, then says so. Neither waits for
//! the other: a writer that is early is told [`PublishError::Busy`] and lets its changes pile up, so the latest wins.
//!
//! Invariants:
//! * `announced` is written by the writer alone, `consumed` and `refused` by the reader alone.
//! * The writer writes to a slot only when it is not announced and the announced generation was consumed. The reader reads the
//!   announced slot only, and consumes a generation only after it has copied it. So no slot is read while it is written, and a
//!   copy is a whole snapshot.
//! * All state is in the shared words, and each step is finished by one store (release). A side killed at any instruction leaves
//!   words that its successor goes on with: a new writer fills the free slot from its beginning, a new reader copies the
//!   announced slot again, even if it was consumed before.
//!
//! Why this holds is modelled below with loom (`RUSTFLAGS="--cfg loom" cargo test -p leat-abi --release`), and tried with processes that
//! are killed in `tests/kill.rs`.

use crate::snapshot::LENGTH_WORD;
use crate::sync::{AtomicU64, Ordering, load_own};

/// Why a snapshot was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The data plane has not read the previous one yet. Try again; meanwhile changes may pile up.
    #[error("the data plane has not taken generation {0} yet")]
    Busy(u64),
    /// It does not fit.
    #[error(
        "the configuration needs {needed} words of the arena, which has {available}: start leat-dp with a larger --arena-mib"
    )]
    TooLarge {
        /// Words of the snapshot.
        needed: usize,
        /// Words of an arena slot.
        available: usize,
    },
}

/// Generations are below this: the announcement needs a bit for the slot.
const GENERATION_END: u64 = 1 << 63;

/// The words of the arena, which somebody else owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arena<'m> {
    /// Generation × 2 + slot; 0: none yet. Writer → reader.
    pub(crate) announced: &'m AtomicU64,
    /// The generation read last, good or not. Reader → writer.
    pub(crate) consumed: &'m AtomicU64,
    /// The generation refused last. Reader → writer.
    pub(crate) refused: &'m AtomicU64,
    /// The slots. Writer → reader.
    pub(crate) slots: [&'m [AtomicU64]; 2],
}

impl Arena<'_> {
    /// Writer: puts words into the free slot and announces them as a generation. They are asked for when there is a free slot.
    ///
    /// # Panics
    /// When the generation is not greater than the announced one, or not below 2⁶³.
    pub(crate) fn publish(&self, generation: u64, words: impl FnOnce() -> Vec<u64>) -> Result<(), PublishError> {
        let slot = self.free_slot(generation)?;
        let words = words();
        let available = self.slots[slot].len();
        if words.len() > available {
            return Err(PublishError::TooLarge { needed: words.len(), available });
        }
        self.fill(slot, &words);
        self.announce(generation, slot);
        Ok(())
    }

    /// Writer: the generation announced last, by this writer or one before it; 0: none.
    pub(crate) fn announced_generation(&self) -> u64 {
        load_own(self.announced) >> 1
    }

    /// Reader: the announced generation, if it has not been consumed.
    pub(crate) fn pending_generation(&self) -> Option<u64> {
        let announced = self.announced.load(Ordering::Relaxed) >> 1;
        (announced != 0 && announced != load_own(self.consumed)).then_some(announced)
    }

    /// Reader: the announced generation and a copy of its words. What they say is not checked.
    pub(crate) fn copy_out(&self) -> Option<(u64, Vec<u64>)> {
        let announced = self.announced.load(Ordering::Acquire);
        if announced >> 1 == 0 {
            return None;
        }
        let slot = self.slots[(announced & 1) as usize];
        // The length is as untrusted as the rest; the checksum finds a wrong one.
        let length = slot.get(LENGTH_WORD).map_or(0, |word| word.load(Ordering::Relaxed));
        let length = usize::try_from(length).map_or(slot.len(), |length| length.min(slot.len()));
        Some((announced >> 1, slot[..length].iter().map(|word| word.load(Ordering::Relaxed)).collect()))
    }

    /// Reader: says that a generation was copied out, and whether it was good. The other slot is then the writer's.
    pub(crate) fn consume(&self, generation: u64, accepted: bool) {
        if !accepted {
            self.refused.store(generation, Ordering::Relaxed);
        } else if load_own(self.refused) == generation {
            // A reader before this one refused what this one can use.
            self.refused.store(0, Ordering::Relaxed);
        }
        self.consumed.store(generation, Ordering::Release);
    }

    fn free_slot(&self, generation: u64) -> Result<usize, PublishError> {
        let announced = load_own(self.announced);
        let previous = announced >> 1;
        assert!(
            generation > previous && generation < GENERATION_END,
            "generation {generation} after {previous}, below 2^63"
        );
        // Acquire: the reader's loads of the free slot came before.
        if self.consumed.load(Ordering::Acquire) != previous {
            return Err(PublishError::Busy(previous));
        }
        Ok((announced & 1) as usize ^ 1)
    }

    fn fill(&self, slot: usize, words: &[u64]) {
        for (word, value) in self.slots[slot].iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    fn announce(&self, generation: u64, slot: usize) {
        self.announced.store(generation << 1 | slot as u64, Ordering::Release);
    }
}

/// An lcore says which generation it works with from now on. What it did before under an older one happened before this.
pub(crate) fn acknowledge(lcore: &AtomicU64, generation: u64) {
    lcore.store(generation, Ordering::Release);
}

/// The newest generation that every lcore works with; 0: none.
pub(crate) fn acknowledged<'m>(lcores: impl Iterator<Item = &'m AtomicU64>) -> u64 {
    lcores.map(|generation| generation.load(Ordering::Acquire)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const WORDS: usize = 4;

    struct Memory {
        header: [AtomicU64; 3],
        slots: [[AtomicU64; WORDS]; 2],
    }

    impl Memory {
        fn new() -> Arc<Self> {
            let zero = || AtomicU64::new(0);
            Arc::new(Self {
                header: std::array::from_fn(|_| zero()),
                slots: std::array::from_fn(|_| std::array::from_fn(|_| zero())),
            })
        }

        /// As a process sees it that has just started.
        fn arena(&self) -> Arena<'_> {
            let [announced, consumed, refused] = &self.header;
            Arena { announced, consumed, refused, slots: [&self.slots[0], &self.slots[1]] }
        }
    }

    /// Words that show what generation each of them is of. The third is the length, as in a snapshot.
    fn image(generation: u64) -> Vec<u64> {
        vec![generation; LENGTH_WORD].into_iter().chain([WORDS as u64, generation]).collect()
    }

    /// Copies out what is announced and checks that it is whole. Does not consume it.
    fn copy_whole(arena: Arena<'_>) -> Option<u64> {
        let (generation, words) = arena.copy_out()?;
        assert_eq!(words, image(generation), "torn copy of generation {generation}");
        Some(generation)
    }

    /// Takes what is pending. Returns its generation.
    fn take(arena: Arena<'_>) -> Option<u64> {
        arena.pending_generation()?;
        let generation = copy_whole(arena)?;
        arena.consume(generation, true);
        Some(generation)
    }

    #[cfg(not(loom))]
    mod one_thread {
        use super::*;

        #[test]
        fn the_writer_waits_for_no_one_and_overwrites_nothing_unread() {
            let memory = Memory::new();
            let arena = memory.arena();
            assert_eq!((arena.pending_generation(), arena.copy_out()), (None, None));
            assert_eq!(arena.publish(5, || image(5)), Ok(()));
            assert_eq!(arena.publish(6, || unreachable!("not asked for while busy")), Err(PublishError::Busy(5)));
            assert_eq!(arena.pending_generation(), Some(5));
            assert_eq!(take(arena), Some(5));
            assert_eq!(arena.pending_generation(), None);
            let large = PublishError::TooLarge { needed: WORDS + 1, available: WORDS };
            assert_eq!(arena.publish(7, || vec![0; WORDS + 1]), Err(large));
            assert_eq!(arena.announced_generation(), 5, "a refused publication changes nothing");
            assert_eq!(copy_whole(arena), Some(5), "what is announced stays readable for a new reader");
            assert_eq!(arena.publish(7, || image(7)), Ok(()));
            assert_eq!(take(arena), Some(7));
        }

        #[test]
        fn a_refusal_is_taken_back_when_the_generation_is_accepted_later() {
            let memory = Memory::new();
            let arena = memory.arena();
            arena.publish(1, || image(1)).expect("room");
            arena.consume(1, false);
            assert_eq!(arena.refused.load(Ordering::Relaxed), 1);
            assert_eq!(arena.pending_generation(), None, "a refused generation is consumed too");
            arena.consume(1, true);
            assert_eq!(arena.refused.load(Ordering::Relaxed), 0);
        }

        #[test]
        #[should_panic(expected = "generation 3 after 3")]
        fn a_generation_that_does_not_grow_is_a_bug() {
            let memory = Memory::new();
            memory.arena().publish(3, || image(3)).expect("room");
            let _ = memory.arena().publish(3, || image(3));
        }

        /// The reader copes with whatever a broken writer leaves in the words.
        #[test]
        fn nonsense_in_the_words_is_copied_within_bounds() {
            let memory = Memory::new();
            let arena = memory.arena();
            for announced in [1, 2, 3, u64::MAX, u64::MAX - 1] {
                for length in [0, 1, WORDS as u64, WORDS as u64 + 1, u64::MAX] {
                    arena.announced.store(announced, Ordering::Relaxed);
                    memory.slots.iter().for_each(|slot| slot[LENGTH_WORD].store(length, Ordering::Relaxed));
                    let copied = arena.copy_out();
                    assert_eq!(copied.is_some(), announced > 1);
                    assert!(copied.is_none_or(|(_, words)| words.len() <= WORDS));
                }
            }
        }
    }

    #[cfg(loom)]
    mod models {
        use super::*;
        use loom::thread;

        /// A copy is never torn, generations only grow and the last one announced is found, whatever the interleaving.
        #[test]
        fn a_reader_never_sees_a_torn_snapshot() {
            loom::model(|| {
                let memory = Memory::new();
                let shared = memory.clone();
                let writer =
                    thread::spawn(move || (1..=3).filter(|g| shared.arena().publish(*g, || image(*g)).is_ok()).last());
                let seen: Vec<u64> = (0..3).filter_map(|_| take(memory.arena())).collect();
                assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
                let last = writer.join().expect("the writer");
                assert_eq!(take(memory.arena()).or(seen.last().copied()), last, "the latest wins");
            });
        }

        /// A writer killed after any number of words leaves an arena that the next one publishes into.
        #[test]
        fn a_writer_may_be_killed_while_it_fills_a_slot() {
            for killed_after in 0..=WORDS {
                loom::model(move || {
                    let memory = Memory::new();
                    let shared = memory.clone();
                    let writer = thread::spawn(move || {
                        let arena = shared.arena();
                        arena.publish(1, || image(1)).expect("room");
                        if let Ok(slot) = arena.free_slot(2) {
                            arena.fill(slot, &image(2)[..killed_after]);
                        }
                        let next = shared.arena();
                        let generation = next.announced_generation() + 1;
                        match next.publish(generation, || image(generation)) {
                            Ok(()) => generation,
                            Err(busy) => {
                                assert_eq!(busy, PublishError::Busy(1));
                                1
                            }
                        }
                    });
                    let seen: Vec<u64> = (0..2).filter_map(|_| take(memory.arena())).collect();
                    let last = writer.join().expect("the writer");
                    assert_eq!(take(memory.arena()).or(seen.last().copied()), Some(last));
                });
            }
        }

        /// A reader killed before it consumes, or afterwards: the next one copies the announced slot again, whole, while the
        /// writer goes on.
        #[test]
        fn a_reader_may_be_killed_before_or_after_it_consumes() {
            for consumed in [false, true] {
                loom::model(move || {
                    let memory = Memory::new();
                    memory.arena().publish(1, || image(1)).expect("room");
                    let shared = memory.clone();
                    let writer = thread::spawn(move || {
                        (2..=3).filter(|g| shared.arena().publish(*g, || image(*g)).is_ok()).last()
                    });
                    let killed = copy_whole(memory.arena()).expect("generation 1 or later");
                    if consumed {
                        memory.arena().consume(killed, true);
                    }
                    let adopted = copy_whole(memory.arena()).expect("generation 1 or later");
                    assert!(adopted >= killed);
                    memory.arena().consume(adopted, true);
                    let seen = take(memory.arena());
                    assert!(seen.is_none_or(|seen| seen > adopted));
                    let last = writer.join().expect("the writer").unwrap_or(1);
                    assert_eq!(take(memory.arena()).or(seen).unwrap_or(adopted), last);
                });
            }
        }

        /// What was refused is known once the generation is seen to be consumed.
        #[test]
        fn a_refusal_is_seen_with_the_consumption() {
            loom::model(|| {
                let memory = Memory::new();
                memory.arena().publish(1, || image(1)).expect("room");
                let shared = memory.clone();
                let reader = thread::spawn(move || shared.arena().consume(1, false));
                let arena = memory.arena();
                if arena.publish(2, || image(2)).is_ok() {
                    assert_eq!(arena.refused.load(Ordering::Relaxed), 1);
                }
                reader.join().expect("the reader");
            });
        }

        /// What two lcores work with only grows, and who sees a generation acknowledged sees all that the lcore did before.
        #[test]
        fn what_is_acknowledged_only_grows_and_is_true() {
            loom::model(|| {
                let lcores = Arc::new([(); 2].map(|()| (AtomicU64::new(0), AtomicU64::new(0))));
                let spawn = |lcore: usize| {
                    let lcores = lcores.clone();
                    thread::spawn(move || {
                        let (acknowledged, work) = &lcores[lcore];
                        // An lcore may skip generations.
                        for generation in 1 + lcore as u64..=2 {
                            work.store(generation, Ordering::Relaxed);
                            acknowledge(acknowledged, generation);
                        }
                    })
                };
                let threads = [spawn(0), spawn(1)];
                let mut newest = 0;
                for _ in 0..2 {
                    let seen = acknowledged(lcores.iter().map(|(generation, _)| generation));
                    assert!(seen >= newest, "acknowledged {seen} after {newest}");
                    newest = seen;
                    assert!(lcores.iter().all(|(_, work)| work.load(Ordering::Relaxed) >= seen));
                }
                for thread in threads {
                    thread.join().expect("an lcore");
                }
            });
        }

        /// The model is worth something: it notices a writer that announces before it writes.
        #[test]
        #[should_panic(expected = "torn copy")]
        fn the_model_notices_an_announcement_before_the_words() {
            loom::model(|| {
                let memory = Memory::new();
                let shared = memory.clone();
                let writer = thread::spawn(move || {
                    let slot = shared.arena().free_slot(1).expect("room");
                    shared.arena().announce(1, slot);
                    shared.arena().fill(slot, &image(1));
                });
                take(memory.arena());
                writer.join().expect("the writer");
            });
        }

        /// The model is worth something: it notices a writer that does not wait for the reader.
        #[test]
        #[should_panic(expected = "torn copy")]
        fn the_model_notices_a_writer_that_ignores_the_reader() {
            loom::model(|| {
                let memory = Memory::new();
                memory.arena().publish(1, || image(1)).expect("room");
                let shared = memory.clone();
                let writer = thread::spawn(move || {
                    for (generation, slot) in [(2, 0), (3, 1)] {
                        shared.arena().fill(slot, &image(generation));
                        shared.arena().announce(generation, slot);
                    }
                });
                take(memory.arena());
                writer.join().expect("the writer");
            });
        }
    }
}
