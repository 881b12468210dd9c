//! Faults planted into what arrives, right before it is verified: whoever counts them exactly can be believed when it counts none.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::checksum::{fold, sum};
use crate::frame::{Content, read};
use crate::random::Random;

/// How likely each fault is for a data packet, 0 to 1. As text: `loss=0.001,reorder=0.001,corrupt=0.0001,duplicate=0.01,misroute=0.01,seed=7`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// It is taken away.
    pub loss: f64,
    /// It is held back until the next packet of its flow and direction has passed.
    pub reorder: f64,
    /// A bit of it is changed.
    pub corrupt: f64,
    /// It comes twice.
    pub duplicate: f64,
    /// Its destination port is changed and the checksum made right.
    pub misroute: f64,
    /// The seed.
    pub seed: u64,
}

impl FromStr for Faults {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut faults = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').context("faults are given as name=probability,…")?;
            let probability = || -> Result<f64> {
                let share: f64 = value.parse()?;
                ensure!((0.0..=0.2).contains(&share), "{name} is a probability, 0 to 0.2");
                Ok(share)
            };
            match name {
                "loss" => faults.loss = probability()?,
                "reorder" => faults.reorder = probability()?,
                "corrupt" => faults.corrupt = probability()?,
                "duplicate" => faults.duplicate = probability()?,
                "misroute" => faults.misroute = probability()?,
                "seed" => faults.seed = value.parse()?,
                _ => {
                    bail!("there is no fault {name:?}; there are loss, reorder, corrupt, duplicate, misroute and seed")
                }
            }
        }
        Ok(faults)
    }
}

/// How many faults were planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Planted {
    /// Packets taken away.
    pub lost: u64,
    /// Packets that a later one of their flow has overtaken.
    pub reordered: u64,
    /// Changed packets.
    pub corrupted: u64,
    /// Additional packets.
    pub duplicated: u64,
    /// Packets with another destination.
    pub misrouted: u64,
}

/// Plants faults.
pub struct Planter {
    faults: Faults,
    random: Random,
    held: Option<(u32, usize, Vec<u8>)>,
    /// What was planted so far.
    pub planted: Planted,
}

impl Planter {
    /// One that follows from the faults' seed.
    pub fn new(faults: Faults) -> Self {
        Self { faults, random: Random::new(faults.seed), held: None, planted: Planted::default() }
    }

    /// A frame has arrived. `pass` takes what is to be seen of it, and what was held back.
    pub fn arrived(&mut self, frame: &[u8], mut pass: impl FnMut(&[u8])) {
        let Ok(packet) = read(frame) else { return pass(frame) };
        let Content::Data(_) = packet.content else { return pass(frame) };
        let of = (packet.mark.flow, packet.mark.lane);
        let mut draw = (self.random.draw() >> 11) as f64 / (1u64 << 53) as f64;
        let mut is = |share: f64| {
            let is = (0.0..share).contains(&draw);
            draw -= share;
            is
        };
        let Faults { loss, reorder, corrupt, duplicate, misroute, .. } = self.faults;
        let (lost, reordered, corrupted) = (is(loss), is(reorder), is(corrupt));
        let (duplicated, misrouted) = (is(duplicate), is(misroute));
        if lost {
            self.planted.lost += 1;
        } else if corrupted || misrouted {
            let mut changed = frame.to_vec();
            if corrupted {
                self.planted.corrupted += 1;
                let bit = 14 * 8 + 16 + self.random.below(8 * (changed.len() as u32 - 20)) as usize;
                corrupt_bit(&mut changed, bit);
            } else {
                self.planted.misrouted += 1;
                misroute_frame(&mut changed);
            }
            pass(&changed);
        } else if reordered && self.held.is_none() {
            self.held = Some((of.0, of.1, frame.to_vec()));
        } else {
            pass(frame);
            if duplicated {
                self.planted.duplicated += 1;
                pass(frame);
            }
            if let Some((_, _, held)) = self.held.take_if(|(flow, lane, _)| (*flow, *lane) == of) {
                self.planted.reordered += 1;
                pass(&held);
            }
        }
    }

    /// Lets go of what is held back, which nothing has overtaken.
    pub fn release(&mut self, mut pass: impl FnMut(&[u8])) {
        if let Some((_, _, held)) = self.held.take() {
            pass(&held);
        }
    }
}

/// Changes a bit, but none that says which protocol this is, as that would make it somebody else's.
fn corrupt_bit(frame: &mut [u8], bit: usize) {
    let at = if bit / 8 == 23 { 24 } else { bit / 8 };
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
}

fn misroute_frame(frame: &mut [u8]) {
    let at = if frame[23] == 6 { 50 } else { 40 };
    let port = u16::from_be_bytes([frame[36], frame[37]]).wrapping_add(1);
    let old = [frame[36], frame[37]];
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    let change = sum(&[!old[0], !old[1]]) + sum(&port.to_be_bytes());
    let checksum = !u16::from_ne_bytes([frame[at], frame[at + 1]]);
    let checksum = !fold(u64::from(checksum) + change);
    frame[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
}
