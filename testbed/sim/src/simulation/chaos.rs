//! What goes wrong by itself: targets, paths, links, processes, clocks, the disk.

use std::collections::BTreeSet;

use leat_abi::FlowEntry;
use leat_abi::flow::FlowState;
use rand::Rng;

use super::{Event, Manner, Simulation};
use crate::plant::Plant;
use crate::site::{PORTS, ZONES, all_targets};
use crate::truth::Breach;

/// Jumps of the wall clock: up to ten years.
const JUMP_MS: i64 = 10 * 365 * 24 * 3_600_000;

impl Simulation<'_> {
    /// Arranges the first of each kind of event.
    pub(super) fn begin_chaos(&mut self) {
        let profile = self.options.profile.clone();
        let means = [
            (profile.change_ms, Event::Operate),
            (profile.client_ms, Event::Client),
            (8 * profile.client_ms, Event::Ask),
            (profile.target_ms, Event::Target),
            (profile.path_ms, Event::Path),
            (profile.death_ms[0], Event::Die(0)),
            (profile.death_ms[1], Event::Die(1)),
            (profile.link_ms, Event::Link),
            (profile.jump_ms, Event::Jump),
            (profile.disk_ms, Event::DiskFault),
        ];
        for (mean_ms, event) in means {
            if mean_ms > 0 {
                let in_ms = self.around(mean_ms);
                self.arrange(in_ms, event);
            }
        }
    }

    pub(super) fn chaos(&mut self, event: &Event) -> Result<(), Breach> {
        if let Event::Begin(process) = *event {
            return self.begin_process(process);
        }
        if self.quiet {
            return Ok(());
        }
        let profile = self.options.profile.clone();
        let outage_ms = self.around(profile.outage_ms);
        let again_ms = match event {
            Event::Target => {
                self.change_target();
                self.around(profile.target_ms)
            }
            Event::Path => {
                let zone = self.rng.random_range(0..ZONES.len());
                let calm_ms = self.around(profile.path_ms);
                toggle(&mut self.broken_paths, zone, outage_ms, calm_ms)
            }
            Event::Die(process) => {
                if *process == 0 && self.control.is_some() {
                    self.kill_control();
                    self.arrange(outage_ms, Event::Begin(0));
                } else if *process == 1 && self.data.is_running() {
                    self.kill_data();
                }
                self.around(profile.death_ms[*process])
            }
            Event::Link => {
                let port = self.rng.random_range(0..PORTS.len());
                let calm_ms = self.around(profile.link_ms);
                let again_ms = toggle(&mut self.links_down, port, outage_ms, calm_ms);
                self.report_links();
                again_ms
            }
            Event::Jump => {
                let by_ms = if self.rng.random() {
                    self.rng.random_range(-JUMP_MS..JUMP_MS)
                } else {
                    self.rng.random_range(-5000..5000)
                };
                self.wall_offset_ms += by_ms;
                self.say(|| format!("the wall clock jumps by {by_ms} ms"));
                self.around(profile.jump_ms)
            }
            Event::DiskFault => {
                self.disk.fails = !self.disk.fails;
                if self.disk.fails { outage_ms } else { self.around(profile.disk_ms) }
            }
            _ => return Ok(()),
        };
        self.arrange(again_ms, event.clone());
        Ok(())
    }

    /// A target begins to answer, refuse or be silent; its connections are forgotten. Now and then all of a group do.
    fn change_target(&mut self) {
        let all: Vec<_> = all_targets().collect();
        let one = all[self.rng.random_range(0..all.len())];
        let manner = match self.rng.random_range(0..10) {
            0..6 => Manner::Answers,
            6..8 => Manner::Refuses,
            _ => Manner::Silent,
        };
        let together = self.rng.random_ratio(1, 6);
        let chosen: Vec<_> = all.into_iter().filter(|it| *it == one || together && it.port() == one.port()).collect();
        self.say(|| format!("{chosen:?}: {manner:?}"));
        for target in chosen {
            if self.manners.insert(target, manner) == Some(manner) {
                continue;
            }
            for conversation in self.conversations.values_mut() {
                conversation.peer.iter_mut().filter(|peer| peer.target == target).for_each(|peer| peer.tcp = None);
            }
        }
    }

    fn report_links(&mut self) {
        if self.data.is_running() {
            for (port, block) in self.segment.data.header().port.iter().enumerate().take(PORTS.len()) {
                let is_up = !self.links_down.contains(&port);
                block.link_up.store(is_up.into(), std::sync::atomic::Ordering::Release);
            }
        }
        let links = self.links_down.clone();
        self.say(|| format!("ports without a link: {links:?}"));
        self.arrange_once("look", 200, Event::LookAtPorts);
    }

    pub(super) fn kill_data(&mut self) {
        self.data.kill(self.segment);
        self.tamper();
        let in_ms = if self.quiet { 1 } else { self.rng.random_range(50..2000) };
        self.arrange(in_ms, Event::Begin(1));
    }

    fn begin_process(&mut self, process: usize) -> Result<(), Breach> {
        match process {
            0 if self.control.is_none() => self.begin_control(),
            1 if !self.data.is_running() => self.begin_data(),
            _ => Ok(()),
        }
    }

    /// Everything works from now on.
    pub(super) fn heal(&mut self) -> Result<(), Breach> {
        (self.quiet, self.healed_ms) = (true, self.at_ms);
        self.manners.values_mut().for_each(|manner| *manner = Manner::Answers);
        self.broken_paths.clear();
        self.links_down.clear();
        self.disk.fails = false;
        self.begin_process(0)?;
        self.begin_process(1)?;
        self.report_links();
        Ok(())
    }

    /// Planted faults in what a dead process has left.
    fn tamper(&mut self) {
        let active = |entry: &FlowEntry| entry.state() == Some(FlowState::Established) && entry.is_tcp();
        let memories = &mut self.segment.flows;
        match self.options.plant {
            Some(Plant::TwinFlow) => {
                let twin = memories[0].iter().flat_map(|memory| memory.iter()).find(|entry| active(entry)).copied();
                let free = memories[1].iter_mut().flat_map(|memory| memory.iter_mut()).find(|it| it.state == 0);
                if let (Some(twin), Some(free)) = (twin, free) {
                    *free = twin;
                }
            }
            Some(Plant::LostFlow) => {
                let mut entries = memories.iter_mut().flatten().flat_map(|memory| memory.iter_mut());
                if let Some(entry) = entries.find(|entry| active(entry)) {
                    *entry = FlowEntry::default();
                }
            }
            Some(Plant::MovedFlow) => {
                let entries = memories.iter_mut().flatten().flat_map(|memory| memory.iter_mut());
                for entry in entries.filter(|entry| active(entry)) {
                    let [a, b, c, d] = entry.target_ip.to_ne_bytes();
                    entry.target_ip = u32::from_ne_bytes([a, b, c, d ^ 1]);
                }
            }
            _ => {}
        }
    }
}

/// Puts a member in or takes one out. Returns when the next change is due.
fn toggle(set: &mut BTreeSet<usize>, member: usize, outage_ms: u64, calm_ms: u64) -> u64 {
    if set.is_empty() {
        set.insert(member);
        outage_ms
    } else {
        set.clear();
        calm_ms
    }
}
