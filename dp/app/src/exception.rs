//! The way to Linux and back: between the lcores' rings and the TAP twins of the ports. Runs on the main thread, which may make
//! system calls.

use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use leat_abi::counters::ExceptionCounter;
use leat_abi::layout::PortBlock;
use leat_core::BURST;
use leat_dpdk::{HandoverRx, HandoverTx, free_batch};

use crate::packet::{Errand, Packet};
use crate::ports::Twin;

/// The exception path of all ports.
pub struct ExceptionPath {
    twins: Vec<Twin>,
    blocks: &'static [PortBlock],
    /// From each lcore.
    from_lcores: Vec<HandoverRx>,
    /// To the first lcore, which has a transmit queue on every port.
    to_lcore: HandoverTx,
}

impl ExceptionPath {
    /// The path between these TAP twins, by port number, and these rings, by lcore.
    pub fn new(
        twins: Vec<Twin>,
        blocks: &'static [PortBlock],
        from_lcores: Vec<HandoverRx>,
        to_lcore: HandoverTx,
    ) -> Self {
        Self { twins, blocks, from_lcores, to_lcore }
    }

    fn count(&self, port: usize, counter: ExceptionCounter, n: usize) {
        if let Some(block) = self.blocks.get(port) {
            let word = &block.exception[counter as usize];
            word.store(word.load(Ordering::Relaxed).wrapping_add(n as u64), Ordering::Relaxed);
        }
    }

    /// Carries what waits, in both directions. Returns how many packets.
    pub fn turn(&mut self) -> usize {
        self.carry_to_linux() + self.carry_from_linux()
    }

    /// Carries some of what waits for Linux. Returns how many packets.
    pub fn carry_to_linux(&mut self) -> usize {
        let mut carried = 0;
        let mut batch: ArrayVec<Packet, BURST> = ArrayVec::new();
        for ring in 0..self.from_lcores.len() {
            carried += self.from_lcores[ring].burst(&mut batch);
            for packet in batch.drain(..) {
                let Errand::ToLinux(port) = packet.errand() else { continue };
                let port = usize::from(port);
                let mut one: ArrayVec<Packet, 1> = ArrayVec::from([packet]);
                let sent = self.twins.get_mut(port).map_or(0, |twin| twin.tx.burst(&mut one));
                self.count(port, ExceptionCounter::ToLinux, sent);
                self.count(port, ExceptionCounter::ToLinuxDropped, 1 - sent);
            }
        }
        carried
    }

    fn carry_from_linux(&mut self) -> usize {
        let mut carried = 0;
        for port in 0..self.twins.len() {
            let mut batch: ArrayVec<Packet, BURST> = ArrayVec::new();
            let received = self.twins[port].rx.burst(&mut batch);
            if received == 0 {
                continue;
            }
            carried += received;
            for packet in &mut batch {
                packet.prepare();
                packet.mark(Errand::FromLinux(port as u8));
            }
            let handed = self.to_lcore.burst(&mut batch);
            free_batch(&mut batch);
            self.count(port, ExceptionCounter::FromLinux, handed);
            self.count(port, ExceptionCounter::FromLinuxDropped, received - handed);
        }
        carried
    }
}
