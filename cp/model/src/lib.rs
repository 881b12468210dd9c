//! The resources of a load balancer and their rules, sans-IO.
#![forbid(unsafe_code)]

pub mod rest;
