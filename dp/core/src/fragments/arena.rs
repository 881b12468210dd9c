//! Where frames wait: bytes copied into chunks of one block of memory, allocated once.

/// Bytes in a chunk.
const CHUNK: usize = 256;
const NONE: u16 = u16::MAX;

/// A frame that was put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept {
    first: u16,
    /// Its bytes.
    pub(super) length: u16,
}

/// Memory for frames.
#[derive(Debug)]
pub(super) struct Arena {
    bytes: Box<[u8]>,
    /// The chunk after each chunk: of the same frame, or of the free ones.
    next: Box<[u16]>,
    free: u16,
    free_count: usize,
}

impl Arena {
    /// Room for this many bytes, at most 65,535 chunks.
    pub(super) fn new(bytes: usize) -> Self {
        let chunks = (bytes / CHUNK).min(usize::from(NONE));
        let next = (1..=chunks).map(|chunk| if chunk < chunks { chunk as u16 } else { NONE }).collect();
        let free = if chunks > 0 { 0 } else { NONE };
        Self { bytes: vec![0; chunks * CHUNK].into(), next, free, free_count: chunks }
    }

    /// Whether a frame of this length has room.
    pub(super) fn has_room(&self, length: usize) -> bool {
        length <= usize::from(u16::MAX) && length.div_ceil(CHUNK) <= self.free_count
    }

    /// Puts a frame away.
    pub(super) fn keep(&mut self, frame: &[u8]) -> Option<Kept> {
        if !self.has_room(frame.len()) {
            return None;
        }
        let kept = Kept { first: self.free, length: frame.len() as u16 };
        let mut last = NONE;
        for part in frame.chunks(CHUNK) {
            last = self.free;
            let start = usize::from(last) * CHUNK;
            self.bytes[start..start + part.len()].copy_from_slice(part);
            self.free = self.next[usize::from(last)];
            self.free_count -= 1;
        }
        if let Some(after) = self.next.get_mut(usize::from(last)) {
            *after = NONE;
        }
        Some(kept)
    }

    /// Takes a frame out, into the beginning of `into`, as much of it as has room there.
    pub(super) fn take(&mut self, kept: Kept, into: &mut [u8]) {
        let mut parts = into.chunks_mut(CHUNK);
        let (mut chunk, mut left) = (kept.first, usize::from(kept.length));
        while left > 0
            && let Some(next) = self.next.get_mut(usize::from(chunk))
        {
            let start = usize::from(chunk) * CHUNK;
            if let Some(part) = parts.next() {
                let length = left.min(part.len());
                part[..length].copy_from_slice(&self.bytes[start..start + length]);
            }
            left = left.saturating_sub(CHUNK);
            let after = std::mem::replace(next, self.free);
            self.free = chunk;
            self.free_count += 1;
            chunk = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_and_all_room_is_given_back() {
        let mut arena = Arena::new(10 * CHUNK);
        let frame = |n: u8, length: usize| (0..length).map(|at| (at as u8).wrapping_mul(n)).collect::<Vec<u8>>();
        for round in 0..20 {
            let frames: Vec<_> = [1, 255, 256, 257, 1024, 600].iter().zip(1u8..).map(|(l, n)| frame(n, *l)).collect();
            let kept: Vec<_> = frames.iter().map_while(|frame| arena.keep(frame)).collect();
            assert_eq!((kept.len(), arena.free_count), (5, 1), "1 + 1 + 1 + 2 + 4 chunks, and 3 are not left");
            let order = [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]][round % 2];
            for at in order {
                let mut into = vec![0xaa; 2000];
                arena.take(kept[at], &mut into);
                assert_eq!(into[..frames[at].len()], frames[at]);
                assert!(into[frames[at].len()..].iter().all(|byte| *byte == 0xaa));
            }
            assert_eq!(arena.free_count, 10);
        }
        let kept = arena.keep(&frame(3, 700)).expect("room");
        arena.take(kept, &mut []);
        assert!(arena.has_room(10 * CHUNK) && !arena.has_room(10 * CHUNK + 1) && !arena.has_room(1 << 20));
        assert!(Arena::new(0).keep(&[1]).is_none());
    }
}
