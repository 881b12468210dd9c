//! One's-complement arithmetic: checksums changed by what changed (RFC 1624, equation 3), never summed anew over payload, so
//! that corruption stays visible.
//!
//! Byte order: none. Words are summed as they lie in memory; the one's-complement sum commutes with swapping bytes (RFC 1071 §2).

/// Folds a sum to 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // What one half carries out goes back in at its other end.
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + carry as u32;
    let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
    sum + carry as u16
}

/// What replacing 32-bit words adds: the sum of the new ones and of the complements of the old ones, not folded.
#[inline(always)]
pub const fn change<const N: usize>(old: [u32; N], new: [u32; N]) -> u64 {
    let mut sum = 0u64;
    let mut i = 0;
    while i < N {
        sum += (!old[i]) as u64 + new[i] as u64;
        i += 1;
    }
    sum
}

/// As [`change`], folded.
#[inline(always)]
pub const fn delta<const N: usize>(old: [u32; N], new: [u32; N]) -> u16 {
    fold(change(old, new))
}

/// A checksum after a change of `delta`, folded or the sum of up to 2³¹ words: `~(~HC + delta)`.
#[inline(always)]
pub const fn apply(checksum: u16, delta: u64) -> u16 {
    !fold(!checksum as u64 + delta)
}

/// As [`apply`], for a folded delta.
#[inline(always)]
pub const fn apply_folded(checksum: u16, delta: u16) -> u16 {
    let (sum, carry) = (!checksum).overflowing_add(delta);
    !(sum + carry as u16)
}

/// The checksum of whole bytes: for packets made here, and for checking headers. An odd last byte is padded with zero.
pub fn of(parts: &[&[u8]]) -> u16 {
    !fold(parts.iter().map(|part| sum(part)).sum())
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u16::from_ne_bytes([*byte, 0]));
    words.iter().map(|word| u64::from(u16::from_ne_bytes(*word))).sum::<u64>() + u64::from(last)
}

/// Whether the checksum of an IPv4 header of 20 bytes is right.
#[inline(always)]
pub fn ipv4_header_is_good(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    fold(words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// A delta gives what summing anew gives, for any words, all-zero and all-one ones among them. req: R29
        #[test]
        fn delta_equals_recomputation(
            head: [u8; 8],
            old in prop::array::uniform3(prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0xffff)]),
            new in prop::array::uniform3(prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0xffff)]),
        ) {
            let bytes = |words: [u32; 3]| words.map(u32::to_ne_bytes).concat();
            let before = of(&[&head, &bytes(old)]);
            let after = of(&[&head, &bytes(new)]);
            let changed = apply(before, delta(old, new).into());
            prop_assert_eq!(apply(before, change(old, new)), changed);
            prop_assert_eq!(apply_folded(before, delta(old, new)), changed);
            // Both zeros of one's complement mean the same sum; a sum over a header with a non-zero word is never +0.
            let same = |a: u16, b: u16| a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0);
            prop_assert!(same(changed, after), "{changed:04x} {after:04x}");
            if head.iter().any(|b| *b != 0) && new.iter().any(|w| *w != 0) {
                prop_assert_eq!(changed, after);
            }
            // The other way back is the complement of the delta.
            prop_assert!(same(apply(changed, (!delta(old, new)).into()), before));
        }
    }
}
