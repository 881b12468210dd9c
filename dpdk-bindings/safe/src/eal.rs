//! Starting DPDK's environment abstraction layer, running closures on its lcores, attaching devices at run time.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leat_dpdk_sys as sys;

use crate::errno::Errno;
use crate::port::PortId;
use crate::runtime::Runtime;

/// The running EAL. Stays on the thread that started it, the *main lcore*.
///
/// The EAL is cleaned up when this and everything made from it (workers, ports, queues, pools, handovers) have been
/// dropped, provided that the last of them goes on the main lcore and every mbuf is back in its pool. Otherwise the
/// operating system cleans up when the process ends; with `--in-memory`, or `--no-huge --no-shconf`, no file stays
/// behind.
pub struct Eal {
    runtime: Arc<Runtime>,
    main_lcore: LcoreId,
    worker_lcores: Vec<LcoreId>,
    /// Not Send, not Sync.
    _main_lcore_only: PhantomData<*mut ()>,
}

/// A DPDK logical core: a thread that the EAL has pinned to a CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LcoreId(u32);

/// A closure running on a worker lcore. Stays on the main lcore.
///
/// Dropping it waits for the closure, as [`join`](Worker::join) does, unless the main lcore is panicking: then the
/// worker is left running until the process ends.
#[must_use = "dropping a Worker waits for its closure to return"]
pub struct Worker {
    lcore: LcoreId,
    /// None once joined.
    runtime: Option<Arc<Runtime>>,
    _main_lcore_only: PhantomData<*mut ()>,
}

/// What can go wrong with the EAL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EalError {
    /// The EAL starts once per process, whether or not that worked.
    #[error("DPDK's EAL has been started in this process before; it can be started only once")]
    AlreadyStarted,
    /// An argument that would make EAL print help and end the process, or that asks for a secondary process: that
    /// would wait for ever for a primary, and could not attach to one that runs `--in-memory`.
    #[error("EAL argument {0:?} is not supported here")]
    Unsupported(String),
    /// A NUL byte inside an argument, name or option.
    #[error("{0:?} contains a NUL byte")]
    NulByte(String),
    /// The EAL did not start. It has written its reason to standard error.
    #[error("DPDK's EAL did not start with arguments `{arguments}`: {errno}; see EAL's own message on standard error")]
    Start {
        /// All arguments as given to the EAL, separated by spaces.
        arguments: String,
        /// DPDK's reason.
        errno: Errno,
    },
    /// An argument that is not an option: usually an option's name has been forgotten or misspelt.
    #[error("EAL argument {0:?} is not an option and has no effect")]
    StrayArgument(String),
    /// Not one of [`Eal::worker_lcores`].
    #[error("lcore {0} is not a worker lcore of this process")]
    NotAWorker(LcoreId),
    /// The lcore cannot take a closure now, usually because the [`Worker`] before has not been joined (`EBUSY`).
    #[error("cannot launch on lcore {lcore}: {errno}")]
    Launch {
        /// The lcore asked for.
        lcore: LcoreId,
        /// DPDK's reason.
        errno: Errno,
    },
    /// The virtual device could not be created. Its driver has written its reason to standard error.
    #[error("cannot attach device {name} ({options}): {errno}; see the driver's own message on standard error")]
    Attach {
        /// The device's name.
        name: String,
        /// The driver's options as given.
        options: String,
        /// DPDK's reason.
        errno: Errno,
    },
}

impl Eal {
    /// Starts the EAL, once per process, with command-line arguments *without* the program's name, e.g.
    /// `["--in-memory", "--no-pci", "-l", "0,1"]`; where no hugepages are free (see
    /// [`free_hugepages`](crate::free_hugepages)), `["--no-huge", "-m", "512", "--no-shconf", …]`, for EAL does not
    /// take `--no-huge` and `--in-memory` together.
    ///
    /// The calling thread becomes the main lcore and is pinned to its CPU; threads that it starts later inherit
    /// that. Start the process's other threads first, or set their affinity.
    ///
    /// EAL logs to standard error and syslog. Without a `--log-level` argument it logs warnings and errors only.
    ///
    /// A `--vdev` that fails to come up does *not* fail this call: look it up with [`PortId::by_name`].
    ///
    /// # Errors
    /// See [`EalError`]. An argument that EAL refuses makes it print its usage on standard output besides.
    ///
    /// # Process exit
    /// EAL ends the process by itself for `--help` and `--log-level=help` (refused here) and aborts if it cannot
    /// create or pin a worker thread. Unknown options and lcores, missing drivers, hugepages and memory were all
    /// seen to come back as errors.
    pub fn init<S: AsRef<str>>(arguments: &[S]) -> Result<Eal, EalError> {
        let arguments = complete_arguments(arguments)?;
        let mut argv = arguments.iter().map(|argument| c_string(argument)).collect::<Result<Vec<_>, _>>()?;
        argv.insert(0, c"leat".to_owned());
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        // EAL may keep pointers to its arguments for as long as the process lives, and reorders the array.
        let mut argv: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).chain([ptr::null_mut()]).collect();
        let argc = (argv.len() - 1) as c_int;
        // SAFETY: needed to start DPDK. `argv` has `argc` strings and a closing null, all writable; the strings are
        // never freed and EAL does not keep the array. STARTED makes this the only call in the process.
        let parsed = unsafe { sys::rte_eal_init(argc, argv.as_mut_ptr()) };
        if parsed < 0 {
            return Err(EalError::Start { arguments: arguments.join(" "), errno: Errno::last() });
        }
        let eal = Eal {
            runtime: Arc::new(Runtime::new()),
            // SAFETY: needed to ask DPDK; it only reads what rte_eal_init has set.
            main_lcore: LcoreId(unsafe { sys::rte_get_main_lcore() }),
            worker_lcores: worker_lcores(),
            _main_lcore_only: PhantomData,
        };
        // EAL moves what it does not understand behind the options, and says how many arguments it has understood.
        match argv.get(parsed as usize + 1) {
            Some(&stray) if !stray.is_null() => {
                // SAFETY: needed to read the argument back; it is one of the strings made above, which are never
                // freed.
                let stray = unsafe { CStr::from_ptr(stray) };
                Err(EalError::StrayArgument(stray.to_string_lossy().into_owned()))
            }
            _ => Ok(eal),
        }
    }

    /// The lcore of the thread that started the EAL.
    pub fn main_lcore(&self) -> LcoreId {
        self.main_lcore
    }

    /// The lcores that [`launch`](Eal::launch) accepts, in ascending order; not the main lcore.
    pub fn worker_lcores(&self) -> &[LcoreId] {
        &self.worker_lcores
    }

    /// The NUMA node of an lcore; 0 where the machine has but one.
    pub fn socket_of(&self, lcore: LcoreId) -> u32 {
        // SAFETY: needed to ask DPDK. An LcoreId comes from the EAL only, so it is a valid index into its table.
        unsafe { sys::rte_lcore_to_socket_id(lcore.0) }
    }

    /// Ticks of [`rdtsc`](crate::rdtsc) per second.
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: needed to ask DPDK, which has measured it during rte_eal_init; it only reads.
        unsafe { sys::rte_get_tsc_hz() }
    }

    /// Runs `f` on a worker lcore until it returns; its result comes back from [`Worker::join`]. A panic in `f`
    /// aborts the process: there is no Rust frame above it to unwind into.
    ///
    /// # Errors
    /// [`EalError::NotAWorker`], or [`EalError::Launch`] if the lcore is busy.
    pub fn launch<F>(&self, lcore: LcoreId, f: F) -> Result<Worker, EalError>
    where
        F: FnOnce() -> i32 + Send + 'static,
    {
        /// An `extern "C"` function aborts when a panic reaches it.
        extern "C" fn run<F: FnOnce() -> i32>(f: *mut c_void) -> c_int {
            // SAFETY: needed to get the closure back through C; `f` is the box that `launch` gave away, and runs
            // once.
            let f = unsafe { Box::from_raw(f.cast::<F>()) };
            f()
        }
        if !self.worker_lcores.contains(&lcore) {
            return Err(EalError::NotAWorker(lcore));
        }
        // To DPDK an lcore is free again as soon as its closure has returned; the first Worker would then wait for, and
        // return the result of, the second closure.
        if self.runtime.is_busy(lcore.0) {
            return Err(EalError::Launch { lcore, errno: Errno::EBUSY });
        }
        let f = Box::into_raw(Box::new(f));
        // SAFETY: needed to hand the closure to the lcore's thread. F is Send and 'static; `lcore` is a worker;
        // this is the main lcore, for Eal cannot leave it.
        let launched = unsafe { sys::rte_eal_remote_launch(Some(run::<F>), f.cast(), lcore.0) };
        if let Err(errno) = Errno::check(launched) {
            // SAFETY: needed to drop the closure; DPDK has refused it, so `run` will not.
            drop(unsafe { Box::from_raw(f) });
            return Err(EalError::Launch { lcore, errno });
        }
        self.runtime.worker_launched(lcore.0);
        Ok(Worker { lcore, runtime: Some(Arc::clone(&self.runtime)), _main_lcore_only: PhantomData })
    }

    /// Creates a virtual device while the EAL runs, e.g. `attach_vdev("net_tap_lan", "iface=leat-lan")`, and
    /// returns its port, to be configured like any other. `name` starts with the driver's name; `options` may be
    /// empty.
    ///
    /// # Errors
    /// [`EalError::Attach`], also if there is a port of that name (`EEXIST`) or the device is not an Ethernet port
    /// (`ENODEV`).
    pub fn attach_vdev(&self, name: &str, options: &str) -> Result<PortId, EalError> {
        let (c_name, c_options) = (c_string(name)?, c_string(options)?);
        let failed = |errno| EalError::Attach { name: name.to_owned(), options: options.to_owned(), errno };
        let attach = || {
            let ret = self.runtime.control(|| {
                // SAFETY: needed to create the device; three NUL-terminated strings, which DPDK copies.
                unsafe { sys::rte_eal_hotplug_add(VDEV_BUS.as_ptr(), c_name.as_ptr(), c_options.as_ptr()) }
            });
            Errno::check(ret).map_err(failed)?;
            PortId::by_name(self, name).map_err(|_| failed(Errno::ENODEV))
        };
        if PortId::by_name(self, name).is_ok() {
            return Err(failed(Errno::EEXIST));
        }
        attach().or_else(|error| {
            // A closed port leaves its device on the bus, and EAL reports success without creating anything. Remove
            // it first.
            let ret = self.runtime.control(|| {
                // SAFETY: needed to remove the device; two NUL-terminated strings. It has no port, so nobody uses it.
                unsafe { sys::rte_eal_hotplug_remove(VDEV_BUS.as_ptr(), c_name.as_ptr()) }
            });
            if ret == 0 { attach() } else { Err(error) }
        })
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }
}

impl LcoreId {
    /// DPDK's number for the lcore; with plain `-l` also the number of its CPU.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Worker {
    /// Where it runs.
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// False once the closure has returned.
    pub fn is_running(&self) -> bool {
        // SAFETY: needed to ask DPDK, which reads an atomic; the lcore is a worker, checked at launch.
        unsafe { sys::rte_eal_get_lcore_state(self.lcore.0) == sys::rte_lcore_state_t_RUNNING }
    }

    /// Waits for the closure to return and gives its result. Sleeps meanwhile; notices within about a millisecond.
    pub fn join(mut self) -> i32 {
        self.wait()
    }

    fn wait(&mut self) -> i32 {
        while self.is_running() {
            thread::sleep(JOIN_POLL);
        }
        // SAFETY: needed for the result and for its ordering: what the worker did happens before this returns. The
        // lcore is a worker, and this is the main lcore, for Worker cannot leave it.
        let result = unsafe { sys::rte_eal_wait_lcore(self.lcore.0) };
        if let Some(runtime) = self.runtime.take() {
            runtime.worker_joined(self.lcore.0);
        }
        result
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.runtime.is_none() {
            return;
        }
        if thread::panicking() {
            // Waiting could hang a process that is about to report its panic. The worker counts as running for
            // ever, so nothing under it is freed.
            mem::forget(self.runtime.take());
        } else {
            self.wait();
        }
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

const VDEV_BUS: &CStr = c"vdev";

const JOIN_POLL: Duration = Duration::from_millis(1);

fn complete_arguments<S: AsRef<str>>(arguments: &[S]) -> Result<Vec<String>, EalError> {
    let mut complete: Vec<String> = arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
    // getopt accepts abbreviations; no other option begins with "--he".
    let unsupported = |argument: &String| {
        ["-h", "--he", "--log-level=help", "--proc-type=secondary", "--proc-type=auto"]
            .iter()
            .any(|prefix| argument.starts_with(prefix))
    };
    let separated = complete.windows(2).map(|pair| pair.join("="));
    if let Some(argument) = complete.iter().cloned().chain(separated).find(unsupported) {
        return Err(EalError::Unsupported(argument));
    }
    if !complete.iter().any(|argument| argument.starts_with("--log-level")) {
        complete.insert(0, "--log-level=*:warning".to_owned());
    }
    Ok(complete)
}

fn worker_lcores() -> Vec<LcoreId> {
    // SAFETY: needed to ask DPDK; it only reads what rte_eal_init has set. All-ones means "from the beginning".
    let next = |lcore: u32| unsafe { sys::rte_get_next_lcore(lcore, 1, 0) };
    std::iter::successors(Some(next(u32::MAX)), |&lcore| Some(next(lcore)))
        .take_while(|&lcore| lcore < sys::RTE_MAX_LCORE)
        .map(LcoreId)
        .collect()
}

pub(crate) fn c_string(text: &str) -> Result<CString, EalError> {
    CString::new(text).map_err(|_| EalError::NulByte(text.to_owned()))
}
