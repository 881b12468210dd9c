//! The maximum segment size that the ends of a translated connection announce (RFC 9293 §3.7.1): lowered to what fits the ports on both
//! sides (semantics S17.2). Without that, full segments of IPv4 would exceed the path of IPv6 by 20 bytes.

use leat_abi::flow::{FlowEntry, family};

use crate::checksum;
use crate::frame::Frame;
use crate::parse::Meta;
use crate::pipeline::Pipeline;

/// Bytes of IP and TCP header.
const HEADERS_V4: u16 = 20 + 20;
const HEADERS_V6: u16 = 40 + 20;

impl Pipeline<'_> {
    /// Lowers the maximum segment size in a SYN or SYN-ACK of a flow between IPv6 and IPv4.
    #[cold]
    pub(crate) fn clamp_mss<F: Frame>(&self, frame: &mut F, meta: &Meta, entry: &FlowEntry) {
        let mtu = |port| self.forwarding.port(port).map_or(u16::MAX, |port| port.mtu);
        let target = self.forwarding.target(entry.target_slot, entry.target_generation);
        let to_target = target.and_then(|target| target.next_hop).map_or(u16::MAX, |hop| mtu(hop.port));
        let to_client = mtu(entry.client_side_port);
        let client_is_v6 = entry.protocol & family::CLIENT_V6 != 0;
        let (v6, v4) = if client_is_v6 { (to_client, to_target) } else { (to_target, to_client) };
        let largest = v6.saturating_sub(HEADERS_V6).min(v4.saturating_sub(HEADERS_V4));
        if let Some(segment) = frame.bytes_mut().get_mut(usize::from(meta.l4)..) {
            clamp(segment, largest);
        }
    }
}

/// Lowers the maximum segment size that a SYN announces, if it announces one; the checksum is changed by what changed. Its data offset
/// was found good.
fn clamp(segment: &mut [u8], largest: u16) {
    let Some(offset) = segment.get(12) else { return };
    let end = usize::from(offset >> 4) * 4;
    let mut at = 20;
    while let Some([kind, rest @ ..]) = segment.get(at..end) {
        let length = match (kind, rest) {
            (0, _) => return,
            (1, _) => 1,
            (_, [length, ..]) if *length >= 2 => usize::from(*length),
            _ => return,
        };
        if let (2, [4, high, low, ..]) = (kind, rest)
            && u16::from_be_bytes([*high, *low]) > largest
        {
            replace(segment, at + 2, largest.to_be_bytes());
        }
        at += length;
    }
}

/// Puts two bytes of a segment in the place of others.
fn replace(segment: &mut [u8], at: usize, new: [u8; 2]) {
    let Some(place) = segment.get_mut(at..at + 2) else { return };
    // The bytes of a word that begins at an odd place count the other way round (RFC 1071 §2).
    let word = |[a, b]: [u8; 2]| u16::from_ne_bytes(if at.is_multiple_of(2) { [a, b] } else { [b, a] });
    let change = u64::from(!word([place[0], place[1]])) + u64::from(word(new));
    place.copy_from_slice(&new);
    if let Some(sum) = segment.get_mut(16..18) {
        let changed = checksum::apply(u16::from_ne_bytes([sum[0], sum[1]]), change);
        sum.copy_from_slice(&changed.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A SYN with these options, padded, and whatever else; its checksum over nothing but itself right.
    fn syn(options: &[u8]) -> Vec<u8> {
        let length = 20 + options.len().next_multiple_of(4);
        let mut segment = vec![0x5a; 20];
        segment[12] = (length as u8 / 4) << 4;
        segment[16..18].fill(0);
        segment.extend(options);
        segment.resize(length, 0);
        segment.extend(b"data, not options: \x02\x04\xff\xff");
        let sum = checksum::of(&[&segment]);
        segment[16..18].copy_from_slice(&sum.to_ne_bytes());
        segment
    }

    fn clamped(options: &[u8], largest: u16) -> Vec<u8> {
        let mut segment = syn(options);
        let before = segment.clone();
        clamp(&mut segment, largest);
        assert_eq!(checksum::of(&[&segment]), checksum::of(&[&before]), "the checksum is as right as it was");
        assert_eq!((&segment[..16], &segment[18..20]), (&before[..16], &before[18..20]));
        let end = usize::from(segment[12] >> 4) * 4;
        assert_eq!(segment[end..], before[end..], "data stays");
        segment[20..20 + options.len()].to_vec()
    }

    /// req: S17.2
    #[test]
    fn larger_ones_are_lowered_and_nothing_else() {
        assert_eq!(clamped(&[2, 4, 5, 180, 1, 3, 3, 7], 1440), [2, 4, 5, 160, 1, 3, 3, 7]);
        assert_eq!(clamped(&[2, 4, 5, 160], 1440), [2, 4, 5, 160]);
        assert_eq!(clamped(&[2, 4, 2, 24], 1440), [2, 4, 2, 24]);
        assert_eq!(clamped(&[2, 4, 255, 255], 8940), [2, 4, 34, 236]);
        // At an odd place, behind others, twice.
        assert_eq!(clamped(&[1, 2, 4, 5, 180], 1440), [1, 2, 4, 5, 160]);
        assert_eq!(clamped(&[4, 2, 1, 2, 4, 5, 180], 1440), [4, 2, 1, 2, 4, 5, 160]);
        assert_eq!(clamped(&[2, 4, 5, 180, 1, 2, 4, 5, 180], 1440), [2, 4, 5, 160, 1, 2, 4, 5, 160]);
        // None, of another length, after the end, cut, of no length.
        for options in
            [&[][..], &[2, 3, 5, 180], &[0, 2, 4, 5, 180], &[1, 1, 2, 4], &[3, 0, 2, 4, 5, 180], &[3, 1, 2, 4, 5, 180]]
        {
            assert_eq!(clamped(options, 1440), options);
        }
    }

    proptest! {
        #[test]
        fn any_options(options in prop::collection::vec(prop_oneof![0..6u8, any::<u8>()], 0..40), largest: u16) {
            clamped(&options, largest);
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..70), largest: u16) {
            clamp(&mut bytes, largest);
        }
    }
}
