//! rtnetlink messages in and out. Everything that knows the wire's types is here.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::stream::{Stream, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{AddressMessageBuilder, Error, Handle, IpVersion, LinkUnspec, RouteMessageBuilder};

use super::plan::{Address, Change, MAIN, Observed, Rule, Tap, TapRoute};
use super::view::{Neighbour, Neighbours, Unresolved};
use super::{NetConfig, PROTOCOL, PortConfig, Prefix, TABLE, prefix};

/// Linux's table of its own addresses; routes there lead to nobody.
const LOCAL: u32 = 255;
/// Rules that are looked at in this order, before the main table's rule (32766).
const PRIORITY_MAIN: u32 = TABLE;
const PRIORITY_OURS: u32 = TABLE + 1;

/// Addresses this process added: kernels before 5.18 keep no protocol mark on an address.
pub type Added = HashSet<(u32, Prefix)>;

/// Reads all that concerns the ports of `config`, except neighbours.
pub async fn observe(handle: &Handle, config: &NetConfig, added: &Added) -> Result<Observed, Error> {
    let mut observed = Observed { taps: vec![None; config.ports.len()], ..Observed::default() };
    let mut ports: HashMap<u32, usize> = HashMap::new();
    for link in all(handle.link().get().execute()).await? {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        let Some(port) = name.and_then(|name| config.ports.iter().position(|port| port.tap == *name)) else { continue };
        let (index, flags) = (link.header.index, link.header.flags);
        let tap = Tap { index, up: flags.contains(LinkFlags::Up), carrier: flags.contains(LinkFlags::LowerUp) };
        observed.taps[port] = Some(tap);
        ports.insert(index, port);
    }
    for address in all(handle.address().get().execute()).await? {
        if let (Some(&port), Some((prefix, marked))) = (ports.get(&address.header.index), read_address(&address)) {
            let ours = marked || added.contains(&(address.header.index, prefix));
            observed.addresses.push(Address { port, prefix, ours });
        }
    }
    let ipv4 = (RouteMessageBuilder::<Ipv4Addr>::new().build(), IpVersion::V4);
    let ipv6 = (RouteMessageBuilder::<Ipv6Addr>::new().build(), IpVersion::V6);
    for (filter, version) in [Some(ipv4), has_ipv6().then_some(ipv6)].into_iter().flatten() {
        for route in all(handle.route().get(filter).execute()).await? {
            observed.routes.extend(read_route(&route, &ports));
        }
        // A kernel without policy routing has no rules; adding one will tell.
        let rules = all(handle.rule().get(version).execute()).await.unwrap_or_default();
        observed.rules.extend(rules.iter().filter_map(read_rule));
    }
    Ok(observed)
}

/// Whether the kernel has IPv6 at all.
fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

/// Reads the neighbours on our TAPs.
pub async fn neighbours(handle: &Handle, observed: &Observed) -> Result<Neighbours, Error> {
    let mut table = Neighbours::new();
    for (family, there) in [(AddressFamily::Inet, true), (AddressFamily::Inet6, has_ipv6())] {
        let request = handle.neighbours().get().set_address_family(family);
        for message in if there { all(request.execute()).await? } else { Vec::new() } {
            take_neighbour(&mut table, observed, &message, true);
        }
    }
    Ok(table)
}

/// Notes what a message says of a neighbour; true when that changes the table.
pub fn take_neighbour(table: &mut Neighbours, observed: &Observed, message: &NeighbourMessage, exists: bool) -> bool {
    let index = message.header.ifindex;
    if !observed.taps.iter().flatten().any(|tap| tap.index == index) {
        return false;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => <[u8; 6]>::try_from(mac.as_slice()).ok(),
        _ => None,
    });
    let Some(address) = address else { return false };
    let neighbour = match message.header.state {
        _ if !exists => None,
        NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe
        | NeighbourState::Permanent
        | NeighbourState::Noarp => mac.filter(|mac| *mac != [0; 6]).map(Neighbour::Mac),
        NeighbourState::Failed => Some(Neighbour::Failed),
        _ => None,
    };
    match neighbour {
        Some(neighbour) => table.insert((index, address), neighbour) != Some(neighbour),
        None => table.remove(&(index, address)).is_some(),
    }
}

/// Makes one change.
pub async fn apply(handle: &Handle, observed: &Observed, added: &mut Added, change: Change) -> io::Result<()> {
    let index = |port: usize| {
        let tap = observed.taps.get(port).copied().flatten();
        tap.map(|tap| tap.index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let result = match change {
        Change::LinkUp(port) => {
            let message = LinkUnspec::new_with_index(index(port)?).up().build();
            handle.link().set(message).execute().await
        }
        Change::AddAddress(port, prefix) => {
            let index = index(port)?;
            let mut request = handle.address().add(index, prefix.address, prefix.length);
            let attributes = &mut request.message_mut().attributes;
            attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
            if prefix.address.is_ipv6() {
                attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            let result = request.execute().await;
            if result.is_ok() {
                added.insert((index, prefix));
            }
            result
        }
        Change::DeleteAddress(port, prefix) => {
            let index = index(port)?;
            added.remove(&(index, prefix));
            let message = match prefix.address {
                IpAddr::V4(v4) => {
                    AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(v4, prefix.length).build()
                }
                IpAddr::V6(v6) => {
                    AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(v6, prefix.length).build()
                }
            };
            handle.address().del(message).execute().await
        }
        // Never replaces: a route of somebody else's to the same network stays, and ours is refused.
        Change::AddRoute(route) => handle.route().add(route_message(&route, index(route.port)?)).execute().await,
        Change::DeleteRoute(route) => handle.route().del(route_message(&route, index(route.port)?)).execute().await,
        Change::AddRule(rule) => {
            let mut request = handle.rule().add().v4();
            *request.message_mut() = rule_message(rule);
            request.execute().await
        }
        Change::DeleteRule(rule) => handle.rule().del(rule_message(rule)).execute().await,
    };
    result.map_err(into_io)
}

/// Has Linux send ARP requests or neighbour solicitations for a neighbour, as a packet to it would (`ip neigh replace … use`).
pub async fn ask_for(handle: &Handle, (index, address): Unresolved) -> io::Result<()> {
    let request = handle.neighbours().add(index, address);
    let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
    request.execute().await.map_err(into_io)
}

/// Has Linux forget a neighbour.
pub async fn forget(handle: &Handle, (index, address): Unresolved) -> io::Result<()> {
    let mut request = handle.neighbours().add(index, address);
    let message = request.message_mut().clone();
    handle.neighbours().del(message).execute().await.map_err(into_io)
}

/// Sets what [`super`] lists for a port's TAP.
pub fn set_sysctls(port: &PortConfig) -> io::Result<()> {
    let set = |version: &str, name: &str, value: &str| {
        let path = format!("/proc/sys/net/{version}/conf/{}/{name}", port.tap);
        std::fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    };
    for (name, value) in [("rp_filter", "2"), ("arp_ignore", "1"), ("arp_announce", "2")] {
        set("ipv4", name, value)?;
    }
    if has_ipv6() {
        for name in ["accept_ra", "accept_dad"] {
            set("ipv6", name, "0")?;
        }
    }
    if port.addresses.iter().any(|prefix| prefix.address.is_ipv6()) {
        set("ipv6", "disable_ipv6", "0")?;
    }
    Ok(())
}

/// What an unasked-for message is about.
pub enum Event {
    /// Links, addresses, routes or rules changed.
    Topology,
    /// A neighbour, and whether it exists.
    Neighbour(NeighbourMessage, bool),
    /// Nothing of ours.
    Other,
}

/// Sorts a message of the multicast groups.
pub fn sort(message: RouteNetlinkMessage) -> Event {
    use RouteNetlinkMessage as Message;
    match message {
        Message::NewNeighbour(message) => Event::Neighbour(message, true),
        Message::DelNeighbour(message) => Event::Neighbour(message, false),
        Message::NewLink(_)
        | Message::DelLink(_)
        | Message::NewAddress(_)
        | Message::DelAddress(_)
        | Message::NewRoute(_)
        | Message::DelRoute(_)
        | Message::NewRule(_)
        | Message::DelRule(_) => Event::Topology,
        _ => Event::Other,
    }
}

/// The system's error behind a refused request.
pub fn into_io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

async fn all<T>(stream: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    stream.try_collect().await
}

fn read_address(message: &AddressMessage) -> Option<(Prefix, bool)> {
    // IPv4 has both, the peer's address as the other one; IPv6 has no local one unless there is a peer.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let only = || {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
            _ => None,
        })
    };
    let address = local.or_else(only)?;
    let mark = AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL));
    Some((Prefix { address, length: message.header.prefix_len }, message.attributes.contains(&mark)))
}

/// A unicast route over one of our TAPs; of several next hops, the first that is.
fn read_route(message: &RouteMessage, ports: &HashMap<u32, usize>) -> Option<(TapRoute, bool)> {
    let header = &message.header;
    let mut to: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if header.kind != RouteType::Unicast || header.flags.intersects(RouteFlags::Dead | RouteFlags::Cloned) {
        return None;
    }
    let mut table = u32::from(header.table);
    let (mut metric, mut hop) = (0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = IpAddr::V4(*address),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = IpAddr::V6(*address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::MultiPath(hops) => {
                let alive = hops.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
                let mut of_ours =
                    alive.filter_map(|hop| Some((*ports.get(&hop.interface_index)?, gateway(&hop.attributes))));
                hop = of_ours.next();
            }
            RouteAttribute::Oif(index) => {
                hop = ports.get(index).map(|&port| (port, gateway(&message.attributes)));
            }
            _ => {}
        }
    }
    let (port, via) = hop?;
    let to = Prefix { address: to, length: header.destination_prefix_length };
    let ours = header.protocol == RouteProtocol::Other(PROTOCOL);
    (table != LOCAL).then_some((TapRoute { port, to, via, metric, table }, ours))
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

fn route_message(route: &TapRoute, index: u32) -> RouteMessage {
    let on_wire = |address| match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let mut message = if route.to.address.is_ipv4() {
        RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).table_id(route.table).build()
    } else {
        RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).table_id(route.table).build()
    };
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.destination_prefix_length = route.to.length;
    message.attributes.push(RouteAttribute::Destination(on_wire(route.to.address)));
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(on_wire(via))));
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

fn rule_message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let (source, table, priority) = match rule {
        Rule::MainButDefault(source) => (source, MAIN, PRIORITY_MAIN),
        Rule::Ours(source) => (source, TABLE, PRIORITY_OURS),
    };
    message.header.family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.action = RuleAction::ToTable;
    message.header.src_len = prefix::bits(source);
    message.attributes = vec![
        RuleAttribute::Source(source),
        RuleAttribute::Table(table),
        RuleAttribute::Priority(priority),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    if matches!(rule, Rule::MainButDefault(_)) {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

fn read_rule(message: &RuleMessage) -> Option<Rule> {
    let has = |attribute: RuleAttribute| message.attributes.contains(&attribute);
    let source = message.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Source(source) => Some(*source),
        _ => None,
    })?;
    if !has(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL))) {
        return None;
    }
    let rules = [(PRIORITY_MAIN, Rule::MainButDefault(source)), (PRIORITY_OURS, Rule::Ours(source))];
    rules.into_iter().find(|(priority, _)| has(RuleAttribute::Priority(*priority))).map(|(_, rule)| rule)
}
