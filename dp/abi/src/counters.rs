//! Counters: one definition makes the enum, the metric's name and its line of documentation.
//!
//! Every block has one writer, the lcore it belongs to; anybody may read. A counter only grows and survives restarts of either
//! process; a gauge (marked so) is set anew when flows are adopted.
//!
//! Conservation, per lcore and at any quiet moment:
//! `rx_packets + handed_in = forwarded_packets + drops + punted_packets + answered_packets + handed_out + consumed_packets + held_packets`.
//! What is sent beyond that was made here: `originated_packets`.

use crate::attempts::{Attempt, Attempts, FailedClients};
use crate::sync::{AtomicU64, Ordering};

macro_rules! numbered {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident $name:literal $doc:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $enum { $(#[doc = $doc] $variant,)* }

        impl $enum {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it counts.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }

            /// The value of this number, if there is one.
            pub fn from_number(number: u64) -> Option<Self> {
                usize::try_from(number).ok().and_then(|n| Self::ALL.get(n)).copied()
            }
        }
    };
}
pub(crate) use numbered;

numbered! {
    /// What an lcore counts.
    Counter {
        RxPackets "rx_packets" "Packets received from ports",
        RxBytes "rx_bytes" "Bytes received from ports (Ethernet frames without FCS)",
        ForwardedPackets "forwarded_packets" "Packets of flows sent on to a port",
        ForwardedBytes "forwarded_bytes" "Bytes of flows sent on to a port (Ethernet frames without FCS)",
        PuntedPackets "punted_packets" "Packets given to Linux over the port's TAP twin",
        AnsweredPackets "answered_packets" "Packets consumed by answering them with a reset or an ICMP error",
        ConsumedPackets "consumed_packets" "Packets that ended here because they were meant for what Leat does itself (acknowledgements of a PROXY header)",
        HeldPackets "held_packets" "Gauge: fragments held until the first one of their datagram comes",
        OriginatedPackets "originated_packets" "Packets made here and sent: resets, PROXY headers, further pieces of fragmented packets",
        OriginatedLost "originated_lost" "Packets made here that could not be sent",
        HandedOut "handed_out" "Packets handed to the lcore that owns their flow",
        HandedIn "handed_in" "Packets received from other lcores because this one owns their flow",
        ResetsSent "resets_sent" "TCP resets made here and sent",
        ClientResets "client_resets" "TCP resets of clients forwarded to targets",
        TargetResets "target_resets" "TCP resets of targets forwarded to clients",
        IcmpErrorsSent "icmp_errors_sent" "ICMP errors made here and sent: packets that were too big",
        IcmpErrorsForwarded "icmp_errors_forwarded" "ICMP errors of others forwarded to the sender whose packet they quote",
        ProxyHeadersSent "proxy_headers_sent" "PROXY protocol headers sent, repetitions included",
        ProxyUnacked "pp2_unacked" "Connections reset because the target never acknowledged the PROXY header",
        FragmentsMade "fragments_made" "Pieces into which packets too big for their port were cut",
        FlowsCreated "flows_created" "Flows created",
        FlowsClosed "flows_closed" "Flows that ended by FIN or RST",
        FlowsExpired "flows_expired" "Flows that ended by a timeout",
        FlowsTerminated "flows_terminated" "Flows that ended because their target's time to drain was over, it was unhealthy or gone",
        HalfOpenEvicted "half_open_evicted" "Half-open flows given up because there were too many, or no room or source port was left: the oldest",
        TimeWaitEvicted "time_wait_evicted" "Closed flows given up before their time because no room or source port was left: the oldest",
        OneWayUdpEvicted "one_way_udp_evicted" "Flows of UDP without an answer given up because no room was left: the oldest",
        FlowsAdopted "flows_adopted" "Flows taken over from an earlier data-plane process",
        LinuxTxPackets "linux_tx_packets" "Packets of Linux sent to a port",
        LinuxTxDropped "linux_tx_dropped" "Packets of Linux that a port did not take",
        BusyCycles "busy_cycles" "TSC cycles of loops that had work",
        IdleCycles "idle_cycles" "TSC cycles of loops that had none, sleep included",
        Loops "loops" "Turns of the polling loop",
        LoopsOver1Us "loops_over_1us" "Turns with work that took longer than 1 µs",
        LoopsOver2Us "loops_over_2us" "Turns with work that took longer than 2 µs",
        LoopsOver5Us "loops_over_5us" "Turns with work that took longer than 5 µs",
        LoopsOver10Us "loops_over_10us" "Turns with work that took longer than 10 µs",
        LoopsOver20Us "loops_over_20us" "Turns with work that took longer than 20 µs",
        LoopsOver50Us "loops_over_50us" "Turns with work that took longer than 50 µs",
        LoopsOver100Us "loops_over_100us" "Turns with work that took longer than 100 µs",
        LoopsOver200Us "loops_over_200us" "Turns with work that took longer than 200 µs",
        LoopsOver500Us "loops_over_500us" "Turns with work that took longer than 500 µs",
        LoopsOver1Ms "loops_over_1ms" "Turns with work that took longer than 1 ms",
        LoopsOver2Ms "loops_over_2ms" "Turns with work that took longer than 2 ms",
        LoopsOver5Ms "loops_over_5ms" "Turns with work that took longer than 5 ms",
        LoopsOver10Ms "loops_over_10ms" "Turns with work that took longer than 10 ms",
        SynsNotFollowed "syns_not_followed" "SYNs sent again whose answer was not waited for because too many were (passive health checks)",
        EventsLost "events_lost" "Events not reported because the event ring was full",
        CommandsBad "commands_bad" "Commands refused because they made no sense",
    }
}

numbered! {
    /// Why a packet was dropped. Every dropped packet is counted under exactly one reason.
    DropReason {
        NoConfiguration "no_configuration" "No snapshot has arrived from the control plane yet",
        NotLinear "not_linear" "The frame came in several buffer segments (larger than the configured MTU)",
        ShortFrame "short_frame" "The frame is shorter than its headers say",
        ForeignMac "foreign_mac" "The destination MAC is neither the port's nor a group address",
        UnsupportedEthertype "unsupported_ethertype" "Neither IPv4, IPv6 nor ARP",
        Vlan "vlan" "The frame has a VLAN tag that no port is configured for",
        IpHeader "ip_header" "The IP version, header length or total length is wrong",
        IpOptions "ip_options" "The IPv4 header has options",
        IpChecksum "ip_checksum" "The IPv4 header checksum is wrong",
        IpSource "ip_source" "The source address cannot be one (multicast, broadcast, 0/8, 127/8, one of our nodes)",
        Land "land" "Source and destination address are the same",
        Ipv6Extension "ipv6_extension" "The IPv6 extension headers are too many, too long, out of order or never forwarded (routing type 0)",
        FragmentTiny "fragment_tiny" "The first fragment does not hold the whole TCP or UDP header, or a later one reaches into it",
        FragmentBad "fragment_bad" "The fragment's offset or length makes no sense",
        FragmentOverlap "fragment_overlap" "Fragments of the datagram overlap or differ: the whole datagram is dropped",
        FragmentTimeout "fragment_timeout" "The first fragment did not come in time",
        FragmentsFull "fragments_full" "No room to hold the fragment until the first one comes",
        TooBig "too_big" "The packet is larger than the MTU it has to go through, and must not be fragmented",
        TtlExpired "ttl_expired" "The TTL does not allow another hop",
        TcpHeader "tcp_header" "The TCP header is cut short or its data offset is wrong",
        TcpFlags "tcp_flags" "The combination of TCP flags is never valid here",
        UdpHeader "udp_header" "The UDP header is cut short or its length is wrong",
        Protocol "protocol" "Neither TCP, UDP nor ICMP",
        UdpChecksum "udp_checksum" "UDP over IPv6 without a checksum",
        Icmp "icmp" "ICMP that is not for this host",
        IcmpBad "icmp_bad" "An ICMP error whose checksum or quoted packet is wrong",
        IcmpNoFlow "icmp_no_flow" "An ICMP error that quotes no packet of a flow, or none in its window",
        IcmpRate "icmp_rate" "The limit of ICMP errors per second was reached",
        NoListener "no_listener" "Unintended traffic: no listener has this address, protocol and port",
        NoTarget "no_target" "The target group has no target to choose",
        NoFlow "no_flow" "Traffic of a target that belongs to no flow, and is not answered",
        ResetWithoutFlow "reset_without_flow" "A TCP reset that belongs to no flow",
        ResetRate "reset_rate" "A reset was due but the limit of resets per second was reached",
        ReplyLate "reply_late" "The target's first answer came after the return path had closed",
        FlowTableFull "flow_table_full" "No room for another flow",
        NatPortsExhausted "nat_ports_exhausted" "No source port left for this node address and target",
        Withdrawn "withdrawn" "The flow's load balancer was deleted",
        TupleConflict "tuple_conflict" "Another flow already has this client and target socket",
        Hairpin "hairpin" "The chosen target is the client itself and its address is preserved",
        NoNextHop "no_next_hop" "The way to the target is not resolved",
        HandoverFull "handover_full" "The ring to the owning lcore was full",
        PuntFull "punt_full" "The ring to Linux was full",
        PuntRate "punt_rate" "The limit of packets to Linux per second was reached",
        TxFull "tx_full" "The port's transmit queue did not take the packet",
        Restart "restart" "The data-plane process was killed while it had the packet in hand",
    }
}

numbered! {
    /// What an lcore counts for each target slot.
    TargetCounter {
        NewFlows "new_flows" "Flows created to the target",
        ActiveFlows "active_flows" "Gauge: flows that are open (half-open, established, half-closed; live UDP)",
        FlowRefs "flow_refs" "Gauge: flow entries that refer to the slot in any state",
        PacketsIn "packets_in" "Packets of clients to the target",
        BytesIn "bytes_in" "Bytes of clients to the target (IP packets)",
        PacketsOut "packets_out" "Packets of the target to clients",
        BytesOut "bytes_out" "Bytes of the target to clients (IP packets)",
        Resets "resets" "Resets sent by the target and forwarded",
    }
}

numbered! {
    /// What an lcore counts for each listener slot.
    ListenerCounter {
        NewFlows "new_flows" "Flows created",
        ActiveFlows "active_flows" "Gauge: open flows",
        FlowRefs "flow_refs" "Gauge: flow entries that refer to the slot in any state",
        Resets "resets" "Resets made for packets of this listener",
        NoTarget "no_target" "New flows refused because there was no target",
        NoPort "no_port" "New flows refused because no source port was left",
        NoRoom "no_room" "New flows refused because the flow table was full",
        Conflicts "conflicts" "New flows refused because of a tuple conflict or hairpin",
    }
}

numbered! {
    /// What the exception path counts for each port. Written by the data plane's exception thread.
    ExceptionCounter {
        ToLinux "to_linux" "Packets written to the TAP twin",
        ToLinuxDropped "to_linux_dropped" "Packets that the TAP twin did not take",
        FromLinux "from_linux" "Packets read from the TAP twin and given to an lcore",
        FromLinuxDropped "from_linux_dropped" "Packets of Linux for which the lcore's ring or the pool had no room",
    }
}

/// Words of one lcore's counters: the counters, then the drop reasons, padded to whole cache lines.
pub const LCORE_WORDS: usize = (Counter::COUNT + DropReason::COUNT).next_multiple_of(8);
/// Words of one target slot: its counters in one cache line; in another one how it answers SYNs, which packets of established flows
/// do not touch: attempts answered, refused, not answered, and the clients that failed ([`FailedClients`]).
pub const TARGET_WORDS: usize = 16;
/// Words of one listener slot's counters: one cache line.
pub const LISTENER_WORDS: usize = ListenerCounter::COUNT;

#[cfg(not(loom))]
const _: () = assert!(TargetCounter::COUNT == ATTEMPTS_AT && LISTENER_WORDS == 8, "one cache line each");

/// Where in a target slot's words those about its attempts begin.
const ATTEMPTS_AT: usize = 8;
const CLIENTS_AT: usize = ATTEMPTS_AT + 3;

/// The counters of one lcore. The lcore adds; everybody else reads.
#[derive(Debug, Clone, Copy)]
pub struct LcoreCounters<'m> {
    global: &'m [AtomicU64],
    targets: &'m [AtomicU64],
    listeners: &'m [AtomicU64],
}

#[inline(always)]
fn add(word: &AtomicU64, n: u64) {
    // One writer: a load and a store make an addition, and no bus lock is needed.
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl<'m> LcoreCounters<'m> {
    /// Counters over memory of [`LCORE_WORDS`], a multiple of [`TARGET_WORDS`] and a multiple of [`LISTENER_WORDS`] words.
    ///
    /// # Panics
    /// When the first slice is shorter than [`LCORE_WORDS`].
    pub fn new(global: &'m [AtomicU64], targets: &'m [AtomicU64], listeners: &'m [AtomicU64]) -> Self {
        assert!(global.len() >= LCORE_WORDS, "{LCORE_WORDS} words of counters");
        Self { global, targets, listeners }
    }

    /// Adds to a counter.
    #[inline(always)]
    pub fn add(&self, counter: Counter, n: u64) {
        add(&self.global[counter as usize], n);
    }

    /// Counts dropped packets.
    #[inline(always)]
    pub fn drop(&self, reason: DropReason, n: u64) {
        add(&self.global[Counter::COUNT + reason as usize], n);
    }

    /// Adds to a counter of a target slot; a slot out of range counts nowhere.
    #[inline(always)]
    pub fn target(&self, slot: u16, counter: TargetCounter, n: u64) {
        if let Some(word) = self.targets.get(slot as usize * TARGET_WORDS + counter as usize) {
            add(word, n);
        }
    }

    /// Counts a packet that was forwarded to a target, or from it; a slot out of range counts nowhere.
    #[inline(always)]
    pub fn forwarded(&self, slot: u16, from_target: bool, bytes: u64) {
        const _: () = assert!(TargetCounter::BytesIn as usize == TargetCounter::PacketsIn as usize + 1);
        const _: () = assert!(TargetCounter::PacketsOut as usize == TargetCounter::PacketsIn as usize + 2);
        const _: () = assert!(TargetCounter::BytesOut as usize == TargetCounter::PacketsOut as usize + 1);
        let first = TargetCounter::PacketsIn as usize + 2 * usize::from(from_target);
        let (slots, _) = self.targets.as_chunks::<TARGET_WORDS>();
        if let Some(words) = slots.get(slot as usize) {
            add(&words[first], 1);
            add(&words[first + 1], bytes);
        }
    }

    /// Counts a flow that has begun, for its target's and its listener's slot; a slot out of range counts nowhere.
    #[inline(always)]
    pub fn began(&self, target: u16, listener: u16) {
        const _: () = assert!(TargetCounter::NewFlows as usize == 0 && ListenerCounter::NewFlows as usize == 0);
        const _: () = assert!(TargetCounter::ActiveFlows as usize == 1 && ListenerCounter::ActiveFlows as usize == 1);
        const _: () = assert!(TargetCounter::FlowRefs as usize == 2 && ListenerCounter::FlowRefs as usize == 2);
        self.add(Counter::FlowsCreated, 1);
        if let Some(words) = self.targets.as_chunks::<TARGET_WORDS>().0.get(target as usize) {
            words[..3].iter().for_each(|word| add(word, 1));
        }
        if let Some(words) = self.listeners.as_chunks::<LISTENER_WORDS>().0.get(listener as usize) {
            words[..3].iter().for_each(|word| add(word, 1));
        }
    }

    /// Adds to a counter of a listener slot; a slot out of range counts nowhere.
    #[inline(always)]
    pub fn listener(&self, slot: u16, counter: ListenerCounter, n: u64) {
        if let Some(word) = self.listeners.get(slot as usize * LISTENER_WORDS + counter as usize) {
            add(word, n);
        }
    }

    /// Counts how an attempt to connect to a target has ended, and remembers the client of one that failed: a hash of its address, and the
    /// second. A slot out of range counts nowhere.
    #[inline]
    pub fn attempt(&self, slot: u16, attempt: Attempt, client: u64, second: u16) {
        let Some(words) = self.attempt_words(slot) else { return };
        add(&words[attempt as usize], 1);
        if attempt != Attempt::Answered {
            let mut clients = FailedClients::from_word(words[CLIENTS_AT - ATTEMPTS_AT].load(Ordering::Relaxed));
            clients.add(second, client);
            words[CLIENTS_AT - ATTEMPTS_AT].store(clients.word(), Ordering::Relaxed);
        }
    }

    /// How attempts to connect to the target in a slot have ended; nothing for a slot out of range.
    pub fn attempts(&self, slot: u16) -> Attempts {
        let Some(words) = self.attempt_words(slot) else { return Attempts::default() };
        let [answered, refused, unanswered, clients] = [0, 1, 2, 3].map(|at| words[at].load(Ordering::Relaxed));
        let failed = refused.wrapping_add(unanswered);
        Attempts { answered, failed, clients: FailedClients::from_word(clients) }
    }

    fn attempt_words(&self, slot: u16) -> Option<&'m [AtomicU64]> {
        let first = slot as usize * TARGET_WORDS + ATTEMPTS_AT;
        self.targets.get(first..=first + CLIENTS_AT - ATTEMPTS_AT)
    }

    /// Sets every gauge to 0: before flows are adopted and counted anew.
    pub fn clear_gauges(&self) {
        self.global[Counter::HeldPackets as usize].store(0, Ordering::Relaxed);
        for slot in self.targets.chunks_exact(TARGET_WORDS) {
            slot[TargetCounter::ActiveFlows as usize].store(0, Ordering::Relaxed);
            slot[TargetCounter::FlowRefs as usize].store(0, Ordering::Relaxed);
        }
        for slot in self.listeners.chunks_exact(LISTENER_WORDS) {
            slot[ListenerCounter::ActiveFlows as usize].store(0, Ordering::Relaxed);
            slot[ListenerCounter::FlowRefs as usize].store(0, Ordering::Relaxed);
        }
    }

    /// A counter's value.
    pub fn get(&self, counter: Counter) -> u64 {
        self.global[counter as usize].load(Ordering::Relaxed)
    }

    /// How many packets were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.global[Counter::COUNT + reason as usize].load(Ordering::Relaxed)
    }

    /// How many packets were dropped for all reasons together.
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(*reason)).sum()
    }

    /// Packets that came and of which nothing is counted yet: those in hand, or lost with a process that was killed.
    pub fn in_hand(&self) -> u64 {
        use Counter::{AnsweredPackets, ConsumedPackets, ForwardedPackets, HandedIn, HandedOut, HeldPackets};
        use Counter::{PuntedPackets, RxPackets};
        let sum = |counters: &[Counter]| counters.iter().fold(0u64, |sum, c| sum.wrapping_add(self.get(*c)));
        let came = sum(&[RxPackets, HandedIn]);
        let went = sum(&[ForwardedPackets, PuntedPackets, AnsweredPackets, HandedOut, ConsumedPackets, HeldPackets]);
        came.saturating_sub(went.wrapping_add(self.dropped_total()))
    }

    /// A target slot's counter; 0 for a slot out of range.
    pub fn get_target(&self, slot: u16, counter: TargetCounter) -> u64 {
        let word = self.targets.get(slot as usize * TARGET_WORDS + counter as usize);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// A listener slot's counter; 0 for a slot out of range.
    pub fn get_listener(&self, slot: u16, counter: ListenerCounter) -> u64 {
        let word = self.listeners.get(slot as usize * LISTENER_WORDS + counter as usize);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_metric_like() {
        let mut names: Vec<&str> = Counter::ALL.iter().map(|c| c.name()).collect();
        names.extend(DropReason::ALL.iter().map(|r| r.name()));
        let count = names.len();
        assert!(names.iter().all(|n| n.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn blocks_count_and_ignore_slots_out_of_range() {
        let words: Vec<AtomicU64> = (0..LCORE_WORDS + 24).map(|_| AtomicU64::new(0)).collect();
        let (global, slots) = words.split_at(LCORE_WORDS);
        let counters = LcoreCounters::new(global, &slots[..TARGET_WORDS], &slots[TARGET_WORDS..]);
        counters.add(Counter::RxPackets, 3);
        counters.drop(DropReason::Land, 2);
        counters.drop(DropReason::TxFull, 1);
        counters.target(0, TargetCounter::FlowRefs, 1);
        counters.target(1, TargetCounter::FlowRefs, 1);
        counters.listener(0, ListenerCounter::NewFlows, 5);
        for (slot, attempt) in
            [(0, Attempt::Answered), (0, Attempt::Refused), (0, Attempt::Unanswered), (1, Attempt::Refused)]
        {
            counters.attempt(slot, attempt, u64::MAX, 9);
        }
        assert_eq!((counters.attempts(0).answered, counters.attempts(0).failed), (1, 2));
        assert_eq!((counters.attempts(0).clients.clients().count(), counters.attempts(1)), (1, Attempts::default()));
        assert_eq!(counters.get(Counter::RxPackets), 3);
        assert_eq!((counters.dropped(DropReason::Land), counters.dropped_total()), (2, 3));
        assert_eq!(counters.get_target(0, TargetCounter::FlowRefs), 1);
        assert_eq!(counters.get_target(1, TargetCounter::FlowRefs), 0);
        counters.clear_gauges();
        assert_eq!(counters.get_target(0, TargetCounter::FlowRefs), 0);
        assert_eq!(counters.get_listener(0, ListenerCounter::NewFlows), 5);
    }
}
