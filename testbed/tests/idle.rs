//! Idle timeouts. They take minutes: only with `LEAT_LONG=1`, as `scripts/test --long` sets it.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use leat_testbed::{Bed, BedOptions, CLIENT_ADDRESS, ECHO_PORT, STREAM_PORT, VIP, e2e, udp_echo};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

/// A connection with a keepalive in between outlives 350 s; one without is closed in silence and the next byte is reset.
/// A UDP flow is forgotten after 120 s.
///
/// req: IDL-01, IDL-02, IDL-03, IDL-04, IDL-08
#[test]
fn idle_flows_expire() -> Result<()> {
    if std::env::var_os("LEAT_LONG").is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: idle_flows_expire takes 6 minutes; scripts/test --long runs it");
        return Ok(());
    }
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let open = || -> Result<TcpStream> {
        let stream = TcpStream::connect(SocketAddrV4::new(VIP, STREAM_PORT))?;
        let mut greeting = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut greeting).context("no greeting")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    };
    let (mut kept, mut left) = bed.cli().enter(|| anyhow::Ok((open()?, open()?)))??;
    udp_echo(bed.cli(), CLIENT_ADDRESS, SocketAddrV4::new(VIP, ECHO_PORT), 1, 1, 1)?;
    ensure!(bed.appliance.flows("protocol=UDP")?.len() == 1, "one UDP flow");

    std::thread::sleep(Duration::from_secs(125));
    ensure!(bed.appliance.flows("protocol=UDP")?.is_empty(), "the UDP flow is forgotten");
    std::thread::sleep(Duration::from_secs(125));
    echo_byte(&mut kept).context("after 250 s")?;
    std::thread::sleep(Duration::from_secs(105));
    let resets = bed.appliance.counter("resets_sent")?;
    ensure!(echo_byte(&mut left).is_err(), "the idle connection still works after 355 s");
    ensure!(bed.appliance.counter("resets_sent")? > resets, "its reset is counted");
    echo_byte(&mut kept).context("105 s after the last byte")?;
    bed.finish()
}

fn echo_byte(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"x")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(())
}
