//! What is not for a listener is dropped without a word; what is for a listener but belongs to nothing gets a reset.

#![forbid(unsafe_code)]

use anyhow::{Result, ensure};
use leat_testbed::{
    Bed, BedOptions, CLIENT_ADDRESS, Capture, Flags, Frame, HTTP_PORT, P0_ADDRESS, RawSegment, VIP, e2e,
    echo_request_packet, http_get, send_ipv4, wait_for,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const ACK: Flags = Flags { syn: false, ack: true, rst: false, fin: false };
const SYN: Flags = Flags { syn: true, ack: false, rst: false, fin: false };

/// A segment from a client port that the kernel of the clients' namespace does not use.
fn segment(port: u16, flags: Flags) -> RawSegment {
    RawSegment {
        source: SocketAddrV4::new(CLIENT_ADDRESS, 2000),
        destination: SocketAddrV4::new(VIP, port),
        sequence: 0x1234_5678,
        acknowledgment: 0x9abc_def0,
        flags,
    }
}

/// A SYN to a port without listener and a ping to the node: no answer, nothing at the targets, both counted.
///
/// req: LSN-06
#[test]
fn unintended_traffic_is_dropped_in_silence() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let at_client = Capture::start(&bed.run, "cli", bed.cli(), "eth0", "ip")?;
    let at_targets = bed
        .targets
        .iter()
        .map(|target| Capture::start(&bed.run, &target.name, &target.namespace, "eth0", "icmp or tcp port 81"))
        .collect::<Result<Vec<_>>>()?;
    let before = bed.appliance.stats()?.totals.drops.values().sum::<u64>();
    let packets = vec![
        segment(81, SYN).packet()?,
        segment(81, ACK).packet()?,
        echo_request_packet(CLIENT_ADDRESS, VIP, 1)?,
        // A port that is a listener's, but for TCP: the health checks' range must not answer either.
        segment(5000, SYN).packet()?,
    ];
    send_ipv4(bed.cli(), &packets)?;
    wait_for("4 packets counted as dropped", Duration::from_secs(10), || {
        (bed.appliance.stats().ok()?.totals.drops.values().sum::<u64>() >= before + 4).then_some(())
    })?;
    // Whatever came after the dropped packets came this far, so an answer to them would be there too.
    bed.cli().enter(|| http_get(SocketAddrV4::new(VIP, HTTP_PORT)))??;
    let is_answer = |frame: &Frame| {
        let from_node = frame.ipv4().is_some_and(|(source, _)| source == VIP || source == P0_ADDRESS);
        from_node && frame.tcp().is_none_or(|segment| segment.source.port() != HTTP_PORT)
    };
    wait_for("the later request in the capture", Duration::from_secs(10), || {
        at_client.segments().iter().any(|segment| segment.source.port() == HTTP_PORT).then_some(())
    })?;
    let answers: Vec<Frame> = at_client.stop()?.into_iter().filter(is_answer).collect();
    ensure!(answers.is_empty(), "answered: {answers:?}");
    for capture in at_targets {
        let frames = capture.stop()?;
        ensure!(frames.is_empty(), "reached a target: {frames:?}");
    }
    ensure!(bed.appliance.drops("no_listener")? >= 3, "not counted as unintended traffic");
    bed.finish()
}

/// A segment to a listener that is neither a new connection nor part of one gets a reset that its sender will accept.
///
/// req: LSN-07
#[test]
fn a_segment_without_a_flow_is_reset() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let capture = Capture::start(&bed.run, "cli", bed.cli(), "eth0", &format!("tcp src port {HTTP_PORT}"))?;
    let before = bed.appliance.counter("resets_sent")?;
    let stray = segment(HTTP_PORT, ACK);
    send_ipv4(bed.cli(), &[stray.packet()?])?;
    let reset = capture.wait_segment("a reset", |segment| segment.destination == stray.source)?;
    ensure!(reset.flags == Flags { rst: true, ..Flags::default() }, "{reset:?}");
    ensure!(reset.sequence == stray.acknowledgment, "{reset:?}");
    ensure!(reset.checksum_ok == Some(true), "{reset:?}");
    ensure!(bed.appliance.counter("resets_sent")? == before + 1, "not counted");
    bed.finish()
}

/// A half-open flow ends by itself after 30 seconds; a later segment of it is reset.
///
/// req: IDL-06
#[test]
fn a_half_open_flow_expires() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    // An address that no kernel has: the SYN-ACK is answered by nobody.
    let nobody = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 200), 2000);
    let syn = RawSegment { source: nobody, ..segment(HTTP_PORT, SYN) };
    send_ipv4(bed.cli(), &[syn.packet()?])?;
    let listed = || bed.appliance.flows("client=10.1.0.200");
    wait_for("the half-open flow", Duration::from_secs(10), || listed().ok().filter(|flows| flows.len() == 1))?;
    wait_for("its end", Duration::from_secs(39), || listed().ok().filter(Vec::is_empty))?;
    let capture = Capture::start(&bed.run, "cli", bed.cli(), "eth0", "tcp src port 80 and dst host 10.1.0.200")?;
    let late = RawSegment { flags: ACK, ..syn };
    send_ipv4(bed.cli(), &[late.packet()?])?;
    let reset = capture.wait_segment("a reset", |segment| segment.flags.rst)?;
    ensure!(reset.sequence == late.acknowledgment, "{reset:?}");
    bed.finish()
}
