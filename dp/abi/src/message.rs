//! Commands to an lcore and events from it, as 64-byte messages. The receiver checks every field before it acts.
//!
//! Configuration is not here: snapshots go through the arena, where the latest wins and nothing can be lost. What goes through
//! the rings may be refused when a ring is full, and its sender counts that.

use crate::counters::{DropReason, numbered};
use crate::flow::{FlowState, protocol};
use crate::ring::Message;

/// Hash of examples of every message: names the encoding in the layout's hash. `the_encoding_is_recorded` fails when it is wrong.
#[cfg(not(loom))]
pub(crate) const ENCODING: u64 = 0xae9c_2531_6d18_5bdb;

/// A message that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No message has this kind.
    #[error("unknown kind of message: {0}")]
    Kind(u64),
    /// A field's value is out of its range.
    #[error("field `{field}` is out of range: {value}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

fn ranged<T: TryFrom<u64>>(field: &'static str, value: u64) -> Result<T, MessageError> {
    T::try_from(value).map_err(|_| MessageError::Range { field, value })
}

/// Which packets or flows are meant. A field that is 0 matches everything. Addresses and ports in network order as loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// IP protocol.
    pub protocol: u8,
    /// Source address of a packet; client of a flow.
    pub source: u32,
    /// Destination address of a packet; node address of a flow.
    pub destination: u32,
    /// Source port of a packet; client port of a flow.
    pub source_port: u16,
    /// Destination port of a packet; listener port of a flow.
    pub destination_port: u16,
    /// Flows only: the target's address.
    pub target: u32,
}

impl Filter {
    fn encode(&self) -> [u64; 3] {
        [
            u64::from(self.source) << 32 | u64::from(self.destination),
            u64::from(self.source_port) << 16 | u64::from(self.destination_port) | u64::from(self.protocol) << 32,
            u64::from(self.target),
        ]
    }

    fn decode(words: [u64; 3]) -> Result<Self, MessageError> {
        Ok(Self {
            protocol: ranged("protocol", words[1] >> 32)?,
            source: (words[0] >> 32) as u32,
            destination: words[0] as u32,
            source_port: (words[1] >> 16) as u16,
            destination_port: words[1] as u16,
            target: ranged("target", words[2])?,
        })
    }
}

/// What the control plane asks of an lcore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Report the way of the next packets through the stages.
    TraceStart {
        /// Chosen by the asker; comes back in the events.
        id: u32,
        /// How many packets, 1–10 000.
        count: u32,
        /// Port on which the packets arrive; 255: any.
        port: u8,
        /// Which packets.
        filter: Filter,
    },
    /// Stop a trace.
    TraceStop {
        /// The trace.
        id: u32,
    },
    /// Report flows.
    FlowDump {
        /// Chosen by the asker; comes back in the events.
        id: u32,
        /// At most so many.
        limit: u32,
        /// Which flows.
        filter: Filter,
    },
}

/// The port number that means any port.
pub const ANY_PORT: u8 = 255;
/// Packets in one trace at the most.
pub const TRACE_PACKETS_MAX: u32 = 10_000;

impl Command {
    /// The message for the ring.
    pub fn encode(&self) -> Message {
        let mut message = [0; 8];
        match *self {
            Self::TraceStart { id, count, port, filter } => {
                message[..4].copy_from_slice(&[1, id.into(), count.into(), port.into()]);
                message[4..7].copy_from_slice(&filter.encode());
            }
            Self::TraceStop { id } => message[..2].copy_from_slice(&[2, id.into()]),
            Self::FlowDump { id, limit, filter } => {
                message[..3].copy_from_slice(&[3, id.into(), limit.into()]);
                message[4..7].copy_from_slice(&filter.encode());
            }
        }
        message
    }

    /// Reads and checks a message from the ring.
    pub fn decode(message: &Message) -> Result<Self, MessageError> {
        let id = ranged("id", message[1]);
        let filter = || Filter::decode([message[4], message[5], message[6]]);
        match message[0] {
            1 => {
                let count: u32 = ranged("count", message[2])?;
                if !(1..=TRACE_PACKETS_MAX).contains(&count) {
                    return Err(MessageError::Range { field: "count", value: count.into() });
                }
                Ok(Self::TraceStart { id: id?, count, port: ranged("port", message[3])?, filter: filter()? })
            }
            2 => Ok(Self::TraceStop { id: id? }),
            3 => Ok(Self::FlowDump { id: id?, limit: ranged("limit", message[2])?, filter: filter()? }),
            kind => Err(MessageError::Kind(kind)),
        }
    }
}

/// An IPv4 socket in network order as loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Socket {
    /// Address.
    pub ip: u32,
    /// Port.
    pub port: u16,
}

impl Socket {
    fn encode(self) -> u64 {
        u64::from(self.ip) << 16 | u64::from(self.port)
    }

    fn decode(field: &'static str, word: u64) -> Result<Self, MessageError> {
        Ok(Self { ip: ranged(field, word >> 16)?, port: word as u16 })
    }
}

/// One flow, as an lcore reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRow {
    /// The client.
    pub client: Socket,
    /// The node address and listener port.
    pub vip: Socket,
    /// The target.
    pub target: Socket,
    /// What the target sees as the client.
    pub nat: Socket,
    /// IP protocol.
    pub protocol: u8,
    /// State.
    pub state: FlowState,
    /// Seconds since the timer last restarted.
    pub idle_s: u16,
    /// The target's slot.
    pub target_slot: u16,
    /// The listener's slot.
    pub listener_slot: u16,
}

numbered! {
    /// The stages of the pipeline, as traces name them.
    Stage {
        Rx "rx" "The packet arrived: port and length",
        Parse "parse" "Headers were checked: addresses, ports, protocol, flags",
        Lookup "lookup" "The flow table was asked: which flow, which side, or none",
        Handover "handover" "The packet went to the lcore that owns its flow",
        Listener "listener" "A listener was found for a packet without a flow",
        Select "select" "A target was chosen",
        Create "create" "A flow was made: the address and port that the target sees",
        Rewrite "rewrite" "Addresses and ports were rewritten",
        Transmit "transmit" "The packet leaves by a port",
        Punt "punt" "The packet goes to Linux",
        Answer "answer" "A reset was made of the packet",
        Drop "drop" "The packet was dropped: reason",
    }
}

/// One stage of a traced packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The packet arrived on a port.
    Rx {
        /// Port.
        port: u8,
        /// Frame length in bytes.
        length: u16,
    },
    /// The packet's headers are good.
    Parse {
        /// Source.
        source: Socket,
        /// Destination.
        destination: Socket,
        /// IP protocol.
        protocol: u8,
        /// TCP flags; 0 for UDP.
        tcp_flags: u8,
    },
    /// The flow table's answer.
    Lookup {
        /// The entry's index, if there is a flow.
        entry: Option<u32>,
        /// Whether the packet comes from the flow's client.
        from_client: bool,
        /// The flow's state number (0: none).
        state: u8,
    },
    /// Handed to another lcore.
    Handover {
        /// The owner.
        lcore: u8,
    },
    /// The listener of a packet without a flow.
    Listener {
        /// Its slot.
        slot: u16,
    },
    /// The chosen target.
    Select {
        /// Its slot.
        slot: u16,
        /// Its socket.
        target: Socket,
    },
    /// The flow made.
    Create {
        /// The entry's index.
        entry: u32,
        /// What the target sees as the client.
        nat: Socket,
    },
    /// The packet after rewriting.
    Rewrite {
        /// Source.
        source: Socket,
        /// Destination.
        destination: Socket,
    },
    /// Sent.
    Transmit {
        /// Port.
        port: u8,
    },
    /// Given to Linux.
    Punt {
        /// Port whose TAP twin gets it.
        port: u8,
    },
    /// Turned into a reset.
    Answer {
        /// Port.
        port: u8,
    },
    /// Dropped.
    Drop {
        /// Why.
        reason: DropReason,
    },
}

impl Step {
    /// The stage that this step is of.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Rx { .. } => Stage::Rx,
            Self::Parse { .. } => Stage::Parse,
            Self::Lookup { .. } => Stage::Lookup,
            Self::Handover { .. } => Stage::Handover,
            Self::Listener { .. } => Stage::Listener,
            Self::Select { .. } => Stage::Select,
            Self::Create { .. } => Stage::Create,
            Self::Rewrite { .. } => Stage::Rewrite,
            Self::Transmit { .. } => Stage::Transmit,
            Self::Punt { .. } => Stage::Punt,
            Self::Answer { .. } => Stage::Answer,
            Self::Drop { .. } => Stage::Drop,
        }
    }

    fn encode(&self) -> [u64; 4] {
        let stage = self.stage() as u64;
        match *self {
            Self::Rx { port, length } => [stage, port.into(), length.into(), 0],
            Self::Parse { source, destination, protocol, tcp_flags } => [
                stage | u64::from(protocol) << 8 | u64::from(tcp_flags) << 16,
                source.encode(),
                destination.encode(),
                0,
            ],
            Self::Lookup { entry, from_client, state } => {
                [stage, entry.map_or(u64::MAX, u64::from), from_client.into(), state.into()]
            }
            Self::Handover { lcore } => [stage, lcore.into(), 0, 0],
            Self::Listener { slot } => [stage, slot.into(), 0, 0],
            Self::Select { slot, target } => [stage, slot.into(), target.encode(), 0],
            Self::Create { entry, nat } => [stage, entry.into(), nat.encode(), 0],
            Self::Rewrite { source, destination } => [stage, source.encode(), destination.encode(), 0],
            Self::Transmit { port } | Self::Punt { port } | Self::Answer { port } => [stage, port.into(), 0, 0],
            Self::Drop { reason } => [stage, reason as u64, 0, 0],
        }
    }

    fn decode(w: [u64; 4]) -> Result<Self, MessageError> {
        let stage = Stage::from_number(w[0] & 0xff).ok_or(MessageError::Range { field: "stage", value: w[0] })?;
        Ok(match stage {
            Stage::Rx => Self::Rx { port: ranged("port", w[1])?, length: ranged("length", w[2])? },
            Stage::Parse => Self::Parse {
                source: Socket::decode("source", w[1])?,
                destination: Socket::decode("destination", w[2])?,
                protocol: (w[0] >> 8) as u8,
                tcp_flags: (w[0] >> 16) as u8,
            },
            Stage::Lookup => Self::Lookup {
                entry: if w[1] == u64::MAX { None } else { Some(ranged("entry", w[1])?) },
                from_client: w[2] != 0,
                state: ranged("state", w[3])?,
            },
            Stage::Handover => Self::Handover { lcore: ranged("lcore", w[1])? },
            Stage::Listener => Self::Listener { slot: ranged("slot", w[1])? },
            Stage::Select => Self::Select { slot: ranged("slot", w[1])?, target: Socket::decode("target", w[2])? },
            Stage::Create => Self::Create { entry: ranged("entry", w[1])?, nat: Socket::decode("nat", w[2])? },
            Stage::Rewrite => Self::Rewrite {
                source: Socket::decode("source", w[1])?,
                destination: Socket::decode("destination", w[2])?,
            },
            Stage::Transmit => Self::Transmit { port: ranged("port", w[1])? },
            Stage::Punt => Self::Punt { port: ranged("port", w[1])? },
            Stage::Answer => Self::Answer { port: ranged("port", w[1])? },
            Stage::Drop => Self::Drop {
                reason: DropReason::from_number(w[1]).ok_or(MessageError::Range { field: "reason", value: w[1] })?,
            },
        })
    }
}

/// What an lcore reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A stage of a traced packet.
    Trace {
        /// The trace.
        id: u32,
        /// Counts the traced packets of this lcore from 0.
        packet: u32,
        /// The stage.
        step: Step,
    },
    /// A flow that was asked for.
    Flow {
        /// The dump.
        id: u32,
        /// The flow.
        row: FlowRow,
    },
    /// The end of a dump on this lcore.
    FlowDumpEnd {
        /// The dump.
        id: u32,
        /// Flows that were live when the dump passed them, matching or not.
        scanned: u64,
    },
}

impl Event {
    /// The message for the ring.
    pub fn encode(&self) -> Message {
        let mut message = [0; 8];
        match *self {
            Self::Trace { id, packet, step } => {
                message[..3].copy_from_slice(&[1, id.into(), packet.into()]);
                message[4..8].copy_from_slice(&step.encode());
            }
            Self::Flow { id, row } => {
                message[0] = 2 | u64::from(row.protocol) << 8 | (row.state as u64) << 16 | u64::from(row.idle_s) << 24;
                message[1] = id.into();
                message[2] = row.client.encode();
                message[3] = row.vip.encode();
                message[4] = row.target.encode();
                message[5] = row.nat.encode();
                message[6] = u64::from(row.target_slot) | u64::from(row.listener_slot) << 16;
            }
            Self::FlowDumpEnd { id, scanned } => message[..3].copy_from_slice(&[3, id.into(), scanned]),
        }
        message
    }

    /// Reads and checks a message from the ring.
    pub fn decode(message: &Message) -> Result<Self, MessageError> {
        let id = ranged("id", message[1]);
        match message[0] & 0xff {
            1 => Ok(Self::Trace {
                id: id?,
                packet: ranged("packet", message[2])?,
                step: Step::decode([message[4], message[5], message[6], message[7]])?,
            }),
            2 => {
                let protocol = (message[0] >> 8) as u8;
                if ![protocol::TCP, protocol::UDP].contains(&protocol) {
                    return Err(MessageError::Range { field: "protocol", value: protocol.into() });
                }
                let state = (message[0] >> 16) as u8;
                Ok(Self::Flow {
                    id: id?,
                    row: FlowRow {
                        client: Socket::decode("client", message[2])?,
                        vip: Socket::decode("vip", message[3])?,
                        target: Socket::decode("target", message[4])?,
                        nat: Socket::decode("nat", message[5])?,
                        protocol,
                        state: FlowState::from_number(state)
                            .ok_or(MessageError::Range { field: "state", value: state.into() })?,
                        idle_s: (message[0] >> 24) as u16,
                        target_slot: message[6] as u16,
                        listener_slot: (message[6] >> 16) as u16,
                    },
                })
            }
            3 => Ok(Self::FlowDumpEnd { id: id?, scanned: message[2] }),
            kind => Err(MessageError::Kind(kind)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn socket() -> impl Strategy<Value = Socket> {
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| Socket { ip, port })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        (any::<u8>(), any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
            |(protocol, source, destination, source_port, destination_port, target)| Filter {
                protocol,
                source,
                destination,
                source_port,
                destination_port,
                target,
            },
        )
    }

    fn steps(n: u32, slot: u16, port: u8, flag: bool, a: Socket, b: Socket) -> [Step; Stage::COUNT] {
        [
            Step::Rx { port, length: slot },
            Step::Parse { source: a, destination: b, protocol: port, tcp_flags: n as u8 },
            Step::Lookup { entry: flag.then_some(n), from_client: flag, state: port },
            Step::Handover { lcore: port },
            Step::Listener { slot },
            Step::Select { slot, target: a },
            Step::Create { entry: n, nat: b },
            Step::Rewrite { source: a, destination: b },
            Step::Transmit { port },
            Step::Punt { port },
            Step::Answer { port },
            Step::Drop { reason: DropReason::ALL[n as usize % DropReason::COUNT] },
        ]
    }

    fn row(slot: u16, a: Socket, b: Socket) -> FlowRow {
        FlowRow {
            client: a,
            vip: b,
            target: b,
            nat: a,
            protocol: protocol::UDP,
            state: FlowState::TimeWait,
            idle_s: slot,
            target_slot: slot,
            listener_slot: !slot,
        }
    }

    /// The encoding is part of the layout: when it changes, so does [`ENCODING`], and with it the layout's hash.
    #[test]
    fn the_encoding_is_recorded() {
        let (a, b) = (Socket { ip: 0x0102_0304, port: 80 }, Socket { ip: 0x0506_0708, port: 8080 });
        let filter = Filter { protocol: 6, source: 1, destination: 2, source_port: 3, destination_port: 4, target: 5 };
        let mut messages = vec![
            Command::TraceStart { id: 1, count: 2, port: 3, filter }.encode(),
            Command::TraceStop { id: 1 }.encode(),
            Command::FlowDump { id: 1, limit: 2, filter }.encode(),
            Event::Flow { id: 1, row: row(9, a, b) }.encode(),
            Event::FlowDumpEnd { id: 1, scanned: 2 }.encode(),
        ];
        messages.extend(steps(0x1234, 9, 2, true, a, b).map(|step| Event::Trace { id: 1, packet: 2, step }.encode()));
        let found = messages.iter().flatten().fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        });
        assert_eq!(found, ENCODING, "the encoding changed: set ENCODING to {found:#x} and raise ABI_VERSION");
    }

    proptest! {
        #[test]
        fn commands_survive_the_ring(id: u32, count in 1..=TRACE_PACKETS_MAX, port: u8, limit: u32, filter in filter()) {
            for command in [
                Command::TraceStart { id, count, port, filter },
                Command::TraceStop { id },
                Command::FlowDump { id, limit, filter },
            ] {
                prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
            }
        }

        #[test]
        fn events_survive_the_ring(id: u32, packet: u32, a in socket(), b in socket(), port: u8, slot: u16, n: u32, flag: bool) {
            let mut events: Vec<Event> = steps(n, slot, port, flag, a, b).map(|step| Event::Trace { id, packet, step }).into();
            events.push(Event::Flow { id, row: row(slot, a, b) });
            events.push(Event::FlowDumpEnd { id, scanned: u64::from(n) << 20 });
            for event in events {
                prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
            }
        }

        /// Whatever the other side writes, reading it never panics.
        #[test]
        fn any_bytes_are_read_or_refused(message: [u64; 8], kind in 0..5u64) {
            let mut message = message;
            let _ = (Command::decode(&message), Event::decode(&message));
            message[0] = message[0] & !0xff | kind;
            let _ = (Command::decode(&message), Event::decode(&message));
            message[0] = kind;
            let _ = (Command::decode(&message), Event::decode(&message));
        }
    }
}
