//! What operators do, as they would say it, and the commands that it becomes.

use std::net::SocketAddr;

use leat_model::attributes as names;
use leat_model::{Command, Id, shift};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::profile::Profile;
use crate::site::{BALANCERS, GROUPS, TARGETS, ZONES, node, target, zone_of_target};

/// What the groups are: their protocol, and attributes that differ from the defaults.
pub const KINDS: [(&str, &[(&str, &str)]); GROUPS as usize] = [
    ("TCP", &[]),
    ("TCP", &[(names::PRESERVE_CLIENT_IP, "true")]),
    ("UDP", &[]),
    ("TCP_UDP", &[]),
    ("TCP", &[(names::STICKINESS, "true")]),
];
/// The first port of listeners; each load balancer has a few.
pub const FIRST_PORT: u16 = 80;
const LISTENERS: u16 = 3;

/// A change that somebody asks for. Load balancers, zones and groups by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A load balancer with nodes in these zones.
    CreateBalancer(u8, Vec<usize>),
    /// It goes, with its listeners.
    DeleteBalancer(u8),
    /// A node in another zone.
    AddZone(u8, usize),
    /// Cross-zone load balancing of a load balancer.
    CrossZone(u8, bool),
    /// A group.
    CreateGroup(u8),
    /// It goes.
    DeleteGroup(u8),
    /// An attribute of a group.
    Attribute(u8, &'static str, String),
    /// Seconds between checks, and both thresholds.
    HealthCheck(u8, u32, u32, u32),
    /// A listener on a port, to a group.
    CreateListener(u8, u16, u8),
    /// To another group.
    ModifyListener(u8, u16, u8),
    /// It goes.
    DeleteListener(u8, u16),
    /// Targets of a group, by number.
    Register(u8, Vec<u8>),
    /// They go.
    Deregister(u8, Vec<u8>),
    /// A zonal shift away from a zone, for minutes.
    StartShift(u8, usize, u64, String),
    /// The shift of a load balancer ends.
    CancelShift(String),
}

fn request<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a request of this form")
}

fn lb(number: u8) -> String {
    format!("lb{number}")
}

fn group(number: u8) -> String {
    format!("g{number}")
}

impl Change {
    /// The command. `id` is that of what is created.
    pub fn command(&self, id: u64) -> Command {
        let id = Id(id);
        let spec = |target: SocketAddr| json!({"id": target.ip(), "zone": zone_of_target(target)});
        let specs = |of: u8, all: &[u8]| all.iter().map(|n| request(spec(target(of, *n)))).collect();
        let node = |of: u8, zone: usize| json!({"zone": ZONES[zone], "address": node(of, zone)});
        match self {
            Self::CreateBalancer(of, zones) => {
                let nodes: Vec<Value> = zones.iter().map(|zone| node(*of, *zone)).collect();
                Command::CreateLoadBalancer { request: request(json!({"name": lb(*of), "nodes": nodes})), id }
            }
            Self::DeleteBalancer(of) => Command::DeleteLoadBalancer { load_balancer: lb(*of) },
            Self::AddZone(of, zone) => Command::ModifyLoadBalancer {
                load_balancer: lb(*of),
                request: request(json!({"nodes": [node(*of, *zone)]})),
            },
            Self::CrossZone(of, on) => Command::ModifyLoadBalancerAttributes {
                load_balancer: lb(*of),
                attributes: [(names::CROSS_ZONE.to_owned(), on.to_string())].into(),
            },
            Self::CreateGroup(of) => {
                let (protocol, attributes) = KINDS[usize::from(*of)];
                let attributes: std::collections::BTreeMap<_, _> = attributes.iter().copied().collect();
                let port = crate::site::group_port(*of);
                let body = json!({"name": group(*of), "protocol": protocol, "port": port, "attributes": attributes});
                Command::CreateTargetGroup { request: request(body), id }
            }
            Self::DeleteGroup(of) => Command::DeleteTargetGroup { target_group: group(*of) },
            Self::Attribute(of, key, value) => Command::ModifyAttributes {
                target_group: group(*of),
                attributes: [((*key).to_owned(), value.clone())].into(),
            },
            Self::HealthCheck(of, interval, healthy, unhealthy) => {
                let check = json!({"intervalSeconds": interval, "timeoutSeconds": (*interval).clamp(2, 10),
                    "healthyThresholdCount": healthy, "unhealthyThresholdCount": unhealthy});
                Command::ModifyTargetGroup { target_group: group(*of), request: request(json!({"healthCheck": check})) }
            }
            Self::CreateListener(of, port, to) => {
                let body = json!({"protocol": KINDS[usize::from(*to)].0, "port": port, "targetGroup": group(*to)});
                Command::CreateListener { load_balancer: lb(*of), request: request(body), id }
            }
            Self::ModifyListener(of, port, to) => Command::ModifyListener {
                load_balancer: lb(*of),
                port: *port,
                request: request(json!({"targetGroup": group(*to)})),
            },
            Self::DeleteListener(of, port) => Command::DeleteListener { load_balancer: lb(*of), port: *port },
            Self::Register(of, all) => Command::RegisterTargets { target_group: group(*of), targets: specs(*of, all) },
            Self::Deregister(of, all) => {
                Command::DeregisterTargets { target_group: group(*of), targets: specs(*of, all) }
            }
            Self::StartShift(of, zone, minutes, id) => {
                let body =
                    json!({"loadBalancer": lb(*of), "awayFrom": ZONES[*zone], "expiresIn": format!("{minutes}m")});
                Command::Shift(shift::Change::Start { request: request(body), id: id.clone() })
            }
            Self::CancelShift(id) => Command::Shift(shift::Change::Cancel { id: id.clone() }),
        }
    }

    /// What somebody might ask for at any time. Much of it is refused.
    pub fn random(rng: &mut SmallRng, profile: &Profile, shifts: &[String]) -> Self {
        let of = rng.random_range(0..profile.balancers.min(BALANCERS));
        let to = rng.random_range(0..profile.groups.min(GROUPS));
        let port = FIRST_PORT + rng.random_range(0..LISTENERS);
        let some = |rng: &mut SmallRng| {
            let count = rng.random_range(1..=3);
            (0..count).map(|_| rng.random_range(0..TARGETS)).collect::<Vec<u8>>()
        };
        match rng.random_range(0..100) {
            0..3 => Self::CreateBalancer(of, zones(rng)),
            3..4 => Self::DeleteBalancer(of),
            4..6 => Self::AddZone(of, rng.random_range(0..ZONES.len())),
            6..12 => Self::CrossZone(of, rng.random_bool(0.4)),
            12..14 => Self::CreateGroup(to),
            14..15 => Self::DeleteGroup(to),
            15..33 => Self::random_attribute(rng, profile, to),
            33..38 => {
                let interval = rng.random_range(profile.interval_s.clone());
                Self::HealthCheck(to, interval, rng.random_range(2..=4), rng.random_range(2..=4))
            }
            38..44 => Self::CreateListener(of, port, to),
            44..47 => Self::ModifyListener(of, port, to),
            47..49 => Self::DeleteListener(of, port),
            49..67 => Self::Register(to, some(rng)),
            67..84 => Self::Deregister(to, some(rng)),
            84..95 => {
                let minutes = rng.random_range(profile.shift_min.clone());
                let id = format!("{:08x}", rng.random::<u32>());
                Self::StartShift(of, rng.random_range(0..ZONES.len()), minutes, id)
            }
            _ => Self::CancelShift(shifts.last().cloned().unwrap_or_else(|| "none".into())),
        }
    }

    fn random_attribute(rng: &mut SmallRng, profile: &Profile, of: u8) -> Self {
        let truth = |rng: &mut SmallRng| rng.random_bool(0.5).to_string();
        let (key, value) = match rng.random_range(0..9) {
            0 | 1 => (names::DEREGISTRATION_DELAY, rng.random_range(profile.delay_s.clone()).to_string()),
            2 => (names::CONNECTION_TERMINATION, truth(rng)),
            3 => {
                let words = ["true", "false", names::AS_THE_LOAD_BALANCER];
                (names::CROSS_ZONE, words[rng.random_range(0..3)].to_owned())
            }
            4 => (names::STICKINESS, truth(rng)),
            5 => (names::PRESERVE_CLIENT_IP, truth(rng)),
            6 => (names::UNHEALTHY_TERMINATION, truth(rng)),
            7 => (names::DNS_COUNT, if rng.random() { "off".into() } else { rng.random_range(1..4).to_string() }),
            _ => {
                let share = if rng.random() { "off".into() } else { rng.random_range(1..=100).to_string() };
                (names::HEALTHY_PERCENTAGE, share)
            }
        };
        Self::Attribute(of, key, value)
    }

    /// What is there at the beginning.
    pub fn first(rng: &mut SmallRng, profile: &Profile) -> Vec<Self> {
        let mut all: Vec<Self> = (0..profile.groups).map(Self::CreateGroup).collect();
        for of in 0..profile.groups {
            let interval = rng.random_range(profile.interval_s.clone());
            all.push(Self::HealthCheck(of, interval, rng.random_range(2..=4), rng.random_range(2..=3)));
            let delay = rng.random_range(profile.delay_s.clone()).to_string();
            all.push(Self::Attribute(of, names::DEREGISTRATION_DELAY, delay));
            let count = rng.random_range(2..=profile.targets.min(TARGETS));
            all.push(Self::Register(of, (0..count).collect()));
        }
        all.extend((0..profile.balancers).map(|of| Self::CreateBalancer(of, zones(rng))));
        for to in 0..profile.groups {
            let of = rng.random_range(0..profile.balancers);
            all.push(Self::CreateListener(of, FIRST_PORT + u16::from(to) % LISTENERS, to));
        }
        all
    }
}

fn zones(rng: &mut SmallRng) -> Vec<usize> {
    let count = rng.random_range(1..=ZONES.len());
    let first = rng.random_range(0..ZONES.len());
    (0..count).map(|n| (first + n) % ZONES.len()).collect()
}
