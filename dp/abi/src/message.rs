//! Commands to an lcore and events from it, as 128-byte messages. The receiver checks every field before it acts.
//!
//! Configuration is not here: snapshots go through the arena, where the latest wins and nothing can be lost. What goes through
//! the rings may be refused when a ring is full, and its sender counts that.
//!
//! In a message an address is two words: IPv4 is there as the IPv6 address that stands for it (RFC 4291 §2.5.5.2), and `::` means none.
//! A socket is three: the port comes last. Ports are host order.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::counters::{DropReason, numbered};
use crate::flow::{FlowState, protocol};
use crate::ring::{MESSAGE_WORDS, Message};

/// Hash of examples of every message: names the encoding in the layout's hash. `the_encoding_is_recorded` fails when it is wrong.
#[cfg(not(loom))]
pub(crate) const ENCODING: u64 = 0x3f54_d56a_3a91_9fe7;

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

fn address_words(address: Option<IpAddr>) -> [u64; 2] {
    let bits = match address {
        None => 0,
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(v6)) => v6.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

fn address(high: u64, low: u64) -> Option<IpAddr> {
    let bits = u128::from(high) << 64 | u128::from(low);
    (bits != 0).then(|| Ipv6Addr::from_bits(bits).to_canonical())
}

fn socket_words(socket: SocketAddr) -> [u64; 3] {
    let [high, low] = address_words(Some(socket.ip()));
    [high, low, socket.port().into()]
}

fn socket(field: &'static str, words: &[u64]) -> Result<SocketAddr, MessageError> {
    let [high, low, port] = words else { return Err(MessageError::Range { field, value: words.len() as u64 }) };
    let ip = address(*high, *low).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    Ok(SocketAddr::new(ip, ranged(field, *port)?))
}

fn known<T>(field: &'static str, value: u64, from: impl FnOnce(u64) -> Option<T>) -> Result<T, MessageError> {
    from(value).ok_or(MessageError::Range { field, value })
}

/// Which packets or flows are meant. A protocol or port of 0 and an address that is absent match everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// IP protocol.
    pub protocol: u8,
    /// Source address of a packet; client of a flow.
    pub source: Option<IpAddr>,
    /// Destination address of a packet; node address of a flow.
    pub destination: Option<IpAddr>,
    /// Source port of a packet; client port of a flow.
    pub source_port: u16,
    /// Destination port of a packet; listener port of a flow.
    pub destination_port: u16,
    /// Flows only: the target's address.
    pub target: Option<IpAddr>,
}

/// Words of a [`Filter`].
const FILTER_WORDS: usize = 7;

impl Filter {
    fn encode(&self) -> [u64; FILTER_WORDS] {
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let [s0, s1] = address_words(self.source);
        let [d0, d1] = address_words(self.destination);
        let [t0, t1] = address_words(self.target);
        [ports | u64::from(self.protocol) << 32, s0, s1, d0, d1, t0, t1]
    }

    fn decode(words: &[u64; FILTER_WORDS]) -> Result<Self, MessageError> {
        let [scalars, s0, s1, d0, d1, t0, t1] = *words;
        Ok(Self {
            protocol: ranged("protocol", scalars >> 32)?,
            source: address(s0, s1),
            destination: address(d0, d1),
            source_port: (scalars >> 16) as u16,
            destination_port: scalars as u16,
            target: address(t0, t1),
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
        let mut message = [0; MESSAGE_WORDS];
        match *self {
            Self::TraceStart { id, count, port, filter } => {
                message[..4].copy_from_slice(&[1, id.into(), count.into(), port.into()]);
                message[4..4 + FILTER_WORDS].copy_from_slice(&filter.encode());
            }
            Self::TraceStop { id } => message[..2].copy_from_slice(&[2, id.into()]),
            Self::FlowDump { id, limit, filter } => {
                message[..3].copy_from_slice(&[3, id.into(), limit.into()]);
                message[4..4 + FILTER_WORDS].copy_from_slice(&filter.encode());
            }
        }
        message
    }

    /// Reads and checks a message from the ring.
    pub fn decode(message: &Message) -> Result<Self, MessageError> {
        let id = ranged("id", message[1]);
        let filter = || Filter::decode(&std::array::from_fn(|n| message[4 + n]));
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

/// One flow, as an lcore reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRow {
    /// The client.
    pub client: SocketAddr,
    /// The node address and listener port.
    pub vip: SocketAddr,
    /// The target.
    pub target: SocketAddr,
    /// What the target sees as the client.
    pub nat: SocketAddr,
    /// IP protocol.
    pub protocol: u8,
    /// The entry's [`crate::flow::flag`] bits.
    pub flags: u8,
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
        Parse "parse" "Headers were checked: addresses, ports, protocol, flags, which fragment",
        Lookup "lookup" "The flow table was asked: which flow, which side, or none",
        Handover "handover" "The packet went to the lcore that owns its flow",
        Hold "hold" "The fragment waits for the first one of its datagram",
        Release "release" "Fragments that waited go on: how many",
        Listener "listener" "A listener was found for a packet without a flow",
        Select "select" "A target was chosen",
        Create "create" "A flow was made: the address and port that the target sees",
        Rewrite "rewrite" "Addresses and ports were rewritten",
        Originate "originate" "A packet was made beside this one: what",
        Transmit "transmit" "The packet leaves by a port",
        Punt "punt" "The packet goes to Linux",
        Answer "answer" "The packet was turned into its answer: a reset or an ICMP error",
        Consume "consume" "The packet was meant for what is done here, and ends",
        Drop "drop" "The packet was dropped: reason",
    }
}

numbered! {
    /// What packets are made here.
    Made {
        Reset "reset" "A TCP reset",
        IcmpError "ICMP error" "An ICMP error",
        ProxyHeader "PROXY header" "The header of the PROXY protocol, in a segment of its own",
        Fragment "fragment" "A piece of a packet that was too big, or a fragment that had to wait",
    }
}

numbered! {
    /// Which part of its datagram a packet is.
    Part {
        Whole "whole" "All of it",
        First "first fragment" "The first fragment, which has the ports",
        Later "later fragment" "Another fragment, which has no ports",
    }
}

/// Words of a [`Step`].
const STEP_WORDS: usize = 7;

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
        source: SocketAddr,
        /// Destination.
        destination: SocketAddr,
        /// IP protocol.
        protocol: u8,
        /// TCP flags; 0 for UDP.
        tcp_flags: u8,
        /// Which part of its datagram.
        part: Part,
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
    /// A fragment is held.
    Hold {
        /// Fragments of its datagram that are held now.
        held: u16,
    },
    /// Held fragments go on.
    Release {
        /// How many.
        fragments: u16,
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
        target: SocketAddr,
    },
    /// The flow made.
    Create {
        /// The entry's index.
        entry: u32,
        /// What the target sees as the client.
        nat: SocketAddr,
    },
    /// The packet after rewriting.
    Rewrite {
        /// Source.
        source: SocketAddr,
        /// Destination.
        destination: SocketAddr,
    },
    /// A packet was made beside the one at hand.
    Originate {
        /// Port that it leaves by.
        port: u8,
        /// What it is.
        made: Made,
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
    /// Turned into its answer.
    Answer {
        /// Port.
        port: u8,
        /// What it is now.
        made: Made,
    },
    /// Ended here.
    Consume,
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
            Self::Hold { .. } => Stage::Hold,
            Self::Release { .. } => Stage::Release,
            Self::Listener { .. } => Stage::Listener,
            Self::Select { .. } => Stage::Select,
            Self::Create { .. } => Stage::Create,
            Self::Rewrite { .. } => Stage::Rewrite,
            Self::Originate { .. } => Stage::Originate,
            Self::Transmit { .. } => Stage::Transmit,
            Self::Punt { .. } => Stage::Punt,
            Self::Answer { .. } => Stage::Answer,
            Self::Consume => Stage::Consume,
            Self::Drop { .. } => Stage::Drop,
        }
    }

    fn encode(&self) -> [u64; STEP_WORDS] {
        let stage = self.stage() as u64;
        let some = |values: &[u64]| {
            let mut words = [0; STEP_WORDS];
            words[0] = stage;
            words[1..].iter_mut().zip(values).for_each(|(word, value)| *word = *value);
            words
        };
        match *self {
            Self::Rx { port, length } => some(&[port.into(), length.into()]),
            Self::Parse { source, destination, protocol, tcp_flags, part } => {
                let [[s0, s1, s2], [d0, d1, d2]] = [source, destination].map(socket_words);
                let scalars = u64::from(protocol) << 8 | u64::from(tcp_flags) << 16 | (part as u64) << 24;
                [stage | scalars, s0, s1, s2, d0, d1, d2]
            }
            Self::Lookup { entry, from_client, state } => {
                some(&[entry.map_or(u64::MAX, u64::from), from_client.into(), state.into()])
            }
            Self::Handover { lcore } => some(&[lcore.into()]),
            Self::Hold { held: n } | Self::Release { fragments: n } => some(&[n.into()]),
            Self::Listener { slot } => some(&[slot.into()]),
            Self::Select { slot, target } => {
                let [high, low, port] = socket_words(target);
                some(&[slot.into(), high, low, port])
            }
            Self::Create { entry, nat } => {
                let [high, low, port] = socket_words(nat);
                some(&[entry.into(), high, low, port])
            }
            Self::Rewrite { source, destination } => some([source, destination].map(socket_words).as_flattened()),
            Self::Originate { port, made } | Self::Answer { port, made } => some(&[port.into(), made as u64]),
            Self::Transmit { port } | Self::Punt { port } => some(&[port.into()]),
            Self::Consume => some(&[]),
            Self::Drop { reason } => some(&[reason as u64]),
        }
    }

    fn decode(w: &[u64; STEP_WORDS]) -> Result<Self, MessageError> {
        let stage = known("stage", w[0] & 0xff, Stage::from_number)?;
        let port = || ranged("port", w[1]);
        let made = || known("made", w[2], Made::from_number);
        Ok(match stage {
            Stage::Rx => Self::Rx { port: port()?, length: ranged("length", w[2])? },
            Stage::Parse => Self::Parse {
                source: socket("source", &w[1..4])?,
                destination: socket("destination", &w[4..7])?,
                protocol: (w[0] >> 8) as u8,
                tcp_flags: (w[0] >> 16) as u8,
                part: known("part", w[0] >> 24, Part::from_number)?,
            },
            Stage::Lookup => Self::Lookup {
                entry: if w[1] == u64::MAX { None } else { Some(ranged("entry", w[1])?) },
                from_client: w[2] != 0,
                state: ranged("state", w[3])?,
            },
            Stage::Handover => Self::Handover { lcore: ranged("lcore", w[1])? },
            Stage::Hold => Self::Hold { held: ranged("held", w[1])? },
            Stage::Release => Self::Release { fragments: ranged("fragments", w[1])? },
            Stage::Listener => Self::Listener { slot: ranged("slot", w[1])? },
            Stage::Select => Self::Select { slot: ranged("slot", w[1])?, target: socket("target", &w[2..5])? },
            Stage::Create => Self::Create { entry: ranged("entry", w[1])?, nat: socket("nat", &w[2..5])? },
            Stage::Rewrite => {
                Self::Rewrite { source: socket("source", &w[1..4])?, destination: socket("destination", &w[4..7])? }
            }
            Stage::Originate => Self::Originate { port: port()?, made: made()? },
            Stage::Transmit => Self::Transmit { port: port()? },
            Stage::Punt => Self::Punt { port: port()? },
            Stage::Answer => Self::Answer { port: port()?, made: made()? },
            Stage::Consume => Self::Consume,
            Stage::Drop => Self::Drop { reason: known("reason", w[1], DropReason::from_number)? },
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
        let mut message = [0; MESSAGE_WORDS];
        match *self {
            Self::Trace { id, packet, step } => {
                message[..3].copy_from_slice(&[1, id.into(), packet.into()]);
                message[4..4 + STEP_WORDS].copy_from_slice(&step.encode());
            }
            Self::Flow { id, row } => {
                message[0] = 2
                    | u64::from(row.protocol) << 8
                    | (row.state as u64) << 16
                    | u64::from(row.flags) << 24
                    | u64::from(row.idle_s) << 32;
                message[1] = id.into();
                message[2] = u64::from(row.target_slot) | u64::from(row.listener_slot) << 16;
                let sockets = [row.client, row.vip, row.target, row.nat].map(socket_words);
                message[3..15].copy_from_slice(sockets.as_flattened());
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
                step: Step::decode(&std::array::from_fn(|n| message[4 + n]))?,
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
                        client: socket("client", &message[3..6])?,
                        vip: socket("vip", &message[6..9])?,
                        target: socket("target", &message[9..12])?,
                        nat: socket("nat", &message[12..15])?,
                        protocol,
                        flags: (message[0] >> 24) as u8,
                        state: known("state", state.into(), |_| FlowState::from_number(state))?,
                        idle_s: (message[0] >> 32) as u16,
                        target_slot: message[2] as u16,
                        listener_slot: (message[2] >> 16) as u16,
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
    use std::net::Ipv4Addr;

    /// IPv4 and IPv6. `::` is no packet's address, and what stands for IPv4 is never IPv6.
    fn ip() -> impl Strategy<Value = IpAddr> {
        let v6 = (1u64.., any::<u64>())
            .prop_map(|(high, low)| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into());
        prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), v6]
    }

    fn any_socket() -> impl Strategy<Value = SocketAddr> {
        (ip(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let ip = || proptest::option::of(ip());
        (any::<u8>(), ip(), ip(), any::<u16>(), any::<u16>(), ip()).prop_map(
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

    fn steps(n: u32, slot: u16, port: u8, flag: bool, a: SocketAddr, b: SocketAddr) -> [Step; Stage::COUNT] {
        let part = Part::ALL[usize::from(slot) % Part::COUNT];
        let made = Made::ALL[usize::from(slot) % Made::COUNT];
        [
            Step::Rx { port, length: slot },
            Step::Parse { source: a, destination: b, protocol: port, tcp_flags: n as u8, part },
            Step::Lookup { entry: flag.then_some(n), from_client: flag, state: port },
            Step::Handover { lcore: port },
            Step::Hold { held: slot },
            Step::Release { fragments: slot },
            Step::Listener { slot },
            Step::Select { slot, target: a },
            Step::Create { entry: n, nat: b },
            Step::Rewrite { source: a, destination: b },
            Step::Originate { port, made },
            Step::Transmit { port },
            Step::Punt { port },
            Step::Answer { port, made },
            Step::Consume,
            Step::Drop { reason: DropReason::ALL[n as usize % DropReason::COUNT] },
        ]
    }

    fn row(slot: u16, flags: u8, a: SocketAddr, b: SocketAddr) -> FlowRow {
        FlowRow {
            client: a,
            vip: b,
            target: b,
            nat: a,
            protocol: protocol::UDP,
            flags,
            state: FlowState::TimeWait,
            idle_s: slot,
            target_slot: slot,
            listener_slot: !slot,
        }
    }

    /// The encoding is part of the layout: when it changes, so does [`ENCODING`], and with it the layout's hash.
    #[test]
    fn the_encoding_is_recorded() {
        let (a, b): (SocketAddr, SocketAddr) = (([1, 2, 3, 4], 80).into(), ([1, 2, 3, 4, 5, 6, 7, 8], 8080).into());
        let [source, destination, target] = [Some(a.ip()), Some(b.ip()), None];
        let filter = Filter { protocol: 6, source, destination, source_port: 3, destination_port: 4, target };
        let mut messages = vec![
            Command::TraceStart { id: 1, count: 2, port: 3, filter }.encode(),
            Command::TraceStop { id: 1 }.encode(),
            Command::FlowDump { id: 1, limit: 2, filter }.encode(),
            Event::Flow { id: 1, row: row(9, 0x50, a, b) }.encode(),
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
        fn events_survive_the_ring(id: u32, packet: u32, a in any_socket(), b in any_socket(), port: u8, slot: u16, n: u32, flag: bool) {
            let mut events: Vec<Event> = steps(n, slot, port, flag, a, b).map(|step| Event::Trace { id, packet, step }).into();
            events.push(Event::Flow { id, row: row(slot, port, a, b) });
            events.push(Event::FlowDumpEnd { id, scanned: u64::from(n) << 20 });
            for event in events {
                prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
            }
        }

        /// Whatever the other side writes, reading it never panics.
        #[test]
        fn any_bytes_are_read_or_refused(message: [u64; MESSAGE_WORDS], kind in 0..5u64) {
            let mut message = message;
            let _ = (Command::decode(&message), Event::decode(&message));
            message[0] = message[0] & !0xff | kind;
            let _ = (Command::decode(&message), Event::decode(&message));
            message[0] = kind;
            let _ = (Command::decode(&message), Event::decode(&message));
        }
    }
}
