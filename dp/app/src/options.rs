//! The command line of `leat-dp`, and the EAL arguments that follow from it.

use std::path::PathBuf;

use clap::Parser;

use crate::vlan::VlanOption;

/// Leat's data plane: moves packets between DPDK ports as the control plane (leat-cp) says.
///
/// It makes a shared-memory segment that leat-cp attaches to, a TAP twin for every port (so that Linux can answer ARP and run
/// health checks over it), and then polls. Usually `leat up` starts it.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Options {
    /// File of the shared segment, in a tmpfs or hugetlbfs; flows outlive the process in it
    #[arg(long, default_value = "/dev/shm/leat")]
    pub segment: PathBuf,

    /// A port: a name of up to 10 of [a-z0-9-], and its device, which is a PCI address or a DPDK virtual device; repeat for each port
    #[arg(long = "port", value_name = "NAME=DEVICE", required = true, value_parser = port)]
    pub ports: Vec<PortOption>,

    /// A VLAN as a port of its own: a name like a port's, the port on whose device it is, and its number, 1 to 4094; repeat for each.
    /// Frames with the tag of a VLAN that is not named here are dropped
    #[arg(long = "vlan", value_name = "NAME=PORT:ID", value_parser = VlanOption::parse)]
    pub vlans: Vec<VlanOption>,

    /// CPUs for the polling lcores, one lcore each: `1,2` or `2-5`; a CPU may be named twice
    #[arg(long, value_name = "LIST", default_value = "0", value_parser = cpu_list)]
    pub lcores: CpuList,

    /// Flow entries per lcore, 64 to 2^30; a power of two wastes no memory
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(64..=1 << 30))]
    pub flows_max: u32,

    /// Flow entries per lcore that IPv6 can use, 0 to --flows-max and both together at most 2^30; they take 64 bytes more. IPv4 uses them
    /// too, when all others are taken. The default is a quarter of --flows-max
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    pub ipv6_flows_max: Option<u32>,

    /// Target slots
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub targets_max: u16,

    /// Listener slots (a listener takes one per node address and protocol)
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u16).range(1..))]
    pub listeners_max: u16,

    /// Memory for one snapshot of the configuration, in MiB; the segment holds two
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub arena_mib: u64,

    /// Packet buffers; the default fits the ports' queues
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1024..=1 << 24))]
    pub mbufs: Option<u32>,

    /// Descriptors per receive and transmit queue
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(64..=16384))]
    pub descriptors: u16,

    /// MTU of every port in bytes; the default is that of the network interface underneath, 1500 where there is none
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(576..=9216))]
    pub mtu: Option<u16>,

    /// Let lcores sleep for moments when nothing arrives. For machines that share their CPUs; costs some 100 µs of latency
    #[arg(long)]
    pub idle_backoff: bool,

    /// Begin with an empty flow table if the segment cannot be adopted (other version or other sizes). Its connections break
    #[arg(long)]
    pub discard_flows: bool,

    /// Prefix of the TAP twins' interface names
    #[arg(long, value_name = "PREFIX", default_value = "leat-", value_parser = tap_prefix)]
    pub tap_prefix: String,

    /// End when the process that started this one ends
    #[arg(long)]
    pub supervised: bool,

    /// Further arguments for DPDK's EAL
    #[arg(last = true, value_name = "EAL ARGUMENTS")]
    pub eal: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  Two interfaces of a network namespace, one lcore on CPU 1:
    leat-dp --port p0=net_af_packet0,iface=veth0 --port p1=net_af_packet1,iface=veth1 --lcores 1 --idle-backoff
  Two NICs bound to vfio-pci, four dedicated CPUs:
    leat-dp --port p0=0000:03:00.0 --port p1=0000:03:00.1 --lcores 2-5 --flows-max 4194304";

/// A port as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOption {
    /// The name that people and the API use.
    pub name: String,
    /// The device as given: a PCI address, or a virtual device with its options.
    pub device: String,
}

impl Options {
    /// Flow entries per lcore with a second line.
    pub fn wide_flows_max(&self) -> u32 {
        self.ipv6_flows_max.unwrap_or(self.flows_max / 4)
    }
}

impl PortOption {
    /// Whether the device is virtual: named after a driver.
    pub fn is_virtual(&self) -> bool {
        self.device.starts_with("net_")
    }

    /// DPDK's name of the device.
    pub fn device_name(&self) -> &str {
        self.device.split_once(',').map_or(&self.device, |(name, _)| name)
    }

    /// The driver of a virtual device: its name without the number.
    pub fn driver(&self) -> &str {
        self.device_name().trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// The network interface that lies under the device, if one does.
    pub fn interface(&self) -> Option<&str> {
        let lies_under = ["net_af_packet", "net_af_xdp"].contains(&self.driver());
        self.option("iface").filter(|_| lies_under)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.device
            .split(',')
            .skip(1)
            .filter_map(|option| option.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|o| o.1)
    }
}

/// CPUs in the order of their lcores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<u32>);

/// Whether a port can have this name.
pub fn check_port_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 10 || !name.chars().all(good) {
        return Err(format!("the port's name {name:?} must be 1 to 10 characters of a-z, 0-9 and -"));
    }
    Ok(())
}

fn port(text: &str) -> Result<PortOption, String> {
    let (name, device) = text.split_once('=').ok_or("write NAME=DEVICE, such as p0=0000:03:00.0")?;
    check_port_name(name)?;
    let is_pci = device.split(',').next().is_some_and(|address| address.contains(':') && address.contains('.'));
    if !is_pci && !device.starts_with("net_") {
        return Err(format!(
            "the device {device:?} is neither a PCI address (0000:03:00.0) nor a DPDK virtual device (net_af_packet0,iface=…)"
        ));
    }
    // DPDK names devices with their PCI domain.
    let short = is_pci && device.split(',').next().is_some_and(|address| address.matches(':').count() == 1);
    let domain = if short { "0000:" } else { "" };
    Ok(PortOption { name: name.to_owned(), device: format!("{domain}{device}") })
}

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let number = |part: &str| {
        part.trim()
            .parse::<u32>()
            .ok()
            .filter(|cpu| *cpu < 1024)
            .ok_or(format!("{part:?} is not a CPU number (0 to 1023)"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => cpus.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("{part:?} runs backwards"));
                }
                cpus.extend(first..=last);
            }
        }
    }
    if cpus.len() > leat_abi::layout::LCORES_MAX {
        return Err(format!("{} lcores; there can be {}", cpus.len(), leat_abi::layout::LCORES_MAX));
    }
    Ok(CpuList(cpus))
}

fn tap_prefix(text: &str) -> Result<String, String> {
    if text.len() > 5 || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err("at most 5 letters, digits and -: an interface's name has 15 characters".into());
    }
    Ok(text.to_owned())
}

/// How EAL gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// From hugepages that leave no file behind.
    Hugepages,
    /// From ordinary pages.
    Ordinary,
}

/// The EAL arguments: lcore 0 is the main thread on any of `main_cpus`, lcores 1… poll. `frame_bytes` is the room that the largest
/// frame takes.
pub fn eal_arguments(
    options: &Options,
    main_cpus: &[u32],
    (memory, memory_mib): (Memory, u64),
    frame_bytes: u16,
) -> Vec<String> {
    let main = main_cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut lcores = format!("0@({main})");
    for (i, cpu) in options.lcores.0.iter().enumerate() {
        lcores.push_str(&format!(",{}@{cpu}", i + 1));
    }
    let mut arguments = vec!["--lcores".to_owned(), lcores, "--main-lcore".to_owned(), "0".to_owned()];
    match memory {
        Memory::Hugepages => arguments.push("--in-memory".to_owned()),
        Memory::Ordinary => {
            arguments.extend(["--no-huge", "--no-shconf", "-m"].map(str::to_owned));
            arguments.push(memory_mib.to_string());
        }
    }
    arguments.extend(["--file-prefix".to_owned(), file_prefix(options)]);
    for port in &options.ports {
        if port.is_virtual() {
            arguments.push(format!("--vdev={}", vdev(port, options.lcores.0.len(), frame_bytes)));
        } else {
            arguments.extend(["-a".to_owned(), port.device.clone()]);
        }
    }
    // The TAP driver complains of missing traffic-control modules, which the twins do not need.
    arguments.extend(["--no-telemetry", "--log-level=pmd.net.tap:critical"].map(str::to_owned));
    if options.ports.iter().all(PortOption::is_virtual) {
        arguments.push("--no-pci".to_owned());
    }
    arguments.extend(options.eal.iter().cloned());
    arguments
}

/// EAL's name for this process's files; one per segment, which is one per process.
pub fn file_prefix(options: &Options) -> String {
    let segment = options.segment.file_name().unwrap_or_default().to_string_lossy();
    segment.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect::<String>() + "-eal"
}

/// What the af_packet driver has unless told otherwise is one queue, and frames of 2 KiB: ask for a queue per lcore, and for frames that
/// are large enough.
fn vdev(port: &PortOption, lcores: usize, frame_bytes: u16) -> String {
    let mut device = port.device.clone();
    if port.driver() == "net_af_packet" {
        if lcores > 1 && port.option("qpairs").is_none() {
            device.push_str(&format!(",qpairs={lcores}"));
        }
        if frame_bytes > 2048 && port.option("framesz").is_none() && port.option("blocksz").is_none() {
            device.push_str(&format!(",blocksz={frame_bytes},framesz={frame_bytes}"));
        }
    }
    device
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn ports_and_cpus_are_read() {
        assert_eq!(port("p0=0000:03:00.0").map(|p| p.is_virtual()), Ok(false));
        assert_eq!(port("p0=net_af_packet0,iface=x").map(|p| p.device_name().to_owned()), Ok("net_af_packet0".into()));
        assert_eq!(port("p0=03:00.0,a=b").map(|p| p.device), Ok("0000:03:00.0,a=b".into()));
        let under = |device: &str| port(&format!("p={device}")).ok()?.interface().map(str::to_owned);
        assert_eq!(under("net_af_packet0,qpairs=2,iface=x"), Some("x".into()));
        assert_eq!(under("net_af_xdp7,iface=y,start_queue=0"), Some("y".into()));
        assert_eq!((under("net_tap0,iface=x"), under("net_af_packet0")), (None, None));
        for bad in ["p0", "=net_null0", "P0=net_null0", "a-long-name-x=net_null0", "p0=eth1"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert_eq!(cpu_list("1,3-5,1"), Ok(CpuList(vec![1, 3, 4, 5, 1])));
        for bad in ["", "x", "5-3", "1,,2", "4096"] {
            assert!(cpu_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn eal_gets_lcores_devices_and_memory() {
        let options = Options::parse_from([
            "leat-dp",
            "--port",
            "a=net_af_packet0,iface=x",
            "--port",
            "b=0000:03:00.0",
            "--lcores",
            "2,3",
            "--",
            "--log-level=8",
        ]);
        let line = eal_arguments(&options, &[0, 1], (Memory::Ordinary, 100), 16384).join(" ");
        for part in [
            "--lcores 0@(0,1),1@2,2@3",
            "--no-huge",
            "-m 100",
            "--vdev=net_af_packet0,iface=x,qpairs=2,blocksz=16384,framesz=16384",
            "-a 0000:03:00.0",
            "--log-level=8",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("--no-pci"));
    }
}
