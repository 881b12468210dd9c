//! Memory on huge pages, where the kernel has them: a flow lies anywhere in its table, and translating its address costs as much as
//! reading it when there are 4 KiB to a page. All of it is best effort: without huge pages everything works, only slower.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// A vector of `count` times `value`, on transparent huge pages unless they are switched off.
pub fn vec<T: Clone>(value: T, count: usize) -> Vec<T> {
    let mut vec: Vec<T> = Vec::with_capacity(count);
    // Before it is touched: then the pages are huge from the beginning.
    advise(vec.as_mut_ptr().cast(), vec.capacity() * size_of::<T>(), libc::MADV_HUGEPAGE);
    vec.resize(count, value);
    vec
}

/// Asks for something for all huge pages that lie inside these bytes. True if the kernel has done it.
fn advise(start: *mut u8, bytes: usize, advice: libc::c_int) -> bool {
    let skipped = start.align_offset(HUGE);
    let bytes = bytes.saturating_sub(skipped) / HUGE * HUGE;
    // SAFETY: a system call. The two pieces of advice that are given here change which pages memory lies on, and nothing that it contains.
    bytes > 0 && unsafe { libc::madvise(start.wrapping_add(skipped).cast(), bytes, advice) } == 0
}

/// Maps a file's bytes from `offset` on, for ever, where they can lie on huge pages, and puts them there, whatever tmpfs does by itself
/// (Linux 6.1 and later; not where they are denied). hugetlbfs has no other pages.
///
/// # Errors
/// As the kernel says.
pub(crate) fn map_forever(file: &File, offset: u64, bytes: usize) -> io::Result<*mut u8> {
    let mapped = |at: *mut libc::c_void| {
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast::<u8>()) }
    };
    // SAFETY: system calls that map what nobody has mapped: first nothing, with room for an aligned part of it, then the file over that part.
    let start = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let room = mapped(libc::mmap(std::ptr::null_mut(), bytes + HUGE, libc::PROT_NONE, flags, -1, 0))?;
        let start = room.add(room.align_offset(HUGE)).cast();
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        mapped(libc::mmap(start, bytes, access, flags, file.as_raw_fd(), offset as libc::off_t))?
    };
    advise(start, bytes, libc::MADV_COLLAPSE);
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_vector_is_filled() {
        for count in [0, 1, 5 << 20] {
            assert_eq!(vec(7u8, count), vec![7; count]);
        }
    }

    /// What a file contains is there, before and after it lies on huge pages, aligned so that it can.
    #[test]
    fn a_file_is_mapped_as_it_is() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(3 * HUGE as u64).unwrap();
        file.write_all_at(b"leat", HUGE as u64).unwrap();
        let start = map_forever(&file, HUGE as u64, 2 * HUGE).unwrap();
        assert_eq!(start.align_offset(HUGE), 0);
        // SAFETY: mapped just now, for ever, and used here alone.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, 2 * HUGE) };
        assert_eq!((&bytes[..4], bytes[2 * HUGE - 1]), (&b"leat"[..], 0));
        bytes[2 * HUGE - 1] = 9;
        let mut last = [0];
        file.read_exact_at(&mut last, 3 * HUGE as u64 - 1).unwrap();
        assert_eq!(last, [9]);
    }
}
