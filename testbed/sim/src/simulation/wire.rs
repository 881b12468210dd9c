//! Packets: clients and targets send them, they are lost or arrive, and what the appliance makes of each is looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use leat_abi::FlowEntry;
use leat_abi::flow::FlowState;
use leat_core::Verdict;
use rand::Rng;

use super::{Event, Manner, Simulation};
use crate::data_plane::{Fate, Out};
use crate::operator::KINDS;
use crate::packet::{Packet, SYN};
use crate::segment::LCORES;
use crate::site::{GROUPS, PORTS, TARGET_PORT, group_of, node, port_mac, router_mac, target_mac, zone_of_node};
use crate::traffic::{Conversation, Farewell, Phase};
use crate::truth::{Breach, breach};

/// A client waits so long for an answer, twice as long the next time.
const PATIENCE_MS: u64 = 1000;
/// Flows end when they are silent for so long, by the tables; what is nearer to that than a second is not looked at.
const HALF_OPEN_MS: u64 = 29_000;
const IDLE_MS: u64 = 349_000;

impl Simulation<'_> {
    pub(super) fn begin_data(&mut self) -> Result<(), Breach> {
        for (port, block) in self.segment.data.header().port.iter().enumerate().take(PORTS.len()) {
            let is_up = !self.links_down.contains(&port);
            block.link_up.store(is_up.into(), std::sync::atomic::Ordering::Release);
        }
        let (adopted, snapshot) = self.data.start(self.segment, self.now());
        // It may be one that was announced just before the last process died, which had not read it.
        self.note_places(&snapshot);
        self.summary.restarts[1] += 1;
        self.say(|| format!("the data plane begins with {adopted} flows"));
        self.flows_changed = true;
        self.arrange_once("publish", 100, Event::Publish);
        self.arrange_once("look", 100, Event::LookAtPorts);
        self.arrange_housekeeping(1000);
        Ok(())
    }

    pub(super) fn arrange_housekeeping(&mut self, in_ms: u64) {
        self.arrange_once("housekeeping", in_ms, Event::Housekeeping);
    }

    pub(super) fn housekeeping(&mut self) -> Result<(), Breach> {
        self.arranged.remove("housekeeping");
        let made = self.data.housekeeping(self.segment, self.now());
        self.flows_changed = true;
        self.sort(made)?;
        self.answer_question()?;
        if self.data.flows_used() > 0 {
            let in_ms = if self.options.profile.kind == crate::Kind::Dense { 1000 } else { 15_000 };
            self.arrange_housekeeping(in_ms);
        } else {
            self.forget_conversations();
        }
        Ok(())
    }

    /// Without flows, conversations that are over leave nothing behind.
    fn forget_conversations(&mut self) {
        self.conversations.retain(|_, it| it.phase != Phase::Over);
        let Self { conversations, turns, .. } = self;
        turns.retain(|number, _| conversations.contains_key(number));
    }

    pub(super) fn new_client(&mut self) {
        if self.quiet {
            return;
        }
        let in_ms = self.around(self.options.profile.client_ms);
        self.arrange(in_ms, Event::Client);
        let listeners = self.truth.listeners();
        if listeners.is_empty() {
            return;
        }
        let (of, zone, port, to) = listeners[self.rng.random_range(0..listeners.len())];
        let kind = KINDS[usize::from(to % GROUPS)].0;
        let is_tcp = if kind == "TCP_UDP" { self.rng.random() } else { kind == "TCP" };
        // Few enough that a client's address and port come again.
        let (last, own_port) = (self.rng.random_range(1..=5u8), 40_000 + self.rng.random_range(0..40u16));
        let client = SocketAddr::new([198, 51, 100, last].into(), own_port);
        self.converse(client, SocketAddr::new(node(of, zone).into(), port), is_tcp);
    }

    /// Begins a conversation. Returns its number.
    pub(super) fn converse(&mut self, client: SocketAddr, vip: SocketAddr, is_tcp: bool) -> u32 {
        let same = |it: &Conversation| (it.client, it.vip, it.is_tcp) == (client, vip, is_tcp);
        let known = self.conversations.iter().find(|(_, it)| same(it)).map(|(number, it)| (*number, it.phase));
        if let Some((number, phase)) = known {
            if phase != Phase::Over {
                return number;
            }
            self.conversations.remove(&number);
        }
        let farewell = match self.rng.random_range(0..6) {
            0..4 => Farewell::Close,
            4 => Farewell::Reset,
            _ => Farewell::Silence,
        };
        let (isn, requests) = (self.rng.random(), self.rng.random_range(0..6));
        let mut conversation = Conversation::new(client, vip, is_tcp, isn, requests + u32::from(!is_tcp), farewell);
        // Sometimes longer than flows live without packets.
        conversation.pause_ms = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(100_000..400_000),
            1..4 => self.rng.random_range(5_000..30_000),
            _ => self.rng.random_range(10..2_000),
        };
        conversation.began_ms = self.at_ms;
        self.clients += 1;
        self.conversations.insert(self.clients, conversation);
        self.arrange_turn(self.clients, 0);
        self.clients
    }

    fn arrange_turn(&mut self, number: u32, in_ms: u64) {
        let turn = self.turns.entry(number).or_insert(0);
        *turn += 1;
        let turn = *turn;
        self.arrange(in_ms, Event::Turn(number, turn));
    }

    pub(super) fn turn(&mut self, number: u32, turn: u32) {
        if self.turns.get(&number) != Some(&turn) {
            return;
        }
        let Some(conversation) = self.conversations.get_mut(&number) else { return };
        let Some(packet) = conversation.client_turn() else { return };
        let wait_ms = PATIENCE_MS << conversation.tries.min(5);
        self.arrange_turn(number, wait_ms);
        self.send(number, true, packet);
    }

    /// Somebody sends a packet to the appliance.
    fn send(&mut self, number: u32, from_client: bool, packet: Packet) {
        let in_ms = self.latency();
        if !self.is_lost() {
            self.arrange(in_ms, Event::Arrive(number, from_client, packet));
        }
    }

    /// The appliance has sent a packet.
    fn deliver(&mut self, number: u32, to_client: bool, packet: Packet) {
        let in_ms = self.latency();
        if !self.is_lost() {
            self.arrange(in_ms, Event::Reach(number, to_client, packet));
        }
    }

    /// A packet gets to a client or a target, which may answer.
    pub(super) fn reach(&mut self, number: u32, at_client: bool, packet: &Packet) {
        let isn = self.rng.random();
        let Some(conversation) = self.conversations.get_mut(&number) else { return };
        if at_client {
            let answers = conversation.answers;
            let (reply, progress) = conversation.client_gets(packet);
            let pause_ms = conversation.pause_ms;
            self.summary.answers += u64::from(conversation.answers - answers);
            if progress {
                self.arrange_turn(number, pause_ms);
            }
            if let Some(reply) = reply {
                self.send(number, true, reply);
            }
            return;
        }
        let Some(peer) = conversation.peer else { return };
        let manner = self.manners.get(&peer.target).copied().unwrap_or(Manner::Silent);
        if manner == Manner::Silent {
            return;
        }
        if let Some(reply) = conversation.target_gets(packet, manner == Manner::Answers, isn) {
            self.send(number, false, reply);
        }
    }

    /// A packet arrives at the appliance.
    pub(super) fn arrive(&mut self, number: u32, from_client: bool, packet: &Packet) -> Result<(), Breach> {
        let Some(conversation) = self.conversations.get(&number) else { return Ok(()) };
        let port = if from_client { zone_of_node(conversation.vip.ip()) as u8 } else { TARGET_PORT };
        if self.links_down.contains(&usize::from(port)) || !self.data.is_running() {
            return Ok(());
        }
        let lcore = self.rng.random_range(0..LCORES);
        let source_mac = if from_client { router_mac(port) } else { target_mac(packet.source) };
        let frame = packet.frame(source_mac, port_mac(port));
        let may_die = !self.quiet && self.options.profile.death_ms[1] != 0 && self.rng.random_ratio(1, 400);
        let dies = may_die.then(|| self.rng.random_range(0..2));
        let must_stay = from_client && self.has_lasting_flow(conversation, packet);
        self.summary.packets += 1;
        self.flows_changed = true;
        let fate = self.data.receive(self.segment, lcore, port, frame, leat_core::Now { ms: self.at_ms }, dies);
        self.arrange_housekeeping(1000);
        let Some(Fate { out, made, created }) = fate else {
            self.say(|| "the data plane dies with the packet in hand".into());
            self.kill_data();
            return Ok(());
        };
        self.summary.flows += u64::from(created);
        if created && must_stay {
            return breach("I3", format!("a flow was made although {packet:?} has one"));
        }
        if created && !from_client {
            return breach("I3", format!("a target's packet has made a flow: {packet:?}"));
        }
        self.look_at(number, from_client, packet, &out, created)?;
        self.sort(made)
    }

    /// Whether a client's packet belongs to a connection whose flow the table must keep.
    fn has_lasting_flow(&self, conversation: &Conversation, packet: &Packet) -> bool {
        let Some((seq, _, flags)) = packet.tcp else { return false };
        if conversation.was_ended || conversation.peer.is_none() {
            return false;
        }
        let Some((entry, lcore)) = self.entry(conversation) else { return false };
        let is_lost = self.data.is_lost(lcore, entry);
        let idle_ms = self.at_ms - conversation.active_ms;
        match entry.state() {
            _ if is_lost => false,
            Some(FlowState::SynSent | FlowState::SynReceived) => {
                flags & SYN == 0 || entry.client_isn == seq && self.at_ms - conversation.began_ms < HALF_OPEN_MS
            }
            Some(FlowState::Established | FlowState::HalfClosed) => idle_ms < IDLE_MS,
            _ => false,
        }
    }

    fn entry(&self, conversation: &Conversation) -> Option<(&FlowEntry, u16)> {
        let (IpAddr::V4(client), IpAddr::V4(vip)) = (conversation.client.ip(), conversation.vip.ip()) else {
            return None;
        };
        let wanted = (
            u32::from_ne_bytes(client.octets()),
            u32::from_ne_bytes(vip.octets()),
            conversation.client.port().to_be(),
            conversation.vip.port().to_be(),
            conversation.is_tcp,
        );
        let found = self
            .data
            .flows()
            .find(|(_, entry)| (entry.client_ip, entry.vip, entry.client_port, entry.vport, entry.is_tcp()) == wanted);
        found.map(|(lcore, entry)| (entry, lcore))
    }

    /// What the appliance has made of a packet.
    fn look_at(
        &mut self,
        number: u32,
        from_client: bool,
        packet: &Packet,
        out: &Out,
        created: bool,
    ) -> Result<(), Breach> {
        self.say(|| format!("{:?}, lcore {}{}", out.verdict, out.lcore, if created { ", a new flow" } else { "" }));
        let Some(conversation) = self.conversations.get_mut(&number) else { return Ok(()) };
        match out.verdict {
            Verdict::Forward { port } => {
                let Some((sent, is_good)) = Packet::read(&out.bytes) else {
                    return breach("packet", format!("what leaves cannot be read: {:02x?}", out.bytes));
                };
                if from_client {
                    if port != TARGET_PORT {
                        return breach("packet", format!("it leaves by port {port}: {sent:?}"));
                    }
                    if created {
                        conversation.peer = None;
                        (conversation.was_ended, conversation.began_ms) = (false, self.at_ms);
                    }
                    conversation.active_ms = self.at_ms;
                    let first = crate::traffic::Peer { target: sent.destination, seen: sent.source, tcp: None };
                    let peer = *conversation.peer.get_or_insert(first);
                    if (peer.target, peer.seen) != (sent.destination, sent.source) {
                        let what = format!("{packet:?} of a flow to {} goes to {}", peer.target, sent.destination);
                        return breach("I3", what);
                    }
                } else {
                    conversation.active_ms = self.at_ms;
                    if (sent.source, sent.destination) != (conversation.vip, conversation.client) {
                        return breach("packet", format!("an answer to {} becomes {sent:?}", conversation.client));
                    }
                }
                if !is_good || sent.tcp != packet.tcp || sent.payload != packet.payload {
                    return breach("packet", format!("{packet:?} becomes {sent:?}, checksums good: {is_good}"));
                }
                if created {
                    self.check_new_flow(number, sent.destination, out.lcore)?;
                }
                self.deliver(number, !from_client, sent);
            }
            Verdict::Answer { .. } => {
                conversation.was_ended = true;
                if let Some((answer, _)) = Packet::read(&out.bytes) {
                    self.deliver(number, from_client, answer);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// I4: a new flow's target is registered in the configuration that its lcore works with, and not one of which the control plane
    /// knows that nobody chooses it any more; and it is of the listener's group.
    fn check_new_flow(&mut self, number: u32, target: SocketAddr, lcore: u16) -> Result<(), Breach> {
        let Some(conversation) = self.conversations.get(&number) else { return Ok(()) };
        let place = (conversation.vip, conversation.is_tcp);
        let generation = self.data.generations().nth(lcore.into()).unwrap_or(0);
        let epoch = self.epochs.get(&generation).copied().unwrap_or(0);
        let group = self.places.get(&generation).and_then(|places| places.get(&place));
        let number = group.and_then(|id| self.group_ids.get(id));
        if number != Some(&group_of(target)) {
            return breach("group", format!("a client of {place:?}, whose group is g{number:?}, gets to {target}"));
        }
        if !self.truth.was_registered(target, epoch) {
            let what =
                format!("a new flow to {target}, which was not registered in epoch {epoch} of generation {generation}");
            return breach("I4", what);
        }
        let since = self.truth.since(target);
        let applied = self.control.as_mut().map_or(0, |control| control.applied_epoch(self.segment));
        if !self.truth.is_registered(target) && applied >= since {
            let what =
                format!("a new flow to {target}, deregistered in epoch {since}; {applied} is said to be at work");
            return breach("I4", what);
        }
        Ok(())
    }

    /// Frames that the appliance made by itself: they go where their addresses say.
    fn sort(&mut self, made: Vec<Out>) -> Result<(), Breach> {
        for out in made {
            let Some((packet, is_good)) = Packet::read(&out.bytes) else {
                return breach("packet", format!("what was made here cannot be read: {:02x?}", out.bytes));
            };
            if !is_good {
                return breach("packet", format!("checksums of what was made here: {packet:?}"));
            }
            let mut to_client = false;
            let found = self.conversations.iter().find(|(_, it)| {
                to_client = (packet.source, packet.destination) == (it.vip, it.client);
                let is_peer =
                    |peer: crate::traffic::Peer| (peer.seen, peer.target) == (packet.source, packet.destination);
                it.is_tcp && (to_client || it.peer.is_some_and(is_peer))
            });
            if let Some(number) = found.map(|(number, _)| *number) {
                self.conversations.get_mut(&number).into_iter().for_each(|it| it.was_ended = true);
                self.deliver(number, to_client, packet);
            }
        }
        Ok(())
    }

    /// Flows by lcore as many as there are: for the end of a run.
    pub(super) fn flows_by_state(&self) -> BTreeMap<&'static str, usize> {
        let mut states = BTreeMap::new();
        for (_, entry) in self.data.flows() {
            *states.entry(entry.state().map_or("?", FlowState::name)).or_insert(0) += 1;
        }
        states
    }
}
