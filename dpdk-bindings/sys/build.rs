//! Generates the bindings and links DPDK. Every failure a fresh machine can meet ends in a sentence that says what
//! to do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The release whose headers the bindings, and above all the layout of `rte_mbuf`, have been tested with.
const DPDK_VERSION: &str = "22.11";

/// LLVM versions known to parse DPDK's headers, in order of preference. libclang and the clang whose built-in
/// headers it reads must be of the same version: a mix fails with hundreds of errors about `__m128i`.
const LLVM_VERSIONS: [&str; 2] = ["14", "19"];

const FUNCTIONS: &[&str] = &[
    "leat_.*",
    // EAL, lcores, devices
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|get_lcore_state|hotplug_add|hotplug_remove)",
    "rte_get_(main_lcore|next_lcore|tsc_hz)",
    "rte_lcore_to_socket_id",
    "rte_strerror",
    // memory
    "rte_pktmbuf_(pool_create|alloc|alloc_bulk|free|free_bulk)",
    "rte_mempool_(free|avail_count|in_use_count)",
    "rte_ring_(create|free|sp_enqueue_burst|sc_dequeue_burst)",
    // ports
    "rte_eth_(find_next_owned_by|macaddr_get|stats_get|promiscuous_enable)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|info_get|socket_id|configure|adjust_nb_rx_tx_desc|start|stop|close)",
    "rte_eth_dev_(get_mtu|set_mtu|default_mac_addr_set)",
    "rte_eth_(rx|tx)_(queue_setup|burst)",
];

const FUNCTIONS_REFERENCE: &[&str] = &["rte_hash_(create|free|add_key|del_key|lookup_bulk|crc)", "rte_softrss"];

const CONSTANTS: &[&str] = &[
    "leat_.*",
    "RTE_MAX_LCORE",
    "RTE_MAX_ETHPORTS",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_MBUF_PORT_INVALID",
    "RTE_HASH_LOOKUP_BULK_MAX",
];

/// Libraries with the functions above. The shared ones pull in what they need themselves.
const LIBS_SHARED: &[&str] = &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring"];

/// For the static build: all libraries that the functions above and the drivers below need.
const LIBS_STATIC: &[&str] = &[
    "rte_eal",
    "rte_telemetry",
    "rte_kvargs",
    "rte_ring",
    "rte_rcu",
    "rte_mempool",
    "rte_mbuf",
    "rte_net",
    "rte_meter",
    "rte_ethdev",
    "rte_pci",
    "rte_hash",
    "rte_timer",
    "rte_ip_frag",
    "rte_gso",
    "rte_cryptodev",
    "rte_security",
];

/// Drivers register themselves in constructors, so each archive is linked whole.
///
/// All that Leat wants of Debian's archives link with what `libdpdk-dev` depends on. Left out because nothing here needs
/// them: vhost, the clouds' and other vendors' NICs, and all crypto, event, baseband and raw devices. The shared build
/// loads every installed driver from DPDK's plugin directory instead.
#[rustfmt::skip]
const DRIVERS_STATIC: &[&str] = &[
    // buses and memory
    "rte_bus_vdev", "rte_bus_pci", "rte_bus_auxiliary", "rte_mempool_ring",
    // virtual ports
    "rte_net_af_packet", "rte_net_af_xdp", "rte_net_memif", "rte_net_null", "rte_net_pcap", "rte_net_ring", "rte_net_tap",
    // NICs (e1000 holds igb) and the hypervisors' ports
    "rte_net_e1000", "rte_net_ixgbe", "rte_net_i40e", "rte_common_iavf", "rte_net_iavf", "rte_net_ice",
    "rte_common_mlx5", "rte_net_mlx5", "rte_net_virtio", "rte_net_vmxnet3",
];

/// What the static drivers need of the system; `libdpdk-dev` depends on the packages of all of them.
const LIBS_STATIC_SYSTEM: &[&str] = &["numa", "bsd", "pcap", "xdp", "bpf", "ibverbs", "mlx5"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim.h");
    for name in
        ["LIBCLANG_PATH", "CLANG_PATH", "PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"]
    {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let feature_static = env::var_os("CARGO_FEATURE_STATIC").is_some();
    let feature_reference = env::var_os("CARGO_FEATURE_REFERENCE").is_some();
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let version = pkg_config(&["--modversion"]);
    if !version.starts_with(&format!("{DPDK_VERSION}.")) {
        fail(&format!(
            "found DPDK {version}, but these bindings need DPDK {DPDK_VERSION}.x: the layout of rte_mbuf differs between \
             releases. Install libdpdk-dev of Debian 12, or point PKG_CONFIG_PATH at a DPDK {DPDK_VERSION} build."
        ));
    }
    let mut c_flags: Vec<String> = pkg_config(&["--cflags"]).split_whitespace().map(str::to_owned).collect();
    if feature_reference {
        c_flags.push("-DLEAT_REFERENCE".to_owned());
    }

    pin_llvm();
    let wrappers = generate_bindings(&out_dir, &c_flags, feature_reference);
    compile_wrappers(&wrappers, &c_flags);
    link(feature_static, feature_reference);
}

/// Asks pkg-config about libdpdk. Called directly because the `pkg-config` crate drops `-include` and `-march`,
/// without which DPDK's headers do not compile.
fn pkg_config(arguments: &[&str]) -> String {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = match Command::new(&program).args(arguments).arg("libdpdk").output() {
        Ok(output) => output,
        Err(error) => fail(&format!(
            "cannot run {}: {error}. Install the Debian package pkg-config, then libdpdk-dev, clang-14 and libclang-14-dev.",
            program.display()
        )),
    };
    if !output.status.success() {
        fail(&format!(
            "DPDK was not found. On Debian 12: apt-get install libdpdk-dev dpdk-dev clang-14 libclang-14-dev pkg-config. \
             With your own build of DPDK {DPDK_VERSION}: set PKG_CONFIG_PATH to the directory of libdpdk.pc. pkg-config said: {}",
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")
        ));
    }
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Lets bindgen find a libclang and a clang of the same version, unless the user has chosen them.
fn pin_llvm() {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return;
    }
    let found = LLVM_VERSIONS.iter().find_map(|version| {
        let lib = PathBuf::from(format!("/usr/lib/llvm-{version}/lib"));
        let clang = PathBuf::from(format!("/usr/lib/llvm-{version}/bin/clang"));
        (has_libclang(&lib) && clang.exists()).then_some((lib, clang))
    });
    let Some((lib, clang)) = found else {
        fail(
            "no matching pair of libclang and clang was found. On Debian 12: apt-get install clang-14 libclang-14-dev. \
             Elsewhere: set LIBCLANG_PATH (a directory) and CLANG_PATH (a file) to one and the same LLVM version.",
        )
    };
    // SAFETY: needed because bindgen takes these from the environment only; sound because this process has one
    // thread.
    unsafe {
        env::set_var("LIBCLANG_PATH", lib);
        env::set_var("CLANG_PATH", clang);
    }
}

fn has_libclang(directory: &Path) -> bool {
    let Ok(entries) = directory.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libclang.so") || name.starts_with("libclang-")
    })
}

/// Writes `bindings.rs` and returns the C file with a wrapper for each allowed static inline function.
fn generate_bindings(out_dir: &Path, c_flags: &[String], feature_reference: bool) -> PathBuf {
    let wrappers = out_dir.join("wrappers.c");
    let mut builder = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(c_flags)
        .use_core()
        .wrap_static_fns(true)
        .wrap_static_fns_path(&wrappers)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .merge_extern_blocks(true)
        .opaque_type("rte_flow_.*|rte_intr_.*|rte_device|rte_mempool|rte_ring|rte_hash|rte_eth_dev_portconf")
        .blocklist_type("rte_arp_.*|rte_gtp_.*|rte_l2tpv2_.*|__tile.*");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    if feature_reference {
        for function in FUNCTIONS_REFERENCE {
            builder = builder.allowlist_function(function);
        }
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!(
            "bindgen could not read DPDK's headers ({}). Are LIBCLANG_PATH and CLANG_PATH of one LLVM version?",
            error.to_string().lines().next().unwrap_or_default()
        )),
    };
    bindings.write_to_file(out_dir.join("bindings.rs")).expect("OUT_DIR is writable");
    wrappers
}

fn compile_wrappers(wrappers: &Path, c_flags: &[String]) {
    let mut build = cc::Build::new();
    build.file(wrappers).include(".").warnings(false);
    for flag in c_flags {
        build.flag(flag);
    }
    build.compile("leat_dpdk_wrappers");
}

fn link(feature_static: bool, feature_reference: bool) {
    println!("cargo::rustc-link-search=native={}", pkg_config(&["--variable=libdir"]));
    if !feature_static {
        for lib in LIBS_SHARED {
            println!("cargo::rustc-link-lib=dylib={lib}");
        }
        if feature_reference {
            println!("cargo::rustc-link-lib=dylib=rte_hash");
        }
        return;
    }
    for lib in DRIVERS_STATIC.iter().chain(LIBS_STATIC) {
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={lib}");
    }
    for lib in LIBS_STATIC_SYSTEM {
        println!("cargo::rustc-link-lib=dylib={lib}");
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
