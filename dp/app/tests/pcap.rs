//! Packets from a file into a file, through the real process: three lcores, of which one has queues.

#[allow(dead_code)]
mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::{Bed, assert_conserved, events_until, total, wait_until};
use etherparse::PacketBuilder;
use leat_abi::counters::{Counter, DropReason, ExceptionCounter};
use leat_abi::flow::protocol;
use leat_abi::message::{Command, Event, Filter};
use leat_abi::snapshot::{Group, Listener, Local, LocalKind, NextHop, Snapshot, Target, TargetState};

const CLIENTS: u16 = 300;
const PACKETS_EACH: u8 = 5;
const NODE: [u8; 4] = [10, 9, 0, 10];
const TARGET: [u8; 4] = [10, 9, 0, 20];

/// A pcap file of Ethernet frames.
fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
    let mut bytes = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65535, 1]);
    for frame in frames {
        bytes.extend(words(&[0, 0, frame.len() as u32, frame.len() as u32]));
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).expect("a pcap file");
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).expect("a pcap file");
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, more)) = rest.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(more[..length].to_vec());
        rest = &more[length..];
    }
    frames
}

fn snapshot(generation: u64, next_hop_port: u8) -> Snapshot {
    Snapshot {
        generation,
        selection_key: [1, 2],
        locals: vec![Local { address: NODE.into(), kind: LocalKind::Node, port: 0 }],
        listeners: vec![Listener {
            slot: 0,
            vip: NODE.into(),
            port: 53,
            protocol: protocol::UDP,
            node: 0,
            group: 0,
            sources: vec![NODE.into()],
        }],
        groups: vec![Group { preserve_client_ip: true, table: vec![0; 7], ..Group::default() }],
        targets: vec![Target {
            slot: 0,
            generation: 0,
            state: TargetState::Active,
            address: TARGET.into(),
            port: 5353,
            next_hop: Some(NextHop { port: next_hop_port, mac: [2, 0, 0, 0, 0, 20] }),
            unhealthy_at: 0,
        }],
        ..Snapshot::default()
    }
}

/// Packets of all clients, in turns; each carries its number. Then what is not forwarded.
fn traffic(mac: [u8; 6]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for number in 0..PACKETS_EACH {
        for client in 0..CLIENTS {
            let builder =
                PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], mac).ipv4([10, 9, 1, 1], NODE, 64).udp(1000 + client, 53);
            let mut frame = Vec::new();
            builder.write(&mut frame, &[number; 20]).expect("a packet");
            frames.push(frame);
        }
    }
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6]);
    arp.resize(60, 0);
    frames.extend([vec![0; 60], vec![2; 13], arp]);
    frames
}

/// req: I1, I3, S1.2
#[test]
fn packets_are_conserved_and_stay_in_order() {
    let Some(bed) = Bed::new() else { return };
    let (input, output) = (bed.directory.path().join("in.pcap"), bed.directory.path().join("out.pcap"));
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let arguments = format!("--port p0={device} --lcores 0,0,0 --idle-backoff");

    // The first process learns the configuration, which the second one finds.
    write_pcap(&input, &[]);
    let mut process = bed.start(&arguments);
    let mut segment = process.attach();
    let header = segment.header();
    assert_eq!((header.ports.load(Ordering::Acquire), header.port[0].mtu.load(Ordering::Relaxed)), (1, 1500));
    let mac: [u8; 6] = header.port[0].mac.load(Ordering::Relaxed).to_le_bytes()[..6].try_into().expect("six bytes");

    segment.publish(&snapshot(1, 7)).expect("published");
    wait_until("a refusal", || header.consumed.load(Ordering::Acquire) == 1);
    assert_eq!((header.refused.load(Ordering::Acquire), segment.acknowledged_generation()), (1, 0));
    assert!(process.log().contains("next_hop.port"), "{}", process.log());
    for generation in 2..40 {
        let snapshot = snapshot(generation, 0);
        wait_until("room", || segment.publish(&snapshot).is_ok());
    }
    wait_until("the last generation", || segment.acknowledged_generation() == 39);
    assert_eq!(total(&segment, Counter::RxPackets), 0);
    process.stop();
    assert_eq!(header.dp_heartbeat_ms.load(Ordering::Acquire), 0);
    drop(segment);

    let frames = traffic(mac);
    write_pcap(&input, &frames);
    let mut process = bed.start(&arguments);
    let segment = process.attach();
    assert_eq!(segment.acknowledged_generation(), 39, "adopted");
    wait_until("all packets", || total(&segment, Counter::RxPackets) == frames.len() as u64);
    let forwarded = u64::from(CLIENTS) * u64::from(PACKETS_EACH);
    wait_until("all forwarded", || total(&segment, Counter::ForwardedPackets) == forwarded);
    wait_until("ARP for Linux", || {
        segment.header().port[0].exception[ExceptionCounter::ToLinux as usize].load(Ordering::Relaxed) == 1
    });
    assert!(
        (0..3).all(|lcore| segment.lcore_header(lcore).flows_used.load(Ordering::Relaxed) > 50),
        "flows are spread"
    );
    assert_eq!(segment.counters(0).dropped(DropReason::ForeignMac), 1);
    assert_eq!(segment.counters(0).dropped(DropReason::ShortFrame), 1);

    let mut clients = Vec::new();
    for lcore in 0..3 {
        let dump = Command::FlowDump { id: 5, limit: u32::MAX, filter: Filter::default() };
        segment.commands(lcore).push(&dump.encode()).expect("room");
        let events = events_until(&segment, lcore, |event| matches!(event, Event::FlowDumpEnd { .. }));
        clients.extend(events.iter().filter_map(|event| match event {
            Event::Flow { id: 5, row } => Some(row.client.port()),
            _ => None,
        }));
    }
    clients.sort_unstable();
    assert!(clients.iter().copied().eq((0..CLIENTS).map(|client| 1000 + client)), "{clients:?}");
    process.stop();
    assert_conserved(&segment);
    assert_eq!(total(&segment, Counter::ForwardedPackets), forwarded);

    // Each client's packets left in the order in which they came.
    let mut seen: HashMap<u16, Vec<u8>> = HashMap::new();
    for frame in read_pcap(&output) {
        // Linux has its say on the port, too.
        if frame[0..6] == [2, 0, 0, 0, 0, 20] && frame[23] == protocol::UDP {
            assert_eq!(
                (&frame[6..12], &frame[30..34], &frame[36..38]),
                (&mac[..], &TARGET[..], &5353u16.to_be_bytes()[..])
            );
            seen.entry(u16::from_be_bytes([frame[34], frame[35]])).or_default().push(frame[42]);
        }
    }
    assert_eq!(seen.len(), usize::from(CLIENTS));
    for (client, numbers) in seen {
        assert!(numbers.iter().copied().eq(0..PACKETS_EACH), "client {client}: {numbers:?}");
    }
}

/// A signal that comes while the process starts stops it when it has started, or before; nothing is left.
#[test]
fn a_signal_during_start_stops_the_process() {
    let Some(bed) = Bed::new() else { return };
    let mut process = bed.start("--port p0=net_null0 --lcores 0 --idle-backoff");
    wait_until("a segment", || bed.segment().exists());
    process.terminate();
    let status = process.end();
    assert!(status.success(), "{status}: {}", process.log());
    process.assert_no_directory();
    assert!(!bed.ip("-o link").contains("leat-p0"));
}

/// A VLAN is a port of its own: its frames come and go with its tag, what has only a priority is of the device's own port, and what has
/// another VLAN's tag is dropped. req: S18.3
#[test]
fn vlans_are_ports() {
    let Some(bed) = Bed::new() else { return };
    let (input, output) = (bed.directory.path().join("in.pcap"), bed.directory.path().join("out.pcap"));
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let arguments = format!("--port p0={device} --vlan v100=p0:100 --lcores 0 --idle-backoff");
    write_pcap(&input, &[]);
    let mut process = bed.start(&arguments);
    let mut segment = process.attach();
    let header = segment.header();
    assert_eq!(header.ports.load(Ordering::Acquire), 2);
    let mac: [u8; 6] = header.port[0].mac.load(Ordering::Relaxed).to_le_bytes()[..6].try_into().expect("six bytes");
    assert_eq!(header.port[1].mac.load(Ordering::Relaxed), header.port[0].mac.load(Ordering::Relaxed));
    assert!(bed.ip("-o link").contains("leat-v100"), "a VLAN has a TAP twin");
    // Targets are on the VLAN, clients in and outside of it.
    segment.publish(&snapshot(1, 1)).expect("published");
    wait_until("the configuration", || segment.acknowledged_generation() == 1);
    process.stop();
    drop(segment);

    let frame = |port: u16, tag: Option<u16>| {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], mac).ipv4([10, 9, 1, 1], NODE, 64).udp(port, 53);
        let mut frame = Vec::new();
        ethernet.write(&mut frame, b"x").expect("a packet");
        if let Some(tag) = tag {
            frame.splice(12..12, [0x81, 0x00].into_iter().chain(tag.to_be_bytes()));
        }
        frame
    };
    let tags = [None, Some(100), Some(0x6000 | 100), Some(0xe000), Some(200)];
    write_pcap(&input, &(1000..).zip(tags).map(|(port, tag)| frame(port, tag)).collect::<Vec<_>>());
    let mut process = bed.start(&arguments);
    let segment = process.attach();
    wait_until("all packets", || total(&segment, Counter::RxPackets) == tags.len() as u64);
    wait_until("those of ports forwarded", || total(&segment, Counter::ForwardedPackets) == 4);
    assert_eq!(segment.counters(0).dropped(DropReason::Vlan), 1);
    process.stop();
    assert_conserved(&segment);
    let sent = read_pcap(&output).into_iter().filter(|frame| frame[0..6] == [2, 0, 0, 0, 0, 20]);
    let mut clients = Vec::new();
    for frame in sent {
        assert_eq!((&frame[6..12], &frame[12..18]), (&mac[..], &[0x81, 0, 0, 100, 8, 0][..]), "the VLAN's tag");
        assert_eq!(&frame[34..38], &TARGET, "the rest of the frame is whole");
        clients.push(u16::from_be_bytes([frame[38], frame[39]]));
    }
    assert_eq!(clients, [1000, 1001, 1002, 1003]);
}
