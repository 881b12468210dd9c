//! Raw bindings to the system's DPDK: the functions that `leat-dpdk` calls, and nothing else.
//!
//! Everything here is generated at build time by `build.rs` from `shim.h`, which also explains the few `leat_*`
//! names. DPDK's `static inline` functions are reached through C wrappers compiled next to the bindings. The safe
//! interface, and the reasons why each call is sound, are in `leat-dpdk`; no other crate should depend on this one.

#![no_std]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("Leat's DPDK bindings have been built and tested on x86_64 only");

#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    reason = "names and docs are DPDK's"
)]
#[allow(clippy::all, clippy::undocumented_unsafe_blocks, dead_code, unsafe_op_in_unsafe_fn, reason = "generated code")]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
