//! What is known of the network.

use std::collections::HashMap;
use std::net::IpAddr;

/// Where packets for a destination leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index into the list of ports that the view was made for.
    pub port: usize,
    /// Destination MAC address.
    pub mac: [u8; 6],
}

/// What is known of the network at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetView {
    /// Grows with every view.
    pub version: u64,
    /// By wanted destination; one without a usable next hop is missing. A next hop stays while its TAP is gone and while
    /// a forgotten neighbour is being asked for again, and goes when the neighbour fails to answer or the route goes.
    pub next_hops: HashMap<IpAddr, NextHop>,
    /// (port, address) of what is configured on the TAPs and is not a node address, sorted.
    pub host_addresses: Vec<(usize, IpAddr)>,
    /// By port: the TAP exists, is up and has a carrier.
    pub taps_up: Vec<bool>,
}
