//! Golden packets: a named input, the verdict, every byte of what leaves (computed by etherparse), and every counter that moves,
//! which is to say that no other one does.
//!
//! Each test says which requirement it shows: `req:` with an id of the requirements, or with an S for the semantics.

// `drop` says that a result is not looked at.
#![allow(clippy::drop_non_drop)]

#[path = "../common/mod.rs"]
mod common;

mod adoption;
mod bursts;
mod capacity;
mod drops;
mod ending;
mod fragments;
mod icmp;
mod ipv6;
mod lcores;
mod linux;
mod mtu;
mod nodes;
mod observe;
mod passive;
mod pressure;
mod proxy;
mod resets;
mod rewrite;
mod sticky;
mod targets;
mod tcp;
mod timers;
mod translation;
mod udp;
