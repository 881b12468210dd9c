//! A TAP port created while the EAL runs: the kernel has the interface with our MAC and MTU, and packets go out.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrayvec::ArrayVec;
use common::{ONE_QUEUE, pool, start_eal};
use leat_dpdk::{EalError, Mbuf, Port, PortConfig};

#[test]
fn tap_is_attached_at_run_time() {
    if !Path::new("/dev/net/tun").exists() {
        eprintln!("skipped: there is no /dev/net/tun");
        return;
    }
    let eal = start_eal("tap", "0", &[]);
    let pool = pool(&eal, "tap");
    let interface = format!("leat{}", std::process::id());
    let id = match eal.attach_vdev("net_tap_leat", &format!("iface={interface},mac=02:00:00:00:00:2a")) {
        Ok(id) => id,
        Err(error) => {
            eprintln!("skipped, a TAP needs CAP_NET_ADMIN: {error}");
            return;
        }
    };
    let config = PortConfig { mtu: Some(1400), ..ONE_QUEUE };
    let (mut port, mut rx, mut tx) = Port::configure(&eal, id, config, &[Arc::clone(&pool)]).unwrap();
    let sysfs =
        |file: &str| fs::read_to_string(format!("/sys/class/net/{interface}/{file}")).unwrap().trim().to_owned();
    assert_eq!((sysfs("address").as_str(), sysfs("mtu").as_str()), ("02:00:00:00:00:2a", "1400"));
    assert_eq!(port.info().mac, [2, 0, 0, 0, 0, 0x2a]);
    port.set_mac([2, 0, 0, 0, 0, 0x2b]).unwrap();
    port.set_mtu(1450).unwrap();
    assert_eq!((sysfs("address").as_str(), sysfs("mtu").as_str()), ("02:00:00:00:00:2b", "1450"));
    assert!(port.link_up().unwrap());

    let before: u64 = sysfs("statistics/rx_packets").parse().unwrap();
    let mut batch: ArrayVec<Mbuf, 8> = ArrayVec::new();
    for _ in 0..8 {
        let mut mbuf = pool.alloc().unwrap();
        // From a neighbour to a group, with an EtherType for local experiments (IEEE 802): the kernel counts and
        // drops it.
        let frame = mbuf.append(60).unwrap();
        frame.fill(0);
        frame[..14].copy_from_slice(&[1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
        batch.push(mbuf);
    }
    assert_eq!(tx[0].burst(&mut batch), 8);
    assert_eq!(sysfs("statistics/rx_packets").parse::<u64>().unwrap(), before + 8);
    assert_eq!(port.stats().unwrap().opackets, 8);

    let error = eal.attach_vdev("net_tap_leat", "").map(drop).unwrap_err();
    assert!(matches!(error, EalError::Attach { .. }), "{error}");

    // The kernel may have sent something of its own meanwhile.
    rx[0].burst(&mut batch);
    drop((batch, port, rx, tx));
    assert_eq!(pool.in_use(), 0);
    assert!(!Path::new(&format!("/sys/class/net/{interface}")).exists());
}
