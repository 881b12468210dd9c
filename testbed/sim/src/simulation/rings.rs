//! Commands and events: now and then the control plane asks the lcores for all their flows, over the rings.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use leat_abi::FlowEntry;
use leat_abi::flow::FlowState;
use leat_abi::message::{self, Command, Filter};

use super::{Event, Simulation};
use crate::plant::Plant;
use crate::segment::LCORES;
use crate::truth::{Breach, breach};

/// A flow: its lcore, client and node address.
type Flow = (u16, bool, SocketAddr, SocketAddr);

/// What was asked.
#[derive(Debug)]
pub(crate) struct Question {
    id: u32,
    /// The flows at the moment in which the lcores have read it.
    expected: Option<BTreeSet<Flow>>,
    told: BTreeSet<Flow>,
    ended: u16,
}

impl Simulation<'_> {
    /// Asks for all flows.
    pub(super) fn ask(&mut self) {
        if self.quiet {
            return;
        }
        let in_ms = self.around(8 * self.options.profile.client_ms);
        self.arrange(in_ms, Event::Ask);
        if self.control.is_none() || !self.data.is_running() {
            return;
        }
        self.questions += 1;
        let command = Command::FlowDump { id: self.questions, limit: 10_000, filter: Filter::default() };
        let sent = (0..LCORES).all(|lcore| self.segment.control.commands(lcore).push(&command.encode()).is_ok());
        self.question = sent.then(|| Question { id: self.questions, expected: None, told: BTreeSet::new(), ended: 0 });
        self.arrange_housekeeping(5);
        self.arrange_once("read", 10, Event::Read);
    }

    /// The lcores read commands.
    pub(super) fn answer_question(&mut self) -> Result<(), Breach> {
        match self.data.obey(self.segment, self.now()) {
            Ok(false) => {}
            Ok(true) => {
                let lasting = self.data.flows().filter(|(_, entry)| entry.state() != Some(FlowState::Resting));
                let flows = lasting.map(|(lcore, entry)| flow(lcore, entry)).collect();
                self.question.iter_mut().for_each(|question| question.expected = Some(BTreeSet::clone(&flows)));
                self.arrange_once("read", 1, Event::Read);
            }
            Err(error) => return breach("rings", error),
        }
        Ok(())
    }

    /// The control plane reads what the lcores say.
    pub(super) fn read(&mut self) -> Result<(), Breach> {
        self.arranged.remove("read");
        if self.control.is_none() {
            self.question = None;
            return Ok(());
        }
        let mut overlooks = self.options.plant == Some(Plant::LostEvent);
        for lcore in 0..LCORES {
            let mut events = self.segment.control.events(lcore);
            loop {
                let message = match events.pop() {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(error) => return breach("rings", format!("events of lcore {lcore}: {error}")),
                };
                let event = match message::Event::decode(&message) {
                    Ok(event) => event,
                    Err(error) => return breach("rings", format!("an event of lcore {lcore}: {error}")),
                };
                let Some(question) = &mut self.question else { continue };
                match event {
                    message::Event::Flow { .. } if std::mem::take(&mut overlooks) => {}
                    message::Event::Flow { id, row } if id == question.id => {
                        question.told.insert((lcore, row.protocol == 6, row.client, row.vip));
                    }
                    message::Event::FlowDumpEnd { id, .. } if id == question.id => question.ended += 1,
                    _ => {}
                }
            }
        }
        let is_answered = |question: &mut Question| question.ended == LCORES;
        let Some(Question { expected: Some(expected), told, .. }) = self.question.take_if(is_answered) else {
            return Ok(());
        };
        if told != expected {
            let differ: Vec<_> = told.symmetric_difference(&expected).collect();
            return breach(
                "rings",
                format!("asked for {} flows, {} came; they differ in {differ:?}", expected.len(), told.len()),
            );
        }
        Ok(())
    }
}

fn flow(lcore: u16, entry: &FlowEntry) -> Flow {
    let socket = |address: u32, port: u16| SocketAddr::new(address.to_ne_bytes().into(), u16::from_be(port));
    let FlowEntry { client_ip, client_port, vip, vport, .. } = *entry;
    (lcore, entry.is_tcp(), socket(client_ip, client_port), socket(vip, vport))
}
