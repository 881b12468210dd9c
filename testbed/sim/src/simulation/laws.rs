//! The laws that hold after every event.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use leat_abi::counters::{Counter, ListenerCounter, TargetCounter};
use leat_abi::flow::{FlowState, flag};
use leat_model::health::{Health, Outcome};
use leat_model::resource::Target;

use super::Simulation;
use crate::control_plane::CheckKey;
use crate::plant::Plant;
use crate::segment::{LCORES, SLOTS};
use crate::truth::{Breach, breach};

impl Simulation<'_> {
    pub(super) fn check_laws(&mut self) -> Result<(), Breach> {
        self.check_generations()?;
        if std::mem::take(&mut self.flows_changed) && self.data.is_running() {
            self.check_packets()?;
            self.check_flows()?;
        }
        if std::mem::take(&mut self.model_changed) {
            self.check_model()?;
        }
        Ok(())
    }

    /// I9: an lcore never goes back to an older configuration, and says that it works with one only when it does.
    fn check_generations(&mut self) -> Result<(), Breach> {
        for (lcore, generation) in (0u16..).zip(self.data.generations()) {
            let newest = &mut self.newest[usize::from(lcore)];
            if generation < *newest {
                return breach("I9", format!("lcore {lcore} goes from generation {newest} to {generation}"));
            }
            *newest = generation;
            let said = self.segment.data.lcore_header(lcore).generation.load(Ordering::Acquire);
            if said > generation {
                return breach("I9", format!("lcore {lcore} works with generation {generation} and says {said}"));
            }
        }
        Ok(())
    }

    /// I1: every packet that arrived was forwarded, dropped for a reason, answered, handed over, consumed or is held.
    fn check_packets(&self) -> Result<(), Breach> {
        let mut between = 0i64;
        for lcore in 0..LCORES {
            let counters = self.segment.data.counters(lcore);
            let get = |counter| counters.get(counter);
            let came = get(Counter::RxPackets) + get(Counter::HandedIn);
            let went = get(Counter::ForwardedPackets)
                + get(Counter::PuntedPackets)
                + get(Counter::AnsweredPackets)
                + get(Counter::HandedOut)
                + get(Counter::ConsumedPackets)
                + get(Counter::HeldPackets)
                + counters.dropped_total();
            between += get(Counter::HandedOut) as i64 - get(Counter::HandedIn) as i64;
            if came != went {
                return breach("I1", format!("lcore {lcore}: {came} packets came, {went} are accounted for"));
            }
            let received = self.data.received[usize::from(lcore)];
            if get(Counter::RxPackets) != received {
                let counted = get(Counter::RxPackets);
                return breach("I1", format!("lcore {lcore}: {received} packets came, {counted} are counted"));
            }
        }
        if between != 0 {
            return breach("I1", format!("{between} packets between the lcores are missing"));
        }
        Ok(())
    }

    /// I2: no key of the flows' target side twice. I6: no source port twice, and (every so often) none taken that no flow has. I10: as many flows live
    /// as were made and did not end, and every gauge says how many there are.
    fn check_flows(&self) -> Result<(), Breach> {
        let (mut clients, mut targets, mut sources, mut nat) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
        let mut live = [0u64; LCORES as usize];
        let mut gauges = vec![[0u64; 4]; usize::from(LCORES) * usize::from(SLOTS)];
        for (lcore, e) in self.data.flows() {
            let seen = (e.ip_protocol(), e.target_ip, e.target_port, e.nat_ip, e.nat_port);
            if e.has(flag::FULL_NAT) {
                nat += 1;
                if !sources.insert(seen) {
                    return breach("I6", format!("a source port has two flows: {e:?}"));
                }
            }
            if !targets.insert(seen) {
                return breach("I2", format!("two flows have the key of the target's side: {e:?}"));
            }
            if !clients.insert((e.ip_protocol(), e.client_ip, e.client_port, e.vip, e.vport)) {
                return breach("I2", format!("two flows have the key of the client's side: {e:?}"));
            }
            let is_active = u64::from(e.state().is_some_and(FlowState::is_active));
            live[usize::from(lcore)] += is_active;
            for (slot, first) in [(e.target_slot, 0), (e.listener_slot, 2)] {
                let place = usize::from(lcore) * usize::from(SLOTS) + usize::from(slot);
                if let Some(gauge) = gauges.get_mut(place) {
                    gauge[first] += 1;
                    gauge[first + 1] += is_active;
                }
            }
        }
        // Counting them is slow.
        if self.summary.steps.is_multiple_of(16) && self.data.source_ports_taken() != nat {
            let taken = self.data.source_ports_taken();
            return breach("I6", format!("{taken} source ports are taken, {nat} flows have one"));
        }
        for lcore in 0..LCORES {
            let counters = self.segment.data.counters(lcore);
            let ended = [
                Counter::FlowsClosed,
                Counter::FlowsExpired,
                Counter::FlowsTerminated,
                Counter::HalfOpenEvicted,
                Counter::OneWayUdpEvicted,
            ];
            let ended: u64 = ended.into_iter().map(|counter| counters.get(counter)).sum();
            let (made, live) = (counters.get(Counter::FlowsCreated), live[usize::from(lcore)]);
            if made.wrapping_sub(ended) != live {
                return breach("I10", format!("lcore {lcore}: {made} flows made, {ended} ended, {live} live"));
            }
            for slot in 0..SLOTS {
                let says = [
                    counters.get_target(slot, TargetCounter::FlowRefs),
                    counters.get_target(slot, TargetCounter::ActiveFlows),
                    counters.get_listener(slot, ListenerCounter::FlowRefs),
                    counters.get_listener(slot, ListenerCounter::ActiveFlows),
                ];
                let are = gauges[usize::from(lcore) * usize::from(SLOTS) + usize::from(slot)];
                if says != are {
                    return breach("I10", format!("lcore {lcore}, slot {slot}: gauges {says:?}, flows {are:?}"));
                }
            }
        }
        Ok(())
    }

    /// I8, and that what is shown of targets is what most nodes have found.
    fn check_model(&self) -> Result<(), Breach> {
        let Some(control) = &self.control else { return Ok(()) };
        self.truth.check_dns(&control.model, &self.noted_down, self.at_ms, |lb| {
            let answer = control.dns(lb);
            let all = control.model.load_balancer(lb).map_or(0, |lb| lb.nodes.len());
            let plant = self.options.plant == Some(Plant::EmptyDns);
            let none_serves = control
                .model
                .load_balancer(lb)
                .is_some_and(|lb| control.model.zones_of(lb).all(|zone| zone.out.is_some()));
            if plant && none_serves && answer.len() == all { BTreeSet::new() } else { answer }
        })?;
        for lb in control.model.load_balancers().filter(|lb| lb.active) {
            let Some(found) = control.answer(lb.id) else {
                return breach("I8", format!("the DNS server does not know {}", lb.name));
            };
            let enabled: BTreeSet<_> = lb.nodes.iter().map(|node| node.address.into()).collect();
            if found.is_empty() || !found.is_subset(&enabled) {
                return breach("I8", format!("the DNS server has {found:?} for {}, of {enabled:?}", lb.name));
            }
            // Zones that come back may be held back; until one may come, those stay that were named last. Nobody else does.
            let wanted = control.dns(lb.id);
            let is_late = self.quiet && self.at_ms > self.healed_ms + 2_000_000;
            let is_good = found.is_subset(&wanted) || found.is_disjoint(&wanted);
            if !is_good || is_late && found != wanted {
                return breach("I8", format!("the DNS server has {found:?} for {}, not {wanted:?}", lb.name));
            }
        }
        for target in control.model.targets() {
            check_shown(target)?;
        }
        Ok(())
    }

    /// What a node must say of a target after a result: what the last results in a row come to. None: it is not checked any more.
    pub(super) fn expected_verdict(&mut self, key: CheckKey, outcome: Outcome) -> Option<Health> {
        let control = self.control.as_ref()?;
        let target = control
            .model
            .target(key.slot)
            .filter(|target| (target.generation, target.initial_since_epoch) == (key.generation, key.since))?;
        let check = &control.model.target_group(target.group)?.health_check;
        let before = target.verdict(key.node).map_or(Health::Initial, |verdict| verdict.health);
        let (passed, failed) = self.runs.entry(key).or_default();
        match outcome {
            Outcome::Passed => (*passed, *failed) = (*passed + 1, 0),
            Outcome::Failed(_) => (*passed, *failed) = (0, *failed + 1),
            Outcome::NotMade => {}
        }
        let rises = *passed >= if before == Health::Initial { 1 } else { check.healthy_threshold_count };
        let falls = *failed >= check.unhealthy_threshold_count;
        Some(match outcome {
            Outcome::Passed if rises => Health::Healthy,
            Outcome::Failed(_) if falls => Health::Unhealthy,
            _ => before,
        })
    }

    /// A node's verdict is what its own checks have found.
    pub(super) fn check_verdict(&mut self, key: CheckKey, expected: Option<Health>) -> Result<(), Breach> {
        let (Some(control), Some(expected)) = (&self.control, expected) else { return Ok(()) };
        let Some(target) = control.model.target(key.slot) else { return Ok(()) };
        let found = target.verdict(key.node).map_or(Health::Initial, |verdict| verdict.health);
        // A draining target that no node uses any more keeps no verdict.
        if found != expected && control.checks.contains_key(&key) {
            let what = format!("{}:{} is {found:?} for node {}", target.address, target.port, key.node);
            return breach("verdict", format!("{what}, and its checks say {expected:?}"));
        }
        Ok(())
    }
}

/// The health that is shown: what most nodes say, the worse of as many.
fn check_shown(target: &Target) -> Result<(), Breach> {
    let count = |health| target.verdicts.iter().filter(|verdict| verdict.health == health).count();
    let (healthy, unhealthy) = (count(Health::Healthy), count(Health::Unhealthy));
    let others = target.verdicts.len() - healthy;
    let expected = match target.verdicts.len() {
        0 => return Ok(()),
        _ if healthy > others => Health::Healthy,
        _ if unhealthy > 0 => Health::Unhealthy,
        _ => Health::Initial,
    };
    if target.health != expected {
        let what = format!("{}:{} is shown as {:?}", target.address, target.port, target.health);
        return breach("verdict", format!("{what}; {healthy} nodes of {} find it healthy", target.verdicts.len()));
    }
    Ok(())
}
