//! One client network, one appliance, one target network.
//!
//! ```text
//!  cli                      lb                          sw (bridge)        t1 … t4
//!  10.1.0.100 – .109 ── leatd0 (p0, 10.1.0.2)
//!                           leatd1 (p1, 10.2.0.2) ──── br0 ──────────── 10.2.0.11 … .14
//! ```
//!
//! With an [`Impairment`], a relay in a namespace of its own (`l0`, `l1`) sits in each of the two links of the appliance, and loses,
//! duplicates and delays frames.
//!
//! The ends `leatd0` and `leatd1` belong to DPDK. They carry no address, and the kernel is told to answer no ARP there and to
//! take no packet that came in there for its own: its part of the traffic reaches it over the TAP twins.

use crate::link::{Impairment, LossyLink};
use crate::namespace::{Namespace, ip, run_checked};
use crate::run::Run;
use anyhow::Result;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The first client address; the client namespace holds this and the nine that follow.
pub const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
/// How many client addresses there are.
pub const CLIENT_ADDRESSES: u8 = 10;
/// The appliance's own address on the client side.
pub const P0_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// The appliance's own address on the target side.
pub const P1_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
/// The appliance's own IPv6 address on the target side, where there is IPv6.
const P1_IPV6: &str = "fd00:2::2";
/// The interface behind port p0.
pub const P0_DEVICE: &str = "leatd0";
/// The interface behind port p1.
pub const P1_DEVICE: &str = "leatd1";

/// The address of the n-th target, counted from 1.
pub fn target_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 10 + number)
}

/// The n-th client address, counted from 0.
pub fn client_address(number: u8) -> Ipv4Addr {
    let [a, b, c, d] = CLIENT_ADDRESS.octets();
    Ipv4Addr::new(a, b, c, d + number)
}

/// The n-th client's IPv6 address, counted from 0, where there is IPv6.
pub fn client_ipv6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100 + u16::from(number))
}

/// The n-th target's IPv6 address, counted from 1, where there is IPv6.
pub fn target_ipv6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x10 + u16::from(number))
}

/// The namespaces of a run, wired up.
#[derive(Debug)]
pub struct Topology {
    /// The clients' namespace; its interface is `eth0`.
    pub cli: Namespace,
    /// The appliance's namespace.
    pub lb: Namespace,
    /// The targets' namespaces, the first one being target 1; their interface is `eth0`.
    pub targets: Vec<Namespace>,
    /// The relays in the clients' and in the targets' link, if there are any.
    pub links: Vec<LossyLink>,
}

impl Topology {
    /// Lays out the namespaces with `targets` targets (1 to 9).
    ///
    /// # Errors
    /// When `ip` or `ethtool` fails.
    pub fn create(run: &Run, targets: u8) -> Result<Topology> {
        Topology::create_with(run, targets, None)
    }

    /// Like [`Topology::create`]; both links of the appliance have this impairment.
    ///
    /// # Errors
    /// When `ip` or `ethtool` fails, or a relay does not start.
    pub fn create_with(run: &Run, targets: u8, impairment: Option<&Impairment>) -> Result<Topology> {
        let cli = Namespace::create(run, "cli")?;
        let lb = Namespace::create(run, "lb")?;
        let switch = Namespace::create(run, "sw")?;

        let mut links = Vec::new();
        links.extend(connect(run, "l0", (&cli, "eth0"), (&lb, P0_DEVICE), impairment)?);
        for last in 0..CLIENT_ADDRESSES {
            cli.ip(&["address", "add", &format!("{}/24", client_address(last)), "dev", "eth0"])?;
        }

        switch.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        links.extend(connect(run, "l1", (&switch, "p1"), (&lb, P1_DEVICE), impairment)?);
        switch.ip(&["link", "set", "p1", "master", "br0"])?;

        let mut target_namespaces = Vec::new();
        for number in 1..=targets {
            let target = Namespace::create(run, &format!("t{number}"))?;
            let port = format!("t{number}");
            veth((&target, "eth0"), (&switch, &port))?;
            switch.ip(&["link", "set", &port, "master", "br0"])?;
            target.ip(&["address", "add", &format!("{}/24", target_address(number)), "dev", "eth0"])?;
            target.ip(&["route", "add", "default", "via", &P1_ADDRESS.to_string()])?;
            target_namespaces.push(target);
        }
        for device in [P0_DEVICE, P1_DEVICE] {
            lb.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "1")?;
            lb.sysctl(&format!("net/ipv4/conf/{device}/arp_ignore"), "8")?;
        }
        Ok(Topology { cli, lb, targets: target_namespaces, links })
    }

    /// Gives clients and targets IPv6 addresses, ready at once, and the appliance's TAP twins to come as well. The ends that belong to
    /// DPDK stay without. To be called before the appliance starts.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn enable_ipv6(&self) -> Result<()> {
        let enable = |namespace: &Namespace, device: &str| {
            namespace.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
            namespace.sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0")
        };
        enable(&self.lb, "default")?;
        enable(&self.cli, "eth0")?;
        for number in 0..CLIENT_ADDRESSES {
            self.cli.ip(&["address", "add", &format!("{}/64", client_ipv6(number)), "dev", "eth0", "nodad"])?;
        }
        for (number, target) in (1..).zip(&self.targets) {
            enable(target, "eth0")?;
            target.ip(&["address", "add", &format!("{}/64", target_ipv6(number)), "dev", "eth0", "nodad"])?;
            target.ip(&["-6", "route", "add", "default", "via", P1_IPV6])?;
        }
        Ok(())
    }
}

/// Connects two devices, directly or by a relay in the namespace `name`.
fn connect(
    run: &Run,
    name: &str,
    left: (&Namespace, &str),
    right: (&Namespace, &str),
    impairment: Option<&Impairment>,
) -> Result<Option<LossyLink>> {
    let Some(impairment) = impairment else { return veth(left, right).map(|()| None) };
    let between = Namespace::create(run, name)?;
    veth(left, (&between, "near"))?;
    veth((&between, "far"), right)?;
    LossyLink::start(run, name, &between, ["near", "far"], impairment).map(Some)
}

/// A veth pair between two namespaces, up at both ends, with checksums and segmentation done in software at both ends: what
/// a kernel leaves to a network card that is not there would arrive broken.
///
/// # Errors
/// When `ip` or `ethtool` fails.
pub fn veth(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
    let names = [left.0.name(), right.0.name()];
    ip(&["link", "add", left.1, "netns", names[0], "type", "veth", "peer", "name", right.1, "netns", names[1]])?;
    for (namespace, device) in [left, right] {
        let offloads = ["-K", device, "tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
        run_checked(namespace.command("ethtool").args(offloads))?;
        namespace.ip(&["link", "set", device, "up"])?;
    }
    Ok(())
}
