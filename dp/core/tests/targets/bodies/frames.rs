//! Frames that are made of other frames: fragments, ICMP errors, and such with changed bytes.

/// Where layer 4 begins in a frame with IPv4 without options, or IPv6 without extension headers.
fn l4(frame: &[u8]) -> usize {
    if is_v6(frame) { 54 } else { 34 }
}

pub fn is_v6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

fn sum(start: u32, bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    start + pairs.sum::<u32>()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Makes the checksum of an IPv4 header right.
pub fn fix_ip(frame: &mut [u8]) {
    if let (false, Some(header)) = (is_v6(frame), frame.get_mut(14..34)) {
        header[10..12].fill(0);
        let right = checksum(sum(0, header));
        header[10..12].copy_from_slice(&right);
    }
}

/// Makes the checksum right that begins at `at` in the segment at `l4`, which goes to the frame's end.
pub fn fix_segment(frame: &mut [u8], l4: usize, protocol: u8, at: usize) {
    let Some(length) = frame.len().checked_sub(l4).filter(|length| *length >= at + 2) else { return };
    frame[l4 + at..l4 + at + 2].fill(0);
    let addresses = frame.get(if is_v6(frame) { 22..54 } else { 26..34 }).unwrap_or_default();
    let pseudo = if protocol == 1 { 0 } else { sum(u32::from(protocol) + length as u32, addresses) };
    let right = checksum(sum(pseudo, &frame[l4..]));
    frame[l4 + at..l4 + at + 2].copy_from_slice(&right);
}

/// The frame in fragments whose data begin at these places (multiples of 8, ascending, none 0): all good packets.
pub fn fragments(frame: &[u8], id: u16, starts: &[usize]) -> Vec<Vec<u8>> {
    let l4 = l4(frame);
    let mut bounds = vec![0];
    bounds.extend(starts.iter().copied().filter(|at| *at > 0 && *at < frame.len() - l4));
    bounds.push(frame.len() - l4);
    bounds.dedup();
    let last = bounds.len() - 2;
    let piece = |n: usize| fragment(frame, id, bounds[n], bounds[n + 1], n < last);
    (0..=last).map(piece).collect()
}

/// Bytes `from` to `to` of the frame's IP payload as a fragment.
pub fn fragment(frame: &[u8], id: u16, from: usize, to: usize, more: bool) -> Vec<u8> {
    let l4 = l4(frame);
    let field = (from as u16 & 0xfff8) | u16::from(more);
    let mut bytes = frame[..l4].to_vec();
    if is_v6(frame) {
        let next = std::mem::replace(&mut bytes[20], 44);
        bytes[18..20].copy_from_slice(&((to - from + 8) as u16).to_be_bytes());
        bytes.extend([next, 0]);
        bytes.extend(field.to_be_bytes());
        bytes.extend(u32::from(id).to_be_bytes());
    } else {
        bytes[16..18].copy_from_slice(&((to - from + 20) as u16).to_be_bytes());
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[20..22].copy_from_slice(&(field >> 3 | (field & 1) << 13).to_be_bytes());
    }
    bytes.extend(&frame[l4 + from..l4 + to]);
    fix_ip(&mut bytes);
    bytes
}

/// An ICMP error that quotes up to `length` bytes of the packet in `quoted`, sent to who sent that, from a router to this MAC.
pub fn icmp_error(quoted: &[u8], mac: [u8; 6], (kind, code): (u8, u8), word: u32, length: usize) -> Vec<u8> {
    let quote = &quoted[14..(14 + length).min(quoted.len())];
    let is_v6 = is_v6(quoted);
    let mut bytes = mac.to_vec();
    bytes.extend([2, 0, 0, 0, 7, 7]);
    let l4 = if is_v6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend(((8 + quote.len()) as u16).to_be_bytes());
        bytes.extend([58, 64]);
        bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe]);
        bytes.extend(&quoted[22..38]);
        54
    } else {
        bytes.extend([0x08, 0x00, 0x45, 0]);
        bytes.extend(((28 + quote.len()) as u16).to_be_bytes());
        bytes.extend([0, 1, 0, 0, 64, 1, 0, 0, 203, 0, 113, 254]);
        bytes.extend(&quoted[26..30]);
        fix_ip(&mut bytes);
        34
    };
    bytes.extend([kind, code, 0, 0]);
    bytes.extend(word.to_be_bytes());
    bytes.extend(quote);
    fix_segment(&mut bytes, l4, if is_v6 { 58 } else { 1 }, 2);
    bytes
}
