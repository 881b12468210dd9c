//! How many hugepages are free, so that the caller can choose between `--in-memory` and `--no-huge` before the EAL
//! starts.

use std::fs;
use std::io;
use std::path::Path;

const SYSFS: &str = "/sys/kernel/mm/hugepages";

/// The free hugepages of one size, over all NUMA nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeHugepages {
    /// Size of one page in bytes, e.g. 2 MiB or 1 GiB.
    pub page_bytes: u64,
    /// How many are free now. A cgroup limit may allow this process fewer.
    pub pages: u64,
}

/// The free hugepages by page size, smallest first; sizes with none free are left out. Empty where the kernel has
/// no hugepages.
///
/// # Errors
/// Any error but "not found" on reading sysfs.
pub fn free_hugepages() -> io::Result<Vec<FreeHugepages>> {
    free_hugepages_in(Path::new(SYSFS))
}

fn free_hugepages_in(directory: &Path) -> io::Result<Vec<FreeHugepages>> {
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut free = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(page_bytes) = entry.file_name().to_str().and_then(page_bytes) else { continue };
        let pages = fs::read_to_string(entry.path().join("free_hugepages"))?;
        let pages = pages.trim().parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if pages > 0 {
            free.push(FreeHugepages { page_bytes, pages });
        }
    }
    free.sort_by_key(|free| free.page_bytes);
    Ok(free)
}

/// `hugepages-2048kB` is 2 MiB.
fn page_bytes(directory: &str) -> Option<u64> {
    let kib: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sysfs_directories() {
        assert_eq!(page_bytes("hugepages-2048kB"), Some(2 << 20));
        assert_eq!(page_bytes("hugepages-1048576kB"), Some(1 << 30));
        assert_eq!(page_bytes("hugepages-kB"), None);
        assert_eq!(page_bytes("something"), None);
    }

    #[test]
    fn a_kernel_without_hugepages_has_none_free() {
        assert_eq!(free_hugepages_in(Path::new("/proc/self/no-such-directory")).unwrap(), []);
    }

    #[test]
    fn this_machine_can_be_asked() {
        free_hugepages().unwrap();
    }
}
