//! The memory of one lcore's flows: an array of lines.
//!
//! First come the entries that have one line, then those that have two, a pair of lines each: the entry, then its [`FlowAddresses`]. In
//! the segment the pairs lie at multiples of 128 bytes: on one page, and side by side in memory. An entry's number is that of its first
//! line; the number of a second line is no entry's.

use std::ops::{Index, IndexMut};

use crate::flow::{FlowAddresses, FlowEntry};

/// Lines that an lcore's flows may have at the most.
pub const LINES_MAX: u64 = 1 << 30;

/// The flows of one lcore.
#[derive(Debug)]
pub struct FlowMemory<'m> {
    lines: &'m mut [FlowEntry],
    first_wide: u32,
}

impl<'m> FlowMemory<'m> {
    /// The last lines are those of `wide` entries with a second line.
    ///
    /// # Panics
    /// When there are no lines, more than [`LINES_MAX`], or fewer than these entries need.
    pub fn new(lines: &'m mut [FlowEntry], wide: usize) -> Self {
        assert!((1..=LINES_MAX).contains(&(lines.len() as u64)), "1 to {LINES_MAX} lines");
        assert!(wide <= lines.len() / 2, "two lines for an entry with a second one");
        let first_wide = (lines.len() - 2 * wide) as u32;
        Self { lines, first_wide }
    }

    /// How many entries there are.
    pub fn capacity(&self) -> usize {
        self.index_of(self.lines.len() as u32)
    }

    /// The first entry that has a second line; the number after the last line if none has.
    #[inline(always)]
    pub fn first_wide(&self) -> u32 {
        self.first_wide
    }

    /// The numbers of all entries, in order.
    pub fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> + use<> {
        (0..self.first_wide).chain((self.first_wide..self.lines.len() as u32).step_by(2))
    }

    /// The number of the entry that has `index` entries before it.
    #[inline(always)]
    pub fn number_of(&self, index: usize) -> u32 {
        (index + index.saturating_sub(self.first_wide as usize)) as u32
    }

    /// How many entries there are before this one.
    #[inline(always)]
    pub fn index_of(&self, number: u32) -> usize {
        (number - number.saturating_sub(self.first_wide) / 2) as usize
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = &FlowEntry> {
        let (narrow, wide) = self.lines.split_at(self.first_wide as usize);
        narrow.iter().chain(wide.iter().step_by(2))
    }

    /// As [`FlowMemory::iter`], to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut FlowEntry> {
        let (narrow, wide) = self.lines.split_at_mut(self.first_wide as usize);
        narrow.iter_mut().chain(wide.iter_mut().step_by(2))
    }

    /// Fills all lines with zeros: no entry is in use.
    pub fn clear(&mut self) {
        self.lines.fill(FlowEntry::default());
    }

    /// Bytes of all lines.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines)
    }

    /// Has an entry's lines fetched. Both are asked for: CPUs that fetch lines by twos do so only when they have nothing else to do. The pointer
    /// is only good for that.
    #[inline(always)]
    pub fn fetch(&self, number: usize, fetch: impl Fn(*const FlowEntry)) {
        let line = self.lines.as_ptr().wrapping_add(number);
        fetch(line);
        if number >= self.first_wide as usize {
            fetch(line.wrapping_add(1));
        }
    }

    /// An entry, if there is one of this number, to be changed.
    #[inline(always)]
    pub fn get_mut(&mut self, number: usize) -> Option<&mut FlowEntry> {
        self.lines.get_mut(number)
    }

    /// An entry, to be changed, and the line behind it: its second one if it [is wide](FlowEntry::is_wide).
    #[inline(always)]
    pub fn pair_mut(&mut self, number: usize) -> Option<(&mut FlowEntry, &FlowAddresses)> {
        let pair: &mut [FlowEntry; 2] = self.lines.get_mut(number..number + 2)?.first_chunk_mut()?;
        let [entry, second] = pair;
        Some((entry, zerocopy::transmute_ref!(second)))
    }

    /// The second line of an entry that has one.
    #[inline(always)]
    pub fn second_line(&self, number: u32) -> Option<&FlowAddresses> {
        let second = if number < self.first_wide { None } else { self.lines.get(number as usize + 1) };
        second.map(|second| zerocopy::transmute_ref!(second))
    }

    /// As [`FlowMemory::second_line`], to be changed.
    #[inline(always)]
    pub fn second_line_mut(&mut self, number: u32) -> Option<&mut FlowAddresses> {
        let second = if number < self.first_wide { None } else { self.lines.get_mut(number as usize + 1) };
        second.map(|second| zerocopy::transmute_mut!(second))
    }
}

/// The entry of a number. Panics if there is none.
impl Index<u32> for FlowMemory<'_> {
    type Output = FlowEntry;

    #[inline(always)]
    fn index(&self, number: u32) -> &FlowEntry {
        &self.lines[number as usize]
    }
}

impl IndexMut<u32> for FlowMemory<'_> {
    #[inline(always)]
    fn index_mut(&mut self, number: u32) -> &mut FlowEntry {
        &mut self.lines[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line is an entry's, first or second, and no other's.
    #[test]
    fn each_line_has_one_entry() {
        for (narrow, wide) in [(5, 0), (0, 3), (4, 2), (3, 5)] {
            let mut lines = vec![FlowEntry::default(); narrow + 2 * wide];
            let mut memory = FlowMemory::new(&mut lines, wide);
            assert_eq!((memory.capacity(), memory.first_wide() as usize), (narrow + wide, narrow));
            let numbers: Vec<u32> = memory.numbers().collect();
            assert_eq!(numbers.len(), narrow + wide);
            for (index, number) in numbers.iter().enumerate() {
                assert_eq!((memory.number_of(index), memory.index_of(*number)), (*number, index));
                memory[*number].client_isn += 1;
                memory[*number].state = 1;
                assert_eq!(memory.second_line_mut(*number).is_some(), index >= narrow);
                if let Some(addresses) = memory.second_line_mut(*number) {
                    addresses.client = [index as u8; 16];
                }
            }
            assert!(memory.iter().all(|entry| (entry.client_isn, entry.state) == (1, 1)));
            assert_eq!((memory.iter().count(), memory.iter_mut().count()), (narrow + wide, narrow + wide));
            for (index, number) in numbers.iter().enumerate().skip(narrow) {
                assert_eq!(memory.second_line(*number).map(|addresses| addresses.client), Some([index as u8; 16]));
                let (entry, addresses) = memory.pair_mut(*number as usize).expect("a pair");
                assert_eq!((entry.state, addresses.client), (1, [index as u8; 16]));
            }
            assert!(memory.get_mut(narrow + 2 * wide).is_none() && memory.pair_mut(narrow + 2 * wide - 1).is_none());
            memory.clear();
            assert!(lines.iter().all(|line| *line == FlowEntry::default()));
        }
    }
}
