//! TCP options, found and overwritten where they are (RFC 9293 §3.1).

use crate::checksum;

/// Kinds of options.
pub mod kind {
    /// No operation: padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Selective acknowledgement: pairs of edges (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps: own value, echo (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
    /// TCP Fast Open cookie (RFC 7413).
    pub const FAST_OPEN: u8 = 34;
}

/// An option: its kind and where the whole of it lies in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// [`kind`].
    pub kind: u8,
    /// Where it begins.
    pub at: usize,
    /// Its bytes, those of kind and length included.
    pub length: usize,
}

impl Opt {
    /// Where the edges of a [`kind::SACK`] lie.
    pub fn edges(self) -> impl Iterator<Item = usize> {
        (0..(self.length - 2) / 4).map(move |n| self.at + 2 + n * 4)
    }
}

/// The options of a segment, in order, but for the padding. What follows a malformed one is not looked at.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    at: usize,
}

impl Options {
    /// To walk through a segment with.
    pub const fn new() -> Self {
        Self { at: 20 }
    }

    /// The next option.
    pub fn next(&mut self, segment: &[u8]) -> Option<Opt> {
        let header = segment.get(..usize::from(segment.get(12)? >> 4) * 4)?;
        while *header.get(self.at)? == kind::NOP {
            self.at += 1;
        }
        let opt =
            Opt { kind: header[self.at], at: self.at, length: header.get(self.at + 1).copied().unwrap_or(0).into() };
        let is_good = opt.kind != 0 && opt.length >= 2 && opt.at + opt.length <= header.len();
        self.at += opt.length;
        is_good.then_some(opt)
    }

    /// The bytes after kind and length of the first option of this kind that has so many.
    pub fn find<const N: usize>(segment: &[u8], kind: u8) -> Option<[u8; N]> {
        let mut options = Self::new();
        while let Some(opt) = options.next(segment) {
            if opt.kind == kind && opt.length == 2 + N {
                return segment.get(opt.at + 2..)?.first_chunk().copied();
            }
        }
        None
    }
}

/// Overwrites bytes of a segment's header and brings its checksum up to date. A checksum that was wrong stays wrong (S18.2).
pub fn put(segment: &mut [u8], at: usize, new: &[u8]) {
    let Some(place) = segment.get_mut(at..at + new.len()) else { return };
    let word = |n: usize, byte: u8| {
        u64::from(u16::from_ne_bytes(if (at + n).is_multiple_of(2) { [byte, 0] } else { [0, byte] }))
    };
    let sum = place.iter().zip(new).enumerate().map(|(n, (old, new))| word(n, !old) + word(n, *new)).sum();
    place.copy_from_slice(new);
    change(segment, sum);
}

/// Brings a segment's checksum up to date after a change ([`checksum::change`]).
pub fn change(segment: &mut [u8], sum: u64) {
    if let Some(place) = segment.get_mut(16..18) {
        let old = u16::from_ne_bytes([place[0], place[1]]);
        place.copy_from_slice(&checksum::apply(old, sum).to_ne_bytes());
    }
}

/// The 32-bit number at a place of a segment; 0 if it is not that long.
pub fn number(segment: &[u8], at: usize) -> u32 {
    segment.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The checksum changes by what is overwritten, wherever it lies. req: S18.1
        #[test]
        fn what_is_put_is_in_the_checksum(
            mut segment in prop::collection::vec(any::<u8>(), 60..80),
            at in prop_oneof![0..12usize, 18..50usize],
            new: [u8; 4],
        ) {
            let rest = |segment: &[u8]| checksum::of(&[&segment[..16], &segment[18..]]);
            let sum = rest(&segment);
            segment[16..18].copy_from_slice(&sum.to_ne_bytes());
            put(&mut segment, at, &new);
            prop_assert_eq!(&segment[at..at + 4], &new);
            let (sum, right) = (u16::from_ne_bytes([segment[16], segment[17]]), rest(&segment));
            let both_zero = |sum| sum == 0 || sum == u16::MAX;
            prop_assert!(sum == right || both_zero(sum) && both_zero(right));
        }

        /// Whatever the bytes are, the walk ends, and within the header.
        #[test]
        fn any_bytes(segment in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut options = Options::new();
            let mut count = 0;
            while let Some(opt) = options.next(&segment) {
                prop_assert!(opt.at + opt.length <= usize::from(segment[12] >> 4) * 4);
                count += 1;
            }
            prop_assert!(count <= 20);
        }
    }

    #[test]
    fn options_are_found() {
        let mut segment = vec![0; 20];
        segment.extend([1, 2, 4, 5, 180, 34, 2, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 5]);
        segment[12] = 0xa0;
        assert_eq!(Options::find(&segment, kind::MSS), Some([5, 180]));
        assert_eq!(Options::find(&segment, kind::FAST_OPEN), Some([]));
        assert_eq!(Options::find(&segment, kind::TIMESTAMPS), Some([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(Options::find::<2>(&segment, kind::TIMESTAMPS), None);
        assert_eq!(Options::find::<8>(&segment, kind::SACK), None);
        segment[12] = 0x70;
        assert_eq!(Options::find::<8>(&segment, kind::TIMESTAMPS), None, "after the header's end");
    }
}
