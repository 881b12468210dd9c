//! Packet captures: tcpdump writes, [`Frame::tcp`] reads.

use crate::namespace::Namespace;
use crate::process::Process;
use crate::run::Run;
use crate::wait_for;
use anyhow::Result;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(15);

/// A capture that is going on.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures what passes `device` of `namespace` and matches `filter` (tcpdump's language); returns once it captures.
    ///
    /// # Errors
    /// When tcpdump cannot be started or refuses the filter.
    pub fn start(run: &Run, name: &str, namespace: &Namespace, device: &str, filter: &str) -> Result<Capture> {
        let file = run.dir().join("logs").join(format!("{name}.pcap"));
        let mut command = namespace.command("tcpdump");
        // Unbuffered and immediate, so that a packet is in the file as soon as it was seen; as root, so that it may write there.
        command.args(["-i", device, "-n", "-U", "--immediate-mode", "-s", "256", "-B", "16384", "-Z", "root", "-w"]);
        command.arg(&file).arg(filter);
        let mut process = Process::spawn(run, &format!("tcpdump-{name}"), &mut command)?;
        process.wait_log("listening on", DEADLINE)?;
        Ok(Capture { process, file })
    }

    /// What was captured until now.
    pub fn frames(&self) -> Vec<Frame> {
        read_frames(&fs::read(&self.file).unwrap_or_default())
    }

    /// The TCP segments captured until now.
    pub fn segments(&self) -> Vec<Segment> {
        self.frames().iter().filter_map(Frame::tcp).collect()
    }

    /// Waits until a TCP segment that satisfies `is_wanted` was captured, and returns the first one.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait_segment(&self, what: &str, is_wanted: impl Fn(&Segment) -> bool) -> Result<Segment> {
        wait_for(what, DEADLINE, || self.segments().into_iter().find(|segment| is_wanted(segment)))
    }

    /// Ends the capture and returns what it holds.
    ///
    /// # Errors
    /// When tcpdump cannot be stopped.
    pub fn stop(mut self) -> Result<Vec<Frame>> {
        self.process.stop()?;
        Ok(self.frames())
    }
}

/// A captured Ethernet frame (its first 256 bytes).
#[derive(Debug, Clone)]
pub struct Frame {
    /// Seconds and fractions since the epoch.
    pub time: Duration,
    /// The bytes, from the destination MAC on.
    pub data: Vec<u8>,
}

/// TCP flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the flags' own names")]
pub struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub rst: bool,
    pub fin: bool,
}

/// A captured TCP segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Source address and port.
    pub source: SocketAddrV4,
    /// Destination address and port.
    pub destination: SocketAddrV4,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: Flags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// Options as sent.
    pub options: Vec<u8>,
    /// Whether the checksum in the segment is the one of its contents; `None` when the frame was cut short.
    pub checksum_ok: Option<bool>,
}

impl Frame {
    /// The frame as TCP over IPv4, if it is that.
    pub fn tcp(&self) -> Option<Segment> {
        let packet = SlicedPacket::from_ethernet(&self.data).ok()?;
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
            return None;
        };
        let header = ip.header();
        let is_whole = usize::from(header.total_len()) + 14 <= self.data.len();
        let checksum_ok = is_whole.then(|| {
            let expected = tcp.to_header().calc_checksum_ipv4_raw(header.source(), header.destination(), tcp.payload());
            expected.is_ok_and(|expected| expected == tcp.checksum())
        });
        Some(Segment {
            source: SocketAddrV4::new(header.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(header.destination_addr(), tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledgment: tcp.acknowledgment_number(),
            flags: Flags { syn: tcp.syn(), ack: tcp.ack(), rst: tcp.rst(), fin: tcp.fin() },
            window: tcp.window_size(),
            options: tcp.options().to_vec(),
            checksum_ok,
        })
    }

    /// Source and destination of an IPv4 packet, whatever it carries.
    pub fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let packet = SlicedPacket::from_ethernet(&self.data).ok()?;
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { return None };
        Some((ip.header().source_addr(), ip.header().destination_addr()))
    }
}

/// Reads a capture; a last record that is still being written is left out.
fn read_frames(bytes: &[u8]) -> Vec<Frame> {
    let Ok(mut reader) = PcapReader::new(bytes) else { return Vec::new() };
    let mut frames = Vec::new();
    while let Some(Ok(packet)) = reader.next_packet() {
        frames.push(Frame { time: packet.timestamp, data: packet.data.to_vec() });
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use pcap_file::pcap::{PcapPacket, PcapWriter};

    fn syn() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 1, 0, 100], [10, 1, 0, 10], 64)
            .tcp(4000, 80, 7, 1024)
            .syn()
            .write(&mut frame, &[])
            .unwrap();
        frame
    }

    #[test]
    fn a_capture_is_read_up_to_a_torn_record() {
        let mut file = Vec::new();
        let mut writer = PcapWriter::new(&mut file).unwrap();
        let frame = syn();
        for second in 0..3 {
            let length = u32::try_from(frame.len()).unwrap();
            writer.write_packet(&PcapPacket::new(Duration::from_secs(second), length, &frame)).unwrap();
        }
        assert_eq!(read_frames(&file).len(), 3);
        assert_eq!(read_frames(&file[..file.len() - 5]).len(), 2);
        assert!(read_frames(&[]).is_empty());
    }

    #[test]
    fn a_segment_is_read_with_its_checksum_verdict() {
        let mut frame = Frame { time: Duration::ZERO, data: syn() };
        let segment = frame.tcp().unwrap();
        assert_eq!(segment.source, "10.1.0.100:4000".parse().unwrap());
        assert_eq!((segment.sequence, segment.flags.syn, segment.flags.ack), (7, true, false));
        assert_eq!(segment.checksum_ok, Some(true));
        frame.data[38] ^= 1;
        assert_eq!(frame.tcp().unwrap().checksum_ok, Some(false));
    }
}
