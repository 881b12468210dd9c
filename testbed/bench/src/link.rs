//! A memif port of the hostile traffic's process, and flows whose frames are known byte by byte. A fixed number of frames is under way at any
//! time, so nothing may be lost, and every frame that comes back is compared with the one that should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use leat_dpdk::{Eal, Mbuf, Mempool, MempoolConfig, Port, RxQueue, TxQueue, free_batch};
use leat_gen::generator::open_port;
use leat_gen::random::Random;

use crate::world::{Binding, FRAME, Flow, Kind, Mode, Transport};

/// Frames under way at the most. Below the size of the rings (1024), so that none is ever refused.
const WINDOW: u64 = 512;
/// Without any frame back for this long, those under way are lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// A frame to be sent, and what should come of it.
pub struct Pair {
    /// To leat-dp.
    pub arriving: [u8; FRAME],
    /// From leat-dp.
    pub leaving: [u8; FRAME],
}

/// A port.
pub struct Link {
    name: &'static str,
    port: Port,
    /// What comes.
    pub rx: RxQueue,
    /// What goes.
    pub tx: TxQueue,
    /// Buffers.
    pub pool: Arc<Mempool>,
}

impl Link {
    /// The port of a memif device.
    pub fn open(eal: &Eal, index: u16, name: &'static str) -> Result<Self> {
        let pool = Mempool::new(eal, name, MempoolConfig { count: 8191, ..MempoolConfig::default() })?;
        let (port, rx, tx) = open_port(eal, &format!("net_memif{index}"), &pool)?;
        Ok(Self { name, port, rx, tx, pool })
    }

    /// Waits until the other side is there.
    pub fn wait_for_link(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.port.link_up()? {
            ensure!(Instant::now() < deadline, "{} has not connected to its memif socket", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Sends frames, `WINDOW` at a time, until there were so many, and waits for all that are under way. `frame` gives the frame of a number,
    /// `check` looks at what came back for it.
    pub fn pump<'f>(
        &mut self,
        packets: u64,
        frame: impl Fn(u64) -> &'f [u8; FRAME],
        mut check: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut sent, mut received) = (0u64, 0u64);
        let mut last = Instant::now();
        let mut idle = 0u32;
        let mut batch: ArrayVec<Mbuf, 32> = ArrayVec::new();
        loop {
            let more = sent < packets;
            if more && sent - received <= WINDOW - 32 {
                let count = (packets - sent).min(32);
                for n in sent..sent + count {
                    let mut mbuf = self.pool.alloc().context("the generator has no buffer left")?;
                    let room = mbuf.append(FRAME).context("a buffer is too small")?;
                    room.copy_from_slice(frame(n));
                    batch.push(mbuf);
                }
                let mut refused: Option<Instant> = None;
                while !batch.is_empty() {
                    if self.tx.burst(&mut batch) == 0 {
                        let since = refused.get_or_insert_with(Instant::now);
                        ensure!(since.elapsed() < PATIENCE, "{} takes no frames", self.name);
                    }
                }
                sent += count;
            }
            let got = self.rx.burst(&mut batch);
            for mbuf in &batch {
                let bytes = mbuf.data();
                // Linux may have said something over the TAP twin.
                if bytes.get(12..14) == Some(&[8, 0]) {
                    check(received, bytes).with_context(|| format!("{}: packet {received}", self.name))?;
                    received += 1;
                }
            }
            free_batch(&mut batch);
            if got > 0 {
                idle = 0;
            } else {
                idle += 1;
                if idle == 1 {
                    last = Instant::now();
                }
                let waiting = sent > received;
                if waiting && idle.is_multiple_of(4096) && last.elapsed() > PATIENCE {
                    bail!("{}: {} of {sent} packets did not come back", self.name, sent - received);
                }
            }
            if !more && received >= sent {
                break;
            }
        }
        Ok(())
    }
}

/// Two frames must be the same; padding is cut from neither.
pub fn compare(expected: &[u8], found: &[u8]) -> Result<()> {
    ensure!(expected == found, "came back as\n{found:02x?}, not as\n{expected:02x?}");
    Ok(())
}

/// The frame without Ethernet padding.
fn unpadded(frame: &[u8; FRAME]) -> &[u8] {
    let ip_len = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    frame.get(..14 + ip_len).unwrap_or(frame)
}

/// Begins flows by whole handshakes through leat-dp. Returns the frames of the established flows, in random order.
pub fn establish(
    link: &mut Link,
    mode: Mode,
    transport: Transport,
    numbers: std::ops::Range<u32>,
    mac: [u8; 6],
) -> Result<Vec<Pair>> {
    let flows: Vec<Flow> = numbers.map(|number| Flow { number, mode, transport }).collect();
    let all = flows.len() as u64;
    let mut bindings: Vec<Binding> = Vec::new();
    let none = Binding::default();
    let frames: Vec<[u8; FRAME]> = flows.iter().map(|f| f.arriving(Kind::Open, none, mac).frame()).collect();
    link.pump(
        all,
        |n| &frames[n as usize],
        |n, bytes| {
            let flow = flows[n as usize];
            let binding = flow.binding(bytes).with_context(|| format!("not sent to a target: {bytes:02x?}"))?;
            bindings.push(binding);
            compare(unpadded(&flow.leaving(Kind::Open, binding, mac).frame()), bytes)
        },
    )?;
    for kind in [Kind::Answer, Kind::ClientData] {
        let pairs: Vec<Pair> = flows.iter().zip(&bindings).map(|(f, b)| pair(f, kind, *b, mac)).collect();
        link.pump(
            all,
            |n| &pairs[n as usize].arriving,
            |n, bytes| compare(unpadded(&pairs[n as usize].leaving), bytes),
        )?;
    }
    let mut pairs: Vec<Pair> = flows
        .iter()
        .zip(&bindings)
        .flat_map(|(flow, binding)| [Kind::ClientData, Kind::TargetData].map(|kind| pair(flow, kind, *binding, mac)))
        .collect();
    let mut random = Random::new(0x5eed);
    for last in (1..pairs.len()).rev() {
        pairs.swap(last, random.below(last as u32 + 1) as usize);
    }
    Ok(pairs)
}

/// A packet of a flow, arriving and leaving.
pub fn pair(flow: &Flow, kind: Kind, binding: Binding, mac: [u8; 6]) -> Pair {
    Pair { arriving: flow.arriving(kind, binding, mac).frame(), leaving: flow.leaving(kind, binding, mac).frame() }
}
