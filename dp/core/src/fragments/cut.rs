//! Cutting an IPv4 packet into fragments (RFC 791 §3.2).

use crate::checksum;
use crate::parse::{ETHERNET, L4};

/// "More fragments" among flags and offset.
const MORE: u16 = 0x2000;

/// How an IPv4 packet, perhaps a fragment itself, is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes after the IP header in all pieces but the last: a multiple of 8.
    pub step: usize,
    /// How many pieces there are: at least 2.
    pub pieces: usize,
    l4_len: usize,
    /// Where the packet's bytes begin in its datagram, in bytes.
    offset: usize,
    /// Whether others follow the packet.
    more: bool,
}

impl Cut {
    /// Cuts a frame's IPv4 packet of `ip_len` bytes, which must be there, into packets of at most `mtu` bytes. `None` if it must not be
    /// fragmented, fits, or would come in pieces too small to make sense.
    pub fn new(frame: &[u8], ip_len: u16, mtu: usize) -> Option<Self> {
        let header = frame.get(ETHERNET..)?.first_chunk::<20>()?;
        let field = u16::from_be_bytes([header[6], header[7]]);
        let step = mtu.checked_sub(20)? & !7;
        let l4_len = usize::from(ip_len).checked_sub(20)?;
        // The first piece must hold the largest TCP header.
        if field & 0x4000 != 0 || step < 64 || l4_len <= mtu - 20 || frame.len() < L4 + l4_len {
            return None;
        }
        let offset = usize::from(field & 0x1fff) * 8;
        Some(Self { step, pieces: l4_len.div_ceil(step), l4_len, offset, more: field & MORE != 0 })
    }

    /// Bytes of piece number `n` after the IP header.
    pub fn length(&self, n: usize) -> usize {
        self.l4_len.saturating_sub(n * self.step).min(self.step)
    }

    /// Makes `into`, of the length that it needs, piece number `n` of this frame. None: it has another length.
    pub fn copy(&self, frame: &[u8], n: usize, into: &mut [u8]) -> Option<()> {
        let from = L4 + n * self.step;
        let part = frame.get(from..from + self.length(n))?;
        let (headers, rest) = into.split_at_mut_checked(L4).filter(|(_, rest)| rest.len() == part.len())?;
        headers.copy_from_slice(frame.get(..L4)?);
        rest.copy_from_slice(part);
        self.set_headers(into, n);
        Some(())
    }

    /// Makes the IP header of a frame with the packet that of piece number `n`.
    pub fn set_headers(&self, frame: &mut [u8], n: usize) {
        let Some(ip) = frame.get_mut(ETHERNET..L4) else { return };
        let more = self.more || n + 1 < self.pieces;
        let field = ((self.offset + n * self.step) / 8) as u16 | if more { MORE } else { 0 };
        ip[2..4].copy_from_slice(&((20 + self.length(n)) as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&field.to_be_bytes());
        ip[10..12].fill(0);
        let sum = checksum::of(&[ip]);
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// Gives an IPv4 packet another identification.
pub fn set_id(frame: &mut [u8], id: u16) {
    if let Some(ip) = frame.get_mut(ETHERNET..L4) {
        let change = u64::from(!u16::from_ne_bytes([ip[4], ip[5]])) + u64::from(id.to_be());
        let sum = checksum::apply(u16::from_ne_bytes([ip[10], ip[11]]), change);
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
    }
}
