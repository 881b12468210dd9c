//! What `leat up` looks at before it starts anything: each finding says what to do.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Config, Device, Port};

/// How long an address may stay in use by processes that are ending.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Held for as long as this is the only `leat up` of its network namespace.
#[derive(Debug)]
pub struct Alone {
    _name: UnixListener,
}

/// Looks at the machine, and takes the network namespace for this process. `Err` has all that is wrong.
pub fn check(config: &Config, dp_binary: &Path, cp_binary: &Path) -> Result<Alone, Vec<String>> {
    let mut errors = Vec::new();
    errors.extend(privileges(&fs::read_to_string("/proc/self/status").unwrap_or_default()));
    for (binary, option) in [(dp_binary, "--dp-binary"), (cp_binary, "--cp-binary")] {
        if !binary.is_file() {
            errors.push(format!("{} does not exist; build it or name it with {option}", binary.display()));
        }
    }
    for port in &config.ports {
        errors.extend(device(port, Path::new("/sys")));
    }
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    errors.extend(cpus(&config.data_plane.lcores, online.trim()));
    let alone = alone(b"leat-up").map_err(|message| errors.push(message));
    // The processes of one that was killed need a moment to end.
    let end = Instant::now() + if alone.is_ok() { LEAVE_MAX } else { Duration::ZERO };
    let mut found = taken(config);
    while found.is_some() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
        found = taken(config);
    }
    errors.extend(found);
    // A start that is refused leaves nothing behind.
    if errors.is_empty() {
        for directory in [&config.state_dir, &config.runtime_dir] {
            if let Err(error) = fs::create_dir_all(directory) {
                errors.push(format!("cannot make the directory {}: {error}", directory.display()));
            }
        }
    }
    match alone {
        Ok(alone) if errors.is_empty() => Ok(alone),
        _ => Err(errors),
    }
}

/// Two appliances would take each other's routes and addresses away. An abstract socket belongs to the network namespace and
/// goes with the process, however that ends.
fn alone(name: &[u8]) -> Result<Alone, String> {
    let bound = SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
    bound.map(|name| Alone { _name: name }).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => "another leat up runs in this network namespace, and one is all it can have; \
                                     stop that one, or start this one in a namespace of its own (ip netns exec)"
            .into(),
        _ => format!("cannot tell whether another leat up runs in this network namespace: {error}"),
    })
}

/// From `/proc/self/status`: CAP_NET_ADMIN and CAP_NET_RAW are there.
fn privileges(status: &str) -> Option<String> {
    const NEEDED: u64 = 1 << 12 | 1 << 13;
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())?;
    (held & NEEDED != NEEDED).then(|| {
        "this needs root, or CAP_NET_ADMIN and CAP_NET_RAW (for NICs also CAP_IPC_LOCK and CAP_SYS_RAWIO); try sudo"
            .into()
    })
}

/// The device of a port exists below `sys` (`/sys`).
fn device(port: &Port, sys: &Path) -> Option<String> {
    let Port { name, device: Device::Dpdk(device), .. } = port else { return None };
    let driver = device.split(',').next().unwrap_or_default();
    if driver.starts_with("net_af_packet") || driver.starts_with("net_af_xdp") {
        let Some(interface) = device.split(',').find_map(|part| part.strip_prefix("iface=")) else {
            return Some(format!("port {name}: {driver} needs an interface; write \"{driver},iface=INTERFACE\""));
        };
        let interfaces = sys.join("class/net");
        if !interfaces.join(interface).exists() {
            let there = names(&interfaces);
            return Some(format!("port {name}: there is no network interface {interface}; there are: {there}"));
        }
    } else if is_pci(driver) {
        let address = if driver.len() == 7 { format!("0000:{driver}") } else { driver.to_owned() };
        if !sys.join("bus/pci/devices").join(&address).exists() {
            return Some(format!("port {name}: there is no PCI device {address}; lspci -D lists them"));
        }
    } else if !driver.starts_with("net_") {
        return Some(format!(
            "port {name}: \"{device}\" is neither a PCI address (0000:03:00.0) nor a DPDK vdev (net_af_packet0,iface=eth1)"
        ));
    }
    None
}

/// `0000:03:00.0` or `03:00.0`.
fn is_pci(text: &str) -> bool {
    let pattern = |pattern: &str| {
        text.len() == pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, kind)| match kind {
                b'x' => byte.is_ascii_hexdigit(),
                kind => byte == kind,
            })
    };
    pattern("xxxx:xx:xx.x") || pattern("xx:xx.x")
}

/// All lcores' CPUs are in a list such as `0-3,5`.
fn cpus(lcores: &[u32], online: &str) -> Option<String> {
    let ranges: Option<Vec<(u32, u32)>> = online
        .split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    let ranges = ranges?;
    let missing = lcores.iter().find(|cpu| !ranges.iter().any(|(first, last)| (first..=last).contains(cpu)))?;
    Some(format!("data_plane.lcores names CPU {missing}, but online are {online}"))
}

/// Something listens already where the admin API shall.
fn taken(config: &Config) -> Option<String> {
    match TcpListener::bind(config.listen) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Some(format!(
                "{} is in use; is leat running already (leat status)? Otherwise choose another admin.listen",
                config.listen
            ));
        }
        Err(error) => return Some(format!("cannot listen on {}: {error}", config.listen)),
        Ok(_) => {}
    }
    let socket = config.socket();
    UnixStream::connect(&socket).is_ok().then(|| {
        format!(
            "{} is in use: leat \"{}\" is running already; stop it or choose another name",
            socket.display(),
            config.name
        )
    })
}

fn names(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device: &str) -> Port {
        Port {
            name: "p0".into(),
            device: Device::Dpdk(device.into()),
            addresses: vec![],
            routes: vec![],
            endpoint: None,
        }
    }

    #[test]
    fn devices_must_exist() {
        let sys = tempfile::tempdir().expect("a directory");
        for path in ["class/net/eth7", "bus/pci/devices/0000:03:00.0"] {
            fs::create_dir_all(sys.path().join(path)).expect(path);
        }
        let check = |text: &str| device(&port(text), sys.path());
        for good in [
            "net_af_packet0,iface=eth7",
            "net_af_xdp1,iface=eth7,start_queue=0",
            "0000:03:00.0",
            "03:00.0",
            "net_null0",
        ] {
            assert_eq!(check(good), None);
        }
        assert!(check("net_af_packet0,iface=eth9").expect("missing").contains("there are: eth7"));
        assert!(check("net_af_packet0").expect("no interface").contains("iface="));
        assert!(check("0000:04:00.0").expect("missing").contains("lspci"));
        assert!(check("eth7").expect("neither").contains("neither"));
    }

    #[test]
    fn privileges_are_read_from_the_capabilities() {
        assert_eq!(privileges("Name:\tleat\nCapEff:\t000001ffffffffff\n"), None);
        assert_eq!(privileges("CapEff:\t0000000000003000\n"), None);
        assert!(privileges("CapEff:\t0000000000000000\n").expect("none").contains("root"));
    }

    #[test]
    fn cpus_must_be_online() {
        assert_eq!(cpus(&[0, 3, 5], "0-3,5"), None);
        assert!(cpus(&[4], "0-3,5").expect("offline").contains("CPU 4"));
        assert_eq!(cpus(&[4], ""), None, "unknown: leave it to the data plane");
    }

    #[test]
    fn a_namespace_has_one() {
        let name = format!("leat-test-{}", std::process::id());
        let first = alone(name.as_bytes()).expect("nobody else");
        assert!(alone(name.as_bytes()).expect_err("taken").contains("another leat up"));
        drop(first);
        alone(name.as_bytes()).expect("free again");
    }
}
