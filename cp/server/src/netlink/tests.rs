//! Against the kernel, in network namespaces of their own. Each test runs itself again inside one; without root it says
//! so and passes.

use std::process::Command;
use std::time::Duration;

use crossbeam_channel::Receiver;
use leat_compile::view::NextHop;

use super::*;

/// Only there so that a broken test ends.
const PATIENCE: Duration = Duration::from_secs(60);
const INSIDE: &str = "LEAT_TEST_NETNS";

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const MAC_C: [u8; 6] = [2, 0, 0, 0, 0, 0xc];

/// Two fresh namespaces: the body runs in the first, with the name of the second, where the neighbours live.
fn in_namespaces(test: &str, body: impl FnOnce(&str)) {
    if let Ok(outside) = std::env::var(INSIDE) {
        return body(&outside);
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: {test} needs root to make network namespaces");
    }
    struct Namespace(String);
    impl Namespace {
        fn new(name: String) -> Self {
            ip(&["netns", "add", &name]);
            Self(name)
        }
    }
    impl Drop for Namespace {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
        }
    }
    let id = std::process::id();
    let inner = Namespace::new(format!("leat-test-{id}-{test}"));
    let outer = Namespace::new(format!("leat-test-{id}-{test}-out"));
    let module = module_path!().split_once("::").map_or("", |(_, path)| path);
    let status = Command::new("ip")
        .args(["netns", "exec", &inner.0])
        .arg(std::env::current_exe().expect("this program"))
        .args([&format!("{module}::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, &outer.0)
        .status()
        .expect("ip netns exec");
    assert!(status.success(), "{test} failed inside its namespace");
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("the ip command (iproute2)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {errors}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One command line of `ip`.
fn ip_line(line: &str) -> String {
    ip(&line.split_whitespace().collect::<Vec<_>>())
}

/// Makes the TAP's stand-in, a veth whose other end is in namespace `outside` and has address 10.1.0.1 and MAC A.
fn add_link(outside: &str) {
    ip_line(&format!("link add leat-p0 type veth peer name far netns {outside}"));
    ip_line(&format!("-n {outside} link set far address 02:00:00:00:00:0a up"));
    ip_line(&format!("-n {outside} addr add 10.1.0.1/24 dev far"));
}

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect(text)
}

fn config(nodes: &[&str]) -> NetConfig {
    let port = PortConfig {
        name: "p0".into(),
        tap: "leat-p0".into(),
        addresses: vec![prefix("10.1.0.2/24")],
        routes: vec![Route { to: prefix("0.0.0.0/0"), via: address("10.1.0.1") }],
    };
    NetConfig { ports: vec![port], node_addresses: nodes.iter().map(|node| (address(node), address(node))).collect() }
}

struct Follower {
    network: Network,
    views: Receiver<Arc<NetView>>,
}

impl Follower {
    fn start(config: NetConfig) -> Self {
        let (sender, views) = crossbeam_channel::unbounded();
        let network = Network::start(move |view| drop(sender.send(view))).expect("the thread starts");
        network.set_config(config);
        Self { network, views }
    }

    /// Waits for a view that fulfils the condition.
    fn until(&self, what: &str, condition: impl Fn(&NetView) -> bool) -> Arc<NetView> {
        let mut last = None;
        loop {
            let view = self.views.recv_timeout(PATIENCE);
            let view = view.unwrap_or_else(|_| panic!("no view where {what}; the last was {last:?}"));
            if condition(&view) {
                return view;
            }
            last = Some(view);
        }
    }

    fn until_hop(&self, destination: &str, mac: Option<[u8; 6]>) {
        let destination = address(destination);
        self.until(&format!("{destination} has {mac:x?}"), |view| {
            view.next_hops.get(&destination).map(|hop| hop.mac) == mac
        });
    }
}

/// Without the link-local ones that Linux makes by itself.
fn ipv4_hosts(view: &NetView) -> Vec<(usize, IpAddr)> {
    view.host_addresses.iter().copied().filter(|(_, address)| address.is_ipv4()).collect()
}

/// Waits for something that no view tells.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn addresses() -> String {
    ip_line("-o -4 addr show dev leat-p0")
}

#[test]
fn configures_a_tap_whenever_it_appears() {
    in_namespaces("configures_a_tap_whenever_it_appears", |outside| {
        let follower = Follower::start(config(&["10.1.0.10", "10.1.0.11"]));
        follower.until("the TAP is missing", |view| view.taps_up == [false]);
        for _ in 0..2 {
            add_link(outside);
            let own = [(0, address("10.1.0.2"))];
            follower.until("the TAP is configured", |view| view.taps_up == [true] && ipv4_hosts(view) == own);
            eventually("its routes are there", || ip_line("route show default").contains("via 10.1.0.1 dev leat-p0"));
            let addresses = addresses();
            for expected in ["10.1.0.2/24", "10.1.0.10/32", "10.1.0.11/32"] {
                assert!(addresses.contains(expected), "{expected} in {addresses}");
            }
            for (name, value) in [("rp_filter", "2"), ("arp_ignore", "1"), ("arp_announce", "2")] {
                let path = format!("/proc/sys/net/ipv4/conf/leat-p0/{name}");
                assert_eq!(std::fs::read_to_string(&path).expect(&path).trim(), value, "{name}");
            }
            ip_line("link del leat-p0");
            follower.until("the TAP is gone", |view| view.taps_up == [false] && ipv4_hosts(view).is_empty());
        }
    });
}

#[test]
fn repairs_and_removes_only_what_is_its_own() {
    in_namespaces("repairs_and_removes_only_what_is_its_own", |outside| {
        add_link(outside);
        ip_line("addr add 10.7.0.1/24 dev leat-p0");
        let follower = Follower::start(config(&["10.1.0.10"]));
        follower.until("it is configured", |view| ipv4_hosts(view).len() == 2);
        eventually("the node address is there", || addresses().contains("10.1.0.10/32"));
        ip_line("addr del 10.1.0.10/32 dev leat-p0");
        eventually("it is put back", || addresses().contains("10.1.0.10/32"));
        ip_line("link set leat-p0 down");
        eventually("the TAP is up again with its route", || {
            ip_line("route show default").contains("via 10.1.0.1 dev leat-p0")
        });
        // A later process knows its predecessor's addresses by their mark.
        drop(follower);
        let follower = Follower::start(config(&["10.1.0.11"]));
        eventually("the old node address is removed", || {
            let addresses = addresses();
            addresses.contains("10.1.0.11/32") && !addresses.contains("10.1.0.10/32")
        });
        assert!(addresses().contains("10.7.0.1/24"), "not ours");
        follower.network.set_config(NetConfig { node_addresses: Vec::new(), ..config(&[]) });
        eventually("no node address is left", || !addresses().contains("/32"));
        let rules = || ip_line("rule show");
        eventually("only the port's own rules are left", || {
            rules().contains("10.1.0.2") && !rules().contains("10.1.0.11")
        });
    });
}

#[test]
fn leaves_the_way_out_to_the_host() {
    in_namespaces("leaves_the_way_out_to_the_host", |outside| {
        ip_line(&format!("link add other type veth peer name far2 netns {outside}"));
        ip_line("addr add 10.8.0.2/24 dev other");
        ip_line("link set other up");
        ip_line("route add default via 10.8.0.1 dev other");
        add_link(outside);
        let _follower = Follower::start(config(&["10.1.0.10"]));
        eventually("checks leave by the TAP", || {
            let route = Command::new("ip").args(["route", "get", "192.0.2.9", "from", "10.1.0.10"]).output();
            String::from_utf8_lossy(&route.expect("ip").stdout).contains("via 10.1.0.1 dev leat-p0")
        });
        assert!(ip_line("route get 192.0.2.9").contains("via 10.8.0.1 dev other"), "all else as before");
        assert!(ip_line("route get 10.8.0.77 from 10.1.0.10").contains("dev other"), "more precise routes first");
    });
}

#[test]
fn follows_neighbours_and_routes() {
    in_namespaces("follows_neighbours_and_routes", |outside| {
        add_link(outside);
        let follower = Follower::start(config(&["10.1.0.10"]));
        let far = ["10.1.0.1", "192.0.2.9", "10.1.0.99"];
        follower.network.set_wanted(far.iter().map(|text| address(text)).collect());
        let both = |mac| {
            move |view: &NetView| {
                let hop = Some(NextHop { port: 0, mac });
                far[..2].iter().all(|text| view.next_hops.get(&address(text)).copied() == hop)
            }
        };
        let view = follower.until("the neighbour was asked for and answered", both(MAC_A));
        assert!(!view.next_hops.contains_key(&address("10.1.0.99")), "nobody has that address");

        ip_line("neigh replace 10.1.0.1 lladdr 02:00:00:00:00:0b dev leat-p0 nud reachable");
        follower.until("the neighbour has another MAC", both(MAC_B));

        ip_line("neigh replace 10.1.0.254 lladdr 02:00:00:00:00:0c dev leat-p0 nud permanent");
        ip_line("route add 192.0.2.0/24 via 10.1.0.254 dev leat-p0");
        follower.until_hop("192.0.2.9", Some(MAC_C));
        ip_line("route del 192.0.2.0/24");
        follower.until_hop("192.0.2.9", Some(MAC_B));

        // The TAP is replaced, as by a data plane that restarts: the hops stay and are confirmed anew.
        ip_line("link del leat-p0");
        follower.until("the TAP is gone but the hops stay", |view| view.taps_up == [false] && both(MAC_B)(view));
        add_link(outside);
        follower.until("the neighbour was asked for on the new TAP", both(MAC_A));

        // It falls silent.
        ip_line(&format!("-n {outside} addr flush dev far"));
        ip_line("neigh del 10.1.0.1 dev leat-p0");
        follower.until_hop("10.1.0.1", None);
        ip_line(&format!("-n {outside} addr add 10.1.0.1/24 dev far"));
        follower.until("it is still asked for", both(MAC_A));
    });
}

/// req: IPT-06, IPT-14
#[test]
fn does_the_same_with_ipv6() {
    in_namespaces("does_the_same_with_ipv6", |outside| {
        add_link(outside);
        ip_line(&format!("-n {outside} addr add fd00:1::1/64 dev far nodad"));
        let mut config = config(&["10.1.0.10", "fd00:1::10"]);
        let port = &mut config.ports[0];
        port.addresses.push(prefix("fd00:1::2/64"));
        port.routes.push(Route { to: prefix("fd00:9::/48"), via: address("fd00:1::1") });
        port.routes.push(Route { to: prefix("::/0"), via: address("fd00:1::1") });
        let follower = Follower::start(config.clone());
        let wanted = ["fd00:1::1", "fd00:9::7", "2001:db8::7", "fd00:1::99", "10.1.0.1"];
        follower.network.set_wanted(wanted.iter().map(|text| address(text)).collect());
        let hop = Some(NextHop { port: 0, mac: MAC_A });
        let view = follower.until("all but one have a way", |view| {
            wanted.iter().filter(|text| view.next_hops.get(&address(text)).copied() == hop).count() == 4
        });
        assert!(!view.next_hops.contains_key(&address("fd00:1::99")), "nobody has that address");
        let own: Vec<_> = view.host_addresses.iter().map(|(_, address)| address.to_string()).collect();
        assert!(own.iter().any(|address| address == "fd00:1::2") && !own.iter().any(|address| address == "fd00:1::10"));
        assert!(own.iter().any(|address| address.starts_with("fe80:")), "neighbours answer to it: {own:?}");
        let addresses = ip_line("-o -6 addr show dev leat-p0");
        assert!(addresses.contains("fd00:1::10/128") && !addresses.contains("tentative"), "{addresses}");
        eventually("checks leave by the TAP", || {
            let route = Command::new("ip").args(["-6", "route", "get", "2001:db8::9", "from", "fd00:1::10"]).output();
            String::from_utf8_lossy(&route.expect("ip").stdout).contains("via fd00:1::1 dev leat-p0")
        });
        eventually("a rule says so", || ip_line("-6 rule show").contains("from fd00:1::10 lookup 9321"));

        ip_line("addr del fd00:1::10/128 dev leat-p0");
        eventually("it is put back", || ip_line("-6 addr show dev leat-p0").contains("fd00:1::10/128"));
        config.node_addresses.truncate(1);
        config.ports[0].routes.truncate(1);
        follower.network.set_config(config);
        eventually("nothing is left of it", || {
            let gone = |text: String| !text.contains("fd00:1::10") && !text.contains("fd00:9::/48");
            gone(ip_line("-6 addr show dev leat-p0")) && gone(ip_line("-6 route show")) && gone(ip_line("-6 rule show"))
        });
        // It falls silent, and comes back.
        ip_line(&format!("-n {outside} addr del fd00:1::1/64 dev far"));
        ip_line("neigh del fd00:1::1 dev leat-p0");
        follower.until_hop("fd00:1::1", None);
        ip_line(&format!("-n {outside} addr add fd00:1::1/64 dev far nodad"));
        follower.until_hop("fd00:1::1", Some(MAC_A));
    });
}
