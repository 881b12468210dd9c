//! The CPU's time-stamp counter.

/// Reads the time-stamp counter, in ticks of [`Eal::tsc_hz`](crate::Eal::tsc_hz). Costs some 20 cycles and is not
/// ordered with the instructions around it: good for "now" once a burst, not for timing a handful of instructions.
#[inline]
pub fn rdtsc() -> u64 {
    // SAFETY: needed because the intrinsic is declared unsafe; RDTSC exists on every x86_64 CPU and touches no
    // memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}
