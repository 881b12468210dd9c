//! What redb takes on trust when it opens a file: its first bytes. Something wrong there would make it go back to an older transaction,
//! or end the process without a word about the file.
//!
//! redb's file format 3, numbers with the least byte first: magic number, mark, fixed sizes, the file's length; then two slots for
//! transactions of 128 bytes. The mark says which slot counts; the other one holds the transaction before, or is being written.
//!
//! redb writes all of the header at once, but nothing protects the length: power lost in between leaves some bytes of the old one and some
//! of the new one. redb believes it of a file that was closed only, and measures others; so does this.

/// So many bytes have a header.
pub const BYTES: usize = 320;
/// Where the mark is.
const MARK: usize = 9;
const MAGIC: [u8; MARK] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// In the mark: the second slot counts.
const SECOND: u8 = 1;
/// In the mark: the file was not closed, and redb checks it.
const UNCLOSED: u8 = 2;
/// In the mark: all of the transaction was on the disk before the mark said that it counts. redb then takes what it knows of free pages
/// from there, unchecked.
const CERTAIN: u8 = 4;
/// Bytes of a page, pages before each region's data, pages of a region.
const SIZES: [u32; 3] = [PAGE as u32, 0, 1 << 20];
const PAGE: u64 = 4096;
/// The length without the first page: full regions, and pages beyond them.
const LENGTH: [usize; 2] = [24, 28];
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
/// A slot's first byte: the version of the format.
const FORMAT: u8 = 3;
const TRANSACTION: usize = 104;

fn number(content: &[u8], at: usize, bytes: usize) -> u64 {
    content.iter().skip(at).take(bytes).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn transaction(content: &[u8], slot: usize) -> u64 {
    number(content, SLOTS[slot] + TRANSACTION, 8)
}

fn slot(content: &[u8]) -> usize {
    usize::from(content.get(MARK).is_some_and(|mark| mark & SECOND != 0))
}

/// Whether the transaction that counts is older than the other one: that one was cut off before it counted, or it counts and the mark
/// is wrong.
pub fn is_older(content: &[u8]) -> bool {
    let counts = slot(content);
    transaction(content, counts) < transaction(content, 1 - counts)
}

/// Checks a file's header, and sets its mark so that redb checks all the rest; with `alone`, it takes the transaction that counts or
/// none. The transaction that it must take, if that is certain.
///
/// # Errors
/// The file is none of redb's, or was damaged: what is wrong.
pub fn prepare(content: &mut [u8], alone: bool) -> Result<Option<u64>, String> {
    let length = content.len() as u64;
    if !content.starts_with(&MAGIC) {
        return Err("it does not begin as one".into());
    }
    if length < 2 * PAGE || [12, 16, 20].map(|at| number(content, at, 4)) != SIZES.map(u64::from) {
        return Err("its header is damaged".into());
    }
    let (pages, region, mark) = (length / PAGE - 1, u64::from(SIZES[2]), content[MARK]);
    let told = LENGTH.map(|at| number(content, at, 4));
    if !length.is_multiple_of(PAGE) || mark & UNCLOSED == 0 && told[0] * region + told[1] != pages {
        return Err("it was cut, or its header is damaged: its length is not what the header says".into());
    }
    // A page that is missing is found when redb reads it. A length of more than there is would end the process before.
    for (at, told) in LENGTH.into_iter().zip([pages / region, pages % region]) {
        let told = u32::try_from(told).map_err(|_| "it is too long")?;
        content[at..at + 4].copy_from_slice(&told.to_le_bytes());
    }
    let counts = slot(content);
    let newest = (mark & CERTAIN != 0 && alone).then(|| transaction(content, counts));
    content[MARK] = (mark | UNCLOSED) & !CERTAIN;
    if newest.is_some() {
        // There is no way back: what the other slot refers to may have been written over, and the file may be shorter by now.
        let other = &mut content[SLOTS[1 - counts]..][..SLOT_BYTES];
        other.fill(0);
        other[0] = FORMAT;
    }
    Ok(newest)
}

/// Whether a file that redb has opened has a transaction still: in the slot that counts, or in the other one when redb has added one of
/// its own.
pub fn has(content: &[u8], wanted: u64) -> bool {
    [0, 1].iter().any(|slot| transaction(content, *slot) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected of a file is what redb makes.
    #[test]
    fn a_new_file_is_good() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        drop(redb::Builder::new().create_file(file.reopen().expect("it")).expect("a database"));
        let content = std::fs::read(file.path()).expect("it");
        let mut prepared = content.clone();
        prepare(&mut prepared, true).expect("good");
        assert_eq!(prepared[MARK], content[MARK] & !CERTAIN | UNCLOSED);
        assert_eq!(SLOTS.map(|slot| content[slot]), [FORMAT; 2]);
        assert!(prepare(&mut [&content[..], &[0; PAGE as usize]].concat(), true).is_err(), "longer than it says");
        assert!(prepare(&mut content[..content.len() - PAGE as usize].to_vec(), true).is_err(), "shorter");
        let mut unclosed = content.clone();
        unclosed[MARK] |= UNCLOSED;
        unclosed[LENGTH[1]] ^= 0xff;
        prepare(&mut unclosed, true).expect("the length is measured");
        assert_eq!(unclosed, prepared);
        for at in (0..9).chain(12..32) {
            let mut wrong = content.clone();
            wrong[at] ^= 0x10;
            assert!(prepare(&mut wrong, true).is_err(), "byte {at}");
        }
    }
}
