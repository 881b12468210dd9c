//! Counters → the API's statistics.

use leat_abi::counters::{Counter, DropReason, ExceptionCounter, LcoreCounters, ListenerCounter, TargetCounter};
use leat_abi::layout::PortBlock;
use leat_model::rest::{
    Conservation, Counters, LcoreStats, ListenerStats, PortStats, Stats, TargetFlows, TargetStats, Totals,
};
use leat_model::{Model, resource};
use std::sync::atomic::Ordering;

use crate::plane::{Lcore, Plane, text};

/// Everything that is counted.
pub fn collect(model: &Model, plane: Option<&Plane>) -> Stats {
    let mut stats = Stats {
        attached: plane.is_some_and(Plane::is_alive),
        targets: model
            .targets()
            .filter(|target| !target.is_left())
            .map(|target| target_stats(model, plane, target))
            .collect(),
        listeners: listener_stats(model, plane),
        ..Stats::default()
    };
    if let Some(plane) = plane {
        let (flows_max, hz) = (plane.geometry().flows_max.into(), plane.tsc_hz());
        let lcores = plane.lcores().iter().enumerate();
        stats.lcores = lcores.map(|(id, lcore)| lcore_stats(id as u16, lcore, flows_max, hz)).collect();
        stats.totals = totals(&stats.lcores);
        stats.ports = plane.ports().iter().map(port_stats).collect();
    }
    stats
}

fn lcore_stats(id: u16, lcore: &Lcore, flows_max: u64, hz: u64) -> LcoreStats {
    let counters: Counters = Counter::ALL.iter().map(|c| (c.name().into(), lcore.counters.get(*c))).collect();
    let drops: Counters = DropReason::ALL.iter().map(|r| (r.name().into(), lcore.counters.dropped(*r))).collect();
    let longest = u128::from(lcore.header.longest_loop.load(Ordering::Relaxed));
    LcoreStats {
        id,
        cpu: lcore.header.cpu.load(Ordering::Relaxed),
        busy_percent: lcore.busy_percent(),
        flows_used: lcore.header.flows_used.load(Ordering::Relaxed),
        flows_max,
        longest_loop_us: (longest * 1_000_000).checked_div(hz.into()).unwrap_or(0) as u64,
        counters,
        drops,
        conservation: conservation(&lcore.counters),
    }
}

/// The conservation law, as `leat_abi::counters` states it.
fn conservation(counters: &LcoreCounters<'_>) -> Conservation {
    let sum = |list: &[Counter]| list.iter().fold(0u64, |sum, counter| sum.wrapping_add(counters.get(*counter)));
    let known = [
        Counter::ForwardedPackets,
        Counter::PuntedPackets,
        Counter::AnsweredPackets,
        Counter::HandedOut,
        Counter::ConsumedPackets,
        Counter::HeldPackets,
    ];
    // What is known first: packets that come in meanwhile then show as under way.
    let accounted = sum(&known).wrapping_add(counters.dropped_total());
    let received = sum(&[Counter::RxPackets, Counter::HandedIn]);
    Conservation { received, accounted, difference: received.wrapping_sub(accounted).cast_signed() }
}

fn totals(lcores: &[LcoreStats]) -> Totals {
    let mut totals = Totals::default();
    for lcore in lcores {
        for (sum, part) in [(&mut totals.counters, &lcore.counters), (&mut totals.drops, &lcore.drops)] {
            for (name, value) in part {
                let sum = sum.entry(name.clone()).or_default();
                *sum = sum.wrapping_add(*value);
            }
        }
        let (sum, part) = (&mut totals.conservation, &lcore.conservation);
        sum.received = sum.received.wrapping_add(part.received);
        sum.accounted = sum.accounted.wrapping_add(part.accounted);
        sum.difference = sum.difference.wrapping_add(part.difference);
    }
    totals
}

fn port_stats(port: &PortBlock) -> PortStats {
    let words = [
        ("rx_missed", &port.rx_missed),
        ("rx_errors", &port.rx_errors),
        ("rx_no_buffer", &port.rx_no_buffer),
        ("tx_errors", &port.tx_errors),
    ];
    let exception = ExceptionCounter::ALL.iter().map(|counter| counter.name()).zip(&port.exception);
    let counters = words.into_iter().chain(exception);
    PortStats {
        name: text(&port.name),
        counters: counters.map(|(name, word)| (name.to_owned(), word.load(Ordering::Relaxed))).collect(),
    }
}

/// Whether a counter says how much there is now: such ones are not counted from anything.
const fn is_gauge(counter: TargetCounter) -> bool {
    matches!(counter, TargetCounter::ActiveFlows | TargetCounter::FlowRefs)
}

const fn is_listener_gauge(counter: ListenerCounter) -> bool {
    matches!(counter, ListenerCounter::ActiveFlows | ListenerCounter::FlowRefs)
}

/// A target's counter for its present holder.
fn target_counter(model: &Model, plane: &Plane, slot: u16, counter: TargetCounter) -> u64 {
    let says = plane.target(slot, counter);
    if is_gauge(counter) { says } else { model.target_slots().since_taken(slot, counter as usize, says) }
}

fn target_stats(model: &Model, plane: Option<&Plane>, target: &resource::Target) -> TargetStats {
    let value = |counter| plane.map_or(0, |plane| target_counter(model, plane, target.slot, counter));
    TargetStats {
        target_group: model.target_group(target.group).map(|group| group.name.clone()).unwrap_or_default(),
        id: target.address.to_string(),
        port: target.port,
        slot: target.slot,
        counters: TargetCounter::ALL.iter().map(|c| (c.name().to_owned(), value(*c))).collect(),
    }
}

fn listener_stats(model: &Model, plane: Option<&Plane>) -> Vec<ListenerStats> {
    let value = |slot, counter: ListenerCounter| {
        let says = plane.map_or(0, |plane| plane.listener(slot, counter));
        if is_listener_gauge(counter) { says } else { model.listener_slots().since_taken(slot, counter as usize, says) }
    };
    let mut all = Vec::new();
    for listener in model.listeners() {
        let name = model.load_balancer(listener.load_balancer).map(|lb| lb.name.clone()).unwrap_or_default();
        for place in &listener.slots {
            all.push(ListenerStats {
                load_balancer: name.clone(),
                address: place.address,
                port: listener.port,
                protocol: place.protocol,
                slot: place.slot,
                counters: ListenerCounter::ALL.iter().map(|c| (c.name().to_owned(), value(place.slot, *c))).collect(),
            });
        }
    }
    all
}

/// A target's flows for `GET …/targets`.
pub fn target_flows(model: &Model, plane: Option<&Plane>, slot: u16) -> TargetFlows {
    let Some(plane) = plane.filter(|plane| plane.is_alive()) else { return TargetFlows::default() };
    TargetFlows {
        active: plane.target(slot, TargetCounter::ActiveFlows),
        new: target_counter(model, plane, slot, TargetCounter::NewFlows),
    }
}

/// What a target slot's counters say, in their order: to be kept when the slot is freed.
pub fn target_says(plane: &Plane, slot: u16) -> Vec<u64> {
    TargetCounter::ALL.iter().map(|counter| plane.target(slot, *counter)).collect()
}

/// As [`target_says`], of a listener slot.
pub fn listener_says(plane: &Plane, slot: u16) -> Vec<u64> {
    ListenerCounter::ALL.iter().map(|counter| plane.listener(slot, *counter)).collect()
}
