//! Asking the CPU to fetch a cache line early. With `tags`, the only `unsafe` of this crate.

/// Starts loading the cache line of `place` into the nearest cache, without waiting for it.
#[inline(always)]
pub fn read<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: needed because the intrinsic takes a raw pointer. A prefetch reads nothing architecturally and cannot fault,
    // wherever the pointer leads. SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
