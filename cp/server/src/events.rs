//! Commands to the lcores and their events: traces and flow dumps.
//!
//! An lcore runs one trace and one dump at a time. A new trace ends the one before; dumps wait for each other here.
//! Nothing waits for an lcore for ever: a dump is answered after [`DUMP_PATIENCE`] with what has come, a trace ends after
//! [`TRACE_PATIENCE`]. Events that nobody waits for are dropped.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leat_abi::ControlSegment;
use leat_abi::counters::{Counter, LcoreCounters};
use leat_abi::flow::{flag, protocol};
use leat_abi::message::{Command, Event, Filter, FlowRow, Part, Step};
use leat_abi::ring::{Consumer, Producer, RingError};
use leat_model::rest::{Flow, Flows, Protocol, ProxyHeader, TraceStep};
use tokio::sync::oneshot;

use crate::traces::Traces;

/// How long a dump may take.
const DUMP_PATIENCE: Duration = Duration::from_secs(3);
/// How long a trace waits for its packets.
pub const TRACE_PATIENCE: Duration = Duration::from_secs(600);
/// Events read from one lcore in one turn at the most: one ring full.
const EVENTS_MAX: usize = leat_abi::layout::EVENT_MESSAGES;

/// What is asked of the lcores.
#[derive(Debug)]
pub enum Request {
    /// Trace packets; what comes goes into the traces under this id.
    Trace {
        /// The trace.
        id: u32,
        /// How many packets.
        count: u32,
        /// The port's number, or [`leat_abi::message::ANY_PORT`].
        port: u8,
        /// Which packets.
        filter: Filter,
        /// What ports and listeners are called.
        names: Names,
        /// Where its packets go.
        traces: Arc<Traces>,
    },
    /// Report flows. The answer is dropped when there is no data plane.
    Flows {
        /// At most so many.
        limit: u32,
        /// Which flows.
        filter: Filter,
        /// Where the answer goes.
        reply: oneshot::Sender<Flows>,
    },
}

/// What people call the numbers in a trace, when it begins.
#[derive(Debug, Default)]
pub struct Names {
    /// Ports, by number.
    pub ports: Vec<String>,
    /// Listeners, by slot.
    pub listeners: HashMap<u16, String>,
}

impl Names {
    fn port(&self, number: u8) -> String {
        self.ports.get(usize::from(number)).map_or_else(|| format!("port {number}"), Clone::clone)
    }

    fn listener(&self, slot: u16) -> String {
        self.listeners.get(&slot).map_or_else(|| format!("listener {slot}"), Clone::clone)
    }
}

/// The rings of all lcores.
pub struct Exchange {
    lcores: Vec<Ends>,
    waiting: VecDeque<(u32, Filter, oneshot::Sender<Flows>)>,
    dump: Option<Dump>,
    trace: Option<Running>,
    next_dump: u32,
}

struct Ends {
    commands: Producer<'static>,
    events: Consumer<'static>,
    counters: LcoreCounters<'static>,
}

struct Dump {
    id: u32,
    limit: u32,
    rows: Vec<Flow>,
    /// By lcore: the dump has ended there.
    ended: Vec<bool>,
    /// By lcore: events lost before the dump began.
    lost_before: Vec<u64>,
    complete: bool,
    since: Instant,
    reply: oneshot::Sender<Flows>,
}

struct Running {
    id: u32,
    since: Instant,
    names: Names,
    traces: Arc<Traces>,
}

impl Exchange {
    /// Takes the rings of a segment: once for each.
    pub fn new(segment: &ControlSegment) -> Self {
        let ends = |lcore| Ends {
            commands: segment.commands(lcore),
            events: segment.events(lcore),
            counters: segment.counters(lcore),
        };
        Self {
            lcores: (0..segment.geometry().lcores).map(ends).collect(),
            waiting: VecDeque::new(),
            dump: None,
            trace: None,
            // So that late answers to an earlier process are nobody's.
            next_dump: rand::random(),
        }
    }

    /// Whether events are awaited.
    pub fn is_busy(&self) -> bool {
        self.dump.is_some() || self.trace.is_some()
    }

    /// The data plane was restarted: what it was asked is forgotten there.
    pub fn restart(&mut self) {
        self.finish_dump(false);
        self.end_trace();
    }

    /// Sends commands, reads events, answers.
    pub fn turn(&mut self, requests: Vec<Request>, alive: bool) {
        for request in requests {
            match request {
                Request::Trace { id, count, port, filter, names, traces } => {
                    let running = Running { id, since: Instant::now(), names, traces };
                    self.start_trace(&Command::TraceStart { id, count, port, filter }, running);
                }
                Request::Flows { limit, filter, reply } => self.waiting.push_back((limit, filter, reply)),
            }
        }
        if !alive {
            self.waiting.clear();
            self.finish_dump(false);
        }
        for lcore in 0..self.lcores.len() {
            self.read(lcore);
        }
        if let Some(dump) = &self.dump {
            if dump.ended.iter().all(|ended| *ended) {
                self.finish_dump(true);
            } else if dump.since.elapsed() > DUMP_PATIENCE {
                self.finish_dump(false);
            }
        }
        if let Some(trace) = &self.trace
            && (trace.since.elapsed() > TRACE_PATIENCE || !trace.traces.wants_more(trace.id))
        {
            self.end_trace();
        }
        self.start_dump();
    }

    fn start_trace(&mut self, command: &Command, running: Running) {
        self.end_trace();
        for lcore in &mut self.lcores {
            send(&mut lcore.commands, command);
        }
        self.trace = Some(running);
    }

    fn end_trace(&mut self) {
        if let Some(trace) = self.trace.take() {
            for lcore in &mut self.lcores {
                send(&mut lcore.commands, &Command::TraceStop { id: trace.id });
            }
            trace.traces.end(trace.id);
        }
    }

    fn start_dump(&mut self) {
        if self.dump.is_some() {
            return;
        }
        let Some((limit, filter, reply)) = self.waiting.pop_front() else { return };
        let id = self.next_dump;
        self.next_dump = self.next_dump.wrapping_add(1);
        let mut dump = Dump {
            id,
            limit,
            rows: Vec::new(),
            ended: Vec::new(),
            lost_before: Vec::new(),
            complete: true,
            since: Instant::now(),
            reply,
        };
        // One more than asked for, to know whether there are more.
        let command = Command::FlowDump { id, limit: limit.saturating_add(1), filter };
        for lcore in &mut self.lcores {
            dump.lost_before.push(lcore.counters.get(Counter::EventsLost));
            let sent = send(&mut lcore.commands, &command);
            dump.complete &= sent;
            dump.ended.push(!sent);
        }
        self.dump = Some(dump);
    }

    fn finish_dump(&mut self, ended: bool) {
        let Some(mut dump) = self.dump.take() else { return };
        let mut lost = self.lcores.iter().map(|lcore| lcore.counters.get(Counter::EventsLost)).zip(&dump.lost_before);
        let nothing_lost = lost.all(|(now, before)| now == *before);
        let fits = dump.rows.len() <= dump.limit as usize;
        dump.rows.truncate(dump.limit as usize);
        // Who asked may have gone.
        let _ = dump.reply.send(Flows { flows: dump.rows, complete: dump.complete && ended && nothing_lost && fits });
    }

    fn read(&mut self, lcore: usize) {
        for _ in 0..EVENTS_MAX {
            let message = match self.lcores[lcore].events.pop() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("events of lcore {lcore}: {error}; skipping them");
                    self.lcores[lcore].events.skip_all();
                    return;
                }
            };
            match Event::decode(&message) {
                Ok(event) => self.take(lcore, event),
                Err(error) => tracing::error!("an event of lcore {lcore} makes no sense: {error}"),
            }
        }
    }

    fn take(&mut self, lcore: usize, event: Event) {
        match event {
            Event::Trace { id, packet, step } => {
                if let Some(trace) = self.trace.as_ref().filter(|trace| trace.id == id) {
                    trace.traces.add(id, lcore as u16, packet, describe(&step, &trace.names));
                }
            }
            Event::Flow { id, row } => {
                if let Some(dump) = self.dump.as_mut().filter(|dump| dump.id == id)
                    && dump.rows.len() <= dump.limit as usize
                {
                    dump.rows.push(show_flow(lcore as u16, &row));
                }
            }
            Event::FlowDumpEnd { id, .. } => {
                if let Some(dump) = self.dump.as_mut().filter(|dump| dump.id == id) {
                    dump.ended[lcore] = true;
                }
            }
        }
    }
}

/// Sends a command, or says that it cannot be sent.
fn send(commands: &mut Producer<'_>, command: &Command) -> bool {
    match commands.push(&command.encode()) {
        Ok(()) => true,
        Err(RingError::Full) => {
            tracing::warn!("an lcore does not read its commands; one was not sent");
            false
        }
        Err(error) => {
            tracing::error!("the commands of an lcore: {error}");
            false
        }
    }
}

fn protocol_of(number: u8) -> Protocol {
    if number == protocol::UDP { Protocol::Udp } else { Protocol::Tcp }
}

fn show_flow(lcore: u16, row: &FlowRow) -> Flow {
    let has = |flag: u8| row.flags & flag != 0;
    Flow {
        protocol: protocol_of(row.protocol),
        client: row.client.to_string(),
        vip: row.vip.to_string(),
        target: row.target.to_string(),
        nat: row.nat.to_string(),
        client_ip_preserved: !has(flag::FULL_NAT),
        proxy_header: match (has(flag::PROXY), has(flag::PROXY_ACKED)) {
            (false, _) => None,
            (true, false) => Some(ProxyHeader::Unacknowledged),
            (true, true) => Some(ProxyHeader::Acknowledged),
        },
        state: row.state.name().into(),
        idle_seconds: row.idle_s.into(),
        lcore,
    }
}

const TCP_FLAGS: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// A stage of a packet for people.
fn describe(step: &Step, names: &Names) -> TraceStep {
    let detail = match step {
        Step::Rx { port, length } => format!("{}, {length} bytes", names.port(*port)),
        Step::Parse { source, destination, protocol: number, tcp_flags, part } => {
            let protocol = match *number {
                protocol::TCP => "TCP".into(),
                protocol::UDP => "UDP".into(),
                protocol::ICMP | protocol::ICMPV6 => "ICMP".into(),
                other => format!("protocol {other}"),
            };
            let has_ports = matches!(*number, protocol::TCP | protocol::UDP) && *part != Part::Later;
            let show = |socket: &SocketAddr| if has_ports { socket.to_string() } else { socket.ip().to_string() };
            let names = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| tcp_flags >> bit & 1 == 1);
            let names: String = names.map(|(_, name)| format!(" {name}")).collect();
            let part = if *part == Part::Whole { String::new() } else { format!(", {}", part.name()) };
            format!("{protocol} {} → {}{names}{part}", show(source), show(destination))
        }
        Step::Lookup { entry: None, .. } => "no flow".into(),
        Step::Lookup { entry: Some(entry), from_client, state } => {
            let side = if *from_client { "client" } else { "target" };
            let state = leat_abi::flow::FlowState::from_number(*state).map_or("unknown", |state| state.name());
            format!("flow {entry} ({state}), from its {side}")
        }
        Step::Handover { lcore } => format!("to lcore {lcore}"),
        Step::Listener { slot } => names.listener(*slot),
        Step::Hold { held } => format!("until the first fragment comes; held of this datagram: {held}"),
        Step::Release { fragments } => format!("fragments that waited: {fragments}"),
        Step::Select { slot: _, target } => target.to_string(),
        Step::Create { entry, nat } => format!("flow {entry}, the target sees {nat}"),
        Step::Rewrite { source, destination } => format!("{source} → {destination}"),
        Step::Transmit { port } => names.port(*port),
        Step::Originate { port, made } | Step::Answer { port, made } => {
            format!("{}, by {}", made.name(), names.port(*port))
        }
        Step::Consume => step.stage().help().into(),
        Step::Punt { port } => format!("to Linux, by the twin of {}", names.port(*port)),
        Step::Drop { reason } => format!("{}: {}", reason.name(), reason.help()),
    };
    TraceStep { stage: step.stage().name().into(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leat_abi::counters::DropReason;
    use leat_abi::flow::FlowState;
    use leat_abi::message::Made;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("a socket")
    }

    #[test]
    fn sockets_are_shown_as_people_write_them() {
        let row = FlowRow {
            client: socket("192.0.2.1:40000"),
            vip: socket("10.1.0.10:53"),
            target: socket("10.2.0.11:5353"),
            nat: socket("10.1.0.10:10001"),
            protocol: protocol::UDP,
            flags: flag::FULL_NAT,
            state: FlowState::Established,
            idle_s: 7,
            target_slot: 0,
            listener_slot: 0,
        };
        let flow = show_flow(3, &row);
        assert_eq!((flow.client.as_str(), flow.nat.as_str()), ("192.0.2.1:40000", "10.1.0.10:10001"));
        assert_eq!(
            (flow.protocol, flow.state.as_str(), flow.idle_seconds, flow.lcore),
            (Protocol::Udp, "established", 7, 3)
        );
        assert_eq!((flow.client_ip_preserved, flow.proxy_header), (false, None));
        let row = FlowRow { client: socket("[2001:db8::7]:40000"), protocol: protocol::TCP, flags: flag::PROXY, ..row };
        let flow = show_flow(0, &row);
        assert_eq!((flow.client.as_str(), flow.protocol), ("[2001:db8::7]:40000", Protocol::Tcp));
        assert_eq!((flow.client_ip_preserved, flow.proxy_header), (true, Some(ProxyHeader::Unacknowledged)));
        let flow = show_flow(0, &FlowRow { flags: flag::PROXY | flag::PROXY_ACKED, ..row });
        assert_eq!(flow.proxy_header, Some(ProxyHeader::Acknowledged));
    }

    #[test]
    fn stages_are_described_in_words() {
        let (a, b) = (socket("192.0.2.1:40000"), socket("10.1.0.10:80"));
        let names = Names { ports: vec!["p0".into()], listeners: [(3, "front TCP 80".to_owned())].into() };
        let describe = |step: Step| describe(&step, &names);
        let parse =
            describe(Step::Parse { source: a, destination: b, protocol: 6, tcp_flags: 0x12, part: Part::Whole });
        assert_eq!(parse.detail, "TCP 192.0.2.1:40000 → 10.1.0.10:80 SYN ACK");
        let (source, destination) = (socket("[2001:db8::7]:0"), socket("[2001:db8::10]:0"));
        let later = Step::Parse { source, destination, protocol: 17, tcp_flags: 0, part: Part::Later };
        assert_eq!(describe(later).detail, "UDP 2001:db8::7 → 2001:db8::10, later fragment");
        let error = Step::Parse { source, destination, protocol: protocol::ICMPV6, tcp_flags: 0, part: Part::Whole };
        assert_eq!(describe(error).detail, "ICMP 2001:db8::7 → 2001:db8::10");
        let made = describe(Step::Originate { port: 0, made: Made::ProxyHeader });
        assert_eq!((made.stage.as_str(), made.detail.as_str()), ("originate", "PROXY header, by p0"));
        let drop = describe(Step::Drop { reason: DropReason::NoListener });
        assert_eq!(drop.stage, "drop");
        assert!(drop.detail.starts_with("no_listener: "));
        assert_eq!(describe(Step::Rx { port: 0, length: 60 }).detail, "p0, 60 bytes");
        assert_eq!(describe(Step::Listener { slot: 3 }).detail, "front TCP 80");
        // Made after the trace began.
        assert_eq!(describe(Step::Listener { slot: 4 }).detail, "listener 4");
        assert_eq!(describe(Step::Transmit { port: 7 }).detail, "port 7");
    }
}
