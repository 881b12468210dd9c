//! DPDK's error numbers as a typed error: POSIX `errno` values and a few of DPDK's own.

use std::ffi::{CStr, c_int};
use std::fmt;

use leat_dpdk_sys as sys;

/// Why a DPDK function failed. Displays DPDK's text and the number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(c_int);

impl Errno {
    /// The positive error number, e.g. 2 for `ENOENT`.
    pub fn code(self) -> i32 {
        self.0
    }

    pub(crate) const EBUSY: Errno = Errno(16);
    pub(crate) const EEXIST: Errno = Errno(17);
    pub(crate) const ENODEV: Errno = Errno(19);
    pub(crate) const EINVAL: Errno = Errno(22);
    pub(crate) const ENOTSUP: Errno = Errno(95);

    /// The calling thread's `rte_errno`, for functions that report failure by a null pointer or a plain -1.
    pub(crate) fn last() -> Errno {
        // SAFETY: needed because `rte_errno` is a C thread-local; reading the calling thread's own has no
        // precondition.
        Errno(unsafe { sys::leat_errno() })
    }

    /// Splits a return value into a result (zero or positive) and an error (the negated error number).
    pub(crate) fn check(ret: c_int) -> Result<c_int, Errno> {
        if ret < 0 { Err(Errno(ret.saturating_neg())) } else { Ok(ret) }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 1 {
            // Many drivers return a plain -1 for any failure; "operation not permitted" alone would send people the
            // wrong way.
            return f.write_str("no reason given, or operation not permitted (errno 1)");
        }
        // SAFETY: needed to get DPDK's text. `rte_strerror` accepts any number and returns a NUL-terminated string
        // that stays valid until this thread's next call, which cannot happen before the string has been written
        // out below.
        let text = unsafe { CStr::from_ptr(sys::rte_strerror(self.0)) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}
