//! The data plane as the control plane sees it: headers and counters in the segment, to read only.
//!
//! What is read is input from another process: numbers for people, never indices.

use std::sync::atomic::{AtomicU64, Ordering};

use leat_abi::counters::{Counter, ListenerCounter, TargetCounter};
use leat_abi::layout::{LcoreHeader, PORTS_MAX, PortBlock, SegmentHeader};
use leat_abi::segment::monotonic_ms;
use leat_abi::{ControlSegment, Geometry, counters::LcoreCounters};
use leat_model::rest::{DataPlaneStatus, LcoreStatus, PortStatus};

/// A data plane without a sign of life for so long is gone. It gives one every 100 ms.
const SILENCE_MAX_MS: u64 = 1000;

/// A mapped segment, to read.
#[derive(Debug)]
pub struct Plane {
    header: &'static SegmentHeader,
    geometry: Geometry,
    lcores: Vec<Lcore>,
}

/// An lcore's part of it.
#[derive(Debug)]
pub struct Lcore {
    /// What it says about itself.
    pub header: &'static LcoreHeader,
    /// What it counts.
    pub counters: LcoreCounters<'static>,
    /// Busy share of the last second in 1/100 %. Written by the publisher.
    busy: AtomicU64,
    /// Busy and idle cycles at the last [`Plane::measure`].
    measured: [AtomicU64; 2],
}

fn read(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

impl Plane {
    /// A view of a segment.
    pub fn of(segment: &ControlSegment) -> Self {
        let geometry = segment.geometry();
        let lcore = |n| Lcore {
            header: segment.lcore_header(n),
            counters: segment.counters(n),
            busy: AtomicU64::new(0),
            measured: Default::default(),
        };
        Self { header: segment.header(), geometry, lcores: (0..geometry.lcores).map(lcore).collect() }
    }

    /// Whether a living process uses it.
    pub fn is_alive(&self) -> bool {
        let heartbeat = read(&self.header.dp_heartbeat_ms);
        heartbeat != 0 && monotonic_ms().saturating_sub(heartbeat) < SILENCE_MAX_MS
    }

    /// Whether all lcores run.
    pub fn is_running(&self) -> bool {
        self.is_alive() && self.lcores.iter().all(|lcore| read(&lcore.header.running) == 1)
    }

    /// Counts the processes that have used the segment.
    pub fn incarnation(&self) -> u64 {
        read(&self.header.incarnation)
    }

    /// The segment's sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The lcores.
    pub fn lcores(&self) -> &[Lcore] {
        &self.lcores
    }

    /// TSC ticks per second; 0 when not known.
    pub fn tsc_hz(&self) -> u64 {
        read(&self.header.tsc_hz)
    }

    /// The last generation that the data plane refused.
    pub fn refused(&self) -> u64 {
        read(&self.header.refused)
    }

    /// The ports in use.
    pub fn ports(&self) -> &'static [PortBlock] {
        let count = (read(&self.header.ports) as usize).min(PORTS_MAX);
        &self.header.port[..count]
    }

    /// The ports' names.
    pub fn port_names(&self) -> Vec<String> {
        self.ports().iter().map(|port| text(&port.name)).collect()
    }

    /// The names of the ports whose link is down.
    pub fn ports_without_link(&self) -> impl Iterator<Item = String> {
        self.ports().iter().filter(|port| read(&port.link_up) != 1).map(|port| text(&port.name))
    }

    /// A target slot's counter over all lcores.
    pub fn target(&self, slot: u16, counter: TargetCounter) -> u64 {
        self.lcores.iter().fold(0, |sum, lcore| sum.wrapping_add(lcore.counters.get_target(slot, counter)))
    }

    /// A listener slot's counter over all lcores.
    pub fn listener(&self, slot: u16, counter: ListenerCounter) -> u64 {
        self.lcores.iter().fold(0, |sum, lcore| sum.wrapping_add(lcore.counters.get_listener(slot, counter)))
    }

    /// Renews the busy shares: to be called once a second by one thread.
    pub fn measure(&self) {
        for lcore in &self.lcores {
            let now = [Counter::BusyCycles, Counter::IdleCycles].map(|counter| lcore.counters.get(counter));
            let since = [0, 1].map(|n| now[n].wrapping_sub(lcore.measured[n].swap(now[n], Ordering::Relaxed)));
            let total = u128::from(since[0]) + u128::from(since[1]);
            let share = (u128::from(since[0]) * 10_000).checked_div(total).unwrap_or(0);
            lcore.busy.store(share as u64, Ordering::Relaxed);
        }
    }

    /// For `GET /v1/status`.
    pub fn status(&self) -> DataPlaneStatus {
        let lcore = |(id, lcore): (usize, &Lcore)| LcoreStatus {
            id: id as u16,
            cpu: read(&lcore.header.cpu),
            generation: read(&lcore.header.generation),
            busy_percent: lcore.busy_percent(),
        };
        DataPlaneStatus {
            attached: self.is_alive(),
            incarnation: self.incarnation(),
            pid: read(&self.header.dp_pid),
            generation: read(&self.header.announced) >> 1,
            lcores: self.lcores.iter().enumerate().map(lcore).collect(),
            ports: self.ports().iter().map(port_status).collect(),
        }
    }
}

impl Lcore {
    /// Busy share of the last second, 0–100.
    pub fn busy_percent(&self) -> f64 {
        self.busy.load(Ordering::Relaxed) as f64 / 100.0
    }
}

fn port_status(port: &PortBlock) -> PortStatus {
    let mac = read(&port.mac).to_le_bytes();
    let mac: Vec<String> = mac[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    PortStatus {
        name: text(&port.name),
        tap: text(&port.tap),
        mac: mac.join(":"),
        mtu: read(&port.mtu),
        link: read(&port.link_up) == 1,
    }
}

/// A text padded with zeros. What is not UTF-8 is replaced.
pub fn text(words: &[AtomicU64; 2]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| read(word).to_le_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
