//! A bounded single-producer single-consumer ring of 128-byte messages in shared memory.
//!
//! Purpose: commands to an lcore and events from it. Neither end ever waits: a full ring refuses the message and the caller
//! counts it.
//!
//! Invariants:
//! * `tail` is written by the producer, `head` by the consumer; both only grow, the slot is the value modulo the ring's size.
//! * A slot is written before `tail` passes it (release) and read before `head` passes it, so that an end killed at any
//!   instruction leaves a ring that its successor can go on with from the stored values.
//! * The other side's index is input: one that is out of range is an error, never an index into memory.
//!
//! A consumer killed between reading a message and saying so leaves it to its successor, one killed after saying so has taken it
//! along: a restart may repeat or lose the one message in its hands, never another.
//!
//! Why this holds is modelled below with loom (`RUSTFLAGS="--cfg loom" cargo test -p leat-abi --release`). One thing loom cannot show:
//! it never lets a load see a store that comes later, so no model fails when `head` is passed on relaxed. Release and acquire keep the
//! producer's next message out of a slot that is still being read.

use crate::sync::{AtomicU64, Ordering, load_own};

/// Words in a message: two cache lines.
pub const MESSAGE_WORDS: usize = 16;

/// A message as it lies in the ring.
pub type Message = [u64; MESSAGE_WORDS];

/// The two indices of a ring, each on a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct RingControl {
    /// Messages read so far. Written by the consumer, read by the producer.
    head: AtomicU64,
    _head_line: [AtomicU64; 7],
    /// Messages written so far. Written by the producer, read by the consumer.
    tail: AtomicU64,
    _tail_line: [AtomicU64; 7],
}

/// Where the indices lie, for the layout's hash.
#[cfg(not(loom))]
pub(crate) const INDEX_OFFSETS: [usize; 2] =
    [std::mem::offset_of!(RingControl, head), std::mem::offset_of!(RingControl, tail)];

/// What is wrong with the other end of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// No room: the message was not taken. Try again after the consumer has moved on.
    #[error("the ring is full")]
    Full,
    /// The other side's index is impossible (more messages than the ring has slots).
    #[error("the ring's indices are damaged: head {head}, tail {tail}, {slots} slots")]
    Damaged {
        /// The consumer's index as read.
        head: u64,
        /// The producer's index as read.
        tail: u64,
        /// The ring's size in messages.
        slots: u64,
    },
}

/// A ring in memory that somebody else owns. Copied freely; take one [`Producer`] and one [`Consumer`] from it at most.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'m> {
    control: &'m RingControl,
    slots: &'m [AtomicU64],
}

impl<'m> Ring<'m> {
    /// A ring over `slots`, whose length must be a power of two times [`MESSAGE_WORDS`].
    ///
    /// # Panics
    /// When the length is not of that form.
    pub fn new(control: &'m RingControl, slots: &'m [AtomicU64]) -> Self {
        let messages = slots.len() / MESSAGE_WORDS;
        assert!(slots.len().is_multiple_of(MESSAGE_WORDS) && messages.is_power_of_two(), "a ring has 2^n messages");
        Self { control, slots }
    }

    /// The end that writes. One per ring, in one thread.
    pub fn producer(self) -> Producer<'m> {
        Producer { ring: self, tail: load_own(&self.control.tail) }
    }

    /// The end that reads. One per ring, in one thread.
    pub fn consumer(self) -> Consumer<'m> {
        Consumer { ring: self, head: load_own(&self.control.head) }
    }

    fn messages(&self) -> u64 {
        (self.slots.len() / MESSAGE_WORDS) as u64
    }

    fn slot(&self, index: u64) -> &'m [AtomicU64] {
        let start = (index & (self.messages() - 1)) as usize * MESSAGE_WORDS;
        &self.slots[start..start + MESSAGE_WORDS]
    }

    fn damaged(&self, head: u64, tail: u64) -> RingError {
        RingError::Damaged { head, tail, slots: self.messages() }
    }
}

/// The writing end of a [`Ring`].
#[derive(Debug)]
pub struct Producer<'m> {
    ring: Ring<'m>,
    tail: u64,
}

impl Producer<'_> {
    /// Appends a message, or says that there is no room.
    pub fn push(&mut self, message: &Message) -> Result<(), RingError> {
        let head = self.ring.control.head.load(Ordering::Acquire);
        let used = self.tail.wrapping_sub(head);
        if used >= self.ring.messages() {
            return Err(if used == self.ring.messages() {
                RingError::Full
            } else {
                self.ring.damaged(head, self.tail)
            });
        }
        self.write(message);
        self.tail = self.tail.wrapping_add(1);
        self.ring.control.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Writes into the slot at `tail`, which the consumer does not look at yet.
    fn write(&self, words: &[u64]) {
        for (word, value) in self.ring.slot(self.tail).iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
    }

    /// How many more messages fit now (0 when the indices are damaged).
    pub fn room(&self) -> u64 {
        let used = self.tail.wrapping_sub(self.ring.control.head.load(Ordering::Acquire));
        self.ring.messages().saturating_sub(used)
    }
}

/// The reading end of a [`Ring`].
#[derive(Debug)]
pub struct Consumer<'m> {
    ring: Ring<'m>,
    head: u64,
}

impl Consumer<'_> {
    /// Takes the oldest message, if there is one.
    pub fn pop(&mut self) -> Result<Option<Message>, RingError> {
        let Some(message) = self.peek()? else { return Ok(None) };
        self.head = self.head.wrapping_add(1);
        self.ring.control.head.store(self.head, Ordering::Release);
        Ok(Some(message))
    }

    /// Copies the oldest message and leaves it in the ring.
    fn peek(&self) -> Result<Option<Message>, RingError> {
        let tail = self.ring.control.tail.load(Ordering::Acquire);
        let used = tail.wrapping_sub(self.head);
        if used == 0 {
            return Ok(None);
        }
        if used > self.ring.messages() {
            return Err(self.ring.damaged(self.head, tail));
        }
        let slot = self.ring.slot(self.head);
        Ok(Some(std::array::from_fn(|i| slot[i].load(Ordering::Relaxed))))
    }

    /// Skips to the producer's index: what a reader does that found the indices damaged.
    pub fn skip_all(&mut self) {
        self.head = self.ring.control.tail.load(Ordering::Acquire);
        self.ring.control.head.store(self.head, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Memory {
        control: RingControl,
        slots: Vec<AtomicU64>,
    }

    impl Memory {
        fn new(messages: usize) -> Arc<Self> {
            let zero = || AtomicU64::new(0);
            Arc::new(Self {
                control: RingControl {
                    head: zero(),
                    _head_line: std::array::from_fn(|_| zero()),
                    tail: zero(),
                    _tail_line: std::array::from_fn(|_| zero()),
                },
                slots: (0..messages * MESSAGE_WORDS).map(|_| zero()).collect(),
            })
        }

        fn ring(&self) -> Ring<'_> {
            Ring::new(&self.control, &self.slots)
        }
    }

    /// Takes a message that must be whole: all its words are the same.
    fn pop_whole(consumer: &mut Consumer<'_>) -> Option<u64> {
        let message = consumer.pop().expect("good indices")?;
        assert_eq!(message, [message[0]; MESSAGE_WORDS], "torn message");
        Some(message[0])
    }

    #[cfg(not(loom))]
    mod one_thread {
        use super::*;
        use proptest::prelude::*;
        use std::collections::VecDeque;

        proptest! {
            /// A ring is a bounded queue, also where its indices wrap around and when an end is replaced.
            #[test]
            fn a_ring_is_a_bounded_queue(
                start in prop_oneof![Just(0), Just(u64::MAX - 2), any::<u64>()],
                steps in proptest::collection::vec(0..4u8, 0..60),
            ) {
                let memory = Memory::new(4);
                memory.control.head.store(start, Ordering::Relaxed);
                memory.control.tail.store(start, Ordering::Relaxed);
                let (mut producer, mut consumer) = (memory.ring().producer(), memory.ring().consumer());
                let mut queue = VecDeque::new();
                for (n, step) in steps.into_iter().enumerate() {
                    match step {
                        0 | 1 => {
                            let expected = if queue.len() < 4 { Ok(()) } else { Err(RingError::Full) };
                            prop_assert_eq!(producer.push(&[n as u64; MESSAGE_WORDS]), expected);
                            if expected.is_ok() {
                                queue.push_back(n as u64);
                            }
                        }
                        2 => prop_assert_eq!(pop_whole(&mut consumer), queue.pop_front()),
                        _ => (producer, consumer) = (memory.ring().producer(), memory.ring().consumer()),
                    }
                    prop_assert_eq!(producer.room(), 4 - queue.len() as u64);
                }
            }

            /// Whatever the other side writes into its index, both ends stay in bounds, say so and recover.
            #[test]
            fn a_nonsense_index_is_reported_and_survived(head: u64, tail: u64) {
                let memory = Memory::new(4);
                memory.control.head.store(head, Ordering::Relaxed);
                memory.control.tail.store(tail, Ordering::Relaxed);
                let (mut producer, mut consumer) = (memory.ring().producer(), memory.ring().consumer());
                if tail.wrapping_sub(head) > 4 {
                    let damaged = RingError::Damaged { head, tail, slots: 4 };
                    prop_assert_eq!(producer.push(&[1; MESSAGE_WORDS]), Err(damaged));
                    prop_assert_eq!(producer.room(), 0);
                    prop_assert_eq!(consumer.pop(), Err(damaged));
                }
                consumer.skip_all();
                prop_assert_eq!(consumer.pop(), Ok(None));
                prop_assert_eq!(producer.push(&[2; MESSAGE_WORDS]), Ok(()));
                prop_assert_eq!(pop_whole(&mut consumer), Some(2));
            }
        }

        #[test]
        #[should_panic(expected = "2^n messages")]
        fn a_ring_of_another_size_is_refused() {
            let memory = Memory::new(3);
            memory.ring();
        }
    }

    #[cfg(loom)]
    mod models {
        use super::*;
        use loom::thread;

        fn drain(consumer: &mut Consumer<'_>, into: &mut Vec<u64>) {
            while let Some(message) = pop_whole(consumer) {
                into.push(message);
            }
        }

        /// Pushes what there is room for. Returns what was taken.
        fn push_all(memory: &Memory, messages: std::ops::RangeInclusive<u64>) -> Vec<u64> {
            let mut producer = memory.ring().producer();
            messages.filter(|n| producer.push(&[*n; MESSAGE_WORDS]).is_ok()).collect()
        }

        /// Messages arrive whole, in order, none lost or doubled; a full ring refuses and damages nothing.
        #[test]
        fn what_is_pushed_is_popped_in_order() {
            for messages in [1, 2] {
                loom::model(move || {
                    let memory = Memory::new(messages);
                    let shared = memory.clone();
                    let producer = thread::spawn(move || push_all(&shared, 1..=3));
                    let mut consumer = memory.ring().consumer();
                    let mut popped: Vec<u64> = (0..2).filter_map(|_| pop_whole(&mut consumer)).collect();
                    let pushed = producer.join().expect("the producer");
                    assert!(pushed.len() >= messages, "room for {messages}, taken: {pushed:?}");
                    drain(&mut consumer, &mut popped);
                    assert_eq!(popped, pushed);
                });
            }
        }

        /// A producer killed after any number of words of a message: the next one goes on where the stored index says.
        #[test]
        fn a_producer_may_be_killed_while_it_writes() {
            for killed_after in [0, 1, MESSAGE_WORDS - 1, MESSAGE_WORDS] {
                loom::model(move || {
                    let memory = Memory::new(2);
                    let shared = memory.clone();
                    let producer = thread::spawn(move || {
                        let mut pushed = push_all(&shared, 1..=1);
                        shared.ring().producer().write(&[9; MESSAGE_WORDS][..killed_after]);
                        pushed.extend(push_all(&shared, 2..=3));
                        pushed
                    });
                    let mut consumer = memory.ring().consumer();
                    let mut popped: Vec<u64> = (0..2).filter_map(|_| pop_whole(&mut consumer)).collect();
                    let pushed = producer.join().expect("the producer");
                    drain(&mut consumer, &mut popped);
                    assert_eq!(popped, pushed);
                });
            }
        }

        /// A consumer killed after it has read a message but not said so: the next one gets it whole.
        #[test]
        fn a_consumer_may_be_killed_while_it_reads() {
            loom::model(|| {
                let memory = Memory::new(1);
                let shared = memory.clone();
                let producer = thread::spawn(move || push_all(&shared, 1..=2));
                let killed = memory.ring().consumer().peek().expect("good indices");
                let mut next = memory.ring().consumer();
                let mut popped: Vec<u64> = pop_whole(&mut next).into_iter().collect();
                if let Some(message) = killed {
                    assert_eq!((message, &popped[..]), ([1; MESSAGE_WORDS], &[1][..]));
                }
                let mut last = memory.ring().consumer();
                let pushed = producer.join().expect("the producer");
                drain(&mut last, &mut popped);
                assert_eq!(popped, pushed);
            });
        }

        /// The model is worth something: it notices a producer that moves its index before it writes.
        #[test]
        #[should_panic(expected = "torn message")]
        fn the_model_notices_an_index_before_the_message() {
            loom::model(|| {
                let memory = Memory::new(1);
                let shared = memory.clone();
                let producer = thread::spawn(move || {
                    shared.control.tail.store(1, Ordering::Release);
                    Producer { ring: shared.ring(), tail: 0 }.write(&[1; MESSAGE_WORDS]);
                });
                pop_whole(&mut memory.ring().consumer());
                producer.join().expect("the producer");
            });
        }
    }
}
