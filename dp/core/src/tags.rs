//! Comparing the tags of a bucket, all at once. `unsafe` only because the compiler wants it said that the CPU has the instructions.

/// Tags in a bucket.
pub(crate) const TAGS: usize = 10;

/// The places with this tag, as a bit set.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn equal(tags: &[u16; TAGS], tag: u16) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
    };
    let [a, b, c, d, e, f, g, h, i, j] = *tags;
    let [low, middle, high] = [[a, b, c, d], [e, f, g, h], [i, j, 0, 0]]
        .map(|[a, b, c, d]| i64::from(a) | i64::from(b) << 16 | i64::from(c) << 32 | i64::from(d) << 48);
    // SAFETY: needed because these are functions of a target feature. They touch no memory, and SSE2 is part of x86-64.
    let set = unsafe {
        let wanted = _mm_set1_epi16(tag.cast_signed());
        let first = _mm_cmpeq_epi16(_mm_set_epi64x(middle, low), wanted);
        let second = _mm_cmpeq_epi16(_mm_cvtsi64_si128(high), wanted);
        _mm_movemask_epi8(_mm_packs_epi16(first, second))
    };
    // What is behind the last tag compares as zeros.
    set.cast_unsigned() & ((1 << TAGS) - 1)
}

/// The places with this tag, as a bit set.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn equal(tags: &[u16; TAGS], tag: u16) -> u32 {
    one_by_one(tags, tag)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn one_by_one(tags: &[u16; TAGS], tag: u16) -> u32 {
    tags.iter().enumerate().fold(0, |set, (place, t)| set | u32::from(*t == tag) << place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// All at once finds what one by one does.
        #[test]
        fn all_at_once_is_one_by_one(
            tags in prop::array::uniform10(prop_oneof![Just(0), Just(1), Just(0x8000), Just(u16::MAX), any::<u16>()]),
            tag in prop_oneof![Just(0), Just(1), Just(0x8000), Just(u16::MAX), any::<u16>()],
        ) {
            prop_assert_eq!(equal(&tags, tag), one_by_one(&tags, tag));
        }
    }
}
