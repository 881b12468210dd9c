//! A bounded single-producer single-consumer ring of 64-byte messages in shared memory.
//!
//! Purpose: commands to an lcore and events from it. Neither end ever waits: a full ring refuses the message and the caller
//! counts it.
//!
//! Invariants:
//! * `tail` is written by the producer, `head` by the consumer; both only grow, the slot is the value modulo the ring's size.
//! * A slot is written before `tail` passes it (release) and read before `head` passes it, so that an end killed at any
//!   instruction leaves a ring that its successor can go on with from the stored values.
//! * The other side's index is input: one that is out of range is an error, never an index into memory.

use crate::sync::{AtomicU64, Ordering};

/// Words in a message: one cache line.
pub const MESSAGE_WORDS: usize = 8;

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

#[cfg(loom)]
impl RingControl {
    /// A fresh ring for a model.
    pub fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            _head_line: std::array::from_fn(|_| AtomicU64::new(0)),
            tail: AtomicU64::new(0),
            _tail_line: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

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
        Producer { ring: self, tail: self.control.tail.load(Ordering::Relaxed) }
    }

    /// The end that reads. One per ring, in one thread.
    pub fn consumer(self) -> Consumer<'m> {
        Consumer { ring: self, head: self.control.head.load(Ordering::Relaxed) }
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
        for (word, value) in self.ring.slot(self.tail).iter().zip(message) {
            word.store(*value, Ordering::Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        self.ring.control.tail.store(self.tail, Ordering::Release);
        Ok(())
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
        let tail = self.ring.control.tail.load(Ordering::Acquire);
        let used = tail.wrapping_sub(self.head);
        if used == 0 {
            return Ok(None);
        }
        if used > self.ring.messages() {
            return Err(self.ring.damaged(self.head, tail));
        }
        let slot = self.ring.slot(self.head);
        let message = std::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
        self.head = self.head.wrapping_add(1);
        self.ring.control.head.store(self.head, Ordering::Release);
        Ok(Some(message))
    }

    /// Skips to the producer's index: what a reader does that found the indices damaged.
    pub fn skip_all(&mut self) {
        self.head = self.ring.control.tail.load(Ordering::Acquire);
        self.ring.control.head.store(self.head, Ordering::Release);
    }
}
