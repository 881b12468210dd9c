//! Atomics behind one name, so that loom can own them in a model.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

/// Loads a word that the calling side alone writes, and so knows the value of.
#[cfg(not(loom))]
pub(crate) fn load_own(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// As above. Of the loads of a word that come before a store, loom 0.7 remembers only the last to find what else may happen. A load by
/// the storing thread would make it forget the other side's, and the model would miss most of its interleavings. What is not a
/// mere load it remembers; the value is the same, the newest, which is the owner's last.
#[cfg(loom)]
pub(crate) fn load_own(word: &AtomicU64) -> u64 {
    word.fetch_add(0, Ordering::Relaxed)
}
