//! rtnetlink messages in and out. Everything that knows the wire's types is here.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::stream::{Stream, TryStreamExt};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
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
use super::{NetConfig, PROTOCOL, Prefix, TABLE};

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
    let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
    for route in all(handle.route().get(filter).execute()).await? {
        observed.routes.extend(read_route(&route, &ports));
    }
    // A kernel without policy routing has no rules; adding one will tell.
    let rules = all(handle.rule().get(IpVersion::V4).execute()).await.unwrap_or_default();
    observed.rules = rules.iter().filter_map(read_rule).collect();
    Ok(observed)
}

/// Reads the neighbours on our TAPs.
pub async fn neighbours(handle: &Handle, observed: &Observed) -> Result<Neighbours, Error> {
    let mut table = Neighbours::new();
    let request = handle.neighbours().get().set_address_family(AddressFamily::Inet);
    for message in all(request.execute()).await? {
        take_neighbour(&mut table, observed, &message, true);
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
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
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
            let mut request = handle.address().add(index, IpAddr::V4(prefix.address), prefix.length);
            request.message_mut().attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
            let result = request.execute().await;
            if result.is_ok() {
                added.insert((index, prefix));
            }
            result
        }
        Change::DeleteAddress(port, prefix) => {
            let index = index(port)?;
            let builder = AddressMessageBuilder::<Ipv4Addr>::new().index(index);
            added.remove(&(index, prefix));
            handle.address().del(builder.address(prefix.address, prefix.length).build()).execute().await
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

/// Has Linux send ARP requests for a neighbour, as a packet to it would (`ip neigh replace … use`).
pub async fn ask_for(handle: &Handle, (index, address): Unresolved) -> io::Result<()> {
    let request = handle.neighbours().add(index, IpAddr::V4(address));
    let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
    request.execute().await.map_err(into_io)
}

/// Sets what [`super`] lists for a TAP.
pub fn set_sysctls(tap: &str) -> io::Result<()> {
    for (name, value) in [("rp_filter", "2"), ("arp_ignore", "1"), ("arp_announce", "2")] {
        let path = format!("/proc/sys/net/ipv4/conf/{tap}/{name}");
        std::fs::write(&path, value).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
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
    if message.header.family != AddressFamily::Inet {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })?;
    let mark = AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL));
    Some((Prefix { address, length: message.header.prefix_len }, message.attributes.contains(&mark)))
}

/// A unicast route over one of our TAPs; of several next hops, the first that is.
fn read_route(message: &RouteMessage, ports: &HashMap<u32, usize>) -> Option<(TapRoute, bool)> {
    let header = &message.header;
    if header.address_family != AddressFamily::Inet
        || header.kind != RouteType::Unicast
        || header.flags.intersects(RouteFlags::Dead | RouteFlags::Cloned)
    {
        return None;
    }
    let mut table = u32::from(header.table);
    let (mut to, mut metric, mut hop) = (Ipv4Addr::UNSPECIFIED, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
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

fn gateway(attributes: &[RouteAttribute]) -> Option<Ipv4Addr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}

fn route_message(route: &TapRoute, index: u32) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.to.address, route.to.length)
        .output_interface(index)
        .table_id(route.table)
        .protocol(RouteProtocol::Other(PROTOCOL));
    if let Some(via) = route.via {
        builder = builder.gateway(via);
    }
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    builder.build()
}

fn rule_message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.header.src_len = 32;
    let (source, table, priority) = match rule {
        Rule::MainButDefault(source) => (source, MAIN, PRIORITY_MAIN),
        Rule::Ours(source) => (source, TABLE, PRIORITY_OURS),
    };
    message.attributes = vec![
        RuleAttribute::Source(IpAddr::V4(source)),
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
        RuleAttribute::Source(IpAddr::V4(source)) => Some(*source),
        _ => None,
    })?;
    if !has(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL))) {
        return None;
    }
    let rules = [(PRIORITY_MAIN, Rule::MainButDefault(source)), (PRIORITY_OURS, Rule::Ours(source))];
    rules.into_iter().find(|(priority, _)| has(RuleAttribute::Priority(*priority))).map(|(_, rule)| rule)
}
