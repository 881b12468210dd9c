//! The layout of the segment: the fixed structs, where things lie for a given geometry, and the hash that names all of it.

use crate::counters::{
    Counter, DropReason, ExceptionCounter, LCORE_WORDS, LISTENER_WORDS, ListenerCounter, TARGET_WORDS, TargetCounter,
};
use crate::flow::{FlowAddresses, FlowEntry, FlowState, family, flag};
use crate::message::Stage;
use crate::ring::{INDEX_OFFSETS, MESSAGE_WORDS, RingControl};
use crate::segment::Geometry;
use crate::sync::AtomicU64;
use crate::{arena, message, snapshot};

/// What a Leat segment begins with.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LEATSEG\0");

/// Grows with every change of the layout or of a field's meaning. `layout_is_recorded` fails when it was forgotten.
pub const ABI_VERSION: u64 = 6;

/// Ports at the most.
pub const PORTS_MAX: usize = 16;
/// Lcores at the most.
pub const LCORES_MAX: usize = 64;
/// Messages in a command ring.
pub const COMMAND_MESSAGES: usize = 256;
/// Messages in an event ring.
pub const EVENT_MESSAGES: usize = 8192;
/// The flow region starts at a multiple of this, so that it can lie on huge pages.
pub const FLOW_ALIGN: u64 = 2 << 20;

const WORD: usize = size_of::<u64>();
const PAGE: u64 = 4096;
/// An entry and its second line, and what they are aligned to.
const PAIR: u64 = 128;

/// One port, as the data plane describes it. All words are written by the data plane and read by the control plane.
#[repr(C)]
#[derive(Debug)]
pub struct PortBlock {
    /// Name, UTF-8, padded with zeros.
    pub name: [AtomicU64; 2],
    /// Name of the TAP twin's network interface, padded with zeros.
    pub tap: [AtomicU64; 2],
    /// MAC in the low 6 bytes, first byte lowest.
    pub mac: AtomicU64,
    /// MTU in bytes.
    pub mtu: AtomicU64,
    /// 1: the link is up.
    pub link_up: AtomicU64,
    /// Frames that the NIC had to drop because no descriptor was free (`imissed`).
    pub rx_missed: AtomicU64,
    /// Frames received with errors (`ierrors`).
    pub rx_errors: AtomicU64,
    /// Times that no buffer was left for a frame (`rx_nombuf`).
    pub rx_no_buffer: AtomicU64,
    /// Frames that could not be sent (`oerrors`).
    pub tx_errors: AtomicU64,
    /// [`crate::counters::ExceptionCounter`], in its order.
    pub exception: [AtomicU64; 4],
    _reserved: AtomicU64,
}

/// The first page of the segment.
#[repr(C)]
#[derive(Debug)]
pub struct SegmentHeader {
    /// [`MAGIC`]; written last when the segment is made. Data plane → anybody.
    pub magic: AtomicU64,
    /// [`ABI_VERSION`] of the writer. Data plane → anybody.
    pub abi_version: AtomicU64,
    /// [`LAYOUT_HASH`] of the writer. Data plane → anybody.
    pub layout_hash: AtomicU64,
    /// Bytes of the whole segment. Data plane → anybody.
    pub total_bytes: AtomicU64,
    /// Geometry: lcores. This and the next five: data plane → anybody; fixed for the segment's life.
    pub lcores: AtomicU64,
    /// Geometry: flow entries per lcore.
    pub flows_max: AtomicU64,
    /// Geometry: flow entries per lcore with a second line.
    pub wide_flows_max: AtomicU64,
    /// Geometry: target slots.
    pub targets_max: AtomicU64,
    /// Geometry: listener slots.
    pub listeners_max: AtomicU64,
    /// Geometry: words in one of the two arena slots.
    pub arena_words: AtomicU64,
    /// Names the boot of the machine: what an earlier boot left is stale. Data plane → data plane.
    pub boot_id: AtomicU64,
    /// Counts the data-plane processes that have used the segment. Data plane → control plane.
    pub incarnation: AtomicU64,
    /// Process id of the data plane. Data plane → control plane.
    pub dp_pid: AtomicU64,
    /// Milliseconds of the monotonic clock, renewed at least every 100 ms; 0 after a clean stop. Data plane → control plane.
    pub dp_heartbeat_ms: AtomicU64,
    /// Ports in use. Data plane → control plane.
    pub ports: AtomicU64,
    /// TSC ticks per second. Data plane → control plane.
    pub tsc_hz: AtomicU64,
    /// The announced snapshot: generation × 2 + arena slot; 0: none yet. Control plane → data plane.
    pub announced: AtomicU64,
    /// The generation that the data plane has read last, good or not. The other arena slot is then free.
    /// Data plane → control plane.
    pub consumed: AtomicU64,
    /// The last generation that was refused; the log of leat-dp says why. Data plane → control plane.
    pub refused: AtomicU64,
    /// Process id of the control plane. Control plane → data plane.
    pub cp_pid: AtomicU64,
    /// As `dp_heartbeat_ms`, of the control plane. Control plane → data plane.
    pub cp_heartbeat_ms: AtomicU64,
    /// Key of the hash that says which lcore owns a flow; random, made with the segment. Data plane → data plane.
    pub owner_key: AtomicU64,
    _reserved: [AtomicU64; 234],
    /// The ports.
    pub port: [PortBlock; PORTS_MAX],
}

/// What an lcore tells about itself, beside its counters. Written by the lcore (or for it, before it starts), read by anybody.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct LcoreHeader {
    /// The generation of the snapshot that the lcore uses: [`LcoreHeader::acknowledge`]. Only grows, also over restarts.
    pub generation: AtomicU64,
    /// The CPU it runs on.
    pub cpu: AtomicU64,
    /// 1 while the lcore's loop runs.
    pub running: AtomicU64,
    /// Flow entries in use, any state.
    pub flows_used: AtomicU64,
    /// Longest turn of the loop that had work, in TSC ticks, since the process started.
    pub longest_loop: AtomicU64,
    _reserved: [AtomicU64; 3],
}

impl LcoreHeader {
    /// The lcore says that it works with this generation from now on, and with none before it ever again.
    pub fn acknowledge(&self, generation: u64) {
        arena::acknowledge(&self.generation, generation);
    }
}

/// Where everything lies, in bytes from the segment's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first lcore's block.
    pub lcores: u64,
    /// From one lcore's block to the next.
    pub lcore_stride: u64,
    /// The arena's first slot; the second follows.
    pub arena: u64,
    /// The flow region: the end of what the control plane maps. The lcores' flows ([`crate::FlowMemory`]), one lcore's after another's.
    pub flows: u64,
    /// In front of an lcore's flows: where this is not 0, an odd number of entries has no second line.
    pub flow_padding: u64,
    /// From one lcore's padding to the next one's.
    pub flow_stride: u64,
    /// The end.
    pub end: u64,
}

/// Within an lcore's block, in bytes from the block's start.
pub(crate) mod lcore_block {
    use super::*;
    pub(crate) const HEADER: usize = 0;
    pub(crate) const COMMAND_CONTROL: usize = HEADER + size_of::<LcoreHeader>();
    pub(crate) const EVENT_CONTROL: usize = COMMAND_CONTROL + size_of::<RingControl>();
    pub(crate) const COMMAND_SLOTS: usize = EVENT_CONTROL + size_of::<RingControl>();
    pub(crate) const EVENT_SLOTS: usize = COMMAND_SLOTS + COMMAND_MESSAGES * MESSAGE_WORDS * WORD;
    pub(crate) const COUNTERS: usize = EVENT_SLOTS + EVENT_MESSAGES * MESSAGE_WORDS * WORD;
    pub(crate) const TARGETS: usize = COUNTERS + LCORE_WORDS * WORD;
}

impl Offsets {
    /// The offsets for a geometry whose values are in range.
    pub(crate) const fn of(g: &Geometry) -> Self {
        let lcores = size_of::<SegmentHeader>() as u64;
        let slots = g.targets_max as u64 * TARGET_WORDS as u64 + g.listeners_max as u64 * LISTENER_WORDS as u64;
        let lcore_stride = (lcore_block::TARGETS as u64 + slots * WORD as u64).next_multiple_of(PAGE);
        let arena = lcores + g.lcores as u64 * lcore_stride;
        let flows = (arena + 2 * g.arena_words * WORD as u64).next_multiple_of(FLOW_ALIGN);
        let narrow = (g.flows_max - g.wide_flows_max) as u64 * size_of::<FlowEntry>() as u64;
        let flow_padding = narrow.next_multiple_of(PAIR) - narrow;
        let flow_stride = flow_padding + narrow + g.wide_flows_max as u64 * PAIR;
        let end = (flows + g.lcores as u64 * flow_stride).next_multiple_of(FLOW_ALIGN);
        Self { lcores, lcore_stride, arena, flows, flow_padding, flow_stride, end }
    }
}

const fn fnv(hash: u64, value: u64) -> u64 {
    let bytes = value.to_le_bytes();
    let mut hash = hash;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

const fn fnv_name(mut hash: u64, name: &str) -> u64 {
    let mut i = 0;
    while i < name.len() {
        hash = fnv(hash, name.as_bytes()[i] as u64);
        i += 1;
    }
    fnv(hash, i as u64)
}

macro_rules! layout_hash {
    ($($type:ident { $($field:ident),* $(,)? })*) => {{
        let mut hash = 0xcbf2_9ce4_8422_2325;
        $(
            // A field that is not in the list does not compile.
            const _: fn(&$type) = |$type { $($field: _),* }| ();
            hash = fnv(hash, size_of::<$type>() as u64);
            $(hash = fnv(hash, std::mem::offset_of!($type, $field) as u64);)*
        )*
        hash
    }};
}

/// Names the layout: sizes and offsets of every shared struct, names and order of every shared enum, sizes of rings, places in the
/// segment, encodings of snapshots and messages. What it cannot see is a field whose meaning changes but not its place.
pub const LAYOUT_HASH: u64 = {
    let mut hash = layout_hash! {
        SegmentHeader { magic, abi_version, layout_hash, total_bytes, lcores, flows_max, wide_flows_max, targets_max, listeners_max,
            arena_words, boot_id, incarnation, dp_pid, dp_heartbeat_ms, ports, tsc_hz, announced, consumed, refused, cp_pid, cp_heartbeat_ms,
            owner_key, _reserved, port }
        PortBlock { name, tap, mac, mtu, link_up, rx_missed, rx_errors, rx_no_buffer, tx_errors, exception, _reserved }
        LcoreHeader { generation, cpu, running, flows_used, longest_loop, _reserved }
        FlowEntry { client_ip, vip, target_ip, nat_ip, client_port, vport, target_port, nat_port, protocol, state, flags,
            window_scales, target_slot, target_generation, client_side_port, client_mac, listener_slot, touched_s, l4_delta,
            client_isn, client_end, target_end, client_ack, target_ack }
        FlowAddresses { client, vip, target, nat }
    };
    hash = fnv(hash, size_of::<RingControl>() as u64);
    macro_rules! names {
        ($($enum:ident)*) => {$({
            let mut i = 0;
            while i < $enum::COUNT {
                hash = fnv_name(hash, $enum::ALL[i].name());
                i += 1;
            }
            hash = fnv(hash, i as u64);
        })*};
    }
    names! { Counter DropReason TargetCounter ListenerCounter ExceptionCounter Stage }
    let mut state = 0;
    while state < u8::MAX {
        if let Some(known) = FlowState::from_number(state) {
            hash = fnv_name(fnv(hash, state as u64), known.name());
        }
        state += 1;
    }
    let example = Offsets::of(&Geometry {
        lcores: 3,
        flows_max: 100_000,
        wide_flows_max: 30_001,
        targets_max: 500,
        listeners_max: 70,
        arena_words: 1 << 20,
    });
    let values = [
        MAGIC,
        LCORES_MAX as u64,
        PORTS_MAX as u64,
        MESSAGE_WORDS as u64,
        COMMAND_MESSAGES as u64,
        EVENT_MESSAGES as u64,
        INDEX_OFFSETS[0] as u64,
        INDEX_OFFSETS[1] as u64,
        lcore_block::HEADER as u64,
        lcore_block::COMMAND_CONTROL as u64,
        lcore_block::EVENT_CONTROL as u64,
        lcore_block::COMMAND_SLOTS as u64,
        lcore_block::EVENT_SLOTS as u64,
        lcore_block::COUNTERS as u64,
        lcore_block::TARGETS as u64,
        example.lcores,
        example.lcore_stride,
        example.arena,
        example.flows,
        example.flow_padding,
        example.flow_stride,
        example.end,
        flag::CLIENT_FIN as u64,
        flag::TARGET_FIN as u64,
        flag::ANSWERED as u64,
        flag::FULL_NAT as u64,
        flag::CLIENT_FIN_ACKED as u64,
        flag::TARGET_FIN_ACKED as u64,
        flag::PROXY as u64,
        flag::PROXY_ACKED as u64,
        family::CLIENT_V6 as u64,
        family::TARGET_V6 as u64,
        snapshot::ENCODING,
        message::ENCODING,
    ];
    let mut i = 0;
    while i < values.len() {
        hash = fnv(hash, values[i]);
        i += 1;
    }
    hash
};

const _: () = {
    assert!(size_of::<PortBlock>() == 16 * WORD);
    assert!(size_of::<SegmentHeader>() == PAGE as usize);
    assert!(size_of::<LcoreHeader>() == 64);
    assert!(size_of::<RingControl>() == 128);
    assert!(size_of::<FlowEntry>() == 64 && align_of::<FlowEntry>() == 64);
    assert!(size_of::<FlowAddresses>() == 64 && align_of::<FlowAddresses>() == 64);
    assert!(PAIR as usize == size_of::<FlowEntry>() + size_of::<FlowAddresses>() && FLOW_ALIGN.is_multiple_of(PAIR));
    assert!(lcore_block::COMMAND_SLOTS.is_multiple_of(64) && lcore_block::COUNTERS.is_multiple_of(64));
    assert!(lcore_block::TARGETS.is_multiple_of(64));
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed layout needs a new version: add the new pair, never edit an old one.
    #[test]
    fn layout_is_recorded() {
        let recorded: Vec<(u64, u64)> = include_str!("../layouts.txt")
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (version, hash) = line.split_once(' ').expect("version hash");
                (version.parse().expect("a number"), u64::from_str_radix(hash, 16).expect("a hex number"))
            })
            .collect();
        assert_eq!(
            recorded.last(),
            Some(&(ABI_VERSION, LAYOUT_HASH)),
            "the layout changed: raise ABI_VERSION and append `{ABI_VERSION} {LAYOUT_HASH:016x}` with the new number to dp/abi/layouts.txt"
        );
        assert!(recorded.windows(2).all(|pair| pair[0].0 < pair[1].0), "each version once, in order");
    }
}
