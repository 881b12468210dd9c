//! A link that loses, duplicates and delays frames: a relay between two devices of one namespace, in both directions.
//!
//! Each direction draws the fate of its n-th frame from the seed alone, so that two runs of one seed treat the n-th frame alike.
//! (Which frame is the n-th one is up to the kernels at both ends.) A delayed frame goes out after later ones: that is the
//! reordering. Frames are passed on as they are, wrong ones too; the ends must do checksums and segmentation in software, as
//! every link of the rig does. VLAN tags do not survive a packet socket.

use crate::namespace::Namespace;
use crate::noise::Noise;
use crate::process::Process;
use crate::programs::own_program;
use crate::run::Run;
use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than any frame of a link without segmentation offload.
const FRAME_BYTES_MAX: usize = 65_536;
/// Room for the bursts that arrive while the relay does not run: only the dice may lose frames.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// Frames taken at once before delayed ones get their turn.
const BURST: usize = 64;
/// How soon the relay notices that it shall stop.
const STOP_POLL: Duration = Duration::from_millis(100);
/// Long enough to start a process on a busy machine.
const READY: Duration = Duration::from_secs(15);

/// What a link does to its frames, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impairment {
    /// Frames lost.
    pub loss_per_mille: u32,
    /// Frames sent twice.
    pub duplicate_per_mille: u32,
    /// Frames held back, so that later ones overtake them.
    pub reorder_per_mille: u32,
    /// How long a frame is held back at most, in milliseconds; at least one.
    pub hold_ms_max: u32,
    /// What all of it is drawn from.
    pub seed: u64,
}

/// What became of the frames of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Frames received.
    pub frames: u64,
    /// Of these: lost on purpose.
    pub lost: u64,
    /// Of these: sent twice.
    pub duplicated: u64,
    /// Of these: sent later.
    pub reordered: u64,
    /// Frames that the device did not take. Not on purpose.
    pub refused: u64,
}

/// What is drawn for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Lose,
    Duplicate,
    Hold(Duration),
}

/// A link that is relayed by a process of its own. Dropping it ends the process, and the link is cut.
#[derive(Debug)]
pub struct LossyLink {
    process: Process,
}

impl LossyLink {
    /// Begins to relay between two devices of `namespace` that are up.
    ///
    /// # Errors
    /// When the relay does not start.
    pub fn start(run: &Run, name: &str, namespace: &Namespace, ends: [&str; 2], how: &Impairment) -> Result<LossyLink> {
        let mut command = namespace.command(own_program("leat-link")?);
        command.args(ends);
        for (option, value) in [
            ("--loss-per-mille", u64::from(how.loss_per_mille)),
            ("--duplicate-per-mille", u64::from(how.duplicate_per_mille)),
            ("--reorder-per-mille", u64::from(how.reorder_per_mille)),
            ("--hold-ms-max", u64::from(how.hold_ms_max)),
            ("--seed", how.seed),
        ] {
            command.args([option, &value.to_string()]);
        }
        let mut process = Process::spawn(run, &format!("link-{name}"), &mut command)?;
        process.wait_log("ready", READY)?;
        Ok(LossyLink { process })
    }

    /// Cuts the link and tells what became of the frames in each direction, first those from the first end to the second.
    ///
    /// # Errors
    /// When the relay ended before.
    pub fn stop(&mut self) -> Result<[Fates; 2]> {
        let status = self.process.stop()?;
        let log = self.process.log_text();
        ensure!(status.success(), "the relay ended with {status}: {}", log.trim());
        let line = log.lines().last().context("the relay wrote nothing")?;
        serde_json::from_str(line).with_context(|| format!("the relay ended with: {line}"))
    }
}

/// Relays between two devices of the calling thread's namespace until `stop` is set. Calls `ready` when both are open.
///
/// # Errors
/// When a device is not there.
pub fn relay(ends: [&str; 2], how: &Impairment, stop: &AtomicBool, ready: impl FnOnce()) -> Result<[Fates; 2]> {
    let [near, far] = [open(ends[0])?, open(ends[1])?];
    ready();
    std::thread::scope(|scope| {
        let there = scope.spawn(|| relay_one_way(near.as_fd(), far.as_fd(), how, Noise(how.seed), stop));
        let back = relay_one_way(far.as_fd(), near.as_fd(), how, Noise(!how.seed), stop);
        let there = there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok([there?, back?])
    })
}

/// A packet socket of one device. It never sees what it sends itself, so that nothing goes round in circles.
fn open(device: &str) -> Result<OwnedFd> {
    let packet = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .context("no packet socket: this needs root")?;
    bind(packet.as_raw_fd(), &link_address(device)?).with_context(|| format!("cannot use {device}"))?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&packet, RECEIVE_BUFFER_BYTES)?;
    // What came before it was bound may be another device's.
    let mut frame = vec![0; FRAME_BYTES_MAX];
    while recv(&packet, &mut frame[..], RecvFlags::DONTWAIT).is_ok() {}
    Ok(packet)
}

fn link_address(device: &str) -> Result<LinkAddr> {
    let mut addresses = getifaddrs()?.filter(|entry| entry.interface_name == device);
    let found = addresses.find_map(|entry| entry.address?.as_link_addr().copied());
    found.with_context(|| format!("no device {device}"))
}

fn relay_one_way(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    how: &Impairment,
    mut dice: Noise,
    stop: &AtomicBool,
) -> Result<Fates> {
    let mut fates = Fates::default();
    let mut held: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while !stop.load(Ordering::Relaxed) {
        let wait = held.peek().map_or(STOP_POLL, |Reverse((due, _, _))| due.saturating_duration_since(Instant::now()));
        wait_readable(from, wait.min(STOP_POLL))?;
        for _ in 0..BURST {
            let length = match recv(from, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error).context("cannot receive"),
            };
            let frame = &buffer[..length];
            fates.frames += 1;
            match draw(&mut dice, how) {
                Fate::Pass => pass_on(to, frame, &mut fates),
                Fate::Lose => fates.lost += 1,
                Fate::Duplicate => {
                    fates.duplicated += 1;
                    pass_on(to, frame, &mut fates);
                    pass_on(to, frame, &mut fates);
                }
                Fate::Hold(time) => {
                    fates.reordered += 1;
                    held.push(Reverse((Instant::now() + time, fates.frames, frame.to_vec())));
                }
            }
        }
        while held.peek().is_some_and(|Reverse((due, _, _))| *due <= Instant::now()) {
            if let Some(Reverse((_, _, frame))) = held.pop() {
                pass_on(to, &frame, &mut fates);
            }
        }
    }
    Ok(fates)
}

fn wait_readable(socket: BorrowedFd<'_>, time: Duration) -> Result<()> {
    let timeout = Timespec::try_from(time).context("a time to wait")?;
    match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for frames"),
    }
}

fn pass_on(to: BorrowedFd<'_>, frame: &[u8], fates: &mut Fates) {
    if send(to, frame, SendFlags::empty()).is_err() {
        fates.refused += 1;
    }
}

fn draw(dice: &mut Noise, how: &Impairment) -> Fate {
    let lost = u64::from(how.loss_per_mille);
    let duplicated = lost + u64::from(how.duplicate_per_mille);
    let reordered = duplicated + u64::from(how.reorder_per_mille);
    match dice.next() % 1000 {
        roll if roll < lost => Fate::Lose,
        roll if roll < duplicated => Fate::Duplicate,
        roll if roll < reordered => {
            Fate::Hold(Duration::from_millis(1 + dice.next() % u64::from(how.hold_ms_max.max(1))))
        }
        _ => Fate::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Impairment =
        Impairment { loss_per_mille: 10, duplicate_per_mille: 20, reorder_per_mille: 30, hold_ms_max: 5, seed: 7 };

    fn fates(how: &Impairment, seed: u64) -> Vec<Fate> {
        let mut dice = Noise(seed);
        (0..100_000).map(|_| draw(&mut dice, how)).collect()
    }

    #[test]
    fn fates_are_as_frequent_as_asked_for() {
        let fates = fates(&SOME, SOME.seed);
        let share = |is_it: fn(&Fate) -> bool| fates.iter().filter(|fate| is_it(fate)).count();
        assert!((800..1200).contains(&share(|fate| *fate == Fate::Lose)));
        assert!((1800..2200).contains(&share(|fate| *fate == Fate::Duplicate)));
        assert!((2700..3300).contains(&share(|fate| matches!(fate, Fate::Hold(_)))));
        let is_in_time = |fate: &Fate| match fate {
            Fate::Hold(time) => (1..=5).contains(&time.as_millis()),
            _ => true,
        };
        assert!(fates.iter().all(is_in_time));
    }

    #[test]
    fn a_seed_says_what_happens() {
        assert_eq!(fates(&SOME, 1), fates(&SOME, 1));
        assert_ne!(fates(&SOME, 1), fates(&SOME, 2));
        let none = Impairment { loss_per_mille: 0, duplicate_per_mille: 0, reorder_per_mille: 0, ..SOME };
        assert!(fates(&none, 1).iter().all(|fate| *fate == Fate::Pass));
    }
}
