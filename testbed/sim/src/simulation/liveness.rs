//! The end of a run: nothing goes wrong any more, and after a while everything works, and nothing is left of what is over.

use std::net::SocketAddr;

use leat_model::health::Health;
use leat_model::resource::Registration;
use rand::Rng;

use super::Simulation;
use crate::operator::KINDS;
use crate::site::node;
use crate::truth::{Breach, breach};

/// Health is known again after so many intervals: thresholds are up to 4, and the first check may be lost.
const INTERVALS: u64 = 6;
/// Whatever the last clients were about is over after so long: their pauses, and the longest time-out of flows and ports.
const FLOWS_END_MS: u64 = 1_500_000;

impl Simulation<'_> {
    /// Lets everything settle, and looks.
    pub(super) fn settle(&mut self) -> Result<(), Breach> {
        let interval_ms = u64::from(*self.options.profile.interval_s.end()) * 1100;
        let end_ms = self.at_ms + INTERVALS * interval_ms + 10_000;
        self.go_on_until(end_ms)?;
        if self.summary.steps >= self.options.steps {
            return Ok(());
        }
        self.model_changed = true;
        self.check_laws()?;
        self.check_health()?;
        self.check_service()?;
        self.check_nothing_is_left()
    }

    /// Every target that is in use is healthy, for every node that uses it and to everybody who asks.
    fn check_health(&mut self) -> Result<(), Breach> {
        let Some(control) = self.control.as_mut() else { return breach("liveness", "there is no control plane") };
        if !control.is_settled(self.segment) {
            let epoch = control.model.epoch();
            return breach("liveness", format!("epoch {epoch} is not at work"));
        }
        if let Some(lb) = control.model.load_balancers().find(|lb| !lb.active) {
            return breach("liveness", format!("load balancer {} is not active", lb.name));
        }
        for plan in control.model.check_plans() {
            let Some(target) = control.model.target(plan.slot).filter(|target| target.is_registered()) else {
                continue;
            };
            let seen = target.verdict(plan.node).map(|verdict| verdict.health);
            if seen != Some(Health::Healthy) || target.health != Health::Healthy {
                let what = format!("{}:{} answers for long", plan.address, plan.port);
                let what = format!("{what}, and is {seen:?} for node {} and shown as {:?}", plan.node, target.health);
                return breach("liveness", what);
            }
        }
        Ok(())
    }

    /// Every listener with targets serves, by each of its nodes.
    fn check_service(&mut self) -> Result<(), Breach> {
        let mut asked = Vec::new();
        for (client, (of, zone, port, to)) in (0u16..).zip(self.truth.listeners()) {
            let Some(control) = &self.control else { break };
            if !self.truth.has_targets(&control.model, of, zone, to) {
                continue;
            }
            let vip = SocketAddr::new(node(of, zone).into(), port);
            let client = SocketAddr::new([198, 51, 101, 1].into(), 50_000 + client);
            let is_tcp = KINDS[usize::from(to)].0 != "UDP";
            let number = self.converse(client, vip, is_tcp);
            if let Some(conversation) = self.conversations.get_mut(&number) {
                (conversation.requests, conversation.pause_ms) = (3, self.rng.random_range(10..200));
            }
            asked.push(number);
        }
        self.go_on_until(self.at_ms + 20_000)?;
        if self.summary.steps >= self.options.steps {
            return Ok(());
        }
        for number in asked {
            let Some(conversation) = self.conversations.get(&number) else { continue };
            if conversation.answers < 3 {
                let drops = crate::data_plane::DataPlane::drops(self.segment);
                return breach("liveness", format!("no answer for {conversation:?}; dropped so far: {drops:?}"));
            }
        }
        Ok(())
    }

    /// Flows end, delays end, and every number that was taken for what is gone is free again.
    fn check_nothing_is_left(&mut self) -> Result<(), Breach> {
        let delays = |it: &Self| {
            let targets = it.control.iter().flat_map(|control| control.model.targets());
            targets.filter(|target| target.is_draining()).count()
        };
        for _ in 0..8 {
            self.go_on_until(self.at_ms + FLOWS_END_MS)?;
            if self.summary.steps >= self.options.steps {
                return Ok(());
            }
            if delays(self) == 0 {
                break;
            }
        }
        self.go_on_until(self.at_ms + 600_000)?;
        if self.summary.steps >= self.options.steps {
            return Ok(());
        }
        // Whatever has happened since the last change.
        self.model_changed = true;
        self.check_laws()?;
        if self.data.flows_used() > 0 {
            return breach("liveness", format!("flows are left: {:?}", self.flows_by_state()));
        }
        let Some(control) = &self.control else { return Ok(()) };
        let left = control.model.targets().find(|target| target.registration != Registration::Registered);
        if let Some(target) = left {
            let what = format!("{}:{} {:?}", target.address, target.port, target.registration);
            return breach("liveness", format!("the number of a target that is gone is not free: {what}"));
        }
        if let Some((slot, _)) = control.model.retired_listeners().next() {
            return breach("liveness", format!("the number of a listener that is gone is not free: {slot}"));
        }
        Ok(())
    }
}
