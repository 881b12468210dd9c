//! What DPDK brings along for what Leat does itself, to compare with in benchmarks and tests: the cuckoo hash table
//! and the Toeplitz hash.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use leat_dpdk_sys as sys;

use crate::eal::{Eal, EalError, c_string};
use crate::errno::Errno;
use crate::mempool::ANY_SOCKET;
use crate::runtime::Runtime;

/// Bytes of a key of [`HashTable`]: two IPv6 addresses, two ports, protocol and padding.
pub const KEY_BYTES: usize = 40;

/// Most keys in one [`HashTable::lookup_bulk`].
pub const LOOKUP_KEYS_MAX: usize = 32;

/// Most 32-bit words that [`toeplitz`] takes with a key of 40 bytes: the IPv6 four-tuple.
pub const TUPLE_WORDS_MAX: usize = 9;

/// `rte_hash` with keys of [`KEY_BYTES`] and `rte_hash_crc`.
pub struct HashTable {
    table: NonNull<sys::rte_hash>,
    _runtime: Arc<Runtime>,
    _not_send: PhantomData<*mut ()>,
}

/// Why the table could not be created or a key not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashTableError {
    /// The name holds a NUL byte.
    #[error(transparent)]
    Name(#[from] EalError),
    /// DPDK's refusal of a new table.
    #[error("cannot create a hash table of {0} entries: {1}")]
    Create(u32, Errno),
    /// DPDK's refusal of a key: `ENOSPC` when the table is full.
    #[error("cannot add a key: {0}")]
    Add(Errno),
    /// DPDK's refusal to remove a key: `ENOENT` when it is not there.
    #[error("cannot remove a key: {0}")]
    Remove(Errno),
}

impl HashTable {
    /// Creates a table for `entries` keys; `name` is unique in the process.
    ///
    /// # Errors
    /// See [`HashTableError`].
    pub fn new(eal: &Eal, name: &str, entries: u32) -> Result<HashTable, HashTableError> {
        let name = c_string(name)?;
        let parameters = sys::rte_hash_parameters {
            name: name.as_ptr(),
            entries,
            key_len: KEY_BYTES as u32,
            hash_func: Some(sys::rte_hash_crc),
            socket_id: ANY_SOCKET,
            ..Default::default()
        };
        // SAFETY: needed to create the table; DPDK copies name and parameters. The EAL runs, as `eal` shows.
        let table = unsafe { sys::rte_hash_create(&parameters) };
        let table = NonNull::new(table).ok_or_else(|| HashTableError::Create(entries, Errno::last()))?;
        Ok(HashTable { table, _runtime: Arc::clone(eal.runtime()), _not_send: PhantomData })
    }

    /// Adds a key and returns its position, below the number of entries. A key that is there already keeps its
    /// position.
    ///
    /// # Errors
    /// [`HashTableError::Add`]
    pub fn add_key(&mut self, key: &[u8; KEY_BYTES]) -> Result<u32, HashTableError> {
        // SAFETY: needed to add; the table is alive and used by this thread only. DPDK copies KEY_BYTES bytes.
        let position = unsafe { sys::rte_hash_add_key(self.table.as_ptr(), key.as_ptr().cast()) };
        Errno::check(position).map(|position| position as u32).map_err(HashTableError::Add)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`HashTableError::Remove`]
    pub fn remove_key(&mut self, key: &[u8; KEY_BYTES]) -> Result<(), HashTableError> {
        // SAFETY: needed to remove; the table is alive and used by this thread only. DPDK reads KEY_BYTES bytes.
        let position = unsafe { sys::rte_hash_del_key(self.table.as_ptr(), key.as_ptr().cast()) };
        Errno::check(position).map(drop).map_err(HashTableError::Remove)
    }

    /// Looks up to [`LOOKUP_KEYS_MAX`] keys up at once and writes their positions, negative for a key that is not
    /// there. Returns how many keys and positions were considered: the shortest of the two and the limit.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[&[u8; KEY_BYTES]], positions: &mut [i32]) -> usize {
        let count = keys.len().min(positions.len()).min(LOOKUP_KEYS_MAX);
        if count == 0 {
            return 0;
        }
        // SAFETY: needed to look up; the table is alive and used by this thread only. A reference is laid out as a
        // pointer; DPDK reads `count` of them with KEY_BYTES bytes each, and writes `count` positions.
        let ret = unsafe {
            let keys = keys.as_ptr().cast_mut().cast();
            sys::rte_hash_lookup_bulk(self.table.as_ptr(), keys, count as u32, positions.as_mut_ptr())
        };
        debug_assert_eq!(ret, 0);
        count
    }
}

impl Drop for HashTable {
    fn drop(&mut self) {
        // SAFETY: needed to give the memory back; this is the only handle.
        unsafe { sys::rte_hash_free(self.table.as_ptr()) }
    }
}

/// The Toeplitz hash that NICs compute for RSS (`rte_softrss`), of a tuple given as 32-bit words in host order:
/// addresses, then the two ports in one word. Words beyond [`TUPLE_WORDS_MAX`] are ignored.
pub fn toeplitz(tuple: &[u32], key: &[u8; 40]) -> u32 {
    /// DPDK reads the key as 32-bit words.
    #[repr(align(4))]
    struct Aligned([u8; 40]);

    let key = Aligned(*key);
    let words = tuple.len().min(TUPLE_WORDS_MAX);
    // SAFETY: needed to call DPDK's C. It reads `words` words of the tuple (and writes none, though its type allows
    // it) and words + 1 words of the key, which has ten and is aligned.
    unsafe { sys::rte_softrss(tuple.as_ptr().cast_mut(), words as u32, key.0.as_ptr()) }
}
